//! `server`: the API server answers, and knows who asks.

use super::Cluster;
use crate::check::Finding;
use crate::context::{Context, fault};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};
use piece::Fault;

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    Ok(Finding::Good(context.cluster()?.server()?.to_owned()))
}

/// Who is asked first: without a login many servers tell their version all the same.
pub(super) fn ask(cluster: &Cluster) -> Result<String, Fault> {
    let api: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let (parameters, review) = (PostParams::default(), SelfSubjectReview::default());
    let failed = |what: &'static str| move |error| fault(&cluster_client::fault(error, what));
    let who = cluster.wait(api.create(&parameters, &review))?.map_err(failed("asking who is logged in"))?;
    let version = cluster.wait(cluster.client.apiserver_version())?;
    let version = version.map_err(failed("asking for the server's version"))?.git_version;
    let user = who.status.and_then(|status| status.user_info?.username).unwrap_or_default();
    Ok(format!("Kubernetes {version}, as {user}"))
}
