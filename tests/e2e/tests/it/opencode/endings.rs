use super::{ended, run, world};
use crate::expected::{DELIVERED, Expected, NOTHING_DONE, UNFINISHED, assert_ended, assert_limited};
use crate::scripted::{calls, failing, is_done, refuse_connections, runs, usage_limit, writes_the_note};
use agent_task::Outcome;
use e2e::{Ended, World, heard, send};
use sandbox::{Failing, Turn, Usage};
use serde_json::{Value, json};

/// The note is written; then this happens to every further request.
#[track_caller]
fn assert_after(how: Failing, expected: Expected<'_>) -> anyhow::Result<()> {
    let world = world([writes_the_note(), failing(is_done(), 100, how)])?;
    assert_ended(&world, &ended(&world, &[])?, expected)
}

/// A status that is asked again at once, where it is asked again.
fn status(code: u16) -> Failing {
    let headers = vec![("retry-after-ms".to_owned(), "20".to_owned())];
    Failing::Status { code, kind: None, message: None, headers }
}

/// P12, with P1
#[test]
fn a_run_that_changes_nothing_is_no_success() -> anyhow::Result<()> {
    let world = world([is_done()])?;
    let expected = Expected { outcome: Outcome::NoChange, stage: "", ..NOTHING_DONE };
    assert_ended(&world, &ended(&world, &[])?, expected)
}

/// P12, with P1, P9: refused by a rule, and not offered at all.
#[test]
fn a_denied_tool_is_no_success_whatever_the_agent_says() -> anyhow::Result<()> {
    for (turn, error) in [
        (runs("git log -1 --oneline | sh"), "denied: bash"),
        (calls("WebFetch", json!({"url": "https://example.org/", "format": "text"})), "denied: webfetch"),
    ] {
        let world = world([writes_the_note(), turn, is_done()])?;
        let expected = Expected { outcome: Outcome::ToolDenied, error, ..UNFINISHED };
        assert_ended(&world, &ended(&world, &["--allowed-tools", "Write,Bash(git *)"])?, expected)?;
    }
    Ok(())
}

/// P12, with P9: the login is refused from the beginning, or while the agent is at work.
#[test]
fn a_key_that_is_refused_is_told() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let output = run(&world, &[])?.env("OPENCODE_API_KEY", "sk-ant-api03-another-one-of-nobody").output()?;
    let expected = Expected { outcome: Outcome::LoginFailed, error: "invalid x-api-key", ..NOTHING_DONE };
    assert_ended(&world, &Ended::from_output(&output)?, expected)?;
    let expected = Expected { outcome: Outcome::LoginFailed, error: "authentication", ..UNFINISHED };
    assert_after(status(401), expected)
}

/// P12, with P9
#[test]
fn what_the_api_answers_is_told_apart() -> anyhow::Result<()> {
    let api = |outcome, error| Expected { outcome, error, ..UNFINISHED };
    assert_after(status(400), api(Outcome::ApiError, "not valid"))?;
    assert_after(status(529), api(Outcome::ApiUnavailable, "Overloaded"))
}

/// P12, with P1
#[test]
fn an_api_that_fails_for_a_moment_costs_nothing_but_time() -> anyhow::Result<()> {
    let world = world([writes_the_note(), failing(is_done(), 2, status(529))])?;
    let ended = ended(&world, &[])?;
    assert_ended(&world, &ended, DELIVERED)?;
    assert_eq!(ended.record()?.report.map(|report| report.api_retries), Some(2));
    Ok(())
}

/// P12, with P9: it would wait for as long as it is told to.
#[test]
fn a_limit_that_resets_later_ends_the_run_with_the_time_of_its_reset() -> anyhow::Result<()> {
    let world = world([writes_the_note(), failing(is_done(), 100, usage_limit())])?;
    assert_limited(&world, &ended(&world, &[])?)
}

/// P12, with P9: it is tried again for a minute.
#[test]
fn a_refused_connection_fails_the_run() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    refuse_connections(&world);
    let expected = Expected { outcome: Outcome::NetworkError, ..NOTHING_DONE };
    assert_ended(&world, &ended(&world, &[])?, expected)
}

/// P12, with P9
#[test]
fn limits_of_turns_and_money_end_the_run_and_keep_the_work() -> anyhow::Result<()> {
    let usage = Some(Usage { input: 1_000_000, output: 100_000, ..Usage::default() });
    for (limit, outcome, error) in [
        (["--max-turns", "1"], Outcome::TurnLimit, "maximum number of turns (1)"),
        (["--max-budget-usd", "0.5"], Outcome::Budget, "maximum budget ($0.5)"),
    ] {
        let world =
            world([writes_the_note(), Turn { usage, ..runs("git status") }, runs("git status"), is_done()])?;
        let expected = Expected { outcome, error, ..UNFINISHED };
        assert_ended(&world, &ended(&world, &limit)?, expected)?;
    }
    Ok(())
}

