use cluster::Cluster;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// The binary with nothing in its environment but what is added.
pub(crate) struct Reap {
    command: Command,
    _home: tempfile::TempDir,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Value>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn summary(&self) -> &Value {
        let last = self.lines.last().unwrap_or_else(|| panic!("{self:?}"));
        assert_eq!(last["kind"], "ReapSummary", "{self:?}");
        last
    }

    /// The line whose `member` (claim, volume) has this value and that has no other of those before it.
    pub(crate) fn line(&self, member: &str, value: &str) -> &Value {
        let found: Vec<_> = self.lines.iter().filter(|line| line[member] == value).collect();
        match (member, &*found) {
            (_, [line]) => line,
            // A volume is named in its claim's line too.
            ("volume", [_, line]) => line,
            _ => panic!("{member} {value}: {self:?}"),
        }
    }

    /// Decision and result of a claim.
    pub(crate) fn claim(&self, name: &str) -> (&str, &str) {
        let line = self.line("claim", name);
        (line["decision"].as_str().unwrap(), line["result"].as_str().unwrap())
    }
}

impl Reap {
    pub(crate) fn new() -> Self {
        Self::program(env!("CARGO_BIN_EXE_reap-pvcs"))
    }

    /// `sh -c script`, which finds the binary on its PATH.
    pub(crate) fn shell(script: &str) -> Self {
        Self::program("/bin/sh").args(&["-c", script])
    }

    fn program(program: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let binaries = Path::new(env!("CARGO_BIN_EXE_reap-pvcs")).parent().unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", binaries.display()))
            .env("HOME", home.path());
        Self { command, _home: home }
    }

    /// In this namespace of this cluster.
    pub(crate) fn on(cluster: &Cluster, namespace: &str) -> Self {
        Self::new().env("KUBECONFIG", cluster.kubeconfig()).args(&["--namespace", namespace])
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn run(mut self) -> Ended {
        let output = self.command.stdin(Stdio::null()).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        Ended {
            code: output.status.code(),
            lines: stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
