use sandbox::Sandbox;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The binary with nothing in its environment but what is added.
pub(crate) struct OpenPr {
    command: Command,
    _home: tempfile::TempDir,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// stdout, which is one JSON document.
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl OpenPr {
    pub(crate) fn new() -> Self {
        Self::program(env!("CARGO_BIN_EXE_open-pr"))
    }

    /// `sh -c script`, which finds the binary on its PATH.
    pub(crate) fn shell(script: &str) -> Self {
        Self::program("/bin/sh").args(&["-c", script])
    }

    fn program(program: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_open-pr")).parent().unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", binaries.display()))
            .env("HOME", home.path());
        Self { command, _home: home }
    }

    /// To the sandbox's GitHub, with this token.
    pub(crate) fn github(sandbox: &Sandbox, token: &str) -> Self {
        Self::new().env("GITHUB_API_URL", &sandbox.github().api_url()).env("GITHUB_TOKEN", token)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it with this on stdin.
    pub(crate) fn run(mut self, stdin: impl AsRef<[u8]>) -> Ended {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        // It may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_ref());
        Ended::of(child.wait_with_output().unwrap())
    }

    /// Runs it with nobody reading its stdout.
    pub(crate) fn run_unread(mut self, stdin: &str) -> Ended {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        Ended::of(child.wait_with_output().unwrap())
    }
}

impl Ended {
    fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
