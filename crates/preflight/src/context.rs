//! What the checks are given: what was asked for, and what is looked up once.

use crate::args::Args;
use crate::check::{Name, Place, Unmet};
use crate::cluster::Cluster;
use crate::program::Stop;
use crate::repository;
use agent_home::Runtime;
use agent_task::names;
use anyhow::Context as _;
use api_client::Client;
use branch_run::checkout::Checkout;
use piece::Fault;
use redact::Redactor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an unreachable server is asked again: people are waiting.
const PATIENCE: Duration = Duration::from_secs(4);

/// What was asked for, and what is looked up once.
pub(crate) struct Context {
    pub(crate) agent: String,
    pub(crate) runtime: Runtime,
    pub(crate) base: String,
    pub(crate) mcp_overlay: Option<PathBuf>,
    pub(crate) model: Option<String>,
    pub(crate) post: bool,
    pub(crate) timeout: Duration,
    pub(crate) redactor: Redactor,
    pub(crate) client: Client,
    pub(crate) stop: Stop,
    pub(crate) place: Place,
    cluster: Option<Cluster>,
    began: Instant,
    repository: Option<String>,
    checkout: Result<Checkout, Fault>,
    only: Vec<Name>,
    skip: Vec<Name>,
}

impl Context {
    /// # Errors
    /// Usage faults for arguments that make no sense.
    pub(crate) fn new(args: Args) -> anyhow::Result<Self> {
        let Args {
            agent,
            runtime,
            repo,
            base,
            mcp_overlay,
            model,
            post,
            cluster,
            namespace,
            config,
            only,
            skip,
            timeout,
        } = args;
        names::check_agent(&agent).map_err(|error| Fault::usage(error.to_string()))?;
        branch_run::push::check_base(&base)?;
        let repository = repo.map(|repo| repo.trim().to_owned()).filter(|repo| !repo.is_empty());
        if let Some(repository) = &repository {
            names::owner_and_name(repository).map_err(|error| Fault::usage(error.to_string()))?;
        }
        let here = std::env::current_dir().context(Fault::usage("the current directory is gone"))?;
        // Checks run elsewhere.
        let mcp_overlay = mcp_overlay.map(|path| here.join(path));
        let checkout = Checkout::find(&here).map_err(|error| fault(&error));
        let mut context = Self {
            agent,
            runtime,
            base,
            mcp_overlay,
            model,
            post,
            timeout,
            redactor: Redactor::from_env(&[
                branch_run::environment::LOGIN_TOKEN,
                branch_run::environment::LOGIN_KEY,
                "GITHUB_TOKEN",
                "GITHUB_APP_PRIVATE_KEY",
                "DISCORD_WEBHOOK_URL",
                "DISCORD_BOT_TOKEN",
            ]),
            // A wait would break into the table.
            client: Client::new("preflight", env!("CARGO_PKG_VERSION")).with_progress(|_| ()),
            stop: Stop::listen().context("listening for signals")?,
            place: if cluster { Place::Cluster } else { Place::Here },
            cluster: None,
            began: Instant::now(),
            repository,
            checkout,
            only,
            skip,
        };
        let is_elsewhere = |name: &&Name| context.place.checks().all(|check| check.name != **name);
        if let Some(name) = context.only.iter().find(is_elsewhere) {
            let fault = Fault::usage(format!("'{name}' is not among what is checked"));
            return Err(fault.hint("--cluster looks at a cluster, without it this machine").into());
        }
        if !context.place.checks().any(|check| context.lists(check.name) && !context.skips(check.name)) {
            return Err(Fault::usage("no check is left to do").hint("drop --only or --skip").into());
        }
        if context.post && (!context.lists(Name::Discord) || context.skips(Name::Discord)) {
            return Err(Fault::usage("--post is part of the check 'discord', which is left out").into());
        }
        if cluster {
            context.cluster = Some(Cluster::new(namespace, config, context.deadline())?);
        }
        Ok(context)
    }

    /// The cluster.
    ///
    /// # Errors
    /// A usage fault where none was asked for.
    pub(crate) fn cluster(&self) -> Result<&Cluster, Fault> {
        self.cluster.as_ref().ok_or_else(|| Fault::usage("no cluster was asked for").hint("give --cluster"))
    }

    /// Whether the check, one of those of the place, stands in the report.
    pub(crate) fn lists(&self, name: Name) -> bool {
        self.only.is_empty() || self.only.contains(&name)
    }

    /// Whether it stands there as left out.
    pub(crate) fn skips(&self, name: Name) -> bool {
        self.skip.contains(&name)
    }

    /// When every check should have ended.
    pub(crate) fn deadline(&self) -> Instant {
        self.began + self.timeout
    }

    /// How long servers are asked again that cannot be reached.
    pub(crate) fn patience(&self) -> Duration {
        PATIENCE.min(self.timeout)
    }

    /// The work tree that we are in.
    ///
    /// # Errors
    /// A usage fault where we are in none.
    pub(crate) fn checkout(&self) -> Result<&Checkout, Fault> {
        self.checkout.as_ref().map_err(Fault::clone)
    }

    /// [`Context::checkout`], for a check that is not about it.
    ///
    /// # Errors
    /// [`Unmet`] where the check that is about it says what is wrong, else as there.
    pub(crate) fn root(&self) -> anyhow::Result<&Path> {
        self.checkout().map(Checkout::root).map_err(|fault| self.unmet(Name::Repository, fault))
    }

    /// The repository on GitHub, and whether it was asked for by name.
    ///
    /// # Errors
    /// A usage fault where it was not, and the remote tells none.
    pub(crate) fn repository(&self) -> Result<(String, bool), Fault> {
        if let Some(repository) = &self.repository {
            return Ok((repository.clone(), true));
        }
        let origin = self.checkout()?.origin();
        let named = origin.as_deref().and_then(repository::owner_and_name);
        named.map(|name| (name, false)).ok_or_else(|| {
            Fault::usage("no repository on GitHub: the remote origin names none")
                .hint("give --repo owner/name, or set GITHUB_REPOSITORY")
        })
    }

    /// `fault`, which the check `name` tells where it is made: else it itself.
    pub(crate) fn unmet(&self, name: Name, fault: Fault) -> anyhow::Error {
        if self.lists(name) && !self.skips(name) { Unmet(name).into() } else { fault.into() }
    }
}

/// The error with its causes as one fault.
pub(crate) fn fault(error: &anyhow::Error) -> Fault {
    let known = error.downcast_ref::<Fault>();
    let exit = known.map_or(agent_task::Exit::Failed, Fault::exit);
    let fault = Fault::new(exit, format!("{error:#}"));
    match known.and_then(Fault::hint_text) {
        Some(hint) => fault.hint(hint.to_owned()),
        None => fault,
    }
}
