//! What the events say of a run, kept in bounded memory.

mod opencode;

use crate::event::{self, Event, Head, Input, List, Maybe, ModelUsage, Server, Usage};
use crate::notice::{Notice, View};
use crate::text;
use crate::verdict;
use agent_task::record::{McpServer, Subagent, Tokens, Verdict};
use agent_task::{AgentReport, Outcome, Stage};
use jiff::Timestamp;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap, HashSet};

/// So many open or failed calls are remembered; a run has a handful.
const CALLS_MAX: usize = 4096;

/// So many subagents, denials and servers stand in a report.
const LISTED_MAX: usize = 256;

/// So many bytes of the agent's last words stand in a report.
const RESULT_MAX: usize = 4096;

/// A result event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended {
    pub(crate) is_error: bool,
    pub(crate) subtype: String,
    pub(crate) api_error_status: Option<u64>,
    pub(crate) terminal_reason: String,
    /// The result's text, or the list of errors; shortened.
    pub(crate) text: String,
    pub(crate) verdict: Option<Verdict>,
    /// Where it was when this event came.
    pub(crate) stage: String,
}

/// Who makes calls: a subagent by its place in the list, or the agent itself.
type Owner = Option<usize>;

#[derive(Debug)]
struct Call {
    tool: String,
    owner: Owner,
    /// The subagent that this call started.
    starts: Owner,
}

#[derive(Debug)]
struct Agent {
    report: Subagent,
    /// Its call has no result.
    open: bool,
    meter: Meter,
}

/// Counts the tokens of one agent. The events of one message repeat its usage, which grows from one to the next.
#[derive(Debug, Default)]
struct Meter {
    message: String,
    before: Tokens,
    current: Tokens,
    messages: u64,
}

impl Meter {
    fn take(&mut self, message: &str, usage: Usage) {
        if self.message != message {
            self.before = add(self.before, self.current);
            message.clone_into(&mut self.message);
            self.messages += 1;
        }
        self.current = tokens(usage);
    }

    fn total(&self) -> Tokens {
        add(self.before, self.current)
    }
}

/// Watches the events of a run. Feed it every line, then ask for the [report](Observer::finish).
#[derive(Debug, Default)]
pub struct Observer {
    pub(crate) events: u64,
    pub(crate) malformed: u64,
    pub(crate) oversized: u64,
    session: Option<String>,
    model: Option<String>,
    cost: f64,
    duration: u64,
    /// When the first event came, in milliseconds since 1970; of CLIs that do not tell how long they took.
    began_ms: Option<u64>,
    /// What the agent itself said last, of CLIs that do not repeat it at the end.
    said: String,
    /// Of all results: the agent is asked again when a subagent in the background has ended.
    turns: Option<u64>,
    counted: Option<Tokens>,
    own: Meter,
    calls: u64,
    retries: u64,
    /// The cause that the API's last failure was told with, as `authentication_failed`.
    pub(crate) api_error: Option<String>,
    /// A report among the lines: this is a transcript that was written before.
    recorded: Option<AgentReport>,
    open: HashMap<String, Call>,
    /// Who made the calls that failed: a denial is told of later.
    failed: HashMap<String, Owner>,
    agents: Vec<Agent>,
    by_call: HashMap<String, usize>,
    /// Who sent the last event.
    last: Owner,
    pub(crate) denials: Vec<String>,
    pub(crate) denied_stage: Option<String>,
    pub(crate) servers: Vec<McpServer>,
    /// The MCP servers whose last call found nobody: name, and who called.
    pub(crate) lost: BTreeMap<String, String>,
    pub(crate) limit_rejected: bool,
    resets_at: Option<Timestamp>,
    pub(crate) ended: Option<Ended>,
}

impl Observer {
    /// Nothing was seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a line, which has been redacted. `false` if it is no event.
    pub fn line(&mut self, line: &str, view: &mut impl View) -> bool {
        let mut mended = None;
        let event = match event::read(line) {
            Ok(event) => event,
            Err(event::NoEvent) => {
                let whole = mended.insert(event::with_whole_characters(line));
                let Ok(event) = event::read(whole) else {
                    self.malformed += 1;
                    view.notice(&Notice::Malformed { line });
                    return false;
                };
                event
            }
        };
        self.events += 1;
        match event.kind.get() {
            Some("assistant") => self.assistant(&event, view),
            Some("user") => self.user(&event, view),
            Some("system") => self.system(&event, view),
            Some("rate_limit_event") => self.rate_limit(&event, view),
            Some("result") => self.result(&event, view),
            Some(kind) if opencode::has(kind) => self.opencode(mended.as_deref().unwrap_or(line), view),
            None => self.record(line),
            Some(_) => {}
        }
        true
    }

