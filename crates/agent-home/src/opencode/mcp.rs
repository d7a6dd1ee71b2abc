//! MCP servers: from the one form in which `mcp-config` writes them to opencode's.

use super::json::{literal, variable};
use mcp_config::references::{Part, parts};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The configuration, as far as it is needed; `mcp-config` has seen to it that nothing else is in it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Servers {
    mcp_servers: BTreeMap<String, Server>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Server {
    /// The one with a URL is tried both ways.
    #[serde(rename = "type")]
    _transport: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    timeout: Option<u64>,
    /// Here all tools are always in the prompt.
    #[serde(rename = "alwaysLoad")]
    _always_load: Option<bool>,
}

/// A variable whose value would not be what opencode takes for it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the MCP servers refer to {0}, whose value has a quote, a backslash or a line break: opencode cannot take it"
)]
pub(crate) struct Unfit(pub(crate) String);

/// The servers for opencode. Each that is started gets `outside` on top of the agent's environment, which is what opencode
/// hands on; `look_up` tells a variable's value.
pub(crate) fn servers(
    configured: &Servers,
    outside: &BTreeMap<String, String>,
    look_up: &impl Fn(&str) -> Option<String>,
) -> Result<Map<String, Value>, Unfit> {
    let text = |text: &String| expanded(text, look_up);
    let texts = |texts: &BTreeMap<String, String>| -> Result<BTreeMap<String, String>, Unfit> {
        texts.iter().map(|(name, value)| Ok((literal(name), text(value)?))).collect()
    };
    let server = |server: &Server| -> Result<Value, Unfit> {
        let mut made = if let Some(url) = &server.url {
            // Whoever would have to allow it is not there.
            json!({"type": "remote", "url": text(url)?, "headers": texts(&server.headers)?, "oauth": false})
        } else {
            let words = server.command.iter().chain(&server.args).map(text);
            let mut environment = outside.clone();
            environment.extend(texts(&server.env)?);
            json!({
                "type": "local",
                "command": words.collect::<Result<Vec<_>, _>>()?,
                "environment": environment,
            })
        };
        if let Some(timeout) = server.timeout {
            made["timeout"] = timeout.into();
        }
        Ok(made)
    };
    configured.mcp_servers.iter().map(|(name, configured)| Ok((literal(name), server(configured)?))).collect()
}

/// The text with `${NAME}` as opencode's reference. It has no default values: one that is needed is put in here.
fn expanded(text: &str, look_up: &impl Fn(&str) -> Option<String>) -> Result<String, Unfit> {
    let mut out = String::new();
    for part in parts(text) {
        match part {
            Part::Literal(text) | Part::Unexpanded(text) => out.push_str(&literal(text)),
            Part::Reference { name, default } => match look_up(name) {
                // It stands in a string of JSON as it is.
                Some(value) if value.contains(|c: char| c == '"' || c == '\\' || c.is_control()) => {
                    return Err(Unfit(name.to_owned()));
                }
                Some(_) => out.push_str(&variable(name)),
                None => out.push_str(&literal(default.unwrap_or_default())),
            },
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::json::document;
    use super::*;

    fn converted(configured: Value, variables: &[(&str, &str)]) -> Result<Value, Unfit> {
        let configured = serde_json::from_value(json!({"mcpServers": configured})).unwrap();
        let outside = BTreeMap::from([("OPENCODE_API_KEY".to_owned(), String::new())]);
        let look_up = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let made = servers(&configured, &outside, &look_up)?;
        Ok(serde_json::from_str(&document(&made).unwrap()).unwrap())
    }

    /// P12
    #[test]
    fn every_field_of_a_server_has_its_place() {
        let made = converted(
            json!({
                "browser": {"type": "stdio", "command": "/bin/p", "args": ["--a", "${DIR}/x"], "env": {"A": "${B:-c}", "D": "{env:E}"}, "timeout": 5},
                "web": {"type": "http", "url": "https://x/", "headers": {"Authorization": "Bearer ${T}"}, "alwaysLoad": true},
            }),
            &[("DIR", "/d"), ("T", "secret")],
        );
        assert_eq!(
            made.unwrap(),
            json!({
                "browser": {
                    "type": "local", "command": ["/bin/p", "--a", "{env:DIR}/x"], "timeout": 5,
                    "environment": {"A": "c", "D": "{env:E}", "OPENCODE_API_KEY": ""},
                },
                "web": {
                    "type": "remote", "url": "https://x/", "oauth": false,
                    "headers": {"Authorization": "Bearer {env:T}"},
                },
            })
        );
    }

    /// P12
    #[test]
    fn a_value_that_would_break_the_configuration_is_an_error() {
        let server = json!({"s": {"type": "stdio", "command": "x", "env": {"A": "${A}"}}});
        assert_eq!(converted(server, &[("A", "a\"b")]), Err(Unfit("A".into())));
    }
}
