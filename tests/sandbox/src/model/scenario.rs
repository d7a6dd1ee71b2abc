//! What the model says: a script for every agent, as JSON or built in Rust.
//!
//! ```json
//! {
//!   "agents": [
//!     { "name": "publisher", "turns": [
//!       { "text": "First the draft.", "calls": [
//!         { "tool": "Agent", "input": { "subagent_type": "writer", "description": "Write the post", "prompt": "{{prompt}}" } } ] },
//!       { "expect": "content/posts/{{slug}}\\.md", "text": "The post is written.\n\nVERDICT: PASS" } ] },
//!     { "name": "writer", "turns": [
//!       { "calls": [ { "tool": "Write", "input": { "file_path": "content/posts/{{slug}}.md", "content": "# {{title}}\n" } } ] },
//!       { "fail": [ { "times": 2, "how": "overloaded" } ], "text": "Written to content/posts/{{slug}}.md." } ] }
//!   ]
//! }
//! ```

use super::template;
use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// What every agent says, in all its turns.
///
/// Texts, inputs of calls and `expect` may hold `{{name}}`: `prompt` (what the user asked the main agent), `title` (its
/// first line), `slug` (that as a file name), `task` (what the agent itself was asked), `today` (the date in UTC), and
/// whatever a turn has captured. `{{name|quoted}}` is a JSON and YAML string with its quotes, `{{name|shell}}` one word of a shell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// What the scenario shows.
    #[serde(default)]
    pub description: String,
    /// The prompt that the texts were written for; any other works too.
    #[serde(default)]
    pub topic: String,
    /// The agents. Where several have the same marker, the first one plays the first conversation, and so on; the last
    /// one plays all further conversations.
    pub agents: Vec<Agent>,
}

/// One agent's script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agent {
    /// Its name, for reports.
    pub name: String,
    /// What its system prompt contains and no other agent's does [default: `You are the NAME of this blog.`].
    #[serde(default)]
    pub marker: Option<String>,
    /// What it says: the turn with as many turns before it as the conversation has assistant messages.
    pub turns: Vec<Turn>,
}

/// One message of the model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Turn {
    /// A regular expression that the results of the turn before must match; in a first turn, the agent's task.
    #[serde(default)]
    pub expect: Option<String>,
    /// A regular expression for the same text, whose named groups become variables for every agent from here on.
    #[serde(default)]
    pub capture: Option<String>,
    /// What it says.
    #[serde(default)]
    pub text: Option<String>,
    /// The tools that it calls, all at once.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// Tokens; an estimate from the texts' lengths where it is absent.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// Seconds until it begins to answer.
    #[serde(default, with = "seconds")]
    pub delay: Duration,
    /// Why it ends [default: `tool_use` with calls, else `end_turn`].
    #[serde(default)]
    pub stop_reason: Option<String>,
    /// How the first requests for this turn fail, one entry after the other; those after them are answered.
    #[serde(default)]
    pub fail: Vec<Failure>,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The tool, as `Bash` or `mcp__playwright__browser_snapshot`.
    pub tool: String,
    /// Its input, an object.
    pub input: Value,
}

/// What a turn costs, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Usage {
    /// Read, and not from the cache.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// Read from the cache.
    pub cache_read: u64,
    /// Put into the cache.
    pub cache_creation: u64,
}

/// A failure, and how often it happens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// How many requests it befalls.
    #[serde(default = "once")]
    pub times: usize,
    /// What happens.
    pub how: Failing,
}

fn once() -> usize {
    1
}

