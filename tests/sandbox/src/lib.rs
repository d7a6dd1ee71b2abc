//! Strict stand-ins on loopback for what lives on the internet: the model, GitHub with its git server, Discord, and a
//! proxy in front of them that a child process takes for the way out.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let sandbox = sandbox::Sandbox::start()?;
//! let repository = sandbox.github().add_repository("octo/blog");
//! # let _ = repository;
//! std::process::Command::new("git")
//!     .args(["ls-remote", "https://github.com/octo/blog.git"])
//!     .envs(sandbox.environment())
//!     .status()?;
//! assert_eq!(sandbox.hosts_asked(), ["github.com:443"]);
//! assert_eq!(sandbox.violations(), Vec::<String>::new());
//! # Ok(())
//! # }
//! ```
//!
//! Each service answers twice: under its real name through the proxy ([`Sandbox::environment`]), over TLS with a CA made
//! at start, and over plain HTTP at a loopback address of its own (`GitHub::api_url`, `Discord::api_url`, …). Everything
//! listens on 127.0.0.1 at ports that the system chose, runs in one thread, and is gone when the [`Sandbox`] is dropped.
//!
//! Strict: what the real service refuses is refused in its words; what the real service lets pass although its
//! documentation forbids it lands in [`Sandbox::violations`], which a test expects to be empty. Nothing is slowed down.
//!
//! # Inside: what the services share
//!
//! A service is a struct with `start(Shared) -> Self` and `router(&self) -> axum::Router`; the router is only the
//! service itself. `shared::Shared` (cheap to clone) gives it
//! - `clock()`: the servers' time, for expiry and signatures; never the system's clock,
//! - `violation(service, text)`: to report a client's fault that the answer does not show,
//! - `url(service)`: its own loopback address, known before the service starts,
//! - `requests(service)`: what was asked of it.
//!
//! Around each router the core puts `shared::observed`, which records every request (with its body and the status of
//! the answer) and lets the [`Fault`]s of [`Sandbox::fail`] happen, so no service deals with either; it only says how
//! the real one turns a client away that asks too often (`rate_limited(RateLimited) -> Response`).

mod authority;
mod clock;
pub mod command;
mod control;
mod discord;
mod fault;
mod github;
mod model;
pub mod page;
mod process;
mod proxy;
mod server;
mod shared;
mod trap;

pub use clock::Clock;
pub use discord::{Discord, Message};
pub use fault::{Fault, How, Limit, Service};
pub use github::{App, GitHub, GitPush, PullRequest, RefUpdate};
pub use model::{Agent, Call, Failing, Failure, Model, Scenario, Turn, Usage};
pub use process::{Ended, Piece};
pub use shared::Request;
pub use trap::Trap;

use anyhow::Context as _;
use authority::Authority;
use control::Control;
use proxy::{Hosts, Proxy};
use shared::{Shared, observed};
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// The stand-ins, running. Dropping it stops them.
#[derive(Debug)]
pub struct Sandbox {
    shared: Shared,
    github: Arc<GitHub>,
    discord: Arc<Discord>,
    model: Arc<Model>,
    ca_file: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Removed last, if it is the sandbox's own.
    _directory: Option<tempfile::TempDir>,
}

