//! What a person who watches a run is told.

use agent_task::record::{McpServer, Tokens, Verdict};
use jiff::Timestamp;

/// Something worth showing. Its texts are the agent's: whoever shows them cleans them, with [`crate::text`].
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it")]
pub enum Notice<'a> {
    /// A session began.
    Session { model: &'a str, servers: &'a [McpServer] },
    /// A tool is called, by a subagent or by the agent.
    Call { id: &'a str, agent: Option<&'a str>, tool: &'a str, argument: &'a str },
    /// A tool's call ended; if it failed, with what it said.
    CallEnded { id: &'a str, agent: Option<&'a str>, tool: &'a str, failed: bool, note: Option<&'a str> },
    /// A subagent is called.
    SubagentStarted { id: &'a str, agent: &'a str, description: Option<&'a str>, by: Option<&'a str> },
    /// A subagent answered.
    SubagentEnded { id: &'a str, agent: &'a str, failed: bool, verdict: Option<&'a Verdict>, tool_calls: u64 },
    /// An agent said something.
    Said { agent: Option<&'a str>, text: &'a str },
    /// The tokens so far.
    Tokens { total: Tokens },
    /// The model's API failed, and is asked again.
    Retry { attempt: u64, delay_ms: u64, error: &'a str },
    /// A tool was denied; told once a tool.
    Denied { tool: &'a str },
    /// The usage limit is reached.
    Limit { resets_at: Option<Timestamp> },
    /// A line is no event, and was left out.
    Malformed { line: &'a str },
    /// An event is too long to be read, and was passed on.
    Oversized { kind: &'a str },
    /// The run's result.
    Result { failed: bool, text: &'a str, cost_usd: f64, turns: u64, tokens: Tokens },
}

/// Who watches.
pub trait View {
    /// Shows it.
    fn notice(&mut self, notice: &Notice<'_>);

    /// Whether anybody does. If not, what costs something to tell is not told.
    fn is_watching(&self) -> bool {
        true
    }
}

/// Nobody.
impl View for () {
    fn notice(&mut self, _: &Notice<'_>) {}

    fn is_watching(&self) -> bool {
        false
    }
}

impl<V: View + ?Sized> View for Box<V> {
    fn notice(&mut self, notice: &Notice<'_>) {
        (**self).notice(notice);
    }

    fn is_watching(&self) -> bool {
        (**self).is_watching()
    }
}
