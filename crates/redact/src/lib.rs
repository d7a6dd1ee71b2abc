//! Takes secrets out of text.
//!
//! A [`Redactor`] knows two kinds: values that it was given, found verbatim, JSON-escaped, URL-encoded and in base64 at
//! every alignment and broken into lines (of a private key also each line), and what has the shape of a secret: tokens of GitHub, Discord,
//! AWS and the model's API, webhook addresses, private keys, authorization headers. Each becomes `[redacted:NAME]`.
//!
//! ```
//! use agent_task::Secret;
//! use redact::Redactor;
//!
//! let password = Secret::new("hunter2-hunter2");
//! let redactor = Redactor::new([("DB_PASSWORD", &password)]);
//! assert_eq!(
//!     redactor.redact_line(br#"{"dsn":"db://me:hunter2-hunter2@db"}"#),
//!     &br#"{"dsn":"db://me:[redacted:DB_PASSWORD]@db"}"#[..],
//! );
//! ```
//!
//! What was JSON stays JSON. A secret that is only kept apart by what nobody is shown, as the colours of `grep`, is found; then those
//! are gone too. A clean line is given back as it is, without an allocation. It never finds values of fewer
//! than eight bytes, nor a secret that was taken apart, compressed or encrypted: redaction is the last line of
//! defence, not the first.

mod environment;
mod json;
mod known;
mod patterns;
mod search;
mod stream;
mod unseen;

pub use search::{Leak, Search};
pub use stream::Stream;

use agent_task::Secret;
use known::Known;
use patterns::{Patterns, Run};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Finds secrets and puts `[redacted:NAME]` in their place. Making one costs, using it hardly: make one a process.
pub struct Redactor {
    names: Vec<String>,
    known: Known,
    patterns: Patterns,
}

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<'r> {
    /// Where it stands, in bytes.
    pub range: Range<usize>,
    /// The name of the known value, or of the shape, as `github-token`.
    pub name: &'r str,
    run: Option<Run>,
}

