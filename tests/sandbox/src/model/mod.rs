//! The model behind `api.anthropic.com`: messages by a script, streamed or whole, for a client with an OAuth token.

mod answer;
mod dialect;
mod request;
mod scenario;
mod template;

pub use scenario::{Agent, Call, Failing, Failure, Scenario, Turn, Usage};

use crate::fault::{Limit, Service};
use crate::shared::{Disconnect, RateLimited, Request, Shared, cut};
use answer::{Flaw, Message, refusal, usage_limit};
use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use request::Asked;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The token that is expected unless a test says otherwise. It opens nothing.
const TOKEN: &str = "sk-ant-oat01-sandbox-opens-nothing";

/// The API key that is expected of clients that log in with one. It opens nothing.
const API_KEY: &str = "sk-ant-api03-sandbox-opens-nothing";

/// The model, running.
#[derive(Debug)]
pub struct Model {
    shared: Shared,
    play: Arc<Mutex<Play>>,
}

/// A scenario, and how far it got.
#[derive(Debug)]
struct Play {
    login: Login,
    scenario: Scenario,
    /// The conversations, by who leads them.
    conversations: HashMap<Speaker, Conversation>,
    variables: BTreeMap<String, String>,
    /// The turns that were answered: indices of agent and turn.
    answered: BTreeSet<(usize, usize)>,
    messages: u64,
    calls: u64,
    first_request: Option<Timestamp>,
    last_request: Option<Timestamp>,
}

/// How clients log in: each way alone, for the service takes the one where a client shows both.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Login {
    /// A subscription's token, as `Authorization: Bearer`.
    OAuth(String),
    /// A key, as `x-api-key`.
    ApiKey(String),
}

/// Who leads a conversation: the session, and the subagent where it is one. Clients that do not say are told apart by
/// their task.
type Speaker = (String, String);

#[derive(Debug)]
struct Conversation {
    /// Index of the agent that plays it.
    agent: usize,
    /// How many requests failed as the script says, by turn.
    failed: HashMap<usize, usize>,
}

/// What to do with a request for a message.
enum Next {
    Answer(Message),
    Fail(Failing, Message),
    Refuse(String),
}

impl Model {
    pub(crate) fn start(shared: Shared) -> Self {
        let play = Play {
            login: Login::OAuth(TOKEN.to_owned()),
            scenario: Scenario::default(),
            conversations: HashMap::new(),
            variables: BTreeMap::new(),
            answered: BTreeSet::new(),
            messages: 0,
            calls: 0,
            first_request: None,
            last_request: None,
        };
        Self { shared, play: Arc::new(Mutex::new(play)) }
    }

    /// The service alone: requests are recorded and faults happen around it.
    pub(crate) fn router(&self) -> Router {
        let messages = (self.shared.clone(), Arc::clone(&self.play));
        let tokens = messages.clone();
        Router::new()
            .route(
                "/v1/messages",
                post(move |headers: HeaderMap, body: Bytes| async move {
                    let (shared, play) = messages;
                    message(&shared, &play, &headers, &body).await
                }),
            )
            .route(
                "/v1/messages/count_tokens",
                post(move |headers: HeaderMap, body: Bytes| async move {
                    let (shared, play) = tokens;
                    count_tokens(&shared, &play, &headers, &body)
                }),
            )
            .method_not_allowed_fallback(|| async { refusal(405, None, Some("Method Not Allowed")) })
            // The agent CLI asks for settings and policies at its start; where it gets none, it has none.
            .fallback(|| async { refusal(404, None, None) })
    }

    /// The answer to a call that came too often: the subscription's limit, or an overloaded service.
    pub(crate) fn rate_limited(limited: RateLimited) -> Response {
        match limited.limit {
            Limit::Primary => {
                let now = limited.now.as_second();
                let wait = i64::try_from(limited.retry_after.as_secs()).unwrap_or(i64::MAX / 2);
                usage_limit("five_hour", now + wait, now)
            }
            Limit::Secondary => {
                let mut response = refusal(529, None, None);
                response.headers_mut().insert("retry-after", limited.retry_after.as_secs().into());
                response
            }
        }
    }

