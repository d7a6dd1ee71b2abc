//! `definition`: the cluster has the custom resource, in the version that the pieces speak.

use super::Seen;
use crate::check::Finding;
use crate::context::Context;
use agent_task_crd::AgentTask;
use kube::Resource as _;
use piece::Fault;

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let cluster = super::answering(context)?;
    let (version, plural) = (AgentTask::api_version(&()), AgentTask::plural(&()));
    // Discovery is for everybody; the definition itself is not.
    let listed = cluster.client.list_api_group_resources(&version);
    let served = match cluster.see("asking for the custom resource", listed)? {
        Seen::There(list) => list.resources.iter().any(|resource| resource.name == plural),
        Seen::Absent => false,
        Seen::Hidden => return Ok(super::hidden("what kinds the server has", "get /apis")),
    };
    if served {
        return Ok(Finding::Good(format!("{plural} are served as {version}")));
    }
    Err(Fault::failed(format!("the cluster has no {plural} of {version}"))
        .hint("install the definition: agent-task crd | kubectl apply --server-side -f -")
        .into())
}
