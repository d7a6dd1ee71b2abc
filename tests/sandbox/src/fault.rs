//! Faults: a call that fails as the real service fails.

use serde::Deserialize;
use std::time::Duration;

/// One of the stand-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// `api.github.com`.
    GitHub,
    /// `github.com`.
    Git,
    /// `discord.com`.
    Discord,
    /// `api.anthropic.com`.
    Model,
    /// The proxy: the method is `CONNECT`, the path is `host:port`.
    Proxy,
}

/// Which calls fail, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The service that fails.
    pub service: Service,
    /// Only calls with this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Only calls whose path starts so.
    #[serde(default)]
    pub path_prefix: String,
    /// The first call that fails, counted from 1 among those that match.
    #[serde(default = "once")]
    pub from_call: usize,
    /// How many calls fail from there on.
    #[serde(default = "once")]
    pub times: usize,
    /// How they fail.
    pub how: How,
}

fn once() -> usize {
    1
}

impl Fault {
    /// The next call of `service` fails, whatever it is.
    #[must_use]
    pub fn next(service: Service, how: How) -> Self {
        Self { service, method: None, path_prefix: String::new(), from_call: 1, times: 1, how }
    }
}

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum How {
    /// The service answers with this, and does nothing.
    Status {
        /// The status code.
        code: u16,
        /// Headers of the answer.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// Its body.
        #[serde(default)]
        body: String,
    },
    /// The service turns the call away as it does when asked too often.
    RateLimited {
        /// When it may be asked again.
        #[serde(deserialize_with = "seconds")]
        retry_after: Duration,
        /// Which limit was reached.
        limit: Limit,
    },
    /// The connection closes before any answer; the service has done nothing.
    Disconnect,
    /// The service does nothing for so long, and then answers.
    Hang(#[serde(deserialize_with = "seconds")] Duration),
    /// The service does its work, and answers after so long.
    HoldAnswer(#[serde(deserialize_with = "seconds")] Duration),
    /// The service does its work, and the connection closes after so many bytes of the answer's body.
    CutAfter(usize),
}

/// Which of a service's limits was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// GitHub: 403 with `x-ratelimit-remaining: 0` and the time of its reset. Discord: the route's own bucket. Model: 429.
    Primary,
    /// GitHub: the secondary limit, 429 with `retry-after`. Discord: the global limit. Model: overloaded, 529.
    Secondary,
}

fn seconds<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// The faults that are to happen, each with the number of calls that it has matched.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    planned: std::sync::Mutex<Vec<(Fault, usize)>>,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((fault, 0));
    }

    /// Counts a call, and says how it is to fail, if it is.
    pub(crate) fn of_call(&self, service: Service, method: &str, path: &str) -> Option<How> {
        let mut planned = self.planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut happens = None;
        for (fault, calls) in planned.iter_mut() {
            let matches = fault.service == service
                && fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && path.starts_with(&fault.path_prefix);
            if matches {
                *calls += 1;
                let due = *calls >= fault.from_call && *calls - fault.from_call < fault.times;
                if due && happens.is_none() {
                    happens = Some(fault.how.clone());
                }
            }
        }
        happens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_happens_at_its_calls_and_no_other() {
        let faults = Faults::default();
        faults.add(Fault {
            service: Service::GitHub,
            method: Some("POST".to_owned()),
            path_prefix: "/repos/".to_owned(),
            from_call: 2,
            times: 2,
            how: How::Disconnect,
        });
        let post = || faults.of_call(Service::GitHub, "POST", "/repos/octo/blog/pulls").is_some();
        assert!(!post());
        assert!(faults.of_call(Service::GitHub, "GET", "/repos/octo/blog/pulls").is_none());
        assert!(faults.of_call(Service::Discord, "POST", "/repos/").is_none());
        assert!(faults.of_call(Service::GitHub, "POST", "/app").is_none());
        assert_eq!([post(), post(), post()], [true, true, false]);
    }
}