    /// The model as plain HTTP on loopback, for clients that take an `ANTHROPIC_BASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.url(Service::Model)
    }

    /// The OAuth token or the API key that clients must show. It opens nothing else.
    #[must_use]
    pub fn token(&self) -> String {
        match &self.play().login {
            Login::OAuth(token) | Login::ApiKey(token) => token.clone(),
        }
    }

    /// Expects another token from here on.
    pub fn expect_token(&self, token: &str) {
        self.play().login = Login::OAuth(token.to_owned());
    }

    /// Expects an API key from here on, which this gives, and no token.
    pub fn expect_api_key(&self) -> String {
        self.play().login = Login::ApiKey(API_KEY.to_owned());
        API_KEY.to_owned()
    }

    /// Plays a scenario from its beginning, for conversations that begin after this.
    ///
    /// # Errors
    /// A mistake in the scenario.
    pub fn load(&self, scenario: Scenario) -> anyhow::Result<()> {
        scenario.check()?;
        let mut play = self.play();
        play.scenario = scenario;
        play.conversations.clear();
        play.variables.clear();
        play.answered.clear();
        Ok(())
    }

    /// What it was asked, in order; what the agent CLI asks beside messages too.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests(Service::Model)
    }

    /// The agents that have not said everything, and how many turns they have left.
    #[must_use]
    pub fn remaining(&self) -> Vec<(String, usize)> {
        let play = self.play();
        let agents = play.scenario.agents.iter().enumerate();
        agents
            .map(|(index, agent)| {
                let turns = 0..agent.turns.len();
                (agent.name.clone(), turns.filter(|turn| !play.answered.contains(&(index, *turn))).count())
            })
            .filter(|(_, turns)| *turns > 0)
            .collect()
    }

    /// When the first message was asked for, by the system's clock.
    #[must_use]
    pub fn first_request_at(&self) -> Option<Timestamp> {
        self.play().first_request
    }

    /// When a message was last asked for, by the system's clock.
    #[must_use]
    pub fn last_request_at(&self) -> Option<Timestamp> {
        self.play().last_request
    }

    fn play(&self) -> MutexGuard<'_, Play> {
        locked(&self.play)
    }
}

fn locked(play: &Mutex<Play>) -> MutexGuard<'_, Play> {
    play.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn message(shared: &Shared, play: &Mutex<Play>, headers: &HeaderMap, body: &[u8]) -> Response {
    let asked = match admitted(shared, &locked(play).login, headers, body, true) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    let (next, delay) = {
        let mut play = locked(play);
        let now = Timestamp::now();
        play.first_request.get_or_insert(now);
        play.last_request = Some(now);
        play.next(&asked, headers)
    };
    tokio::time::sleep(delay).await;
    let said = |message: &Message, flaw| {
        let response = if asked.streaming { message.stream(flaw) } else { message.whole() };
        with_headers(response, shared.clock().now())
    };
    match next {
        Next::Answer(message) => said(&message, None),
        Next::Refuse(why) => {
            shared.violation(Service::Model, &why);
            refusal(400, None, Some(&format!("sandbox: {why}")))
        }
        Next::Fail(how, message) => match how {
            Failing::Status { code, kind, message, headers } => {
                let mut response = refusal(code, kind.as_deref(), message.as_deref());
                for (name, value) in &headers {
                    let (name, value) = (http::HeaderName::try_from(name), HeaderValue::from_str(value));
                    if let (Ok(name), Ok(value)) = (name, value) {
                        response.headers_mut().insert(name, value);
                    }
                }
                response
            }
            Failing::Overloaded => refusal(529, None, None),
            Failing::OverloadedInStream => said(&message, Some(Flaw::Overloaded)),
            Failing::UsageLimit { resets_in, claim } => {
                let now = shared.clock().now().as_second();
                usage_limit(&claim, now + i64::from(resets_in), now)
            }
            Failing::CutAfter(0) => {
                let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
                response.extensions_mut().insert(Disconnect);
                response
            }
            Failing::CutAfter(bytes) => said(&message, None).map(|body| cut(body, bytes)),
            Failing::Hang(time) => {
                tokio::time::sleep(time).await;
                said(&message, None)
            }
            Failing::Malformed => said(&message, Some(Flaw::Malformed)),
        },
    }
}

fn count_tokens(shared: &Shared, play: &Mutex<Play>, headers: &HeaderMap, body: &[u8]) -> Response {
    match admitted(shared, &locked(play).login, headers, body, false) {
        Ok(_) => axum::Json(json!({"input_tokens": tokens(body.len())})).into_response(),
        Err(refused) => *refused,
    }
}

