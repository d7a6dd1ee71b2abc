//! GitHub: its REST API as far as an App uses it, and its git server.
//!
//! The repositories are private and real (bare, on disk); an installation token reaches what it was minted for. What the API
//! says about a branch is read from the repository when it is asked.

mod api;
mod app;
mod asked;
mod git;
mod pulls;
mod refusal;
mod report;
mod repository;
mod token;

pub use app::App;
pub use git::{GitPush, RefUpdate};
pub use pulls::PullRequest;

use crate::fault::{Limit, Service};
use crate::shared::{RateLimited, Request, Shared};
use anyhow::{Context as _, ensure};
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use pulls::Pull;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use token::{Level, Permissions, Token};

/// GitHub, running.
#[derive(Debug)]
pub struct GitHub {
    hub: Arc<Hub>,
}

/// What the handlers share.
#[derive(Debug)]
struct Hub {
    shared: Shared,
    app: App,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    /// Owners in the order in which they installed the App; each has an installation of its own.
    owners: Vec<String>,
    tokens: HashMap<String, Token>,
    pushes: Vec<GitPush>,
    calls: u64,
}

#[derive(Debug)]
struct Repository {
    id: u64,
    path: PathBuf,
    /// Whether the installation covers it.
    covered: bool,
    pulls: Vec<Pull>,
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules_file(&self) -> PathBuf {
        self.shared.directory().join("rules")
    }
}

impl State {
    /// Where the repository is, if there is one of this name.
    fn path(&self, repository: &str) -> Option<PathBuf> {
        self.repositories.get(repository).map(|repository| repository.path.clone())
    }
}

impl GitHub {
    pub(crate) fn start(shared: Shared) -> anyhow::Result<Self> {
        let hub = Hub { shared, app: App::new()?, state: Mutex::default() };
        std::fs::write(hub.rules_file(), "").context("writing the push rules")?;
        Ok(Self { hub: Arc::new(hub) })
    }

