//! How a run ended, or whether it is at work: what its Job and its pod say of it. Pure.

use crate::plan::SUSPENDED;
use agent_task::{Exit, Outcome, RunRecord};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodCondition};
use kube::ResourceExt as _;
use std::fmt;

/// How a run has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Its record, if it left one.
    pub record: Option<RunRecord>,
    /// What is wrong, for people; nothing where the run succeeded.
    pub error: Option<String>,
    /// How the program ends.
    pub exit: Exit,
}

pub(crate) fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
    })
}

/// What the pod is doing, in a few words.
pub(crate) fn at_work(pod: &Pod) -> String {
    let running =
        statuses(pod).find(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
    match running {
        Some(container) => format!("{} is at work", container.name),
        None => "starting".to_owned(),
    }
}

/// Whether any of its containers runs, or has.
pub(crate) fn has_begun(pod: &Pod) -> bool {
    statuses(pod).any(|container| {
        container.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

/// What keeps a run from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hindrance {
    /// A word of Kubernetes', as `FailedCreate`.
    pub(crate) reason: String,
    message: String,
    /// The end of other runs, or whoever suspended it, lets it begin. Anything else needs a person.
    pub(crate) passes: bool,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl Hindrance {
    fn new(reason: Option<&str>, message: Option<&str>, passes: bool) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self { reason: text(reason), message: text(message), passes }
    }

    pub(crate) fn suspended(job: &Job) -> Self {
        let message = match job.annotations().contains_key(SUSPENDED) {
            true => "the Job begins when its task is spawned again without suspend",
            false => "the Job begins when whoever suspended it resumes it",
        };
        Self::new(Some("Suspended"), Some(message), true)
    }

    pub(crate) fn needs_a_person(event: &Event) -> Self {
        Self::new(event.reason.as_deref(), event.message.as_deref(), false)
    }

    /// A quota is free again when other pods have ended.
    pub(crate) fn of_no_pod(event: &Event) -> Self {
        let passes = event.message.as_ref().is_some_and(|message| message.contains("exceeded quota"));
        Self { passes, ..Self::needs_a_person(event) }
    }
}

/// Whether a pod waits for something before any of its containers runs.
pub(crate) enum Waits {
    /// It does not, or for what is on its way.
    Not,
    /// For this.
    For(Hindrance),
    /// Its state does not say it.
    Unknown,
}

/// What a pod waits for: by its state as it is now, because what its events tell may be over.
pub(crate) fn pod_waits(pod: &Pod) -> Waits {
    const BAD: [&str; 7] = [
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "RunContainerError",
    ];
    let waiting = statuses(pod).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_ref().filter(|reason| BAD.contains(&reason.as_str()))?;
        let whose = format!("container {}: {reason}", container.name);
        Some(Hindrance::new(Some(&whose), waiting.message.as_deref(), false))
    });
    if let Some(waiting) = waiting {
        return Waits::For(waiting);
    }
    let conditions = || pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is = |name: &str, status: &str| {
        conditions().find(|condition| condition.type_ == name && condition.status == status)
    };
    if has_begun(pod) || is("PodReadyToStartContainers", "True").is_some() {
        return Waits::Not;
    }
    match is("PodScheduled", "False") {
        Some(not) => {
            let message = not.message.as_deref().unwrap_or_default();
            let full = message.contains("Insufficient") || message.contains("Too many pods");
            let passes = full || not.reason.as_deref() == Some("SchedulingGated");
            Waits::For(Hindrance::new(not.reason.as_deref(), not.message.as_deref(), passes))
        }
        None => Waits::Unknown,
    }
}

/// Whether this event, where it is the pod's newest, tells why no container of it starts.
pub(crate) fn keeps_from_starting(event: &Event) -> bool {
    let telling = ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"];
    event.reason.as_deref().is_some_and(|reason| telling.contains(&reason))
}

/// When an event was told last. Of two in one second, the one that keeps nothing from starting is the later.
pub(crate) fn told_at(event: &Event) -> (Option<Timestamp>, bool) {
    let times = [
        event.last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0),
    ];
    (times.into_iter().max().flatten(), !keeps_from_starting(event))
}

fn condition<'a>(job: &'a Job, name: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == name && condition.status == "True")
}

pub(crate) fn has_ended(job: &Job) -> bool {
    condition(job, "Failed").or_else(|| condition(job, "Complete")).is_some()
}

