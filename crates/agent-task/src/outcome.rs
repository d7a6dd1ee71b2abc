//! How a run can end, and where it was when it did.

use crate::exit::Exit;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a run ended. In JSON: kebab-case, as `no-change`.
///
/// One value a cause, so that whoever reads it (a person, a retry, a schedule) can act on it without reading the
/// error text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The agent finished its work. After publishing: branch pushed and pull request open.
    Success,
    /// The agent finished and left nothing to publish.
    NoChange,
    /// The agent, or one of its subagents, said that the work is not good: a failed review, a broken page.
    Rejected,
    /// The agent asked for a tool that it may not use.
    ToolDenied,
    /// The subscription's usage limit is reached; the report's `resetsAt` says until when.
    UsageLimit,
    /// The agent could not log in: the token is missing, wrong or expired.
    LoginFailed,
    /// The model's API was overloaded, rate limited or broken until the agent CLI gave up.
    ApiUnavailable,
    /// The model's API refused the request for good (400, 404 and the like).
    ApiError,
    /// The model's API could not be reached, or the connection broke.
    NetworkError,
    /// An MCP server that the agent needs did not start, or died.
    McpFailed,
    /// The turn limit ended the run.
    TurnLimit,
    /// The budget ended the run.
    Budget,
    /// The time limit ended the run.
    Timeout,
    /// A signal ended the run.
    Interrupted,
    /// The agent CLI ended without saying how it went.
    NoResult,
    /// The agent CLI could not be started, or ended with an error of its own.
    AgentFailed,
    /// What the agent left could not be committed.
    CommitFailed,
    /// The workspace is not what it was: the branch does not descend from its base.
    WorkspaceInvalid,
    /// No GitHub token could be had.
    TokenFailed,
    /// The branch was not accepted by the remote.
    PushRefused,
    /// The branch could not be pushed for a reason that passes.
    PushFailed,
    /// The pull request could not be opened.
    PullRequestFailed,
    /// A known secret stands in what would be pushed.
    SecretInDiff,
}

impl Outcome {
    /// Every outcome, in the order of the declaration.
    pub const ALL: [Self; 23] = [
        Self::Success,
        Self::NoChange,
        Self::Rejected,
        Self::ToolDenied,
        Self::UsageLimit,
        Self::LoginFailed,
        Self::ApiUnavailable,
        Self::ApiError,
        Self::NetworkError,
        Self::McpFailed,
        Self::TurnLimit,
        Self::Budget,
        Self::Timeout,
        Self::Interrupted,
        Self::NoResult,
        Self::AgentFailed,
        Self::CommitFailed,
        Self::WorkspaceInvalid,
        Self::TokenFailed,
        Self::PushRefused,
        Self::PushFailed,
        Self::PullRequestFailed,
        Self::SecretInDiff,
    ];

