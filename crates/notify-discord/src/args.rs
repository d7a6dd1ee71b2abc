//! The command line.

use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Discord's API, at the version that the piece is written against.
pub const API_URL: &str = "https://discord.com/api/v10";

/// Tell a Discord channel how a run ended.
///
/// Reads run records on stdin (one, or JSON Lines), sends one message for each, and prints one JSON line for each
/// message. Goes to the webhook where one is set, else to the bot's channel.
#[derive(Debug, Clone, Parser)]
#[command(name = "notify-discord", version, after_help = EXAMPLE)]
pub struct Args {
    /// Send the text alone, without the embed that has the figures
    #[arg(long)]
    pub plain: bool,

    /// Channel that the bot writes to
    #[arg(long, value_name = "ID", env = "DISCORD_CHANNEL_ID")]
    pub channel_id: Option<String>,

    /// Thread of the channel that the message goes to
    #[arg(long, value_name = "ID", env = "DISCORD_THREAD_ID")]
    pub thread_id: Option<String>,

    /// Remember in this file which message a run has: a second call edits that message, or leaves it if it says the same
    #[arg(long, value_name = "FILE")]
    pub once_file: Option<PathBuf>,

    /// Base of Discord's API, for the bot; a webhook's URL has its own
    #[arg(long, value_name = "URL", env = "DISCORD_API_URL", default_value = API_URL)]
    pub api_url: String,

    /// How long one call to Discord is repeated while Discord cannot be reached or asks to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub retry_for: u64,

    /// Print the messages that would be sent, and send none
    #[arg(long)]
    pub dry_run: bool,
}

impl Args {
    /// [`Args::api_url`]; an empty variable counts as unset.
    #[must_use]
    pub fn api_url(&self) -> &str {
        Some(self.api_url.trim()).filter(|url| !url.is_empty()).unwrap_or(API_URL)
    }

    /// [`Args::retry_for`] as a time.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.retry_for)
    }
}

/// A record and a command that work when pasted, also from a terminal of 80 columns: longer lines would be broken.
pub(crate) const EXAMPLE: &str = r#"Environment:
  DISCORD_WEBHOOK_URL   the webhook, as the channel's settings show it; a secret
  DISCORD_BOT_TOKEN     a bot's token, with DISCORD_CHANNEL_ID; used where
                        there is no webhook
  Each may come as NAME_FILE, a file with it.

Exit codes:
  0  sent
  1  Discord refused it for good, as for a deleted webhook
  2  wrong usage
  3  worth a retry
  4  no credentials, or wrong ones
  What was not sent is shown on stderr.

Example:
  printf '%s' '{"kind":"RunRecord","run":"publisher-1790635538-3fa9c1",
    "agent":"publisher","prompt":"A post about X","outcome":"rejected",
    "stage":"qa","error":"the page has no title",
    "branch":"agent/publisher-1790635538","base":"main",
    "startedAt":"2026-11-22T22:00:00Z"}' |
    notify-discord --dry-run --plain"#;
