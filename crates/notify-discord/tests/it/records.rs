use serde_json::{Value, json};

/// A run that was delivered.
pub(crate) fn delivered(topic: &str) -> Value {
    json!({
        "kind": "RunRecord", "run": "publisher-1790635538-3fa9c1", "agent": "publisher", "prompt": topic,
        "outcome": "success", "branch": "agent/publisher-1790635538", "base": "main", "head": "a".repeat(40),
        "commits": 1, "files": [{"path": "posts/x.md", "status": "added"}], "filesChanged": 1,
        "startedAt": "2026-11-22T22:00:00Z", "endedAt": "2026-11-22T22:03:05Z", "durationMs": 185_000,
        "push": {"repository": "octo/blog", "branch": "agent/publisher-1790635538", "head": "a".repeat(40),
            "operation": "created"},
        "pullRequest": {"number": 7, "url": "https://github.com/octo/blog/pull/7", "state": "open", "draft": false,
            "operation": "created"},
        "report": {"kind": "AgentReport", "outcome": "success", "turns": 14, "costUsd": 0.42, "subagents": [
            {"type": "qa", "toolCalls": 3, "failed": false, "verdict": {"pass": true}}]},
    })
}

/// A run whose QA found the page broken.
pub(crate) fn rejected(topic: &str, error: &str) -> Value {
    json!({
        "kind": "RunRecord", "run": "publisher-1790635539-00ff00", "agent": "publisher", "prompt": topic,
        "outcome": "rejected", "stage": "qa", "error": error, "branch": "agent/publisher-1790635539",
        "base": "main", "startedAt": "2026-11-22T22:00:00Z",
    })
}

/// The records, a line each.
pub(crate) fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}
