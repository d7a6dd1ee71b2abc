//! The check on a cluster: makes the pods, waits for what they found, and deletes them, whatever happens.

use crate::args::RunArgs;
use crate::pods::{self, PORT, PROBE, Purpose, Surroundings};
use crate::probe::ProbeReport;
use crate::say;
use crate::verdict::{API_SERVER, INGRESS, NEIGHBOUR, Verdict, judge};
use agent_task::labels::CHECK;
use anyhow::Context as _;
use cluster_client::fault;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt as _};
use piece::Fault;
use spawn_job::settings::Settings;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

const PUBLIC: &str = "public";
const NAMES: &str = "names";

/// A cloud's metadata service, which hands out the machine's credentials.
const METADATA: &str = "metadata=169.254.169.254:80";

/// Beyond the time that the pods may take to start.
const PROBING: Duration = Duration::from_secs(120);

/// Checks the cluster.
pub(crate) async fn check(args: &RunArgs) -> anyhow::Result<Verdict> {
    let client = cluster_client::connect(args.namespace.as_deref()).await?;
    let settings = settings(&client, args).await?;
    let pods = Api::default_namespaced(client);
    let now = Timestamp::now();
    delete(&pods, CHECK, |pod| is_left(pod, now)).await?;
    // Until here a signal may end the program as it ends any.
    let mut check = Check { pods, id: id(), signals: Signals::new().context("waiting for signals")? };
    let checked = check.run(args, settings).await;
    let deleted = delete(&check.pods, &format!("{CHECK}={}", check.id), |_| true).await;
    if let (Err(_), Err(error)) = (&checked, &deleted) {
        say(&format!("{error:#}"));
    }
    let verdict = checked?;
    deleted?;
    Ok(verdict)
}

/// 64 bits of chance: every `RandomState` is keyed afresh.
fn id() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Whether nobody will delete this pod any more: it is older than its time limit, and no check takes as long.
fn is_left(pod: &Pod, now: Timestamp) -> bool {
    let limit = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let age = pod.metadata.creation_timestamp.as_ref().map(|made| now.duration_since(made.0).as_secs());
    limit.zip(age).is_some_and(|(limit, age)| age > limit)
}

/// Deletes those pods of checks that have this label, at once.
async fn delete(pods: &Api<Pod>, selector: &str, which: impl Fn(&Pod) -> bool) -> anyhow::Result<()> {
    let failed = |error| fault(error, "deleting the pods of a check, which end by themselves");
    let mut result = Ok(());
    for pod in pods.list(&ListParams::default().labels(selector)).await.map_err(failed)? {
        let name = pod.name_any();
        if which(&pod)
            && let Err(error) = pods.delete(&name, &DeleteParams::default().grace_period(0)).await
            && cluster_client::status(&error) != Some(404)
        {
            result = Err(failed(error));
        }
    }
    result
}

/// What the cluster says of the agents' pods, and these pods with them.
async fn settings(client: &Client, args: &RunArgs) -> anyhow::Result<Settings> {
    let yaml = match (&args.config, &args.image) {
        (Some(file), _) => std::fs::read_to_string(file)
            .with_context(|| Fault::usage(format!("cannot read the settings from {}", file.display())))?,
        (None, Some(image)) => serde_json::json!({ "image": image }).to_string(),
        (None, None) => spawn_job::cluster::settings(client, client.default_namespace()).await?,
    };
    let mut settings =
        Settings::read(&yaml).map_err(|why| Fault::usage(format!("the settings are wrong: {why}")))?;
    if let Some(image) = &args.image {
        settings.image.clone_from(image);
    }
    if let Some(service_account) = &args.service_account {
        settings.service_account.clone_from(service_account);
    }
    Ok(settings)
}

