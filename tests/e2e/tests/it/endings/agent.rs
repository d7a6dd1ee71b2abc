//! What the agent does to its run: limits, tools, its own end.

use crate::expected::{Expected, UNFINISHED, assert_ended};
use crate::scripted::{ended, is_done, run, runs, world, writes_the_note};
use agent_task::Outcome;
use e2e::Ended;
use sandbox::{Turn, Usage};
use std::process::Stdio;

/// P1, P9
#[test]
fn a_denied_tool_is_no_success_whatever_the_agent_says() -> anyhow::Result<()> {
    let world = world([writes_the_note(), runs("wc -l content/posts/note.md | sh"), is_done()])?;
    let expected = Expected { outcome: Outcome::ToolDenied, error: "denied: Bash", ..UNFINISHED };
    assert_ended(&world, &ended(&world, &[])?, expected)
}

/// P1, P9
#[test]
fn the_turn_limit_ends_the_run_and_keeps_the_work() -> anyhow::Result<()> {
    let world = world([writes_the_note(), runs("git status"), is_done()])?;
    let expected = Expected { outcome: Outcome::TurnLimit, error: "turns", ..UNFINISHED };
    assert_ended(&world, &ended(&world, &["--max-turns", "1"])?, expected)
}

/// P1, P9
#[test]
fn the_budget_ends_the_run_and_keeps_the_work() -> anyhow::Result<()> {
    let usage = Some(Usage { input: 1_000_000, output: 100_000, ..Usage::default() });
    let world = world([writes_the_note(), Turn { usage, ..runs("git status") }, is_done()])?;
    let expected = Expected { outcome: Outcome::Budget, error: "budget", ..UNFINISHED };
    assert_ended(&world, &ended(&world, &["--max-budget-usd", "0.01"])?, expected)
}

/// P1, P9: SIGKILL gives it no time for a result; at SIGTERM it could write one.
#[test]
fn an_agent_that_is_killed_is_told_and_its_work_kept() -> anyhow::Result<()> {
    for signal in ["KILL", "TERM"] {
        let world = world([writes_the_note(), runs(&format!("kill -{signal} $PPID; sleep 600")), is_done()])?;
        let expected = Expected { outcome: Outcome::Interrupted, ..UNFINISHED };
        assert_ended(&world, &ended(&world, &["--allowed-tools", "Write,Bash"])?, expected)?;
    }
    Ok(())
}

/// P1, P3, P9: nobody sent that signal: it is the CLI's own fault, and the run ends without its result. Its memory, with the login
/// token in it, is written nowhere, even for who has asked for core dumps.
#[test]
fn an_agent_that_crashes_has_no_result_and_its_work_is_kept() -> anyhow::Result<()> {
    let world = world([writes_the_note(), runs("kill -SEGV $PPID; sleep 600"), is_done()])?;
    let run = run(&world, &["--allowed-tools", "Write,Bash"])?;
    let mut shell = world.command("bash");
    shell
        .args(["-c", "ulimit -S -c unlimited && exec \"$@\"", "bash"])
        .arg(run.get_program())
        .args(run.get_args())
        .envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(world.clone_path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = Ended::from_output(&shell.output()?)?;
    let expected = Expected { outcome: Outcome::NoResult, error: "crashed with SIGSEGV", ..UNFINISHED };
    assert_ended(&world, &ended, expected)?;
    let cores =
        world.command("find").arg(world.path("")).args(["-name", "core*", "-size", "+64k"]).output()?;
    assert_eq!(String::from_utf8_lossy(&cores.stdout), "");
    Ok(())
}

/// P9: also what the tool has started in sessions of its own ends.
#[test]
fn the_time_limit_reaches_into_a_tool_call() -> anyhow::Result<()> {
    let world = world([
        writes_the_note(),
        runs("setsid sleep 600 & (trap '' TERM; sleep 600) & sleep 600"),
        is_done(),
    ])?;
    let expected = Expected { outcome: Outcome::Timeout, error: "the time limit of 8s", ..UNFINISHED };
    assert_ended(&world, &ended(&world, &["--allowed-tools", "Write,Bash", "--timeout", "8s"])?, expected)
}

/// P9: a background process of the agent's does not outlive a run that went well either.
#[test]
fn what_the_agent_leaves_running_ends_with_it() -> anyhow::Result<()> {
    let world = world([
        writes_the_note(),
        runs("setsid sleep 600 >/dev/null 2>&1 </dev/null & disown; true"),
        is_done(),
    ])?;
    let ended = ended(&world, &["--allowed-tools", "Write,Bash"])?;
    assert_ended(&world, &ended, crate::expected::DELIVERED)
}
