//! Discord: a webhook, and a bot in a channel.

mod message;

use crate::fault::{Limit, Service};
use crate::shared::{RateLimited, Request, Shared};
use axum::body::Bytes;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use jiff::Timestamp;
use message::{By, Refused};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const WEBHOOK: &str = "1300000000000000001";
const CHANNEL: &str = "1300000000000000002";
const THREAD: &str = "1300000000000000003";
const BOT: &str = "1300000000000000004";
const GUILD: &str = "1300000000000000005";
/// Ids count from here: milliseconds, and then what keeps those of one millisecond apart.
const EPOCH_MS: i64 = 1_420_070_400_000;
const SUBDIVISIONS: u32 = 22;
/// For so long a nonce is known. Discord says: a few minutes.
const NONCE_SECONDS: i64 = 5 * 60;
const WEBHOOK_TOKEN: &str = "sandbox-webhook-token-that-opens-nothing-0123456789_abcdefghijklmnop";
const BUCKET: &str = "5b0c9d1e7f3a4826";
const BOT_TOKEN: &str = "sandbox-bot.token-that.opens-nothing";

/// Discord, running.
#[derive(Debug)]
pub struct Discord {
    shared: Shared,
    messages: Arc<Mutex<Vec<Message>>>,
}

/// A message as Discord keeps it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The channel that it is in; of a thread's message, the thread's channel.
    pub channel_id: String,
    /// The thread that it is in.
    pub thread_id: Option<String>,
    /// Its text.
    pub content: String,
    /// Its embeds, as they were sent.
    pub embeds: Vec<Value>,
    /// The whole body of the request that made or last changed it.
    pub raw: Value,
    /// Whether it was changed after it was sent.
    pub edited: bool,
    /// What makes sending it again the same message, for a while.
    nonce: Option<String>,
    #[serde(skip)]
    sent_at: Timestamp,
    by_webhook: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    wait: Option<String>,
    #[serde(default)]
    thread_id: Option<String>,
    #[serde(default)]
    after: Option<u64>,
    #[serde(default)]
    limit: Option<usize>,
}

impl Parameters {
    fn wait(&self) -> bool {
        self.wait.as_deref().is_some_and(|wait| wait.eq_ignore_ascii_case("true") || wait == "1")
    }
}

impl Discord {
    pub(crate) fn start(shared: Shared) -> Self {
        Self { shared, messages: Arc::default() }
    }

    /// The webhook's URL as plain HTTP on loopback.
    #[must_use]
    pub fn webhook_url(&self) -> String {
        format!("{}/api/webhooks/{WEBHOOK}/{WEBHOOK_TOKEN}", self.shared.url(Service::Discord))
    }

    /// The webhook's URL as Discord gives it out, for clients that go through the proxy.
    #[must_use]
    pub fn webhook_url_real(&self) -> String {
        format!("https://discord.com/api/webhooks/{WEBHOOK}/{WEBHOOK_TOKEN}")
    }

    /// The bot's token. It opens nothing else.
    #[must_use]
    pub fn bot_token(&self) -> String {
        BOT_TOKEN.to_owned()
    }

    /// The channel that the webhook and the bot write to.
    #[must_use]
    pub fn channel_id(&self) -> String {
        CHANNEL.to_owned()
    }

    /// A thread in that channel.
    #[must_use]
    pub fn thread_id(&self) -> String {
        THREAD.to_owned()
    }

