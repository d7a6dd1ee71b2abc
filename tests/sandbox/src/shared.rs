//! What the services share: the clock, the faults, the violations, the log of requests, and the addresses.

use crate::clock::Clock;
use crate::fault::{Faults, How, Limit, Service};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request as HttpRequest;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http_body_util::BodyExt as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A request that a service was asked, and the status of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, percent-encoded as it came.
    pub path: String,
    /// The query, percent-encoded as it came, without `?`.
    pub query: String,
    /// The headers, names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body; of git's requests it is not kept.
    pub body: Vec<u8>,
    /// The status of the answer; 0 while there is none, and where there never was one.
    pub status: u16,
}

impl Request {
    /// The first header of this name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Cheap to clone; every clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    faults: Faults,
    log: Mutex<Log>,
    logged: Condvar,
    listeners: Listeners,
    stopping: watch::Sender<bool>,
    directory: PathBuf,
}

#[derive(Debug, Default)]
struct Log {
    requests: Vec<(Service, Request)>,
    violations: Vec<String>,
    /// Counts what happened, so that nothing is missed between looking and waiting.
    events: u64,
}

/// The sockets, bound before any service starts, so that each knows its address.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) github: TcpListener,
    pub(crate) git: TcpListener,
    pub(crate) discord: TcpListener,
    pub(crate) model: TcpListener,
    pub(crate) proxy: TcpListener,
    pub(crate) control: TcpListener,
}

impl Listeners {
    fn bind() -> std::io::Result<Self> {
        let free = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        };
        Ok(Self {
            github: free()?,
            git: free()?,
            discord: free()?,
            model: free()?,
            proxy: free()?,
            control: free()?,
        })
    }
}

impl Shared {
    pub(crate) fn new(directory: PathBuf) -> std::io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            clock: Clock::default(),
            faults: Faults::default(),
            log: Mutex::default(),
            logged: Condvar::new(),
            listeners: Listeners::bind()?,
            stopping: watch::Sender::new(false),
            directory,
        })))
    }

    /// The servers' time.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.0.faults
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.0.listeners
    }

    /// Where files may be put; it exists for as long as the sandbox.
    pub(crate) fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Becomes true when the sandbox stops, which waits until every receiver is dropped: whoever started a process holds
    /// one until the process is gone.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }

    /// Ends all processes.
    pub(crate) async fn stop(&self) {
        self.0.stopping.send_replace(true);
        self.0.stopping.closed().await;
    }

    /// Reports what a client did that the real service forbids.
    pub(crate) fn violation(&self, service: Service, text: impl std::fmt::Display) {
        self.log().violations.push(format!("{service:?}: {text}"));
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.log().violations.clone()
    }

    /// What `service` was asked, in order.
    pub(crate) fn requests(&self, service: Service) -> Vec<Request> {
        let log = self.log();
        log.requests.iter().filter(|(of, _)| *of == service).map(|(_, request)| request.clone()).collect()
    }

    /// The service's loopback address: `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self, service: Service) -> String {
        let listeners = &self.0.listeners;
        url(match service {
            Service::GitHub => &listeners.github,
            Service::Git => &listeners.git,
            Service::Discord => &listeners.discord,
            Service::Model => &listeners.model,
            Service::Proxy => &listeners.proxy,
        })
    }

    pub(crate) fn control_url(&self) -> String {
        url(&self.0.listeners.control)
    }

    /// Adds a request to the log; the number is for [`Self::answered`].
    pub(crate) fn asked(&self, service: Service, request: Request) -> usize {
        let mut log = self.log();
        log.requests.push((service, request));
        let number = log.requests.len() - 1;
        drop(log);
        self.changed();
        number
    }

    pub(crate) fn answered(&self, number: usize, status: StatusCode) {
        if let Some((_, request)) = self.log().requests.get_mut(number) {
            request.status = status.as_u16();
        }
        self.changed();
    }

    /// Announces that something happened which a test may wait for.
    pub(crate) fn changed(&self) {
        self.log().events += 1;
        self.0.logged.notify_all();
    }

    pub(crate) fn wait_until(&self, limit: Duration, condition: impl Fn() -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            let seen = self.log().events;
            if condition() {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            let waited = self.0.logged.wait_timeout_while(self.log(), left, |log| log.events == seen);
            if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
                return condition();
            }
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn url(listener: &TcpListener) -> String {
    let address = listener.local_addr().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    format!("http://{address}")
}

/// A call to be turned away because there were too many: what the service says in that case is the service's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimited {
    pub(crate) retry_after: Duration,
    pub(crate) limit: Limit,
    /// The servers' time.
    pub(crate) now: jiff::Timestamp,
}

/// In an answer's extensions: close the connection instead of answering.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disconnect;

/// `router` with every request recorded, and with the faults that are planned for it.
pub(crate) fn observed(
    shared: &Shared,
    service: Service,
    router: Router,
    rate_limited: fn(RateLimited) -> Response,
) -> Router {
    let shared = shared.clone();
    router.layer(axum::middleware::from_fn(move |request: HttpRequest, next: Next| {
        let shared = shared.clone();
        async move {
            let (parts, body) = request.into_parts();
            let path = parts.uri.path().to_owned();
            // A pack may be large, and git's protocol wants its answers while it still asks.
            let (body, kept) = if service == Service::Git {
                (body, Bytes::new())
            } else {
                match body.collect().await {
                    Ok(whole) => {
                        let whole = whole.to_bytes();
                        (Body::from(whole.clone()), whole)
                    }
                    Err(_) => return disconnect(),
                }
            };
            let number = shared.asked(
                service,
                Request {
                    method: parts.method.to_string(),
                    path: path.clone(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    headers: parts
                        .headers
                        .iter()
                        .map(|(name, value)| {
                            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                        })
                        .collect(),
                    body: kept.to_vec(),
                    status: 0,
                },
            );
            let fault = shared.faults().of_call(service, parts.method.as_str(), &path);
            let request = HttpRequest::from_parts(parts, body);
            let response = match fault {
                None => next.run(request).await,
                Some(How::Status { code, headers, body }) => given(code, &headers, body),
                Some(How::RateLimited { retry_after, limit }) => {
                    rate_limited(RateLimited { retry_after, limit, now: shared.clock().now() })
                }
                Some(How::Disconnect) => return disconnect(),
                Some(How::Hang(time)) => {
                    tokio::time::sleep(time).await;
                    next.run(request).await
                }
                Some(How::HoldAnswer(time)) => {
                    let response = next.run(request).await;
                    shared.answered(number, response.status());
                    tokio::time::sleep(time).await;
                    response
                }
                Some(How::CutAfter(bytes)) => next.run(request).await.map(|body| cut(body, bytes)),
            };
            shared.answered(number, response.status());
            response
        }
    }))
}

fn disconnect() -> Response {
    let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
    response.extensions_mut().insert(Disconnect);
    response
}

pub(crate) fn given(code: u16, headers: &[(String, String)], body: String) -> Response {
    let mut response = http::Response::builder().status(code);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response
        .body(Body::from(body))
        .unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response())
}

/// `body`, up to so many bytes; then an error, at which the connection closes.
pub(crate) fn cut(body: Body, bytes: usize) -> Body {
    Body::new(Cut { body, left: bytes })
}

struct Cut {
    body: Body,
    left: usize,
}

impl hyper::body::Body for Cut {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        if self.left == 0 {
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(
                std::io::ErrorKind::ConnectionReset,
            )))));
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|mut data| {
                    data.truncate(self.left);
                    self.left -= data.len();
                    data
                })
            })
        }))
    }

    // What the whole body's length was to be is still announced.
    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
