//! What is typed. The comments are the help.

use agent_task::Outcome;
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use piece::duration::{limit, limit_or_none};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Run a command on a branch of its own, and commit what it leaves.
#[derive(Debug, Parser)]
#[command(
    name = "branch-run",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    subcommand_help_heading = "Other steps",
    override_usage = "branch-run [OPTIONS] -- COMMAND...\n       branch-run <push|fail|explain|left|salvage|settle> [OPTIONS]",
    after_help = "The command runs at the root of the work tree with an environment of its own: no ANTHROPIC_*, GitHub \
or Discord variable reaches it unless the MCP configuration or --pass-env names it. Exit codes: 0 the record is \
written, failed runs included; 2 nothing was begun; 3 another run is at work in this clone.

Example:
  branch-run --agent note --prompt 'Note the time' -- sh -c 'date > note.txt'"
)]
pub struct Args {
    /// Without a subcommand: the run.
    #[command(flatten)]
    pub run: Run,
    /// The other steps.
    #[command(subcommand)]
    pub step: Option<Step>,
}

/// The steps beside the run.
#[derive(Debug, Subcommand)]
pub enum Step {
    /// Push the branch of the run record on stdin, without trusting the workspace.
    Push(Push),
    /// Note a failure in the run record on stdin, or make the record of a run that failed before it began.
    Fail(Fail),
    /// Say in the run record on stdin why the run was interrupted; any other record passes as it is.
    Explain(Explain),
    /// Print which run in this clone was killed, or not published; nothing where there is none.
    Left(Left),
    /// Commit what a run left that was killed, and print its record. The next run does it too.
    Salvage(Salvage),
    /// Note that the run of the record on stdin is published: nothing is left of it.
    Settle(Settle),
    /// Answer git's credential protocol from GITHUB_TOKEN or GITHUB_TOKEN_FILE.
    #[command(hide = true)]
    GitCredential(GitCredential),
}

/// Options of a run.
#[derive(Debug, Group)]
pub struct Run {
    /// Name of the agent: the branch is named after it.
    #[arg(long, value_name = "NAME", default_value = "agent")]
    pub agent: String,
    /// Branch that the work is meant for; it is never committed to.
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub base: String,
    /// Topic of the run, for the record.
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// File that the topic stands in.
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// End the command after this time; 0 for never.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = limit_or_none)]
    pub timeout: Duration,
    /// What the command gets between TERM and KILL.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = limit_or_none)]
    pub grace: Duration,
    /// Append the redacted events to this file too.
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,
    /// Write the record to this file too.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// The run's id [default: made from agent, time and chance].
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// The run's branch, beneath agent/ [default: agent/AGENT-SECONDS].
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// MCP configuration of the agent: its servers must be connected, the variables it refers to are passed on.
    #[arg(long, value_name = "FILE")]
    pub mcp_config: Option<PathBuf>,
    /// Hand the prompt over on the command's stdin: to claude as a stream-json event, once the servers of --mcp-config are
    /// connected; to opencode, which sees to that itself, as it is.
    #[arg(long)]
    pub prompt_on_stdin: bool,
    /// What the servers get to start, with --prompt-on-stdin.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = limit)]
    pub mcp_timeout: Duration,
    /// Pass this variable on to the command.
    #[arg(long, value_name = "NAME")]
    pub pass_env: Vec<String>,
    /// What the command prints [default: stream-json for claude, opencode for opencode, else none].
    #[arg(long, value_name = "FORMAT")]
    pub events: Option<Events>,
    /// Progress on stderr.
    #[arg(long, value_name = "FORM", default_value = "auto")]
    pub progress: Progress,
    /// Print the record alone, not the events.
    #[arg(long)]
    pub quiet_events: bool,
    /// Author of commits, as `Name <mail>` [default: git's own configuration, else pressrun].
    #[arg(long, value_name = "AUTHOR")]
    pub author: Option<String>,
    /// Stay on the run's branch at the end.
    #[arg(long)]
    pub keep_branch: bool,
    /// Exit 1 where the run did not end as success or no-change.
    #[arg(long)]
    pub exit_code: bool,
    /// Hold the run for one that was killed until `branch-run settle` says that it is published.
    #[arg(long)]
    pub unsettled: bool,
    /// End as on SIGTERM when the process with this id, which must be the parent, has ended.
    #[arg(long, value_name = "PID")]
    pub die_with_parent: Option<i32>,
    /// Check everything, print what would be done, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What a command prints on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Events {
    /// claude's events, one JSON object a line: they say how the run ended.
    StreamJson,
    /// opencode's, likewise.
    Opencode,
    /// Text for people: it goes to stderr, and the exit code says how the run ended.
    None,
}

/// The form of the progress view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Live on a terminal, else plain.
    Auto,
    /// A view that redraws itself.
    Live,
    /// A line for each step.
    Plain,
    /// Nothing.
    None,
}