impl Sandbox {
    /// Starts everything on free ports of 127.0.0.1, with a temporary directory for its files.
    ///
    /// # Errors
    /// No port, no directory for the repositories, no entropy for the keys.
    pub fn start() -> anyhow::Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("sandbox-").tempdir().context("making a directory")?;
        let path = directory.path().to_owned();
        Self::start_with(path, Some(directory))
    }

    /// [`Self::start`] with the files in `directory`, which stays.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_in(directory: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(directory)?;
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Self::start_with(path, None)
    }

    fn start_with(path: PathBuf, directory: Option<tempfile::TempDir>) -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let ca_file = path.join("ca.pem");
        std::fs::write(&ca_file, authority.certificate_pem()).context("writing the CA's certificate")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let shared = Shared::new(path).context("listening on 127.0.0.1")?;
        let github = Arc::new(GitHub::start(shared.clone())?);
        let discord = Arc::new(Discord::start(shared.clone()));
        let model = Arc::new(Model::start(shared.clone()));
        let hosts = Hosts {
            github: observed(&shared, Service::GitHub, github.api_router(), GitHub::rate_limited),
            git: observed(&shared, Service::Git, github.git_router(), GitHub::rate_limited),
            discord: observed(&shared, Service::Discord, discord.router(), Discord::rate_limited),
            model: observed(&shared, Service::Model, model.router(), Model::rate_limited),
        };
        let proxy = Proxy { shared: shared.clone(), authority, hosts: hosts.clone() };
        drop(entered);
        let (stop, stopped) = oneshot::channel();
        let control =
            Control { shared: shared.clone(), github: Arc::clone(&github), discord: Arc::clone(&discord) };
        let served = serve(&shared, hosts, Arc::new(proxy), control.router())?;
        let ending = shared.clone();
        let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
            runtime.block_on(async {
                for task in served {
                    tokio::spawn(task);
                }
                // A sender that is dropped says the same as one that sends.
                let _ = stopped.await;
                ending.stop().await;
            });
        })?;
        Ok(Self {
            shared,
            github,
            discord,
            model,
            ca_file,
            stop: Some(stop),
            thread: Some(thread),
            _directory: directory,
        })
    }

    /// What a child process needs in its environment, so that the real host names reach the stand-ins.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let proxy = self.proxy_url();
        let ca = self.ca_file.to_string_lossy();
        let proxies = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
        let direct = ["NO_PROXY", "no_proxy"];
        // Node, OpenSSL and rustls, curl, git, Python's requests: each reads its own.
        let trust = [
            "NODE_EXTRA_CA_CERTS",
            "SSL_CERT_FILE",
            "CURL_CA_BUNDLE",
            "GIT_SSL_CAINFO",
            "REQUESTS_CA_BUNDLE",
        ];
        let set = |names: &[&str], value: &str| {
            names.iter().map(|name| ((*name).to_owned(), value.to_owned())).collect::<Vec<_>>()
        };
        [set(&proxies, &proxy), set(&direct, "127.0.0.1,localhost,::1"), set(&trust, &ca)].concat()
    }

    /// The proxy's address, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn proxy_url(&self) -> String {
        self.shared.url(Service::Proxy)
    }

    /// The file with the CA certificate (PEM) that the proxy's certificates are signed with.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// `host:port` of everything that the proxy was asked for, let through or not, in order.
    #[must_use]
    pub fn hosts_asked(&self) -> Vec<String> {
        self.shared.requests(Service::Proxy).into_iter().map(|request| request.path).collect()
    }

    /// What clients did that the real services forbid but do not always refuse.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.violations()
    }

    /// The servers' clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.shared.clock()
    }

    /// The address of the control endpoint: `GET /state`, `POST /faults`, `POST /clock`.
    #[must_use]
    pub fn control_url(&self) -> String {
        self.shared.control_url()
    }

    /// GitHub: its API, and git.
    #[must_use]
    pub fn github(&self) -> &GitHub {
        &self.github
    }

    /// Discord.
    #[must_use]
    pub fn discord(&self) -> &Discord {
        &self.discord
    }

    /// The model, which follows a script.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Lets calls fail, as `fault` says. Faults add up; the first one that matches a call happens.
    pub fn fail(&self, fault: Fault) {
        self.shared.faults().add(fault);
    }

    /// Waits until `condition` holds, looking again after each request that any service answers. False after `limit`.
    #[must_use]
    pub fn wait_until(&self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        self.shared.wait_until(limit, || condition(self))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was reported by the thread.
            let _ = thread.join();
        }
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is to run: an acceptor for each socket.
fn serve(
    shared: &Shared,
    hosts: Hosts,
    proxy: Arc<Proxy>,
    control: axum::Router,
) -> std::io::Result<Vec<Task>> {
    let listeners = shared.listeners();
    let plain = |listener: &TcpListener, router: axum::Router| -> std::io::Result<Task> {
        let listener = listener.try_clone()?;
        Ok(Box::pin(server::accept(listener, move |stream| server::connection(stream, router.clone()))))
    };
    let through_proxy = listeners.proxy.try_clone()?;
    Ok(vec![
        plain(&listeners.github, hosts.github)?,
        plain(&listeners.git, hosts.git)?,
        plain(&listeners.discord, hosts.discord)?,
        plain(&listeners.model, hosts.model)?,
        plain(&listeners.control, control)?,
        Box::pin(server::accept(through_proxy, move |stream| Arc::clone(&proxy).connection(stream))),
    ])
}
