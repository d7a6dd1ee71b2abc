//! The records that the pieces hand to each other: one JSON object each, camelCase, with a `kind`.

use crate::outcome::{Outcome, Stage};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The only value of [`RunRecord::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RunKind {
    /// `"RunRecord"`.
    #[default]
    RunRecord,
}

/// The only value of [`AgentReport::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ReportKind {
    /// `"AgentReport"`.
    #[default]
    AgentReport,
}

/// One run, as far as it has come. `branch-run` writes it, `branch-run push` and `open-pr` add to it,
/// `notify-discord` reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// Always `RunRecord`.
    pub kind: RunKind,
    /// The run's id, unique over machines: `publisher-1790635538-3fa9c1`.
    pub run: String,
    /// The agent's name, as `publisher`.
    pub agent: String,
    /// The task as it was given.
    pub prompt: String,
    /// How it ended, as far as is known.
    pub outcome: Outcome,
    /// Where it was when it failed. Absent for a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Why it failed, for people; secrets are redacted. Absent for a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The run's branch; absent when the run ended before it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The branch that the pull request goes to, as `main`.
    pub base: String,
    /// The commit that the run's branch was made from: 40 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_commit: Option<String>,
    /// The tip of the run's branch: 40 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Commits on the branch that the base commit does not have.
    #[serde(default)]
    pub commits: u64,
    /// What these commits change, at most [`RunRecord::FILES_MAX`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ChangedFile>,
    /// How many files they change in all.
    #[serde(default)]
    pub files_changed: u64,
    /// The work on the branch is not finished: the agent was stopped or failed. The pull request is a draft.
    #[serde(default)]
    pub unfinished: bool,
    /// Work of the run lies in the work tree still, because it could not be committed: `branch-run salvage` does that, once it can.
    #[serde(default)]
    pub uncommitted: bool,
    /// What the agent CLI said of its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<AgentReport>,
    /// When the run began.
    pub started_at: Timestamp,
    /// When the agent stage ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// From beginning to end of the agent stage, in milliseconds of a clock that never jumps.
    #[serde(default)]
    pub duration_ms: u64,
    /// The push; absent until the remote has the branch at [`RunRecord::head`], or had it when it was merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
    /// The pull request; absent until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
}

impl RunRecord {
    /// At most so many changed files stand in a record: it must fit into a message.
    pub const FILES_MAX: usize = 100;

    /// A run that has just begun; its outcome is a success until something says otherwise.
    #[must_use]
    pub fn begun(
        run: impl Into<String>,
        agent: impl Into<String>,
        prompt: impl Into<String>,
        base: impl Into<String>,
        started_at: Timestamp,
    ) -> Self {
        Self {
            kind: RunKind::RunRecord,
            run: run.into(),
            agent: agent.into(),
            prompt: prompt.into(),
            outcome: Outcome::Success,
            stage: None,
            error: None,
            branch: None,
            base: base.into(),
            base_commit: None,
            head: None,
            commits: 0,
            files: Vec::new(),
            files_changed: 0,
            unfinished: false,
            uncommitted: false,
            report: None,
            started_at,
            ended_at: None,
            duration_ms: 0,
            push: None,
            pull_request: None,
        }
    }

    /// Notes a failure. The first one stands: what fails later is a consequence, and is appended to the error.
    pub fn fail(&mut self, outcome: Outcome, stage: impl Into<String>, error: impl Into<String>) {
        let error = error.into();
        if self.stage.is_some() {
            let first = self.error.get_or_insert_default();
            first.push_str("; then: ");
            first.push_str(&error);
            return;
        }
        self.outcome = outcome;
        self.stage = Some(Stage::new(stage));
        self.error = Some(error);
    }

    /// Says why the run was interrupted, where it was: a signal tells its receiver nothing of that. Said twice it stands there once.
    pub fn explain(&mut self, reason: &str) {
        let known = self.error.as_deref().unwrap_or_default();
        if self.outcome == Outcome::Interrupted && !known.starts_with(reason) {
            self.error =
                Some(if known.is_empty() { reason.to_owned() } else { format!("{reason} ({known})") });
        }
    }

    /// What to do about how it ended: one imperative sentence, or nothing where there is nothing to do.
    #[must_use]
    pub const fn remedy(&self) -> Option<&'static str> {
        // Whatever failed first: work is at stake.
        if self.uncommitted { Outcome::CommitFailed.remedy() } else { self.outcome.remedy() }
    }

    /// Whether the work reached its readers: the agent succeeded, the remote has the branch at our head, and its
    /// pull request is open, or merged as it is.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        let has_readers = |pull_request: &PullRequest| {
            pull_request.state == "open" || pull_request.state == PullRequest::MERGED
        };
        self.outcome.is_success()
            && self.push.as_ref().is_some_and(|push| Some(&push.head) == self.head.as_ref())
            && self.pull_request.as_ref().is_some_and(has_readers)
    }
}

/// A file that the run changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedFile {
    /// Path from the repository's root; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// `added`, `modified`, `deleted`, `renamed` or `typechange`.
    pub status: String,
}

/// A push that the remote has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// `owner/name`.
    pub repository: String,
    /// The branch on the remote. It differs from the local one where that name was taken.
    pub branch: String,
    /// The commit that the remote has there.
    pub head: String,
    /// `created`, `updated` or `unchanged`.
    pub operation: String,
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Where people read it.
    pub url: String,
    /// `open`, `closed` or `merged`.
    pub state: String,
    /// Whether it is a draft.
    pub draft: bool,
    /// `created` or `existing`.
    pub operation: String,
}

