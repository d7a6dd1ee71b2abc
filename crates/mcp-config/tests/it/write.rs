//! The configuration that is printed.

use crate::machine::Machine;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

/// P4
#[test]
fn an_overlay_from_stdin_or_a_file_is_merged_and_keeps_its_references() {
    let machine = Machine::new().with("WEB_TOKEN", "value-of-web-token");
    let overlay = json!({"mcpServers": {
        "web": {"type": "http", "url": "https://mcp.example.com/", "headers": {"Authorization": "Bearer ${WEB_TOKEN}"}},
        "local": {"command": "sh", "args": ["server.sh", "${ROOM:-lobby}"]},
    }})
    .to_string();
    let ended = machine.run(&["--agent", "writer", "--overlay", "-"], &overlay);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(!ended.stdout.contains("value-of"));
    let config: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(config["mcpServers"]["web"]["headers"]["Authorization"], "Bearer ${WEB_TOKEN}");
    assert_eq!(config["mcpServers"]["local"]["args"], json!(["server.sh", "${ROOM:-lobby}"]));
    assert!(config["mcpServers"]["local"]["command"].as_str().unwrap().ends_with("/sh"));

    std::fs::write(machine.path("overlay.json"), &overlay).unwrap();
    let from_file = machine.run(&["--agent", "writer", "--overlay", "overlay.json"], "");
    assert_eq!(from_file.stdout, ended.stdout);

    let variables = machine.run(&["env"], &ended.stdout);
    let expected = json!({"kind": "McpEnvironment", "variables": ["ROOM", "WEB_TOKEN"]});
    assert_eq!(serde_json::from_str::<Value>(&variables.stdout).unwrap(), expected);
}

/// P4
#[test]
fn an_agent_without_servers_gets_an_empty_configuration() {
    let ended = Machine::new().run(&["--agent", "writer"], "");
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap(), json!({"mcpServers": {}}));
    let ended = Machine::new().with("PATH", "/nowhere").run(&["--agent", "publisher", "--no-presets"], "");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

/// P4
#[test]
fn all_problems_are_told_at_once_and_nothing_is_printed() {
    let overlay = r#"{"mcpServers":{
        "web":{"type":"http"},
        "net":{"command":"npx","args":["-y","mcp@latest"]},
        "env":{"command":"sh","env":{"A":"${NOT_SET}","B":"$HOME"}},
        "gone":{"command":"./gone"},
        "gone":{"command":"./gone"}
    }}"#;
    let ended = Machine::new().run(&["--agent", "writer", "--overlay", "-"], overlay);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    for told in [
        "server 'web', field 'url': missing",
        "server 'net', field 'command': npx downloads the server when the run starts; a run downloads nothing",
        "server 'env', field 'env.A': NOT_SET is not set",
        "server 'env', field 'env.B': '$HOME' is never expanded: write ${HOME}",
        "server 'gone': stands twice",
        "server 'gone', field 'command': does not exist",
    ] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
}

#[test]
fn a_download_can_be_allowed() {
    let machine = Machine::new();
    let npx = machine.path("npx");
    std::fs::write(&npx, "").unwrap();
    std::fs::set_permissions(&npx, std::fs::Permissions::from_mode(0o755)).unwrap();
    let overlay = r#"{"mcpServers":{"net":{"command":"./npx","args":["x"]}}}"#;
    assert_eq!(machine.run(&["--agent", "a", "--overlay", "-"], overlay).code, 2);
    assert_eq!(machine.run(&["--agent", "a", "--overlay", "-", "--allow-fetch"], overlay).code, 0);
}

#[test]
fn a_secret_in_the_overlay_is_refused_and_not_told() {
    let machine = Machine::new().with("MY_TOKEN", "value-of-my-token");
    let overlay = r#"{"mcpServers":{"s":{"command":"sh","args":["--token","value-of-my-token"]}}}"#;
    let ended = machine.run(&["--agent", "a", "--overlay", "-"], overlay);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("field 'args[1]': holds the value of MY_TOKEN: write ${MY_TOKEN}"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("value-of"));
}

/// P5
#[test]
fn a_missing_preset_says_what_to_install() {
    let ended = Machine::new().with("PATH", "/nowhere").run(&["--agent", "publisher"], "");
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("npm install --global @playwright/mcp@0.0.83"), "{}", ended.stderr);
    let removed = r#"{"mcpServers":{"playwright":null}}"#;
    let ended =
        Machine::new().with("PATH", "/nowhere").run(&["--agent", "publisher", "--overlay", "-"], removed);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let ended = Machine::new().run(&["--agent", "writer", "--preset", "discord"], "");
    assert!(ended.stderr.contains("PRESSRUN_DISCORD_MCP"), "{}", ended.stderr);
}

#[test]
fn a_file_is_written_for_its_owner_alone_and_stdout_is_quiet() {
    let machine = Machine::new();
    let ended = machine.run(&["--agent", "writer", "--out", "mcp.json"], "");
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
    let path = machine.path("mcp.json");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let ended = machine.run(&["check"], &std::fs::read_to_string(path).unwrap());
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "{\"kind\":\"McpCheck\",\"servers\":[]}\n"));
    assert_eq!(machine.run(&["--agent", "writer", "--out", "none/mcp.json"], "").code, 2);
}
