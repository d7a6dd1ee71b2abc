//! A message as Discord takes it.
//!
//! The [text](crate::text) is always the message's content: who has turned link previews off sees no embed at all, and
//! a notification on a phone shows the content. The embed beside it has the figures and the colour. Beside an embed Discord
//! adds its own preview of the text's link, if it may see the page; without an embed (`--plain`) it is told not to.

use crate::markup::{escape, is_link};
use crate::text::{Ending, For, text};
use agent_task::record::Subagent;
use agent_task::{AgentReport, RunRecord, names};
use message_text::figures::{count, dollars, time};
use message_text::{fit, one_line, shorten_middle};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::time::Duration;

/// `SUPPRESS_EMBEDS`: Discord makes no preview of a link. It hides the message's own embeds as well, so that a message
/// has either this or an embed.
pub const SUPPRESS_EMBEDS: u32 = 1 << 2;

/// The body of a call that makes or edits a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The text; at most 2000 UTF-16 units.
    pub content: String,
    /// No embed, or the one with the figures.
    pub embeds: Vec<Embed>,
    /// Nobody is pinged, whatever the text says.
    pub allowed_mentions: AllowedMentions,
    /// [`SUPPRESS_EMBEDS`] for a message without an embed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<u32>,
}

impl Message {
    /// A message that is about no run: this text, nobody pinged, no preview of a link.
    #[must_use]
    pub fn of_text(content: impl Into<String>) -> Self {
        let (embeds, allowed_mentions) = (Vec::new(), AllowedMentions::default());
        Self { content: content.into(), embeds, allowed_mentions, flags: Some(SUPPRESS_EMBEDS) }
    }
}

/// Which mentions in the text act.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AllowedMentions {
    /// Kinds of mentions: none.
    pub parse: [&'static str; 0],
}

/// An embed. All its texts together have at most 6000 UTF-16 units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Embed {
    /// At most 256 units.
    pub title: String,
    /// Where the title leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What to do; at most 4096 units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'static str>,
    /// The bar at its left, as 0xRRGGBB.
    pub color: u32,
    /// At most 25.
    pub fields: Vec<Field>,
    /// ISO 8601.
    pub timestamp: String,
    /// Its last line.
    pub footer: Footer,
}

/// A figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// At most 256 units.
    pub name: &'static str,
    /// At most 1024 units.
    pub value: String,
    /// Whether the next one may stand beside it.
    pub inline: bool,
}

/// An embed's last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Footer {
    /// At most 2048 units.
    pub text: String,
}

const GREEN: u32 = 0x2e_a0_43;
const RED: u32 = 0xd1_24_2f;
const GREY: u32 = 0x8b_94_9e;

const FIELD_MAX: usize = 1024;

impl Message {
    /// The message about `record`; with `plain`, the text alone.
    #[must_use]
    pub fn new(record: &RunRecord, plain: bool) -> Self {
        let (embeds, flags) =
            if plain { (Vec::new(), Some(SUPPRESS_EMBEDS)) } else { (vec![embed(record)], None) };
        let allowed_mentions = AllowedMentions::default();
        Self { content: text(record, For::Discord), embeds, allowed_mentions, flags }
    }

