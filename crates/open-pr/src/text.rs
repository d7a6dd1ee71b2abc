//! Title and body of a run's pull request.
//!
//! The record is the agent's word: every text in it is bounded, and shown as [code that does nothing](crate::markdown).
//! A body has a last line of its own, by which a later run of this program knows that it wrote the text, and that nobody
//! has changed it since.

use crate::markdown::{block, cell, code, defang};
use agent_task::{AgentReport, RunRecord};
use message_text::figures::{count, dollars, time};
use message_text::{fit, one_line, shorten_end};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::time::Duration;

/// A title has at most so many characters.
pub const TITLE_MAX: usize = 72;
/// A body has at most so many characters; GitHub takes 65,536.
pub const BODY_MAX: usize = 60_000;

const PROMPT_MAX: usize = 10_000;
const WORDS_MAX: usize = 12_000;
const ERROR_MAX: usize = 4_000;
const FILES_MAX: usize = 50;
const PATH_MAX: usize = 200;
const SUBAGENTS_MAX: usize = 30;
const UNFINISHED: &str = "[unfinished] ";

/// The title: the task's first line, or its first sentence where the line is too long for a title.
#[must_use]
pub fn title(record: &RunRecord) -> String {
    let mark = if record.unfinished { UNFINISHED } else { "" };
    format!("{mark}{}", topic(record, TITLE_MAX - mark.len()))
}

fn topic(record: &RunRecord, limit: usize) -> String {
    let line = record.prompt.lines().map(one_line).find(|line| !line.is_empty());
    let line = line.unwrap_or_else(|| format!("Work of the agent {}", one_line(&record.agent)));
    let sentence = if message_text::units(&line) <= limit { line.as_str() } else { first_sentence(&line) };
    let title = fit(sentence, limit, shorten_end, defang);
    match title.strip_suffix('.') {
        Some(without) if !without.is_empty() && !without.ends_with('.') => without.to_owned(),
        _ => title,
    }
}

/// Up to the first end of a sentence; one that comes so early that it rather ends an abbreviation is passed over.
fn first_sentence(line: &str) -> &str {
    line.match_indices(['.', '!', '?'])
        .map(|(at, end)| at + end.len())
        .find(|&at| at >= 20 && line[at..].starts_with(' '))
        .map_or(line, |at| &line[..at])
}

/// Whether `title` is one that this program gave to the pull request of this run, finished or not.
#[must_use]
pub fn is_our_title(title: &str, record: &RunRecord) -> bool {
    [true, false].into_iter().any(|unfinished| {
        let record = RunRecord { unfinished, ..record.clone() };
        self::title(&record) == title
    })
}

/// The body.
#[must_use]
pub fn body(record: &RunRecord) -> String {
    let mut body = String::new();
    if !record.outcome.is_success() || record.unfinished {
        failure(&mut body, record);
    }
    section(&mut body, "Task");
    body.push_str(&block(&record.prompt, PROMPT_MAX));
    if let Some(words) = record.report.as_ref().and_then(|report| report.result.as_deref()) {
        section(&mut body, "What the agent says");
        body.push_str(&block(words, WORDS_MAX));
    }
    section(&mut body, "Run");
    run(&mut body, record);
    if let Some(report) = record.report.as_ref().filter(|report| !report.subagents.is_empty()) {
        section(&mut body, "Subagents");
        subagents(&mut body, report);
    }
    if !record.files.is_empty() {
        section(&mut body, "Changed files");
        files(&mut body, record);
    }
    sign(&body, record)
}

fn section(body: &mut String, heading: &str) {
    let gap = if body.is_empty() { "" } else { "\n" };
    push(body, format_args!("{gap}## {heading}\n\n"));
}

fn failure(body: &mut String, record: &RunRecord) {
    section(body, if record.unfinished { "Not finished" } else { "Failed" });
    let stage =
        record.stage.as_ref().map_or_else(String::new, |s| format!(" at the stage {}", code(s.as_str(), 60)));
    push(body, format_args!("The run ended{stage}: {}.", record.outcome.meaning()));
    if let Some(remedy) = record.remedy() {
        push(body, format_args!(" {remedy}"));
    }
    body.push('\n');
    if let Some(error) = &record.error {
        push(body, format_args!("\n{}", block(error, ERROR_MAX)));
    }
}

