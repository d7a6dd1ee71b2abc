//! A throwaway Kubernetes for tests: the real API server, controllers and scheduler of one release, in namespaces of their own that end with
//! the process that made them.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let cluster = cluster::Cluster::control_plane()?;
//! let namespace = cluster.namespace("tasks")?;
//! cluster.apply(&format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: greeting, namespace: {namespace}}}}}"))?;
//! let found = cluster.get(&["configmaps", "--namespace", &namespace])?;
//! assert_eq!(found["items"].as_array().map(Vec::len), Some(2));
//! // A program that is tested gets the kubeconfig.
//! std::process::Command::new("spawn-job").env("KUBECONFIG", cluster.kubeconfig());
//! # Ok(())
//! # }
//! ```
//!
//! It takes root, and the programs that `scripts/setup.sh cluster` installs on the `PATH`. A control plane is ready in about ten seconds
//! and takes half a GiB, so tests of one binary share it ([`Cluster::shared_control_plane`]) and keep apart by [`Cluster::namespace`].
//!
//! Where [`KUBECONFIG_VARIABLE`] names a kubeconfig, that cluster is used and nothing is started. `KUBECONFIG` alone is not heeded: tests
//! must not get at a person's cluster by accident.

mod authority;
pub mod command;
mod control_plane;
mod enforce;
mod gate;
pub mod image;
mod node;
mod policy;
mod relay;
mod sealed;
pub mod world;

use anyhow::{Context as _, ensure};
use authority::Authority;
pub use enforce::Enforcement;
pub use gate::Gate;
use image::Image;
use sealed::{Afterwards, Program, SealedBox};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The environment variable that names the kubeconfig of a cluster to be used instead.
pub const KUBECONFIG_VARIABLE: &str = "PRESSRUN_TEST_KUBECONFIG";

/// How long the cluster may take for what it does in seconds when the machine does nothing else.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running cluster. Dropped, it ends and leaves nothing.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    server: String,
    own: Option<Own>,
}

/// What there is of a cluster that was started here. Fields are dropped in this order.
#[derive(Debug)]
struct Own {
    sealed: SealedBox,
    programs: Mutex<Vec<Program>>,
    state: PathBuf,
}

impl Own {
    fn programs(&self) -> MutexGuard<'_, Vec<Program>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, programs: Vec<Program>) {
        self.programs().extend(programs);
    }
}

/// What a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// No node: objects, controllers and admission are real, and no pod ever runs.
    ControlPlane,
    /// One node, volumes, Services, DNS, and the [`world`] behind the node.
    WithNode,
}

impl Cluster {
    /// A cluster without a node.
    ///
    /// # Errors
    /// A program is missing or does not start; this is not root.
    pub fn control_plane() -> anyhow::Result<Self> {
        Self::temporary(Form::ControlPlane)
    }

    /// A cluster with a node.
    ///
    /// # Errors
    /// A program is missing or does not start; this is not root.
    pub fn with_node() -> anyhow::Result<Self> {
        Self::temporary(Form::WithNode)
    }

    fn temporary(form: Form) -> anyhow::Result<Self> {
        match given()? {
            Some(given) => Ok(given),
            None => {
                let folder = tempfile::Builder::new().prefix("cluster-").tempdir()?.keep();
                Self::start(form, &folder, Afterwards::Remove)
            }
        }
    }

