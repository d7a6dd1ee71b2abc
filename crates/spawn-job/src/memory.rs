//! What is written down of a run, so that its trigger makes no second Job once the first is gone: a Job goes an hour after its end.
//!
//! A Job gets its time to live only when it is written down that it was made. Whatever is killed before that leaves a Job that stays,
//! and the next call finds it.

use crate::plan::Plan;
use agent_task::{Phase, labels};
use agent_task_crd::AgentTask;
use cluster_client::{fault, status};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource as _, ResourceExt as _};
use piece::Fault;
use serde_json::json;

/// Annotation on a run's claim: its Job was made.
const MADE: &str = "agents.kyle.pericak.com/job-made";

/// Where it is written down that a run's Job was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// In the status of the task with this uid, as long as that is there.
    Task(String),
    /// On the run's claim, as long as that is there.
    Claim(String),
    /// Nowhere: the Job alone tells, as long as it is there.
    Nothing,
}

/// Whether the run's Job was made: it may be gone.
///
/// # Errors
/// The task is not in the cluster; those of the API server.
pub(crate) async fn was_made(client: &Client, plan: &Plan) -> anyhow::Result<bool> {
    let run = plan.run.as_ref();
    match &plan.memory {
        Memory::Task(uid) => {
            let status = task(client, plan, uid).await?.status.unwrap_or_default();
            Ok(status.run.as_ref() == run || run.is_some_and(|run| status.runs.contains(run)))
        }
        Memory::Claim(name) => {
            Ok(claim(client, plan, name).await?.is_some_and(|claim| claim.annotations().contains_key(MADE)))
        }
        Memory::Nothing => Ok(false),
    }
}

/// Writes down that the run's Job was made.
///
/// # Errors
/// Those of the API server.
pub(crate) async fn write(client: &Client, plan: &Plan) -> anyhow::Result<()> {
    let run = plan.run.as_deref().unwrap_or_default();
    let noting = |error| fault(error, &format!("noting that the Job {} was made", plan.job));
    match &plan.memory {
        Memory::Task(uid) => {
            let tasks: Api<AgentTask> = Api::namespaced(client.clone(), &plan.namespace);
            let noted = json!({
                "apiVersion": AgentTask::api_version(&()), "kind": AgentTask::kind(&()),
                "metadata": {"name": plan.task, "uid": uid},
                "status": {"jobName": plan.job, "run": run, "runs": [run]},
            });
            // A manager of its own for each run: what one applies takes nothing away from what another did.
            let parameters = PatchParams::apply(&format!("{}/{run}", labels::MANAGER)).force();
            tasks.patch_status(&plan.task, &parameters, &Patch::Apply(noted)).await.map_err(noting)?;
        }
        Memory::Claim(name) => {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &plan.namespace);
            let noted = json!({"metadata": {"annotations": {MADE: "true"}}});
            claims.patch(name, &parameters(), &Patch::Merge(noted)).await.map_err(noting)?;
        }
        Memory::Nothing => {}
    }
    Ok(())
}

/// How the run ended whose Job is gone, where that was written down.
///
/// # Errors
/// Those of the API server.
pub(crate) async fn ending(client: &Client, plan: &Plan) -> anyhow::Result<Option<Phase>> {
    if let Memory::Task(uid) = &plan.memory {
        let status = task(client, plan, uid).await?.status.unwrap_or_default();
        let phase = status.phase.filter(|phase| phase.is_final() && status.run == plan.run);
        if phase.is_some() {
            return Ok(phase);
        }
    }
    let Some(name) = &plan.claim else { return Ok(None) };
    let claim = claim(client, plan, name).await?;
    let phase = claim.and_then(|claim| claim.annotations().get(labels::PHASE).cloned());
    Ok(phase.and_then(|phase| serde_json::from_value(phase.into()).ok()))
}

/// Of everything that is changed.
pub(crate) fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() }
}

/// The task, which must be the one that is meant: Kubernetes deletes what belongs to one that is gone.
async fn task(client: &Client, plan: &Plan, uid: &str) -> anyhow::Result<AgentTask> {
    let tasks: Api<AgentTask> = Api::namespaced(client.clone(), &plan.namespace);
    let found = match tasks.get(&plan.task).await {
        Ok(task) => Some(task),
        Err(error) if status(&error) == Some(404) => None,
        Err(error) => return Err(fault(error, &format!("reading the task {}", plan.task))),
    };
    found.filter(|task| task.uid().as_deref() == Some(uid)).ok_or_else(|| {
        Fault::failed(format!("the task {} of this uid is not in {}", plan.task, plan.namespace))
            .hint("it was deleted, or is another cluster's: apply it, or leave metadata.uid out")
            .into()
    })
}

async fn claim(client: &Client, plan: &Plan, name: &str) -> anyhow::Result<Option<PersistentVolumeClaim>> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &plan.namespace);
    claims.get_opt(name).await.map_err(|error| fault(error, &format!("reading the claim {name}")))
}