/// Nothing while the Job is at work.
pub(crate) fn how_it_ended(job: &Job, pod: Option<&Pod>) -> Option<Ended> {
    if !has_ended(job) {
        return None;
    }
    let failed = condition(job, "Failed");
    let record = pod.and_then(record_of);
    let reads_only = pod.is_some_and(|pod| statuses(pod).all(|container| container.name != "publish"));
    Some(judge(record, reads_only, failed.map(|failed| why_it_failed(failed, pod))))
}

/// Why a run was killed: nothing where nothing tells.
pub(crate) fn why_it_was_killed(job: Option<&Job>, pods: &[Pod]) -> Option<String> {
    let pod = pods.iter().max_by_key(|pod| pod.creation_timestamp());
    match job.and_then(|job| condition(job, "Failed")) {
        Some(failed) => Some(why_it_failed(failed, pod)),
        None => pod.and_then(cause),
    }
}

/// The pod knows more than its Job.
fn why_it_failed(failed: &JobCondition, pod: Option<&Pod>) -> String {
    let told = |text: &Option<String>| text.clone().unwrap_or_default();
    match pod {
        Some(pod) => cause(pod).unwrap_or_else(|| told(&failed.message)),
        None => format!("its pod is gone ({}: {})", told(&failed.reason), told(&failed.message)),
    }
}

/// What of a run is still at work, or may be again.
pub(crate) fn still_at_work(job: Option<&Job>, pods: &[Pod]) -> Option<String> {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    if let Some(pod) = pods.iter().find(|pod| !matches!(phase(pod).as_str(), "Succeeded" | "Failed")) {
        return Some(format!("its pod {} is {}: {}", pod.name_any(), phase(pod), at_work(pod)));
    }
    let job = job.filter(|job| !has_ended(job))?;
    Some(format!("its Job has not ended{}", if is_suspended(job) { ", it is suspended" } else { "" }))
}

/// No pod of it begins.
pub(crate) fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true))
}

/// The record says how the run ended; where there is none, the pod does.
fn judge(record: Option<RunRecord>, reads_only: bool, failure: Option<String>) -> Ended {
    let Some(record) = record else {
        let error = failure.or_else(|| Some("the run left no record".to_owned()));
        return Ended { record: None, error, exit: Exit::Failed };
    };
    let good = record.outcome.is_success() || (reads_only && record.outcome == Outcome::NoChange);
    if good && failure.is_none() {
        return Ended { record: Some(record), error: None, exit: Exit::Done };
    }
    let told = match (&record.stage, &record.error) {
        (Some(stage), Some(error)) => format!("{} in stage {stage}: {error}", record.outcome),
        _ => format!("{}: {}", record.outcome, record.outcome.meaning()),
    };
    let error = match failure {
        Some(failure) if good => failure,
        _ => told,
    };
    Ended { record: Some(record), error: Some(error), exit: Exit::Failed }
}

/// The record that the last container of the run has left.
fn record_of(pod: &Pod) -> Option<RunRecord> {
    let ended: Vec<&ContainerStatus> = statuses(pod).collect();
    ["publish", "agent"].iter().find_map(|name| {
        let container = ended.iter().find(|container| container.name == *name)?;
        let message = container.state.as_ref()?.terminated.as_ref()?.message.as_ref()?;
        serde_json::from_str(message).ok()
    })
}

