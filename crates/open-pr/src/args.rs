//! The command line.

use clap::{Parser, ValueEnum};
use std::time::Duration;

/// Find or open the pull request of a run.
///
/// Reads a run record on stdin whose branch is pushed, finds the open pull request of that branch or opens one, and prints
/// the record with `pullRequest` in it. A run that has nothing to show (`no-change`, or a failure before the push) is
/// printed as it came.
#[derive(Debug, Clone, Parser)]
#[command(name = "open-pr", version, after_help = EXAMPLE)]
pub struct Args {
    /// Repository that the pull request is opened in [default: the one that was pushed to]
    #[arg(long, value_name = "OWNER/NAME", env = "GITHUB_REPOSITORY")]
    pub repo: Option<String>,

    /// Base of GitHub's API
    #[arg(long, value_name = "URL", env = "GITHUB_API_URL", default_value = api_client::github::API_URL)]
    pub api_url: String,

    /// Label for the pull request; may be given several times
    #[arg(long = "label", value_name = "NAME")]
    pub labels: Vec<String>,

    /// Whether a pull request is opened as a draft; auto: where the run is unfinished
    #[arg(long, value_enum, default_value_t = Draft::Auto)]
    pub draft: Draft,

    /// How long one call to GitHub is repeated while GitHub cannot be reached or asks to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub retry_for: u64,

    /// Look only whether the run's branch is merged already, before it is pushed once more: then the record has that pull request and
    /// the push, else neither
    #[arg(long, conflicts_with_all = ["labels", "draft", "dry_run"])]
    pub merged: bool,

    /// Print what would be opened, and ask GitHub nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// When a pull request is a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Draft {
    /// Where the run is unfinished.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

impl Args {
    /// [`Args::api_url`]; an empty variable counts as unset.
    #[must_use]
    pub fn api_url(&self) -> &str {
        Some(self.api_url.trim()).filter(|url| !url.is_empty()).unwrap_or(api_client::github::API_URL)
    }

    /// [`Args::retry_for`] as a time.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.retry_for)
    }
}

/// A record and a command that work when pasted, also from a terminal of 80 columns: longer lines would be broken.
pub(crate) const EXAMPLE: &str = r#"Environment:
  GITHUB_TOKEN   a token with pull_requests:write, as mint-gh-token prints one
                 (or GITHUB_TOKEN_FILE, a file with it)

Exit codes:
  0  the pull request is open at the run's head, or there was nothing to open
  1  GitHub refused it for good
  2  wrong usage; nothing was done or printed
  3  worth a retry
  4  the token is missing, or may not do it
  With 1, 3 and 4 the record is printed too, with what went wrong.

Example:
  printf '%s' '{"kind":"RunRecord","run":"publisher-1790635538-3fa9c1",
    "agent":"publisher","prompt":"A post about X","outcome":"success",
    "base":"main","startedAt":"2026-11-22T22:00:00Z","push":{
    "repository":"octo/blog","branch":"agent/publisher-1790635538",
    "head":"2f0c1d7e9a4b5c6d7e8f90a1b2c3d4e5f6a7b8c9","operation":"created"}}' |
    open-pr --dry-run"#;
