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
//! service itself. [`shared::Shared`] (cheap to clone) gives it
//! - `clock()`: the servers' time, for expiry and signatures; never the system's clock,
//! - `violation(service, text)`: to report a client's fault that the answer does not show,
//! - `url(service)`: its own loopback address, known before the service starts,
//! - `requests(service)`: what was asked of it.
//!
//! Around each router the core puts [`shared::observed`], which records every request (with its body and the status of
//! the answer) and lets the [`Fault`]s of [`Sandbox::fail`] happen, so no service deals with either; it only says how
//! the real one turns a client away that asks too often (`rate_limited(RateLimited) -> Response`).

mod clock;
mod discord;
mod fault;
mod github;
mod model;
mod shared;

pub use clock::Clock;
pub use discord::Discord;
pub use fault::{Fault, How, Limit, Service};
pub use github::{App, GitHub, PullRequest};
pub use model::Model;
pub use shared::Request;

use anyhow::Context as _;
use shared::Shared;
use std::path::Path;
use std::time::Duration;

/// The stand-ins, running. Dropping it stops them.
#[derive(Debug)]
pub struct Sandbox {
    shared: Shared,
    github: GitHub,
    discord: Discord,
    model: Model,
    directory: tempfile::TempDir,
}

impl Sandbox {
    /// Starts everything on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// No port, no directory for the repositories, no entropy for the keys.
    pub fn start() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("sandbox-").tempdir().context("making a directory")?;
        let shared = Shared::new()?;
        let github = GitHub::start(shared.clone());
        let discord = Discord::start(shared.clone());
        let model = Model::start(shared.clone());
        Ok(Self { shared, github, discord, model, directory })
    }

    /// What a child process needs in its environment, so that the real host names reach the stand-ins.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The proxy's address, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn proxy_url(&self) -> String {
        self.shared.url(Service::Proxy)
    }

    /// The file with the CA certificate (PEM) that the proxy's certificates are signed with.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        self.directory.path()
    }

    /// `host:port` of everything that the proxy was asked for, let through or not, in order.
    #[must_use]
    pub fn hosts_asked(&self) -> Vec<String> {
        Vec::new()
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