    /// [`Cluster::control_plane`], one for all tests of this process. It ends with the process.
    ///
    /// # Panics
    /// It does not start; every test that needs it then fails, with the reason.
    pub fn shared_control_plane() -> &'static Self {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        shared(&SHARED, Form::ControlPlane)
    }

    /// [`Cluster::with_node`], one for all tests of this process. It ends with the process.
    ///
    /// # Panics
    /// It does not start; every test that needs it then fails, with the reason.
    pub fn shared_with_node() -> &'static Self {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        shared(&SHARED, Form::WithNode)
    }

    /// A cluster whose state is in this folder, which is kept.
    ///
    /// # Errors
    /// See [`Cluster::control_plane`]; another cluster runs in that folder.
    pub fn start_in(form: Form, state: &Path) -> anyhow::Result<Self> {
        Self::start(form, state, Afterwards::Keep)
    }

    fn start(form: Form, state: &Path, afterwards: Afterwards) -> anyhow::Result<Self> {
        std::fs::create_dir_all(state).with_context(|| format!("making {}", state.display()))?;
        let state = &state.canonicalize()?;
        let environment = [
            ("STATE", state.to_string_lossy().into_owned()),
            ("NODE", if form == Form::WithNode { "yes" } else { "no" }.to_owned()),
            ("NODE_ADDRESS", control_plane::NODE_ADDRESS.to_owned()),
            ("POD_ADDRESSES", node::POD_ADDRESSES.join(" ")),
            ("WORLD_ADDRESSES", world::World::addresses()),
        ];
        let sealed = SealedBox::start(state, afterwards, include_str!("box.sh"), &environment)?;
        clear(state)?;
        let authority = Authority::new(state.join("pki"))?;
        let tokens = authority.token_keys()?;
        let mut programs = control_plane::start_server(&sealed, state, &authority, &tokens)?;
        if form == Form::WithNode {
            programs.push(node::start_containerd(&sealed, state)?);
        }
        let inside = SocketAddr::from((Ipv4Addr::LOCALHOST, control_plane::API_PORT));
        let network = sealed.network()?;
        let server = format!("https://{}", relay::into(sealed.network()?, inside)?);
        let kubeconfig = state.join("kubeconfig");
        let masters = Some("system:masters");
        authority.kubeconfig(&kubeconfig, &server, "admin", masters)?;
        let for_box = state.join("inside.kubeconfig");
        authority.kubeconfig(&for_box, &control_plane::server_inside(), "admin", masters)?;
        let own = Own { sealed, programs: Mutex::new(programs), state: state.clone() };
        let cluster = Self { kubeconfig, server, own: Some(own) };

        // kubectl would try for ten seconds where nobody listens.
        cluster.until(|| {
            network.within(|| TcpStream::connect(inside))??;
            Ok(())
        })?;
        cluster.until(|| cluster.kubectl(&["get", "--raw=/readyz"]).map(drop))?;
        let own = cluster.own()?;
        own.keep(control_plane::start_controllers(&own.sealed, state, &authority, &tokens)?);
        if form == Form::WithNode {
            let kubelet = node::start_kubelet(&own.sealed, state, &authority)?;
            own.keep(vec![kubelet, node::start_proxy(&own.sealed, state, &authority)?]);
        }
        // The default service account of a namespace comes last of all that a pod needs.
        cluster.wait_for(&["--namespace=default", "serviceaccount/default"])?;
        if form == Form::WithNode {
            cluster.furnish().context("making the node ready")?;
        }
        Ok(cluster)
    }

    /// What a node needs beside its own programs: images, volumes, names.
    fn furnish(&self) -> anyhow::Result<()> {
        let own = self.own()?;
        let folder = own.state.join("images");
        std::fs::create_dir_all(&folder)?;
        // The first process of a pod inherits what its containers leave behind, and a shell waits for that.
        let wait = "trap 'exit 0' TERM; while :; do sleep 86400 & wait $!; done";
        let busybox = image::busybox("pressrun.test/busybox:1", &folder, json!({"Cmd": ["sh"]}))?;
        let pause = Image {
            name: node::PAUSE_IMAGE.to_owned(),
            config: json!({"Entrypoint": ["/bin/sh", "-c", wait]}),
            ..busybox.clone()
        };
        for image in
            [&busybox, &pause, &image::single_program("pressrun.test/coredns:1", "coredns", &folder)?]
        {
            self.import(image)?;
        }
        self.apply(include_str!("../manifests/volumes.yaml"))?;
        self.apply(include_str!("../manifests/dns.yaml"))?;
        own.keep(vec![node::start_provisioner(&own.sealed, &own.state)?]);
        self.wait_for(&[&format!("node/{}", node::NAME)])?;
        let patience = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["wait", &patience, "--for=condition=Ready", &format!("node/{}", node::NAME)])?;
        self.kubectl(&["rollout", "status", &patience, "--namespace=kube-system", "deployment/coredns"])?;
        Ok(())
    }

    /// Waits until there is such an object, for as long as all programs run.
    fn wait_for(&self, object: &[&str]) -> anyhow::Result<()> {
        self.until(|| self.kubectl(&[&["get"], object].concat()).map(drop))
    }

    /// Tries this until it works, for as long as all programs run.
    fn until(&self, attempt: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = attempt() {
            let mut words = Vec::new();
            if let Some(own) = &self.own {
                for program in own.programs().iter_mut() {
                    program.is_running()?;
                    words.push(program.last_words());
                }
            }
            if Instant::now() > deadline {
                return Err(error.context(format!("the cluster is not ready:\n{}", words.join("\n"))));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn own(&self) -> anyhow::Result<&Own> {
        self.own.as_ref().with_context(|| format!("not with the cluster that {KUBECONFIG_VARIABLE} names"))
    }

    /// Gives an image to the node. A pod uses it by its name, with `imagePullPolicy: Never`.
    ///
    /// # Errors
    /// containerd refuses it; the cluster has no node, or was not started here.
    pub fn import(&self, image: &Image) -> anyhow::Result<()> {
        let own = self.own()?;
        let layout = tempfile::Builder::new().prefix("image-").tempdir_in(&own.state)?;
        image.write(layout.path())?;
        let mut tar = Command::new("tar")
            .args(["--create", "--dereference", "--file=-", "--directory"])
            .arg(layout.path())
            .arg(".")
            .stdout(Stdio::piped())
            .spawn()
            .context("tar")?;
        let archive = tar.stdout.take().context("tar has no stdout")?;
        let output = own
            .sealed
            .command("ctr")
            .args(["--namespace=k8s.io", "images", "import", "-"])
            .stdin(archive)
            .output()
            .context("ctr")?;
        let packed = tar.wait()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "importing the image {}: {}", image.name, stderr.trim());
        ensure!(packed.success(), "packing the image {}: {packed}", image.name);
        Ok(())
    }

    /// The network behind the node.
    ///
    /// # Errors
    /// The cluster has no node, or was not started here.
    pub fn world(&self) -> anyhow::Result<world::World> {
        world::World::of_box(self.own()?.sealed.init())
    }

    /// Enforces NetworkPolicy from now on, for as long as the result lives. Without it the network is one that does not.
    ///
    /// # Errors
    /// A policy has what is not supported; the cluster has no node, or was not started here.
    pub fn enforce_network_policy(&self) -> anyhow::Result<Enforcement> {
        let handle = Self { kubeconfig: self.kubeconfig.clone(), server: self.server.clone(), own: None };
        Enforcement::start(handle, self.own()?.sealed.init())
    }

    /// Kills one of the cluster's programs, for instance `kubelet` or `kube-apiserver`. What it has started lives on.
    ///
    /// # Errors
    /// It does not run; the cluster was not started here.
    pub fn kill(&self, program: &str) -> anyhow::Result<()> {
        let own = self.own()?;
        own.sealed.kill(named(&mut own.programs(), program)?)
    }

    /// Starts a program again that was killed.
    ///
    /// # Errors
    /// It runs, or does not start; the cluster was not started here.
    pub fn start_again(&self, program: &str) -> anyhow::Result<()> {
        let own = self.own()?;
        own.sealed.start_again(named(&mut own.programs(), program)?)
    }

    /// What a power cut does to the node: the kubelet, containerd and all processes of all pods are gone at once, and the first two come back.
    ///
    /// # Errors
    /// The cluster has no node, or was not started here.
    pub fn restart_node(&self) -> anyhow::Result<()> {
        let own = self.own()?;
        self.kill("kubelet")?;
        self.kill("containerd")?;
        let script = r#"
            pkill -KILL --exact containerd-shim
            find /sys/fs/cgroup -path "*$0/*" -name cgroup.procs -exec cat {} + | sort --unique | xargs --no-run-if-empty kill -KILL
            true"#;
        let status = own.sealed.command("bash").args(["-c", script, &own.sealed.control_group()]).status()?;
        ensure!(status.success(), "killing the pods: {status}");
        self.start_again("containerd")?;
        // A kubelet that finds nobody there gives up.
        let deadline = Instant::now() + PATIENCE;
        while !own.sealed.command("ctr").arg("version").output().context("ctr")?.status.success() {
            ensure!(Instant::now() < deadline, "containerd does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.start_again("kubelet")
    }

    /// A command that runs in the box, as root, with the machine's files and the node's network and processes; not yet started.
    ///
    /// # Errors
    /// The cluster was not started here.
    pub fn command_on_node(&self, program: &str) -> anyhow::Result<Command> {
        Ok(self.own()?.sealed.command(program))
    }

    /// A kubeconfig for its administrator, which works from this process and its children.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The first process of the box, whose end ends all of it. None of a cluster that was given.
    #[must_use]
    pub fn init(&self) -> Option<u32> {
        self.own.as_ref().map(|own| own.sealed.init())
    }

    /// Makes a namespace that no other test has, named for `purpose`, and waits until pods can be made in it; its name.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn namespace(&self, purpose: &str) -> anyhow::Result<String> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("{purpose}-{}-{number}", std::process::id());
        self.kubectl(&["create", "namespace", &name])?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.kubectl(&["get", "--namespace", &name, "serviceaccount/default"]) {
            ensure!(Instant::now() < deadline, "{error:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(name)
    }

    /// A kubeconfig, as JSON, of a new service account in the namespace that may do this in there and that on the whole cluster:
    /// API group, resource, verbs with spaces between them.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn account(
        &self,
        namespace: &str,
        name: &str,
        here: &[[&str; 3]],
        everywhere: &[[&str; 3]],
    ) -> anyhow::Result<String> {
        const RBAC: &str = "rbac.authorization.k8s.io";
        let account = json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
        let global = format!("{namespace}-{name}");
        let mut objects = vec![
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}),
        ];
        for (kind, name, rights) in [("Role", name, here), ("ClusterRole", &global, everywhere)] {
            let rules: Vec<Value> = rights
                .iter()
                .map(|[group, resource, verbs]| {
                    let verbs: Vec<&str> = verbs.split(' ').collect();
                    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
                })
                .collect();
            let object = |kind: &str| json!({"apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": {"name": name, "namespace": namespace}});
            let (mut role, mut binding) = (object(kind), object(&format!("{kind}Binding")));
            role["rules"] = rules.into();
            binding["roleRef"] = json!({"apiGroup": RBAC, "kind": kind, "name": name});
            binding["subjects"] = json!([account]);
            objects.extend([role, binding]);
        }
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())?;
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace])?;
        let config = self.kubectl(&["config", "view", "--raw", "--output=json"])?;
        let mut config: Value = serde_json::from_str(&config)?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        config["contexts"][0]["context"]["namespace"] = namespace.into();
        Ok(config.to_string())
    }

    /// Runs kubectl as the administrator; its stdout.
    ///
    /// # Errors
    /// kubectl fails; the error has what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_reading(arguments, "")
    }

    /// [`Cluster::kubectl`] with this text on stdin.
    ///
    /// # Errors
    /// kubectl fails; the error has what it said.
    pub fn kubectl_reading(&self, arguments: &[&str], stdin: &str) -> anyhow::Result<String> {
        let mut child = self
            .kubectl_command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl: scripts/setup.sh cluster installs it")?;
        // In a thread of its own, for the case that kubectl writes before it has read everything; if it ends early, its own words say why.
        let pipe = child.stdin.take();
        let output = std::thread::scope(|scope| {
            scope.spawn(|| pipe.map(|mut pipe| pipe.write_all(stdin.as_bytes())));
            child.wait_with_output()
        })?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), stderr.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// kubectl as the administrator, not yet started.
    #[must_use]
    pub fn kubectl_command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        // What it remembers of a server, it would keep in the home folder.
        command.arg("--cache-dir").arg(self.kubeconfig.with_file_name("kubectl-cache"));
        command.args(arguments).env_remove("KUBECONFIG").env("KUBERC", "off");
        command
    }

    /// `kubectl get … --output=json`.
    ///
    /// # Errors
    /// kubectl fails.
    pub fn get(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.kubectl(&[&["get", "--output=json"], arguments].concat())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Applies manifests, YAML or JSON, by server-side apply.
    ///
    /// # Errors
    /// One is refused.
    pub fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        self.kubectl_reading(&["apply", "--server-side", "--filename=-"], manifests)?;
        Ok(())
    }
}

