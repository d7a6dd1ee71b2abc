//! The built binary against the sandbox, with the real agent CLI, MCP server and git. Whether nothing was changed is read
//! back from the servers and the work tree.

#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;
mod command_line;
mod failures;
mod opencode;
mod success;

use e2e::World;
use sandbox::{Agent, Scenario, Turn};
use serde_json::Value;
use std::process::{Command, Output};

/// What the login is greeted with.
fn scenario() -> Scenario {
    let turn = Turn { text: Some("OK".to_owned()), ..Turn::default() };
    let agent = Agent {
        name: "preflight".to_owned(),
        marker: Some("You check a login.".to_owned()),
        turns: vec![turn],
    };
    Scenario { agents: vec![agent], ..Scenario::default() }
}

/// A world in which everything is as it should be.
fn world() -> World {
    e2e::build();
    let world = World::without_scenario().unwrap();
    world.sandbox.model().load(scenario()).unwrap();
    world
}

/// `preflight` in the clone with every credential.
fn preflight(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.command(env!("CARGO_BIN_EXE_preflight"));
    command.args(arguments).envs(world.credentials().unwrap()).current_dir(world.clone_path());
    command
}

/// How it ended.
struct Ended {
    code: i32,
    report: Value,
    stderr: String,
}

impl Ended {
    fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        let report = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
        Self { code: status.code().unwrap(), report, stderr }
    }

    fn check(&self, name: &str) -> &Value {
        let found = self.report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no check '{name}': {}", self.stderr))
    }

    fn statuses(&self) -> Vec<(&str, &str)> {
        let checks = self.report["checks"].as_array().unwrap();
        checks
            .iter()
            .map(|check| (check["name"].as_str().unwrap(), check["status"].as_str().unwrap()))
            .collect()
    }

    /// This check failed, the others did not.
    #[track_caller]
    fn assert_failed(&self, code: i32, name: &str, detail: &str, remedy: &str) {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert_eq!(self.report["ok"], false);
        let failed: Vec<&str> = self
            .statuses()
            .into_iter()
            .filter_map(|(name, status)| (status == "failed").then_some(name))
            .collect();
        assert_eq!(failed, [name], "{}", self.stderr);
        let check = self.check(name);
        for (field, part) in [("detail", detail), ("remedy", remedy)] {
            let text = check[field].as_str().unwrap_or_default();
            assert!(text.contains(part), "'{part}' in {field}: {text}");
            assert!(self.stderr.contains(part), "'{part}' in {}", self.stderr);
        }
    }
}

/// What must be the same before and after.
#[derive(Debug, PartialEq, Eq)]
struct State {
    branches: Vec<(String, String)>,
    refs: String,
    status: String,
    messages: usize,
    pushes: usize,
    pull_requests: usize,
    temporary: Vec<std::ffi::OsString>,
}

impl State {
    fn of(world: &World) -> Self {
        let clone = world.clone_path();
        let temporary = std::fs::read_dir(world.path("tmp")).unwrap();
        Self {
            branches: world.remote_branches().unwrap(),
            refs: world.git(&clone, &["for-each-ref"]).unwrap(),
            status: world.git(&clone, &["status", "--porcelain", "--ignored", "--branch"]).unwrap(),
            messages: world.sandbox.discord().messages().len(),
            pushes: world.sandbox.github().git_pushes().len(),
            pull_requests: world.sandbox.github().pull_requests(e2e::REPOSITORY).len(),
            temporary: temporary
                .map(|entry| entry.unwrap().file_name())
                // The agent CLI's, whatever it is told.
                .filter(|name| name.to_string_lossy().starts_with("preflight"))
                .collect(),
        }
    }
}

/// Runs it, and sees that nothing is changed, posted, pushed or left, and no secret told.
#[track_caller]
fn look(world: &World, command: &mut Command) -> Ended {
    let before = State::of(world);
    let ended = Ended::of(command);
    assert_eq!(State::of(world), before, "{}", ended.stderr);
    let told = format!("{}{}", ended.report, ended.stderr);
    let mut secrets = vec![world.sandbox.model().token(), "BEGIN RSA".to_owned(), "ghs_".to_owned()];
    secrets.extend(world.sandbox.discord().webhook_url().rsplit('/').next().map(str::to_owned));
    for secret in secrets {
        assert!(!told.contains(&secret), "a secret in: {told}");
    }
    ended
}