/// Who asks is told apart from what is asked: credentials first, then the headers, then the body.
fn admitted(
    shared: &Shared,
    login: &Login,
    headers: &HeaderMap,
    body: &[u8],
    answers: bool,
) -> Result<Asked, Box<Response>> {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match login {
        Login::OAuth(token) => {
            if header("x-api-key").is_some() {
                shared.violation(Service::Model, "a client sent x-api-key, which overrides the OAuth token");
                return Err(refusal(401, None, Some("invalid x-api-key")).into());
            }
            if header("authorization").and_then(|value| value.strip_prefix("Bearer ")) != Some(token) {
                return Err(refusal(401, None, Some("Invalid bearer token")).into());
            }
            let betas = headers.get_all("anthropic-beta");
            let mut betas =
                betas.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
            if !betas.any(|beta| beta.trim().starts_with("oauth-")) {
                return Err(
                    refusal(401, None, Some("OAuth authentication is currently not supported.")).into()
                );
            }
        }
        Login::ApiKey(key) => {
            if header("authorization").is_some() {
                shared.violation(Service::Model, "a client with an API key sent an authorization too");
            }
            if header("x-api-key") != Some(key) {
                return Err(refusal(401, None, Some("invalid x-api-key")).into());
            }
        }
    }
    let invalid = |why: &str| {
        shared.violation(Service::Model, why);
        Box::new(refusal(400, None, Some(why)))
    };
    if header("anthropic-version") != Some("2023-06-01") {
        return Err(invalid("anthropic-version: header is required, as 2023-06-01"));
    }
    if !header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(invalid("content-type: should be application/json"));
    }
    request::read(body, answers).map_err(|why| invalid(&why))
}

/// What the real service says about the limits with every message.
fn with_headers(mut response: Response, now: Timestamp) -> Response {
    let resets = now.as_second() + 3 * 60 * 60;
    let headers = response.headers_mut();
    headers.insert("request-id", HeaderValue::from_static("req_sandbox"));
    headers.insert("anthropic-ratelimit-unified-status", HeaderValue::from_static("allowed"));
    headers.insert("anthropic-ratelimit-unified-reset", resets.into());
    headers.insert("anthropic-ratelimit-unified-representative-claim", HeaderValue::from_static("five_hour"));
    response
}

/// A text of so many bytes in tokens, roughly.
fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes / 4).unwrap_or(u64::MAX).max(1)
}

impl Play {
    /// The next message of the conversation that `asked` belongs to, and how long it takes to begin.
    fn next(&mut self, asked: &Asked, headers: &HeaderMap) -> (Next, std::time::Duration) {
        let immediately = std::time::Duration::ZERO;
        let speaker = speaker(headers, asked);
        let agent = match self.agent(&speaker, asked) {
            Ok(Some(agent)) => agent,
            Ok(None) => return (Next::Answer(self.aside(asked)), immediately),
            Err(why) => return (Next::Refuse(why), immediately),
        };
        let script = &self.scenario.agents[agent];
        let place = format!("agent {}, turn {}", script.name, asked.turns + 1);
        let Some(turn) = script.turns.get(asked.turns).cloned() else {
            let turns = script.turns.len();
            return (Next::Refuse(format!("{place}: the script ends after turn {turns}")), immediately);
        };
        let is_subagent = headers.contains_key("x-claude-code-agent-id");
        if asked.turns == 0 && !is_subagent {
            self.variables.entry("prompt".to_owned()).or_insert_with(|| asked.task.clone());
        }
        match self.said(&turn, asked) {
            Err(why) => (Next::Refuse(format!("{place}: {why}")), turn.delay),
            Ok(message) => {
                // `agent` has just found or begun the conversation.
                if let Some(known) = self.conversations.get_mut(&speaker)
                    && let failed = known.failed.entry(asked.turns).or_default()
                    && let Some(how) = turn.failing(*failed)
                {
                    *failed += 1;
                    return (Next::Fail(how.clone(), message), turn.delay);
                }
                self.answered.insert((agent, asked.turns));
                (Next::Answer(message), turn.delay)
            }
        }
    }

    /// Who plays the conversation; none for what a client asks beside the script.
    fn agent(&mut self, speaker: &Speaker, asked: &Asked) -> Result<Option<usize>, String> {
        if let Some(known) = self.conversations.get(speaker) {
            let marker = self.scenario.agents[known.agent].marker();
            if asked.system.contains(&marker) {
                return Ok(Some(known.agent));
            }
        }
        let agents = &self.scenario.agents;
        let mut matching: Vec<usize> =
            (0..agents.len()).filter(|&index| asked.system.contains(&agents[index].marker())).collect();
        let markers: BTreeSet<String> = matching.iter().map(|&index| agents[index].marker()).collect();
        if markers.len() > 1 {
            return Err(format!("a system prompt has the markers of several agents: {markers:?}"));
        }
        if matching.is_empty() && asked.tools.is_empty() {
            return Ok(None);
        }
        let played = self.conversations.values().map(|conversation| conversation.agent);
        let begun = played.filter(|agent| matching.contains(agent)).count();
        matching.truncate(begun + 1);
        let Some(&agent) = matching.last() else {
            let known: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
            let system: String = asked.system.chars().take(300).collect();
            return Err(if known.is_empty() {
                "no scenario is loaded".to_owned()
            } else {
                format!("no agent of the scenario ({}) has this system prompt: {system}", known.join(", "))
            });
        };
        let conversation = Conversation { agent, failed: HashMap::new() };
        self.conversations.insert(speaker.clone(), conversation);
        Ok(Some(agent))
    }