impl Redactor {
    /// Knows these values under these names, and every shape. Values of fewer than eight bytes are not looked for:
    /// they would be found in ordinary words.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Self {
        let secrets: Vec<(&str, &Secret)> = secrets.into_iter().collect();
        Self {
            names: secrets.iter().map(|(name, _)| plain(name)).collect(),
            known: Known::new(secrets.iter().map(|(_, secret)| secret.expose()).enumerate()),
            patterns: Patterns::new(),
        }
    }

    /// Knows the values of these environment variables, of every variable that is named like a secret
    /// (`…_TOKEN`, `…_KEY`, `…_SECRET`, `…_PASSWORD`, `…_WEBHOOK_URL` and some more), and the contents of the files that
    /// such variables with `_FILE` behind them name.
    #[must_use]
    pub fn from_env(names: &[&str]) -> Self {
        let found = environment::secrets(std::env::vars_os(), names);
        Self::new(found.iter().map(|(name, secret)| (name.as_str(), secret)))
    }

    /// Every secret in `text`, in order; where several overlap, one finding spans them and has the first one's name.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Vec<Finding<'_>> {
        let mut found: Vec<Finding<'_>> = Vec::new();
        self.known.each(text, |range, name| {
            found.push(Finding { range, name: &self.names[name], run: None });
        });
        self.patterns.each(text, |pattern| {
            found.push(Finding { range: pattern.range, name: pattern.name, run: pattern.run });
        });
        if found.is_empty() {
            return found;
        }
        for finding in &mut found {
            finding.range = json::whole_escapes(text, finding.range.clone());
        }
        // A known value's name says more than a shape's, and `each` of the known came first: the sort is stable.
        found.sort_by_key(|finding| (finding.range.start, std::cmp::Reverse(finding.range.end)));
        let mut merged: Vec<Finding<'_>> = Vec::with_capacity(found.len());
        for finding in found {
            match merged.last_mut() {
                Some(last) if finding.range.start < last.range.end => {
                    if finding.range.end > last.range.end {
                        last.range.end = finding.range.end;
                        last.run = finding.run;
                    }
                }
                _ => merged.push(finding),
            }
        }
        merged
    }

    /// The line (or any text that is at hand as a whole) without its secrets. If it is JSON, it stays JSON.
    #[must_use]
    pub fn redact_line<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let found = self.find(line);
        let redacted = match found.is_empty() {
            true => Cow::Borrowed(line),
            false => Cow::Owned(self.replaced_in_line(line, &found)),
        };
        if !unseen::has_unseen(&redacted) {
            return redacted;
        }
        match self.brought_together(&redacted) {
            Some(line) => Cow::Owned(line),
            None => redacted,
        }
    }

    fn replaced_in_line(&self, line: &[u8], found: &[Finding<'_>]) -> Vec<u8> {
        let redacted = replaced(line, found);
        if json::looks_like_json(line) && !json::is_json(&redacted) && json::is_json(line) {
            return json::redacted(line, self);
        }
        redacted
    }

    /// The line, where a secret in it is only kept apart by what nobody is shown.
    fn brought_together(&self, line: &[u8]) -> Option<Vec<u8>> {
        if json::looks_like_json(line) && json::is_json(line) {
            return json::brought_together(line, self);
        }
        let text = String::from_utf8_lossy(line);
        let shown = unseen::shown_of_broken(&text);
        match self.replaced_in_text(&shown) {
            Cow::Owned(redacted) if shown != text => Some(redacted.into_bytes()),
            _ => None,
        }
    }

    /// [`Redactor::redact_line`] of a line that is known to be UTF-8.
    #[must_use]
    pub fn redact_text_line<'a>(&self, line: &'a str) -> Cow<'a, str> {
        match self.redact_line(line.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(line),
            Cow::Owned(redacted) => Cow::Owned(match String::from_utf8(redacted) {
                Ok(redacted) => redacted,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
        }
    }

    /// The text without its secrets. What was JSON may be none afterwards.
    #[must_use]
    pub fn redact_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let redacted = self.replaced_in_text(text);
        if !unseen::has_unseen(redacted.as_bytes()) {
            return redacted;
        }
        // Who shows it drops a colour, and has a secret that the colour was in.
        let shown = message_text::unjoined(&redacted);
        if shown == redacted {
            return redacted;
        }
        match self.replaced_in_text(&shown) {
            Cow::Owned(shown) => Cow::Owned(shown),
            Cow::Borrowed(_) => redacted,
        }
    }

    fn replaced_in_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let found = self.find(text.as_bytes());
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(String::from_utf8_lossy(&replaced(text.as_bytes(), &found)).into_owned())
    }

    /// A record without its secrets: what its texts say is redacted, its names and numbers are what the type makes them.
    ///
    /// # Errors
    /// Where it cannot be written as JSON, or read from it with a marker in a text's place.
    pub fn redact_record<T: Serialize + DeserializeOwned>(&self, record: &T) -> serde_json::Result<T> {
        serde_json::from_value(json::texts_redacted(serde_json::to_value(record)?, self))
    }

    /// Redacts text that comes in pieces, so that a secret that spans two of them is found.
    #[must_use]
    pub fn stream(&self) -> Stream<'_> {
        Stream::new(self)
    }

    /// Looks for what must not be published: the known values, and what is a token or a private key beyond doubt.
    #[must_use]
    pub fn search(&self) -> Search<'_> {
        Search::new(self)
    }

    /// So many bytes decide whether a secret begins at the first of them.
    fn look_ahead(&self) -> usize {
        patterns::LOOK_AHEAD.max(self.known.longest() + 8)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("names", &self.names).field("forms", &self.known.len()).finish()
    }
}

/// A name that can stand in any text.
fn plain(name: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.chars().filter(|c| safe(*c)).take(64).collect()
}

fn push_marker(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b"[redacted:");
    out.extend_from_slice(name.as_bytes());
    out.push(b']');
}

