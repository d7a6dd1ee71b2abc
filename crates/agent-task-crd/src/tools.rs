//! The tools that the agent may use: a list, or the comma form of older manifests.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// At most so many patterns.
pub const TOOLS_MAX: usize = 256;

/// At most so many characters in one pattern, and 32 times as many in the comma form.
pub const TOOL_MAX: usize = 512;

/// Patterns of tools, as `Read` or `Bash(git *)`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct AllowedTools(Vec<String>);

impl AllowedTools {
    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// As the agent CLI takes them: one argument.
    #[must_use]
    pub fn argument(&self) -> String {
        self.0.join(",")
    }
}

impl FromIterator<String> for AllowedTools {
    fn from_iter<T: IntoIterator<Item = String>>(patterns: T) -> Self {
        Self(patterns.into_iter().collect())
    }
}

/// Splits the comma form. A comma between parentheses belongs to its pattern; white space around a pattern does not.
///
/// # Errors
/// Names the pattern whose parentheses do not match.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let mut patterns = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => {
                return Err(format!("'{}' closes a parenthesis that is not open", text[start..=at].trim()));
            }
            ')' => depth -= 1,
            ',' if depth == 0 => {
                patterns.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(format!("'{}' leaves a parenthesis open", text[start..].trim()));
    }
    patterns.push(text[start..].trim());
    Ok(patterns.into_iter().filter(|pattern| !pattern.is_empty()).map(str::to_owned).collect())
}

impl<'de> Deserialize<'de> for AllowedTools {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = AllowedTools;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of patterns, or patterns with commas between them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AllowedTools, E> {
                split(text).map(AllowedTools).map_err(E::custom)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<AllowedTools, A::Error> {
                let mut patterns = Vec::new();
                while let Some(pattern) = list.next_element::<String>()? {
                    // The agent CLI gets them with commas between, and would split one that is not whole.
                    patterns.extend(split(&pattern).map_err(serde::de::Error::custom)?);
                }
                Ok(AllowedTools(patterns))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for AllowedTools {
    fn schema_name() -> Cow<'static, str> {
        "AllowedTools".into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// A structural schema has no union of types: what is neither a list nor a text is refused by who reads it.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "maxItems": TOOLS_MAX,
            "maxLength": 32 * TOOL_MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<AllowedTools, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    /// K1
    #[test]
    fn the_comma_form_is_split_outside_of_parentheses() {
        let text =
            "WebSearch,WebFetch, Read,\n  Bash(git log, git add *),Bash(echo (a, b)),,mcp__playwright,";
        let tools = read(text.into()).unwrap();
        let expected = [
            "WebSearch",
            "WebFetch",
            "Read",
            "Bash(git log, git add *)",
            "Bash(echo (a, b))",
            "mcp__playwright",
        ];
        assert_eq!(tools.patterns(), expected);
        assert_eq!(tools.argument(), expected.join(","));
    }

    /// K1
    #[test]
    fn a_list_says_the_same() {
        let list = read(serde_json::json!(["Read", " Bash(git log, git add *) "])).unwrap();
        assert_eq!(list, read("Read,Bash(git log, git add *)".into()).unwrap());
        assert_eq!(
            serde_json::to_value(&list).unwrap(),
            serde_json::json!(["Read", "Bash(git log, git add *)"])
        );
    }

    /// K1
    #[test]
    fn what_does_not_match_is_named() {
        assert_eq!(read("Read,Bash(git *".into()).unwrap_err(), "'Bash(git *' leaves a parenthesis open");
        assert_eq!(
            read("Read,git *),Edit".into()).unwrap_err(),
            "'git *)' closes a parenthesis that is not open"
        );
        assert!(read(5.into()).unwrap_err().contains("a list of patterns"));
        assert!(read(serde_json::json!({"Read": true})).is_err());
    }
}
