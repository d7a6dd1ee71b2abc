//! `discord`: the webhook, or the bot's channel, can be read. With `--post`, that it takes a message.

use crate::check::Finding;
use crate::context::Context;
use agent_task::{Exit, Secret, secret};
use api_client::retry::Policy;
use notify_discord::args::API_URL;
use notify_discord::discord::{Discord, Place};
use notify_discord::message::Message;
use notify_discord::target::{Settings, Target};
use piece::Fault;

const TEXT: &str = "pressrun preflight: messages of runs arrive here. No run was begun.";

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let policy = Policy::discord().within(context.patience());
    let discord = Discord { client: &context.client, policy, target: target().map_err(denied)? };
    let Place { name, channel_id } = discord.look()?;
    let name = name.unwrap_or_default();
    let mut detail = match (&discord.target, channel_id) {
        (Target::Webhook { .. }, Some(channel)) => format!("webhook '{name}' writes to channel {channel}"),
        (Target::Webhook { .. }, None) => format!("webhook '{name}' is known"),
        (Target::Bot { channel, .. }, _) => format!("the bot sees #{name} ({channel})"),
    };
    if context.post {
        // For each call another one: who asks for a message wants to see one.
        let nonce = format!("preflight-{}", jiff::Timestamp::now().as_second());
        let sent = discord.send(&Message::of_text(TEXT), &nonce)?;
        detail.push_str(&format!("; sent message {}", sent.id));
    }
    Ok(Finding::Good(detail))
}

fn target() -> Result<Target, Fault> {
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let (channel, thread) = (text("DISCORD_CHANNEL_ID"), text("DISCORD_THREAD_ID"));
    let api = text("DISCORD_API_URL");
    Target::of(Settings {
        webhook: variable("DISCORD_WEBHOOK_URL")?,
        bot: variable("DISCORD_BOT_TOKEN")?,
        channel: channel.as_deref(),
        thread: thread.as_deref(),
        api: api.as_deref().map_or(API_URL, str::trim),
    })
}

fn variable(name: &str) -> Result<Option<Secret>, Fault> {
    secret::from_env(name)
        .map_err(|error| Fault::denied(error.to_string()).hint("correct the variable or the file"))
}

/// What is set and makes no sense is a wrong credential: the command line was right.
fn denied(fault: Fault) -> Fault {
    let denied = Fault::new(Exit::Denied, fault.message().to_owned());
    match fault.hint_text() {
        Some(hint) => denied.hint(hint.to_owned()),
        None => denied.hint("correct the DISCORD_ variables"),
    }
}
