//! The REST API: who is asking, and what an App asks about itself and its repositories.

use super::asked::Asked;
use super::refusal::Refusal;
use super::repository::{self, DEFAULT_BRANCH};
use super::token::{self, Level, Permissions, Token};
use super::{Hub, State as HubState, pulls};
use crate::fault::Service;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode};
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The versions of the API that GitHub serves.
const VERSIONS: [&str; 2] = ["2022-11-28", "2026-03-10"];
const QUOTA: u64 = 5000;

pub(super) type Answer = Result<Response, Refusal>;

pub(super) fn router(hub: &Arc<Hub>) -> Router {
    let api = Router::new()
        .route("/app", get(app))
        .route("/app/installations", get(installations))
        .route("/app/installations/{id}", get(installation))
        .route("/app/installations/{id}/access_tokens", post(mint))
        .route("/installation/token", delete(revoke))
        .route("/installation/repositories", get(repositories))
        .route("/repos/{owner}/{name}/installation", get(installation_of))
        .route("/repos/{owner}/{name}", get(read_repository))
        .route("/repos/{owner}/{name}/branches/{*branch}", get(read_branch))
        .route("/repos/{owner}/{name}/rules/branches/{*branch}", get(read_rules))
        .route("/repos/{owner}/{name}/git/ref/heads/{*branch}", get(read_ref))
        .merge(pulls::router())
        .fallback(async || Refusal::not_found())
        .method_not_allowed_fallback(async || Refusal::not_found())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(hub), at_the_door))
        .with_state(Arc::clone(hub));
    Router::new().nest("/api/v3", api.clone()).merge(api)
}