    /// Takes the beginning of an event that is too long to be read.
    pub fn oversized(&mut self, head: &[u8], view: &mut impl View) {
        self.events += 1;
        self.oversized += 1;
        let Head { kind, subtype, is_error, num_turns, duration_ms } = event::read_head(head);
        view.notice(&Notice::Oversized { kind: kind.as_deref().unwrap_or("unknown") });
        if kind.as_deref() == Some("result") {
            self.turns = Some(num_turns);
            self.duration = duration_ms;
            self.ended = Some(Ended {
                is_error,
                subtype: subtype.unwrap_or_default(),
                stage: self.stage().as_str().to_owned(),
                ..Ended::default()
            });
        }
    }

    /// The report that stands among the lines, if this is a transcript that was written before; a run record's counts.
    #[must_use]
    pub fn recorded(&self) -> Option<&AgentReport> {
        self.recorded.as_ref()
    }

    /// No line has come, not even one that is no event.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.events == 0 && self.malformed == 0
    }

    fn record(&mut self, line: &str) {
        #[derive(serde::Deserialize)]
        struct Record {
            report: AgentReport,
        }
        let report = serde_json::from_str::<AgentReport>(line)
            .or_else(|_| serde_json::from_str::<Record>(line).map(|record| record.report));
        if let Ok(report) = report {
            self.recorded = Some(report);
        }
    }

    /// Tokens so far.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        self.counted.unwrap_or_else(|| {
            self.agents.iter().fold(self.own.total(), |sum, agent| add(sum, agent.meter.total()))
        })
    }

    /// Where the run is: the subagent that is at work, or the agent. Of several at work it is the one heard last.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let heard = self.last.filter(|agent| self.agents.get(*agent).is_some_and(|agent| agent.open));
        let at_work = heard.or_else(|| self.agents.iter().rposition(|agent| agent.open));
        Stage::new(self.name(at_work))
    }

    /// The report as far as the events tell; its outcome is not decided.
    pub(crate) fn report(self) -> AgentReport {
        let tokens = self.tokens();
        AgentReport {
            kind: agent_task::record::ReportKind::AgentReport,
            outcome: Outcome::Success,
            stage: None,
            error: None,
            session: self.session,
            model: self.model,
            turns: self.turns.unwrap_or(self.own.messages),
            cost_usd: self.cost,
            duration_ms: self.duration,
            tokens,
            tool_calls: self.calls,
            api_retries: self.retries,
            subagents: self
                .agents
                .into_iter()
                .map(|agent| Subagent { failed: agent.report.failed || agent.open, ..agent.report })
                .collect(),
            denials: self.denials,
            mcp_servers: self.servers,
            resets_at: self.resets_at.filter(|_| self.limit_rejected),
            result: self.ended.map(|ended| ended.text).filter(|text| !text.is_empty()),
            malformed_lines: self.malformed,
        }
    }

    /// The subagents' last verdicts, by type. A call that ended without one takes none back.
    pub(crate) fn rejection(&self) -> Option<(&str, Option<&str>)> {
        let mut judges = HashSet::new();
        self.agents.iter().rev().find_map(|agent| {
            let verdict = agent.report.verdict.as_ref()?;
            let last = judges.insert(&agent.report.agent_type);
            (last && !verdict.pass).then_some((agent.report.agent_type.as_str(), verdict.reason.as_deref()))
        })
    }

    fn name(&self, owner: Owner) -> &str {
        owner.and_then(|owner| self.agents.get(owner)).map_or(Stage::AGENT, |agent| &agent.report.agent_type)
    }

    fn owner(&self, event: &Event<'_>) -> Owner {
        event.parent_tool_use_id.get().and_then(|call| self.by_call.get(call).copied())
    }

    fn assistant(&mut self, event: &Event<'_>, view: &mut impl View) {
        let owner = self.owner(event);
        self.last = owner;
        // The CLI puts a failure of the API into an agent's mouth; a real answer means that it works again.
        self.api_error = event.error.get().map(|error| text::line(error, 200));
        let Some(message) = &event.message.0 else { return };
        if let (Some(id), Some(usage)) = (message.id.get(), message.usage.0) {
            let meter = match owner {
                Some(owner) => &mut self.agents[owner].meter,
                None => &mut self.own,
            };
            meter.take(id, usage);
            if view.is_watching() {
                view.notice(&Notice::Tokens { total: self.tokens() });
            }
        }
        for block in message.content.objects() {
            match block.kind.get() {
                Some("tool_use") => {
                    if let (Some(id), Some(tool)) = (block.id.get(), block.name.get()) {
                        self.call(owner, id, tool, block.input, is_subagent(tool), view);
                    }
                }
                Some("text") if view.is_watching() => {
                    if let Some(raw) = block.text {
                        let agent = owner.map(|_| self.name(owner));
                        view.notice(&Notice::Said { agent, text: &event::text_of(raw) });
                    }
                }
                _ => {}
            }
        }
    }

    /// Notes a call, and announces it; the subagent that it starts.
    fn call(
        &mut self,
        owner: Owner,
        id: &str,
        tool: &str,
        input: Option<&RawValue>,
        is_subagent: bool,
        view: &mut impl View,
    ) -> Owner {
        self.calls += 1;
        if let Some(owner) = owner {
            self.agents[owner].report.tool_calls += 1;
        }
        let starts = is_subagent.then(|| self.begin(id, input)).flatten();
        if let Some(agent) = starts {
            let report = &self.agents[agent].report;
            view.notice(&Notice::SubagentStarted {
                id,
                agent: &report.agent_type,
                description: report.description.as_deref(),
                by: owner.map(|_| self.name(owner)),
            });
        } else if view.is_watching() {
            let argument = input.map(essential).unwrap_or_default();
            let agent = owner.map(|_| self.name(owner));
            view.notice(&Notice::Call { id, agent, tool, argument: &argument });
        }
        if self.open.len() < CALLS_MAX {
            self.open.insert(id.to_owned(), Call { tool: tool.to_owned(), owner, starts });
        }
        starts
    }

    /// Notes a subagent that call `id` starts.
    fn begin(&mut self, id: &str, input: Option<&RawValue>) -> Owner {
        if self.agents.len() >= LISTED_MAX || self.by_call.contains_key(id) {
            return None;
        }
        let input: Input<'_> = input.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let agent_type = input.subagent_type.get().unwrap_or("general-purpose");
        self.by_call.insert(id.to_owned(), self.agents.len());
        self.agents.push(Agent {
            report: Subagent {
                agent_type: text::line(agent_type, 100),
                description: input.description.get().map(|text| text::line(text, 200)),
                tool_calls: 0,
                failed: false,
                verdict: None,
            },
            open: true,
            meter: Meter::default(),
        });
        Some(self.agents.len() - 1)
    }

    fn user(&mut self, event: &Event<'_>, view: &mut impl View) {
        self.last = self.owner(event);
        let Some(message) = &event.message.0 else { return };
        for block in message.content.objects() {
            if block.kind.get() != Some("tool_result") {
                continue;
            }
            let Some(id) = block.tool_use_id.get() else { continue };
            let failed = block.is_error.0;
            let Some(call) = self.open.remove(id) else { continue };
            self.reached(&call, block.content.filter(|_| failed));
            if failed && self.failed.len() < CALLS_MAX {
                self.failed.insert(id.to_owned(), call.owner);
            }
            let status = event.tool_use_result.0.as_ref().and_then(|result| result.status.get());
            match call.starts {
                // It answers later, in a `task_notification`.
                Some(_) if status == Some("async_launched") => {}
                Some(agent) => {
                    let answer = block.content.map(event::text_of).unwrap_or_default();
                    self.conclude(id, agent, failed, &answer, view);
                }
                None if view.is_watching() => {
                    let note = failed.then(|| block.content.map(event::text_of)).flatten();
                    let agent = call.owner.map(|_| self.name(call.owner));
                    view.notice(&Notice::CallEnded {
                        id,
                        agent,
                        tool: &call.tool,
                        failed,
                        note: note.as_deref(),
                    });
                }
                None => {}
            }
        }
    }

    /// Notes whether the server of a call is there still. The CLI starts it again for a call that finds it gone, and one
    /// that answers then is no loss.
    fn reached(&mut self, call: &Call, failure: Option<&RawValue>) {
        let Some((server, _)) = call.tool.strip_prefix("mcp__").and_then(|name| name.split_once("__")) else {
            return;
        };
        let failure = failure.map(event::text_of);
        self.reached_server(server, failure.as_deref(), call.owner);
    }

    fn reached_server(&mut self, server: &str, failure: Option<&str>, by: Owner) {
        // The CLI's own words and nothing else: a tool's error may well hold them.
        let gone = failure.is_some_and(|text| {
            matches!(
                text.trim(),
                "Connection closed" | "MCP error -32000: Connection closed" | "Not connected"
            )
        });
        if !gone {
            self.lost.remove(server);
        } else if self.lost.len() < LISTED_MAX {
            let by = self.name(by).to_owned();
            self.lost.insert(text::line(server, 100), by);
        }
    }

    fn conclude(&mut self, id: &str, agent: usize, failed: bool, answer: &str, view: &mut impl View) {
        let Some(state) = self.agents.get_mut(agent) else { return };
        state.open = false;
        state.report.failed = failed;
        state.report.verdict = verdict::in_text(answer);
        view.notice(&Notice::SubagentEnded {
            id,
            agent: &state.report.agent_type,
            failed,
            verdict: state.report.verdict.as_ref(),
            tool_calls: state.report.tool_calls,
        });
    }

    fn system(&mut self, event: &Event<'_>, view: &mut impl View) {
        match event.subtype.get() {
            Some("init") => self.init(event, view),
            Some("api_retry") => {
                self.retries += 1;
                self.api_error = event.error.get().map(|error| text::line(error, 200));
                view.notice(&Notice::Retry {
                    attempt: event.attempt.get(),
                    delay_ms: event.retry_delay_ms.get(),
                    error: event.error.get().unwrap_or("error"),
                });
            }
            Some("task_notification") => {
                let Some(id) = event.tool_use_id.get() else { return };
                let Some(agent) = self.by_call.get(id).copied() else { return };
                // While its call is open, the call's result will tell more.
                if self.agents[agent].open && !self.open.contains_key(id) {
                    let failed = event.status.get() != Some("completed");
                    self.conclude(id, agent, failed, event.summary.get().unwrap_or_default(), view);
                }
            }
            Some("permission_denied") => {
                let owner = self.owner_of_denied(event.tool_use_id.get()).or_else(|| self.owner(event));
                self.deny(event.tool_name.get().unwrap_or("unknown"), owner, view);
            }
            _ => {}
        }
    }

    fn init(&mut self, event: &Event<'_>, view: &mut impl View) {
        if let Some(session) = event.session_id.get() {
            self.session = Some(text::line(session, 100));
        }
        self.connected(event.model.get(), &event.mcp_servers, view);
    }

    /// Notes the model, and the servers as they are now; announces both.
    fn connected(&mut self, model: Option<&str>, servers: &List<Maybe<Server<'_>>>, view: &mut impl View) {
        if let Some(model) = model {
            self.model.get_or_insert_with(|| text::line(model, 100));
        }
        self.servers = servers
            .objects()
            .take(LISTED_MAX)
            .map(|server| McpServer {
                name: text::line(server.name.get().unwrap_or_default(), 100),
                status: text::line(server.status.get().unwrap_or("unknown"), 100),
            })
            .collect();
        view.notice(&Notice::Session { model: model.unwrap_or("unknown"), servers: &self.servers });
    }

    fn owner_of_denied(&self, call: Option<&str>) -> Owner {
        let call = call?;
        self.open.get(call).map(|call| call.owner).or_else(|| self.failed.get(call).copied()).flatten()
    }

    fn deny(&mut self, tool: &str, owner: Owner, view: &mut impl View) {
        let tool = text::line(tool, 100);
        if self.denied_stage.is_none() {
            self.denied_stage = Some(self.name(owner).to_owned());
        }
        if !self.denials.contains(&tool) && self.denials.len() < LISTED_MAX {
            view.notice(&Notice::Denied { tool: &tool });
            self.denials.push(tool);
        }
    }

    fn rate_limit(&mut self, event: &Event<'_>, view: &mut impl View) {
        let Some(info) = &event.rate_limit_info.0 else { return };
        let rejected = info.status.get() == Some("rejected");
        // One that was allowed again afterwards ended nothing.
        self.limit_rejected = rejected;
        let seconds = info.resets_at.known().and_then(|seconds| i64::try_from(seconds).ok());
        self.resets_at = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        if rejected {
            view.notice(&Notice::Limit { resets_at: self.resets_at });
        }
    }

    fn result(&mut self, event: &Event<'_>, view: &mut impl View) {
        let errors: Vec<&str> = event.errors.0.iter().filter_map(event::Text::get).collect();
        let said = match event.result.get() {
            Some(result) => text::block(result, RESULT_MAX),
            None => text::block(&errors.join("; "), RESULT_MAX),
        };
        if let Some(cost) = event.total_cost_usd.known() {
            self.cost = cost;
        }
        if let Some(turns) = event.num_turns.known() {
            self.turns = Some(self.turns.unwrap_or(0).saturating_add(turns));
        }
        self.duration = self.duration.saturating_add(event.duration_ms.get());
        if let Some(counted) = event.model_usage.and_then(total).or_else(|| event.usage.0.map(tokens)) {
            self.counted = Some(counted);
        }
        for denial in event.permission_denials.objects() {
            let owner = self.owner_of_denied(denial.tool_use_id.get());
            self.deny(denial.tool_name.get().unwrap_or("unknown"), owner, view);
        }
        let ended = Ended {
            is_error: event.is_error.0,
            subtype: event.subtype.get().unwrap_or_default().to_owned(),
            api_error_status: event.api_error_status.known(),
            terminal_reason: event.terminal_reason.get().unwrap_or_default().to_owned(),
            verdict: event.result.get().and_then(verdict::in_text),
            text: said,
            stage: self.stage().as_str().to_owned(),
        };
        view.notice(&Notice::Result {
            failed: ended.is_error,
            text: &ended.text,
            cost_usd: self.cost,
            turns: self.turns.unwrap_or(0),
            tokens: self.tokens(),
        });
        self.ended = Some(ended);
    }
}

