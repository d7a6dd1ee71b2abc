//! What can be reached from here: TCP connections and names, all at once, each with a time limit.

use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What the target is called in the report.
    pub name: String,
    /// What is tried.
    pub what: Attempt,
}

/// One thing to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// To connect.
    Connect(SocketAddr),
    /// To find a host's addresses.
    Resolve(String),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// There is a connection, or an address.
    Yes,
    /// Somebody refused: the host, or a filter on the way.
    Refused,
    /// Nobody answered in time.
    TimedOut,
    /// There is no way, or a filter says so.
    Unreachable,
    /// Something else.
    Failed,
}

/// What was found of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What the target is called.
    pub name: String,
    /// Address and port, or the host's name.
    pub target: String,
    /// How the last attempt ended.
    pub reached: Reached,
    /// It could be reached at first: a filter came late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reached_before: bool,
}

/// What a probe prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// `EgressProbe`.
    pub kind: String,
    /// One a target, in their order.
    pub findings: Vec<Finding>,
}

impl ProbeReport {
    /// With its kind.
    #[must_use]
    pub fn new(findings: Vec<Finding>) -> Self {
        Self { kind: "EgressProbe".to_owned(), findings }
    }
}

/// How patient a probe is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For one attempt.
    pub limit: Duration,
    /// How often all is tried, because a filter may come into force a moment after the pod does.
    pub rounds: u32,
    /// Between the rounds.
    pub pause: Duration,
}

/// Tries all targets at once, round after round. The last round counts.
pub async fn probe(targets: &[Target], patience: Patience) -> ProbeReport {
    let mut findings: Vec<Finding> = Vec::new();
    for round in 0..patience.rounds.max(1) {
        if round > 0 {
            sleep(patience.pause).await;
        }
        let attempts = targets.iter().map(|target| attempt(&target.what, patience.limit));
        let reached = futures::future::join_all(attempts).await;
        findings = targets
            .iter()
            .zip(reached)
            .enumerate()
            .map(|(number, (target, reached))| {
                let before = findings
                    .get(number)
                    .is_some_and(|before| before.reached_before || before.reached == Reached::Yes);
                Finding {
                    name: target.name.clone(),
                    target: target.what.to_string(),
                    reached,
                    reached_before: before && reached != Reached::Yes,
                }
            })
            .collect();
    }
    ProbeReport::new(findings)
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(address) => address.fmt(f),
            Self::Resolve(host) => host.fmt(f),
        }
    }
}

async fn attempt(what: &Attempt, limit: Duration) -> Reached {
    let tried = match what {
        Attempt::Connect(address) => {
            timeout(limit, TcpStream::connect(address)).await.map(|made| made.map(drop))
        }
        Attempt::Resolve(host) => timeout(limit, lookup_host((host.as_str(), 0)))
            .await
            .map(|found| found?.next().map(drop).ok_or_else(|| io::Error::other("no address"))),
    };
    match tried {
        Ok(Ok(())) => Reached::Yes,
        Err(_elapsed) => Reached::TimedOut,
        Ok(Err(error)) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::PermissionDenied => {
                Reached::Refused
            }
            ErrorKind::TimedOut => Reached::TimedOut,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                Reached::Unreachable
            }
            _ => Reached::Failed,
        },
    }
}