    /// Changes with everything that a reader sees.
    #[must_use]
    pub fn digest(&self) -> String {
        // Strings and numbers only: they always serialize.
        hex(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// The same for every attempt to tell the same ending of a run: Discord then makes one message of them. At most 25
/// characters are allowed.
#[must_use]
pub fn nonce(record: &RunRecord) -> String {
    hex(format!("{}\n{}\n{}", record.run, record.outcome, record.pull_request.is_some()).as_bytes())
}

/// 24 hex digits.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(24);
    for byte in &Sha256::digest(bytes)[..12] {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn embed(record: &RunRecord) -> Embed {
    let ending = Ending::of(record);
    let report = record.report.as_ref();
    let mut fields = Vec::new();
    let mut field = |name, value, inline| fields.push(Field { name, value, inline });
    if let Some(report) = report {
        field("Cost", dollars(report.cost_usd), true);
        field("Turns", count(report.turns), true);
    }
    field("Duration", time(Duration::from_millis(record.duration_ms)), true);
    if record.files_changed > 0 {
        field("Files", count(record.files_changed), true);
    }
    if let Some(until) = report.and_then(|report| report.resets_at) {
        // Discord shows it in the reader's own time zone.
        field("Resets", format!("<t:{}:f>", until.as_second()), true);
    }
    if let Some(report) = report.filter(|report| !report.subagents.is_empty()) {
        field("Subagents", subagents(report), false);
    }
    let (title, url) = title(record);
    Embed {
        title,
        url,
        description: record.remedy(),
        color: match ending {
            Ending::Delivered => GREEN,
            Ending::Failed => RED,
            Ending::NotPublished | Ending::Unchanged => GREY,
        },
        fields,
        timestamp: record.ended_at.unwrap_or(record.started_at).to_string(),
        footer: Footer { text: shorten_middle(&one_line(&record.run), 200).into_owned() },
    }
}

/// The pull request, leading to it, else what the outcome means.
fn title(record: &RunRecord) -> (String, Option<String>) {
    if let (Some(pull), Some(push)) = (&record.pull_request, &record.push)
        && is_link(&pull.url)
        && message_text::units(&pull.url) <= 2048
        && names::owner_and_name(&push.repository).is_ok()
    {
        let repository = fit(&push.repository, 200, shorten_middle, escape);
        return (format!("{repository}#{}", pull.number), Some(pull.url.clone()));
    }
    let meaning = record.outcome.meaning();
    let (first, rest) = meaning.split_at(1);
    (format!("{}{rest}", first.to_uppercase()), None)
}

/// A line for each subagent, in the order of their first calls: how its last call ended, and how many there were.
fn subagents(report: &AgentReport) -> String {
    let mut last: Vec<(&Subagent, usize)> = Vec::new();
    for call in &report.subagents {
        match last.iter_mut().find(|(known, _)| known.agent_type == call.agent_type) {
            Some(known) => *known = (call, known.1 + 1),
            None => last.push((call, 1)),
        }
    }
    let mut lines = String::new();
    let mut left_out = last.len();
    for (call, calls) in last {
        let line = subagent(call, calls);
        // Room for the line that tells how many are left out.
        if message_text::units(&lines) + message_text::units(&line) + 24 > FIELD_MAX {
            break;
        }
        lines.push_str(&line);
        left_out -= 1;
    }
    if left_out > 0 {
        let _ = write!(lines, "… and {} more", count(left_out as u64));
    }
    lines.trim_end().to_owned()
}

fn subagent(call: &Subagent, calls: usize) -> String {
    let shown = |text: &str, limit| fit(&one_line(text), limit, shorten_middle, escape);
    let (sign, why) = match &call.verdict {
        Some(verdict) => {
            (if verdict.pass { "✅" } else { "❌" }, verdict.reason.as_deref().unwrap_or_default())
        }
        None if call.failed => ("❌", "did not finish"),
        None => ("▫️", ""),
    };
    let mut line = format!("{sign} {}", shown(&call.agent_type, 60));
    if calls > 1 {
        let _ = write!(line, " ×{calls}");
    }
    if !why.is_empty() {
        let _ = write!(line, ": {}", shown(why, 200));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::{begun, delivered};
    use agent_task::Outcome;
    use agent_task::record::Verdict;
    use message_text::units;
    use proptest::prelude::*;
    use serde_json::json;

    fn report(json: &serde_json::Value) -> AgentReport {
        let mut report = json!({"kind": "AgentReport", "outcome": "success"});
        report.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(report).unwrap()
    }

    fn call(name: &str, verdict: Option<(bool, Option<&str>)>) -> Subagent {
        Subagent {
            agent_type: name.into(),
            description: None,
            tool_calls: 1,
            failed: false,
            verdict: verdict.map(|(pass, reason)| Verdict { pass, reason: reason.map(str::to_owned) }),
        }
    }

    /// P8
    #[test]
    fn the_embed_has_the_figures_and_the_content_the_words() {
        let mut record = delivered("A post about X");
        record.duration_ms = 185_000;
        record.files_changed = 3;
        record.ended_at = Some("2026-11-22T22:03:05Z".parse().unwrap());
        let mut report = report(&json!({"turns": 14, "costUsd": 0.42}));
        report.subagents = vec![
            call("qa", Some((false, Some("no title")))),
            call("reviewer", None),
            call("qa", Some((true, None))),
        ];
        record.report = Some(report);
        let message = serde_json::to_value(Message::new(&record, false)).unwrap();
        assert_eq!(
            message,
            json!({
                "content": "Publisher completed: \"A post about X\"\nPR: https://github.com/octo/blog/pull/7\n\
                            Branch: agent/publisher-1790635538",
                "embeds": [{
                    "title": "octo/blog#7",
                    "url": "https://github.com/octo/blog/pull/7",
                    "color": GREEN,
                    "fields": [
                        {"name": "Cost", "value": "$0.42", "inline": true},
                        {"name": "Turns", "value": "14", "inline": true},
                        {"name": "Duration", "value": "3 min 05 s", "inline": true},
                        {"name": "Files", "value": "3", "inline": true},
                        {"name": "Subagents", "value": "✅ qa ×2\n▫️ reviewer", "inline": false},
                    ],
                    "timestamp": "2026-11-22T22:03:05Z",
                    "footer": {"text": "publisher-1790635538-3fa9c1"},
                }],
                "allowed_mentions": {"parse": []},
            })
        );
    }

    /// P8
    #[test]
    fn plain_is_the_text_alone_without_previews() {
        let message = serde_json::to_value(Message::new(&delivered("A post about X"), true)).unwrap();
        assert_eq!(
            message,
            json!({
                "content": "Publisher completed: \"A post about X\"\nPR: https://github.com/octo/blog/pull/7\n\
                            Branch: agent/publisher-1790635538",
                "embeds": [],
                "allowed_mentions": {"parse": []},
                "flags": 4,
            })
        );
    }

    #[test]
    fn the_colour_tells_the_ending() {
        let mut failed = begun("x");
        failed.fail(Outcome::McpFailed, "mcp-start", "playwright: not found");
        let mut unchanged = begun("x");
        unchanged.outcome = Outcome::NoChange;
        let colours = [delivered("x"), failed.clone(), unchanged, begun("x")]
            .map(|record| Message::new(&record, false).embeds[0].color);
        assert_eq!(colours, [GREEN, RED, GREY, GREY]);
        let embed = &Message::new(&failed, false).embeds[0];
        assert_eq!(embed.title, "An MCP server did not work");
        assert_eq!(embed.description, Outcome::McpFailed.remedy());
    }

    #[test]
    fn a_nonce_is_the_same_for_every_attempt_and_another_for_another_ending() {
        let mut later = begun("x");
        later.duration_ms = 99;
        assert_eq!(nonce(&begun("x")), nonce(&later));
        assert!(nonce(&later).len() <= 25);
        later.fail(Outcome::PushFailed, "push", "no route");
        assert_ne!(nonce(&begun("x")), nonce(&later));
    }

    proptest! {
        #[test]
        fn discords_limits_hold_whatever_the_record_says(
            text in "\\PC{0,400}|[*_`👩🏽‍💻]{0,900}", calls in 0_usize..120, reason in "[a*]{0,400}", plain in any::<bool>(),
        ) {
            let mut record = delivered(&text);
            record.run = text.clone();
            record.push.as_mut().unwrap().repository = format!("a/{}", "b".repeat(calls * 10));
            record.fail(Outcome::Rejected, text.as_str(), text.as_str());
            let mut report = report(&json!({"turns": u64::MAX, "costUsd": 1e300}));
            report.subagents =
                (0..calls).map(|n| call(&format!("{n}{text}"), Some((false, Some(&reason))))).collect();
            record.report = Some(report);
            let message = Message::new(&record, plain);
            prop_assert!((1..=2000).contains(&units(&message.content)));
            for embed in &message.embeds {
                prop_assert!((1..=256).contains(&units(&embed.title)));
                prop_assert!(units(&embed.footer.text) <= 2048);
                prop_assert!(embed.fields.len() <= 25);
                let mut all = units(&embed.title) + units(&embed.footer.text)
                    + embed.description.map_or(0, units);
                for field in &embed.fields {
                    prop_assert!((1..=FIELD_MAX).contains(&units(&field.value)), "{:?}", field);
                    all += units(field.name) + units(&field.value);
                }
                prop_assert!(all <= 6000);
            }
        }
    }
}