impl PullRequest {
    /// The [state](PullRequest::state) of one that is merged: its branch may be gone.
    pub const MERGED: &str = "merged";
}

/// What the agent CLI's events say of a run. `agent-log` writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentReport {
    /// Always `AgentReport`.
    pub kind: ReportKind,
    /// How the agent ended.
    pub outcome: Outcome,
    /// Where it was when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The session's id, for `claude --resume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The model that the session began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Turns of the main agent, as the CLI counts them.
    #[serde(default)]
    pub turns: u64,
    /// What the CLI says it cost, in US dollars.
    #[serde(default)]
    pub cost_usd: f64,
    /// How long the CLI says it took, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    /// Tokens over all models.
    #[serde(default)]
    pub tokens: Tokens,
    /// Tool calls, the subagents' included.
    #[serde(default)]
    pub tool_calls: u64,
    /// Retries of the model's API.
    #[serde(default)]
    pub api_retries: u64,
    /// The subagents, in the order in which they were called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subagents: Vec<Subagent>,
    /// Names of the tools that were denied, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<String>,
    /// The MCP servers as the session saw them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp_servers: Vec<McpServer>,
    /// When the usage limit resets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Timestamp>,
    /// The agent's last words, redacted and shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Lines that were no events, and were left out.
    #[serde(default)]
    pub malformed_lines: u64,
}

/// Tokens of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Read by the model, not from its cache.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
    /// Read from its cache.
    pub cache_read: u64,
    /// Written to its cache.
    pub cache_write: u64,
}

/// One call of a subagent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subagent {
    /// Its type, as `qa`.
    #[serde(rename = "type")]
    pub agent_type: String,
    /// What it was asked to do, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its tool calls.
    pub tool_calls: u64,
    /// Whether its call ended with an error, or never ended.
    pub failed: bool,
    /// What it found, where it said so in a line `VERDICT: PASS` or `VERDICT: FAIL: why`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// What an agent said of the work: the last line `VERDICT: PASS` or `VERDICT: FAIL: why` of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether the work passed.
    pub pass: bool,
    /// Why, in its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An MCP server as the agent CLI saw it when the session began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpServer {
    /// Its name in the configuration.
    pub name: String,
    /// The CLI's word: `connected`, `failed`, `pending`, `needs-auth`.
    pub status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> RunRecord {
        let started = "2026-11-22T22:00:00Z".parse().unwrap();
        RunRecord::begun("publisher-1790635538-3fa9c1", "publisher", "a post", "main", started)
    }

    /// P7
    #[test]
    fn a_reader_ignores_fields_it_does_not_know() {
        let mut json = serde_json::to_value(begun()).unwrap();
        json["addedLater"] = serde_json::json!({"x": 1});
        assert_eq!(serde_json::from_value::<RunRecord>(json).unwrap(), begun());
    }

    #[test]
    fn another_kind_is_refused() {
        let mut json = serde_json::to_value(begun()).unwrap();
        json["kind"] = "AgentReport".into();
        assert!(serde_json::from_value::<RunRecord>(json).is_err());
    }

    /// P9
    #[test]
    fn the_first_failure_stands() {
        let mut record = begun();
        record.fail(Outcome::TurnLimit, "writer", "20 turns");
        record.fail(Outcome::PushFailed, Stage::PUSH, "no route to host");
        assert_eq!(record.outcome, Outcome::TurnLimit);
        assert_eq!(record.stage, Some(Stage::new("writer")));
        assert_eq!(record.error.as_deref(), Some("20 turns; then: no route to host"));
    }

    /// K16
    #[test]
    fn a_reason_is_given_for_what_was_interrupted_alone() {
        let mut record = begun();
        record.explain("evicted");
        assert_eq!(record, begun());
        record.fail(Outcome::Interrupted, "writer", "branch-run got SIGTERM");
        for _ in 0..2 {
            record.explain("evicted");
            assert_eq!(record.error.as_deref(), Some("evicted (branch-run got SIGTERM)"));
        }
        assert_eq!(record.stage, Some(Stage::new("writer")));
    }

    /// P9
    #[test]
    fn work_that_is_not_committed_is_what_to_see_to_first() {
        let mut record = begun();
        record.fail(Outcome::Timeout, Stage::AGENT, "late");
        assert_eq!(record.remedy(), Outcome::Timeout.remedy());
        record.uncommitted = true;
        assert_eq!(record.remedy(), Outcome::CommitFailed.remedy());
    }

    /// P1
    #[test]
    fn delivered_needs_the_remote_branch_at_our_head_and_an_open_pull_request() {
        let mut record = begun();
        record.head = Some("a".repeat(40));
        assert!(!record.is_delivered());
        record.push = Some(Push {
            repository: "o/n".into(),
            branch: "agent/publisher-1".into(),
            head: "a".repeat(40),
            operation: "created".into(),
        });
        record.pull_request = Some(PullRequest {
            number: 1,
            url: "https://github.com/o/n/pull/1".into(),
            state: "open".into(),
            draft: false,
            operation: "created".into(),
        });
        assert!(record.is_delivered());
        record.pull_request.as_mut().unwrap().state = "merged".into();
        assert!(record.is_delivered());
        record.pull_request.as_mut().unwrap().state = "closed".into();
        assert!(!record.is_delivered(), "somebody did not want it");
        record.pull_request.as_mut().unwrap().state = "open".into();
        record.head = Some("b".repeat(40));
        assert!(!record.is_delivered(), "the remote is behind our head");
    }
}
