//! What people read: two to five lines.
//!
//! ```text
//! Publisher completed: "A post about X"          Publisher FAILED: "A post about X"
//! PR: https://github.com/octo/blog/pull/7        Stage: qa
//! Branch: agent/publisher-1790635538             Error: the page has no title
//!                                                Branch: agent/publisher-1790635538 (preserved for debugging)
//! ```
//!
//! The words are the contract with those who read them; the agent's name stands in for `Publisher`. A run that did neither
//! says what it did.

use crate::markup::{escape, is_link};
use agent_task::{Outcome, RunRecord};
use message_text::{fit, one_line, shorten_middle};

const TOPIC_MAX: usize = 300;
const ERROR_MAX: usize = 900;
const NAME_MAX: usize = 200;

/// For whom the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Discord: what would act as markup is escaped.
    Discord,
    /// A terminal: nothing is escaped.
    Terminal,
}

impl For {
    fn text(self, text: &str, limit: usize) -> String {
        let escape = |text: &str| if self == Self::Terminal { text.to_owned() } else { escape(text) };
        fit(&one_line(text), limit, shorten_middle, escape)
    }

    fn link(self, url: &str) -> String {
        if is_link(url) && url.len() <= NAME_MAX { url.to_owned() } else { self.text(url, NAME_MAX) }
    }
}

/// How a run ended, as far as a message tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The pull request is open at the run's head.
    Delivered,
    /// The agent did its work, and it is not published.
    NotPublished,
    /// The agent changed nothing.
    Unchanged,
    /// It failed.
    Failed,
}

impl Ending {
    /// That of `record`.
    #[must_use]
    pub fn of(record: &RunRecord) -> Self {
        match record.outcome {
            Outcome::Success if record.is_delivered() => Self::Delivered,
            Outcome::Success => Self::NotPublished,
            Outcome::NoChange => Self::Unchanged,
            _ => Self::Failed,
        }
    }
}

/// The text, at most 2000 UTF-16 units.
#[must_use]
pub fn text(record: &RunRecord, reader: For) -> String {
    lines(record, reader).join("\n")
}

fn lines(record: &RunRecord, reader: For) -> Vec<String> {
    let who = capitalised(&reader.text(&record.agent, 60));
    let topic = reader.text(&record.prompt, TOPIC_MAX);
    let branch = branch(record).map(|branch| reader.text(branch, NAME_MAX));
    let pull_request = record
        .pull_request
        .as_ref()
        .map(|pull| (reader.link(&pull.url), if pull.draft { " (draft)" } else { "" }));
    match Ending::of(record) {
        Ending::Delivered => {
            let (url, draft) = pull_request.unwrap_or_default();
            vec![
                format!("{who} completed: \"{topic}\""),
                format!("PR: {url}{draft}"),
                format!("Branch: {}", branch.unwrap_or_default()),
            ]
        }
        Ending::NotPublished => {
            let why = match (&record.push, &pull_request) {
                (None, _) => "PR: none (the branch was not pushed)".to_owned(),
                (Some(_), None) => "PR: none (the branch is pushed)".to_owned(),
                (Some(_), Some((url, _))) => format!("PR: {url} (not at the run's last commit, or not open)"),
            };
            vec![
                format!("{who} completed: \"{topic}\""),
                why,
                branch.map_or_else(|| "Branch: none".to_owned(), |branch| format!("Branch: {branch}")),
            ]
        }
        Ending::Unchanged => {
            vec![
                format!("{who} changed nothing: \"{topic}\""),
                "PR: none (there is nothing to review)".to_owned(),
                branch.map_or_else(
                    || "Branch: none".to_owned(),
                    |branch| format!("Branch: {branch} (without a commit)"),
                ),
            ]
        }
        Ending::Failed => {
            let stage = record.stage.as_ref().map_or("unknown", |stage| stage.as_str());
            let error = record.error.as_deref().map(str::trim).filter(|error| !error.is_empty());
            let mut lines = vec![
                format!("{who} FAILED: \"{topic}\""),
                format!("Stage: {}", reader.text(stage, 100)),
                format!("Error: {}", reader.text(error.unwrap_or(record.outcome.meaning()), ERROR_MAX)),
                branch.map_or_else(
                    || "Branch: none (nothing was done)".to_owned(),
                    |branch| format!("Branch: {branch} (preserved for debugging)"),
                ),
            ];
            if let Some((url, draft)) = pull_request {
                lines.push(format!("PR: {url}{draft}"));
            }
            lines
        }
    }
}

/// The name that the remote knows, where it has the branch.
fn branch(record: &RunRecord) -> Option<&str> {
    record.push.as_ref().map(|push| push.branch.as_str()).or(record.branch.as_deref())
}