/// `Task` is what earlier versions of the CLI call it.
fn is_subagent(tool: &str) -> bool {
    matches!(tool, "Agent" | "Task")
}

fn tokens(usage: Usage) -> Tokens {
    Tokens {
        input: usage.input_tokens.get(),
        output: usage.output_tokens.get(),
        cache_read: usage.cache_read_input_tokens.get(),
        cache_write: usage.cache_creation_input_tokens.get(),
    }
}

fn add(a: Tokens, b: Tokens) -> Tokens {
    Tokens {
        input: a.input.saturating_add(b.input),
        output: a.output.saturating_add(b.output),
        cache_read: a.cache_read.saturating_add(b.cache_read),
        cache_write: a.cache_write.saturating_add(b.cache_write),
    }
}

/// The sum over all models.
fn total(raw: &RawValue) -> Option<Tokens> {
    let models: HashMap<String, event::Maybe<ModelUsage>> = serde_json::from_str(raw.get()).ok()?;
    let sums = models.into_values().filter_map(|model| model.0).map(|model| Tokens {
        input: model.input_tokens.get(),
        output: model.output_tokens.get(),
        cache_read: model.cache_read_input_tokens.get(),
        cache_write: model.cache_creation_input_tokens.get(),
    });
    sums.reduce(add)
}

/// What a call is about, in a line.
fn essential(raw: &RawValue) -> String {
    let Ok(input) = serde_json::from_str::<Input<'_>>(raw.get()) else { return String::new() };
    let told = [
        &input.command,
        &input.file_path,
        &input.notebook_path,
        &input.url,
        &input.pattern,
        &input.query,
        &input.path,
        &input.filename,
        &input.element,
        &input.skill,
        &input.text,
        &input.function,
        &input.description,
        &input.prompt,
    ];
    told.into_iter().find_map(event::Text::get).map(|argument| text::line(argument, 400)).unwrap_or_default()
}
