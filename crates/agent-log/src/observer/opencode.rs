//! The events of `opencode run --format json`, and those that the run's own plugin adds to them (see the crate `agent-home`):
//! `session` (model, MCP servers), `tool_start`, `retry`, `ended` (a limit was reached), and the events of the subagents'
//! sessions. An object a line, each with its `sessionID`.
//!
//! There is no event that says how it all ended: the main session's last step does, or an error after it.

use super::{Ended, Meter, Observer, Owner, RESULT_MAX, add};
use crate::event::{self, Amount, Count, List, Maybe, Server, Text};
use crate::notice::{Notice, View};
use crate::text;
use crate::verdict;
use agent_task::Stage;
use agent_task::record::{McpServer, Tokens};
use jiff::Timestamp;
use serde_json::value::RawValue;

/// What this CLI calls the tool that starts a subagent.
const SUBAGENT: &str = "task";

/// How it begins to tell of a call that its rules deny, that nobody was there to allow, and of a tool that it does not
/// offer, which is what becomes of one that is denied altogether.
const DENIED: &[&str] = &[
    "The user has specified a rule which prevents you from using this specific tool call",
    "The user rejected permission to use this specific tool call",
    "Model tried to call unavailable tool",
];

/// The fields of all kinds of event.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    timestamp: Count,
    #[serde(borrow, rename = "sessionID")]
    session: Text<'a>,
    #[serde(borrow)]
    part: Maybe<Part<'a>>,
    #[serde(borrow)]
    error: Maybe<Error<'a>>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    servers: List<Maybe<Server<'a>>>,
    attempt: Count,
    #[serde(rename = "delayMs")]
    delay_ms: Count,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(rename = "resetsAt")]
    resets_at: Count,
    #[serde(rename = "maxTurns")]
    max_turns: Count,
    #[serde(rename = "maxBudgetUsd")]
    max_budget_usd: Amount,
}

/// A part of a message.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow, rename = "callID")]
    call: Text<'a>,
    #[serde(borrow)]
    tool: Text<'a>,
    #[serde(borrow)]
    state: Maybe<State<'a>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Text<'a>,
    tokens: Maybe<Used>,
    cost: Amount,
}

