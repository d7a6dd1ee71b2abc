//! Arguments, help, completions, signals.

use crate::{preflight, world};
use std::process::{Command, Stdio};

fn bare(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_preflight"))
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_help_has_examples_and_says_that_a_login_costs() {
    let (code, help, _) = bare(&["--help"]);
    assert_eq!(code, 0);
    for part in [
        "preflight --only tools",
        "Exit codes",
        "costs a few hundred tokens",
        "--completions",
        "preflight --cluster -n ai-agents",
    ] {
        assert!(help.contains(part), "'{part}' in {help}");
    }
    let (code, completions, _) = bare(&["--completions", "bash"]);
    assert_eq!(code, 0);
    assert!(completions.contains("--mcp-overlay"));
}

#[test]
fn wrong_usage_is_told_before_anything_is_checked() {
    for (arguments, part) in [
        (&["--only", "weather"][..], "weather"),
        (&["--only", "tools", "--skip", "tools"], "no check is left"),
        (&["--only", "tools", "--post"], "--post"),
        (&["--skip", "discord", "--post"], "--post"),
        (&["--repo", "blog"], "blog"),
        (&["--agent", "no such agent"], "no such agent"),
        (&["--base", "a..b"], "a..b"),
        (&["--timeout", "60"], "90s"),
        (&["--only", "secrets"], "--cluster looks at a cluster"),
        (&["-n", "ai-agents"], "--cluster"),
    ] {
        let (code, stdout, stderr) = bare(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part), "'{part}' in {stderr}");
    }
}

/// P13: nobody reads the report; that is no failure.
#[test]
fn a_reader_that_went_away_is_no_failure() {
    let script = format!(
        "{} --only agent 2>/dev/null | true; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_preflight")
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let code = String::from_utf8(output.stdout).unwrap();
    assert!(["0", "1"].contains(&code.trim()), "{code}");
}

/// P13: what was started ends with it, and nothing is told as if it had been checked.
#[test]
fn a_signal_ends_what_was_started() {
    let world = world();
    let pid_file = world.path("server.pid");
    assert!(Command::new("mkfifo").arg(&pid_file).status().unwrap().success());
    let overlay = world.path("overlay.json");
    let script = format!("echo $$ >{}; exec sleep 600", pid_file.display());
    let document =
        serde_json::json!({"mcpServers": {"notes": {"command": "/bin/sh", "args": ["-c", script]}}});
    std::fs::write(&overlay, document.to_string()).unwrap();
    let arguments = ["--only", "mcp", "--agent", "qa", "--mcp-overlay", overlay.to_str().unwrap()];
    let child = preflight(&world, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Blocks until the server writes.
    let read = Command::new("timeout").args(["60", "cat"]).arg(&pid_file).output().unwrap();
    let server: i32 = String::from_utf8(read.stdout).unwrap().trim().parse().unwrap();
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("stopped by a signal"), "{stderr}");
    assert!(output.stdout.is_empty());
    assert!(!std::path::Path::new(&format!("/proc/{server}")).exists(), "the server has ended");
}