    /// The message that a turn makes, with its variables filled in.
    fn said(&mut self, turn: &Turn, asked: &Asked) -> Result<Message, String> {
        let heard = if asked.turns == 0 { &asked.task } else { &asked.results };
        if let Some(pattern) = &turn.expect {
            let expected = template::pattern(pattern, |name| self.value(name, asked));
            let expected = expected.map_err(|error| format!("{error:#}"))?;
            if !expected.is_match(heard) {
                return Err(format!("expected {pattern}, got: {heard}"));
            }
        }
        if let Some(pattern) = &turn.capture {
            let captured = template::pattern(pattern, |name| self.value(name, asked));
            let captured = captured.map_err(|error| format!("{error:#}"))?;
            let Some(groups) = captured.captures(heard) else {
                return Err(format!("found no {pattern} in: {heard}"));
            };
            for name in captured.capture_names().flatten() {
                if let Some(group) = groups.name(name) {
                    self.variables.insert(name.to_owned(), group.as_str().to_owned());
                }
            }
        }
        let value = |name: &str| self.value(name, asked);
        let unknown = |name: String| format!("nothing has captured {{{{{name}}}}} so far");
        let text = turn.text.as_ref().map(|text| template::fill(text, value)).transpose().map_err(unknown)?;
        let calls: Vec<(String, Value)> = turn
            .calls
            .iter()
            .map(|call| {
                let input = template::fill_json(&call.input, &value)?;
                Ok(dialect::spoken(&call.tool, input, &asked.tools))
            })
            .collect::<Result<_, _>>()
            .map_err(unknown)?;
        let mut content: Vec<Value> = text.iter().map(|text| json!({"type": "text", "text": text})).collect();
        for (tool, input) in calls {
            self.calls += 1;
            let id = format!("toolu_sandbox{:06}", self.calls);
            content.push(json!({"type": "tool_use", "id": id, "name": tool, "input": input}));
        }
        let written = content.iter().map(|block| block.to_string().len()).sum();
        let asked_bytes = asked.system.len() + asked.task.len() + asked.results.len();
        let usage = turn.usage.unwrap_or(Usage {
            input: tokens(asked_bytes),
            output: tokens(written),
            cache_read: 0,
            cache_creation: 0,
        });
        Ok(self.message(asked, content, turn.stop_reason().to_owned(), usage))
    }

    /// What a client gets for a request of its own, as a title for the session.
    fn aside(&mut self, asked: &Asked) -> Message {
        let text =
            if asked.wants_json { r#"{"title":"A run in the sandbox"}"# } else { "A run in the sandbox" };
        let usage =
            Usage { input: tokens(asked.system.len()), output: tokens(text.len()), ..Usage::default() };
        self.message(asked, vec![json!({"type": "text", "text": text})], "end_turn".to_owned(), usage)
    }

    /// Ids are never used twice: the agent CLI takes two messages of one id for the same.
    fn message(&mut self, asked: &Asked, content: Vec<Value>, stop_reason: String, usage: Usage) -> Message {
        self.messages += 1;
        let id = format!("msg_sandbox{:06}", self.messages);
        Message { id, model: asked.model.clone(), content, stop_reason, usage }
    }

    fn value(&self, name: &str, asked: &Asked) -> Option<String> {
        let prompt = || self.variables.get("prompt").map_or(asked.task.as_str(), String::as_str);
        match name {
            "task" => Some(asked.task.clone()),
            "today" => Some(Timestamp::now().strftime("%F").to_string()),
            "prompt" => Some(prompt().to_owned()),
            "title" => Some(template::title(prompt())),
            "slug" => Some(template::slug(prompt())),
            _ => self.variables.get(name).cloned(),
        }
    }
}

fn speaker(headers: &HeaderMap, asked: &Asked) -> Speaker {
    let header =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    match (header("x-claude-code-session-id"), header("x-claude-code-agent-id")) {
        (None, None) => (String::new(), asked.task.clone()),
        (session, agent) => (session.unwrap_or_default(), agent.unwrap_or_default()),
    }
}