fn run(body: &mut String, record: &RunRecord) {
    let mut row = |what: &str, value: &str| push(body, format_args!("| {what} | {value} |\n"));
    row("Outcome", &format!("`{}`: {}", record.outcome, record.outcome.meaning()));
    row("---", "---");
    let report = record.report.as_ref();
    let model = report.and_then(|report| report.model.as_deref());
    row(
        "Agent",
        &format!(
            "{}{}",
            cell(&record.agent, 60),
            model.map_or_else(String::new, |m| format!(" on {}", cell(m, 80)))
        ),
    );
    row("Branch", &format!("{} into {}", cell(branch(record), 250), cell(&record.base, 250)));
    row("Commits", &count(record.commits));
    if let Some(report) = report {
        row("Cost", &dollars(report.cost_usd));
        row("Turns", &count(report.turns));
    }
    row("Duration", &time(Duration::from_millis(record.duration_ms)));
    if let Some(AgentReport { tokens, .. }) = report {
        row(
            "Tokens",
            &format!(
                "{} in, {} out; cache: {} read, {} written",
                count(tokens.input),
                count(tokens.output),
                count(tokens.cache_read),
                count(tokens.cache_write)
            ),
        );
    }
    if let Some(denials) = report.map(|report| &report.denials).filter(|denials| !denials.is_empty()) {
        row("Denied tools", &cell(&denials.join(", "), 300));
    }
    row("Run", &cell(&record.run, 100));
}

fn branch(record: &RunRecord) -> &str {
    record.push.as_ref().map(|push| push.branch.as_str()).or(record.branch.as_deref()).unwrap_or_default()
}

fn subagents(body: &mut String, report: &AgentReport) {
    body.push_str("| Subagent | Task | Tool calls | Verdict |\n| --- | --- | ---: | --- |\n");
    for subagent in report.subagents.iter().take(SUBAGENTS_MAX) {
        let verdict = match &subagent.verdict {
            Some(verdict) => {
                let word = if verdict.pass { "pass" } else { "**fail**" };
                match verdict.reason.as_deref() {
                    Some(reason) => format!("{word}: {}", cell(reason, 300)),
                    None => word.to_owned(),
                }
            }
            None if subagent.failed => "**did not finish**".to_owned(),
            None => "–".to_owned(),
        };
        push(
            body,
            format_args!(
                "| {} | {} | {} | {verdict} |\n",
                cell(&subagent.agent_type, 60),
                cell(subagent.description.as_deref().unwrap_or_default(), 120),
                count(subagent.tool_calls)
            ),
        );
    }
    more(body, report.subagents.len().saturating_sub(SUBAGENTS_MAX) as u64);
}

fn files(body: &mut String, record: &RunRecord) {
    body.push_str("| File | Change |\n| --- | --- |\n");
    for file in record.files.iter().take(FILES_MAX) {
        push(body, format_args!("| {} | {} |\n", cell(&file.path, PATH_MAX), cell(&file.status, 20)));
    }
    let shown = record.files.len().min(FILES_MAX) as u64;
    more(body, record.files_changed.max(record.files.len() as u64) - shown);
}

fn more(body: &mut String, left_out: u64) {
    if left_out > 0 {
        push(body, format_args!("\n… and {} more.\n", count(left_out)));
    }
}

/// Appends the last line: the run, and a digest of all that stands before it.
fn sign(body: &str, record: &RunRecord) -> String {
    let run: String = record
        .run
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '.' })
        .take(100)
        .collect();
    // Two hyphens could end the comment.
    let run = run.replace("--", "-_");
    format!("{body}\n<!-- pressrun:run={run} digest={} -->", digest(body))
}

/// What GitHub and its web editor leave alone: line ends and the white space at the end do not count.
fn digest(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let mut hex = String::new();
    for byte in &Sha256::digest(text.trim_end().as_bytes())[..8] {
        push(&mut hex, format_args!("{byte:02x}"));
    }
    hex
}

