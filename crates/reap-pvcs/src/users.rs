//! Who uses a claim, and how the Jobs on it ended: gathered from all pods, Jobs and CronJobs of the namespace. Pure.

use crate::objects::{CronJob, Job, Pod, PodSpec};
use agent_task::labels::{ROLE, Role};
use jiff::Timestamp;
use std::collections::HashMap;

/// How and when a run ended. Ordered by time; of two at one time, the failure is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Whether it failed.
    pub failed: bool,
}

/// What is known of one claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// A pod or a Job that is not finished, or a CronJob, in words.
    pub active: Option<Box<str>>,
    /// A pod that is finished but there, in words: as long as it is, Kubernetes lets no claim go.
    pub finished_pod: Option<Box<str>>,
    /// The latest ending of a Job on it.
    pub ended: Option<Ended>,
}

/// What is known of all claims, by name.
#[derive(Debug, Default)]
pub struct Users(HashMap<Box<str>, User>);

impl Users {
    /// What is known of `claim`.
    #[must_use]
    pub fn of(&self, claim: &str) -> Option<&User> {
        self.0.get(claim)
    }

    /// Both.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        for (claim, more) in other.0 {
            let user = self.0.entry(claim).or_default();
            user.active = user.active.take().or(more.active);
            user.finished_pod = user.finished_pod.take().or(more.finished_pod);
            user.ended = user.ended.max(more.ended);
        }
        self
    }

    /// Adds a pod. Adding one twice changes nothing.
    pub fn add_pod(&mut self, pod: &Pod) {
        let name = &pod.metadata.name;
        let phase = pod.status.phase.as_deref().unwrap_or("Unknown");
        let finished = matches!(phase, "Succeeded" | "Failed");
        for claim in claims(&pod.spec, name) {
            let user = self.0.entry(claim).or_default();
            let place = if finished { &mut user.finished_pod } else { &mut user.active };
            *place = Some(format!("the pod {name} ({phase})").into());
        }
    }

    /// Adds a Job. Adding one twice changes nothing.
    pub fn add_job(&mut self, job: &Job) {
        let name = &job.metadata.name;
        let ended = ended(job);
        let suspended = if job.spec.suspend { "suspended" } else { "not finished" };
        for claim in claims(&job.spec.template.spec, name) {
            let user = self.0.entry(claim).or_default();
            match ended {
                Some(_) => user.ended = user.ended.max(ended),
                None => user.active = Some(format!("the Job {name} ({suspended})").into()),
            }
        }
    }

    /// Adds a CronJob, which will use its claims again, suspended or not.
    pub fn add_cron_job(&mut self, cron_job: &CronJob) {
        let name = &cron_job.metadata.name;
        for claim in claims(&cron_job.spec.job_template.spec.template.spec, name) {
            self.0.entry(claim).or_default().active = Some(format!("the CronJob {name}").into());
        }
    }
}

/// The claims that a pod of this name refers to, those that are made for it by name included.
fn claims<'a>(spec: &'a PodSpec, pod: &'a str) -> impl Iterator<Item = Box<str>> + 'a {
    spec.volumes.iter().filter_map(move |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.as_str().into()),
        (None, Some(_)) => Some(format!("{pod}-{}", volume.name).into()),
        (None, None) => None,
    })
}

/// A salvaged run is one that was killed: that its work was published makes no success of it.
fn ended(job: &Job) -> Option<Ended> {
    let condition =
        job.status.conditions.iter().find(|condition| {
            condition.status == "True" && matches!(&*condition.kind, "Complete" | "Failed")
        })?;
    let at = condition.last_transition_time.unwrap_or(job.metadata.creation_timestamp);
    let salvage = job.metadata.labels.get(ROLE).is_some_and(|role| role == Role::Salvage.as_str());
    Some(Ended { at, failed: condition.kind == "Failed" || salvage })
}
