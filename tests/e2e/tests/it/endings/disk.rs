//! Disks that are full, each a real one of a few MiB. What the agent did is kept, what failed is told once, and running it again
//! after room was made finishes the job.

use crate::expected::{DELIVERED, Expected, NOTE, Published, TOPIC, UNFINISHED, assert_ended};
use crate::scripted::{
    ended, failing, is_done, published_again, run, runs, usage_limit, world, writer, writes_the_note,
};
use agent_task::Outcome;
use e2e::{Disk, Ended, REPOSITORY, World};
use sandbox::Turn;
use std::path::Path;

/// Writes until there is no room left, not even for one more block.
fn fill(file: &str) -> String {
    format!(
        "for size in 1M 64k 4k; do dd if=/dev/zero bs=$size oflag=append conv=notrunc of={file}; done; true"
    )
}

fn tools(world: &World) -> anyhow::Result<Ended> {
    ended(world, &["--allowed-tools", "Write,Bash"])
}

/// A folder of the world's moves to a small disk.
fn onto_a_small_disk(folder: &Path, kib: u32) -> anyhow::Result<Disk> {
    let aside = folder.with_extension("aside");
    std::fs::rename(folder, &aside)?;
    let disk = Disk::mount(folder, kib)?;
    let status = std::process::Command::new("cp").arg("-a").arg(aside.join(".")).arg(folder).status()?;
    assert!(status.success(), "copying to {}", folder.display());
    std::fs::remove_dir_all(aside)?;
    Ok(disk)
}

/// A run whose clone has no room for the commit of what `turns` leave, and how it ended. That is told once.
fn without_room_to_commit(
    turns: impl IntoIterator<Item = Turn>,
    outcome: Outcome,
) -> anyhow::Result<(World, Disk, Ended)> {
    let world = world(turns)?;
    let disk = onto_a_small_disk(&world.clone_path(), 8 * 1024)?;
    let ended = tools(&world)?;
    let record = ended.record()?;
    assert_eq!((ended.code, record.outcome, record.uncommitted), (1, outcome, true), "{}", ended.stderr);
    let error = record.error.unwrap_or_default();
    assert!(error.contains("No space left on device"), "{error}");
    let messages = world.sandbox.discord().messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    let text = messages[0].raw.to_string();
    assert!(text.contains("No space left") && text.contains("Make room"), "{text}");
    assert_eq!(world.processes(), Vec::<String>::new());
    Ok((world, disk, ended))
}

fn fill_the_clone() -> Turn {
    runs(&fill(".git/ballast"))
}

/// One that had finished, and committed nothing by itself.
fn finished_without_room_to_commit() -> anyhow::Result<(World, Disk, Ended)> {
    let turns = [writes_the_note(), fill_the_clone(), is_done()];
    let (world, disk, ended) = without_room_to_commit(turns, Outcome::CommitFailed)?;
    assert_eq!(ended.record()?.stage.as_ref().map(agent_task::Stage::as_str), Some("commit"));
    let note = std::fs::read_to_string(world.clone_path().join(NOTE[0]))?;
    assert!(note.contains("a hope"), "the work is still in the work tree: {note}");
    assert_eq!(world.run_branches()?, Vec::new());
    Ok((world, disk, ended))
}

/// P1, P8, P9: nothing is lost, and publishing again delivers what the agent had finished. Its message becomes that of a success.
#[test]
fn a_full_disk_at_the_commit_is_told_and_publishing_again_delivers() -> anyhow::Result<()> {
    let (world, disk, _) = finished_without_room_to_commit()?;
    disk.grow(64 * 1024)?;
    assert_ended(&world, &published_again(&world)?, DELIVERED)?;
    assert_ended(&world, &published_again(&world)?, DELIVERED)
}

/// P1, P8, P9: what the agent had not finished is committed and published as such, whatever ended it.
#[test]
fn a_full_disk_at_the_commit_of_a_run_that_failed_loses_nothing() -> anyhow::Result<()> {
    let turns = [writes_the_note(), fill_the_clone(), failing(is_done(), 100, usage_limit())];
    let (world, disk, _) = without_room_to_commit(turns, Outcome::UsageLimit)?;
    // Without room it is as it was.
    let again = published_again(&world)?;
    assert_eq!((again.code, again.record()?.uncommitted), (1, true), "{}", again.stderr);
    disk.grow(64 * 1024)?;
    let limited = Expected { outcome: Outcome::UsageLimit, error: "limit", ..UNFINISHED };
    assert_ended(&world, &published_again(&world)?, limited)?;
    assert_ended(&world, &published_again(&world)?, limited)
}

