//! JSON as opencode reads it: in the text of its configuration, before it is JSON, it puts variables and files in the place of
//! `{env:NAME}` and `{file:PATH}`. A repository's agent must not have that done for it, so no brace stands in a string but
//! those that are meant.

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// Stands for the brace of a reference until the text is written; no text that is written by people has it.
const BRACE: char = '\u{10fffd}';

/// A reference to an environment variable.
pub(crate) fn variable(name: &str) -> String {
    format!("{BRACE}env:{name}}}")
}

/// A text in which nothing is a reference.
pub(crate) fn literal(text: &str) -> String {
    text.replace(BRACE, "\u{fffd}")
}

/// The document, with a line feed at its end.
pub(crate) fn document(value: &impl Serialize) -> serde_json::Result<String> {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, Braces(PrettyFormatter::with_indent(b"  "))))?;
    out.push(b'\n');
    // serde_json writes UTF-8.
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Escapes braces in strings; the rest is done by another.
struct Braces<'i>(PrettyFormatter<'i>);

impl Formatter for Braces<'_> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let escaped = fragment.replace('{', "\\u007b").replace(BRACE, "{");
        writer.write_all(escaped.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// P3
    #[test]
    fn only_what_is_meant_is_a_reference() {
        let text = literal("{env:OPENCODE_API_KEY} {file:/etc/passwd} \u{10fffd}env:X} \"\\");
        let written = document(&json!({"prompt": text, "{env:A}": variable("KEY")})).unwrap();
        assert_eq!(written.matches("{env:").count(), 1, "{written}");
        assert!(written.contains("\"{env:KEY}\"") && !written.contains("{file:"), "{written}");
        let read: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["prompt"], "{env:OPENCODE_API_KEY} {file:/etc/passwd} \u{fffd}env:X} \"\\");
    }
}