    /// `https://discord.com/api/v10` as plain HTTP on loopback.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("{}/api/v10", self.shared.url(Service::Discord))
    }

    /// The messages as they are, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        locked(&self.messages).clone()
    }

    /// What it was asked, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests(Service::Discord)
    }

    /// The service alone: requests are recorded and faults happen around it.
    pub(crate) fn router(&self) -> Router {
        let server = Server { shared: self.shared.clone(), messages: Arc::clone(&self.messages) };
        Router::new().fallback(move |method, uri: Uri, Query(parameters), headers: HeaderMap, body: Bytes| {
            let server = server.clone();
            async move { server.answer(&method, uri.path(), &parameters, &headers, &body) }
        })
    }

    /// The answer to a call that came too often.
    pub(crate) fn rate_limited(limited: RateLimited) -> Response {
        let global = limited.limit == Limit::Secondary;
        let seconds = limited.retry_after.as_secs_f64();
        // Whole seconds, never too few.
        let mut headers = vec![("retry-after", format!("{:.0}", seconds.ceil()))];
        if global {
            headers.push(("x-ratelimit-global", "true".to_owned()));
            headers.push(("x-ratelimit-scope", "global".to_owned()));
        } else {
            let reset = limited.now.as_millisecond() as f64 / 1000.0 + seconds;
            headers.extend([
                ("x-ratelimit-limit", "5".to_owned()),
                ("x-ratelimit-remaining", "0".to_owned()),
                ("x-ratelimit-reset", format!("{reset:.3}")),
                ("x-ratelimit-reset-after", format!("{seconds:.3}")),
                ("x-ratelimit-bucket", BUCKET.to_owned()),
                ("x-ratelimit-scope", "user".to_owned()),
            ]);
        }
        let body =
            json!({"message": "You are being rate limited.", "retry_after": seconds, "global": global});
        with_headers((StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response(), headers)
    }
}

/// What answers.
#[derive(Debug, Clone)]
struct Server {
    shared: Shared,
    messages: Arc<Mutex<Vec<Message>>>,
}

