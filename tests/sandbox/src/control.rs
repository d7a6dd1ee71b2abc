//! The control endpoint: what a script, or a test in another process, does with a sandbox.
//!
//! - `GET /state`: what the services saw, as `state` puts it together.
//! - `POST /faults`: a [`Fault`], or an array of them.
//! - `POST /clock`: `{"advanceSeconds": 3600}`.

use crate::discord::Discord;
use crate::fault::{Fault, Service};
use crate::github::GitHub;
use crate::shared::Shared;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) shared: Shared,
    pub(crate) github: Arc<GitHub>,
    pub(crate) discord: Arc<Discord>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Faults {
    Many(Vec<Fault>),
    One(Fault),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Advance {
    advance_seconds: i64,
}

impl Control {
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/state", get(async |State(control): State<Self>| Json(control.state())))
            .route("/faults", post(Self::fail))
            .route("/clock", post(Self::advance))
            .with_state(self)
    }

    async fn fail(State(control): State<Self>, body: Bytes) -> Result<StatusCode, (StatusCode, String)> {
        let faults = match parsed(&body)? {
            Faults::Many(faults) => faults,
            Faults::One(fault) => vec![fault],
        };
        for fault in faults {
            control.shared.faults().add(fault);
        }
        Ok(StatusCode::NO_CONTENT)
    }

    async fn advance(State(control): State<Self>, body: Bytes) -> Result<StatusCode, (StatusCode, String)> {
        let advance: Advance = parsed(&body)?;
        control.shared.clock().advance(SignedDuration::from_secs(advance.advance_seconds));
        Ok(StatusCode::NO_CONTENT)
    }

    /// Everything that was seen. Headers are left out: they hold credentials.
    pub(crate) fn state(&self) -> Value {
        let requests = |service| -> Vec<Value> {
            let requests = self.shared.requests(service);
            requests
                .into_iter()
                .map(|request| {
                    json!({
                        "method": request.method,
                        "path": request.path,
                        "query": request.query,
                        "status": request.status,
                    })
                })
                .collect()
        };
        let mut pulls = Map::new();
        for repository in self.github.repositories() {
            pulls.insert(repository.clone(), json!(self.github.pull_requests(&repository)));
        }
        let hosts: Vec<String> =
            self.shared.requests(Service::Proxy).into_iter().map(|request| request.path).collect();
        json!({
            "pulls": pulls,
            "pushes": self.github.git_pushes(),
            "discord": {"messages": self.discord.messages(), "requests": requests(Service::Discord).len()},
            "hosts": hosts,
            "model": {"requests": self.shared.requests(Service::Model).len()},
            "github": {"requests": requests(Service::GitHub)},
            "git": {"requests": requests(Service::Git)},
            "violations": self.shared.violations(),
            "now": self.shared.clock().now().to_string(),
        })
    }
}

fn parsed<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))
}