/// What is asked of every request, and said with every answer.
async fn at_the_door(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let call = format!("{} {}", request.method(), request.uri().path());
    let mut response = match refused_at_the_door(&hub, &call, request.headers()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let now = hub.shared.clock().now();
    let used = {
        let mut state = hub.state();
        state.calls += 1;
        state.calls
    };
    let hour = 3600;
    let said = [
        ("x-github-media-type", "github.v3; format=json".to_owned()),
        ("x-github-request-id", format!("SAND:{used:04X}:BOX")),
        ("x-ratelimit-limit", QUOTA.to_string()),
        ("x-ratelimit-remaining", QUOTA.saturating_sub(used).to_string()),
        ("x-ratelimit-used", used.to_string()),
        ("x-ratelimit-reset", (now.as_second() / hour * hour + hour).to_string()),
        ("x-ratelimit-resource", "core".to_owned()),
        // Clients set their clocks by it.
        ("date", DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap_or_default()),
    ];
    for (name, value) in said {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn refused_at_the_door(hub: &Hub, call: &str, headers: &HeaderMap) -> Option<Response> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header("user-agent").is_empty() {
        hub.shared.violation(Service::GitHub, format_args!("{call}: no User-Agent"));
        let text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header \
                    (https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required).\n";
        return Some((StatusCode::FORBIDDEN, text).into_response());
    }
    let accept = header("accept");
    if !accept.contains("application/vnd.github") || !accept.contains("json") {
        hub.shared.violation(
            Service::GitHub,
            format_args!("{call}: Accept is {accept:?}, not application/vnd.github+json"),
        );
    }
    match header("x-github-api-version") {
        "" => hub.shared.violation(Service::GitHub, format_args!("{call}: no X-GitHub-Api-Version")),
        version if !VERSIONS.contains(&version) => {
            let message = format!("Version {version} is not a supported version of the API.");
            return Some(Refusal::new(StatusCode::BAD_REQUEST, message).into_response());
        }
        _ => (),
    }
    None
}

/// The credentials of a request, as `Bearer` or `token`.
pub(super) fn credentials(headers: &HeaderMap) -> Option<&str> {
    let (scheme, credentials) = headers.get("authorization")?.to_str().ok()?.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    known.then(|| credentials.trim())
}

impl Hub {
    /// The caller is the App, and shows it by a JWT.
    fn by_app(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let undecodable = || Refusal::new(StatusCode::UNAUTHORIZED, "A JSON web token could not be decoded");
        self.app.check(credentials(headers).ok_or_else(undecodable)?, self.shared.clock().now())
    }

    /// The body as a JSON object. Fields that GitHub does not know are the client's fault, which GitHub does not tell.
    pub(super) fn object(
        &self,
        call: &str,
        body: &[u8],
        known: &[&str],
    ) -> Result<Map<String, Value>, Refusal> {
        let bad = |message: &str| Refusal::new(StatusCode::BAD_REQUEST, message);
        let value = serde_json::from_slice(body).map_err(|_| bad("Problems parsing JSON"))?;
        let Value::Object(object) = value else { return Err(bad("Body should be a JSON object")) };
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            self.shared.violation(Service::GitHub, format_args!("{call}: unknown field {name:?}"));
        }
        Ok(object)
    }
}

async fn app(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Answer {
    hub.by_app(&headers)?;
    let app = &hub.app;
    let body = json!({
        "id": app.app_id,
        "slug": app.slug,
        "client_id": app.client_id,
        "node_id": format!("A_{}", app.app_id),
        "name": "pressrun sandbox",
        "owner": owner("octo"),
        "html_url": format!("https://github.com/apps/{}", app.slug),
        "external_url": "https://example.com",
        "permissions": token::of_installation(),
        "events": [],
        "installations_count": hub.state().owners.len(),
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    });
    Ok(Json(body).into_response())
}

async fn installations(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Answer {
    hub.by_app(&headers)?;
    let owners = hub.state().owners.clone();
    let list: Vec<Value> = owners
        .iter()
        .zip(hub.app.installation_id..)
        .map(|(owner, id)| hub.installation_json(id, owner))
        .collect();
    Ok(Json(list).into_response())
}

async fn installation(State(hub): State<Arc<Hub>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    hub.by_app(&headers)?;
    let (id, owner) = hub.installation_owner(&id)?;
    Ok(Json(hub.installation_json(id, &owner)).into_response())
}

async fn installation_of(
    State(hub): State<Arc<Hub>>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    hub.by_app(&headers)?;
    let id = hub.installation_of(&hub.state(), &format!("{owner}/{name}")).ok_or_else(|| {
        Refusal::not_found().see(
            "https://docs.github.com/rest/apps/apps#get-a-repository-installation-for-the-authenticated-app",
        )
    })?;
    Ok(Json(hub.installation_json(id, &owner)).into_response())
}

impl Hub {
    fn installation_owner(&self, id: &str) -> Result<(u64, String), Refusal> {
        let id: u64 = id.parse().map_err(|_| Refusal::not_found())?;
        let position = id.checked_sub(self.app.installation_id).and_then(|n| usize::try_from(n).ok());
        let owner = position.and_then(|position| self.state().owners.get(position).cloned());
        Ok((id, owner.ok_or_else(Refusal::not_found)?))
    }

    fn installation_json(&self, id: u64, login: &str) -> Value {
        json!({
            "id": id,
            "client_id": self.app.client_id,
            "account": owner(login),
            "repository_selection": "selected",
            "access_tokens_url": format!("https://api.github.com/app/installations/{id}/access_tokens"),
            "repositories_url": "https://api.github.com/installation/repositories",
            "html_url": format!("https://github.com/organizations/{login}/settings/installations/{id}"),
            "app_id": self.app.app_id,
            "app_slug": self.app.slug,
            "target_id": 42,
            "target_type": "Organization",
            "permissions": token::of_installation(),
            "events": [],
            "created_at": "2026-01-01T00:00:00.000Z",
            "updated_at": "2026-01-01T00:00:00.000Z",
            "single_file_name": null,
            "has_multiple_single_files": false,
            "single_file_paths": [],
            "suspended_by": null,
            "suspended_at": null,
        })
    }
}

async fn mint(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    const PAGE: &str =
        "https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app";
    hub.by_app(&headers)?;
    let (id, owner) = hub.installation_owner(&id)?;
    let asked = if body.is_empty() {
        Map::new()
    } else {
        hub.object("access_tokens", &body, &["repositories", "repository_ids", "permissions"])?
    };
    let malformed = |what: &str| {
        Refusal::unprocessable(&format!(
            "Invalid request.\n\nFor 'properties/{what}', the value is malformed."
        ))
        .see(PAGE)
    };
    let permissions = match asked.get("permissions") {
        None => token::of_installation(),
        Some(asked) => {
            let asked: Permissions =
                serde_json::from_value(asked.clone()).map_err(|_| malformed("permissions"))?;
            token::granted(&asked).ok_or_else(|| {
                Refusal::unprocessable("The permissions requested are not granted to this installation.")
                    .see(PAGE)
            })?
        }
    };
    let mut state = hub.state();
    let mut named = BTreeSet::new();
    if let Some(names) = asked.get("repositories") {
        let names: Vec<String> =
            serde_json::from_value(names.clone()).map_err(|_| malformed("repositories"))?;
        named.extend(names.iter().map(|name| format!("{owner}/{name}")));
    }
    if let Some(ids) = asked.get("repository_ids") {
        let ids: Vec<u64> = serde_json::from_value(ids.clone()).map_err(|_| malformed("repository_ids"))?;
        named.extend(ids.into_iter().map(|id| {
            let found = state.repositories.iter().find(|(_, repository)| repository.id == id);
            found.map_or_else(String::new, |(name, _)| name.clone())
        }));
    }
    if named.iter().any(|name| hub.installation_of(&state, name) != Some(id)) {
        return Err(Refusal::unprocessable(
            "There is at least one repository that does not exist or is not accessible to the parent installation.",
        )
        .see(PAGE));
    }
    let now = hub.shared.clock().now();
    let expires_at = jiff::Timestamp::from_second((now + Token::LIFE).as_second()).unwrap_or(now);
    let text = token::text(hub.app.app_id);
    let mut answer = json!({
        "token": text,
        "expires_at": expires_at.to_string(),
        "permissions": permissions,
        "repository_selection": "selected",
    });
    if !named.is_empty() {
        answer["repositories"] = named.iter().filter_map(|name| repository_json(&state, name)).collect();
    }
    let repositories = (!named.is_empty()).then_some(named);
    state.tokens.insert(text, Token { installation: id, repositories, permissions, expires_at });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn revoke(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Answer {
    let text = credentials(&headers).filter(|text| hub.token(text).is_some());
    hub.state().tokens.remove(text.ok_or_else(Refusal::bad_credentials)?);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn repositories(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Answer {
    let token =
        credentials(&headers).and_then(|text| hub.token(text)).ok_or_else(Refusal::bad_credentials)?;
    let names: Vec<String> = hub.state().repositories.keys().cloned().collect();
    let reached: Vec<&String> = names.iter().filter(|name| hub.reach(&token, name).is_some()).collect();
    let state = hub.state();
    let list: Vec<Value> = reached.iter().filter_map(|name| repository_json(&state, name)).collect();
    let body = json!({"total_count": list.len(), "repository_selection": "selected", "repositories": list});
    Ok(Json(body).into_response())
}

async fn read_repository(asked: Asked) -> Answer {
    asked.may(&[("metadata", Level::Read)])?;
    let json = repository_json(&asked.hub.state(), &asked.repository).ok_or_else(Refusal::not_found)?;
    Ok(Json(json).into_response())
}

async fn read_branch(asked: Asked) -> Answer {
    let path = asked.may(&[("contents", Level::Read)])?;
    let Asked { repository, of: branch, .. } = asked;
    let sha = repository::branch(&path, &branch)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "Branch not found"))?;
    let url = format!("https://api.github.com/repos/{repository}/commits/{sha}");
    Ok(Json(json!({"name": branch, "commit": {"sha": sha, "url": url}, "protected": false})).into_response())
}

/// The rules that hold for a branch of this name, be it there or not.
async fn read_rules(asked: Asked) -> Answer {
    asked.may(&[("metadata", Level::Read)])?;
    let Asked { hub, repository, of: branch, .. } = asked;
    let rules = std::fs::read_to_string(hub.rules_file()).unwrap_or_default();
    let patterns = rules.lines().filter_map(|line| line.split_once('\t')).map(|(pattern, _)| pattern);
    let rules: Vec<Value> = patterns
        .filter(|pattern| matches(pattern, &branch))
        .zip(1_u64..)
        .flat_map(|(_, ruleset)| {
            ["creation", "update"].map(|kind| {
                json!({
                    "type": kind,
                    "ruleset_source_type": "Repository",
                    "ruleset_source": repository,
                    "ruleset_id": ruleset,
                })
            })
        })
        .collect();
    Ok(Json(rules).into_response())
}

/// Whether a branch's name matches a shell pattern in which `*` is all that is special, as the update hook matches it.
fn matches(pattern: &str, branch: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == branch,
        Some((before, after)) => branch.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
        }),
    }
}

async fn read_ref(asked: Asked) -> Answer {
    let path = asked.may(&[("contents", Level::Read)])?;
    let Asked { repository, of: branch, .. } = asked;
    let sha = repository::branch(&path, &branch).ok_or_else(Refusal::not_found)?;
    let base = format!("https://api.github.com/repos/{repository}/git");
    let body = json!({
        "ref": format!("refs/heads/{branch}"),
        "node_id": format!("REF_{sha}"),
        "url": format!("{base}/refs/heads/{branch}"),
        "object": {"sha": sha, "type": "commit", "url": format!("{base}/commits/{sha}")},
    });
    Ok(Json(body).into_response())
}

pub(super) fn owner(login: &str) -> Value {
    json!({
        "login": login,
        "id": 42,
        "node_id": "O_42",
        "type": "Organization",
        "html_url": format!("https://github.com/{login}"),
        "url": format!("https://api.github.com/users/{login}"),
        "site_admin": false,
    })
}

pub(super) fn repository_json(state: &HubState, full_name: &str) -> Option<Value> {
    let repository = state.repositories.get(full_name)?;
    let (login, name) = full_name.split_once('/')?;
    Some(json!({
        "id": repository.id,
        "node_id": format!("R_{}", repository.id),
        "name": name,
        "full_name": full_name,
        "private": true,
        "visibility": "private",
        "owner": owner(login),
        "html_url": format!("https://github.com/{full_name}"),
        "url": format!("https://api.github.com/repos/{full_name}"),
        "clone_url": format!("https://github.com/{full_name}.git"),
        "description": null,
        "fork": false,
        "archived": false,
        "disabled": false,
        "default_branch": DEFAULT_BRANCH,
    }))
}
