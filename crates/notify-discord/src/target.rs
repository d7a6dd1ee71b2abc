//! Where messages go: a webhook, or a bot's channel.

use agent_task::Secret;
use api_client::{Method, Request, Url, endpoint};
use piece::Fault;
use std::fmt;

/// Where messages go.
#[derive(Clone)]
pub enum Target {
    /// A webhook. Whoever knows its URL can write to the channel.
    Webhook {
        /// `…/webhooks/ID/TOKEN`, without a query.
        url: Url,
        /// The thread of the channel.
        thread: Option<String>,
    },
    /// A bot, in a channel. A thread is a channel of its own.
    Bot {
        /// The API's base.
        api: Url,
        /// The bot's token.
        token: Secret,
        /// The channel's id, or the thread's.
        channel: String,
    },
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook { .. } => f.write_str("Webhook"),
            Self::Bot { channel, .. } => {
                f.debug_struct("Bot").field("channel", channel).finish_non_exhaustive()
            }
        }
    }
}

/// What is set, by environment and arguments.
#[derive(Debug, Default)]
pub struct Settings<'a> {
    /// `DISCORD_WEBHOOK_URL`.
    pub webhook: Option<Secret>,
    /// `DISCORD_BOT_TOKEN`.
    pub bot: Option<Secret>,
    /// `--channel-id`.
    pub channel: Option<&'a str>,
    /// `--thread-id`.
    pub thread: Option<&'a str>,
    /// `--api-url`.
    pub api: &'a str,
}

impl Target {
    /// The webhook where there is one, else the bot's channel: a bot's token is also what an agent's MCP server for Discord
    /// is given, so that it may be there for another reason.
    ///
    /// # Errors
    /// Denied where nothing is set; usage where something is set that makes no sense.
    pub fn of(settings: Settings<'_>) -> Result<Self, Fault> {
        let set = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let thread = set(settings.thread).map(|id| checked_id("the thread", id)).transpose()?;
        if let Some(secret) = settings.webhook {
            return webhook(&secret, thread);
        }
        let channel = set(settings.channel).map(|id| checked_id("the channel", id)).transpose()?;
        match (settings.bot, thread.or(channel)) {
            (Some(token), Some(channel)) => {
                Ok(Self::Bot { api: endpoint::base("the Discord API URL", settings.api)?, token, channel })
            }
            (Some(_), None) => Err(Fault::usage("DISCORD_BOT_TOKEN is set, but no channel")
                .hint("set DISCORD_CHANNEL_ID, or set DISCORD_WEBHOOK_URL instead")),
            (None, _) => Err(Fault::denied("neither DISCORD_WEBHOOK_URL nor DISCORD_BOT_TOKEN is set").hint(
                "create a webhook in the channel's settings (Integrations) and set DISCORD_WEBHOOK_URL",
            )),
        }
    }

    /// The call that makes a message.
    pub(crate) fn post(&self) -> Request {
        match self {
            Self::Webhook { url, .. } => {
                // Without `wait` a message that Discord does not take gives no error.
                self.threaded(Request::new(Method::POST, url.clone()).query("wait", "true"))
            }
            Self::Bot { api, channel, token } => {
                let url = endpoint::join(api, &["channels", channel, "messages"]);
                Request::new(Method::POST, url).authorization("Bot", token)
            }
        }
    }

    /// The call that reads the webhook, or the bot's channel.
    pub(crate) fn get(&self) -> Request {
        match self {
            Self::Webhook { url, .. } => Request::new(Method::GET, url.clone()),
            Self::Bot { api, channel, token } => {
                let url = endpoint::join(api, &["channels", channel]);
                Request::new(Method::GET, url).authorization("Bot", token)
            }
        }
    }

    /// The call that lists the first messages of a bot's channel behind the id `after`; a webhook has none.
    pub(crate) fn history(&self, after: u64) -> Option<Request> {
        let Self::Bot { api, channel, token } = self else { return None };
        let url = endpoint::join(api, &["channels", channel, "messages"]);
        let request = Request::new(Method::GET, url).authorization("Bot", token);
        Some(request.query("after", &after.to_string()).query("limit", "100"))
    }

    /// The call that edits the message `id`.
    pub(crate) fn patch(&self, id: &str) -> Request {
        let request = match self {
            Self::Webhook { url, .. } => {
                self.threaded(Request::new(Method::PATCH, endpoint::join(url, &["messages", id])))
            }
            Self::Bot { api, channel, token } => {
                let url = endpoint::join(api, &["channels", channel, "messages", id]);
                Request::new(Method::PATCH, url).authorization("Bot", token)
            }
        };
        request.replay_is_safe()
    }

