//! Pull requests, and the labels on them.

use super::api::{Answer, owner, repository_json};
use super::app::App;
use super::asked::Asked;
use super::refusal::Refusal;
use super::repository;
use super::token::Level;
use super::{Hub, State as HubState};
use crate::fault::Service;
use axum::body::Bytes;
use axum::extract::Query;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path as FilePath;
use std::sync::Arc;

/// A pull request, as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// What is kept of one.
#[derive(Debug, Clone)]
pub(super) struct Pull {
    number: u64,
    title: String,
    body: Option<String>,
    head: String,
    base: String,
    draft: bool,
    open: bool,
    merged_at: Option<Timestamp>,
    labels: Vec<String>,
    /// Where the head was last seen, for when the branch is gone, or the pull request is merged.
    head_sha: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Pull {
    fn head_sha(&self, repository: &FilePath) -> String {
        let moving = self.merged_at.is_none().then(|| repository::branch(repository, &self.head));
        moving.flatten().unwrap_or_else(|| self.head_sha.clone())
    }

    pub(super) const fn is(&self, number: u64) -> bool {
        self.number == number
    }

    /// It is merged, as it stands.
    pub(super) fn merge(&mut self, repository: &FilePath, at: Timestamp) {
        self.head_sha = self.head_sha(repository);
        (self.open, self.merged_at, self.updated_at) = (false, Some(at), at);
    }

    fn state(&self) -> &'static str {
        if self.open { "open" } else { "closed" }
    }

    pub(super) fn read(&self, repository: &FilePath, app: &App) -> PullRequest {
        PullRequest {
            number: self.number,
            title: self.title.clone(),
            body: self.body.clone().unwrap_or_default(),
            head: self.head.clone(),
            base: self.base.clone(),
            draft: self.draft,
            state: self.state().to_owned(),
            labels: self.labels.clone(),
            head_sha: self.head_sha(repository),
            author: app.bot(),
        }
    }

    fn json(&self, hub: &Hub, state: &HubState, full_name: &str) -> Value {
        let login = full_name.split('/').next().unwrap_or_default();
        let path = state.path(full_name).unwrap_or_default();
        let side = |branch: &str, sha: String| {
            json!({
                "label": format!("{login}:{branch}"),
                "ref": branch,
                "sha": sha,
                "user": owner(login),
                "repo": repository_json(state, full_name),
            })
        };
        let number = self.number;
        let id = 2_000_000_000 + number;
        let url = format!("https://api.github.com/repos/{full_name}/pulls/{number}");
        json!({
            "id": id,
            "node_id": format!("PR_{id}"),
            "number": number,
            "state": self.state(),
            "locked": false,
            "title": self.title,
            "body": self.body,
            "draft": self.draft,
            "merged": self.merged_at.is_some(),
            "merged_at": self.merged_at.map(|at| at.to_string()),
            "closed_at": (!self.open).then_some(self.updated_at.to_string()),
            "created_at": self.created_at.to_string(),
            "updated_at": self.updated_at.to_string(),
            "user": {"login": hub.app.bot(), "id": 41_898_282, "type": "Bot"},
            "labels": labels_json(&self.labels),
            "assignees": [],
            "requested_reviewers": [],
            "milestone": null,
            "auto_merge": null,
            "url": url,
            "html_url": format!("https://github.com/{full_name}/pull/{number}"),
            "issue_url": format!("https://api.github.com/repos/{full_name}/issues/{number}"),
            "commits_url": format!("{url}/commits"),
            "maintainer_can_modify": false,
            "author_association": "CONTRIBUTOR",
            "head": side(&self.head, self.head_sha(&path)),
            "base": side(&self.base, repository::branch(&path, &self.base).unwrap_or_default()),
        })
    }
}

fn labels_json(names: &[String]) -> Value {
    names
        .iter()
        .map(|name| json!({"name": name, "color": "ededed", "default": false, "description": null}))
        .collect()
}

pub(super) fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/repos/{owner}/{name}/pulls", get(list).post(open))
        .route("/repos/{owner}/{name}/pulls/{number}", get(read).patch(change))
        .route("/repos/{owner}/{name}/issues/{number}/labels", post(add_labels).get(labels).put(set_labels))
}

const READ: &[(&str, Level)] = &[("pull_requests", Level::Read)];
const WRITE: &[(&str, Level)] = &[("pull_requests", Level::Write)];
const LABEL: &[(&str, Level)] = &[("issues", Level::Write), ("pull_requests", Level::Write)];
const SEE_LABELS: &[(&str, Level)] = &[("issues", Level::Read), ("pull_requests", Level::Read)];