/// P1, P7, P9: what the agent has committed itself is published at once, the rest when there is room.
#[test]
fn a_full_disk_at_the_commit_leaves_the_agents_own_commits_to_be_published() -> anyhow::Result<()> {
    let commits = runs("git add -A && git commit -qm note && echo more >content/posts/more.md");
    let turns = [writes_the_note(), commits, fill_the_clone(), is_done()];
    let (world, disk, _) = without_room_to_commit(turns, Outcome::CommitFailed)?;
    let [(branch, _)] = &world.run_branches()?[..] else { panic!("one branch") };
    assert_eq!(world.git(&world.remote, &["diff", "--name-only", "main", branch])?, NOTE[0]);
    disk.grow(64 * 1024)?;
    let all = ["content/posts/more.md", NOTE[0]];
    let draft = Expected { files: &all, published: Published::Draft, ..DELIVERED };
    assert_ended(&world, &published_again(&world)?, draft)
}

/// P1, P8, P9: the next run delivers the one before it, and then itself.
#[test]
fn a_full_disk_at_the_commit_is_made_good_by_the_next_run() -> anyhow::Result<()> {
    let (world, disk, first) = finished_without_room_to_commit()?;
    let output = run(&world, &[])?.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "without room nothing is begun: {stderr}");
    assert!(stderr.contains("is not committed") && stderr.contains("make room"), "{stderr}");
    disk.grow(64 * 1024)?;
    world.sandbox.model().load(writer([runs("echo more >>content/posts/more.md"), is_done()]))?;
    let second = tools(&world)?;
    assert_eq!((second.code, second.record()?.outcome), (0, Outcome::Success), "{}", second.stderr);

    let (first, second) = (first.record()?.branch, second.record()?.branch);
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    let open: Vec<_> = pulls.iter().map(|pull| (Some(pull.head.clone()), pull.draft)).collect();
    assert_eq!(open, [(first, false), (second, false)], "one pull request a run");
    let messages = world.sandbox.discord().messages();
    assert_eq!(messages.len(), 2, "one message a run: {messages:?}");
    for message in messages {
        let text = message.raw.to_string();
        assert!(text.contains(&format!("completed: \\\"{TOPIC}\\\"")), "{text}");
    }
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// Asserts that the push has no room on this disk, and that publishing again delivers when it has.
#[track_caller]
fn assert_no_room_to_push(world: &World, disk: &Disk) -> anyhow::Result<()> {
    let expected = Expected {
        outcome: Outcome::PushFailed,
        stage: "push",
        error: "No space left on device",
        published: Published::Nothing,
        ..UNFINISHED
    };
    assert_ended(world, &tools(world)?, expected)?;
    disk.grow(64 * 1024)?;
    assert_ended(world, &published_again(world)?, DELIVERED)
}

/// P7, P8, P9: the folder for temporary files, in which the push is made, has no room.
#[test]
fn a_full_disk_at_the_push_is_told_and_the_next_time_finishes_the_job() -> anyhow::Result<()> {
    let world = world([writes_the_note(), runs(&fill("$TMPDIR/../ballast")), is_done()])?;
    let disk = Disk::mount(&world.path("tmp"), 8 * 1024)?;
    assert_no_room_to_push(&world, &disk)
}

/// P7, P8, P9: the server has no room for what is pushed.
#[test]
fn a_full_disk_of_the_servers_is_worth_another_try() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let disk = onto_a_small_disk(&world.remote, 2 * 1024)?;
    let ballast = world.remote.join("ballast").display().to_string();
    assert!(world.command("bash").args(["-c", &fill(&ballast)]).status()?.success());
    assert_no_room_to_push(&world, &disk)
}

/// P6, P9: the transcript ends early, and that is said; the run is delivered all the same.
#[test]
fn a_full_disk_of_the_run_directorys_costs_the_transcript_alone() -> anyhow::Result<()> {
    let world = world([writes_the_note(), runs(&fill("$PRESSRUN_RUN_DIR/ballast")), is_done()])?;
    let _disk = Disk::mount(&world.run_dir(), 4 * 1024)?;
    let ended = tools(&world)?;
    assert_ended(&world, &ended, DELIVERED)?;
    assert!(ended.stderr.contains("transcript.jsonl ends here: No space left"), "{}", ended.stderr);
    Ok(())
}

/// P1: no room for a record is known before anything happens.
#[test]
fn a_run_directory_without_room_stops_before_anything_happens() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let _disk = Disk::mount(&world.run_dir(), 64)?;
    let output = run(&world, &[])?.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("No space left") && stderr.contains("make room"), "{stderr}");
    assert_eq!(world.sandbox.model().requests().len(), 0);
    assert_eq!(
        world.git(&world.clone_path(), &["status", "--porcelain", "--branch"])?,
        "## main...origin/main"
    );
    Ok(())
}
