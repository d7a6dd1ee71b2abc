//! A place for runs in pods: a namespace under Pod Security "restricted" on a node of the tests, with what the chart would put
//! there, and the sandbox's services behind public addresses.

use anyhow::{Context as _, ensure};
use cluster::Cluster;
use e2e::{World, workspace};
use sandbox::Scenario;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The image that everything runs in.
pub const IMAGE: &str = "pressrun.test/runtime:1";

/// An address of the world that every pod may reach.
const PUBLIC: &str = "203.0.113.10";

/// A namespace for runs, and the world of their tests.
#[derive(Debug)]
pub struct Site {
    /// The cluster, shared by all tests of the process.
    pub cluster: &'static Cluster,
    /// The stand-ins and the repository.
    pub world: World,
    /// The namespace.
    pub namespace: String,
    folder: tempfile::TempDir,
}

/// How `spawn-job` ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// The one report.
    pub report: Value,
    /// All of stderr.
    pub stderr: String,
}

/// The cluster with a node that has the image. It ends with the process.
fn cluster() -> anyhow::Result<&'static Cluster> {
    static READY: OnceLock<Result<(), String>> = OnceLock::new();
    let cluster = Cluster::shared_with_node();
    let ready = READY.get_or_init(|| furnish(cluster).map_err(|error| format!("{error:#}")));
    ready.clone().map_err(anyhow::Error::msg)?;
    Ok(cluster)
}

/// Gives a cluster the image and the CRD.
///
/// # Errors
/// A program is not built, or the cluster refuses something.
pub fn furnish(cluster: &Cluster) -> anyhow::Result<()> {
    e2e::build();
    let pieces = [
        "agent-home",
        "agent-log",
        "agent-task",
        "branch-run",
        "mcp-config",
        "mint-gh-token",
        "notify-discord",
        "open-pr",
    ];
    let scripts = ["run-publisher.sh", "checkout.sh", "start-dev-bg.sh"];
    let mut programs = pieces.into_iter().map(e2e::find_program).collect::<Result<Vec<_>, _>>()?;
    programs.extend(scripts.map(|script| workspace().join("scripts").join(script)));
    let folder = tempfile::tempdir()?;
    cluster.import(&cluster::image::runtime(IMAGE, &programs, folder.path())?)?;
    cluster.apply(&agent_task_crd::run::definition()?)
}

/// The object with these fields on top, which add to its own or take their place.
#[must_use]
pub fn with(more: Value, mut object: Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

impl Site {
    /// A place where the model follows this script; `more` is added to the settings, or takes their place.
    ///
    /// # Errors
    /// Something could not be set up.
    pub fn new(purpose: &str, scenario: Scenario, more: Value) -> anyhow::Result<Self> {
        Self::on(cluster()?, purpose, scenario, more)
    }

    /// [`Site::new`] on a cluster of its own, which is [furnished](furnish).
    ///
    /// # Errors
    /// Something could not be set up.
    pub fn on(
        cluster: &'static Cluster,
        purpose: &str,
        scenario: Scenario,
        more: Value,
    ) -> anyhow::Result<Self> {
        let world = World::playing(scenario)?;
        let namespace = cluster.namespace(purpose)?;
        // A folder of the node has to be given away by root.
        let level = if more["workspace"]["mode"] == "hostPath" { "baseline" } else { "restricted" };
        let level = format!("pod-security.kubernetes.io/enforce={level}");
        cluster.kubectl(&["label", "namespace", &namespace, &level])?;

        let proxy = world.sandbox.proxy_url();
        let address = proxy.trim_start_matches("http://").parse::<std::net::SocketAddr>()?;
        cluster.world()?.publish(format!("{PUBLIC}:{}", address.port()).parse()?, address)?;
        let proxy = format!("http://{PUBLIC}:{}", address.port());
        let environment: serde_json::Map<String, Value> =
            ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"]
                .map(|name| (name.to_owned(), json!(proxy)))
                .into_iter()
                .collect();

        let credentials: Value = world
            .credentials()?
            .into_iter()
            .map(|(name, value)| match name.strip_suffix("_FILE") {
                Some(name) => Ok((name.to_owned(), json!(std::fs::read_to_string(value)?))),
                None => Ok((name, json!(value))),
            })
            .collect::<anyhow::Result<serde_json::Map<_, _>>>()?
            .into();
        let authority = std::fs::read_to_string(world.sandbox.ca_file())?;
        let at = |name: &str| json!({"name": name, "namespace": namespace});
        for object in [
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": at("agent-run")}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": at("pressrun"), "stringData": credentials}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": at("authority"), "data": {"ca.crt": authority}}),
        ] {
            cluster.apply(&object.to_string())?;
        }
        let folder = tempfile::tempdir()?;
        let settings = json!({
            "image": IMAGE, "imagePullPolicy": "Never", "repository": e2e::REPOSITORY,
            "environment": environment, "certificateAuthority": {"configMap": "authority"},
        });
        std::fs::write(folder.path().join("settings.yaml"), with(more, settings).to_string())?;
        Ok(Self { cluster, world, namespace, folder })
    }

    /// One of the programs that talk to the API server, with this cluster and its settings.
    ///
    /// # Errors
    /// It is not built.
    pub fn program(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(e2e::find_program(name)?);
        command
            .args(["--namespace", &self.namespace])
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("SPAWN_JOB_CONFIG", self.folder.path().join("settings.yaml"));
        Ok(command)
    }

    /// `spawn-job` in the namespace, to its end.
    ///
    /// # Errors
    /// It prints something else than one report.
    pub fn spawn_job(&self, arguments: &[&str], stdin: &str) -> anyhow::Result<Ended> {
        let mut child = self
            .program("spawn-job")?
            .args(["--wait-timeout", "15m"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("no stdin")?.write_all(stdin.as_bytes())?;
        let output = child.wait_with_output()?;
        let stderr = String::from_utf8(output.stderr)?;
        let stdout = String::from_utf8(output.stdout)?;
        ensure!(stdout.lines().count() == 1, "not one line: {stdout}\n{stderr}");
        Ok(Ended { code: output.status.code(), report: serde_json::from_str(&stdout)?, stderr })
    }

    /// The task of this spec, as a person would write it.
    #[must_use]
    pub fn task(&self, spec: &Value) -> String {
        let metadata = json!({"name": "task", "namespace": self.namespace});
        json!({"apiVersion": "agents.kyle.pericak.com/v1alpha1", "kind": "AgentTask", "metadata": metadata, "spec": spec})
            .to_string()
    }

    /// The folder of this machine that a claim's volume is.
    ///
    /// # Errors
    /// It has none.
    pub fn volume(&self, claim: &str) -> anyhow::Result<PathBuf> {
        let claim = self.cluster.get(&["pvc", claim, "--namespace", &self.namespace])?;
        let volume =
            self.cluster.get(&["pv", claim["spec"]["volumeName"].as_str().context("it is not bound")?])?;
        let path = ["hostPath", "local"].iter().find_map(|kind| volume["spec"][kind]["path"].as_str());
        Ok(path.context("it is no folder")?.into())
    }

    /// The pod of a Job.
    ///
    /// # Errors
    /// It has none.
    pub fn pod(&self, job: &str) -> anyhow::Result<Value> {
        let selector = format!("--selector=batch.kubernetes.io/job-name={job}");
        let pods = self.cluster.get(&["pods", "--namespace", &self.namespace, &selector])?;
        pods["items"].get(0).cloned().context("no pod")
    }
}