#[derive(Debug, Deserialize)]
struct Filter {
    state: Option<String>,
    head: Option<String>,
    base: Option<String>,
    sort: Option<String>,
    direction: Option<String>,
    per_page: Option<usize>,
    page: Option<usize>,
}

async fn list(asked: Asked, Query(filter): Query<Filter>) -> Answer {
    asked.may(READ)?;
    let Asked { hub, owner, repository, .. } = asked;
    let wanted = filter.state.as_deref().unwrap_or("open");
    // Without an owner GitHub does not filter at all, and gives everyone's.
    let head = match filter.head.as_deref().map(|head| head.split_once(':').ok_or(head)) {
        Some(Err(head)) => {
            hub.shared.violation(Service::GitHub, format_args!("GET pulls: head={head} is not OWNER:BRANCH"));
            None
        }
        Some(Ok(head)) => Some(head),
        None => None,
    };
    let state = hub.state();
    let pulls = state.repositories.get(&repository).map(|known| known.pulls.as_slice()).unwrap_or_default();
    let mut found: Vec<&Pull> = pulls
        .iter()
        .filter(|pull| wanted == "all" || wanted == pull.state())
        .filter(|pull| head.is_none_or(|(of, branch)| of.eq_ignore_ascii_case(&owner) && branch == pull.head))
        .filter(|pull| filter.base.as_ref().is_none_or(|base| *base == pull.base))
        .collect();
    if filter.sort.as_deref() == Some("updated") {
        found.sort_by_key(|pull| pull.updated_at);
    }
    if filter.direction.as_deref() != Some("asc") {
        found.reverse();
    }
    let per_page = filter.per_page.unwrap_or(30).clamp(1, 100);
    let page = filter.page.unwrap_or(1).max(1);
    let rest = found.get((page - 1) * per_page..).unwrap_or_default();
    let list: Vec<Value> =
        rest.iter().take(per_page).map(|pull| pull.json(&hub, &state, &repository)).collect();
    let mut response = Json(list).into_response();
    if rest.len() > per_page {
        let url =
            format!("https://api.github.com/repos/{repository}/pulls?per_page={per_page}&page={}", page + 1);
        if let Ok(link) = format!("<{url}>; rel=\"next\"").parse() {
            response.headers_mut().insert("link", link);
        }
    }
    Ok(response)
}

async fn open(asked: Asked, body: Bytes) -> Answer {
    const PAGE: &str = "https://docs.github.com/rest/pulls/pulls#create-a-pull-request";
    const KNOWN: [&str; 8] =
        ["title", "head", "head_repo", "base", "body", "maintainer_can_modify", "draft", "issue"];
    let path = asked.may(WRITE)?;
    let Asked { hub, owner, repository, .. } = asked;
    let asked = hub.object("POST pulls", &body, &KNOWN)?;
    let refuse = |error: Value| Refusal::validation(vec![error]).see(PAGE);
    let missing =
        |field: &str| refuse(json!({"resource": "PullRequest", "code": "missing_field", "field": field}));
    let invalid = |field: &str| refuse(json!({"resource": "PullRequest", "field": field, "code": "invalid"}));
    let custom =
        |message: String| refuse(json!({"resource": "PullRequest", "code": "custom", "message": message}));

    let text = |field: &str| asked.get(field).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let title = text("title").ok_or_else(|| missing("title"))?.to_owned();
    let head = text("head").ok_or_else(|| missing("head"))?;
    let base = text("base").ok_or_else(|| missing("base"))?.to_owned();
    let body = text("body").map(str::to_owned);
    check_lengths(&title, body.as_deref()).map_err(refuse)?;
    let (of, head) = head.split_once(':').unwrap_or((&owner, head));
    let head = head.to_owned();
    if !of.eq_ignore_ascii_case(&owner) {
        return Err(invalid("head"));
    }
    let base_sha = repository::branch(&path, &base).ok_or_else(|| invalid("base"))?;
    let head_sha = repository::branch(&path, &head).ok_or_else(|| invalid("head"))?;
    let commits = repository::commits_between(&hub.shared, &path, &base_sha, &head_sha)
        .await
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")))?;
    if commits == 0 {
        return Err(custom(format!("No commits between {base} and {head}")));
    }
    let now = hub.shared.clock().now();
    let mut state = hub.state();
    let pulls = &mut state.repositories.get_mut(&repository).ok_or_else(Refusal::not_found)?.pulls;
    if pulls.iter().any(|pull| pull.open && pull.head == head && pull.base == base) {
        return Err(custom(format!("A pull request already exists for {owner}:{head}.")));
    }
    let pull = Pull {
        number: pulls.len() as u64 + 1,
        title,
        body,
        head,
        base,
        draft: asked.get("draft").and_then(Value::as_bool).unwrap_or(false),
        open: true,
        merged_at: None,
        labels: Vec::new(),
        head_sha,
        created_at: now,
        updated_at: now,
    };
    pulls.push(pull.clone());
    Ok((StatusCode::CREATED, Json(pull.json(&hub, &state, &repository))).into_response())
}