/// What asks the check to end, from its making on. There is no death by a signal then: whatever comes, the pods are deleted.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        Ok(Self { terminate: terminate?, interrupt: interrupt? })
    }

    /// Waits for one. One that came meanwhile counts.
    async fn came(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A check under way.
struct Check {
    pods: Api<Pod>,
    id: String,
    signals: Signals,
}

impl Check {
    async fn run(&mut self, args: &RunArgs, settings: Settings) -> anyhow::Result<Verdict> {
        let limit = args.timeout;
        let lifetime = i64::try_from(((limit + PROBING) * 4).as_secs()).context("the time limit")?;
        let around = Surroundings { settings, check: self.id.clone(), lifetime };
        let neighbour = self.make(&pods::pod(Purpose::Neighbour, &around, &[])).await?;
        let neighbour = self.wait(&neighbour, limit, addresses).await?;

        let targets = targets(args, &neighbour);
        let agent = self.make(&pods::pod(Purpose::Agent, &around, &targets)).await?;
        let agent_addresses = self.wait(&agent, limit, addresses).await?;
        let agent_report = self.wait(&agent, limit + PROBING, report).await?;

        let mut more = targets;
        more.extend(connect(INGRESS, &agent_addresses));
        let control = self.make(&pods::pod(Purpose::Control, &around, &more)).await?;
        let control_report = self.wait(&control, limit + PROBING, report).await?;
        Ok(judge(&agent_report, &control_report, &[PUBLIC, NAMES]))
    }

    /// Makes a pod; its name. No signal cuts it short: a call that nobody waits for may still make the pod, after all are deleted.
    async fn make(&self, pod: &Pod) -> anyhow::Result<String> {
        let made = self.pods.create(&PostParams::default(), pod).await;
        Ok(made.map_err(|error| fault(error, "making a pod"))?.name_any())
    }

    /// Waits until `done` gives something of the pod, or a signal comes.
    async fn wait<T>(
        &mut self,
        name: &str,
        limit: Duration,
        done: impl Fn(&Pod) -> Option<T>,
    ) -> anyhow::Result<T> {
        let condition =
            |pod: Option<&Pod>| pod.is_some_and(|pod| done(pod).is_some() || has_ended(pod) || is_stuck(pod));
        let waited = tokio::select! {
            () = self.signals.came() => return Err(Fault::retry("ended by a signal").into()),
            waited = tokio::time::timeout(limit, await_condition(self.pods.clone(), name, condition)) => waited,
        };
        let pod = match waited {
            Ok(Ok(pod)) => pod.with_context(|| Fault::retry(format!("the pod {name} was deleted")))?,
            Ok(Err(error)) => {
                return Err(error).context(Fault::retry(format!("watching the pod {name}")));
            }
            Err(_elapsed) => self.pods.get(name).await.map_err(|error| fault(error, "looking at a pod"))?,
        };
        done(&pod).ok_or_else(|| {
            Fault::retry(format!("the pod {name} did not do its part: {}", trouble(&pod)))
                .hint("has the image the program egress-check, can the node get it, and is there room for three small pods?")
                .into()
        })
    }
}

/// What both pods try, as arguments of `probe`.
fn targets(args: &RunArgs, neighbour: &[IpAddr]) -> Vec<String> {
    let mut targets: Vec<String> =
        ["--rounds=4", "--report=/dev/termination-log"].map(str::to_owned).to_vec();
    targets.extend(connect(NEIGHBOUR, neighbour));
    targets.extend([format!("--api-server={API_SERVER}"), "--kubelet=kubelet".to_owned()]);
    targets.push(format!("--connect={METADATA}"));
    targets.extend(args.public.iter().map(|address| format!("--connect={PUBLIC}={address}")));
    targets.extend(args.private.iter().map(|address| format!("--connect=private={address}")));
    targets.push(format!("--resolve={NAMES}={}", args.lookup));
    targets
}

fn connect(name: &str, addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(|address| format!("--connect={name}={}", SocketAddr::new(*address, PORT))).collect()
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a container waits for something that does not come by waiting.
fn is_stuck(pod: &Pod) -> bool {
    const STUCK: [&str; 4] =
        ["ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"];
    containers(pod).iter().any(|container| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting.and_then(|waiting| waiting.reason.as_deref()).is_some_and(|reason| STUCK.contains(&reason))
    })
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

/// The addresses of a pod that listens.
fn addresses(pod: &Pod) -> Option<Vec<IpAddr>> {
    let listens = containers(pod).iter().any(|container| {
        container.name == "listen" && container.state.as_ref().is_some_and(|state| state.running.is_some())
    });
    let addresses = pod.status.as_ref()?.pod_ips.as_ref()?;
    let addresses: Vec<IpAddr> = addresses.iter().filter_map(|address| address.ip.parse().ok()).collect();
    (listens && !addresses.is_empty()).then_some(addresses)
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let probe = containers(pod).iter().find(|container| container.name == PROBE)?;
    probe.state.as_ref()?.terminated.as_ref()
}

/// What the pod's probe found.
fn report(pod: &Pod) -> Option<ProbeReport> {
    serde_json::from_str(terminated(pod)?.message.as_deref()?).ok()
}

/// Why a pod did not do its part, as far as its status tells.
fn trouble(pod: &Pod) -> String {
    let mut words = Vec::new();
    if let Some(status) = &pod.status {
        words.extend(
            [status.phase.clone(), status.reason.clone(), status.message.clone()].into_iter().flatten(),
        );
        for condition in status.conditions.iter().flatten().filter(|condition| condition.status == "False") {
            words.extend(condition.message.clone());
        }
    }
    for container in containers(pod) {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        words.extend(waiting.and_then(|waiting| waiting.reason.clone()));
        words.extend(waiting.and_then(|waiting| waiting.message.clone()));
    }
    if let Some(terminated) = terminated(pod) {
        words.push(format!("the probe ended with {}", terminated.exit_code));
        words.extend(terminated.message.clone());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    /// K8
    #[test]
    fn the_neighbour_comes_first_because_the_ingress_is_judged_by_it() {
        let crate::args::Command::Run(args) = crate::Args::parse_from([
            "egress-check",
            "run",
            "--image=a:1",
            "--public=203.0.113.10:80",
            "--private=10.0.0.1:80",
        ])
        .command
        else {
            panic!("not run")
        };
        let targets = targets(&args, &["10.1.0.7".parse().unwrap(), "fd00::7".parse().unwrap()]);
        assert_eq!(
            targets,
            [
                "--rounds=4",
                "--report=/dev/termination-log",
                "--connect=neighbour-pod=10.1.0.7:8080",
                "--connect=neighbour-pod=[fd00::7]:8080",
                "--api-server=api-server",
                "--kubelet=kubelet",
                "--connect=metadata=169.254.169.254:80",
                "--connect=public=203.0.113.10:80",
                "--connect=private=10.0.0.1:80",
                "--resolve=names=kubernetes.default.svc",
            ]
        );
    }
}