/// What ended the pod: its own reason, or the first container that failed.
fn cause(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if let Some(reason) = &status.reason {
        let message = status.message.as_deref().unwrap_or_default();
        return Some(format!("{reason}: {message}"));
    }
    let disrupted =
        |condition: &&PodCondition| condition.type_ == "DisruptionTarget" && condition.status == "True";
    if let Some(disrupted) = status.conditions.iter().flatten().find(disrupted) {
        let told = |text: &Option<String>| text.clone().unwrap_or_default();
        return Some(format!("DisruptionTarget, {}: {}", told(&disrupted.reason), told(&disrupted.message)));
    }
    statuses(pod).find_map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then(|| {
            let reason = ended.reason.as_deref().unwrap_or("Error");
            let message = ended.message.as_deref().unwrap_or_default();
            // A record is none for people.
            let message = match message.starts_with('{') {
                true => String::new(),
                false => format!(": {}", agent_log::text::line(message, 1000)),
            };
            format!("container {} ended with {} ({reason}){message}", container.name, ended.exit_code)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Outcome) -> RunRecord {
        let started = "2026-11-22T22:00:00Z".parse().unwrap();
        let mut record = RunRecord::begun("r", "publisher", "a post", "main", started);
        if !outcome.is_success() {
            record.fail(outcome, "agent", "why");
        }
        record
    }

    /// K15
    #[test]
    fn the_exit_code_is_the_runs() {
        let exit = |outcome, reads_only, failure: Option<&str>| {
            let ended = judge(Some(record(outcome)), reads_only, failure.map(str::to_owned));
            (ended.exit, ended.error)
        };
        assert_eq!(exit(Outcome::Success, false, None), (Exit::Done, None));
        assert_eq!(exit(Outcome::NoChange, true, None), (Exit::Done, None), "one that reads changes nothing");
        let why = |why: &str| (Exit::Failed, Some(why.to_owned()));
        assert_eq!(exit(Outcome::NoChange, false, None), why("no-change in stage agent: why"));
        assert_eq!(
            exit(Outcome::Timeout, false, Some("DeadlineExceeded")),
            why("timeout in stage agent: why")
        );
        assert_eq!(exit(Outcome::Success, false, Some("evicted")), why("evicted"));
        assert_eq!(judge(None, false, Some("OOMKilled".to_owned())).error.as_deref(), Some("OOMKilled"));
        assert_eq!(judge(None, false, None).exit, Exit::Failed);
    }

    /// K15
    #[test]
    fn the_pods_state_says_what_ended_it() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"status": {
            "initContainerStatuses": [
                {"name": "checkout", "state": {"terminated": {"exitCode": 0}}},
                {"name": "agent", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "a\nb"}}},
            ],
            "containerStatuses": [{"name": "publish", "state": {"waiting": {"reason": "PodInitializing"}}}],
        }}))
        .unwrap();
        assert_eq!(cause(&pod).as_deref(), Some("container agent ended with 137 (OOMKilled): a b"));
        assert!(has_begun(&pod));
        assert_eq!(record_of(&pod), None);
    }

    /// K15: what was told before is over; of one second, what goes on is told after what does not.
    #[test]
    fn the_newest_event_tells() {
        let event = |reason: &str, time: &str| -> Event {
            let time = serde_json::json!({"metadata": {}, "involvedObject": {}, "reason": reason, "lastTimestamp": time});
            serde_json::from_value(time).unwrap()
        };
        let (early, late) = ("2026-11-25T20:00:00Z", "2026-11-25T20:00:05Z");
        let keeps =
            |events: &[Event]| events.iter().max_by_key(|event| told_at(event)).map(keeps_from_starting);
        assert_eq!(keeps(&[event("Scheduled", early), event("FailedMount", late)]), Some(true));
        assert_eq!(keeps(&[event("Pulling", late), event("FailedMount", early)]), Some(false));
        assert_eq!(keeps(&[event("Pulling", late), event("FailedMount", late)]), Some(false));
        let mut again = event("FailedMount", early);
        again.series =
            serde_json::from_value(serde_json::json!({"lastObservedTime": "2026-11-25T20:00:09.000000Z"}))
                .ok();
        assert_eq!(keeps(&[event("Scheduled", late), again]), Some(true));
    }

    /// K15
    #[test]
    fn a_pod_waits_by_its_state() {
        let waits = |condition: &str, status: &str, message: &str| {
            let condition = serde_json::json!({"type": condition, "status": status, "reason": "Unschedulable", "message": message});
            let pod: Pod =
                serde_json::from_value(serde_json::json!({"status": {"conditions": [condition]}})).unwrap();
            match pod_waits(&pod) {
                Waits::For(hindrance) => format!("for {hindrance}, {}", hindrance.passes),
                Waits::Unknown => "unknown".to_owned(),
                Waits::Not => "not".to_owned(),
            }
        };
        let full = "0/1 nodes are available: 1 Insufficient memory.";
        assert_eq!(waits("PodScheduled", "False", full), format!("for Unschedulable: {full}, true"));
        let none = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
        assert_eq!(waits("PodScheduled", "False", none), format!("for Unschedulable: {none}, false"));
        assert_eq!(waits("PodScheduled", "True", ""), "unknown");
        assert_eq!(waits("PodReadyToStartContainers", "True", ""), "not");
    }
}
