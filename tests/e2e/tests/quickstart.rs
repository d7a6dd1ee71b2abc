//! The README's first command, on the stand-ins: what it shows, what it leaves, and that it works a second time. A test program
//! of its own: it builds the pieces anew, which no other test should see happen.

use e2e::processes_of;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Runs it as someone without any account, from another folder.
fn quickstart(folder: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(e2e::workspace().join("scripts/quickstart.sh"));
    command.args(["--out", "out"]).args(arguments).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["CLAUDE_", "ANTHROPIC_", "OPENCODE_", "GITHUB_", "DISCORD_"].iter().any(|of| name.starts_with(of))
        {
            command.env_remove(name);
        }
    }
    Ok(command.output()?)
}

fn json(path: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// P1, P5, P11
#[test]
fn the_first_command_ends_with_a_pull_request_and_does_so_again() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    for round in [1, 2] {
        let output = quickstart(folder.path(), &[])?;
        let shown = String::from_utf8_lossy(&output.stdout);
        let said = format!("{round}: {shown}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{said}");
        for part in [
            "All three are scripted stand-ins on 127.0.0.1",
            "Branch and pull request, as the stand-ins have it",
            "by pressrun-sandbox[bot]",
            "Publisher completed:",
            "qa: Look at the page, 10 tool calls, passed",
            "screenshot  ",
            "pull request #1 is open.",
        ] {
            assert!(shown.contains(part), "'{part}' in {said}");
        }
        let last = shown.trim_end().lines().last();
        assert!(last.is_some_and(|last| last.starts_with("Done in ")), "{said}");

        let state = json(&out.join("state.json"))?;
        assert_eq!(state["pullRequest"]["state"], "open", "{said}");
        assert_eq!(state["violations"], serde_json::json!([]), "{said}");
        let page = std::fs::read_to_string(out.join("run.html"))?;
        assert!(page.contains("data:image/png;base64,"), "the screenshot is in the page");
        assert_eq!(processes_of(folder.path()), Vec::<String>::new());
        std::fs::remove_dir_all(&out)?;
    }
    Ok(())
}

/// P1, P9
#[test]
fn a_run_that_fails_is_shown_as_one() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let scenario = e2e::workspace().join("tests/sandbox/scenarios/qa-fails.json");
    let output = quickstart(folder.path(), &["--scenario", &scenario.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAILED: rejected at qa:"), "{said}");
    assert!(out.join("run.html").is_file());
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
    Ok(())
}

/// P11: with an account nothing happens that was not asked for.
#[test]
fn with_credentials_and_no_topic_it_says_what_it_would_do() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(e2e::workspace().join("scripts/quickstart.sh"));
    command.envs([
        ("CLAUDE_CODE_OAUTH_TOKEN", "x"),
        ("GITHUB_REPOSITORY", "octo/blog"),
        ("GITHUB_TOKEN", "y"),
    ]);
    let output = command.env("HOME", folder.path()).output()?;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("opens a pull request in octo/blog"), "{said}");
    assert!(said.contains("--sandbox"), "{said}");
    Ok(())
}
