/// What the agent does to its run: limits, tools, its own end.
mod agent;
/// What the agent does with git.
mod branch;
/// A clock that jumps.
mod clock;
/// Disks that are full.
mod disk;
/// MCP servers that are not there, or not for long.
mod mcp;
/// What the model's API does to a run.
mod model;
/// What fails when a run is published, and publishing again.
mod publish;
/// Signals to the run, at every stage.
mod signals;

use crate::expected::{Expected, NOTHING_DONE, TOPIC, assert_ended};
use agent_task::Outcome;
use e2e::{REPOSITORY, World};

/// P1, P5, P8, P9
#[test]
fn a_page_that_qa_finds_broken_fails_the_run_and_keeps_the_branch() -> anyhow::Result<()> {
    let world = World::new("qa-fails")?;
    let ended = world.publish(&["A post with a broken page"])?;
    assert_eq!(ended.code, 1, "{}", ended.stderr);

    let record = ended.record()?;
    assert_eq!(record.outcome, Outcome::Rejected);
    assert_eq!(record.stage.as_ref().map(agent_task::Stage::as_str), Some("qa"));
    let branches = world.run_branches()?;
    let [(branch, _)] = branches.as_slice() else { panic!("one branch, not {branches:?}") };
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    assert!(pulls.iter().all(|pull| pull.draft && pull.head == *branch), "{pulls:?}");

    let messages = world.sandbox.discord().messages();
    let [message] = messages.as_slice() else { panic!("one message, not {messages:?}") };
    let text = message.raw.to_string();
    for part in [
        "Publisher FAILED: \\\"A post with a broken page\\\"".to_owned(),
        "Stage: qa".to_owned(),
        "Error: ".to_owned(),
        format!("Branch: {branch} (preserved for debugging)"),
    ] {
        assert!(text.contains(&part), "'{part}' in {text}");
    }
    assert_eq!(world.processes(), Vec::<String>::new(), "left running");
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// P1
#[test]
fn a_run_that_changes_nothing_is_no_success() -> anyhow::Result<()> {
    let world = World::new("no-change")?;
    let unchanged = Expected { outcome: Outcome::NoChange, stage: "", ..NOTHING_DONE };
    assert_ended(&world, &world.publish(&[TOPIC])?, unchanged)
}

/// P9: a run does not start with a dead server.
#[test]
fn a_dead_mcp_server_ends_the_run_before_the_agent_and_is_told() -> anyhow::Result<()> {
    let world = World::new("one-edit")?;
    let overlay = world.path("overlay.json");
    std::fs::write(&overlay, r#"{"mcpServers":{"search":{"type":"stdio","command":"false"}}}"#)?;
    let ended = world.publish(&["--mcp-overlay", &overlay.to_string_lossy(), TOPIC])?;
    let failed =
        Expected { outcome: Outcome::McpFailed, stage: "mcp-start", error: "search", ..NOTHING_DONE };
    assert_ended(&world, &ended, failed)?;
    assert_eq!(world.sandbox.model().first_request_at(), None, "the model was asked");
    Ok(())
}
