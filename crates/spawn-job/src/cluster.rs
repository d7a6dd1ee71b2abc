//! The cluster: makes what is planned, and finds what is there.

use crate::memory::{self, Memory};
use crate::plan::{Object, Plan, SUSPENDED};
use crate::report::Outcome;
use agent_task::{labels, names};
use cluster_client::{fault, status};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, ValidationDirective};
use kube::{Client, ResourceExt as _};
use piece::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// The ConfigMap with the settings, where none are given.
pub const SETTINGS: &str = "spawn-job";

/// Its key.
pub const SETTINGS_KEY: &str = "settings.yaml";

/// Makes everything of the plan, in its order; what is there already stays as it is, and a run that has been is not made again. In a
/// dry run the API server checks it all and keeps nothing; the answers are returned.
///
/// # Errors
/// Those of the API server, with what was to be made.
pub async fn make(client: &Client, plan: &Plan, dry_run: bool) -> anyhow::Result<(Outcome, Vec<Object>)> {
    let mut answers = Vec::new();
    let mut outcome = Outcome::Existed;
    let namespace = plan.namespace.as_str();
    let mut was_made = matches!(plan.memory, Memory::Task(_)) && memory::was_made(client, plan).await?;
    for object in &plan.objects {
        match object {
            Object::Volume(_) | Object::Claim(_) if was_made => {}
            Object::Volume(volume) => {
                let answer = create(&Api::all(client.clone()), volume.as_ref(), "volume", dry_run).await?;
                answers.extend(answer.map(|volume: PersistentVolume| Object::Volume(Box::new(volume))));
            }
            Object::Claim(claim) => {
                let api = Api::namespaced(client.clone(), namespace);
                let answer = create(&api, claim.as_ref(), "claim", dry_run).await?;
                if answer.is_none() && matches!(plan.memory, Memory::Claim(_)) {
                    was_made = memory::was_made(client, plan).await?;
                }
                answers.extend(answer.map(|claim: PersistentVolumeClaim| Object::Claim(Box::new(claim))));
            }
            Object::Job(job) => {
                let answer;
                (outcome, answer) = make_job(client, plan, job, was_made, dry_run).await?;
                answers.extend(answer.map(|job| Object::Job(Box::new(job))));
            }
            Object::CronJob(job) => {
                let api = Api::namespaced(client.clone(), namespace);
                answers.push(Object::CronJob(Box::new(apply(&api, job, dry_run).await?)));
                outcome = Outcome::Applied;
            }
        }
    }
    Ok((outcome, answers))
}

/// Where something is to remember the Job, it has no time to live until that does.
async fn make_job(
    client: &Client,
    plan: &Plan,
    wanted: &Job,
    was_made: bool,
    dry_run: bool,
) -> anyhow::Result<(Outcome, Option<Job>)> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), &plan.namespace);
    let mut first = wanted.clone();
    if let Some(spec) = first.spec.as_mut().filter(|_| plan.memory != Memory::Nothing && !dry_run) {
        spec.ttl_seconds_after_finished = None;
    }
    let made = if was_made { None } else { create(&jobs, &first, "Job", dry_run).await? };
    let mut outcome = if made.is_some() { Outcome::Created } else { Outcome::Existed };
    let there = if made.is_some() { made } else { find(&jobs, wanted).await? };
    let Some(job) = &there else { return Ok((Outcome::Ended, None)) };
    if !dry_run && settle(client, plan, wanted, job).await? {
        outcome = Outcome::Resumed;
    }
    Ok((outcome, there.filter(|_| outcome == Outcome::Created)))
}

/// What is left to do once the Job is there: each step is done by whoever finds it undone. Whether it was resumed.
async fn settle(client: &Client, plan: &Plan, wanted: &Job, found: &Job) -> anyhow::Result<bool> {
    let mut change = serde_json::Map::new();
    let ttl = |job: &Job| job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
    if ttl(found).is_none() && ttl(wanted).is_some() {
        memory::write(client, plan).await?;
        change.insert("spec".to_owned(), json!({"ttlSecondsAfterFinished": ttl(wanted)}));
    }
    // What somebody else has suspended, as a queue does, is left to them.
    let resumed =
        found.annotations().contains_key(SUSPENDED) && !wanted.annotations().contains_key(SUSPENDED);
    if resumed {
        change.insert("metadata".to_owned(), json!({"annotations": {SUSPENDED: null}}));
        change.entry("spec").or_insert_with(|| json!({}))["suspend"] = json!(false);
    }
    if !change.is_empty() {
        let jobs: Api<Job> = Api::namespaced(client.clone(), &plan.namespace);
        jobs.patch(&plan.job, &memory::parameters(), &Patch::Merge(change))
            .await
            .map_err(|error| fault(error, &format!("patching the Job {}", plan.job)))?;
    }
    Ok(resumed)
}

