//! `namespace`: it is there, and takes the agents' pods.

use super::{Cluster, Seen};
use crate::check::Finding;
use crate::context::Context;
use agent_task_crd::Mode;
use kube::ResourceExt as _;
use piece::Fault;

/// The label by which a namespace says which pods it takes.
const LEVEL: &str = "pod-security.kubernetes.io/enforce";

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let cluster = super::answering(context)?;
    let name = &cluster.namespace;
    let found = match cluster.place()? {
        Seen::There(found) => found,
        Seen::Absent => return Err(absent(cluster).into()),
        Seen::Hidden => return Ok(super::hidden("the namespace", "get namespaces")),
    };
    // Their own check says what is wrong with them.
    let mode = super::with_settings(context).map(|(_, settings)| settings.workspace.mode);
    match (found.labels().get(LEVEL).map(String::as_str), mode) {
        (Some("restricted"), Ok(Mode::HostPath)) => Err(Fault::failed(format!(
            "{name} takes pods of Pod Security restricted alone, and in mode hostPath one container is root's"
        ))
        .hint(format!(
            "kubectl label --overwrite namespace {name} {LEVEL}=baseline, or choose another workspace.mode"
        ))
        .into()),
        (Some(level), _) => Ok(Finding::Good(format!("{name} takes pods of Pod Security {level}"))),
        (None, _) => {
            Ok(Finding::Good(format!("{name} takes pods of any Pod Security, as far as its labels say")))
        }
    }
}

pub(super) fn absent(cluster: &Cluster) -> Fault {
    let name = &cluster.namespace;
    Fault::failed(format!("there is no namespace {name}"))
        .hint(format!("kubectl create namespace {name}, or name the agents' own by --namespace"))
}