    /// Whether the agent did what it was asked to.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Success)
    }

    /// How `run-publisher.sh` ends with this outcome. Only what is delivered is done.
    #[must_use]
    pub const fn exit(self) -> Exit {
        if self.is_success() { Exit::Done } else { Exit::Failed }
    }

    /// All outcomes as a table in Markdown, for the docs.
    #[must_use]
    pub fn table() -> String {
        let mut table =
            String::from("| outcome | what it means | what to do | exit code |\n|---|---|---|---|\n");
        for outcome in Self::ALL {
            let (meaning, remedy) =
                (outcome.meaning(), outcome.remedy().unwrap_or("Review the pull request."));
            table += &format!("| `{outcome}` | {meaning} | {remedy} | {} |\n", outcome.exit().code());
        }
        table
    }

    /// What a person reads for it: a short clause without a full stop.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "the work is done",
            Self::NoChange => "the agent finished and changed nothing",
            Self::Rejected => "the agent's own checks rejected the work",
            Self::ToolDenied => "the agent needed a tool that it may not use",
            Self::UsageLimit => "the subscription's usage limit is reached",
            Self::LoginFailed => "the agent could not log in",
            Self::ApiUnavailable => "the model's API was overloaded or broken",
            Self::ApiError => "the model's API refused the request",
            Self::NetworkError => "the model's API could not be reached",
            Self::McpFailed => "an MCP server did not work",
            Self::TurnLimit => "the turn limit was reached",
            Self::Budget => "the budget was used up",
            Self::Timeout => "the time limit was reached",
            Self::Interrupted => "the run was ended by a signal",
            Self::NoResult => "the agent ended without a result",
            Self::AgentFailed => "the agent CLI failed",
            Self::CommitFailed => "the work could not be committed",
            Self::WorkspaceInvalid => "the branch is not one that may be published",
            Self::TokenFailed => "no GitHub token could be minted",
            Self::PushRefused => "the remote refused the branch",
            Self::PushFailed => "the branch could not be pushed",
            Self::PullRequestFailed => "the pull request could not be opened",
            Self::SecretInDiff => "a secret stands in the change",
        }
    }

    /// What to do about it: one imperative sentence, or nothing where there is nothing to do.
    #[must_use]
    pub const fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::Success => return None,
            Self::NoChange => "Read the agent's report: the task may be done already, or too vague.",
            Self::Rejected => "Read the named subagent's findings, mend the branch or run the task again.",
            Self::ToolDenied => {
                "Add the tool to --allowed-tools, or take it out of the agent's instructions."
            }
            Self::UsageLimit => "Run the task again after the reset time.",
            Self::LoginFailed => {
                "Create a new token with `claude setup-token` and set CLAUDE_CODE_OAUTH_TOKEN; for opencode, a new key in OPENCODE_API_KEY."
            }
            Self::ApiUnavailable | Self::NetworkError => "Run the task again later.",
            Self::ApiError => "Read the error: the model's name or the request is wrong.",
            Self::McpFailed => "Run `mcp-config check` on the run's MCP configuration.",
            Self::TurnLimit => "Raise --max-turns, or ask for less.",
            Self::Budget => "Raise --max-budget-usd, or ask for less.",
            Self::Timeout => "Raise --timeout, or ask for less.",
            Self::Interrupted => {
                "Run the publish stage again if the branch is not pushed, and the task again for what is missing."
            }
            Self::NoResult | Self::AgentFailed => "Read the transcript's end and the agent's stderr.",
            Self::CommitFailed => {
                "Make room and run the publish stage again: the work is still in the work tree."
            }
            Self::WorkspaceInvalid => "Look at the branch by hand before anything of it is used.",
            Self::TokenFailed => {
                "Check the GitHub App's id, key and installation, then run the publish stage again."
            }
            Self::PushRefused => {
                "Read the remote's message: a rule, or a permission that the App lacks; then run the publish stage again."
            }
            Self::PushFailed => "Run the publish stage again.",
            Self::PullRequestFailed => "Run the publish stage again; the branch is pushed.",
            Self::SecretInDiff => {
                "Rotate the secret, take it out of every commit of the branch and run the publish stage again: nothing was pushed."
            }
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The JSON name is the only name: serde knows it.
        self.serialize(f)
    }
}

/// Where a run was when it ended: a step of the pipeline, or the name of the subagent that was at work.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stage(String);

impl Stage {
    /// Looking at the repository and making the branch.
    pub const CHECKOUT: &'static str = "checkout";
    /// Starting the MCP servers.
    pub const MCP_START: &'static str = "mcp-start";
    /// The agent itself, no subagent being at work.
    pub const AGENT: &'static str = "agent";
    /// Committing what the agent left.
    pub const COMMIT: &'static str = "commit";
    /// Minting the GitHub token.
    pub const TOKEN: &'static str = "token";
    /// Pushing the branch.
    pub const PUSH: &'static str = "push";
    /// Finding or opening the pull request.
    pub const PULL_REQUEST: &'static str = "pull-request";

    /// The stage of this name: one of the constants, or a subagent's type as the agent's definition has it.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    /// P9
    #[test]
    fn every_outcome_has_one_name_in_text_and_json() {
        for outcome in Outcome::ALL {
            let json = serde_json::to_string(&outcome).unwrap();
            assert_eq!(json, format!("\"{outcome}\""));
            assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), outcome);
        }
    }

    /// P9
    #[test]
    fn every_outcome_but_success_says_what_to_do() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.remedy().is_none(), outcome.is_success(), "{outcome}");
        }
    }
}
