//! What keeps JSON whole when a part of it is replaced.

use crate::{Redactor, unseen};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::ops::Range;

/// What is left of a document that cannot be mended.
const NOTHING: &[u8] = br#"{"redacted":true}"#;

pub(crate) fn looks_like_json(line: &[u8]) -> bool {
    matches!(line.trim_ascii_start().first(), Some(b'{' | b'[' | b'"'))
}

pub(crate) fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// Widens a range that would cut an escape sequence of a JSON string apart.
pub(crate) fn whole_escapes(text: &[u8], range: Range<usize>) -> Range<usize> {
    let mut start = range.start;
    if is_escaped(text, start) {
        start -= 1;
    } else if let Some(back) = inside_unicode_escape(text, start) {
        start -= back + 1;
    }
    let mut end = range.end;
    if is_escaped(text, end) {
        end += match text.get(end) {
            Some(b'u') => 5,
            Some(byte) if byte.is_ascii() => 1,
            _ => 0,
        };
    } else if let Some(back) = inside_unicode_escape(text, end) {
        end += 5 - back;
    }
    start..end.min(text.len())
}

/// Whether an odd number of backslashes stands before `at`.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Where `at` lies behind the `u` of `\uXXXX` and not behind its last digit: how far behind the backslash's successor.
fn inside_unicode_escape(text: &[u8], at: usize) -> Option<usize> {
    (1..=4.min(at)).find(|back| {
        let u = at - back;
        text[u] == b'u' && is_escaped(text, u) && text[u + 1..at].iter().all(u8::is_ascii_hexdigit)
    })
}

/// The document, its strings, names and numbers redacted one by one. The way for a line in which a match spans more than
/// a string.
pub(crate) fn redacted(line: &[u8], redactor: &Redactor) -> Vec<u8> {
    let rebuilt = serde_json::from_slice::<Value>(line)
        .map(|document| value(document, redactor))
        .and_then(|document| serde_json::to_vec(&document));
    match rebuilt {
        Ok(text) if redactor.find(&text).is_empty() => text,
        // Too deep to be rebuilt, or the secret is made of the syntax itself.
        _ => NOTHING.to_vec(),
    }
}

/// The document, where what is shown of its strings has secrets that the strings have not.
pub(crate) fn brought_together(line: &[u8], redactor: &Redactor) -> Option<Vec<u8>> {
    let Ok(document) = serde_json::from_slice::<Value>(line) else {
        // Halves of characters, or too deep.
        let shown = unseen::shown_of_broken(&String::from_utf8_lossy(line));
        return (!redactor.find(shown.as_bytes()).is_empty()).then(|| NOTHING.to_vec());
    };
    let again = value(document.clone(), redactor);
    (again != document).then(|| serde_json::to_vec(&again).unwrap_or_else(|_| NOTHING.to_vec()))
}

/// The document, its strings redacted. Names and numbers stay: of a record they are no secrets.
pub(crate) fn texts_redacted(document: Value, redactor: &Redactor) -> Value {
    match document {
        Value::String(text) => Value::String(redactor.redact_text(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(|item| texts_redacted(item, redactor)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, field)| (name, texts_redacted(field, redactor))).collect()
        }
        other => other,
    }
}

fn value(document: Value, redactor: &Redactor) -> Value {
    match document {
        Value::String(text) => Value::String(redactor.redact_text(&text).into_owned()),
        Value::Number(number) => {
            let text = number.to_string();
            let out = redactor.redact_text(&text);
            if out == text { Value::Number(number) } else { Value::String(out.into_owned()) }
        }
        Value::Array(items) => items.into_iter().map(|item| value(item, redactor)).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, field)| (redactor.redact_text(&name).into_owned(), value(field, redactor)))
            .collect(),
        Value::Null | Value::Bool(_) => document,
    }
}
