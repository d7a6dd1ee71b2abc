//! A call about a repository: what its address names, and what its caller may do.

use super::Hub;
use super::api::credentials;
use super::refusal::Refusal;
use super::token::Level;
use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use http::Method;
use std::path::PathBuf;
use std::sync::Arc;

/// A call to `/repos/{owner}/{name}/…`.
pub(super) struct Asked {
    pub(super) hub: Arc<Hub>,
    pub(super) owner: String,
    /// `owner/name`.
    pub(super) repository: String,
    /// What else the address names: a branch, a pull request's number; empty where there is nothing.
    pub(super) of: String,
    method: Method,
    headers: HeaderMap,
}

impl FromRequestParts<Arc<Hub>> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, Refusal> {
        let path = Path::<Vec<String>>::from_request_parts(parts, hub).await;
        let Ok(Path(path)) = path else { return Err(Refusal::not_found()) };
        let mut path = path.into_iter();
        let mut next = || path.next().unwrap_or_default();
        let (owner, name, of) = (next(), next(), next());
        let repository = format!("{owner}/{name}");
        let (method, headers) = (parts.method.clone(), parts.headers.clone());
        Ok(Self { hub: Arc::clone(hub), owner, repository, of, method, headers })
    }
}

impl Asked {
    /// The caller has a token for this repository, with one of these permissions; where the repository is.
    pub(super) fn may(&self, any_of: &[(&str, Level)]) -> Result<PathBuf, Refusal> {
        let Some(credentials) = credentials(&self.headers) else {
            // Private repositories do not exist for those who do not say who they are.
            return Err(match self.method {
                Method::GET => Refusal::not_found(),
                _ => Refusal::new(http::StatusCode::UNAUTHORIZED, "Requires authentication"),
            });
        };
        let token = self.hub.token(credentials).ok_or_else(Refusal::bad_credentials)?;
        let path = self.hub.reach(&token, &self.repository).ok_or_else(Refusal::not_found)?;
        if any_of.iter().any(|(permission, level)| token.allows(permission, *level)) {
            Ok(path)
        } else {
            Err(Refusal::not_accessible())
        }
    }
}
