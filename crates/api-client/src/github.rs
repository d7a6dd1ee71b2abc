//! GitHub's REST API: its base, its headers, its way to refuse.

use crate::message::{Request, Response};
use crate::retry::Policy;
use crate::{Client, Error, endpoint};
use http::{HeaderName, Method, header};
use piece::Fault;
use serde::Deserialize;
use std::fmt;
use url::Url;

/// The API of github.com. An Enterprise server's is `https://HOST/api/v3`.
pub const API_URL: &str = "https://api.github.com";
/// The version of the API that the pieces are written against.
pub const API_VERSION: &str = "2022-11-28";

/// The API at one base.
#[derive(Debug)]
pub struct Api<'client> {
    client: &'client Client,
    base: Url,
    policy: Policy,
}

impl<'client> Api<'client> {
    /// The API at `base`, with [`Policy::github`].
    ///
    /// # Errors
    /// A usage fault where `base` is not https, nor http to this machine.
    pub fn new(client: &'client Client, base: &str) -> Result<Self, Fault> {
        Ok(Self { client, base: endpoint::base("the GitHub API URL", base)?, policy: Policy::github() })
    }

    /// The same with another policy.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &'client Client {
        self.client
    }

    /// A request with GitHub's headers and no credential.
    #[must_use]
    pub fn request(&self, method: Method, segments: &[&str]) -> Request {
        Request::new(method, endpoint::join(&self.base, segments))
            .header(header::ACCEPT, "application/vnd.github+json")
            .header(HeaderName::from_static("x-github-api-version"), API_VERSION)
    }

    /// [`Api::request`] with GET.
    #[must_use]
    pub fn get(&self, segments: &[&str]) -> Request {
        self.request(Method::GET, segments)
    }

    /// [`Api::request`] with POST. Say [`Request::replay_is_safe`] where it is.
    #[must_use]
    pub fn post(&self, segments: &[&str]) -> Request {
        self.request(Method::POST, segments)
    }

    /// [`Client::send`] by GitHub's rules. Any status is an answer; see [`accepted`].
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send(&self, request: &Request) -> Result<Response, Error> {
        self.client.send(&self.policy, request)
    }
}

/// A refusal, in GitHub's words. As an [`anyhow::Error`] it is a fault: 401 and 403 end with 4 (denied), others with 1 (failed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What was being done, as `opening the pull request`.
    pub doing: String,
    /// The status.
    pub status: u16,
    /// `message`, then every `errors[]` in brackets; empty where the body has neither.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: GitHub answered {}", self.doing, self.status)?;
        if (300..400).contains(&self.status) {
            return write!(f, ", a redirect: the repository was renamed or moved, give its present name");
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused.status {
            401 | 403 => Self::denied(refused.to_string()),
            _ => Self::failed(refused.to_string()),
        }
    }
}

impl From<Refused> for anyhow::Error {
    fn from(refused: Refused) -> Self {
        Fault::from(refused).into()
    }
}

/// A 2xx answer as it is; any other as a refusal of `doing`.
///
/// # Errors
/// The refusal.
pub fn accepted(response: Response, doing: &str) -> Result<Response, Refused> {
    if response.is_success() {
        return Ok(response);
    }
    Err(Refused {
        doing: doing.to_owned(),
        status: response.status.as_u16(),
        message: refusal_text(&response.body),
    })
}

/// GitHub's error body as one line: `message`, then what `errors[]` says. Control characters are dropped, as the text goes to a
/// terminal, and it ends at 500 characters.
#[must_use]
pub fn refusal_text(body: &[u8]) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body {
        message: String,
        errors: Vec<serde_json::Value>,
    }
    let Ok(Body { message, errors }) = serde_json::from_slice(body) else { return String::new() };
    let details: Vec<String> = errors.iter().filter_map(detail).collect();
    let text = match (message.is_empty(), details.is_empty()) {
        (_, true) => message,
        (true, false) => details.join("; "),
        (false, false) => format!("{message} ({})", details.join("; ")),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

/// One entry of `errors[]`: its message, or, as GitHub leaves that out for all codes but `custom`, resource, field and code.
fn detail(error: &serde_json::Value) -> Option<String> {
    let part = |name: &str| error.get(name).and_then(serde_json::Value::as_str);
    if let Some(message) = error.as_str().or_else(|| part("message")) {
        return Some(message.to_owned());
    }
    let parts: Vec<&str> = ["resource", "field", "code"].into_iter().filter_map(part).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_task::Exit;
    use http::{HeaderMap, StatusCode};

    fn refused(status: u16, body: &str) -> Refused {
        let status = StatusCode::from_u16(status).unwrap();
        let response = Response { status, headers: HeaderMap::new(), body: body.into() };
        accepted(response, "opening the pull request").unwrap_err()
    }

    #[test]
    fn a_refusal_has_githubs_words() {
        let body = r#"{"message":"Validation Failed","errors":[
            {"resource":"PullRequest","code":"custom","message":"A pull request already exists for octo:x."},
            {"resource":"PullRequest","field":"base","code":"invalid"}, "plain", {}],"status":"422"}"#;
        assert_eq!(
            refused(422, body).to_string(),
            "opening the pull request: GitHub answered 422: Validation Failed \
             (A pull request already exists for octo:x.; PullRequest base invalid; plain)"
        );
        for body in ["", "<html>", "[]", "{}"] {
            assert_eq!(
                refused(404, body).to_string(),
                "opening the pull request: GitHub answered 404",
                "{body}"
            );
        }
        assert_eq!(refusal_text(b"{\"message\":\"a\\u001b[2Jb\"}"), "a [2Jb");
    }

    #[test]
    fn a_refusals_exit_code_follows_its_status() {
        for (status, exit) in
            [(401, Exit::Denied), (403, Exit::Denied), (404, Exit::Failed), (422, Exit::Failed)]
        {
            assert_eq!(Fault::from(refused(status, "")).exit(), exit, "{status}");
        }
    }

    #[test]
    fn requests_carry_githubs_headers() {
        let client = Client::new("test", "1");
        let api = Api::new(&client, "https://ghe.example/api/v3/").unwrap();
        let request = api.get(&["repos", "octo", "blog"]);
        assert_eq!(request.url.as_str(), "https://ghe.example/api/v3/repos/octo/blog");
        assert_eq!(request.headers["accept"], "application/vnd.github+json");
        assert_eq!(request.headers["x-github-api-version"], API_VERSION);
    }
}
