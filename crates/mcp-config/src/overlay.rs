//! The overlay: a JSON merge patch (RFC 7396) over what the presets gave. `null` removes a server or a field, an object is
//! merged field by field, a list or a text takes the place of what was there.

use crate::problem::Problem;
use serde_json::{Map, Value};

/// The servers of `overlay` (a document with `mcpServers`) over those of the presets.
pub(crate) fn merge(
    mut servers: Map<String, Value>,
    overlay: &Value,
    problems: &mut Vec<Problem>,
) -> Map<String, Value> {
    for (name, patch) in crate::config::entries(overlay, problems) {
        match patch {
            Value::Null => {
                if servers.remove(name).is_none() {
                    problems.push(Problem::of(
                        name,
                        "",
                        "null removes a server, and no preset gives one of this name",
                    ));
                }
            }
            patch => {
                apply(servers.entry(name.clone()).or_insert(Value::Null), patch);
            }
        }
    }
    servers
}

/// The servers that `overlay` removes.
pub(crate) fn removes(overlay: &Value, name: &str) -> bool {
    overlay.get("mcpServers").and_then(|servers| servers.get(name)).is_some_and(Value::is_null)
}

/// RFC 7396, section 2.
fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                apply(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(overlay: &Value) -> (Value, Vec<String>) {
        let preset = json!({"p": {"command": "/x", "args": ["a", "b"], "env": {"A": "1", "B": "2"}}});
        let Value::Object(preset) = preset else { panic!("it is an object") };
        let mut problems = Vec::new();
        let servers = merge(preset, &json!({"mcpServers": overlay}), &mut problems);
        (Value::Object(servers), problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_overlay_is_a_merge_patch() {
        for (overlay, expected) in [
            (json!({}), json!({"p": {"command": "/x", "args": ["a", "b"], "env": {"A": "1", "B": "2"}}})),
            (json!({"p": null}), json!({})),
            (
                json!({"p": {"args": ["c"], "env": {"A": null, "C": "3"}}}),
                json!({"p": {"command": "/x", "args": ["c"], "env": {"B": "2", "C": "3"}}}),
            ),
            (
                json!({"p": {"command": null, "args": null, "env": null, "type": "http", "url": "https://x/"}}),
                json!({"p": {"type": "http", "url": "https://x/"}}),
            ),
            (
                json!({"q": {"command": "/y", "env": {"A": null}}}),
                json!({"p": {"command": "/x", "args": ["a", "b"], "env": {"A": "1", "B": "2"}}, "q": {"command": "/y", "env": {}}}),
            ),
        ] {
            assert_eq!(merged(&overlay), (expected, Vec::new()), "{overlay}");
        }
    }

    #[test]
    fn removing_what_is_not_there_is_a_slip_of_the_pen() {
        let (_, problems) = merged(&json!({"playwrite": null}));
        assert_eq!(
            problems,
            ["server 'playwrite': null removes a server, and no preset gives one of this name"]
        );
    }
}
