//! What a record asks for: decided without asking anybody.

use crate::args::Draft;
use crate::text;
use agent_task::{Outcome, RunRecord, names};
use piece::Fault;
use serde::Serialize;

/// What is to be done about a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing, for this reason: the record goes on as it came.
    PassOn(String),
    /// This pull request is to be there.
    Open(Box<Wanted>),
}

/// A pull request as it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// Where it is opened, `owner/name`.
    pub repository: String,
    /// Where its commits are, `owner/name`: the same, or a fork.
    pub head_repository: String,
    /// The branch there.
    pub branch: String,
    /// The commit that the branch must be at.
    pub head: String,
    /// The branch that it goes to.
    pub base: String,
    /// Whether it is opened as a draft.
    pub draft: bool,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its title.
    pub title: String,
    /// Its body, in Markdown.
    pub body: String,
}

impl Wanted {
    /// The owner of the branch, as `octo`.
    #[must_use]
    pub fn head_owner(&self) -> &str {
        self.head_repository.split_once('/').map_or("", |(owner, _)| owner)
    }
}

/// Decides. Texts come from `shown`, which is `record` without secrets.
///
/// # Errors
/// A usage fault where the record is one that nobody pushed, or names no repository; a failure where the remote's branch
/// is not at the run's head.
pub fn plan(
    record: &RunRecord,
    shown: &RunRecord,
    repository: Option<&str>,
    draft: Draft,
    labels: &[String],
) -> Result<Plan, Fault> {
    if record.outcome == Outcome::NoChange {
        return Ok(Plan::PassOn("the run changed nothing: there is no pull request to open".to_owned()));
    }
    let Some(push) = &record.push else {
        if record.outcome.is_success() {
            return Err(Fault::usage("the run's branch is not pushed: its record has no push")
                .hint("as in: branch-run push < record.json | open-pr"));
        }
        return Ok(Plan::PassOn(format!(
            "the run ended with {} before its branch was pushed: there is no pull request to open",
            record.outcome
        )));
    };
    if let Some(head) = record.head.as_ref().filter(|head| **head != push.head) {
        return Err(Fault::failed(format!(
            "the remote branch is at {}, but the run's head is {}",
            short(&push.head),
            short(head)
        ))
        .hint("push the branch again: branch-run push < record.json | open-pr"));
    }
    let repository = repository.unwrap_or(&push.repository);
    for name in [repository, &push.repository] {
        names::owner_and_name(name).map_err(|error| Fault::usage(error.to_string()))?;
    }
    Ok(Plan::Open(Box::new(Wanted {
        repository: repository.to_owned(),
        head_repository: push.repository.clone(),
        branch: push.branch.clone(),
        head: push.head.clone(),
        base: record.base.clone(),
        draft: match draft {
            Draft::Auto => record.unfinished,
            Draft::Always => true,
            Draft::Never => false,
        },
        labels: labels.to_vec(),
        title: text::title(shown),
        body: text::body(shown),
    })))
}

/// As much of a commit's id as people read.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_task::{Exit, Push};

    fn record() -> RunRecord {
        let started = "2026-11-22T22:00:00Z".parse().unwrap();
        let mut record = RunRecord::begun("publisher-1-3fa9c1", "publisher", "a post", "main", started);
        record.head = Some("a".repeat(40));
        record.push = Some(Push {
            repository: "octo/blog".into(),
            branch: "agent/publisher-1-3fa9c1".into(),
            head: "a".repeat(40),
            operation: "created".into(),
        });
        record
    }

    fn planned(record: &RunRecord, repository: Option<&str>, draft: Draft) -> Result<Plan, Fault> {
        plan(record, record, repository, draft, &[])
    }

    fn wanted(record: &RunRecord, repository: Option<&str>, draft: Draft) -> Wanted {
        match planned(record, repository, draft).unwrap() {
            Plan::Open(wanted) => *wanted,
            Plan::PassOn(why) => panic!("{why}"),
        }
    }

    /// P7
    #[test]
    fn the_branch_is_the_remotes_and_the_base_the_records() {
        let wanted = wanted(&record(), None, Draft::Auto);
        assert_eq!((wanted.repository.as_str(), wanted.base.as_str()), ("octo/blog", "main"));
        assert_eq!((wanted.head_owner(), wanted.branch.as_str()), ("octo", "agent/publisher-1-3fa9c1"));
    }

    #[test]
    fn a_branch_of_a_fork_goes_to_the_repository_that_is_named() {
        let wanted = wanted(&record(), Some("upstream/blog"), Draft::Auto);
        assert_eq!((wanted.repository.as_str(), wanted.head_owner()), ("upstream/blog", "octo"));
    }

    #[test]
    fn an_unfinished_run_is_a_draft_unless_told_otherwise() {
        let mut unfinished = record();
        unfinished.unfinished = true;
        let drafts = |draft| [wanted(&record(), None, draft).draft, wanted(&unfinished, None, draft).draft];
        assert_eq!(drafts(Draft::Auto), [false, true]);
        assert_eq!(drafts(Draft::Always), [true, true]);
        assert_eq!(drafts(Draft::Never), [false, false]);
    }

    #[test]
    fn what_is_not_pushed_has_no_pull_request() {
        let mut unpushed = record();
        unpushed.push = None;
        let refused = planned(&unpushed, None, Draft::Auto).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage, "a success that is not pushed");
        unpushed.fail(Outcome::PushRefused, "push", "a rule");
        assert!(matches!(planned(&unpushed, None, Draft::Auto), Ok(Plan::PassOn(_))));
        let mut unchanged = record();
        unchanged.outcome = Outcome::NoChange;
        assert!(matches!(planned(&unchanged, None, Draft::Auto), Ok(Plan::PassOn(_))));
    }

    #[test]
    fn a_remote_that_is_not_at_our_head_is_no_pull_request() {
        let mut behind = record();
        behind.head = Some("b".repeat(40));
        let error = planned(&behind, None, Draft::Auto).unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        assert_eq!(
            error.message(),
            "the remote branch is at aaaaaaaaaaaa, but the run's head is bbbbbbbbbbbb"
        );
    }

    #[test]
    fn a_repository_that_is_none_is_a_usage_error() {
        assert_eq!(planned(&record(), Some("blog"), Draft::Auto).unwrap_err().exit(), Exit::Usage);
    }
}
