use crate::process::to_github;
use sandbox::{Ended, Piece, PullRequest, Sandbox};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const REPOSITORY: &str = "octo/blog";
pub(crate) const BRANCH: &str = "agent/publisher-1790635538";

/// The sandbox with a repository, whose branch `main` has a commit and the run's branch one more.
pub(crate) struct Hub {
    pub(crate) sandbox: Sandbox,
    pub(crate) token: String,
    pub(crate) head: String,
    repository: PathBuf,
}

impl Hub {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::start().unwrap();
        let repository = sandbox.github().add_repository(REPOSITORY);
        let base = commit(&repository, "base", None);
        git(&repository, &["update-ref", "refs/heads/main", &base]);
        let head = commit(&repository, "work", Some(&base));
        git(&repository, &["update-ref", &format!("refs/heads/{BRANCH}"), &head]);
        let token = sandbox.github().mint(REPOSITORY, &[("contents", "write"), ("pull_requests", "write")]);
        Self { sandbox, token, head, repository }
    }

    /// One commit more on the run's branch; its id.
    pub(crate) fn work_on(&mut self) -> String {
        let next = commit(&self.repository, "more", Some(&self.head));
        git(&self.repository, &["update-ref", &format!("refs/heads/{BRANCH}"), &next]);
        self.head.clone_from(&next);
        next
    }

    /// The record of a run whose branch is pushed.
    pub(crate) fn record(&self, topic: &str) -> Value {
        json!({
            "kind": "RunRecord", "run": "publisher-1790635538-3fa9c1", "agent": "publisher", "prompt": topic,
            "outcome": "success", "branch": BRANCH, "base": "main", "head": self.head, "commits": 1,
            "files": [{"path": "posts/x.md", "status": "added"}], "filesChanged": 1,
            "startedAt": "2026-11-22T22:00:00Z", "durationMs": 185_000,
            "push": {"repository": REPOSITORY, "branch": BRANCH, "head": self.head, "operation": "created"},
            "report": {"kind": "AgentReport", "outcome": "success", "turns": 14, "costUsd": 0.42},
        })
    }

    /// The record of one that was stopped.
    pub(crate) fn unfinished(&self, topic: &str) -> Value {
        let mut record = self.record(topic);
        record["unfinished"] = true.into();
        record["outcome"] = "turn-limit".into();
        record["stage"] = "writer".into();
        record["error"] = "20 turns".into();
        record
    }

    pub(crate) fn open_pr(&self) -> Piece {
        to_github(&self.sandbox, &self.token)
    }

    pub(crate) fn run(&self, record: &Value) -> Ended {
        self.open_pr().run(record.to_string())
    }

    pub(crate) fn pull_requests(&self) -> Vec<PullRequest> {
        self.sandbox.github().pull_requests(REPOSITORY)
    }

    /// Changes a pull request as a person does.
    pub(crate) fn change(&self, number: u64, change: &Value) {
        let client = api_client::Client::new("a person", "1");
        let api = api_client::github::Api::new(&client, &self.sandbox.github().api_url()).unwrap();
        let request = api
            .request(api_client::Method::PATCH, &["repos", "octo", "blog", "pulls", &number.to_string()])
            .bearer(&agent_task::Secret::new(&*self.token))
            .json(change)
            .unwrap();
        assert!(api.send(&request).unwrap().is_success());
    }

    /// The methods and paths of what GitHub was asked.
    pub(crate) fn calls(&self) -> Vec<String> {
        let requests = self.sandbox.github().requests();
        requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }
}

fn commit(repository: &Path, message: &str, parent: Option<&str>) -> String {
    let tree = git(repository, &["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let mut arguments = vec!["commit-tree", &tree, "-m", message];
    arguments.extend(parent.iter().flat_map(|parent| ["-p", parent]));
    git(repository, &arguments)
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.com")])
        .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.com")])
        .arg("--git-dir")
        .arg(repository)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
