//! Watches a run until it has ended: its pod's state, its agent's log, its record.

use crate::cluster::pods_of;
use crate::ending::{self, Ended, Hindrance, Waits, at_work, has_begun, has_ended, how_it_ended, statuses};
use crate::plan::Plan;
use agent_log::{EventStream, View};
use cluster_client::{fault, status};
use futures::{AsyncBufReadExt as _, FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Config, watcher};
use kube::{Client, ResourceExt as _};
use piece::Fault;
use redact::Redactor;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::fmt::Debug;
use std::io::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a watch stays open: less than the client waits for a word.
const WATCH_SECONDS: u32 = 20;

/// How often the events of a run are looked at that does not start, and a log that broke off is asked for again.
const PAUSE: Duration = Duration::from_secs(5);

/// What cannot start is given so long: a secret may come a moment later.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the run has ended, and shows its agent's progress on stderr where `show` says so. An API server that does not
/// answer for a while is waited for.
///
/// # Errors
/// Where it cannot start without a person, it takes longer than `limit`, or the cluster refuses.
pub async fn until_ended(client: &Client, plan: &Plan, limit: Duration, show: bool) -> anyhow::Result<Ended> {
    let waits_for = RefCell::new(None);
    tokio::time::timeout(limit, watch(client, plan, show, &waits_for)).await.unwrap_or_else(|_| {
        let waits = waits_for.take().map(|waits| format!(", it waits: {waits}")).unwrap_or_default();
        Err(Fault::retry(format!("the run {} has not ended in time{waits}", plan.job)).into())
    })
}

async fn watch(
    client: &Client,
    plan: &Plan,
    show: bool,
    waits_for: &RefCell<Option<Hindrance>>,
) -> anyhow::Result<Ended> {
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
        let found = hindrance(client, &job, pod.as_deref()).await;
        match &found {
            Some(found) if !found.passes => {
                if stuck.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    let whose = pod.map_or_else(
                        || format!("the Job {}", plan.job),
                        |pod| format!("the pod {}", pod.name_any()),
                    );
                    return Err(Fault::failed(format!("{whose} cannot start: {found}"))
                        .hint(format!(
                            "mend it and it goes on; or give up: kubectl -n {} delete job {}",
                            plan.namespace, plan.job
                        ))
                        .into());
                }
            }
            other => {
                stuck = None;
                let known = waits_for.borrow().as_ref().map(|known: &Hindrance| known.reason.clone());
                if let Some(found) = other.as_ref().filter(|found| known.as_ref() != Some(&found.reason)) {
                    say(&format!("the run {} waits: {found}", plan.job));
                }
            }
        }
        waits_for.replace(found);
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

/// What keeps a run from its beginning, where that does not end in a moment.
async fn hindrance(client: &Client, job: &Job, pod: Option<&Pod>) -> Option<Hindrance> {
    match pod {
        Some(pod) => match ending::pod_waits(pod) {
            Waits::For(hindrance) => Some(hindrance),
            // A volume that cannot be mounted: only events tell.
            Waits::Unknown => {
                let event = newest_event(client, pod).await?;
                ending::keeps_from_starting(&event).then(|| Hindrance::needs_a_person(&event))
            }
            Waits::Not => None,
        },
        None if ending::is_suspended(job) => Some(Hindrance::suspended(job)),
        None => {
            let event = newest_event(client, job).await?;
            (event.reason.as_deref() == Some("FailedCreate")).then(|| Hindrance::of_no_pod(&event))
        }
    }
}

/// The last thing that was told of the object. Who may not read events, or gets no answer, sees that the run waits.
async fn newest_event<K>(client: &Client, object: &K) -> Option<Event>
where
    K: kube::Resource,
{
    let events: Api<Event> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let of_object = format!("involvedObject.uid={}", object.uid().unwrap_or_default());
    let listed = events.list(&ListParams::default().fields(&of_object)).await.ok()?;
    listed.items.into_iter().max_by_key(ending::told_at)
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