fn named<'a>(programs: &'a mut [Program], name: &str) -> anyhow::Result<&'a mut Program> {
    let found = programs.iter_mut().find(|program| program.name == name);
    found.with_context(|| format!("the cluster has no program '{name}'"))
}

fn shared(cell: &'static OnceLock<Result<Cluster, String>>, form: Form) -> &'static Cluster {
    match cell.get_or_init(|| Cluster::temporary(form).map_err(|error| format!("{error:#}"))) {
        Ok(cluster) => cluster,
        #[expect(clippy::panic, reason = "every caller is a test, and has nothing else to do with it")]
        Err(error) => panic!("no cluster: {error}"),
    }
}

/// Removes what an earlier cluster left in its folder: it belongs together, and none of it to this one.
fn clear(state: &Path) -> anyhow::Result<()> {
    for name in ["cni", "cni-addresses", "containerd", "etcd", "images", "kubelet", "log", "pki", "volumes"] {
        let folder = state.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}

/// The cluster that [`KUBECONFIG_VARIABLE`] names.
fn given() -> anyhow::Result<Option<Cluster>> {
    let Some(kubeconfig) = std::env::var_os(KUBECONFIG_VARIABLE) else { return Ok(None) };
    let mut cluster = Cluster { kubeconfig: kubeconfig.into(), server: String::new(), own: None };
    let view = ["config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"];
    cluster.server =
        cluster.kubectl(&view).with_context(|| format!("the cluster that {KUBECONFIG_VARIABLE} names"))?;
    Ok(Some(cluster))
}
