//! A machine of its own for every test: no environment but what is given, and nothing left running.

use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Marks every process that a test starts, by its environment.
const MARK: &str = "PRESSRUN_TEST_MARK";

pub(crate) struct Machine {
    pub(crate) home: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut variables: Vec<(String, String)> = vec![
            ("HOME".to_owned(), home.path().to_str().unwrap().to_owned()),
            (MARK.to_owned(), home.path().to_str().unwrap().to_owned()),
        ];
        for name in ["PATH", "PLAYWRIGHT_BROWSERS_PATH"] {
            variables.extend(std::env::var(name).ok().map(|value| (name.to_owned(), value)));
        }
        Self { home, variables }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-config"));
        command.args(args).env_clear().current_dir(self.home.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn spawn(&self, args: &[&str], input: &str) -> Child {
        let mut child = self.command(args).spawn().unwrap();
        // A program that reads nothing may have closed it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child
    }

    pub(crate) fn run(&self, args: &[&str], input: &str) -> Ended {
        Ended::from(self.spawn(args, input).wait_with_output().unwrap())
    }

    /// Checks one server called `s`, and shows that nothing of it is left.
    pub(crate) fn check(&self, server: &Value, args: &[&str]) -> (i32, Value, String) {
        let config = json!({"mcpServers": {"s": server}}).to_string();
        let ended = self.run(&[&["check"], args].concat(), &config);
        assert_eq!(self.left_running(), Vec::<String>::new());
        let mut report: Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|_| panic!("no report: {} {}", ended.stdout, ended.stderr));
        assert_eq!(report["kind"], "McpCheck");
        (ended.code, report["servers"][0].take(), ended.stderr)
    }

    /// Command lines of the processes that this test started and that are still there.
    pub(crate) fn left_running(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.home.path().display()).into_bytes();
        let marked = |process: &Path| {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == mark)
        };
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        processes
            .filter(|process| marked(process))
            .map(|process| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default())
            .collect()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