fn capitalised(name: &str) -> String {
    let mut characters = name.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => "Agent".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use agent_task::{PullRequest, Push, Stage};
    use message_text::units;
    use proptest::prelude::*;

    pub(crate) fn begun(prompt: &str) -> RunRecord {
        let started = "2026-11-22T22:00:00Z".parse().unwrap();
        RunRecord::begun("publisher-1790635538-3fa9c1", "publisher", prompt, "main", started)
    }

    pub(crate) fn delivered(prompt: &str) -> RunRecord {
        let mut record = begun(prompt);
        record.branch = Some("agent/publisher-1790635538".into());
        record.head = Some("a".repeat(40));
        record.push = Some(Push {
            repository: "octo/blog".into(),
            branch: "agent/publisher-1790635538".into(),
            head: "a".repeat(40),
            operation: "created".into(),
        });
        record.pull_request = Some(PullRequest {
            number: 7,
            url: "https://github.com/octo/blog/pull/7".into(),
            state: "open".into(),
            draft: false,
            operation: "created".into(),
        });
        record
    }

    /// P8
    #[test]
    fn a_success_has_its_words() {
        let expected = |url: &str| {
            format!("Publisher completed: \"A post about X\"\nPR: {url}\nBranch: agent/publisher-1790635538")
        };
        let record = delivered("A post about X");
        let url = "https://github.com/octo/blog/pull/7";
        assert_eq!(text(&record, For::Discord), expected(url));
        assert_eq!(text(&record, For::Terminal), expected(url));
    }

    /// P8, P9
    #[test]
    fn a_failure_has_its_words() {
        let mut record = begun("A post about X");
        record.branch = Some("agent/publisher-1790635538".into());
        record.fail(Outcome::Rejected, "qa", "the page has\n no title");
        assert_eq!(
            text(&record, For::Discord),
            "Publisher FAILED: \"A post about X\"\nStage: qa\nError: the page has no title\n\
             Branch: agent/publisher-1790635538 (preserved for debugging)"
        );
    }

    #[test]
    fn an_unfinished_run_has_its_draft() {
        let mut record = delivered("A post about X");
        record.unfinished = true;
        record.pull_request.as_mut().unwrap().draft = true;
        record.fail(Outcome::TurnLimit, "writer", "20 turns");
        assert!(
            text(&record, For::Discord).ends_with(
                "Branch: agent/publisher-1790635538 (preserved for debugging)\n\
                 PR: https://github.com/octo/blog/pull/7 (draft)"
            ),
            "{}",
            text(&record, For::Discord)
        );
    }

    #[test]
    fn a_failure_before_the_branch_preserves_none() {
        let mut record = begun("A post");
        record.fail(Outcome::AgentFailed, Stage::CHECKOUT, " ");
        assert_eq!(
            text(&record, For::Discord),
            "Publisher FAILED: \"A post\"\nStage: checkout\nError: the agent CLI failed\n\
             Branch: none (nothing was done)"
        );
    }

    #[test]
    fn no_change_is_neither_success_nor_failure() {
        let mut record = begun("A post");
        record.outcome = Outcome::NoChange;
        record.branch = Some("agent/publisher-1".into());
        assert_eq!(
            text(&record, For::Discord),
            "Publisher changed nothing: \"A post\"\nPR: none (there is nothing to review)\n\
             Branch: agent/publisher-1 (without a commit)"
        );
    }

    /// P11
    #[test]
    fn a_success_that_nobody_published_does_not_claim_a_pull_request() {
        let mut record = delivered("A post");
        record.pull_request = None;
        assert!(text(&record, For::Discord).contains("\nPR: none (the branch is pushed)\n"));
        record.push = None;
        assert!(text(&record, For::Discord).contains("\nPR: none (the branch was not pushed)\n"));
    }

    #[test]
    fn the_branch_is_the_one_that_the_remote_has() {
        let mut record = delivered("A post");
        record.push.as_mut().unwrap().branch = "agent/publisher-1790635538-3fa9c1".into();
        assert!(text(&record, For::Discord).ends_with("\nBranch: agent/publisher-1790635538-3fa9c1"));
    }

    #[test]
    fn a_prompt_pings_nobody_and_hides_no_link() {
        let record = delivered("@everyone [free](https://evil.example) <@1>\n# Big");
        assert!(text(&record, For::Discord).starts_with(
            "Publisher completed: \"@\u{200b}everyone [free\\](https\\://evil.example) \\<@\u{200b}1> # Big\"\n"
        ));
        let mut record = delivered("x");
        record.pull_request.as_mut().unwrap().url = "https://x> @everyone".into();
        assert!(text(&record, For::Discord).contains("PR: https\\://x> @\u{200b}everyone"));
    }

    proptest! {
        #[test]
        fn the_text_fits_whatever_the_record_says(
            prompt in "\\PC{0,400}|[*_`👩🏽‍💻]{0,900}", error in "\\PC{0,1200}|[*`<]{0,3000}", name in "[a*]{0,600}",
        ) {
            for mut record in [begun(&prompt), delivered(&prompt)] {
                record.agent = name.clone();
                record.branch = Some(name.clone());
                for failed in [false, true] {
                    if failed {
                        record.fail(Outcome::Rejected, name.as_str(), error.as_str());
                    }
                    for reader in [For::Discord, For::Terminal] {
                        let lines = lines(&record, reader);
                        prop_assert!(lines.iter().all(|line| !line.contains('\n')));
                        prop_assert!(units(&lines.join("\n")) <= 2000);
                    }
                }
            }
        }
    }
}