/// P12, with P9: also while a subagent is at work, which is then the stage.
#[test]
fn a_run_that_is_ended_while_the_agent_works_is_kept_and_told() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    world.sandbox.model().expect_api_key();
    let pipe = world.pipe("at-work")?;
    let call = json!({"subagent_type": "qa", "description": "Look", "prompt": "Look at it."});
    let works = runs(&format!("echo $$ >{}; sleep 600", pipe.display()));
    world.sandbox.model().load(sandbox::Scenario {
        agents: vec![
            sandbox::Agent::new("writer").turn(writes_the_note()).turn(calls("Agent", call)).turn(is_done()),
            sandbox::Agent::new("qa").turn(works).turn(is_done()),
        ],
        ..sandbox::Scenario::default()
    })?;
    // The writer lists its tools, and subagents are not among them.
    let definition = world.clone_path().join(".claude/agents/writer.md");
    let text = std::fs::read_to_string(&definition)?.replace("tools: Read", "tools: Agent, Read");
    commit(&world, &definition, &text)?;
    let child = run(&world, &["--allowed-tools", "Agent,Write,Bash"])?.spawn()?;
    heard(&pipe)?;
    send("TERM", child.id())?;
    let expected = Expected { outcome: Outcome::Interrupted, stage: "qa", error: "SIGTERM", ..UNFINISHED };
    assert_ended(&world, &Ended::from_output(&child.wait_with_output()?)?, expected)
}

/// P12, with P9
#[test]
fn an_agent_that_is_killed_is_told_and_its_work_kept() -> anyhow::Result<()> {
    let world = world([writes_the_note(), runs("kill -KILL $PPID; sleep 600"), is_done()])?;
    let expected = Expected { outcome: Outcome::Interrupted, ..UNFINISHED };
    assert_ended(&world, &ended(&world, &["--allowed-tools", "Write,Bash"])?, expected)
}

/// A server in Python that does this when it begins, knows one tool, and ends when it is called.
fn server(begun: &str) -> Value {
    let script = format!(
        r#"
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    if asked["method"] == "initialize":
        {begun}
        result = {{"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {{"tools": {{}}}},
                  "serverInfo": {{"name": "search", "version": "1"}}}}
    elif asked["method"] == "tools/list":
        result = {{"tools": [{{"name": "find", "description": "Finds", "inputSchema": {{"type": "object"}}}}]}}
    else:
        sys.exit(3)
    print(json.dumps({{"jsonrpc": "2.0", "id": asked["id"], "result": result}}), flush=True)
"#
    );
    json!({"type": "stdio", "command": "python3", "args": ["-c", script]})
}

/// P12, with P9: the agent got on without it, which is no proof that its work is whole.
#[test]
fn a_server_that_is_gone_is_told() -> anyhow::Result<()> {
    // It dies when it is called, or before.
    for (begun, expected) in [
        ("pass", Expected { error: "search ended during the run", ..UNFINISHED }),
        (
            "print('no index', file=sys.stderr); sys.exit(3)",
            Expected { error: "no index", stage: "mcp-start", ..NOTHING_DONE },
        ),
    ] {
        let world = world([writes_the_note(), calls("mcp__search__find", json!({})), is_done()])?;
        let definition = world.clone_path().join(".claude/agents/writer.md");
        let text = std::fs::read_to_string(&definition)?.replace("Grep, Bash", "Grep, Bash, mcp__search");
        commit(&world, &definition, &text)?;
        let server = server(begun);
        let overlay = world.path("overlay.json");
        std::fs::write(&overlay, json!({"mcpServers": {"search": server}}).to_string())?;
        let arguments = ["--mcp-overlay", &overlay.to_string_lossy(), "--allowed-tools", "Write,mcp__search"];
        let expected = Expected { outcome: Outcome::McpFailed, ..expected };
        assert_ended(&world, &ended(&world, &arguments)?, expected)?;
        let asked = world.sandbox.model().requests().len();
        assert_eq!(
            asked == 0,
            expected.stage == "mcp-start",
            "the model is asked when the servers are there"
        );
    }
    Ok(())
}

/// Makes this the file's text on the base branch, here and on the server.
fn commit(world: &World, file: &std::path::Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text)?;
    let remote = world.remote.to_string_lossy();
    for (at, arguments) in [
        (world.clone_path(), &["commit", "--quiet", "--all", "--message=Let the writer do more"][..]),
        (world.clone_path(), &["push", "--quiet", &remote, "main"]),
        (world.path("seed"), &["pull", "--quiet", &remote, "main"]),
    ] {
        world.git(&at, arguments)?;
    }
    Ok(())
}
