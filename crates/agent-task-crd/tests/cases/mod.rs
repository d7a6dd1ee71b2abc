//! Specs that are good, and specs with one bad field each.

use serde_json::{Value, json};

fn with(changes: &Value) -> Value {
    let mut spec = json!({"agent": "publisher", "prompt": "Write a post"});
    for (name, value) in changes.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

/// Specs that are taken, with what they show.
pub(crate) fn good() -> Vec<(&'static str, Value)> {
    vec![
        (
            "an older manual task",
            json!({"agent": "publisher", "runtime": "claude", "prompt": "Write a post", "trigger": "manual", "readOnly": false}),
        ),
        (
            "an older scheduled task",
            json!({
                "agent": "journalist", "runtime": "claude", "prompt": "Yesterday's news\nas a digest", "schedule": "0 8 * * *",
                "trigger": "scheduled", "readOnly": false, "branch": "main",
                "allowedTools": "WebSearch,WebFetch, Read,Bash(git add *, git commit *)",
            }),
        ),
        ("the least", with(&json!({}))),
        ("empty where nothing was meant", with(&json!({"schedule": "", "branch": ""}))),
        (
            "every field",
            json!({
                "agent": "a-1", "runtime": "opencode", "prompt": "$(X) \"'`\n\u{e9}\u{1f600}", "schedule": "*/5 8-18 * * MON-FRI",
                "trigger": "scheduled", "readOnly": true, "branch": "release/1.x", "allowedTools": ["Read", "Bash(git *)"],
                "repository": "octo-org/my.blog", "base": "main", "model": "claude-sonnet-5-5[1m]", "maxTurns": 20,
                "maxBudgetUsd": 2.5, "timeoutSeconds": 3600, "timeZone": "America/Argentina/Buenos_Aires", "suspend": true,
                "resources": {"requests": {"cpu": 1, "memory": "1.5Gi"}, "limits": {"memory": "4Gi"}},
                "mcpServers": {"docs": {"type": "http", "url": "https://example.org/mcp"}},
                "workspace": {"mode": "hostPath", "size": "20Gi", "storageClass": "fast.ssd"},
                "runtimeClassName": "gvisor", "priority": "batch", "githubRead": true,
                "labels": {"kueue.x-k8s.io/queue-name": "agents"},
            }),
        ),
        ("the longest prompt", with(&json!({"prompt": "\u{e9}".repeat(32 * 1024)}))),
    ]
}

/// Specs that are refused, with the field that must be named.
pub(crate) fn bad() -> Vec<(&'static str, Value)> {
    let mut bad = vec![("agent", json!({"prompt": "no agent"})), ("prompt", json!({"agent": "publisher"}))];
    for (field, changes) in [
        ("agent", json!({"agent": "Writer"})),
        ("agent", json!({"agent": "x".repeat(41)})),
        ("agent", json!({"agent": 5})),
        ("runtime", json!({"runtime": "gpt"})),
        ("prompt", json!({"prompt": ""})),
        ("prompt", json!({"prompt": " \n\t"})),
        ("prompt", json!({"prompt": "a\u{0}b"})),
        ("prompt", json!({"prompt": "\u{e9}".repeat(32 * 1024 + 1)})),
        ("prompt", json!({"prompt": ["a"]})),
        ("schedule", json!({"trigger": "scheduled"})),
        ("schedule", json!({"trigger": "scheduled", "schedule": ""})),
        ("schedule", json!({"trigger": "scheduled", "schedule": "every morning"})),
        ("schedule", json!({"trigger": "scheduled", "schedule": "TZ=UTC 0 8 * * *"})),
        ("trigger", json!({"schedule": "0 8 * * *"})),
        ("trigger", json!({"trigger": "cron"})),
        ("readOnly", json!({"readOnly": "yes"})),
        ("branch", json!({"branch": "-x"})),
        ("branch", json!({"branch": "a..b"})),
        ("branch", json!({"branch": "a b"})),
        ("branch", json!({"branch": "x.lock"})),
        ("base", json!({"base": "$(id)"})),
        ("repository", json!({"repository": "blog"})),
        ("repository", json!({"repository": "https://github.com/a/b"})),
        ("model", json!({"model": "--model"})),
        ("model", json!({"model": ""})),
        ("maxTurns", json!({"maxTurns": 0})),
        ("maxTurns", json!({"maxTurns": 1.5})),
        ("maxTurns", json!({"maxTurns": "20"})),
        ("maxBudgetUsd", json!({"maxBudgetUsd": 0})),
        ("maxBudgetUsd", json!({"maxBudgetUsd": "5"})),
        ("timeoutSeconds", json!({"timeoutSeconds": 59})),
        ("timeoutSeconds", json!({"timeoutSeconds": 86_401})),
        ("timeZone", json!({"timeZone": "../etc/passwd"})),
        ("suspend", json!({"suspend": 1})),
        ("resources", json!({"resources": {"limits": {"memory": "lots"}}})),
        ("resources", json!({"resources": {"limits": {"memory": -1}}})),
        ("mcpServers", json!({"mcpServers": ["docs"]})),
        ("workspace", json!({"workspace": {"mode": "nfs"}})),
        ("workspace", json!({"workspace": {"size": "10 GB"}})),
        ("workspace", json!({"workspace": {"storageClass": "Fast"}})),
        ("runtimeClassName", json!({"runtimeClassName": "g visor"})),
        ("priority", json!({"priority": 5})),
        ("githubRead", json!({"githubRead": "true"})),
        ("labels", json!({"labels": {"agents.kyle.pericak.com/agent": "other"}})),
        ("labels", json!({"labels": {"app.kubernetes.io/managed-by": "other"}})),
        ("labels", json!({"labels": {"queue": "not a value"}})),
    ] {
        bad.push((field, with(&changes)));
    }
    bad
}