/// How far a call is.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Maybe<Metadata<'a>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    /// The session that a call began.
    #[serde(borrow, rename = "sessionId")]
    session: Text<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Used {
    input: Count,
    output: Count,
    reasoning: Count,
    cache: Maybe<Cache>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Cache {
    read: Count,
    write: Count,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Error<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    data: Maybe<ErrorData<'a>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct ErrorData<'a> {
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(rename = "statusCode")]
    status: Count,
}

/// Whether it is an event of this CLI's. The other one's have none of these names.
pub(super) fn has(kind: &str) -> bool {
    matches!(
        kind,
        "session"
            | "step_start"
            | "text"
            | "reasoning"
            | "tool_start"
            | "tool_use"
            | "step_finish"
            | "retry"
            | "error"
            | "ended"
    )
}

impl Observer {
    /// Takes a line that [`has`] such an event. Its beginning was read before, so that it is one is certain.
    pub(super) fn opencode(&mut self, line: &str, view: &mut impl View) {
        let event: Event<'_> = serde_json::from_str(line).unwrap_or_default();
        let Some(session) = event.session.get() else { return };
        // The run's own session speaks first.
        let main = self.session.get_or_insert_with(|| text::line(session, 100)).as_str();
        let own = main == session;
        let owner = if own { None } else { self.by_call.get(session).copied() };
        self.last = owner;
        self.passed(event.timestamp);
        match (event.kind.get(), &event.part.0) {
            (Some("session"), _) => self.connected(event.model.get(), &event.servers, view),
            (Some("step_start"), _) if own => {
                // It goes on: what looked like the end was none. A failure is one, whatever comes in late.
                self.ended = self.ended.take().filter(|ended| ended.is_error);
                self.said.clear();
            }
            (Some("text"), Some(part)) => self.words(owner, own, part, view),
            (Some("tool_start"), Some(part)) => self.called(owner, part, view),
            (Some("tool_use"), Some(part)) => self.answered(owner, part, view),
            (Some("step_finish"), Some(part)) => self.step(owner, own, part, view),
            (Some("retry"), _) => {
                self.retries += 1;
                view.notice(&Notice::Retry {
                    attempt: event.attempt.get(),
                    delay_ms: event.delay_ms.get(),
                    error: event.message.get().unwrap_or("error"),
                });
            }
            (Some("error"), _) if own => self.broke(&event.error, view),
            (Some("ended"), _) => self.limited(&event, view),
            _ => {}
        }
    }

    fn passed(&mut self, timestamp: Count) {
        if let Some(now) = timestamp.known() {
            let began = *self.began_ms.get_or_insert(now);
            self.duration = now.saturating_sub(began);
        }
    }

    fn words(&mut self, owner: Owner, own: bool, part: &Part<'_>, view: &mut impl View) {
        let Some(raw) = part.text else { return };
        if own || view.is_watching() {
            let said = event::text_of(raw);
            let agent = owner.map(|_| self.name(owner));
            view.notice(&Notice::Said { agent, text: &said });
            if own {
                self.said = said;
            }
        }
    }

    fn called(&mut self, owner: Owner, part: &Part<'_>, view: &mut impl View) {
        let (Some(id), Some(tool), Some(state)) = (part.call.get(), part.tool.get(), &part.state.0) else {
            return;
        };
        let starts = self.call(owner, id, tool, state.input, tool == SUBAGENT, view);
        let session = state.metadata.0.as_ref().and_then(|metadata| metadata.session.get());
        if let (Some(agent), Some(session)) = (starts, session) {
            self.by_call.insert(session.to_owned(), agent);
        }
    }

    fn answered(&mut self, owner: Owner, part: &Part<'_>, view: &mut impl View) {
        let (Some(id), Some(tool), Some(state)) = (part.call.get(), part.tool.get(), &part.state.0) else {
            return;
        };
        // One that is refused before it begins is told of once.
        if !self.open.contains_key(id) {
            self.called(owner, part, view);
        }
        let Some(call) = self.open.remove(id) else { return };
        let failed = state.status.get() == Some("error");
        let answer = if failed { state.error } else { state.output }.map(event::text_of).unwrap_or_default();
        let server = self.server_of(tool);
        if failed && DENIED.iter().any(|beginning| answer.starts_with(beginning)) {
            // A tool of a server that is not there is no question of permission.
            if server.is_none_or(|(_, connected)| connected) {
                self.deny(tool, owner, view);
            }
        } else if let Some((server, _)) = server {
            self.reached_server(&server, failed.then_some(answer.as_str()), owner);
        }
        match call.starts {
            Some(agent) => self.conclude(id, agent, failed, &answer, view),
            None => view.notice(&Notice::CallEnded {
                id,
                agent: owner.map(|_| self.name(owner)),
                tool,
                failed,
                note: failed.then_some(answer.as_str()),
            }),
        }
    }

    /// The server whose tool this is, and whether it is connected.
    fn server_of(&self, tool: &str) -> Option<(String, bool)> {
        // Of two servers of which one's name begins with the other's, the longer one is meant.
        let of = |server: &&McpServer| {
            tool.strip_prefix(server.name.as_str()).is_some_and(|rest| rest.starts_with('_'))
        };
        let server = self.servers.iter().filter(of).max_by_key(|server| server.name.len())?;
        Some((server.name.clone(), server.status == "connected"))
    }

    fn step(&mut self, owner: Owner, own: bool, part: &Part<'_>, view: &mut impl View) {
        self.cost += part.cost.known().unwrap_or(0.0);
        if let Some(used) = &part.tokens.0 {
            let meter = match owner {
                Some(owner) => &mut self.agents[owner].meter,
                // One that nobody knows of counts with the run.
                None => &mut self.own,
            };
            meter.step(tokens(used), own);
            if view.is_watching() {
                view.notice(&Notice::Tokens { total: self.tokens() });
            }
        }
        if !own {
            return;
        }
        match part.reason.get() {
            Some("tool-calls") => {}
            Some("stop") => self.end(Ended::default(), view),
            other => {
                let reason = other.unwrap_or("unknown");
                let error = format!("the model ended its answer early: {}", text::line(reason, 100));
                self.end(Ended { is_error: true, text: error, ..Ended::default() }, view);
            }
        }
    }

    fn broke(&mut self, error: &Maybe<Error<'_>>, view: &mut impl View) {
        let Some(error) = &error.0 else { return };
        let name = error.name.get().unwrap_or("error");
        let data = error.data.0.as_ref();
        let message = data.and_then(|data| data.message.get()).unwrap_or(name);
        self.api_error = (name == "ProviderAuthError").then(|| "authentication_failed".to_owned());
        let terminal_reason = match name {
            "APIError" => "api_error",
            "MessageAbortedError" => "aborted",
            _ => "",
        };
        let ended = Ended {
            is_error: true,
            api_error_status: data.and_then(|data| data.status.known()),
            terminal_reason: terminal_reason.to_owned(),
            text: text::block(message, RESULT_MAX),
            ..Ended::default()
        };
        self.end(ended, view);
    }

    /// The plugin ended the run: a limit was reached.
    fn limited(&mut self, event: &Event<'_>, view: &mut impl View) {
        let (subtype, said) = match event.reason.get() {
            Some("turns") => {
                ("error_max_turns", format!("Reached maximum number of turns ({})", event.max_turns.get()))
            }
            Some("servers") => {
                let what = event.message.get().unwrap_or("an MCP server");
                ("error_mcp_servers", format!("not connected: {what}"))
            }
            Some("retries") => ("", event.message.get().unwrap_or("the model's API failed").to_owned()),
            Some("budget") => {
                let budget = event.max_budget_usd.known().unwrap_or(0.0);
                ("error_max_budget_usd", format!("Reached maximum budget (${budget})"))
            }
            _ => {
                self.limit_rejected = true;
                let at = event.resets_at.known().and_then(|at| i64::try_from(at).ok());
                self.resets_at = at.and_then(|at| Timestamp::from_millisecond(at).ok());
                view.notice(&Notice::Limit { resets_at: self.resets_at });
                ("", event.message.get().unwrap_or("the usage limit is reached").to_owned())
            }
        };
        let ended = Ended {
            is_error: true,
            subtype: subtype.to_owned(),
            terminal_reason: if subtype.is_empty() { "api_error" } else { "" }.to_owned(),
            text: text::block(&said, RESULT_MAX),
            ..Ended::default()
        };
        self.end(ended, view);
    }

    fn end(&mut self, ended: Ended, view: &mut impl View) {
        // What follows a failure is its echo.
        if self.ended.as_ref().is_some_and(|ended| ended.is_error) {
            return;
        }
        let ended = if ended.is_error {
            ended
        } else {
            Ended {
                verdict: verdict::in_text(&self.said),
                text: text::block(&self.said, RESULT_MAX),
                ..ended
            }
        };
        let stage =
            if ended.subtype == "error_mcp_servers" { Stage::new(Stage::MCP_START) } else { self.stage() };
        let ended = Ended { stage: stage.as_str().to_owned(), ..ended };
        view.notice(&Notice::Result {
            failed: ended.is_error,
            text: &ended.text,
            cost_usd: self.cost,
            turns: self.own.messages,
            tokens: self.tokens(),
        });
        self.ended = Some(ended);
    }
}

impl Meter {
    /// Counts a step, which is told of once.
    fn step(&mut self, used: Tokens, is_turn: bool) {
        self.before = add(self.before, used);
        self.messages += u64::from(is_turn);
    }
}

fn tokens(used: &Used) -> Tokens {
    let cached = |of: fn(&Cache) -> Count| used.cache.0.as_ref().map_or(0, |cache| of(cache).get());
    Tokens {
        input: used.input.get(),
        // What the model thinks is paid for as what it says.
        output: used.output.get().saturating_add(used.reasoning.get()),
        cache_read: cached(|cache| cache.read),
        cache_write: cached(|cache| cache.write),
    }
}
