//! Why there is no answer.

use crate::retry::Stop;
use piece::Fault;
use std::fmt;
use std::time::Duration;

/// Why a request has no answer that is worth reading. It has exit code and hint only as a [`Fault`], so it turns into one on
/// its way into `anyhow::Error` (`?` does it), and is therefore no `std::error::Error` itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The server or the network stayed broken for as long as the policy waits. Exit code 3.
    Exhausted {
        /// Who was asked, as `GitHub`.
        service: &'static str,
        /// The last thing that went wrong, as `answered 502` or `could not be reached (…)`.
        last: String,
        /// Why no further attempt is made.
        stop: Stop,
        /// How many times it was asked.
        attempts: u32,
        /// For how long in all.
        elapsed: Duration,
        /// Whether the last request may have been acted on: the connection broke after it was sent.
        maybe_done: bool,
    },
    /// The request cannot be sent here at all: the proxy's URL, the roots, the server's certificate. Its exit code is its own.
    Unusable(Fault),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Unusable(fault) => fault,
            Error::Exhausted { service, ref last, ref stop, attempts, elapsed, .. } => {
                let tried = match attempts {
                    1 => String::new(),
                    more => format!(" ({more} attempts in {})", crate::retry::span(elapsed)),
                };
                Self::retry(format!("{service} {last}{tried}; {stop}"))
            }
        }
    }
}

impl From<Error> for anyhow::Error {
    fn from(error: Error) -> Self {
        Fault::from(error).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fault::from(self.clone()).fmt(f)
    }
}

/// A connection that broke, or never was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What happened, without any part of the request.
    pub cause: String,
    /// Whether the request can have reached the server.
    pub sent: bool,
}

/// What ureq's error means for us: a break that passes, or something that waiting does not mend.
pub(crate) fn classify(error: &ureq::Error, host: &str) -> Result<Broken, Fault> {
    use ureq::Error as E;
    let unsent = |cause: String| Ok(Broken { cause, sent: false });
    let sent = |cause: String| Ok(Broken { cause, sent: true });
    match error {
        E::HostNotFound => unsent("host not found".to_owned()),
        E::ConnectionFailed => unsent("no connection".to_owned()),
        // The text is the proxy's answer to CONNECT, as `407 Proxy Authentication Required`.
        E::ConnectProxyFailed(text) => unsent(format!("the proxy refused: {text}")),
        E::Timeout(which @ (ureq::Timeout::Resolve | ureq::Timeout::Connect)) => {
            unsent(format!("no connection in time ({which})"))
        }
        E::Timeout(which) => sent(format!("no answer in time ({which})")),
        E::Rustls(error) => tls(error, host),
        E::Tls(text) => unsent((*text).to_owned()),
        E::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => tls(error, host),
            None if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                unsent("connection refused".to_owned())
            }
            None => sent(error.to_string()),
        },
        E::Protocol(error) => sent(format!("the answer is not HTTP: {error}")),
        E::LargeResponseHeader(..) => {
            Err(Fault::failed(format!("{host} answered with headers that are too long")))
        }
        E::BodyExceedsLimit(_) => Err(Fault::failed(format!("{host} answered with a body that is too long"))),
        E::InvalidProxyUrl => Err(Fault::usage("the proxy's URL is not usable")
            .hint("set HTTPS_PROXY to http://HOST:PORT, or unset it")),
        // Some of the rest quote the URL.
        _ => Err(Fault::failed(format!("the request to {host} could not be made"))),
    }
}

fn tls(error: &rustls::Error, host: &str) -> Result<Broken, Fault> {
    match error {
        rustls::Error::InvalidCertificate(why) => {
            Err(Fault::failed(format!("the certificate of {host} is not trusted: {why}"))
                .hint("set SSL_CERT_FILE to a file with the certificate authority of your proxy or server"))
        }
        other => Ok(Broken { cause: format!("TLS: {other}"), sent: false }),
    }
}
