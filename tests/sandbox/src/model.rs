//! The model, which follows a script.

use crate::fault::Service;
use crate::shared::{RateLimited, Request, Shared};
use axum::Router;
use axum::response::{IntoResponse as _, Response};

/// Model, running.
#[derive(Debug)]
pub struct Model {
    shared: Shared,
}

impl Model {
    pub(crate) fn start(shared: Shared) -> Self {
        Self { shared }
    }

    /// The service alone: requests are recorded and faults happen around it.
    pub(crate) fn router(&self) -> Router {
        Router::new()
    }

    /// The answer to a call that came too often.
    pub(crate) fn rate_limited(_limited: RateLimited) -> Response {
        http::StatusCode::TOO_MANY_REQUESTS.into_response()
    }

    /// What it was asked, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests(Service::Model)
    }
}