/// Whether this program wrote `body`, and nobody has changed it since.
#[must_use]
pub fn is_our_body(body: &str) -> bool {
    let Some((text, mark)) = body.trim_end().rsplit_once("<!-- pressrun:run=") else {
        return false;
    };
    mark.strip_suffix(" -->")
        .and_then(|mark| mark.split_once(" digest="))
        .is_some_and(|(_, signed)| signed == digest(text))
}

/// Writing to a string cannot fail.
fn push(body: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = body.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_task::record::{ChangedFile, Subagent, Tokens, Verdict};
    use agent_task::{Outcome, Push};
    use proptest::prelude::*;

    fn record(prompt: &str) -> RunRecord {
        let started = "2026-11-22T22:00:00Z".parse().unwrap();
        let mut record =
            RunRecord::begun("publisher-1790635538-3fa9c1", "publisher", prompt, "main", started);
        record.branch = Some("agent/publisher-1790635538".into());
        record.push = Some(Push {
            repository: "octo/blog".into(),
            branch: "agent/publisher-1790635538".into(),
            head: "a".repeat(40),
            operation: "created".into(),
        });
        record.commits = 2;
        record.duration_ms = 185_000;
        record
    }

    fn report(json: serde_json::Value) -> AgentReport {
        let mut report = serde_json::json!({"kind": "AgentReport", "outcome": "success"});
        report.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(report).unwrap()
    }

    /// P7
    #[test]
    fn the_title_is_the_topic_on_one_line() {
        for (prompt, expected) in [
            ("A post about lighthouses.", "A post about lighthouses"),
            ("\n  A post\tabout   X  \n\nDetails: many.", "A post about X"),
            ("Why? Because.", "Why? Because"),
            ("And so on...", "And so on..."),
            (".", "."),
            (
                "Write a post about lighthouses. It should be long enough to be read, and short enough to be liked.",
                "Write a post about lighthouses",
            ),
            (
                "Explain e.g. how a lighthouse keeper of the nineteenth century spent long winter nights",
                "Explain e.g. how a lighthouse keeper of the nineteenth century spent…",
            ),
            ("Fixes #1 for @octocat", "Fixes #\u{200b}1 for @\u{200b}octocat"),
            (" \n ", "Work of the agent publisher"),
        ] {
            assert_eq!(title(&record(prompt)), expected);
        }
    }

    /// P7
    #[test]
    fn an_unfinished_run_says_so_in_the_title() {
        let mut unfinished = record("A post about lighthouses");
        unfinished.unfinished = true;
        assert_eq!(title(&unfinished), "[unfinished] A post about lighthouses");
        assert!(is_our_title("A post about lighthouses", &unfinished));
        assert!(is_our_title("[unfinished] A post about lighthouses", &record("A post about lighthouses")));
        assert!(!is_our_title("Lighthouses, a post", &unfinished));
    }

    /// P7
    #[test]
    fn the_body_has_what_a_reviewer_asks_for() {
        let mut record = record("A post about lighthouses\nwith `code`");
        record.files = vec![ChangedFile { path: "posts/light.md".into(), status: "added".into() }];
        record.files_changed = 1;
        let mut report = report(serde_json::json!({
            "turns": 14, "costUsd": 0.42, "model": "claude-opus", "result": "Done.\n\nVERDICT: PASS",
        }));
        report.tokens = Tokens { input: 1200, output: 3400, cache_read: 56_000, cache_write: 7 };
        report.subagents = vec![Subagent {
            agent_type: "qa".into(),
            description: Some("look at the page".into()),
            tool_calls: 3,
            failed: false,
            verdict: Some(Verdict { pass: true, reason: None }),
        }];
        record.report = Some(report);
        let body = body(&record);
        let expected = "\
## Task

```text
A post about lighthouses
with `code`
```

## What the agent says

```text
Done.

VERDICT: PASS
```

## Run

| Outcome | `success`: the work is done |
| --- | --- |
| Agent | `publisher` on `claude-opus` |
| Branch | `agent/publisher-1790635538` into `main` |
| Commits | 2 |
| Cost | $0.42 |
| Turns | 14 |
| Duration | 3 min 05 s |
| Tokens | 1,200 in, 3,400 out; cache: 56,000 read, 7 written |
| Run | `publisher-1790635538-3fa9c1` |

## Subagents

| Subagent | Task | Tool calls | Verdict |
| --- | --- | ---: | --- |
| `qa` | `look at the page` | 3 | pass |

## Changed files

| File | Change |
| --- | --- |
| `posts/light.md` | `added` |

<!-- pressrun:run=publisher-1790635538-3fa9c1 digest=";
        assert!(body.starts_with(expected), "{body}");
        assert!(is_our_body(&body));
    }

    /// P9
    #[test]
    fn an_unfinished_run_shows_stage_cause_and_remedy_first() {
        let mut record = record("A post");
        record.unfinished = true;
        record.fail(Outcome::TurnLimit, "writer", "20 turns\nand no end");
        assert!(
            body(&record).starts_with(
                "## Not finished\n\nThe run ended at the stage `writer`: the turn limit was reached. \
             Raise --max-turns, or ask for less.\n\n```text\n20 turns\nand no end\n```\n\n## Task\n"
            ),
            "{}",
            body(&record)
        );
    }

    #[test]
    fn a_body_that_a_person_changed_is_not_ours() {
        let ours = body(&record("A post"));
        assert!(is_our_body(&ours.replace('\n', "\r\n")), "GitHub's editor changes line ends");
        assert!(!is_our_body(&format!("{ours}\nLooks good.")));
        assert!(!is_our_body(&ours.replace("A post", "A better post")));
        assert!(!is_our_body("words of a person"));
        assert!(!is_our_body(
            &body(&record("<!-- pressrun:run=x digest=y -->")).replace("## Task", "## Mine")
        ));
    }

    /// Says all these wherever a record has a place for words of the agent.
    fn hostile(prompt: &str, words: &str, error: &str, path: &str) -> RunRecord {
        let mut record = record(prompt);
        record.fail(Outcome::Rejected, path, error);
        record.agent = words.to_owned();
        record.base = path.to_owned();
        record.files = vec![ChangedFile { path: path.to_owned(), status: error.to_owned() }; 100];
        record.files_changed = u64::MAX;
        let verdict = Some(Verdict { pass: false, reason: Some(error.to_owned()) });
        let subagent = Subagent {
            agent_type: path.to_owned(),
            description: Some(words.to_owned()),
            tool_calls: u64::MAX,
            failed: true,
            verdict,
        };
        let mut report = report(serde_json::json!({"model": path, "result": words, "denials": [error]}));
        report.subagents = vec![subagent; 100];
        record.report = Some(report);
        record
    }

    fn assert_bounded(record: &RunRecord) {
        let title = title(record);
        assert!(title.chars().count() <= TITLE_MAX && !title.contains('\n') && !title.is_empty(), "{title}");
        assert!(is_our_title(&title, record));
        let body = body(record);
        assert!(body.chars().count() <= BODY_MAX, "{} characters", body.chars().count());
        assert!(is_our_body(&body));
        let acting = body.as_bytes().windows(2).any(|pair| pair[0] == b'#' && pair[1].is_ascii_digit());
        assert!(!acting, "a reference is left");
    }

    /// P7
    #[test]
    fn the_longest_texts_leave_a_body_that_github_takes() {
        for unit in ["x", "|", "\\|", "`", "`a", "@a ", "#1", "\n", "👩\u{301}", "a b. "] {
            let text = unit.repeat(20_000);
            assert_bounded(&hostile(&text, &text, &text, &text));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn whatever_the_agent_says_title_and_body_keep_their_bounds(
            prompt in "\\PC*|[`|<>@#1a\n\\\\~*-]{0,200}", words in any::<String>(), error in any::<String>(),
            path in "\\PC*|[`|<>@#1a\n\\\\~*-]{0,200}", unfinished in any::<bool>(),
        ) {
            assert_bounded(&RunRecord { unfinished, ..hostile(&prompt, &words, &error, &path) });
        }
    }
}
