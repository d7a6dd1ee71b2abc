//! Minting at GitHub: JWT, installation, token.
//!
//! Source: GitHub, "Generating a JSON Web Token (JWT) for a GitHub App" and "REST API endpoints for GitHub Apps".

use crate::app::{Credentials, Repository};
use crate::narrow::{self, Mismatch, Permissions};
use crate::token::{self, Minted};
use agent_task::{Exit, Secret};
use anyhow::Context as _;
use api_client::github::{Api, accepted, refusal_text};
use api_client::{Method, Request, Response, StatusCode, retry};
use jiff::{SignedDuration, Timestamp};
use piece::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Clocks that differ by less are taken for equal: the answer was under way, and a JWT is made with more room than that.
const SKEW_NOTED: SignedDuration = SignedDuration::from_secs(30);

/// What token is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) repository: Repository,
    pub(crate) permissions: Permissions,
    /// Known beforehand, or found by the repository.
    pub(crate) installation: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    iss: &'a str,
}

/// A minute back and nine ahead: GitHub takes ten, which a clock that is a little fast would overstep.
fn claims(issuer: &str, now: Timestamp) -> Claims<'_> {
    Claims { iat: now.as_second() - 60, exp: now.as_second() + 9 * 60, iss: issuer }
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

#[derive(Serialize)]
struct TokenRequest<'a> {
    repositories: [&'a str; 1],
    permissions: &'a BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
    expires_at: Timestamp,
    #[serde(default)]
    permissions: BTreeMap<String, String>,
    repository_selection: Option<String>,
    #[serde(default)]
    repositories: Vec<NamedRepository>,
}

#[derive(Deserialize)]
struct NamedRepository {
    full_name: String,
}

/// Mints the token that `wish` describes.
///
/// # Errors
/// Faults: 3 where GitHub stayed away, 4 where it refuses App, installation or permission, 1 where the token can do more than was
/// asked (it is revoked).
pub(crate) fn mint(api: &Api<'_>, app: &Credentials, wish: &Wish) -> anyhow::Result<Minted> {
    let mut session = Session { api, app, skew: SignedDuration::ZERO, jwt: None };
    let installation_id = match wish.installation {
        Some(id) => id,
        None => session.installation(&wish.repository)?,
    };
    let answer = session.token(installation_id, wish)?;
    let skew = session.skew;
    let TokenAnswer { token, expires_at, permissions, repository_selection, repositories } = answer;
    if !token::is_sound(&token) {
        return Err(Fault::failed("GitHub's token has characters that no token has").into());
    }
    let token = Secret::new(token);
    let permissions = Permissions(permissions);
    let names: Vec<String> = repositories.into_iter().map(|repository| repository.full_name).collect();
    let selection = repository_selection.as_deref();
    let same = narrow::compare(&wish.permissions, &wish.repository, &permissions, selection, &names);
    if let Err(mismatch) = same {
        return Err(hand_back(api, &token, wish, mismatch));
    }
    let repository = names.into_iter().next().unwrap_or_else(|| wish.repository.full_name());
    Ok(Minted { token, expires_at, repository, permissions, installation_id, skew })
}

/// Revokes a token that is not what was asked for, and says what was wrong with it.
fn hand_back(api: &Api<'_>, token: &Secret, wish: &Wish, mismatch: Mismatch) -> anyhow::Error {
    let asked = format!("{} on {}", wish.permissions, wish.repository.full_name());
    let fault = match mismatch {
        Mismatch::Wider(how) => Fault::failed(format!("GitHub's token can do more than {asked}: {how}")),
        Mismatch::Narrower(how) => Fault::denied(format!("GitHub's token can do less than {asked}: {how}"))
            .hint("grant the permission in the App's settings, and accept it on the installation"),
    };
    match revoke(api, token) {
        Ok(_) => fault.into(),
        Err(error) => error.context("and it could not be revoked").context(fault),
    }
}

/// Ends the token's life. False where GitHub does not know it (any more).
///
/// # Errors
/// Faults: 3 where GitHub stayed away, else what it answered.
pub fn revoke(api: &Api<'_>, token: &Secret) -> anyhow::Result<bool> {
    let request = api.request(Method::DELETE, &["installation", "token"]).bearer(token);
    let response = api.send(&request)?;
    if response.status == StatusCode::UNAUTHORIZED {
        return Ok(false);
    }
    accepted(response, "revoking the token")?;
    Ok(true)
}

/// The App's calls, signed by the clock that GitHub goes by.
struct Session<'a> {
    api: &'a Api<'a>,
    app: &'a Credentials,
    skew: SignedDuration,
    /// Good for nine minutes, which both calls with all their waits fit in.
    jwt: Option<Secret>,
}

