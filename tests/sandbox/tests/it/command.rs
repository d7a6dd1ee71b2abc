//! The command, for shells.

use crate::client::{ask_with, program, stdout};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use tempfile::TempDir;

const SANDBOX: &str = env!("CARGO_BIN_EXE_sandbox");

fn serve(directory: &Path, more: &[&str]) -> (Child, Value) {
    let mut command = program(SANDBOX, directory);
    command.args(["serve", "--dir"]).arg(directory.join("sandbox")).args(more);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

#[test]
fn a_shell_gets_a_sandbox_and_closing_stdin_ends_it() {
    let directory = TempDir::new().unwrap();
    let (mut child, ready) =
        serve(directory.path(), &["--repository", "octo/blog", "--repository", "octo/docs"]);
    for repository in ["octo/blog", "octo/docs"] {
        let path = ready["repositories"][repository].as_str().unwrap();
        assert!(Path::new(path).join("HEAD").exists(), "{path}");
    }
    let key = Path::new(ready["github"]["privateKeyFile"].as_str().unwrap());
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(key).unwrap().contains("BEGIN RSA PRIVATE KEY"));
    let saved = std::fs::read(directory.path().join("sandbox/sandbox.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&saved).unwrap(), ready);

    // The environment file is all that a shell needs.
    let script = ". sandbox/environment && curl -s -o /dev/null -w '%{http_code}' https://api.github.com/app";
    assert_eq!(stdout(program("sh", directory.path()).args(["-c", script])), "401");

    let control = ready["controlUrl"].as_str().unwrap();
    let told = |path: &str, body: Value| {
        ask_with(&[], "POST", &format!("{control}{path}"), Some(&body)).unwrap().status
    };
    let fault = json!({"service": "github", "pathPrefix": "/app", "how": {"status": {"code": 503}}});
    assert_eq!(told("/faults", fault), 204);
    assert_eq!(told("/faults", json!({"service": "nothing"})), 400);
    assert_eq!(told("/faults", json!([{"service": "model", "how": {"hang": 1.5}}])), 204);
    assert_eq!(told("/clock", json!({"advanceSeconds": 86_400})), 204);
    assert_eq!(stdout(program("sh", directory.path()).args(["-c", script])), "503");
    let state = ask_with(&[], "GET", &format!("{control}/state"), None).unwrap().body;
    assert_eq!(state["hosts"], json!(["api.github.com:443", "api.github.com:443"]));
    assert_eq!(state["pulls"], json!({"octo/blog": [], "octo/docs": []}));
    assert_eq!(state["github"]["requests"][1]["status"], 503);
    let now: jiff::Timestamp = state["now"].as_str().unwrap().parse().unwrap();
    assert!(now > jiff::Timestamp::now() + jiff::SignedDuration::from_hours(23));

    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(ask_with(&[], "GET", &format!("{control}/state"), None).is_err());
}

#[test]
fn a_signal_ends_it_and_a_second_start_keeps_the_branches() {
    let directory = TempDir::new().unwrap();
    let (mut child, ready) = serve(directory.path(), &["--until-signal"]);
    drop(child.stdin.take());
    let bare = ready["repositories"]["octo/blog"].as_str().unwrap().to_owned();
    crate::client::seed(directory.path(), Path::new(&bare));
    assert!(child.try_wait().unwrap().is_none());
    stdout(program("kill", directory.path()).arg(child.id().to_string()));
    assert!(child.wait().unwrap().success());

    let (mut child, ready) = serve(directory.path(), &[]);
    assert_eq!(ready["repositories"]["octo/blog"], bare);
    assert!(Path::new(&bare).join("refs/heads/main").exists());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_served_is_a_usage_error() {
    let directory = TempDir::new().unwrap();
    for wrong in [["--repository", "blog"], ["--scenario", "nowhere.json"]] {
        let mut command = program(SANDBOX, directory.path());
        let output = command.args(["serve", "--dir", "d"]).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains(wrong[1]));
        assert!(output.stdout.is_empty());
    }
}
