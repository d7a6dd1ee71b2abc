//! What a run must know of its MCP configuration: which servers it needs, and which variables it refers to.

use anyhow::Context as _;
use mcp_config::references;
use piece::Fault;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// The names in a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The servers that must be connected.
    pub(crate) servers: Vec<String>,
    /// The variables that `${NAME}` or `${NAME:-default}` stand for.
    pub(crate) variables: BTreeSet<String>,
}

/// Reads the configuration file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Needs> {
    let wrong = || {
        Fault::usage(format!("{} is not an MCP configuration", path.display()))
            .hint("make one with mcp-config")
    };
    let text = std::fs::read(path)
        .with_context(|| Fault::usage(format!("cannot read the MCP configuration {}", path.display())))?;
    let document: Value = serde_json::from_slice(&text).with_context(wrong)?;
    needs(&document).with_context(wrong)
}

fn needs(document: &Value) -> anyhow::Result<Needs> {
    let servers = document.get("mcpServers").and_then(Value::as_object).context("it has no mcpServers")?;
    let mut variables = BTreeSet::new();
    servers.values().for_each(|server| collect(server, &mut variables));
    Ok(Needs { servers: servers.keys().cloned().collect(), variables })
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => found.extend(references::names(text).map(str::to_owned)),
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn servers_and_references_are_found_wherever_they_stand() {
        let document = json!({"mcpServers": {
            "discord": {"command": "${NODE:-node}", "args": ["x", "--t=${A}${B}"], "env": {"T": "${DISCORD_BOT_TOKEN}"}},
            "web": {"type": "http", "url": "https://x/", "headers": {"Authorization": "Bearer ${WEB}"}},
        }});
        let needs = needs(&document).unwrap();
        assert_eq!(needs.servers, ["discord", "web"]);
        let names: Vec<_> = needs.variables.iter().map(String::as_str).collect();
        assert_eq!(names, ["A", "B", "DISCORD_BOT_TOKEN", "NODE", "WEB"]);
    }
}