/// Options of `push`.
#[derive(Debug, Group)]
#[command(
    after_help = "The record with the push (or with the failure) is printed in every case. Exit codes: 0 the \
remote has the branch, or there is nothing to push; 1 refused; 3 the remote cannot be reached; 4 the token is not \
accepted.

Example:
  branch-run push --repo octo/blog <record.json >pushed.json"
)]
pub struct Push {
    /// Repository on GitHub.
    #[arg(long, value_name = "OWNER/NAME", env = "GITHUB_REPOSITORY")]
    pub repo: String,
    /// Where git reaches the repositories.
    #[arg(long, value_name = "URL", env = "GITHUB_SERVER_URL", default_value = "https://github.com")]
    pub server_url: String,
    /// Command that answers git's credential protocol [default: GITHUB_TOKEN or GITHUB_TOKEN_FILE].
    #[arg(long, value_name = "COMMAND")]
    pub credential_helper: Option<String>,
    /// Only this base branch may stand in the record; may be given more than once [default: any].
    #[arg(long, value_name = "BRANCH")]
    pub allow_base: Vec<String>,
    /// Push what looks like a token or a private key and is none, as a sample; known secrets are never pushed.
    #[arg(long)]
    pub allow_secret_shapes: bool,
    /// Push nothing where the record says that the branch is merged as it is. For a record from `open-pr --merged`: an agent's word
    /// is not to be taken for that.
    #[arg(long)]
    pub unless_merged: bool,
    /// Work tree with the branch [default: the current directory].
    #[arg(long, value_name = "DIR")]
    pub work_tree: Option<PathBuf>,
    /// Give git this long in all.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = limit_or_none)]
    pub timeout: Duration,
}

/// Options of `fail`.
#[derive(Debug, Group)]
#[command(after_help = "Examples:
  branch-run fail --stage token --outcome token-failed --error 'no key' <record.json >failed.json
  branch-run fail --agent publisher --prompt 'A post' --stage mcp-start --outcome mcp-failed --error 'no browser'")]
pub struct Fail {
    /// Make a record for this agent, instead of reading one from stdin.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Topic of the run, for a record that is made.
    #[arg(long, value_name = "TEXT", requires = "agent", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Branch that the work was meant for, for a record that is made.
    #[arg(long, value_name = "BRANCH", requires = "agent", default_value = "main")]
    pub base: String,
    /// Id of the run, for a record that is made.
    #[arg(long, value_name = "ID", requires = "agent")]
    pub run: Option<String>,
    /// Where the run failed.
    #[arg(long, value_name = "STAGE")]
    pub stage: String,
    /// How it ended, as mcp-failed.
    #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
    pub outcome: Outcome,
    /// Why.
    #[arg(long, value_name = "TEXT", required_unless_present = "error_file", allow_hyphen_values = true)]
    pub error: Option<String>,
    /// File that says why: its end is taken.
    #[arg(long, value_name = "FILE", conflicts_with = "error")]
    pub error_file: Option<PathBuf>,
    /// Write the record to this file too.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Options of `explain`.
#[derive(Debug, Group)]
#[command(after_help = "Example:
  branch-run explain --reason 'the node was drained' <record.json >explained.json")]
pub struct Explain {
    /// Why.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: String,
}

/// Options of `salvage`.
#[derive(Debug, Group)]
#[command(
    after_help = "Exit codes: 0 the work is committed, and the record is printed; 1 it could not be committed, and the record says so; \
2 there is nothing to salvage; 3 the run is at work.

Example:
  branch-run salvage | branch-run push --repo octo/blog >pushed.json"
)]
pub struct Salvage {
    /// Write the record to this file too.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Options of `left`.
#[derive(Debug, Group)]
#[command(after_help = "Example:
  branch-run left | jq -r .recordFile")]
pub struct Left {}

/// Options of `settle`.
#[derive(Debug, Group)]
#[command(after_help = "Example:
  branch-run settle <published.json")]
pub struct Settle {}

/// What git calls its helper with.
#[derive(Debug, Group)]
pub struct GitCredential {
    /// `get`, `store` or `erase`.
    pub operation: String,
}

fn outcome(name: &str) -> Result<Outcome, String> {
    Outcome::ALL
        .into_iter()
        .find(|outcome| outcome.to_string() == name && !outcome.is_success())
        .ok_or_else(|| "no failure has this name".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_subcommand_needs_no_command() {
        assert!(Args::try_parse_from(["branch-run"]).is_err());
        assert!(Args::try_parse_from(["branch-run", "push", "--repo", "o/n"]).is_ok());
        let run = Args::try_parse_from(["branch-run", "--agent", "x", "--", "push"]).unwrap();
        assert!(run.step.is_none());
        assert_eq!(run.run.command, ["push"]);
    }
}
