//! `account`: the service account that the pods have is there.

use super::Seen;
use crate::check::Finding;
use crate::context::Context;
use k8s_openapi::api::core::v1::ServiceAccount;
use piece::Fault;

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let (cluster, settings) = super::with_settings(context)?;
    let (name, namespace) = (&settings.service_account, &cluster.namespace);
    match cluster.object::<ServiceAccount>("ServiceAccount", name)? {
        Seen::There(_) => Ok(Finding::Good(format!("{name} is there"))),
        Seen::Absent => Err(Fault::failed(format!("there is no ServiceAccount {name} in {namespace}"))
            .hint(format!("kubectl -n {namespace} create serviceaccount {name}; it needs no rights"))
            .into()),
        Seen::Hidden => Ok(super::hidden(
            &format!("the ServiceAccount {name}"),
            &format!("get serviceaccounts in {namespace}"),
        )),
    }
}
