//! How a run ended: a pure decision over what the events, the process and the configuration say.
//!
//! No single field tells. A run that the model's API refused ends with `subtype: success`; one that was denied a tool, or
//! lost an MCP server, exits with 0. So, in this order: is there a result at all, does it say `is_error`, was a
//! permission denied, were the servers that are needed connected, what is the exit code, and what did the agents say
//! of the work.

use crate::observer::{Ended, Observer};
use crate::text;
use agent_task::{AgentReport, Outcome, Stage};

/// How the agent CLI's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// Not known: the events came from a pipe or a file.
    #[default]
    Unknown,
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl From<std::process::ExitStatus> for Ending {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl Ending {
    /// The signal, also where the CLI caught it and exits as a shell would tell.
    fn signal(self) -> Option<i32> {
        match self {
            Self::Signal(signal) => Some(signal),
            Self::Code(code @ (129 | 130 | 131 | 137 | 143)) => Some(code - 128),
            Self::Code(_) | Self::Unknown => None,
        }
    }

    /// The signal by which the process crashed: nobody sent it.
    fn crash(self) -> Option<&'static str> {
        let Self::Signal(signal) = self else { return None };
        CRASHES.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
    }
}

/// The signals of a program's own faults, by their numbers on Linux and macOS alike.
const CRASHES: [(i32, &str); 5] =
    [(4, "SIGILL"), (5, "SIGTRAP"), (6, "SIGABRT"), (8, "SIGFPE"), (11, "SIGSEGV")];

/// What is known of the run beside its events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// How the process ended.
    pub ending: Ending,
    /// The end of what it wrote to stderr, redacted.
    pub stderr: &'a str,
    /// The MCP servers that the agent needs, by their names in its configuration.
    pub needed_mcp_servers: &'a [String],
}

struct Failure {
    outcome: Outcome,
    stage: String,
    error: String,
}

impl Observer {
    /// The report, its outcome decided.
    #[must_use]
    pub fn finish(self, surroundings: Surroundings<'_>) -> AgentReport {
        let failure = self.failure(surroundings);
        let mut report = self.report();
        if let Some(Failure { outcome, stage, error }) = failure {
            report.outcome = outcome;
            report.stage = Some(Stage::new(stage));
            report.error = Some(text::line(&error, 1000));
        }
        report
    }

    fn failure(&self, surroundings: Surroundings<'_>) -> Option<Failure> {
        let Surroundings { ending, stderr, needed_mcp_servers } = surroundings;
        let Some(ended) = &self.ended else {
            return Some(self.without_result(ending, stderr));
        };
        if ended.is_error {
            return Some(self.error(ended, ending));
        }
        if !self.denials.is_empty() {
            let stage = self.denied_stage.clone().unwrap_or_else(|| Stage::AGENT.to_owned());
            let error = format!("denied: {}", self.denials.join(", "));
            return Some(Failure { outcome: Outcome::ToolDenied, stage, error });
        }
        if let Some(error) = self.missing_server(needed_mcp_servers) {
            return Some(Failure { outcome: Outcome::McpFailed, stage: Stage::MCP_START.to_owned(), error });
        }
        if let Some((server, stage)) =
            needed_mcp_servers.iter().find_map(|name| self.lost.get_key_value(&text::line(name, 100)))
        {
            let error = format!("{server} ended during the run");
            return Some(Failure { outcome: Outcome::McpFailed, stage: stage.clone(), error });
        }
        if let Some(failure) = exit_failure(ended, ending, stderr) {
            return Some(failure);
        }
        if let Some((stage, reason)) = self.rejection() {
            let error = reason.unwrap_or("its verdict is FAIL").to_owned();
            return Some(Failure { outcome: Outcome::Rejected, stage: stage.to_owned(), error });
        }
        let verdict = ended.verdict.as_ref().filter(|verdict| !verdict.pass)?;
        let error = verdict.reason.clone().unwrap_or_else(|| "its verdict is FAIL".to_owned());
        Some(Failure { outcome: Outcome::Rejected, stage: Stage::AGENT.to_owned(), error })
    }

    fn without_result(&self, ending: Ending, stderr: &str) -> Failure {
        let stage = self.stage().as_str().to_owned();
        let said = last_line(stderr);
        if let Some(signal) = ending.crash() {
            let error = format!("crashed with {signal}, without a result");
            return Failure { outcome: Outcome::NoResult, stage, error };
        }
        if let Some(signal) = ending.signal() {
            let error = format!("ended by signal {signal}, without a result");
            return Failure { outcome: Outcome::Interrupted, stage, error };
        }
        if let Some(outcome) = by_text(&said) {
            return Failure { outcome, stage, error: said };
        }
        let silent = self.events == 0;
        match ending {
            Ending::Code(code) if code != 0 || silent => Failure {
                outcome: if silent { Outcome::AgentFailed } else { Outcome::NoResult },
                stage,
                error: match said.as_str() {
                    "" => format!("exit code {code}, no result event"),
                    said => format!("exit code {code}: {said}"),
                },
            },
            _ => Failure {
                outcome: Outcome::NoResult,
                stage,
                error: match said.as_str() {
                    "" => "the events end without a result".to_owned(),
                    said => format!("the events end without a result: {said}"),
                },
            },
        }
    }

