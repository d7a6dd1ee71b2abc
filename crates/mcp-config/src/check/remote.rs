//! A server at a URL: streamable HTTP, and the HTTP with server-sent events that came before it.
//!
//! A redirect is not followed: no header reaches a host that the configuration does not name. The URL may hold a secret and is
//! never told; messages name the host.

use super::protocol::{Failure, Found, Meaning, Wire, meaning, messages, shake_hands, shortened};
use super::{Limit, Looked};
use crate::config::{Remote, RemoteType};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use url::Url;

/// The longest answer that is read.
const BODY_MAX: u64 = 16 * 1024 * 1024;
/// How long the end of a session may take to be heard of.
const FAREWELL: Duration = Duration::from_millis(500);

/// Asks the server for its tools.
pub(super) fn look(server: &Remote, limit: Limit) -> Looked {
    let began = Instant::now();
    let mut found = Found::default();
    let failure = Http::new(server, limit).and_then(|http| match server.transport {
        RemoteType::Http => {
            let mut wire = Streamable { http, session: None, version: None };
            let result = shake_hands(&mut wire, began, &mut found);
            wire.farewell();
            result
        }
        RemoteType::Sse => Events::open(http).and_then(|mut wire| shake_hands(&mut wire, began, &mut found)),
    });
    Looked { found, failure: failure.err(), warning: None, stderr: String::new() }
}

/// Sends requests to one server.
struct Http {
    agent: ureq::Agent,
    url: Url,
    host: String,
    headers: Vec<(String, String)>,
    transport: RemoteType,
    limit: Limit,
}

type Answer = http::Response<ureq::Body>;

