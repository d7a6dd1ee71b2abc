use crate::{Repository, json};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

const WRITER: &str = "---\nname: writer\ndescription: Writes\ntools: Agent, Read, Write, Bash, mcp__search\n---\n\nYou write. {env:OPENCODE_API_KEY} {file:/etc/passwd}\n";

fn made(repository: &Repository, arguments: &[&str]) -> (Value, String) {
    let arguments = [&["--runtime", "opencode", "--agent", "writer"], arguments].concat();
    let home = json(&repository.agent_home(&arguments));
    let text = fs::read_to_string(repository.out().join("config/opencode/opencode.json")).unwrap();
    (home, text)
}

/// P3, P4, P12
#[test]
fn opencode_gets_one_configuration_that_says_all_there_is() {
    let repository = Repository::new();
    repository.file(".claude/agents/writer.md", WRITER);
    repository.file("opencode.json", r#"{"plugin":["./evil.js"]}"#);
    repository.file(".opencode/plugin/evil.js", "");
    let mcp = repository.root().join("../mcp.json");
    fs::write(
        &mcp,
        r#"{"mcpServers":{"search":{"type":"stdio","command":"/bin/search","args":["--fast"]}}}"#,
    )
    .unwrap();
    let (home, text) = made(
        &repository,
        &[
            "--allowed-tools",
            "Agent,Read,Bash(git *),mcp__search",
            "--mcp-config",
            mcp.to_str().unwrap(),
            "--max-turns",
            "7",
        ],
    );
    assert_eq!(home["agents"], json!(["qa", "writer"]));
    assert_eq!(home["ignored"], json!([".opencode", "opencode.json"]));

    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["agent"]["writer"]["prompt"], "You write. {env:OPENCODE_API_KEY} {file:/etc/passwd}");
    assert_eq!(
        (&config["agent"]["writer"]["mode"], &config["agent"]["qa"]["mode"]),
        (&json!("all"), &json!("subagent"))
    );
    // What it lists of what is allowed; one that lists nothing has all of that.
    let rules = &config["agent"]["writer"]["permission"];
    assert_eq!(
        (&rules["*"], &rules["read"], &rules["edit"]),
        (&json!("deny"), &json!("allow"), &Value::Null)
    );
    assert_eq!(rules["bash"], json!({"*": "deny", "git *": "allow"}));
    assert_eq!(config["agent"]["qa"]["permission"], Value::Null);
    assert_eq!(
        (&config["permission"]["*"], &config["permission"]["search_*"]),
        (&json!("deny"), &json!("allow"))
    );
    assert_eq!(config["mcp"]["search"]["command"], json!(["/bin/search", "--fast"]));
    for switched_off in ["autoupdate", "formatter", "lsp", "snapshot"] {
        assert_eq!(config[switched_off], false, "{switched_off}");
    }
    assert_eq!(config["plugin"][0][1]["maxTurns"], 7);
    // The key is named and not written, for the one provider, and there is no other reference.
    assert_eq!(config["enabled_providers"], json!(["anthropic"]));
    assert_eq!(text.matches("{env:").count() + text.matches("{file:").count(), 1, "{text}");
    assert_eq!(config["provider"]["anthropic"]["options"]["apiKey"], "{env:OPENCODE_API_KEY}");

    let mode = fs::metadata(repository.out().join("config/opencode/opencode.json")).unwrap().mode();
    assert_eq!(mode & 0o077, 0);
    let environment = home["environment"].as_object().unwrap();
    assert_eq!(environment["OPENCODE_DISABLE_PROJECT_CONFIG"], "1");
    assert_eq!(environment["OPENCODE_AUTH_CONTENT"], "{}");
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "OPENCODE_TEST_HOME", "OPENCODE_MODELS_PATH"] {
        assert!(
            environment[name].as_str().unwrap().starts_with(home["configDir"].as_str().unwrap()),
            "{name}"
        );
    }
}

/// P12
#[test]
fn its_own_name_for_instructions_comes_first() {
    let repository = Repository::new();
    repository.file(".claude/agents/writer.md", WRITER);
    let instructions = repository.out().join("config/opencode/AGENTS.md");
    made(&repository, &[]);
    assert_eq!(fs::read_to_string(&instructions).unwrap(), "Write plainly.\n");
    repository.file("AGENTS.md", "Write short posts.\n");
    made(&repository, &[]);
    assert_eq!(fs::read_to_string(&instructions).unwrap(), "Write short posts.\n");
}

/// P1, P12
#[test]
fn what_opencode_could_not_do_is_an_error_before_anything_is_made() {
    let repository = Repository::new();
    repository.file(".claude/agents/writer.md", WRITER);
    for (arguments, said) in [
        (["--model", "sonnet"], "names no provider"),
        (["--allowed-tools", "Read,NotebookEdit"], "no tool that does what 'NotebookEdit' does"),
        (["--allowed-tools", "Edit(src/**)"], "only Bash takes a pattern"),
        (["--mcp-config", "/no/such/file"], "cannot read the MCP configuration"),
        (["--max-budget-usd", "0"], "more than nothing"),
    ] {
        let arguments = [&["--runtime", "opencode", "--agent", "writer"][..], &arguments].concat();
        let output = repository.agent_home(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
        assert!(!repository.out().join("config").exists());
    }
}
