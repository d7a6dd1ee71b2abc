//! `{{name}}` in a scenario's texts.

use anyhow::Context as _;
use regex::{Captures, Regex};
use serde_json::Value;
use std::sync::LazyLock;

/// The names that need no capture.
pub(super) const BUILT_IN: [&str; 5] = ["prompt", "title", "slug", "task", "today"];

/// What is longer is cut at a hyphen.
const SLUG_LENGTH: usize = 60;

#[expect(clippy::expect_used, reason = "the expression is the same every time, and tests use it")]
static PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\{([a-z][a-z0-9_]*)(?:\|(quoted|shell))?\}\}").expect("it is one"));

/// The names that a text mentions.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    PLACEHOLDER.captures_iter(text).filter_map(|found| Some(found.get(1)?.as_str()))
}

/// `text` with its names replaced.
///
/// # Errors
/// The first name that has no value.
pub(super) fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    replace(text, |found| {
        let name = &found[1];
        let value = value(name).ok_or_else(|| name.to_owned())?;
        Ok(match found.get(2).map(|filter| filter.as_str()) {
            Some("quoted") => Value::String(value).to_string(),
            Some(_) => format!("'{}'", value.replace('\'', r"'\''")),
            None => value,
        })
    })
}

/// [`fill`] of every string in a JSON value.
pub(super) fn fill_json(value: &Value, of: &impl Fn(&str) -> Option<String>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(fill(text, of)?),
        Value::Array(items) => items.iter().map(|item| fill_json(item, of)).collect::<Result<_, _>>()?,
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| Ok((name.clone(), fill_json(field, of)?)))
            .collect::<Result<_, String>>()?,
        other => other.clone(),
    })
}

/// A regular expression in which a name stands for its value as it is.
pub(super) fn pattern(text: &str, value: impl Fn(&str) -> Option<String>) -> anyhow::Result<Regex> {
    let filled = replace(text, |found| {
        let value = value(&found[1]).ok_or_else(|| found[1].to_owned())?;
        Ok(regex::escape(&value))
    });
    let filled = filled.map_err(|name| anyhow::anyhow!("nothing captured {{{{{name}}}}}"))?;
    Regex::new(&filled).with_context(|| format!("the regular expression {text}"))
}

fn replace(text: &str, with: impl Fn(&Captures<'_>) -> Result<String, String>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut end = 0;
    for found in PLACEHOLDER.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        filled.push_str(&text[end..whole.start()]);
        filled.push_str(&with(&found)?);
        end = whole.end();
    }
    filled.push_str(&text[end..]);
    Ok(filled)
}

/// The first line that says something.
pub(super) fn title(prompt: &str) -> String {
    prompt.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// The title as a file name: lower-case ASCII letters and digits, hyphens between; `post` where nothing is left.
pub(super) fn slug(prompt: &str) -> String {
    let mut slug = String::new();
    let words = title(prompt).to_lowercase();
    for word in words.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        if !slug.is_empty() && slug.len() + 1 + word.len() > SLUG_LENGTH {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(&word[..word.len().min(SLUG_LENGTH)]);
    }
    if slug.is_empty() { "post".to_owned() } else { slug }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(name: &str) -> Option<String> {
        (name == "title").then(|| "It's \"so\"".to_owned())
    }

    #[test]
    fn a_value_is_put_in_as_its_place_wants_it() {
        let filled = fill("{{title}} {{title|quoted}} {{title|shell}} {{ .Title }} {port}", value).unwrap();
        assert_eq!(filled, r#"It's "so" "It's \"so\"" 'It'\''s "so"' {{ .Title }} {port}"#);
        assert_eq!(fill("{{titel}}", value), Err("titel".to_owned()));
        assert_eq!(
            fill_json(&json!({"a": ["{{title}}", 1, null]}), &value).unwrap(),
            json!({"a": ["It's \"so\"", 1, null]})
        );
    }

    #[test]
    fn a_value_in_a_pattern_is_no_pattern() {
        let found = pattern("^{{name}}$", |_| Some("a.b".to_owned())).unwrap();
        assert!(found.is_match("a.b"));
        assert!(!found.is_match("axb"));
    }

    #[test]
    fn a_slug_is_a_safe_and_short_file_name() {
        assert_eq!(
            slug("\n  What `set -Eeuo pipefail` does, and what not\nmore"),
            "what-set-eeuo-pipefail-does-and-what-not"
        );
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug("お茶"), "post");
        let long = slug(&"word ".repeat(40));
        assert!(long.len() <= SLUG_LENGTH && long.ends_with("word"), "{long}");
    }
}