    fn error(&self, ended: &Ended, ending: Ending) -> Failure {
        let mut error = ended.text.clone();
        if error.is_empty() || error.starts_with("[ede_diagnostic]") {
            error = [&ended.subtype, &ended.terminal_reason]
                .into_iter()
                .filter(|word| !word.is_empty())
                .map(|word| word.replace('_', " "))
                .collect::<Vec<_>>()
                .join(": ");
        }
        Failure { outcome: self.error_outcome(ended, ending), stage: ended.stage.clone(), error }
    }

    fn error_outcome(&self, ended: &Ended, ending: Ending) -> Outcome {
        match ended.subtype.as_str() {
            "error_mcp_servers" => return Outcome::McpFailed,
            "error_max_turns" => return Outcome::TurnLimit,
            "error_max_budget_usd" => return Outcome::Budget,
            _ => {}
        }
        match ended.api_error_status {
            Some(401 | 403) => return Outcome::LoginFailed,
            Some(429) if self.limit_rejected => return Outcome::UsageLimit,
            Some(408 | 409 | 429 | 500..) => return Outcome::ApiUnavailable,
            Some(400..) => return Outcome::ApiError,
            Some(_) | None => {}
        }
        if self.limit_rejected {
            return Outcome::UsageLimit;
        }
        if self.api_error.as_deref() == Some("authentication_failed") {
            return Outcome::LoginFailed;
        }
        if let Some(outcome) = by_text(&ended.text) {
            return outcome;
        }
        // The API failed, and no answer of it has a status: it was not reached, or broke off.
        if ended.terminal_reason == "api_error" {
            return Outcome::NetworkError;
        }
        if ending.signal().is_some()
            || ended.terminal_reason.starts_with("aborted")
            || contains(&ended.text, &["interrupted by user", "request was aborted", "aborterror"])
        {
            return Outcome::Interrupted;
        }
        Outcome::AgentFailed
    }

    fn missing_server(&self, needed: &[String]) -> Option<String> {
        let faults: Vec<String> = needed
            .iter()
            .filter_map(|name| match self.servers.iter().find(|server| server.name == *name) {
                Some(server) if server.status == "connected" => None,
                Some(server) => Some(format!("{name} is {}", server.status)),
                None => Some(format!("{name} is missing")),
            })
            .collect();
        (!faults.is_empty()).then(|| faults.join(", "))
    }
}

fn exit_failure(ended: &Ended, ending: Ending, stderr: &str) -> Option<Failure> {
    let failure = |outcome, error| Some(Failure { outcome, stage: ended.stage.clone(), error });
    match (ending, ending.signal()) {
        (Ending::Unknown | Ending::Code(0), _) => None,
        (_, Some(signal)) => failure(Outcome::Interrupted, format!("ended by signal {signal}")),
        (Ending::Code(code), None) => failure(
            Outcome::AgentFailed,
            match last_line(stderr).as_str() {
                "" => format!("a result, and exit code {code}"),
                said => format!("exit code {code}: {said}"),
            },
        ),
        (Ending::Signal(signal), None) => failure(Outcome::Interrupted, format!("ended by signal {signal}")),
    }
}

/// Causes that the CLI tells in words alone.
fn by_text(text: &str) -> Option<Outcome> {
    const LOGIN: &[&str] = &[
        "not logged in",
        "please run /login",
        "invalid api key",
        "oauth token has expired",
        "oauth token revoked",
        "invalid bearer token",
        "authentication_error",
        "failed to authenticate",
    ];
    const NETWORK: &[&str] = &[
        "unable to connect",
        "connection error",
        "connection closed",
        "connection refused",
        "connection reset",
        "connectionrefused",
        "econnrefused",
        "econnreset",
        "enotfound",
        "etimedout",
        "fetch failed",
        "socket",
        "network error",
        "request timed out",
        "stream ended",
        "stream closed",
        "stream idle",
    ];
    const LIMIT: &[&str] =
        &["usage limit reached", "hit your limit", "hit your session limit", "hit your weekly limit"];
    const OVERLOAD: &[&str] = &["overloaded"];
    let table = [
        (LOGIN, Outcome::LoginFailed),
        (LIMIT, Outcome::UsageLimit),
        (OVERLOAD, Outcome::ApiUnavailable),
        (NETWORK, Outcome::NetworkError),
    ];
    table.into_iter().find(|(phrases, _)| contains(text, phrases)).map(|(_, outcome)| outcome)
}

fn contains(text: &str, phrases: &[&str]) -> bool {
    let text = text.to_lowercase();
    phrases.iter().any(|phrase| text.contains(phrase))
}

/// The last line that says something; of several the first may be a warning, the last is what it ended with.
fn last_line(stderr: &str) -> String {
    stderr.lines().map(|line| text::line(line, 500)).rfind(|line| !line.is_empty()).unwrap_or_default()
}