    fn threaded(&self, request: Request) -> Request {
        match self {
            Self::Webhook { thread: Some(thread), .. } => request.query("thread_id", thread),
            _ => request,
        }
    }

    /// Whether Discord makes one message of several calls with the same nonce.
    pub(crate) fn knows_nonces(&self) -> bool {
        matches!(self, Self::Bot { .. })
    }
}

fn webhook(secret: &Secret, thread: Option<String>) -> Result<Target, Fault> {
    const SOURCE: &str = "DISCORD_WEBHOOK_URL";
    let mut url = endpoint::parse(SOURCE, secret.expose())?;
    let in_url = url.query_pairs().find(|(name, _)| name == "thread_id").map(|(_, id)| id.into_owned());
    let thread = match (thread, in_url) {
        (Some(thread), _) => Some(thread),
        (None, Some(thread)) => Some(checked_id("the thread", thread)?),
        (None, None) => None,
    };
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    let segments: Vec<&str> = path.split('/').collect();
    match segments.as_slice() {
        [.., "webhooks", id, token] if is_id(id) && !token.is_empty() => Ok(Target::Webhook { url, thread }),
        // The URL itself is not shown: it is a secret even where it is wrong.
        _ => Err(Fault::usage(format!("{SOURCE} is not the URL of a webhook"))
            .hint("it looks like https://discord.com/api/webhooks/ID/TOKEN, with nothing behind the token")),
    }
}

fn checked_id(what: &str, id: String) -> Result<String, Fault> {
    if is_id(&id) {
        return Ok(id);
    }
    // Its value is not shown: a token is easily put into the wrong variable.
    Err(Fault::usage(format!("{what}'s id is not a number"))
        .hint("turn on developer mode in Discord, and use 'Copy ID' in the channel's menu"))
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_task::Exit;

    const API: &str = "https://discord.com/api/v10";

    fn target(webhook: Option<&str>, bot: Option<&str>, channel: Option<&str>) -> Result<Target, Fault> {
        let settings = Settings {
            webhook: webhook.map(Secret::new),
            bot: bot.map(Secret::new),
            channel,
            thread: None,
            api: API,
        };
        Target::of(settings)
    }

    #[test]
    fn a_webhook_goes_before_a_bot() {
        let url = "https://discord.com/api/webhooks/123/s3cret-_x";
        assert!(matches!(target(Some(url), Some("t"), Some("4")), Ok(Target::Webhook { .. })));
        assert!(matches!(target(None, Some("t"), Some("4")), Ok(Target::Bot { .. })));
    }

    #[test]
    fn a_webhooks_url_may_name_its_thread() {
        let url = "https://discord.com/api/webhooks/123/s3cret/?wait=false&thread_id=77";
        let Ok(Target::Webhook { url, thread }) = target(Some(url), None, None) else { panic!("no webhook") };
        assert_eq!(url.as_str(), "https://discord.com/api/webhooks/123/s3cret");
        assert_eq!(thread.as_deref(), Some("77"));
    }

    #[test]
    fn what_is_missing_is_a_refusal_and_what_is_wrong_is_wrong_usage() {
        assert_eq!(target(None, None, Some("4")).unwrap_err().exit(), Exit::Denied);
        assert_eq!(target(None, Some("t"), None).unwrap_err().exit(), Exit::Usage);
        assert_eq!(target(None, Some("t"), Some("general")).unwrap_err().exit(), Exit::Usage);
        for wrong in [
            "https://discord.com/api/webhooks/123",
            "https://discord.com/api/webhooks/123/s3cret/slack",
            "https://discord.com/channels/1/2",
            "http://discord.com/api/webhooks/123/s3cret",
        ] {
            let fault = target(Some(wrong), None, None).unwrap_err();
            assert_eq!(fault.exit(), Exit::Usage, "{wrong}");
            assert!(!fault.to_string().contains("s3cret"), "{fault}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let url = "https://discord.com/api/webhooks/123/s3cret";
        assert_eq!(format!("{:?}", target(Some(url), None, None).unwrap()), "Webhook");
        assert_eq!(
            format!("{:?}", target(None, Some("s3cret"), Some("4")).unwrap()),
            "Bot { channel: \"4\", .. }"
        );
    }
}