impl Http {
    fn new(server: &Remote, limit: Limit) -> Result<Self, Failure> {
        let url = Url::parse(&server.url).map_err(|_| Failure::dead("its url is not a URL"))?;
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let proxy = api_client::proxy::choose(&url, |name| std::env::var(name).ok());
        let proxy = proxy
            .map(|text| ureq::Proxy::new(&text))
            .transpose()
            // The text may hold a password.
            .map_err(|_| Failure::dead("HTTPS_PROXY (or ALL_PROXY) is not the URL of a proxy"))?;
        let mut config = ureq::Agent::config_builder()
            .proxy(proxy)
            .user_agent(concat!("pressrun-mcp-config/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false);
        if url.scheme() == "https" {
            let tls =
                api_client::trust::config().map_err(|fault| Failure::dead(fault.message().to_owned()))?;
            config = config.tls_config(tls);
        }
        let headers = server.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let agent = config.build().new_agent();
        Ok(Self { agent, url, host, headers, transport: server.transport, limit })
    }

    /// Sends a request; any status of success is an answer.
    fn send(
        &self,
        method: http::Method,
        url: &Url,
        own: &[(&str, &str)],
        body: Option<&Value>,
        time: Duration,
    ) -> Result<Answer, Failure> {
        let mut request = http::Request::builder().method(method).uri(url.as_str());
        for (name, value) in own {
            request = request.header(*name, *value);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        // The header with the fault may be a secret.
        let unsendable =
            |_| Failure::dead("a header of it cannot be sent: look at the values of its variables");
        // ureq takes no time at all for no limit.
        let time = time.max(Duration::from_millis(1));
        let answer = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json").body(body.to_string());
                let request = request.map_err(unsendable)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(time)).build())
            }
            None => {
                let request = request.body(()).map_err(unsendable)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(time)).build())
            }
        };
        let answer = answer.map_err(|error| self.broken(&error))?;
        self.refusal(&answer).map_or(Ok(answer), Err)
    }

    fn left(&self) -> Duration {
        self.limit.left()
    }

    /// What a status other than success means.
    fn refusal(&self, answer: &Answer) -> Option<Failure> {
        let status = answer.status();
        let host = &self.host;
        match status.as_u16() {
            200..=299 => None,
            401 => Some(Failure::denied(format!(
                "{host} answered 401: it wants credentials, or others than those in headers"
            ))),
            403 => Some(Failure::denied(format!(
                "{host} answered 403: the credentials in headers do not allow it"
            ))),
            code @ (408 | 425 | 429 | 500..=599) => {
                Some(Failure::unreachable(format!("{host} answered {code}")))
            }
            code @ 300..=399 => Some(Failure::dead(format!(
                "{host} answered {code}, a redirect: put the address it leads to into url"
            ))),
            code @ (404 | 405 | 406 | 415) => Some(Failure::dead(format!(
                "{host} answered {code}: look at the path of url, or try the type \"{}\"",
                self.transport.other()
            ))),
            code => Some(Failure::dead(format!("{host} answered {code}"))),
        }
    }

    fn broken(&self, error: &ureq::Error) -> Failure {
        use ureq::Error as E;
        let host = &self.host;
        let certificate = |error: &(dyn std::error::Error + 'static)| {
            let mut cause = Some(error);
            while let Some(error) = cause {
                let text = error.to_string();
                if text.contains("certificate") {
                    return Some(text);
                }
                cause = error.source();
            }
            None
        };
        match error {
            E::Timeout(_) => {
                Failure::unreachable(format!("no answer from {host} within {:?}", self.limit.time))
            }
            E::HostNotFound => Failure::unreachable(format!("there is no host {host}")),
            E::ConnectionFailed => Failure::unreachable(format!("no connection to {host}")),
            E::ConnectProxyFailed(text) => {
                Failure::unreachable(format!("the proxy refused the way to {host}: {}", shortened(text)))
            }
            E::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Failure::unreachable(format!("no connection to {host}: refused"))
            }
            E::Io(_) | E::Rustls(_) | E::Tls(_) => match certificate(error) {
                Some(text) => Failure::dead(format!(
                    "the certificate of {host} is not trusted ({}): set SSL_CERT_FILE to its authority",
                    shortened(&text)
                )),
                None => Failure::unreachable(format!("the connection to {host} broke")),
            },
            E::Protocol(_) => Failure::dead(format!("{host} does not answer in HTTP")),
            // Some of the rest quote the URL.
            _ => Failure::dead(format!("the request to {host} could not be made")),
        }
    }

    /// Reading the body went wrong.
    fn cut_off(&self, error: &std::io::Error) -> Failure {
        if self.left().is_zero() || error.kind() == std::io::ErrorKind::TimedOut {
            return Failure::unreachable(format!(
                "no answer from {} within {:?}",
                self.host, self.limit.time
            ));
        }
        Failure::unreachable(format!("the answer of {} broke off", self.host))
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

fn is_of_type(answer: &Answer, media_type: &str) -> bool {
    let given = header(answer, "content-type").unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
}

/// Streamable HTTP: every message is a POST, and its answer is in the answer.
struct Streamable {
    http: Http,
    session: Option<String>,
    version: Option<String>,
}

impl Streamable {
    fn post(&mut self, message: &Value) -> Result<Answer, Failure> {
        let answer = {
            let mut own = vec![("Accept", "application/json, text/event-stream")];
            own.extend(self.session.as_deref().map(|id| ("Mcp-Session-Id", id)));
            own.extend(self.version.as_deref().map(|version| ("MCP-Protocol-Version", version)));
            self.http.send(http::Method::POST, &self.http.url, &own, Some(message), self.http.left())?
        };
        if let Some(id) = header(&answer, "mcp-session-id") {
            self.session = Some(id.to_owned());
        }
        Ok(answer)
    }

    /// Ends the session, so that the server need not keep it. Whether it does is its own affair.
    fn farewell(&self) {
        if let Some(id) = &self.session {
            let mut own = vec![("Mcp-Session-Id", id.as_str())];
            own.extend(self.version.as_deref().map(|version| ("MCP-Protocol-Version", version)));
            let _ = self.http.send(
                http::Method::DELETE,
                &self.http.url,
                &own,
                None,
                FAREWELL.min(self.http.left()),
            );
        }
    }

    /// The response with `id` among `messages`; what the server asks for is answered.
    fn sift(&mut self, messages: Vec<Value>, id: u64) -> Result<Option<Value>, Failure> {
        for message in messages {
            match meaning(message, id) {
                Meaning::Answer(answer) => return Ok(Some(answer)),
                Meaning::Asks(response) => drop(self.post(&response)?),
                Meaning::Nothing | Meaning::Noise => {}
            }
        }
        Ok(None)
    }
}

impl Wire for Streamable {
    fn ask(&mut self, id: u64, message: &Value) -> Result<Value, Failure> {
        let answer = self.post(message)?;
        let host = self.http.host.clone();
        if is_of_type(&answer, "text/event-stream") {
            let mut events = SentEvents::new(answer.into_body().into_reader());
            loop {
                let event = events.next().map_err(|error| self.http.cut_off(&error))?;
                let Some(event) = event else {
                    return Err(Failure::dead(format!("{host} ended its answer without a response")));
                };
                let Some(messages) = messages(event.data.as_bytes()) else { continue };
                if let Some(response) = self.sift(messages, id)? {
                    return Ok(response);
                }
            }
        }
        if !is_of_type(&answer, "application/json") {
            let given = header(&answer, "content-type").map_or_else(|| "nothing".to_owned(), shortened);
            return Err(Failure::dead(format!(
                "{host} answered with {given}, not with JSON or events: look at the path of url"
            )));
        }
        let mut body = Vec::new();
        answer
            .into_body()
            .into_reader()
            .take(BODY_MAX)
            .read_to_end(&mut body)
            .map_err(|error| self.http.cut_off(&error))?;
        let messages = messages(&body)
            .ok_or_else(|| Failure::dead(format!("the answer of {host} is not the JSON it says it is")))?;
        self.sift(messages, id)?.ok_or_else(|| Failure::dead(format!("the answer of {host} has no response")))
    }

    fn tell(&mut self, message: &Value) -> Result<(), Failure> {
        self.post(message).map(drop)
    }

    fn agreed(&mut self, version: &str) {
        self.version = Some(version.to_owned());
    }
}

/// HTTP with server-sent events: answers come on one stream, whose first event says where to POST.
struct Events {
    http: Http,
    endpoint: Url,
    events: Receiver<std::io::Result<SentEvent>>,
}

impl Events {
    fn open(http: Http) -> Result<Self, Failure> {
        let accept = [("Accept", "text/event-stream")];
        let answer = http.send(http::Method::GET, &http.url, &accept, None, http.left())?;
        let host = &http.host;
        if !is_of_type(&answer, "text/event-stream") {
            return Err(Failure::dead(format!(
                "{host} answered with no events: look at the path of url, or try the type \"http\""
            )));
        }
        let (sender, events) = channel();
        std::thread::spawn(move || {
            let mut stream = SentEvents::new(answer.into_body().into_reader());
            // Ends with the stream, at the deadline, or when nobody listens.
            while let Some(event) = stream.next().transpose() {
                let failed = event.is_err();
                if sender.send(event).is_err() || failed {
                    return;
                }
            }
        });
        let first = next_event(&http, &events)?;
        let endpoint = (first.name == "endpoint").then(|| http.url.join(first.data.trim()).ok()).flatten();
        let endpoint =
            endpoint.ok_or_else(|| Failure::dead(format!("{host} did not say where to send messages")))?;
        if endpoint.origin() != http.url.origin() {
            // The headers are for the host of the configuration.
            return Err(Failure::dead(format!("{host} wants messages to be sent to another host")));
        }
        Ok(Self { http, endpoint, events })
    }
}

fn next_event(http: &Http, events: &Receiver<std::io::Result<SentEvent>>) -> Result<SentEvent, Failure> {
    match events.recv_timeout(http.left()) {
        Ok(Ok(event)) => Ok(event),
        Ok(Err(error)) => Err(http.cut_off(&error)),
        Err(RecvTimeoutError::Timeout) => {
            Err(Failure::unreachable(format!("no answer from {} within {:?}", http.host, http.limit.time)))
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err(Failure::dead(format!("{} ended its events without a response", http.host)))
        }
    }
}

impl Wire for Events {
    fn ask(&mut self, id: u64, message: &Value) -> Result<Value, Failure> {
        self.tell(message)?;
        loop {
            let event = next_event(&self.http, &self.events)?;
            for message in messages(event.data.as_bytes()).unwrap_or_default() {
                match meaning(message, id) {
                    Meaning::Answer(answer) => return Ok(answer),
                    Meaning::Asks(response) => self.tell(&response)?,
                    Meaning::Nothing | Meaning::Noise => {}
                }
            }
        }
    }

    fn tell(&mut self, message: &Value) -> Result<(), Failure> {
        self.http.send(http::Method::POST, &self.endpoint, &[], Some(message), self.http.left()).map(drop)
    }
}

/// One event of a stream.
#[derive(Debug, PartialEq, Eq)]
struct SentEvent {
    name: String,
    data: String,
}

/// Reads `text/event-stream` (WHATWG HTML, section 9.2.6).
struct SentEvents<R> {
    lines: BufReader<std::io::Take<R>>,
}

impl<R: Read> SentEvents<R> {
    fn new(stream: R) -> Self {
        Self { lines: BufReader::new(stream.take(BODY_MAX)) }
    }

    /// The next event with data; nothing at the end of the stream.
    fn next(&mut self) -> std::io::Result<Option<SentEvent>> {
        let (mut name, mut data) = (String::new(), None::<String>);
        loop {
            let mut line = Vec::new();
            if self.lines.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if let Some(data) = data.take() {
                    return Ok(Some(SentEvent { name, data }));
                }
                name.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_the_standard_has_them() {
        let stream = ": hello\n\nevent: endpoint\r\ndata: /messages\r\n\r\nid: 1\ndata: {\ndata:}\n\nretry: 5\n\ndata: lost";
        let mut events = SentEvents::new(stream.as_bytes());
        let mut all = Vec::new();
        while let Some(event) = events.next().unwrap() {
            all.push((event.name, event.data));
        }
        let expected = [("endpoint", "/messages"), ("", "{\n}")];
        assert_eq!(all, expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
    }
}
