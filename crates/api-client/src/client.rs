//! Sends a request, and sends it again where [`retry::decide`] says so.

use crate::clock::{Clock, SystemClock};
use crate::error::{Broken, Error, classify};
use crate::message::{Request, Response};
use crate::retry::{self, Decision, Event, Moment, Policy};
use piece::Fault;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// The longest body that is read.
pub const BODY_MAX: u64 = 8 * 1024 * 1024;

/// For a connection to stand, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// For one request, from the look-up of the name to the last byte of the answer.
const CALL: Duration = Duration::from_secs(30);

/// Looks a variable up.
type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Sends requests for one piece. Connections and the roots are kept between requests and made when they are needed.
pub struct Client {
    piece: &'static str,
    user_agent: String,
    clock: Box<dyn Clock>,
    tell: Box<dyn Fn(&str) + Send + Sync>,
    environment: Box<Lookup>,
    /// By scheme and proxy: the roots are read for https only.
    agents: Mutex<BTreeMap<Route, ureq::Agent>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    https: bool,
    proxy: Option<String>,
}

impl Client {
    /// A client for the piece of this name and version, with this process's environment, clock and stderr.
    #[must_use]
    pub fn new(piece: &'static str, version: &str) -> Self {
        Self {
            piece,
            user_agent: format!("pressrun-{piece}/{version}"),
            clock: Box::new(SystemClock::default()),
            tell: Box::new(move |line| {
                // stderr is for people; nobody there is no failure.
                let _ = writeln!(std::io::stderr(), "{piece}: {line}");
            }),
            environment: Box::new(|name| std::env::var(name).ok()),
            agents: Mutex::default(),
        }
    }

    /// The same with another clock, for tests that do not wait.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// The same, with the lines about waits going to `tell`.
    #[must_use]
    pub fn with_progress(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// The same with another environment, of which the proxies are read.
    #[must_use]
    pub fn with_environment(
        mut self,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.environment = Box::new(environment);
        self
    }

    /// The clock that waits are measured by.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Prints a line for people, behind the piece's name.
    pub fn tell(&self, line: &str) {
        (self.tell)(line);
    }

    /// Sends `request` until there is an answer that time will not change, whatever its status; redirects are answers too.
    /// One call takes 30 s at most, everything together `policy.total` and that.
    ///
    /// # Errors
    /// [`Error::Exhausted`] where the server or the network stayed broken or limited, or where a broken connection leaves
    /// open whether a request that must not be sent twice was acted on; [`Error::Unusable`] where it cannot be sent at all.
    pub fn send(&self, policy: &Policy, request: &Request) -> Result<Response, Error> {
        crate::endpoint::check(&request.url)
            .map_err(|why| Error::Unusable(Fault::usage(format!("the URL for {} {why}", policy.service))))?;
        let agent = self.agent(&request.url).map_err(Error::Unusable)?;
        let began = self.clock.uptime();
        for attempt in 1_u32.. {
            let outcome = self.once(&agent, request).map_err(Error::Unusable)?;
            let moment = Moment {
                attempt,
                elapsed: self.clock.uptime().saturating_sub(began),
                now: self.clock.now(),
                chance: self.clock.chance(),
            };
            let event = match &outcome {
                Ok(Response { status, headers, body }) => {
                    Event::Answer { status: status.as_u16(), headers, body }
                }
                Err(broken) => Event::Broken { broken, replay: request.replay },
            };
            match (retry::decide(policy, moment, event), outcome) {
                (Decision::Take, Ok(response)) => return Ok(response),
                (Decision::Retry(wait), outcome) => {
                    let last = describe(&outcome, request);
                    self.tell(&format!("{} {last}: waiting {}", policy.service, retry::span(wait)));
                    self.clock.sleep(wait);
                }
                (Decision::Stop(stop), outcome) => {
                    return Err(Error::Exhausted {
                        service: policy.service,
                        last: describe(&outcome, request),
                        stop,
                        attempts: attempt,
                        elapsed: moment.elapsed,
                        maybe_done: matches!(&outcome, Err(Broken { sent: true, .. })),
                    });
                }
                // `decide` takes answers only.
                (Decision::Take, Err(broken)) => return Err(Error::Unusable(Fault::retry(broken.cause))),
            }
        }
        unreachable!("every attempt ends in a decision, and the policy's total bounds them")
    }

    /// One attempt: an answer, a break that may pass, or a fault that does not.
    fn once(&self, agent: &ureq::Agent, request: &Request) -> Result<Result<Response, Broken>, Fault> {
        let host = request.host();
        let run = || -> Result<Response, ureq::Error> {
            let mut builder =
                http::Request::builder().method(request.method.clone()).uri(request.url.as_str());
            if let Some(headers) = builder.headers_mut() {
                headers.extend(request.headers.clone());
            }
            let answer = match &request.body {
                Some(body) => agent.run(builder.body(body.as_slice())?)?,
                None => agent.run(builder.body(())?)?,
            };
            let (parts, body) = answer.into_parts();
            let mut body = body;
            let body = body.with_config().limit(BODY_MAX).read_to_vec()?;
            Ok(Response { status: parts.status, headers: parts.headers, body })
        };
        match run() {
            Ok(response) => Ok(Ok(response)),
            Err(error) => classify(&error, &host).map(Err),
        }
    }

    fn agent(&self, url: &Url) -> Result<ureq::Agent, Fault> {
        let route =
            Route { https: url.scheme() == "https", proxy: crate::proxy::choose(url, &self.environment) };
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&route) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(&route)?;
        agents.insert(route, agent.clone());
        Ok(agent)
    }

    fn new_agent(&self, route: &Route) -> Result<ureq::Agent, Fault> {
        let proxy = match &route.proxy {
            // The text may hold a password: it is not told.
            Some(text) => Some(ureq::Proxy::new(text).map_err(|_| {
                Fault::usage("HTTPS_PROXY (or ALL_PROXY) is not the URL of a proxy")
                    .hint("set it to http://HOST:PORT, or unset it")
            })?),
            None => None,
        };
        let mut config = ureq::Agent::config_builder()
            .proxy(proxy)
            .user_agent(self.user_agent.as_str())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(CALL));
        if route.https {
            config = config.tls_config(crate::trust::config()?);
        }
        Ok(config.build().new_agent())
    }
}

/// What went wrong, as the predicate of a sentence about the service.
fn describe(outcome: &Result<Response, Broken>, request: &Request) -> String {
    match outcome {
        Ok(response) => format!("answered {}", response.status.as_u16()),
        Err(Broken { cause, sent: false }) => format!("could not be reached at {}: {cause}", request.host()),
        Err(Broken { cause, sent: true }) => format!("did not answer: {cause}"),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("piece", &self.piece).finish_non_exhaustive()
    }
}
