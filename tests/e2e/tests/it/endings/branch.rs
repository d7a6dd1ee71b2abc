//! What the agent does with git, beside or instead of its work.

use crate::expected::{DELIVERED, Expected, NOTHING_DONE, Published, UNFINISHED, assert_ended};
use crate::scripted::{ended, is_done, runs, world, writes_the_note};
use agent_task::Outcome;

/// The note is written, this is run in the shell, and the agent is done.
#[track_caller]
fn assert_after(commands: &str, expected: Expected<'_>) -> anyhow::Result<()> {
    let world = world([writes_the_note(), runs(&format!("set -x; {commands}")), is_done()])?;
    assert_ended(&world, &ended(&world, &["--allowed-tools", "Write,Bash"])?, expected)
}

/// P1, P2
#[test]
fn an_agent_may_commit_by_itself() -> anyhow::Result<()> {
    assert_after("git add -A && git commit -qm 'Add a note'", DELIVERED)
}

/// P1, P2: a repository that it has made or cloned is delivered as the files that are in it.
#[test]
fn an_agent_may_make_a_repository_in_the_work_tree() -> anyhow::Result<()> {
    let files = &["content/posts/note.md", "themes/x/theme.css"];
    let commands = "git init -q themes/x && echo theme >themes/x/theme.css && git -C themes/x add -A && \
                    git -C themes/x commit -qm theme";
    assert_after(commands, Expected { files, ..DELIVERED })
}

/// P2: what it leaves on another branch or on none is its work too.
#[test]
fn an_agent_may_go_elsewhere() -> anyhow::Result<()> {
    for commands in [
        "git switch -qc elsewhere",
        "git switch -qc elsewhere && git add -A && git commit -qm 'Add a note'",
        "git switch -q --detach && git add -A && git commit -qm 'Add a note'",
    ] {
        assert_after(commands, DELIVERED)?;
    }
    Ok(())
}

/// P2: the base branch of the clone is where it was.
#[test]
fn an_agent_that_commits_to_the_base_branch_does_not_move_it() -> anyhow::Result<()> {
    let world = world([
        writes_the_note(),
        runs("git switch -q main && git add -A && git commit -qm 'Add a note'"),
        is_done(),
    ])?;
    let ended = ended(&world, &["--allowed-tools", "Write,Bash"])?;
    assert_ended(&world, &ended, DELIVERED)?;
    let at = |name: &str| world.git(&world.clone_path(), &["rev-parse", name]);
    assert_eq!(at("main")?, at("origin/main")?);
    Ok(())
}

/// P2: behind its own branch, with the base branch moved along, it has lost nothing and moved nothing.
#[test]
fn an_agent_may_stay_behind_on_a_base_branch_that_it_has_moved() -> anyhow::Result<()> {
    let world = world([
        writes_the_note(),
        runs(
            "git add -A && git commit -qm one && git branch -f main && echo more >>content/posts/note.md && \
             git commit -qam two && git switch -q main",
        ),
        is_done(),
    ])?;
    let ended = ended(&world, &["--allowed-tools", "Write,Bash"])?;
    assert_ended(&world, &ended, DELIVERED)?;
    assert_eq!(ended.record()?.commits, 2);
    let at = |name: &str| world.git(&world.clone_path(), &["rev-parse", name]);
    assert_eq!(at("main")?, at("origin/main")?);
    Ok(())
}

/// P2
#[test]
fn an_agent_may_rewrite_what_it_has_committed() -> anyhow::Result<()> {
    assert_after("git add -A && git commit -qm one && git commit -q --amend -m two", DELIVERED)
}

/// P2, P9: rewriting what was there before is not its work, and is not published.
#[test]
fn an_agent_that_rewrites_the_base_is_not_published() -> anyhow::Result<()> {
    let expected = Expected {
        outcome: Outcome::WorkspaceInvalid,
        stage: "commit",
        error: "no longer descends from",
        published: Published::Nothing,
        ..UNFINISHED
    };
    assert_after("git add -A && git commit -q --amend -m 'All mine'", expected)
}

/// P2, P9: a history without the base is kept beside the branch, which has nothing then, and that is told.
#[test]
fn an_agent_that_begins_a_history_of_its_own_is_not_published_and_loses_nothing() -> anyhow::Result<()> {
    let commands = "git checkout -q --orphan fresh && git add -A && git commit -qm 'All mine'";
    let world = world([writes_the_note(), runs(commands), is_done()])?;
    let ended = ended(&world, &["--allowed-tools", "Write,Bash"])?;
    let error = "HEAD was left elsewhere";
    let outcome = Outcome::WorkspaceInvalid;
    assert_ended(&world, &ended, Expected { outcome, stage: "commit", error, ..NOTHING_DONE })?;
    let beside = format!("{}-left:content/posts/note.md", ended.record()?.branch.unwrap_or_default());
    world.git(&world.clone_path(), &["cat-file", "-e", &beside])?;
    Ok(())
}

/// P2, P9: conflicts are no finished work, and no lost work either.
#[test]
fn an_agent_that_leaves_a_merge_in_progress_loses_nothing() -> anyhow::Result<()> {
    let expected = Expected {
        outcome: Outcome::WorkspaceInvalid,
        stage: "commit",
        error: "a merge with conflicts was left in progress",
        ..UNFINISHED
    };
    let commands = "git add -A && git commit -qm note && git switch -qc other HEAD~ && mkdir -p content/posts && \
                    echo other >content/posts/note.md && git add -A && git commit -qm other && git switch -q - && \
                    git merge other";
    assert_after(commands, expected)
}
