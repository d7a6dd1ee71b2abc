//! GitHub: its REST API as far as an App uses it, and its git server.

use crate::fault::{Limit, Service};
use crate::shared::{RateLimited, Request, Shared};
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use std::path::PathBuf;

/// GitHub, running.
#[derive(Debug)]
pub struct GitHub {
    shared: Shared,
    app: App,
}

/// The one App that GitHub knows.
#[derive(Debug, Clone)]
pub struct App {
    /// Its number.
    pub app_id: u64,
    /// Its client id, which GitHub prefers as a JWT's issuer.
    pub client_id: String,
    /// Its private key as GitHub hands it out: PKCS#1 PEM.
    pub private_key_pem: String,
    /// The same key as PKCS#8 PEM.
    pub private_key_pkcs8_pem: String,
    /// Its installation, which covers every repository added.
    pub installation_id: u64,
    /// Its name in URLs; it writes as `SLUG[bot]`.
    pub slug: String,
}

/// A pull request, as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PullRequest {
    /// Its number, unique in the repository.
    pub number: u64,
    /// The title.
    pub title: String,
    /// The text, Markdown; empty where there is none.
    pub body: String,
    /// The branch it comes from.
    pub head: String,
    /// The branch it goes to.
    pub base: String,
    /// Whether it is a draft.
    pub draft: bool,
    /// `open` or `closed`.
    pub state: String,
    /// The labels' names.
    pub labels: Vec<String>,
    /// Where the head branch is, read from the repository.
    pub head_sha: String,
    /// Who opened it: `SLUG[bot]`.
    pub author: String,
}

impl GitHub {
    pub(crate) fn start(shared: Shared) -> anyhow::Result<Self> {
        let app = App {
            app_id: 0,
            client_id: String::new(),
            private_key_pem: String::new(),
            private_key_pkcs8_pem: String::new(),
            installation_id: 0,
            slug: String::new(),
        };
        Ok(Self { shared, app })
    }

    /// `https://api.github.com` as plain HTTP on loopback.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.shared.url(Service::GitHub)
    }

    /// `https://github.com` as plain HTTP on loopback.
    #[must_use]
    pub fn server_url(&self) -> String {
        self.shared.url(Service::Git)
    }

    /// The App.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Adds an empty repository `owner/name` that the installation covers; where its bare repository is.
    pub fn add_repository(&self, _repository: &str) -> PathBuf {
        PathBuf::new()
    }

    /// A valid installation token for one repository, without going through HTTP.
    #[must_use]
    pub fn mint(&self, _repository: &str, _permissions: &[(&str, &str)]) -> String {
        String::new()
    }

    /// The repository's pull requests, oldest first.
    #[must_use]
    pub fn pull_requests(&self, _repository: &str) -> Vec<PullRequest> {
        Vec::new()
    }

    /// What the API was asked, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests(Service::GitHub)
    }

    pub(crate) fn api_router(&self) -> Router {
        Router::new()
    }

    pub(crate) fn git_router(&self) -> Router {
        Router::new()
    }

    pub(crate) fn rate_limited(limited: RateLimited) -> Response {
        match limited.limit {
            Limit::Primary | Limit::Secondary => http::StatusCode::FORBIDDEN.into_response(),
        }
    }
}