impl Server {
    fn answer(
        &self,
        method: &Method,
        path: &str,
        parameters: &Parameters,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Response {
        if headers.get("user-agent").is_none_or(HeaderValue::is_empty) {
            self.shared.violation(Service::Discord, "a client sends no User-Agent");
            return error(403, 40333, "internal network error");
        }
        // Without a version it is the default one, which knows the same.
        let Some(rest) = path.strip_prefix("/api/v10/").or_else(|| path.strip_prefix("/api/")) else {
            return not_found();
        };
        let steps: Vec<&str> = rest.split('/').collect();
        let by = if steps[0] == "webhooks" { By::Webhook } else { By::Bot };
        if by == By::Bot
            && headers.get("authorization").is_none_or(|given| given != &format!("Bot {BOT_TOKEN}"))
        {
            return error(401, 0, "401: Unauthorized");
        }
        let in_thread = match (by, parameters.thread_id.as_deref()) {
            (By::Webhook, Some(THREAD)) => Some(THREAD),
            (By::Webhook, Some(_)) => return unknown_channel(),
            _ => None,
        };
        let answer = match (method, steps.as_slice()) {
            (_, ["webhooks", id, token, ..]) if *id != WEBHOOK || *token != WEBHOOK_TOKEN => {
                return error(404, 10015, "Unknown Webhook");
            }
            (_, ["channels", id, ..]) if *id != CHANNEL && *id != THREAD => return unknown_channel(),
            (&Method::GET, ["webhooks", ..]) if steps.len() == 3 => Ok(webhook()),
            (&Method::POST, ["webhooks", _, _]) => {
                let sent = self.send(by, in_thread, headers, body);
                if sent.is_ok() && !parameters.wait() {
                    return with_headers(StatusCode::NO_CONTENT.into_response(), allowed(self.now()));
                }
                sent
            }
            (_, ["webhooks", _, _, "messages", id]) => self.one(method, by, in_thread, id, headers, body),
            (&Method::POST, ["channels", channel, "messages"]) => {
                self.send(by, (*channel == THREAD).then_some(THREAD), headers, body)
            }
            (_, ["channels", channel, "messages", id]) => {
                self.one(method, by, (*channel == THREAD).then_some(THREAD), id, headers, body)
            }
            (&Method::GET, ["channels", channel, "messages"]) => {
                Ok(self.history((*channel == THREAD).then_some(THREAD), parameters))
            }
            (&Method::GET, ["channels", channel]) => Ok(channel_of(channel)),
            (&Method::GET, ["users", "@me"]) => Ok(author(By::Bot)),
            _ => return not_found(),
        };
        match answer {
            Ok(body) => with_headers(Json(body).into_response(), allowed(self.now())),
            Err(refused) => *refused,
        }
    }

    /// A new message; of a bot's that was sent before, by its nonce, that one.
    fn send(
        &self,
        by: By,
        thread: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Value, Box<Response>> {
        let raw = self.form(by, headers, body, false)?;
        let nonce = match raw.get("nonce") {
            Some(Value::String(nonce)) => Some(nonce.clone()),
            Some(Value::Number(nonce)) => Some(nonce.to_string()),
            _ => None,
        };
        let mut messages = locked(&self.messages);
        let now = self.now();
        if raw.get("enforce_nonce") == Some(&Value::Bool(true))
            && nonce.is_some()
            && let Some(known) = messages.iter().find(|message| {
                message.nonce == nonce && (now - message.sent_at).get_seconds() < NONCE_SECONDS
            })
        {
            return Ok(self.object(known));
        }
        let number = u64::try_from((now.as_millisecond() - EPOCH_MS) << SUBDIVISIONS).unwrap_or_default();
        let mut message = Message {
            id: (number + u64::try_from(messages.len()).unwrap_or_default()).to_string(),
            sent_at: now,
            channel_id: CHANNEL.to_owned(),
            thread_id: thread.map(str::to_owned),
            content: String::new(),
            embeds: Vec::new(),
            raw: Value::Null,
            edited: false,
            nonce,
            by_webhook: by == By::Webhook,
        };
        message.take(raw);
        let answer = self.object(&message);
        messages.push(message);
        Ok(answer)
    }

    /// What was written to the channel or the thread after an id, the latest first. Nobody is told a nonce but who sends it.
    fn history(&self, thread: Option<&str>, parameters: &Parameters) -> Value {
        let messages = locked(&self.messages);
        let later = messages.iter().filter(|message| {
            message.thread_id.as_deref() == thread && message.id.parse().ok() > parameters.after
        });
        let first = later.take(parameters.limit.unwrap_or(50).min(100));
        let mut listed: Vec<Value> = first.map(|message| self.object(message)).collect();
        listed.reverse();
        for object in listed.iter_mut().filter_map(Value::as_object_mut) {
            object.remove("nonce");
        }
        listed.into()
    }

    /// Reads, changes or deletes a message of the client's own.
    fn one(
        &self,
        method: &Method,
        by: By,
        thread: Option<&str>,
        id: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Value, Box<Response>> {
        let raw = if *method == Method::PATCH { Some(self.form(by, headers, body, true)?) } else { None };
        let mut messages = locked(&self.messages);
        let known = messages
            .iter_mut()
            .find(|message| message.id == id && message.thread_id.as_deref() == thread)
            .filter(|message| by == By::Bot || message.by_webhook);
        let Some(message) = known else { return Err(error(404, 10008, "Unknown Message").into()) };
        match (method, raw) {
            (&Method::GET, _) => Ok(self.object(message)),
            (_, Some(_)) if by == By::Bot && message.by_webhook => {
                Err(error(403, 50005, "Cannot edit a message authored by another user").into())
            }
            (_, Some(raw)) => {
                message.edited = true;
                message.take(raw);
                Ok(self.object(message))
            }
            _ => Err(error(405, 0, "405: Method Not Allowed").into()),
        }
    }

    /// The body of a request that makes or changes a message.
    fn form(
        &self,
        by: By,
        headers: &HeaderMap,
        body: &[u8],
        edit: bool,
    ) -> Result<Map<String, Value>, Box<Response>> {
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/json") {
            let text = format!("a message comes as '{kind}'; the sandbox reads application/json alone");
            self.shared.violation(Service::Discord, text);
            return Err(error(400, 50006, "Cannot send an empty message").into());
        }
        let Ok(Value::Object(form)) = serde_json::from_slice(body) else {
            return Err(error(400, 50109, "The request body contains invalid JSON.").into());
        };
        for violation in message::violations(by, &form) {
            self.shared.violation(Service::Discord, violation);
        }
        match message::check(by, &form, edit) {
            Ok(()) => Ok(form),
            Err(Refused { code, message, errors: Value::Null }) => Err(error(400, code, message).into()),
            Err(Refused { code, message, errors }) => {
                let body = json!({"message": message, "code": code, "errors": errors});
                Err((StatusCode::BAD_REQUEST, Json(body)).into_response().into())
            }
        }
    }

    /// A message as the API shows it.
    fn object(&self, message: &Message) -> Value {
        let by = if message.by_webhook { By::Webhook } else { By::Bot };
        let mut object = json!({
            "id": message.id,
            "type": 0,
            "channel_id": message.thread_id.as_ref().unwrap_or(&message.channel_id),
            "author": author(by),
            "content": message.content,
            "embeds": message.embeds,
            "attachments": [],
            "components": [],
            "mentions": [],
            "mention_roles": [],
            "mention_everyone": false,
            "pinned": false,
            "tts": false,
            "flags": message.raw.get("flags").cloned().unwrap_or(json!(0)),
            "timestamp": message.sent_at.to_string(),
            "edited_timestamp": message.edited.then(|| self.now().to_string()),
        });
        if message.by_webhook {
            object["webhook_id"] = json!(WEBHOOK);
        }
        if let Some(nonce) = &message.nonce {
            object["nonce"] = json!(nonce);
        }
        object
    }

    fn now(&self) -> Timestamp {
        self.shared.clock().now()
    }
}

impl Message {
    /// Takes over what a request says; what it leaves out stays.
    fn take(&mut self, raw: Map<String, Value>) {
        if let Some(content) = raw.get("content") {
            self.content = content.as_str().unwrap_or_default().trim().to_owned();
        }
        if let Some(embeds) = raw.get("embeds") {
            self.embeds = embeds.as_array().cloned().unwrap_or_default();
        }
        self.raw = Value::Object(raw);
    }
}

fn locked(messages: &Mutex<Vec<Message>>) -> MutexGuard<'_, Vec<Message>> {
    messages.lock().unwrap_or_else(PoisonError::into_inner)
}

fn author(by: By) -> Value {
    match by {
        By::Webhook => json!({"id": WEBHOOK, "username": "log", "discriminator": "0000", "bot": true}),
        By::Bot => json!({"id": BOT, "username": "pressrun", "discriminator": "0000", "bot": true}),
    }
}

fn webhook() -> Value {
    json!({
        "id": WEBHOOK, "type": 1, "name": "log", "avatar": null, "channel_id": CHANNEL, "guild_id": GUILD,
        "application_id": null, "token": WEBHOOK_TOKEN,
    })
}

fn channel_of(id: &str) -> Value {
    let kind = if id == THREAD { 11 } else { 0 };
    json!({"id": id, "type": kind, "name": "log", "guild_id": GUILD})
}

/// What every answer says about its route's bucket.
fn allowed(now: Timestamp) -> Vec<(&'static str, String)> {
    vec![
        ("x-ratelimit-limit", "5".to_owned()),
        ("x-ratelimit-remaining", "4".to_owned()),
        ("x-ratelimit-reset", format!("{}.000", now.as_second() + 2)),
        ("x-ratelimit-reset-after", "2.000".to_owned()),
        ("x-ratelimit-bucket", BUCKET.to_owned()),
    ]
}

fn with_headers(mut response: Response, headers: Vec<(&'static str, String)>) -> Response {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn not_found() -> Response {
    error(404, 0, "404: Not Found")
}

fn unknown_channel() -> Response {
    error(404, 10003, "Unknown Channel")
}

fn error(status: u16, code: u32, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({"message": message, "code": code}))).into_response()
}
