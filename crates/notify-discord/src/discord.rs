//! Messages at Discord: made, and edited; and whether they could be.

use crate::message::Message;
use crate::target::Target;
use api_client::retry::Policy;
use api_client::{Client, Response};
use http::header;
use jiff::{SignedDuration, Timestamp};
use piece::Fault;
use serde::{Deserialize, Serialize};

/// The form that Discord asks for: `DiscordBot (url, version)`.
const USER_AGENT: &str =
    concat!("DiscordBot (https://agents.kyle.pericak.com, ", env!("CARGO_PKG_VERSION"), ")");

/// By so much Discord's clock may be behind ours.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(60);

/// The least id of what was made at that time or later: ids begin with the milliseconds since 2015.
fn id_at(time: Timestamp) -> u64 {
    const EPOCH_MS: i64 = 1_420_070_400_000;
    u64::try_from(time.as_millisecond() - EPOCH_MS).unwrap_or_default() << 22
}

/// A message that Discord has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// Its id.
    pub id: String,
    /// The channel, or the thread, that it is in.
    pub channel_id: String,
}

/// A target, and the way there.
#[derive(Debug)]
pub struct Discord<'a> {
    /// Sends the calls.
    pub client: &'a Client,
    /// How long a call is repeated.
    pub policy: Policy,
    /// Where messages go.
    pub target: Target,
}

/// A message of the channel, whoever wrote it.
#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(flatten)]
    sent: Sent,
    content: String,
    author: Author,
}

#[derive(Debug, Deserialize)]
struct Author {
    #[serde(default)]
    bot: bool,
}

/// The webhook, or the bot's channel, as Discord knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// The webhook's name, or the channel's.
    #[serde(default)]
    pub name: Option<String>,
    /// The channel that the webhook writes to. A channel has none.
    #[serde(default)]
    pub channel_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    message: &'a Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforce_nonce: Option<bool>,
}

impl Discord<'_> {
    /// Reads the webhook or the channel: the credential is good for it. Nothing is sent.
    ///
    /// # Errors
    /// Faults: 3 where Discord stayed away, 4 where it refuses the credential or does not know the webhook, else 1.
    pub fn look(&self) -> anyhow::Result<Place> {
        let request = self.target.get().header(header::USER_AGENT, USER_AGENT);
        let answer = self.client.send(&self.policy, &request)?;
        let unknown = answer.status.as_u16() == 404;
        let accepted = self.accepted(answer, "reading where messages go").map_err(|fault| {
            match (&self.target, fault.hint_text()) {
                // Whoever knows the URL is let in: a wrong one is a wrong credential.
                (Target::Webhook { .. }, Some(hint)) if unknown => {
                    Fault::denied(fault.message().to_owned()).hint(hint.to_owned())
                }
                _ => fault,
            }
        })?;
        Ok(accepted.json()?)
    }

    /// Makes a message. A bot's calls with the same `nonce` (at most 25 characters) make one message.
    ///
    /// # Errors
    /// Faults: 3 where Discord stayed away, 4 where it refuses the credential or a permission, else 1.
    pub fn send(&self, message: &Message, nonce: &str) -> anyhow::Result<Sent> {
        let mut request = self.target.post();
        let mut body = Body { message, nonce: None, enforce_nonce: None };
        if self.target.knows_nonces() {
            body.nonce = Some(nonce);
            body.enforce_nonce = Some(true);
            request = request.replay_is_safe();
        }
        let request = request.header(header::USER_AGENT, USER_AGENT).json(&body)?;
        let answer = self.client.send(&self.policy, &request)?;
        Ok(self.accepted(answer, "sending the message")?.json()?)
    }

    /// The bot's message with this text, sent at that time or soon after; nothing where there is none, or nobody tells.
    ///
    /// # Errors
    /// Faults, as of [`Discord::send`].
    pub(crate) fn find(&self, content: &str, at: Timestamp) -> anyhow::Result<Option<Sent>> {
        let Some(request) = self.target.history(id_at(at - CLOCKS_DIFFER)) else { return Ok(None) };
        let answer = self.client.send(&self.policy, &request.header(header::USER_AGENT, USER_AGENT))?;
        if answer.status.as_u16() == 403 {
            // Without Read Message History; nor does it say so, but lists nothing.
            return Ok(None);
        }
        let listed: Vec<Listed> = self.accepted(answer, "looking for the message")?.json()?;
        // Discord trims what it is sent.
        let is_it = |listed: &Listed| listed.author.bot && listed.content.trim() == content.trim();
        Ok(listed.into_iter().rfind(is_it).map(|listed| listed.sent))
    }

    /// Edits the message `id`; nothing where it is gone.
    pub(crate) fn edit(&self, id: &str, message: &Message) -> anyhow::Result<Option<Sent>> {
        let request = self.target.patch(id).header(header::USER_AGENT, USER_AGENT).json(message)?;
        let answer = self.client.send(&self.policy, &request)?;
        if answer.status.as_u16() == 404 && Refusal::of(&answer).code == Refusal::UNKNOWN_MESSAGE {
            return Ok(None);
        }
        Ok(Some(self.accepted(answer, "editing the message")?.json()?))
    }

    fn accepted(&self, answer: Response, doing: &str) -> Result<Response, Fault> {
        if answer.is_success() {
            return Ok(answer);
        }
        let status = answer.status.as_u16();
        let refusal = Refusal::of(&answer);
        let mut text = format!("{doing}: Discord answered {status}");
        if !refusal.message.is_empty() {
            let words = message_text::one_line(&refusal.message);
            text.push_str(": ");
            text.push_str(&message_text::shorten_end(&words, 300));
        }
        let webhook = matches!(self.target, Target::Webhook { .. });
        Err(match (status, webhook) {
            (401 | 403, true) => Fault::denied(text).hint("the webhook's token is wrong: copy its URL again"),
            (401, false) => Fault::denied(text).hint("the bot's token is wrong or was reset"),
            (403, false) => {
                Fault::denied(text).hint("the bot needs View Channel, Send Messages and Embed Links there")
            }
            (404, true) if refusal.code != Refusal::UNKNOWN_CHANNEL => Fault::failed(text)
                .hint("the webhook was deleted: create a new one and set DISCORD_WEBHOOK_URL"),
            (404, true) => Fault::failed(text).hint("there is no such thread in the webhook's channel"),
            (404, false) => {
                Fault::failed(text).hint("there is no such channel, or the bot is not in its server")
            }
            _ => Fault::failed(text),
        })
    }
}

/// Discord's error body.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
    code: u64,
}

impl Refusal {
    const UNKNOWN_CHANNEL: u64 = 10_003;
    const UNKNOWN_MESSAGE: u64 = 10_008;

    fn of(answer: &Response) -> Self {
        // What stands in front of Discord answers in HTML.
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }
}
