//! A request and its answer.

use agent_task::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use piece::Fault;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use url::Url;

/// One request. Its `Debug` shows method and host: path, headers and body may hold secrets.
#[derive(Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) replay: bool,
}

impl Request {
    /// A request without headers and body. `url` should come from [`crate::endpoint`].
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        let replay = method.is_idempotent();
        Self { method, url, headers: HeaderMap::new(), body: None, replay }
    }

    /// Appends `name=value` to the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Sets a header that is no secret.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// `Authorization: Bearer TOKEN`, as GitHub has it.
    #[must_use]
    pub fn bearer(self, token: &Secret) -> Self {
        self.authorization("Bearer", token)
    }

    /// `Authorization: SCHEME TOKEN`, as Discord's `Bot`. A token that no header can hold (a line break inside) goes out
    /// as an empty one, which the server refuses.
    #[must_use]
    pub fn authorization(mut self, scheme: &str, token: &Secret) -> Self {
        let mut value = HeaderValue::from_str(&format!("{scheme} {}", token.expose()))
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        self.headers.insert(header::AUTHORIZATION, value);
        self
    }

    /// A JSON body.
    ///
    /// # Errors
    /// Where `body` cannot be JSON, as a map with keys that are no strings.
    pub fn json(mut self, body: &impl Serialize) -> anyhow::Result<Self> {
        self.body = Some(serde_json::to_vec(body)?);
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(self)
    }

    /// Says that the request may be sent again when the connection broke and nobody knows whether the server acted on
    /// it. By default that is so for idempotent methods (GET, PUT, DELETE), not for POST and PATCH.
    ///
    /// A 429 or 5xx is asked again in any case: the server has said that it did not do the work.
    #[must_use]
    pub fn replay_is_safe(mut self) -> Self {
        self.replay = true;
        self
    }

    /// The host and port that are asked, for messages.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.host())
            .finish_non_exhaustive()
    }
}

/// An answer, whatever its status. Its `Debug` shows the status: the body may be a token.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most [`crate::client::BODY_MAX`] bytes.
    pub body: Vec<u8>,
}

impl Response {
    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// A header's text; nothing where it is absent or not ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// A fault worth a retry: a good status with a broken body comes from something in between.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body)
            // serde's message may quote a string of the body: only the place is told.
            .map_err(|error| {
                Fault::retry(format!(
                    "the answer ({}, {} bytes) is not the JSON that was expected, at line {} column {}",
                    self.status.as_u16(),
                    self.body.len(),
                    error.line(),
                    error.column()
                ))
            })
    }

    /// The server's time of day, as its `Date` header has it.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        date(&self.headers)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status.as_u16()).finish_non_exhaustive()
    }
}

/// The `Date` header.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(header::DATE)?.to_str().ok()?)
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    // RFC 2822 says `+0000` or `GMT` alike, and is what IMF-fixdate is a part of.
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_path_header_or_body() {
        let url = Url::parse("https://discord.com/api/webhooks/1/s3cret").unwrap();
        let request = Request::new(Method::POST, url).bearer(&Secret::new("s3cret")).json(&"s3cret").unwrap();
        assert_eq!(format!("{request:?}"), "Request { method: POST, host: \"discord.com\", .. }");
        let answer = Response { status: StatusCode::OK, headers: HeaderMap::new(), body: b"s3cret".to_vec() };
        assert_eq!(format!("{answer:?}"), "Response { status: 200, .. }");
        assert!(!answer.json::<u32>().unwrap_err().to_string().contains("s3cret"));
    }

    #[test]
    fn the_servers_date_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sun, 22 Nov 2026 22:00:00 GMT".parse().unwrap());
        assert_eq!(date(&headers), Some("2026-11-22T22:00:00Z".parse().unwrap()));
    }
}