fn replaced(text: &[u8], found: &[Finding<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut at = 0;
    for finding in found {
        out.extend_from_slice(&text[at..finding.range.start]);
        push_marker(&mut out, finding.name);
        at = finding.range.end;
    }
    out.extend_from_slice(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(value: &str) -> Redactor {
        Redactor::new([("X", &Secret::new(value))])
    }

    fn redacted(value: &str, line: &str) -> String {
        String::from_utf8(redactor(value).redact_line(line.as_bytes()).into_owned()).unwrap()
    }

    /// P6
    #[test]
    fn a_known_value_is_found_in_every_form() {
        let value = "s3cret/\"with\\ ev&rything~ünd";
        let json = serde_json::to_string(value).unwrap();
        let nested = serde_json::to_string(&json).unwrap();
        let encoded = "s3cret%2F%22with%5C%20ev%26rything~%C3%BCnd";
        // As PHP, Python and Go write it, and such a text in an event.
        let php = json.replace('/', "\\/").replace('ü', "\\u00fc");
        let python = json.replace('ü', "\\u00fc");
        let go = json.replace('&', "\\u0026");
        let in_event = serde_json::to_string(&php).unwrap();
        for text in [
            value,
            &json,
            &nested,
            &php,
            &python,
            &go,
            &in_event,
            encoded,
            &encoded.to_lowercase(),
            &encoded.replace("%20", "+"),
        ] {
            let out = redacted(value, text);
            assert!(out.contains("[redacted:X]"), "{text}: {out}");
            assert!(!out.contains("s3cret"), "{text}: {out}");
        }
    }

    /// P6
    #[test]
    fn what_nobody_is_shown_keeps_no_secret_apart() {
        let coloured = "\u{1b}[01;31m\u{1b}[Khunt\u{1b}[m\u{1b}[Ker2-hunter2";
        for text in [
            coloured,
            "hunt\u{f}er2-hunter2",
            "hunter2-\u{200d}hunter2",
            "hunter2\u{202e}-hunter2",
            "hunter2-\u{b}hunter2",
        ] {
            assert_eq!(redactor("hunter2-hunter2").redact_text(text), "[redacted:X]", "{text:?}");
            let event = serde_json::json!({"content": text, "at": 1}).to_string();
            assert_eq!(redacted("hunter2-hunter2", &event), r#"{"at":1,"content":"[redacted:X]"}"#);
            let broken = event.replace("\"at\"", "\\ud800");
            assert!(redacted("hunter2-hunter2", &broken).contains("[redacted:X]"), "{broken}");
        }
        for text in
            ["\u{1b}[31mred\u{1b}[0m", "a\u{200d}b", r#"{"a":"\u001b[31mred"}"#, r#"{"a":"\u001b\ud800"}"#]
        {
            assert_eq!(redacted("hunter2-hunter2", text), text);
        }
    }

    /// P6
    #[test]
    fn every_line_of_a_key_is_a_secret() {
        let line = "MIIEowIBAAKCAQEAq7BFUpkGp3";
        let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{line}\nAAAA\n-----END RSA PRIVATE KEY-----\n");
        assert_eq!(redacted(&key, &format!("1: {line};")), "1: [redacted:X];");
        assert_eq!(redacted(&key.replace('\n', "\\n"), &format!("1: {line};")), "1: [redacted:X];");
        assert_eq!(redacted(&key, "-----END RSA PRIVATE KEY-----"), "-----END RSA PRIVATE KEY-----");
    }

    #[test]
    fn a_clean_line_is_borrowed() {
        let redactor = redactor("hunter2-hunter2");
        assert!(matches!(redactor.redact_line(b"{\"a\":\"nothing here.\"}"), Cow::Borrowed(_)));
    }

    #[test]
    fn overlapping_secrets_become_one() {
        let (a, b) = (Secret::new("abcdefgh1234"), Secret::new("1234ijklmnop"));
        let redactor = Redactor::new([("A", &a), ("B", &b)]);
        assert_eq!(redactor.redact_text("<abcdefgh1234ijklmnop>"), "<[redacted:A]>");
    }

    #[test]
    fn a_known_value_keeps_its_name_though_it_has_a_shape() {
        let token = format!("ghs_{}", "a1".repeat(20));
        assert_eq!(redacted(&token, &format!("<{token}>")), "<[redacted:X]>");
    }

    #[test]
    fn json_stays_json_where_a_match_begins_inside_an_escape() {
        for (value, line) in [
            ("nabcdefgh", r#"{"t":"\nabcdefgh"}"#),
            ("1BCDEFGHI", r#"{"t":"\u0041BCDEFGHI"}"#),
            ("password\\", r#"{"t":"password\"quoted"}"#),
            ("12345678", r#"{"t":12345678}"#),
            ("a\",\"b\":\"c", r#"{"t":"a","b":"c"}"#),
        ] {
            let out = redacted(value, line);
            assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{line} became {out}");
        }
        assert_eq!(redacted("12345678", r#"{"t":12345678}"#), r#"{"t":"[redacted:X]"}"#);
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", redactor("hunter2-hunter2"));
        assert!(shown.contains("\"X\"") && !shown.contains("hunter2"), "{shown}");
    }
}
