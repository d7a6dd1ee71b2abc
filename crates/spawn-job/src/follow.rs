//! Watches a run until it has ended: its pod's state, its agent's log, its record.

use crate::cluster::pods_of;
use crate::plan::Plan;
use agent_log::{EventStream, View};
use agent_task::{Exit, Outcome, RunRecord};
use cluster_client::{fault, status};
use futures::AsyncBufReadExt as _;
use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt as _};
use piece::Fault;
use redact::Redactor;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// How often the cluster is looked at.
const PAUSE: Duration = Duration::from_secs(1);

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

/// Waits until the run has ended, and shows its agent's progress on stderr where `show` says so.
///
/// # Errors
/// Where its pod cannot start, it takes longer than `limit`, or the cluster cannot be reached.
pub async fn until_ended(client: &Client, plan: &Plan, limit: Duration, show: bool) -> anyhow::Result<Ended> {
    let began = Instant::now();
    let jobs: Api<Job> = Api::namespaced(client.clone(), &plan.namespace);
    let mut stuck: Option<Instant> = None;
    let mut shown = !show;
    let mut last_step = String::new();
    loop {
        let job = match jobs.get(&plan.job).await {
            Ok(job) => Some(job),
            Err(error) if status(&error) == Some(404) => None,
            Err(error) => return Err(fault(error, &format!("reading the Job {}", plan.job))),
        };
        let pod = pods_of(client, &plan.namespace, &plan.job).await?.pop();
        let Some(job) = job else {
            return Err(Fault::failed(format!("the Job {} is gone", plan.job))
                .hint("it was deleted, or had ended an hour ago: look at the task's status")
                .into());
        };
        if let Some(ended) = how_it_ended(&job, pod.as_ref()) {
            return Ok(ended);
        }
        if let Some(pod) = &pod {
            let step = at_work(pod);
            if show && step != last_step {
                say(&format!("{}: {step}", pod.name_any()));
                last_step = step;
            }
            if !shown && has_begun(pod, "agent") {
                show_log(client, &plan.namespace, &pod.name_any()).await?;
                shown = true;
                continue;
            }
            match why_stuck(client, pod).await? {
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
        if began.elapsed() > limit {
            return Err(Fault::retry(format!("the run {} has not ended in time", plan.job)).into());
        }
        tokio::time::sleep(PAUSE).await;
    }
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

fn has_begun(pod: &Pod, name: &str) -> bool {
    statuses(pod).any(|container| {
        container.name == name
            && container
                .state
                .as_ref()
                .is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

/// Why no container of it starts, where that needs a person.
async fn why_stuck(client: &Client, pod: &Pod) -> anyhow::Result<Option<String>> {
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
    if waiting.is_some() {
        return Ok(waiting);
    }
    let begun = statuses(pod).any(|container| {
        container.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    });
    if begun {
        return Ok(None);
    }
    // A volume that cannot be mounted, a node that is not to be had: only events tell.
    let events: Api<Event> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let of_pod =
        ListParams::default().fields(&format!("involvedObject.uid={}", pod.uid().unwrap_or_default()));
    let listed = match events.list(&of_pod).await {
        Ok(listed) => listed,
        // Who may not read events sees that the pod waits.
        Err(error) if status(&error) == Some(403) => return Ok(None),
        Err(error) => return Err(fault(error, "reading the pod's events")),
    };
    Ok(listed.items.into_iter().rev().find_map(|event| {
        let reason = event.reason?;
        let telling = ["FailedMount", "FailedScheduling", "FailedAttachVolume", "FailedCreatePodSandBox"];
        telling.contains(&reason.as_str()).then(|| format!("{reason}: {}", event.message.unwrap_or_default()))
    }))
}

/// Shows the agent's events as they come, until its container has ended.
async fn show_log(client: &Client, namespace: &str, pod: &str) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    // What the container prints is redacted already; known secrets are not here.
    let redactor = Redactor::new([]);
    let mut events = EventStream::new(&redactor, agent_log::progress::auto() as Box<dyn View>);
    let mut last = String::new();
    loop {
        // The connection may be cut while the agent thinks: it goes on behind the last line.
        let parameters = LogParams {
            container: Some("agent".to_owned()),
            follow: true,
            timestamps: true,
            since_time: last.parse().ok(),
            ..LogParams::default()
        };
        match pods.log_stream(pod, &parameters).await {
            Ok(stream) => {
                let mut lines = stream.lines();
                while let Some(Ok(line)) = lines.next().await {
                    let Some((time, line)) = line.split_once(' ') else { continue };
                    if time > last.as_str() {
                        time.clone_into(&mut last);
                        show(&mut events, line);
                    }
                }
            }
            Err(error) if status(&error) == Some(404) => return Ok(()),
            Err(error) => return Err(fault(error, &format!("reading the log of {pod}"))),
        }
        let now = pods.get_opt(pod).await.map_err(|error| fault(error, &format!("reading the pod {pod}")))?;
        let at_work = now.is_some_and(|pod| {
            statuses(&pod).any(|container| {
                container.name == "agent"
                    && container.state.as_ref().is_some_and(|state| state.running.is_some())
            })
        });
        if !at_work {
            return Ok(());
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

/// Nothing while the Job is at work.
fn how_it_ended(job: &Job, pod: Option<&Pod>) -> Option<Ended> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is = |name: &str| {
        conditions.iter().find(|condition| condition.type_ == name && condition.status == "True")
    };
    let failed = is("Failed");
    if failed.is_none() && is("Complete").is_none() {
        return None;
    }
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
            let message = agent_log::text::line(message, 1000);
            format!("container {} ended with {} ({reason}): {message}", container.name, ended.exit_code)
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
        assert!(has_begun(&pod, "agent") && !has_begun(&pod, "publish"));
        assert_eq!(record_of(&pod), None);
    }
}
