//! The overlay of an MCP configuration, which a person writes and the agent CLI would misread in silence.

use crate::SECRETS;
use crate::written::secrets_in;
use serde_json::Value;

/// What is refused is refused without telling a secret. What is taken has no literal secret, no server that the agent CLI would
/// drop, and is taken again as it stands.
pub fn check(data: &[u8]) {
    let mut variables = SECRETS.to_vec();
    variables.push(("HOST", "mcp.example.com"));
    let text = match mcp_config::overlaid(data, &variables) {
        Ok(text) => text,
        Err(error) => return without_secrets(&format!("{error:#}"), data),
    };
    without_secrets(&text, &[]);
    let document: Value = serde_json::from_str(&text).expect("a configuration is JSON");
    let servers = document["mcpServers"].as_object().expect("it has servers");
    for (name, server) in servers {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        assert!(!name.is_empty() && name.chars().all(plain), "its tools have no such name: {name}");
        let text = |field: &str| server[field].as_str().is_some_and(|text| !text.is_empty());
        let whole = match server["type"].as_str() {
            Some("stdio") => text("command"),
            Some("http" | "sse") => text("url"),
            _ => false,
        };
        assert!(whole, "the agent CLI would drop it: {server}");
    }
    let again = mcp_config::overlaid(text.as_bytes(), &variables).expect("what was taken is taken again");
    assert_eq!(again, text);
}

/// What the input shows as well is its author's own doing.
fn without_secrets(text: &str, input: &[u8]) {
    let known = secrets_in(input);
    let told: Vec<_> = secrets_in(text.as_bytes()).into_iter().filter(|name| !known.contains(name)).collect();
    assert!(told.is_empty(), "{told:?} is told: {text}");
}
