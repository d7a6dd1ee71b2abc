//! How the API says no: `message`, `documentation_url` and `status`, and on a validation `errors`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    documentation: &'static str,
    errors: Vec<Value>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            documentation: "https://docs.github.com/rest",
            errors: Vec::new(),
        }
    }

    /// What does not exist, and what the caller may not know to exist.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not Found")
    }

    /// A token that is unknown, expired or revoked.
    pub(super) fn bad_credentials() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Bad credentials")
    }

    /// A permission that the token does not have.
    pub(super) fn not_accessible() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Resource not accessible by integration")
    }

    pub(super) fn unprocessable(message: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    pub(super) fn validation(errors: Vec<Value>) -> Self {
        Self { errors, ..Self::unprocessable("Validation Failed") }
    }

    /// The page that explains the call.
    pub(super) fn see(mut self, documentation: &'static str) -> Self {
        self.documentation = documentation;
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({
            "message": self.message,
            "documentation_url": self.documentation,
            "status": self.status.as_u16().to_string(),
        });
        if !self.errors.is_empty() {
            body["errors"] = Value::Array(self.errors);
        }
        (self.status, Json(body)).into_response()
    }
}
