//! One row of the table of endings, and whether the world looks like that.

use agent_task::{Outcome, Stage};
use anyhow::bail;
use e2e::{Ended, REPOSITORY, World};

/// The topic of every run whose ending is held against a row.
pub(crate) const TOPIC: &str = "A note on backups";

/// How a run ends, as it is seen from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) code: i32,
    pub(crate) outcome: Outcome,
    /// Empty for a run that did not fail.
    pub(crate) stage: &'a str,
    /// A part of the error's text.
    pub(crate) error: &'a str,
    /// What the run's branch changes: on the remote, or here where it is not pushed.
    pub(crate) files: &'a [&'a str],
    pub(crate) published: Published,
    /// How many messages Discord has: each run's one.
    pub(crate) messages: usize,
}

/// What GitHub has of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Nothing,
    Branch,
    Draft,
    Ready,
}

/// The one file that most scripts write.
pub(crate) const NOTE: &[&str] = &["content/posts/note.md"];

/// The work is done, and delivered.
pub(crate) const DELIVERED: Expected<'_> = Expected {
    code: 0,
    outcome: Outcome::Success,
    stage: "",
    error: "",
    files: NOTE,
    published: Published::Ready,
    messages: 1,
};

/// The agent did not finish; what it did is in a draft.
pub(crate) const UNFINISHED: Expected<'_> =
    Expected { code: 1, stage: Stage::AGENT, published: Published::Draft, ..DELIVERED };

/// The agent did nothing.
pub(crate) const NOTHING_DONE: Expected<'_> =
    Expected { files: &[], published: Published::Nothing, ..UNFINISHED };

/// Asserts that the run ended so, that nothing of it is lost, and that none of its processes is left.
#[track_caller]
pub(crate) fn assert_ended(world: &World, ended: &Ended, expected: Expected<'_>) -> anyhow::Result<()> {
    let record = ended.record()?;
    let told = format!("{record:#?}\n{}", ended.stderr);
    assert_eq!(ended.code, expected.code, "{told}");
    assert_eq!(record.outcome, expected.outcome, "{told}");
    assert_eq!(record.stage.as_ref().map_or("", Stage::as_str), expected.stage, "{told}");
    let error = record.error.as_deref().unwrap_or_default();
    assert!(error.contains(expected.error), "'{}' in '{error}'\n{told}", expected.error);
    assert_eq!(record.error.is_some(), !expected.stage.is_empty(), "a failure says why: {told}");

    // The remote: the base is where it was, and there is at most one branch, with one pull request at its head.
    let base = world.git(&world.remote, &["rev-parse", "main"])?;
    assert_eq!(base, world.git(&world.path("seed"), &["rev-parse", "main"])?, "the base branch has moved");
    let branches = world.run_branches()?;
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    let open: Vec<_> = pulls.iter().filter(|pull| pull.state == "open").collect();
    let published = match (branches.as_slice(), open.as_slice()) {
        ([], []) => Published::Nothing,
        ([_], []) => Published::Branch,
        ([(branch, head)], [pull]) => {
            assert_eq!((&pull.head, &pull.head_sha), (branch, head), "{told}");
            if pull.draft { Published::Draft } else { Published::Ready }
        }
        _ => bail!("more than one branch or pull request: {branches:?} {pulls:?}\n{told}"),
    };
    assert_eq!(published, expected.published, "{told}");

    // The work, wherever it got.
    if let Some(branch) = &record.branch {
        let (at, name) = match branches.as_slice() {
            [(name, _)] => (world.remote.clone(), name),
            _ => (world.clone_path(), branch),
        };
        let files = world.git(&at, &["diff", "--name-only", "--no-renames", &base, name])?;
        assert_eq!(files.lines().collect::<Vec<_>>(), expected.files, "{told}");
        let left = world.git(&world.clone_path(), &["status", "--porcelain", "--branch"])?;
        assert!(left.starts_with("## main"), "somewhere else than before the run: {left}\n{told}");
        assert_eq!(left.lines().count(), 1, "neither committed nor as before: {left}\n{told}");
    }

    // The message.
    let messages = world.sandbox.discord().messages();
    assert_eq!(messages.len(), expected.messages, "{messages:?}\n{told}");
    for message in &messages {
        let text = message.raw.to_string();
        let mut parts = vec![format!("\\\"{TOPIC}\\\"")];
        match expected.outcome {
            Outcome::Success | Outcome::NoChange => {}
            _ => {
                parts.extend([
                    "FAILED".to_owned(),
                    format!("Stage: {}", expected.stage),
                    "Error: ".to_owned(),
                ]);
                if let Some(branch) = record.push.as_ref().map(|push| &push.branch).or(record.branch.as_ref())
                {
                    parts.push(format!("Branch: {branch} (preserved for debugging)"));
                }
            }
        }
        if expected.published == Published::Ready && expected.outcome == Outcome::Success {
            parts.push(format!("PR: https://github.com/{REPOSITORY}/pull/{}", open[0].number));
        }
        for part in &parts {
            assert!(text.contains(part), "'{part}' in {text}");
        }
    }

    assert_eq!(world.processes(), Vec::<String>::new(), "left running\n{told}");
    assert_eq!(world.sandbox.violations(), Vec::<String>::new(), "{told}");
    Ok(())
}

/// Asserts that the run ended by [`usage_limit`](crate::scripted::usage_limit), and says when it resets.
#[track_caller]
pub(crate) fn assert_limited(world: &World, ended: &Ended) -> anyhow::Result<()> {
    assert_ended(world, ended, Expected { outcome: Outcome::UsageLimit, error: "limit", ..UNFINISHED })?;
    let resets = ended.record()?.report.and_then(|report| report.resets_at).map(jiff::Timestamp::as_second);
    let expected = world.sandbox.clock().now().as_second() + 3600;
    assert!(resets.is_some_and(|resets| (resets - expected).abs() < 120), "{resets:?}, not {expected}");
    let text = world.sandbox.discord().messages()[0].raw.to_string();
    let told = format!("<t:{}:f>", resets.unwrap_or_default());
    assert!(text.contains(&told), "'{told}' in {text}");
    Ok(())
}