impl Session<'_> {
    fn installation(&mut self, repository: &Repository) -> anyhow::Result<u64> {
        let request = self.api.get(&["repos", &repository.owner, &repository.name, "installation"]);
        let response = self.send(request)?;
        let doing = format!("finding the App's installation on {}", repository.full_name());
        if response.status == StatusCode::NOT_FOUND {
            if unknown_app(&response) {
                return Err(refused(&response, None).into());
            }
            return Err(Fault::denied(format!("{doing}: GitHub answered 404"))
                .hint(format!(
                    "install the App on {} and let it see {}, or correct the repository's name",
                    repository.owner,
                    repository.full_name()
                ))
                .into());
        }
        let installation: Installation = accepted(response, &doing)?.json().with_context(|| doing.clone())?;
        Ok(installation.id)
    }

    fn token(&mut self, installation: u64, wish: &Wish) -> anyhow::Result<TokenAnswer> {
        let body = TokenRequest { repositories: [&wish.repository.name], permissions: &wish.permissions.0 };
        // A token that got lost on its way ends by itself; a second one does no harm.
        let request = self
            .api
            .post(&["app", "installations", &installation.to_string(), "access_tokens"])
            .json(&body)?
            .replay_is_safe();
        let response = self.send(request)?;
        let doing = format!("minting a token for {}", wish.repository.full_name());
        let hint = match response.status {
            StatusCode::NOT_FOUND if unknown_app(&response) => return Err(refused(&response, None).into()),
            StatusCode::NOT_FOUND => {
                format!("the App has no installation {installation}: correct the id, or leave it out")
            }
            StatusCode::UNPROCESSABLE_ENTITY => format!(
                "the installation must cover {} and grant {}: see the App's settings",
                wish.repository.full_name(),
                wish.permissions
            ),
            _ => return accepted(response, &doing)?.json().context(doing),
        };
        let text = refusal_text(&response.body);
        Err(Fault::denied(format!("{doing}: GitHub answered {}: {text}", response.status.as_u16()))
            .hint(hint)
            .into())
    }

    /// Sends a request as the App. Where the JWT is refused and GitHub's clock is not ours, it is signed once more by GitHub's.
    fn send(&mut self, request: Request) -> anyhow::Result<Response> {
        let response = self.send_once(request.clone())?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let skew = response.date().map_or(SignedDuration::ZERO, |theirs| theirs.duration_since(self.now()));
        if skew.abs() <= SKEW_NOTED {
            return Err(refused(&response, None).into());
        }
        self.api.client().tell(&format!("{}: signing by GitHub's", describe_skew(skew)));
        self.skew = skew;
        self.jwt = None;
        let response = self.send_once(request)?;
        if response.status == StatusCode::UNAUTHORIZED {
            return Err(refused(&response, Some(skew)).into());
        }
        Ok(response)
    }

    fn send_once(&mut self, request: Request) -> anyhow::Result<Response> {
        let jwt = match self.jwt.take() {
            Some(jwt) => jwt,
            None => self.sign()?,
        };
        let response = self.api.send(&request.bearer(&jwt));
        self.jwt = Some(jwt);
        Ok(response?)
    }

    fn sign(&self) -> anyhow::Result<Secret> {
        let now = self.now().checked_add(self.skew).context("GitHub's clock is out of all bounds")?;
        let jwt = self.app.key.sign(&claims(&self.app.issuer, now));
        jwt.map_err(|_| Fault::denied("the GitHub App's key cannot sign").into())
    }

    fn now(&self) -> Timestamp {
        self.api.client().clock().now()
    }
}

/// A 404 that is about the JWT's issuer, not about what was asked for.
fn unknown_app(response: &Response) -> bool {
    refusal_text(&response.body) == "Integration not found"
}

fn refused(response: &Response, skew: Option<SignedDuration>) -> Fault {
    let text = refusal_text(&response.body);
    let hint = match skew {
        Some(skew) => format!("{}: set it right, then check GITHUB_APP_ID and the key", describe_skew(skew)),
        None => {
            "check that GITHUB_APP_ID is the App's, and that the key is one of its keys and was not deleted"
                .to_owned()
        }
    };
    Fault::new(Exit::Denied, format!("GitHub refused the App's JWT: {text}")).hint(hint)
}

fn describe_skew(skew: SignedDuration) -> String {
    let by = retry::span(skew.unsigned_abs());
    let way = if skew.is_positive() { "behind" } else { "ahead of" };
    format!("this machine's clock is {by} {way} GitHub's")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K6
    #[test]
    fn a_jwt_lives_from_a_minute_ago_to_nine_minutes_ahead() {
        let now = "2026-11-22T22:00:00Z".parse().unwrap();
        let Claims { iat, exp, iss } = claims("Iv1.abc", now);
        assert_eq!((now.as_second() - iat, exp - now.as_second(), iss), (60, 540, "Iv1.abc"));
    }

    #[test]
    fn a_skew_is_told_by_its_direction() {
        let text = |seconds| describe_skew(SignedDuration::from_secs(seconds));
        assert_eq!(text(3360), "this machine's clock is 56 min behind GitHub's");
        assert_eq!(text(-90), "this machine's clock is 1 min 30 s ahead of GitHub's");
    }
}
