//! MCP servers that are not there, or not for long.

use crate::expected::{Expected, NOTHING_DONE, UNFINISHED, assert_ended};
use crate::scripted::{calls, ended, is_done, run, world, writes_the_note};
use agent_task::Outcome;
use e2e::World;
use serde_json::{Value, json};

/// A server in Python that knows one tool, and ends when it is called.
const DIES: &str = r#"
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    if asked["method"] == "initialize":
        result = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "search", "version": "1"}}
    elif asked["method"] == "tools/list":
        result = {"tools": [{"name": "find", "description": "Finds", "inputSchema": {"type": "object"}}]}
    else:
        sys.exit(3)
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"#;

/// An overlay with the server `search`.
fn overlay(world: &World, server: &Value) -> anyhow::Result<String> {
    let path = world.path("overlay.json");
    std::fs::write(&path, json!({"mcpServers": {"search": server}}).to_string())?;
    Ok(path.to_string_lossy().into_owned())
}

/// P9: the agent does not get its prompt.
#[test]
fn a_server_that_exits_or_hangs_ends_the_run_before_the_agent() -> anyhow::Result<()> {
    for (server, error) in [
        (json!({"type": "stdio", "command": "sh", "args": ["-c", "echo no index >&2; exit 3"]}), "no index"),
        (json!({"type": "stdio", "command": "sleep", "args": ["600"]}), "did not start within 15s"),
    ] {
        let world = world([writes_the_note(), is_done()])?;
        let overlay = overlay(&world, &server)?;
        let expected = Expected { outcome: Outcome::McpFailed, stage: "mcp-start", error, ..NOTHING_DONE };
        assert_ended(&world, &ended(&world, &["--mcp-overlay", &overlay])?, expected)?;
        assert_eq!(world.sandbox.model().first_request_at(), None, "the model was asked");
    }
    Ok(())
}

/// P9: known before anything happens.
#[test]
fn a_server_whose_program_is_missing_is_wrong_usage() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let overlay = overlay(&world, &json!({"type": "stdio", "command": "no-such-server"}))?;
    let output = run(&world, &["--mcp-overlay", &overlay])?.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("no-such-server"), "{stderr}");
    assert_eq!(world.sandbox.hosts_asked(), Vec::<String>::new());
    Ok(())
}

/// P9: the agent got on without it, which is no proof that its work is whole.
#[test]
fn a_server_that_dies_midway_is_told() -> anyhow::Result<()> {
    let world = world([writes_the_note(), calls("mcp__search__find", json!({})), is_done()])?;
    // The blog's writer may use no server's tools.
    let definition = world.clone_path().join(".claude/agents/writer.md");
    let text = std::fs::read_to_string(&definition)?.replace("Grep, Bash", "Grep, Bash, mcp__search");
    std::fs::write(&definition, text)?;
    for (at, arguments) in [
        (world.clone_path(), &["commit", "--quiet", "--all", "--message=Let the writer search"][..]),
        (world.clone_path(), &["push", "--quiet", &world.remote.to_string_lossy(), "main"]),
        (world.path("seed"), &["pull", "--quiet", &world.remote.to_string_lossy(), "main"]),
    ] {
        world.git(&at, arguments)?;
    }
    let overlay = overlay(&world, &json!({"type": "stdio", "command": "python3", "args": ["-c", DIES]}))?;
    let ended = ended(&world, &["--mcp-overlay", &overlay, "--allowed-tools", "Write,mcp__search"])?;
    let expected =
        Expected { outcome: Outcome::McpFailed, error: "search ended during the run", ..UNFINISHED };
    assert_ended(&world, &ended, expected)
}