/// How a request for a turn fails.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Failing {
    /// An error in the API's shape; type and message follow from the code unless given.
    Status {
        /// The status code.
        code: u16,
        /// The error's type, as `api_error`.
        #[serde(default)]
        kind: Option<String>,
        /// Its message.
        #[serde(default)]
        message: Option<String>,
        /// Further headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// 529 `overloaded_error`, which clients try again.
    Overloaded,
    /// The stream begins, and then says `overloaded_error`.
    OverloadedInStream,
    /// The subscription's limit: 429 with the headers that tell when it resets. The agent CLI does not try again.
    UsageLimit {
        /// Seconds until it resets.
        #[serde(default = "five_hours")]
        resets_in: u32,
        /// Which limit: `five_hour`, `seven_day`, `seven_day_opus`.
        #[serde(default = "five_hour")]
        claim: String,
    },
    /// The connection closes after so many bytes of the answer's body; 0: before any answer.
    CutAfter(usize),
    /// Nothing happens for so many seconds; then the answer comes after all.
    Hang(#[serde(with = "seconds")] Duration),
    /// The stream holds an event that is no JSON.
    Malformed,
}

fn five_hours() -> u32 {
    5 * 60 * 60
}

fn five_hour() -> String {
    "five_hour".to_owned()
}

/// A time span as a number of seconds.
mod seconds {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(span.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl Scenario {
    /// A post is researched, written, reviewed, looked at in the browser, audited, and approved.
    #[must_use]
    pub fn publish() -> Self {
        built_in(include_str!("../../scenarios/publish.json"))
    }

    /// The writer's page lacks what it should show; the browser finds it, and QA and the publisher fail the run.
    #[must_use]
    pub fn qa_fails() -> Self {
        built_in(include_str!("../../scenarios/qa-fails.json"))
    }

    /// The publisher finds that nothing is to be done, and changes no file.
    #[must_use]
    pub fn no_change() -> Self {
        built_in(include_str!("../../scenarios/no-change.json"))
    }

    /// The publisher writes one file and is done.
    #[must_use]
    pub fn one_edit() -> Self {
        built_in(include_str!("../../scenarios/one-edit.json"))
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// No JSON, an unknown field, or a mistake that [`Self::check`] finds.
    pub fn from_json(text: &str) -> anyhow::Result<Self> {
        let scenario: Self = serde_json::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// [`Self::from_json`] of a file.
    ///
    /// # Errors
    /// The file cannot be read, or is no scenario.
    pub fn from_file(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        Self::from_json(&text).with_context(|| format!("{} is no scenario", file.display()))
    }

    /// Looks for mistakes that would show only in the middle of a run.
    ///
    /// # Errors
    /// Names the agent, the turn and the mistake: an agent without turns, a turn that says nothing or ends the
    /// conversation before its last turn, an input that is no object, a regular expression that is none, a `{{name}}`
    /// that nothing captures.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.agents.is_empty(), "the scenario has no agents");
        let mut known: BTreeSet<String> = template::BUILT_IN.iter().map(|&name| name.to_owned()).collect();
        for turn in self.agents.iter().flat_map(|agent| &agent.turns) {
            if let Some(pattern) = &turn.capture {
                let groups = template::pattern(pattern, |_| Some(String::new()))?;
                known.extend(groups.capture_names().flatten().map(str::to_owned));
            }
        }
        for agent in &self.agents {
            ensure!(!agent.turns.is_empty(), "agent {} has no turns", agent.name);
            ensure!(!agent.marker().trim().is_empty(), "agent {} has an empty marker", agent.name);
            for (index, turn) in agent.turns.iter().enumerate() {
                let last = index + 1 == agent.turns.len();
                turn.check(last, &known)
                    .with_context(|| format!("agent {}, turn {}", agent.name, index + 1))?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::expect_used, reason = "a test of this crate reads each of them")]
fn built_in(text: &str) -> Scenario {
    Scenario::from_json(text).expect("a scenario of the sandbox's own is right")
}

impl Agent {
    /// An agent with the marker of its name, which says nothing so far.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds a turn.
    #[must_use]
    pub fn turn(mut self, turn: Turn) -> Self {
        self.turns.push(turn);
        self
    }

    /// What its system prompt contains.
    #[must_use]
    pub fn marker(&self) -> String {
        self.marker.clone().unwrap_or_else(|| format!("You are the {} of this blog.", self.name))
    }
}

impl Turn {
    /// A turn that says `text` and calls nothing: the end of a conversation.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { text: Some(text.to_owned()), ..Self::default() }
    }

    /// A turn that calls `tool`.
    #[must_use]
    pub fn call(tool: &str, input: Value) -> Self {
        Self::default().and_call(tool, input)
    }

    /// Calls `tool` in the same turn too.
    #[must_use]
    pub fn and_call(mut self, tool: &str, input: Value) -> Self {
        self.calls.push(Call { tool: tool.to_owned(), input });
        self
    }

    /// What the results of the turn before must match.
    #[must_use]
    pub fn expect(mut self, pattern: &str) -> Self {
        self.expect = Some(pattern.to_owned());
        self
    }

    /// What to take from the results of the turn before.
    #[must_use]
    pub fn capture(mut self, pattern: &str) -> Self {
        self.capture = Some(pattern.to_owned());
        self
    }

    /// How its first requests fail, after those that fail already.
    #[must_use]
    pub fn fail(mut self, times: usize, how: Failing) -> Self {
        self.fail.push(Failure { times, how });
        self
    }

    /// Why it ends.
    #[must_use]
    pub fn stop_reason(&self) -> &str {
        let default = if self.calls.is_empty() { "end_turn" } else { "tool_use" };
        self.stop_reason.as_deref().unwrap_or(default)
    }

    /// How the request fails that `failed` others for this turn went before.
    pub(super) fn failing(&self, failed: usize) -> Option<&Failing> {
        self.fail.iter().flat_map(|failure| std::iter::repeat_n(&failure.how, failure.times)).nth(failed)
    }

    fn check(&self, last: bool, known: &BTreeSet<String>) -> anyhow::Result<()> {
        ensure!(self.text.is_some() || !self.calls.is_empty(), "it says nothing and calls nothing");
        ensure!(last || !self.calls.is_empty(), "it calls nothing, so the turns after it never come");
        let mut texts: Vec<&str> = self.text.iter().chain(&self.expect).map(String::as_str).collect();
        for call in &self.calls {
            ensure!(call.input.is_object(), "the input of {} is no object", call.tool);
            collect(&call.input, &mut texts);
        }
        for name in texts.iter().flat_map(|text| template::names(text)) {
            if !known.contains(name) {
                bail!("nothing captures {{{{{name}}}}}");
            }
        }
        for pattern in self.expect.iter().chain(&self.capture) {
            template::pattern(pattern, |_| Some(String::new()))?;
        }
        Ok(())
    }
}

/// All strings in a JSON value.
fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_of_the_sandbox_are_right() {
        for scenario in
            [Scenario::publish(), Scenario::qa_fails(), Scenario::no_change(), Scenario::one_edit()]
        {
            assert!(!scenario.description.is_empty());
            assert!(!scenario.topic.is_empty());
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (turns, mistake) in [
            (r#"[]"#, "agent qa has no turns"),
            (r#"[{}]"#, "agent qa, turn 1: it says nothing and calls nothing"),
            (
                r#"[{"text":"a"},{"text":"b"}]"#,
                "agent qa, turn 1: it calls nothing, so the turns after it never come",
            ),
            (
                r#"[{"calls":[{"tool":"Bash","input":"ls"}]}]"#,
                "agent qa, turn 1: the input of Bash is no object",
            ),
            (
                r#"[{"calls":[{"tool":"Bash","input":{"command":["{{url}}"]}}]}]"#,
                "agent qa, turn 1: nothing captures {{url}}",
            ),
            (r#"[{"text":"a","txt":"b"}]"#, "unknown field `txt`"),
            (r#"[{"text":"a","expect":"("}]"#, "unclosed group"),
        ] {
            let text = format!(r#"{{"agents":[{{"name":"qa","turns":{turns}}}]}}"#);
            let error = format!("{:#}", Scenario::from_json(&text).unwrap_err());
            assert!(error.contains(mistake), "{error}");
        }
    }

    #[test]
    fn failures_come_in_order_and_end() {
        let turn = Turn::text("a").fail(2, Failing::Overloaded).fail(1, Failing::Malformed);
        let failing: Vec<_> = (0..4).map(|failed| turn.failing(failed)).collect();
        assert_eq!(
            failing,
            [Some(&Failing::Overloaded), Some(&Failing::Overloaded), Some(&Failing::Malformed), None]
        );
    }
}
