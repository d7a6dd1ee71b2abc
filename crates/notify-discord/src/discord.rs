//! Messages at Discord: made, and edited.

use crate::message::{Message, nonce};
use crate::target::Target;
use agent_task::RunRecord;
use api_client::retry::Policy;
use api_client::{Client, Response};
use http::header;
use piece::Fault;
use serde::{Deserialize, Serialize};

/// The form that Discord asks for: `DiscordBot (url, version)`.
const USER_AGENT: &str =
    concat!("DiscordBot (https://agents.kyle.pericak.com, ", env!("CARGO_PKG_VERSION"), ")");

/// A message that Discord has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) channel_id: String,
}

/// A target, and the way there.
#[derive(Debug)]
pub(crate) struct Discord<'a> {
    pub(crate) client: &'a Client,
    pub(crate) policy: Policy,
    pub(crate) target: Target,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    message: &'a Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforce_nonce: Option<bool>,
}

impl Discord<'_> {
    /// Makes a message.
    pub(crate) fn send(&self, message: &Message, record: &RunRecord) -> anyhow::Result<Sent> {
        let mut request = self.target.post();
        let mut body = Body { message, nonce: None, enforce_nonce: None };
        if self.target.knows_nonces() {
            body.nonce = Some(nonce(record));
            body.enforce_nonce = Some(true);
            request = request.replay_is_safe();
        }
        let request = request.header(header::USER_AGENT, USER_AGENT).json(&body)?;
        let answer = self.client.send(&self.policy, &request)?;
        Ok(self.accepted(answer, "sending the message")?.json()?)
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