    /// `https://api.github.com` as plain HTTP on loopback. Followed by `/api/v3` it answers too, as an Enterprise server.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.hub.shared.url(Service::GitHub)
    }

    /// `https://github.com` as plain HTTP on loopback.
    #[must_use]
    pub fn server_url(&self) -> String {
        self.hub.shared.url(Service::Git)
    }

    /// The App.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.hub.app
    }

    /// Adds an empty repository `owner/name` that the App is installed on; gives the path of its bare repository, which a
    /// test may push to directly. Its default branch is `main`.
    ///
    /// # Panics
    /// Where `owner/name` is no repository's name or exists, or git cannot make it.
    pub fn add_repository(&self, repository: &str) -> PathBuf {
        self.must_add(repository, true)
    }

    /// Adds a repository that the App is *not* installed on.
    ///
    /// # Panics
    /// As [`Self::add_repository`].
    pub fn add_foreign_repository(&self, repository: &str) -> PathBuf {
        self.must_add(repository, false)
    }

    #[expect(clippy::panic, reason = "a test that cannot have its repository has failed")]
    fn must_add(&self, repository: &str, covered: bool) -> PathBuf {
        self.add(repository, covered).unwrap_or_else(|error| panic!("adding {repository}: {error:#}"))
    }

    pub(crate) fn add(&self, repository: &str, covered: bool) -> anyhow::Result<PathBuf> {
        let (owner, name) = repository.split_once('/').context("expected owner/name")?;
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        ensure!(plain(owner) && plain(name), "expected owner/name");
        let mut state = self.hub.state();
        ensure!(!state.repositories.contains_key(repository), "it exists already");
        let path = self.hub.shared.directory().join("repositories").join(format!("{repository}.git"));
        // A directory that was given may hold it from before, and its branches stay.
        if !path.join("HEAD").exists() {
            repository::create(&path)?;
        }
        if covered && !state.owners.iter().any(|known| known == owner) {
            state.owners.push(owner.to_owned());
        }
        let id = 500_000_000 + state.repositories.len() as u64;
        let added = Repository { id, path: path.clone(), covered, pulls: Vec::new() };
        state.repositories.insert(repository.to_owned(), added);
        Ok(path)
    }

    /// A valid installation token for one repository, without going through HTTP. No permissions named: all that the
    /// installation has.
    ///
    /// # Panics
    /// Where the installation was not granted these permissions (`read`, `write`), or does not cover the repository.
    #[must_use]
    #[expect(clippy::panic, reason = "a test that asks for what cannot be had is wrong")]
    pub fn mint(&self, repository: &str, permissions: &[(&str, &str)]) -> String {
        let level = |level: &str| match level {
            "read" => Level::Read,
            "write" => Level::Write,
            other => panic!("no permission is called {other}"),
        };
        let asked: Permissions =
            permissions.iter().map(|(name, given)| ((*name).to_owned(), level(given))).collect();
        let granted = if asked.is_empty() { Some(token::of_installation()) } else { token::granted(&asked) };
        let Some(permissions) = granted else { panic!("not granted to the installation: {asked:?}") };
        let mut state = self.hub.state();
        let covered = state.repositories.get(repository).is_some_and(|repository| repository.covered);
        assert!(covered, "the installation does not cover {repository}");
        let text = token::text(self.hub.app.app_id);
        let token = Token {
            installation: self.hub.installation_of(&state, repository).unwrap_or_default(),
            repositories: Some([repository.to_owned()].into()),
            permissions,
            expires_at: self.hub.shared.clock().now() + Token::LIFE,
        };
        state.tokens.insert(text.clone(), token);
        text
    }

    /// The repository's pull requests, oldest first.
    #[must_use]
    pub fn pull_requests(&self, repository: &str) -> Vec<PullRequest> {
        let state = self.hub.state();
        let Some(repository) = state.repositories.get(repository) else { return Vec::new() };
        repository.pulls.iter().map(|pull| pull.read(&repository.path, &self.hub.app)).collect()
    }

    /// A person merges the pull request. What becomes of the branches, the test does itself in the bare repository.
    ///
    /// # Panics
    /// Where there is no such pull request.
    #[expect(clippy::panic, reason = "a test that asks for what cannot be had is wrong")]
    pub fn merge(&self, repository: &str, number: u64) {
        let now = self.hub.shared.clock().now();
        let mut state = self.hub.state();
        let known = state.repositories.get_mut(repository);
        let pull = known.and_then(|known| {
            let Repository { path, pulls, .. } = known;
            Some((pulls.iter_mut().find(|pull| pull.is(number))?, path))
        });
        let Some((pull, path)) = pull else { panic!("there is no pull request {repository}#{number}") };
        pull.merge(path, now);
    }

    /// The repositories' names, in order.
    #[must_use]
    pub fn repositories(&self) -> Vec<String> {
        self.hub.state().repositories.keys().cloned().collect()
    }

    /// What the git server was asked, in order.
    #[must_use]
    pub fn git_requests(&self) -> Vec<Request> {
        self.hub.shared.requests(Service::Git)
    }

    /// What was pushed through the server, refused or not, in order.
    #[must_use]
    pub fn git_pushes(&self) -> Vec<GitPush> {
        self.hub.state().pushes.clone()
    }

    /// From here on, pushes to branches that match `pattern` (a shell pattern; `*` matches `/` too) are refused with
    /// `message`, as by a ruleset.
    ///
    /// # Panics
    /// Where the rule cannot be written.
    #[expect(clippy::panic, reason = "a test whose rule is not in force has failed")]
    pub fn protect(&self, pattern: &str, message: &str) {
        use std::io::Write as _;
        let added = std::fs::OpenOptions::new()
            .append(true)
            .open(self.hub.rules_file())
            .and_then(|mut file| writeln!(file, "{pattern}\t{}", message.replace('\n', " ")));
        if let Err(error) = added {
            panic!("writing the push rules: {error}");
        }
    }

    /// Where the branch is; nothing where there is none.
    #[must_use]
    pub fn branch(&self, repository: &str, branch: &str) -> Option<String> {
        let path = self.hub.state().path(repository)?;
        repository::branch(&path, branch)
    }

    /// What the API was asked, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.hub.shared.requests(Service::GitHub)
    }

    pub(crate) fn api_router(&self) -> Router {
        api::router(&self.hub)
    }

    pub(crate) fn git_router(&self) -> Router {
        git::router(&self.hub)
    }

    pub(crate) fn rate_limited(limited: RateLimited) -> Response {
        let seconds = limited.retry_after.as_secs_f64().ceil();
        let (status, headers, message) = match limited.limit {
            Limit::Primary => {
                // Rounded up: at the reset, there is quota again.
                let reset = limited.now.as_millisecond() as f64 / 1000.0 + limited.retry_after.as_secs_f64();
                let headers = vec![
                    ("x-ratelimit-limit", "5000".to_owned()),
                    ("x-ratelimit-remaining", "0".to_owned()),
                    ("x-ratelimit-used", "5000".to_owned()),
                    ("x-ratelimit-reset", format!("{}", reset.ceil())),
                    ("x-ratelimit-resource", "core".to_owned()),
                ];
                (StatusCode::FORBIDDEN, headers, "API rate limit exceeded for installation ID 87654321.")
            }
            Limit::Secondary => (
                StatusCode::TOO_MANY_REQUESTS,
                vec![("retry-after", format!("{seconds}"))],
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            ),
        };
        let body = json!({
            "message": message,
            "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api",
            "status": status.as_u16().to_string(),
        });
        let mut response = (status, axum::Json(body)).into_response();
        for (name, value) in headers {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl Hub {
    /// The number of the installation that covers this repository.
    fn installation_of(&self, state: &State, repository: &str) -> Option<u64> {
        if !state.repositories.get(repository)?.covered {
            return None;
        }
        let (owner, _) = repository.split_once('/')?;
        let position = state.owners.iter().position(|known| known == owner)?;
        Some(self.app.installation_id + position as u64)
    }

    /// The token of this text, if it is valid by the servers' time.
    fn token(&self, text: &str) -> Option<Token> {
        let now = self.shared.clock().now();
        self.state().tokens.get(text).filter(|token| token.expires_at > now).cloned()
    }

    /// Whether the token reaches the repository; where to find it.
    fn reach(&self, token: &Token, repository: &str) -> Option<PathBuf> {
        let state = self.state();
        let installed = self.installation_of(&state, repository)? == token.installation;
        let scoped = token.repositories.as_ref().is_none_or(|names| names.contains(repository));
        (installed && scoped).then(|| state.path(repository))?
    }

    fn home(&self) -> &Path {
        self.shared.directory()
    }
}
