//! Command line.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Redact an agent CLI's events, show its progress, and report how it ended.
///
/// Reads events (stream-json, an object a line) from stdin and prints them with their secrets redacted, each as it
/// comes, then the report as the last line. Progress goes to stderr. Known secrets are the values of environment
/// variables that are named like one (…_TOKEN, …_KEY, …_SECRET, …_PASSWORD, …_WEBHOOK_URL; also …_FILE).
#[derive(Debug, Parser)]
#[command(
    name = "agent-log",
    version,
    after_help = "Examples:
  echo '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"Done\"}' | agent-log
  claude -p \"$PROMPT\" --output-format stream-json --verbose </dev/null | agent-log > run.jsonl
  agent-log --summary run.jsonl"
)]
pub struct Args {
    /// Print the report only, of a finished transcript; `-` is stdin. The report is shown on stderr for people, too.
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,

    /// An MCP server that the agent needs: the run failed if it was not connected. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub needs_mcp: Vec<String>,

    /// How progress is shown on stderr: `auto` is `live` on a terminal, else `plain`.
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,

    /// Write nothing to stderr but errors.
    #[arg(long, short, conflicts_with = "progress")]
    pub quiet: bool,

    /// End with 1 unless the outcome is `success`. Otherwise 0 says that the input was read.
    #[arg(long)]
    pub exit_code: bool,

    /// An environment variable whose value is a secret, though its name does not say so. May be given several times.
    #[arg(long, value_name = "VARIABLE")]
    pub redact_env: Vec<String>,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// `live` on a terminal, else `plain`.
    Auto,
    /// A view that is redrawn.
    Live,
    /// A line for each thing of interest.
    Plain,
    /// Nothing.
    None,
}
