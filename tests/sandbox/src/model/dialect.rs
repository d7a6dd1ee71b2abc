//! One script for two agent CLIs: it names tools as claude does, and for opencode its own names stand in.

use serde_json::{Map, Value};

/// claude's tools, and opencode's that do the same.
const TOOLS: &[(&str, &str)] = &[
    ("Agent", "task"),
    ("Bash", "bash"),
    ("Edit", "edit"),
    ("Glob", "glob"),
    ("Grep", "grep"),
    ("Read", "read"),
    ("TodoWrite", "todowrite"),
    ("WebFetch", "webfetch"),
    ("WebSearch", "websearch"),
    ("Write", "write"),
];

/// Fields of their inputs, likewise.
const FIELDS: &[(&str, &str)] = &[
    ("file_path", "filePath"),
    ("new_string", "newString"),
    ("old_string", "oldString"),
    ("replace_all", "replaceAll"),
];

/// The call as a client with these tools knows it.
pub(super) fn spoken(tool: &str, input: Value, offered: &[String]) -> (String, Value) {
    let is_opencode = offered.iter().any(|name| TOOLS.iter().any(|(_, its)| name == its));
    if !is_opencode {
        return (tool.to_owned(), input);
    }
    let its = |names: &[(&str, &str)], name: &str| {
        names.iter().find(|(known, _)| *known == name).map(|(_, its)| (*its).to_owned())
    };
    if let Some(tool) = its(TOOLS, tool) {
        let rename = |(name, value): (String, Value)| (its(FIELDS, &name).unwrap_or(name), value);
        let input = match input {
            Value::Object(fields) => Value::Object(fields.into_iter().map(rename).collect::<Map<_, _>>()),
            other => other,
        };
        return (tool, input);
    }
    match tool.strip_prefix("mcp__") {
        Some(rest) => (rest.replacen("__", "_", 1), input),
        None => (tool.to_owned(), input),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_is_in_the_words_of_the_client() {
        let said = |tool: &str, input: Value, offered: &[&str]| {
            let offered: Vec<String> = offered.iter().map(|name| (*name).to_owned()).collect();
            spoken(tool, input, &offered)
        };
        let write = json!({"file_path": "a", "content": "{}"});
        assert_eq!(
            said("Write", write.clone(), &["Write", "mcp__a__b"]),
            ("Write".to_owned(), write.clone())
        );
        let its = json!({"filePath": "a", "content": "{}"});
        assert_eq!(said("Write", write, &["bash", "a_b"]), ("write".to_owned(), its));
        let url = json!({"url": "u"});
        assert_eq!(
            said("mcp__p__browser_x", url.clone(), &["bash"]),
            ("p_browser_x".to_owned(), url.clone())
        );
        assert_eq!(said("search_find", url.clone(), &["bash"]), ("search_find".to_owned(), url));
    }
}
