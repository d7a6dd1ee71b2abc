//! Watches a run until it has ended: its pod's state, its agent's log, its record.

use crate::cluster::pods_of;
use crate::plan::Plan;
use agent_log::{EventStream, View};
use agent_task::{Exit, Outcome, RunRecord};
use cluster_client::{fault, status};
use futures::{AsyncBufReadExt as _, FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Config, watcher};
use kube::{Client, ResourceExt as _};
use piece::Fault;
use redact::Redactor;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::io::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a watch stays open: less than the client waits for a word.
const WATCH_SECONDS: u32 = 20;

/// How often the events of a pod are looked at that does not start, and a log that broke off is asked for again.
const PAUSE: Duration = Duration::from_secs(5);

/// A container that cannot start is given so long: a secret may come a moment later.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Waits until the run has ended, and shows its agent's progress on stderr where `show` says so. An API server that does not
/// answer for a while is waited for.
///
/// # Errors
/// Where its pod cannot start, it takes longer than `limit`, or the cluster refuses.
pub async fn until_ended(client: &Client, plan: &Plan, limit: Duration, show: bool) -> anyhow::Result<Ended> {
    tokio::time::timeout(limit, watch(client, plan, show))
        .await
        .unwrap_or_else(|_| Err(Fault::retry(format!("the run {} has not ended in time", plan.job)).into()))
}

async fn watch(client: &Client, plan: &Plan, show: bool) -> anyhow::Result<Ended> {
    let of_run = format!("batch.kubernetes.io/job-name={}", plan.job);
    let (jobs, job_changes) =
        watched::<Job>(client, plan, Config::default().fields(&format!("metadata.name={}", plan.job)));
    let (pods, pod_changes) = watched::<Pod>(client, plan, Config::default().labels(&of_run));
    let mut changes = pin!(stream::select(job_changes, pod_changes));
    let mut stuck: Option<Instant> = None;
    // What the container prints is redacted already; known secrets are not here.
    let redactor = Redactor::new([]);
    let mut log = show.then(|| AgentLog::new(&redactor));
    let mut last_step = String::new();
    let mut answers = true;
    loop {
        let starts = newest(pods.state()).is_none_or(|pod| !has_begun(&pod));
        let change = if starts || stuck.is_some() || log.as_ref().is_some_and(|log| !log.is_read) {
            tokio::time::timeout(PAUSE, changes.next()).await.ok().flatten()
        } else {
            changes.next().await
        };
        match change {
            Some(Err(error)) => {
                let why = not_watched(error, &plan.job)?;
                if answers {
                    say(&format!("the API server does not answer, and is waited for: {why}"));
                }
                answers = false;
                continue;
            }
            Some(Ok(())) => answers = true,
            None => {}
        }
        if jobs.wait_until_ready().now_or_never().is_none()
            || pods.wait_until_ready().now_or_never().is_none()
        {
            continue;
        }
        let Some(job) = jobs.state().pop() else {
            return Err(Fault::failed(format!("the Job {} is gone", plan.job))
                .hint("it was deleted, or had ended an hour ago: look at the task's status")
                .into());
        };
        let pod = match has_ended(&job) {
            // The two watches may be apart: what the Job's end is of is asked for.
            true => newest(pods_of(client, &plan.namespace, &plan.job).await?.into_iter().map(Arc::new)),
            false => newest(pods.state()),
        };
        if let Some(pod) = &pod {
            let step = at_work(pod);
            if show && step != last_step {
                say(&format!("{}: {step}", pod.name_any()));
                last_step = step;
            }
            if let Some(log) = &mut log {
                log.read(client, pod).await?;
            }
        }
        if let Some(ended) = how_it_ended(&job, pod.as_deref()) {
            return Ok(ended);
        }
        let Some(pod) = pod else { continue };
        match why_stuck(client, &pod).await {
            Some(why) if stuck.get_or_insert_with(Instant::now).elapsed() > PATIENCE => {
                return Err(Fault::failed(format!("the pod {} cannot start: {why}", pod.name_any()))
                    .hint(format!(
                        "mend it and it goes on; or give up: kubectl -n {} delete job {}",
                        plan.namespace, plan.job
                    ))
                    .into());
            }
            Some(_) => {}
            None => stuck = None,
        }
    }
}

/// What there is of these objects, and a stream that says when that changes.
fn watched<K>(
    client: &Client,
    plan: &Plan,
    which: Config,
) -> (Store<K>, impl Stream<Item = Result<(), watcher::Error>> + use<K>)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api = Api::<K>::namespaced(client.clone(), &plan.namespace);
    let (store, writer) = reflector::store();
    let changes = reflector::reflector(writer, watcher(api, which.timeout(WATCH_SECONDS))).default_backoff();
    (store, changes.map_ok(drop))
}

/// Why a watch broke off; an error where the next one will too.
fn not_watched(error: watcher::Error, job: &str) -> anyhow::Result<String> {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error)
            if matches!(status(&error), Some(400..=404)) =>
        {
            Err(fault(error, &format!("watching the Job {job} and its pods")))
        }
        error => Ok(format!("{:#}", anyhow::Error::from(error))),
    }
}

