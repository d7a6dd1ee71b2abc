//! One of the pieces as a process, for their tests.

use serde_json::Value;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A program with nothing in its environment but what is added, a home of its own, and the pieces on its `PATH`. A test fails
/// where it cannot be started.
#[derive(Debug)]
pub struct Piece {
    command: Command,
    _home: tempfile::TempDir,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it told people.
    pub stderr: String,
}

#[allow(clippy::unwrap_used, reason = "a test has no other way to fail")]
impl Piece {
    /// The piece at `binary`, as Cargo names it in `CARGO_BIN_EXE_…`.
    #[must_use]
    pub fn new(binary: &str) -> Self {
        Self::beside(binary, binary)
    }

    /// `sh -c script`, which finds the piece at `binary` on its `PATH`.
    #[must_use]
    pub fn shell(binary: &str, script: &str) -> Self {
        Self::beside(binary, "/bin/sh").args(&["-c", script])
    }

    fn beside(binary: &str, program: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let binaries = Path::new(binary).parent().unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", binaries.display()))
            .env("HOME", home.path());
        Self { command, _home: home }
    }

    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With these arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it with this on stdin.
    pub fn run(mut self, stdin: impl AsRef<[u8]>) -> Ended {
        let mut child = self.started();
        // It may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_ref());
        Ended::of(child.wait_with_output().unwrap())
    }

    /// Runs it with this on stdin, and kills it when `until` has come back.
    pub fn run_until(mut self, stdin: impl AsRef<[u8]>, until: impl FnOnce()) -> Ended {
        let mut child = self.started();
        child.stdin.take().unwrap().write_all(stdin.as_ref()).unwrap();
        until();
        child.kill().unwrap();
        Ended::of(child.wait_with_output().unwrap())
    }

    /// Runs it with nobody reading its stdout.
    pub fn run_unread(mut self, stdin: &str) -> Ended {
        let mut child = self.started();
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        Ended::of(child.wait_with_output().unwrap())
    }

    fn started(&mut self) -> std::process::Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

#[allow(clippy::unwrap_used, clippy::panic, reason = "a test has no other way to fail")]
impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// stdout, which is one JSON document.
    #[must_use]
    pub fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// stdout, a JSON document a line.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}")))
            .collect()
    }
}
