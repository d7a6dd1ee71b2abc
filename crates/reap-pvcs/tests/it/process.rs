use cluster::Cluster;
use sandbox::Piece;
use serde_json::Value;
use std::path::Path;

const BINARY: &str = env!("CARGO_BIN_EXE_reap-pvcs");

/// The binary with nothing in its environment but what is added.
pub(crate) struct Reap(Piece);

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Value>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    fn of(ended: sandbox::Ended) -> Self {
        Self {
            code: ended.code,
            lines: ended.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            stdout: ended.stdout,
            stderr: ended.stderr,
        }
    }

    pub(crate) fn summary(&self) -> &Value {
        let last = self.lines.last().unwrap_or_else(|| panic!("{self:?}"));
        assert_eq!(last["kind"], "ReapSummary", "{self:?}");
        last
    }

    /// The line of a claim, or of a volume that has none.
    pub(crate) fn line(&self, member: &str, name: &str) -> &Value {
        let mut found = self.lines.iter().filter(|line| line[member] == name);
        // A volume is named in its claim's line too, which comes before its own.
        found.next_back().unwrap_or_else(|| panic!("{member} {name}: {self:?}"))
    }

    /// Decision and result of a claim.
    pub(crate) fn claim(&self, name: &str) -> (&str, &str) {
        let line = self.line("claim", name);
        (line["decision"].as_str().unwrap(), line["result"].as_str().unwrap())
    }
}

impl Reap {
    pub(crate) fn new() -> Self {
        Self(Piece::new(BINARY))
    }

    /// `sh -c script`, which finds the binary on its PATH.
    pub(crate) fn shell(script: &str) -> Self {
        Self(Piece::shell(BINARY, script))
    }

    /// In this namespace of this cluster.
    pub(crate) fn on(cluster: &Cluster, namespace: &str) -> Self {
        Self::new().kubeconfig(cluster.kubeconfig()).args(&["--namespace", namespace])
    }

    pub(crate) fn kubeconfig(self, file: &Path) -> Self {
        Self(self.0.env("KUBECONFIG", file.to_str().unwrap()))
    }

    pub(crate) fn args(self, args: &[&str]) -> Self {
        Self(self.0.args(args))
    }

    pub(crate) fn run(self) -> Ended {
        Ended::of(self.0.run(""))
    }

    /// With nobody reading its stdout.
    pub(crate) fn run_unread(self) -> Ended {
        Ended::of(self.0.run_unread(""))
    }
}
