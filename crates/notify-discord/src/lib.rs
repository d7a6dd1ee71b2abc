//! Tells a Discord channel how a run ended.
//!
//! stdin: run records, one or JSON Lines. stdout: one JSON line for each message. stderr: what people should know, and
//! the text of every message that could not be sent.
//!
//! ```text
//! $ DISCORD_WEBHOOK_URL=… notify-discord < record.json
//! {"kind":"DiscordMessage","id":"1441…","channelId":"1390…","run":"publisher-1790635538-3fa9c1","operation":"created"}
//! ```
//!
//! What it does: says in [two to five lines](text) what happened, with an [embed](message) for the figures (`--plain`:
//! without). `operation` is `created`; with `--once-file`, `updated` where the run's message was edited, and `existing`
//! where it says the same already. A bot's message carries a nonce, by which Discord itself makes one message of calls that
//! are repeated within minutes; later, one that was sent by a process which was killed before it could note that is looked for in the
//! channel. A webhook cannot look: such a message is sent twice rather than never, and a warning says so.
//!
//! What it never does: ping anyone, let a text of the agent act as [markup], exceed a limit of Discord's, or drop a
//! message silently.

pub mod args;
pub mod discord;
pub mod markup;
pub mod message;
mod once;
pub mod target;
pub mod text;

pub use args::Args;

use crate::discord::{Discord, Sent};
use crate::message::{Message, nonce};
use crate::once::{Once, Sending, Told};
use crate::target::{Settings, Target};
use crate::text::For;
use agent_task::{Exit, RunRecord, Secret, secret};
use anyhow::{Context as _, anyhow};
use api_client::Client;
use api_client::retry::Policy;
use piece::{Fault, input, output};
use redact::Redactor;
use serde::Serialize;
use std::io::Write as _;

/// What is printed for a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DiscordMessage<'a> {
    kind: &'static str,
    id: &'a str,
    channel_id: &'a str,
    run: &'a str,
    operation: &'static str,
}

/// Runs the piece.
///
/// # Errors
/// Faults with the exit codes of the contract; every text that was not sent is on stderr then.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let records: Vec<RunRecord> = input::documents("a run record", "notify-discord < record.json")?;
    let redactor = Redactor::from_env(&["DISCORD_WEBHOOK_URL", "DISCORD_BOT_TOKEN"]);
    let redacted: Result<Vec<RunRecord>, _> =
        records.iter().map(|record| redactor.redact_record(record)).collect();
    let records = redacted.context("redacting the record")?;
    if args.dry_run {
        for record in &records {
            output::line(&Message::new(record, args.plain))?;
        }
        return Ok(Exit::Done);
    }
    let mut told = 0;
    let result = tell(&args, &records, &mut told);
    if result.as_ref().is_err_and(|error| !error.is::<output::BrokenPipe>()) {
        for record in &records[told..] {
            // Nobody on stderr is no failure.
            let text = text::text(record, For::Terminal);
            let _ = writeln!(std::io::stderr(), "notify-discord: not sent:\n{text}");
        }
    }
    result.map(|()| Exit::Done)
}

/// Tells all of them, in order, and counts them in `told`.
fn tell(args: &Args, records: &[RunRecord], told: &mut usize) -> anyhow::Result<()> {
    let target = Target::of(Settings {
        webhook: variable("DISCORD_WEBHOOK_URL")?,
        bot: variable("DISCORD_BOT_TOKEN")?,
        channel: args.channel_id.as_deref(),
        thread: args.thread_id.as_deref(),
        api: args.api_url(),
    })?;
    let client = Client::new("notify-discord", env!("CARGO_PKG_VERSION"));
    let discord = Discord { client: &client, policy: Policy::discord().within(args.patience()), target };
    let mut once = Once::open(args.once_file.as_deref())?;
    for record in records {
        let (sent, operation) = tell_one(&discord, &mut once, record, args.plain)?;
        // From here on it is told, even if nobody reads that.
        *told += 1;
        output::line(&DiscordMessage {
            kind: "DiscordMessage",
            id: &sent.id,
            channel_id: &sent.channel_id,
            run: &record.run,
            operation,
        })?;
    }
    Ok(())
}

fn tell_one(
    discord: &Discord<'_>,
    once: &mut Once,
    record: &RunRecord,
    plain: bool,
) -> anyhow::Result<(Sent, &'static str)> {
    let message = Message::new(record, plain);
    let run = record.run.as_str();
    let late = match once.unanswered(run).cloned() {
        Some(sending) => found(discord, run, sending)?,
        None => None,
    };
    let known = late.or_else(|| once.told(run).cloned());
    let operation = match known {
        Some(told) if told.digest == message.digest() => Some(("existing", told.sent())),
        // Nothing where somebody deleted it.
        Some(told) => discord.edit(&told.id, &message)?.map(|sent| ("updated", sent)),
        None => None,
    };
    let (operation, sent) = match operation {
        Some(done) => done,
        None => ("created", send(discord, once, record, &message)?),
    };
    // The message is out: to fail here would have it sent again.
    warn(once.remember(run, &sent, message.digest()));
    Ok((sent, operation))
}

/// The message that was on its way when an earlier process ended.
fn found(discord: &Discord<'_>, run: &str, sending: Sending) -> anyhow::Result<Option<Told>> {
    let found = discord.find(&sending.content, sending.at)?;
    if found.is_none() && !discord.target.knows_nonces() {
        warn(Err(anyhow!(
            "a message about {run} was on its way at {}: this may be a second one",
            sending.at
        )));
    }
    Ok(found.map(|Sent { id, channel_id }| Told { id, channel_id, digest: sending.digest }))
}

/// Sends it, and has a note of that before.
fn send(
    discord: &Discord<'_>,
    once: &mut Once,
    record: &RunRecord,
    message: &Message,
) -> anyhow::Result<Sent> {
    warn(once.sending(&record.run, message));
    let sent = discord.send(message, &nonce(record));
    if let Err(error) = &sent
        && error.downcast_ref::<Fault>().is_some_and(|fault| fault.exit() != Exit::Retry)
    {
        warn(once.not_sent(&record.run));
    }
    sent
}

fn warn(result: anyhow::Result<()>) {
    if let Err(error) = result {
        // Nobody on stderr is no failure.
        let _ = writeln!(std::io::stderr(), "notify-discord: warning: {error:#}");
    }
}

fn variable(name: &str) -> anyhow::Result<Option<Secret>> {
    secret::from_env(name).with_context(|| Fault::usage(format!("reading {name}")))
}