fn check_lengths(title: &str, body: Option<&str>) -> Result<(), Value> {
    let too_long = |field: &str, most: usize| {
        let message = format!("{field} is too long (maximum is {most} characters)");
        Err(json!({"resource": "Issue", "code": "custom", "field": field, "message": message}))
    };
    match (title.chars().count(), body.map_or(0, |body| body.chars().count())) {
        (257.., _) => too_long("title", 256),
        (_, 65_537..) => too_long("body", 65_536),
        _ => Ok(()),
    }
}

async fn read(asked: Asked) -> Answer {
    asked.may(READ)?;
    asked.hub.with_pull(&asked.repository, &asked.of, |_| Ok(()))
}

async fn change(asked: Asked, body: Bytes) -> Answer {
    let path = asked.may(WRITE)?;
    let Asked { hub, repository, of: number, .. } = asked;
    let known = ["title", "body", "state", "base", "maintainer_can_modify"];
    let asked: Map<String, Value> = hub.object("PATCH pulls", &body, &known)?;
    let now = hub.shared.clock().now();
    let text = |field: &str| asked.get(field).and_then(Value::as_str).map(str::to_owned);
    let invalid = |field: &str| {
        Refusal::validation(vec![json!({"resource": "PullRequest", "field": field, "code": "invalid"})])
    };
    hub.with_pull(&repository, &number, |pull| {
        let title = text("title").unwrap_or_else(|| pull.title.clone());
        check_lengths(&title, text("body").as_deref()).map_err(|error| Refusal::validation(vec![error]))?;
        let open = match text("state").as_deref() {
            None => pull.open,
            Some("open") => true,
            Some("closed") => false,
            Some(_) => return Err(invalid("state")),
        };
        if let Some(base) = text("base") {
            repository::branch(&path, &base).ok_or_else(|| invalid("base"))?;
            pull.base = base;
        }
        pull.title = title;
        pull.open = open;
        pull.body = text("body").or_else(|| pull.body.take());
        pull.updated_at = now;
        Ok(())
    })
}

impl Hub {
    /// Changes a pull request, and answers with it.
    fn with_pull(
        &self,
        repository: &str,
        number: &str,
        change: impl FnOnce(&mut Pull) -> Result<(), Refusal>,
    ) -> Answer {
        let mut state = self.state();
        let pull = state.pull(repository, number)?;
        change(pull)?;
        let pull = pull.clone();
        Ok(Json(pull.json(self, &state, repository)).into_response())
    }
}

impl HubState {
    fn pull(&mut self, repository: &str, number: &str) -> Result<&mut Pull, Refusal> {
        let number: u64 = number.parse().map_err(|_| Refusal::not_found())?;
        let repository = self.repositories.get_mut(repository).ok_or_else(Refusal::not_found)?;
        repository.pulls.iter_mut().find(|pull| pull.number == number).ok_or_else(Refusal::not_found)
    }
}

async fn labels(asked: Asked) -> Answer {
    asked.may(SEE_LABELS)?;
    let mut state = asked.hub.state();
    Ok(Json(labels_json(&state.pull(&asked.repository, &asked.of)?.labels)).into_response())
}

async fn add_labels(asked: Asked, body: Bytes) -> Answer {
    asked.label(&body, false)
}

async fn set_labels(asked: Asked, body: Bytes) -> Answer {
    asked.label(&body, true)
}

impl Asked {
    /// Puts labels on a pull request. One that the repository does not have is made.
    fn label(&self, body: &[u8], alone: bool) -> Answer {
        self.may(LABEL)?;
        let asked: Value = serde_json::from_slice(body)
            .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "Problems parsing JSON"))?;
        let names: Vec<String> = serde_json::from_value(asked.get("labels").cloned().unwrap_or(asked))
            .map_err(|_| Refusal::unprocessable("Invalid request.\n\nNo subschema in \"anyOf\" matched."))?;
        if names.iter().any(|name| name.is_empty() || name.chars().count() > 50) {
            return Err(Refusal::validation(vec![
                json!({"resource": "Label", "code": "invalid", "field": "name"}),
            ]));
        }
        let mut state = self.hub.state();
        let pull = state.pull(&self.repository, &self.of)?;
        if alone {
            pull.labels.clear();
        }
        for name in names {
            if !pull.labels.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                pull.labels.push(name);
            }
        }
        Ok(Json(labels_json(&pull.labels)).into_response())
    }
}