/// `None` where it was there: whoever made it made the same, because its name says what it is. Applying it instead would
/// turn a repetition into an error whenever the settings have changed meanwhile: a Job's pod cannot.
async fn create<K>(api: &Api<K>, object: &K, what: &str, dry_run: bool) -> anyhow::Result<Option<K>>
where
    K: Clone + Debug + Serialize + DeserializeOwned + kube::Resource,
{
    let parameters = PostParams { dry_run, field_manager: Some(labels::MANAGER.to_owned()) };
    match api.create(&parameters, object).await {
        Ok(made) => Ok(Some(made)),
        Err(error) if is_there(&error) => Ok(None),
        Err(error) => {
            let metadata = object.meta();
            let name = metadata.name.as_deref().unwrap_or_default();
            let place = metadata.namespace.as_deref().map(|place| format!(" in {place}")).unwrap_or_default();
            Err(fault(error, &format!("making the {what} {name}{place}")))
        }
    }
}

fn is_there(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// The Job of this name, which must be of this task and trigger. None where it is gone, because it had ended.
async fn find(api: &Api<Job>, wanted: &Job) -> anyhow::Result<Option<Job>> {
    let name = wanted.name_any();
    let found = api.get_opt(&name).await.map_err(|error| fault(error, &format!("reading the Job {name}")))?;
    let says = |job: &Job| {
        let trigger = job.annotations().get(labels::TRIGGER).cloned();
        (trigger, job.annotations().get(labels::TASK).cloned(), job.labels().get(labels::ROLE).cloned())
    };
    if found.as_ref().is_none_or(|found| says(found) == says(wanted)) {
        return Ok(found);
    }
    Err(Fault::failed(format!("the Job {name} is there, and is of another task or trigger"))
        .hint(format!("look at it: kubectl describe job {name}"))
        .into())
}

async fn apply(api: &Api<CronJob>, job: &CronJob, dry_run: bool) -> anyhow::Result<CronJob> {
    let parameters = PatchParams {
        dry_run,
        force: true,
        field_manager: Some(labels::MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let name = job.name_any();
    api.patch(&name, &parameters, &Patch::Apply(job))
        .await
        .map_err(|error| fault(error, &format!("applying the CronJob {name}")))
}

/// The settings that the chart keeps in the cluster.
///
/// # Errors
/// Where they are not there, or not to be read.
pub async fn settings(client: &Client, namespace: &str) -> anyhow::Result<String> {
    let what = format!("reading the settings, ConfigMap {SETTINGS} in {namespace}");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = match maps.get(SETTINGS).await {
        Ok(map) => map,
        Err(error) if status(&error) == Some(404) => {
            return Err(Fault::usage(format!("{what}: there is none"))
                .hint("make it as docs/tasks.md says, or give --config FILE with at least: image: REGISTRY/IMAGE:TAG")
                .into());
        }
        Err(error) => return Err(fault(error, &what)),
    };
    map.data
        .and_then(|mut data| data.remove(SETTINGS_KEY))
        .ok_or_else(|| Fault::usage(format!("{what}: it has no key {SETTINGS_KEY}")).into())
}

/// The claim of a run: its own, or of a scheduled run the one that its pod came with.
///
/// # Errors
/// Where there is none.
pub async fn claim_of(client: &Client, namespace: &str, run: &str) -> anyhow::Result<PersistentVolumeClaim> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let what = format!("looking for the volume of run {run} in {namespace}");
    match claims.get(&names::claim(run)).await {
        Ok(claim) => return Ok(claim),
        Err(error) if status(&error) == Some(404) => {}
        Err(error) => return Err(fault(error, &what)),
    }
    let pods = pods_of(client, namespace, run).await?;
    for pod in pods {
        match claims.get(&format!("{}-workspace", pod.name_any())).await {
            Ok(claim) => return Ok(claim),
            Err(error) if status(&error) == Some(404) => {}
            Err(error) => return Err(fault(error, &what)),
        }
    }
    Err(Fault::failed(format!("{what}: there is none"))
        .hint("a run that only reads has none, nor has one in mode ephemeral; else it was deleted")
        .into())
}

/// The pods of a Job.
///
/// # Errors
/// Those of the API server.
pub async fn pods_of(client: &Client, namespace: &str, job: &str) -> anyhow::Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let selected = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    let listed =
        pods.list(&selected).await.map_err(|error| fault(error, &format!("listing the pods of {job}")))?;
    Ok(listed.items)
}