/// A Job that tries again has several.
fn newest(pods: impl IntoIterator<Item = Arc<Pod>>) -> Option<Arc<Pod>> {
    pods.into_iter().max_by_key(|pod| pod.creation_timestamp())
}

fn say(text: &str) {
    // stderr gone: the report tells.
    let _ = writeln!(std::io::stderr(), "spawn-job: {text}");
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
    })
}

/// What the pod is doing, in a few words.
fn at_work(pod: &Pod) -> String {
    let running =
        statuses(pod).find(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
    match running {
        Some(container) => format!("{} is at work", container.name),
        None => "starting".to_owned(),
    }
}

/// Whether any of its containers runs, or has.
fn has_begun(pod: &Pod) -> bool {
    statuses(pod).any(|container| {
        container.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

/// Why no container of it starts, where that needs a person.
async fn why_stuck(client: &Client, pod: &Pod) -> Option<String> {
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
        let reason = waiting.reason.as_deref()?;
        BAD.contains(&reason).then(|| {
            let message = waiting.message.as_deref().unwrap_or_default();
            format!("container {}: {reason}: {message}", container.name)
        })
    });
    if waiting.is_some() || has_begun(pod) {
        return waiting;
    }
    // A volume that cannot be mounted, a node that is not to be had: only events tell.
    let events: Api<Event> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let of_pod =
        ListParams::default().fields(&format!("involvedObject.uid={}", pod.uid().unwrap_or_default()));
    // Who may not read events, or gets no answer, sees that the pod waits.
    let listed = events.list(&of_pod).await.ok()?;
    listed.items.into_iter().rev().find_map(|event| {
        let reason = event.reason?;
        let telling = ["FailedMount", "FailedScheduling", "FailedAttachVolume", "FailedCreatePodSandBox"];
        telling.contains(&reason.as_str()).then(|| format!("{reason}: {}", event.message.unwrap_or_default()))
    })
}

/// The log of the agent's container, which is shown as it comes.
struct AgentLog<'a> {
    events: EventStream<'a, Box<dyn View>>,
    last: Option<Timestamp>,
    is_read: bool,
}

impl<'a> AgentLog<'a> {
    fn new(redactor: &'a Redactor) -> Self {
        let events = EventStream::new(redactor, agent_log::progress::auto() as Box<dyn View>);
        Self { events, last: None, is_read: false }
    }

    /// Shows what is new in it, until it ends or cannot be had: then the pod's next change, or the next call, tells more.
    async fn read(&mut self, client: &Client, pod: &Pod) -> anyhow::Result<()> {
        let agent = statuses(pod).find(|container| container.name == "agent");
        let Some(state) = agent.and_then(|agent| agent.state.as_ref()) else { return Ok(()) };
        if self.is_read || (state.running.is_none() && state.terminated.is_none()) {
            return Ok(());
        }
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        loop {
            let parameters = LogParams {
                container: Some("agent".to_owned()),
                follow: true,
                timestamps: true,
                since_time: self.last,
                ..LogParams::default()
            };
            let mut lines = match pods.log_stream(&name, &parameters).await {
                Ok(stream) => stream.lines(),
                Err(error) if matches!(status(&error), Some(401 | 403)) => {
                    return Err(fault(error, &format!("reading the log of {name}")));
                }
                // The pod is gone, or nobody answers: its state tells.
                Err(_) => return Ok(()),
            };
            let seen = self.last;
            while let Some(Ok(line)) = lines.next().await {
                let Some((time, line)) = line.split_once(' ') else { continue };
                let time: Option<Timestamp> = time.parse().ok();
                // The server counts from whole seconds.
                if time > seen {
                    self.last = time;
                    show(&mut self.events, line);
                }
            }
            if self.last == seen {
                self.is_read = state.terminated.is_some();
                return Ok(());
            }
            // It ends, and it is cut where the agent thinks for long: there is more, or there is not.
        }
    }
}

/// Events make the progress; what the steps around the agent say is shown as it is. The container's own view of the progress is
/// left out.
fn show(events: &mut EventStream<'_, Box<dyn View>>, line: &str) {
    if line.starts_with('{') {
        let mut nowhere = Vec::new();
        events.feed(line.as_bytes(), &mut nowhere);
        events.feed(b"\n", &mut nowhere);
    } else if !line.starts_with('[') {
        let _ = writeln!(std::io::stderr(), "{}", agent_log::text::line(line, 500));
    }
}

fn condition<'a>(job: &'a Job, name: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == name && condition.status == "True")
}

fn has_ended(job: &Job) -> bool {
    condition(job, "Failed").or_else(|| condition(job, "Complete")).is_some()
}

/// Nothing while the Job is at work.
fn how_it_ended(job: &Job, pod: Option<&Pod>) -> Option<Ended> {
    if !has_ended(job) {
        return None;
    }
    let failed = condition(job, "Failed");
    let record = pod.and_then(record_of);
    let reads_only = pod.is_some_and(|pod| statuses(pod).all(|container| container.name != "publish"));
    Some(judge(
        record,
        reads_only,
        failed.map(|_| {
            pod.and_then(cause).unwrap_or_else(|| {
                let message = failed.and_then(|failed| failed.message.clone());
                message.unwrap_or_else(|| "the Job failed".to_owned())
            })
        }),
    ))
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
}
