//! Secrets that nobody told us of, known by their shape.
//!
//! Each begins with a literal that is searched for in one pass over the text; what stands behind it decides. Only the
//! bot token of Discord begins with nothing of its own: it is known by its two full stops, six characters apart.

use aho_corasick::{AhoCorasick, MatchKind};
use std::ops::Range;

/// No decision looks further than this beyond the start of a match, so that a stream need not hold back more.
pub(crate) const LOOK_AHEAD: usize = 4096;

/// A private key in PEM is shorter, the largest RSA key with its line ends escaped included.
const LONGEST_KEY: usize = 16 * 1024;

/// What a match is made of when it has no end of its own: it goes on while these bytes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// `[A-Za-z0-9_.-]`
    Token,
    /// `[A-Za-z0-9._~+/=-]`, with a solidus that JSON escapes.
    Base64,
}

/// A match: where, the pattern's name, and what it goes on with where the text was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) range: Range<usize>,
    pub(crate) name: &'static str,
    pub(crate) run: Option<Run>,
}

/// The literals, each with what decides. Of two that begin alike the longer comes first.
const LITERALS: &[(&str, Decide)] = &[
    ("ghp_", github),
    ("gho_", github),
    ("ghu_", github),
    ("ghs_", github),
    ("ghr_", github),
    ("github_pat_", github),
    ("sk-ant-", model_key),
    ("sk-proj-", model_key),
    ("webhooks", webhook),
    ("-----BEGIN ", pem),
    ("AKIA", aws_id),
    ("ASIA", aws_id),
    ("aws_secret_access_key", aws_secret),
    ("AWS_SECRET_ACCESS_KEY", aws_secret),
    ("SecretAccessKey", aws_secret),
    ("Bearer ", header),
    ("bearer ", header),
    ("Basic ", header),
    ("Bot ", bot_header),
    ("x-access-token:", password),
    ("eyJ", jwt),
];

/// Decides on the literal at `literal`.
type Decide = fn(text: &[u8], literal: Range<usize>) -> Option<Match>;

/// The patterns.
pub(crate) struct Patterns {
    literals: Option<AhoCorasick>,
}

impl Patterns {
    pub(crate) fn new() -> Self {
        // It fails only with more literals than a state can number.
        let literals = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(LITERALS.iter().map(|(literal, _)| literal))
            .ok();
        Self { literals }
    }

    /// Tells `found` of every match, in no particular order.
    pub(crate) fn each(&self, text: &[u8], mut found: impl FnMut(Match)) {
        for literal in self.literals.iter().flat_map(|literals| literals.find_iter(text)) {
            let (_, decide) = LITERALS[literal.pattern().as_usize()];
            if let Some(decided) = decide(text, literal.range()) {
                found(decided);
            }
        }
        for dot in memchr::memchr_iter(b'.', text) {
            // Most full stops are dismissed by this one look.
            if text.get(dot + 7) == Some(&b'.')
                && let Some(range) = discord_token(text, dot)
            {
                found(Match { range, name: "discord-token", run: None });
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn is_token(byte: u8) -> bool {
    is_word(byte) || byte == b'.'
}

fn is_base64(byte: u8) -> bool {
    is_token(byte) || matches!(byte, b'+' | b'/' | b'=' | b'~')
}

fn while_is(text: &[u8], from: usize, is: fn(u8) -> bool) -> usize {
    text[from..].iter().position(|byte| !is(*byte)).map_or(text.len(), |length| from + length)
}

/// Where the run that has come as far as `from` ends.
pub(crate) fn run_end(text: &[u8], from: usize, run: Run) -> usize {
    match run {
        Run::Token => while_is(text, from, is_token),
        Run::Base64 => {
            let mut end = while_is(text, from, is_base64);
            while text[end..].starts_with(b"\\/") {
                end = while_is(text, end + 2, is_base64);
            }
            end
        }
    }
}

/// A match from `start`, if the run from `from` has at least `least` bytes.
fn token(text: &[u8], start: usize, from: usize, least: usize, name: &'static str) -> Option<Match> {
    let end = run_end(text, from, Run::Token);
    (end - from >= least).then_some(Match { range: start..end, name, run: Some(Run::Token) })
}

fn github(text: &[u8], literal: Range<usize>) -> Option<Match> {
    token(text, literal.start, literal.end, 36, "github-token")
}

fn model_key(text: &[u8], literal: Range<usize>) -> Option<Match> {
    token(text, literal.start, literal.end, 20, "model-key")
}

/// `webhooks/<id>/<token>`, of which the word stays.
fn webhook(text: &[u8], literal: Range<usize>) -> Option<Match> {
    let start = solidus(text, literal.end)?;
    let id = while_is(text, start, |byte| byte.is_ascii_digit());
    if !(15..=22).contains(&(id - start)) {
        return None;
    }
    token(text, start, solidus(text, id)?, 30, "discord-webhook")
}

/// A solidus, which JSON may escape and a URL may encode.
fn solidus(text: &[u8], from: usize) -> Option<usize> {
    let rest = &text[from..];
    ["/", "\\/", "\\\\/", "%2F", "%2f"]
        .into_iter()
        .find(|form| rest.starts_with(form.as_bytes()))
        .map(|form| from + form.len())
}

fn pem(text: &[u8], literal: Range<usize>) -> Option<Match> {
    let rest = &text[literal.end..];
    let label = &rest[..rest.len().min(64)];
    let dashes = memchr::memmem::find(label, b"-----")?;
    let label = &label[..dashes];
    if !(label.ends_with(b"PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK")) {
        return None;
    }
    let bounded = &text[..text.len().min(literal.start + LONGEST_KEY)];
    let end = pem_end(bounded, literal.end + dashes + 5);
    Some(Match { range: literal.start..end, name: "private-key", run: None })
}

/// The body of a PEM block ends behind its last line, or where something stands that is no part of one.
fn pem_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'-' if text[at..].starts_with(b"-----END ") => {
                let end = at + 9;
                let label = while_is(text, end, |byte| byte.is_ascii_uppercase() || byte == b' ');
                return while_is(text, label, |byte| byte == b'-');
            }
            // A line end as JSON writes it, once or twice escaped; an escaped quote ends the text around the key.
            b'\\' => {
                let escaped = while_is(text, at, |byte| byte == b'\\');
                match text.get(escaped) {
                    Some(b'n' | b'r' | b't' | b'/') => at = escaped + 1,
                    _ => return at,
                }
            }
            b'\n' | b'\r' | b'\t' | b' ' | b':' | b',' | b'*' => at += 1,
            _ if is_base64(byte) => at += 1,
            _ => return at,
        }
    }
    at
}

fn aws_id(text: &[u8], literal: Range<usize>) -> Option<Match> {
    let end = while_is(text, literal.end, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let alone = |at: Option<&u8>| !at.is_some_and(u8::is_ascii_alphanumeric);
    let before = literal.start.checked_sub(1).and_then(|before| text.get(before));
    let whole = end - literal.end == 16 && alone(before) && alone(text.get(end));
    whole.then_some(Match { range: literal.start..end, name: "aws-key", run: None })
}

fn aws_secret(text: &[u8], literal: Range<usize>) -> Option<Match> {
    let between = |byte: u8| matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'\\' | b':' | b'=');
    let start = while_is(text, literal.end, between);
    if !(1..=12).contains(&(start - literal.end)) {
        return None;
    }
    let end = run_end(text, start, Run::Base64);
    (end - start >= 40).then_some(Match { range: start..end, name: "aws-key", run: Some(Run::Base64) })
}

/// `Bearer <credentials>`: at least 20 characters, a digit among the first, so that prose is left alone.
fn header(text: &[u8], literal: Range<usize>) -> Option<Match> {
    let end = run_end(text, literal.end, Run::Base64);
    let start = literal.end;
    let decides = &text[start..end.min(start + 256)];
    (end - start >= 20 && decides.iter().any(u8::is_ascii_digit)).then_some(Match {
        range: start..end,
        name: "authorization",
        run: Some(Run::Base64),
    })
}

fn bot_header(text: &[u8], literal: Range<usize>) -> Option<Match> {
    let end = run_end(text, literal.end, Run::Token);
    let decides = &text[literal.end..end.min(literal.end + 256)];
    (end - literal.end >= 50 && decides.iter().any(u8::is_ascii_digit)).then_some(Match {
        range: literal.end..end,
        name: "authorization",
        run: Some(Run::Token),
    })
}

/// `x-access-token:<password>@`, as in the address of a remote.
fn password(text: &[u8], literal: Range<usize>) -> Option<Match> {
    let rest = &text[literal.end..];
    let rest = &rest[..rest.len().min(1024)];
    let length = rest.iter().position(|byte| !is_base64(*byte) && *byte != b'%')?;
    let start = literal.end;
    (length >= 8 && rest[length] == b'@').then_some(Match {
        range: start..start + length,
        name: "password",
        run: None,
    })
}

/// Three parts, the first two of which are JSON.
fn jwt(text: &[u8], literal: Range<usize>) -> Option<Match> {
    let part = |from: usize, most: usize| {
        let part = &text[from..text.len().min(from + most)];
        let length = part.iter().position(|byte| !is_word(*byte))?;
        (length >= 10 && part[length] == b'.').then_some(from + length + 1)
    };
    let second = part(literal.start, 512)?;
    if !text[second..].starts_with(b"eyJ") {
        return None;
    }
    let third = part(second, 3072)?;
    token(text, literal.start, third, 20, "jwt")
}

/// `<id in base64>.<six characters>.<at least 27>`, by the first of its full stops. All parts are bounded: a stream's
/// look behind holds them.
fn discord_token(text: &[u8], dot: usize) -> Option<Range<usize>> {
    let before = text[..dot].iter().rev().take(31).take_while(|byte| is_word(**byte)).count();
    if !(23..=30).contains(&before) || !text[dot + 1..dot + 7].iter().all(|byte| is_word(*byte)) {
        return None;
    }
    let end = while_is(text, dot + 8, is_word);
    (27..=64).contains(&(end - (dot + 8))).then_some(dot - before..end)
}

/// Whether a match is a secret beyond doubt: of a kind that nothing else looks like, as long as the real ones, and no
/// placeholder.
pub(crate) fn is_certain(found: &[u8], name: &str) -> bool {
    let (least, part): (usize, &[u8]) = match name {
        "github-token" => {
            let prefix: &[u8] = if found.starts_with(b"github_pat_") { b"github_pat_" } else { b"ghs_" };
            (36, found.get(prefix.len()..).unwrap_or_default())
        }
        "model-key" => (48, found),
        "discord-webhook" => (76, found),
        // One line of its body; the shortest key, of Ed25519, is a line of 64.
        "private-key" => {
            let is_body = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
            let lines = found.split(|byte| !is_body(byte));
            (40, lines.max_by_key(|line| line.len()).unwrap_or_default())
        }
        _ => return false,
    };
    part.len() >= least && looks_random(part)
}

/// Tells a token from a row of `x` and from words: it has letters of both cases or digits, and many different ones.
fn looks_random(text: &[u8]) -> bool {
    let mut seen = [false; 256];
    text.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let any = |range: std::ops::RangeInclusive<u8>| range.into_iter().any(|byte| seen[usize::from(byte)]);
    let kinds = [any(b'a'..=b'z'), any(b'A'..=b'Z'), any(b'0'..=b'9')];
    let different = seen.iter().filter(|seen| **seen).count();
    different >= 14 && kinds.iter().filter(|kind| **kind).count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, &'static str)> {
        let mut all = Vec::new();
        Patterns::new().each(text.as_bytes(), |found| all.push((&text[found.range], found.name)));
        all
    }

    #[test]
    fn tokens_are_known_by_their_shape() {
        let long = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0";
        for (text, expected, name) in [
            (format!("a ghs_{long}!"), format!("ghs_{long}"), "github-token"),
            (format!("ghs_12_eyJ.{long}.x_"), format!("ghs_12_eyJ.{long}.x_"), "github-token"),
            (format!("github_pat_{long}"), format!("github_pat_{long}"), "github-token"),
            (format!("\"sk-ant-oat01-{long}\""), format!("sk-ant-oat01-{long}"), "model-key"),
            (
                format!("https://discord.com/api/webhooks/123456789012345678/{long}?wait=true"),
                format!("123456789012345678/{long}"),
                "discord-webhook",
            ),
            ("id AKIAIOSFODNN7EXAMPLE.".into(), "AKIAIOSFODNN7EXAMPLE".into(), "aws-key"),
            (format!("aws_secret_access_key = {long}"), long.into(), "aws-key"),
            (format!("Authorization: Bearer {long}\\n"), long.into(), "authorization"),
            ("https://x-access-token:hunter22@github.com".into(), "hunter22".into(), "password"),
            (
                format!("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxIn0.{long} x"),
                format!("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxIn0.{long}"),
                "jwt",
            ),
            (
                "Bot MTE5ODYyMjQ4MzQ3MTkyNTI0OA.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs1abc".into(),
                "MTE5ODYyMjQ4MzQ3MTkyNTI0OA.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs1abc".into(),
                "discord-token",
            ),
        ] {
            let all = found(&text);
            assert!(all.contains(&(expected.as_str(), name)), "{text}: {all:?}");
        }
    }

    #[test]
    fn a_private_key_is_one_match_with_line_ends_of_every_kind() {
        for line_end in ["\n", "\r\n", "\\n", "\\\\n"] {
            let key = ["-----BEGIN RSA PRIVATE KEY-----", "MIIEow+/abc=", "-----END RSA PRIVATE KEY-----"];
            let text = format!("\"{}{line_end}\" and more", key.join(line_end));
            assert_eq!(found(&text), [(key.join(line_end).as_str(), "private-key")]);
        }
    }

    #[test]
    fn a_key_without_its_end_stops_where_no_key_can_be() {
        let text = "-----BEGIN PRIVATE KEY-----\\nMIIE\\\" then";
        assert_eq!(found(text), [("-----BEGIN PRIVATE KEY-----\\nMIIE", "private-key")]);
    }

    #[test]
    fn prose_is_left_alone() {
        for text in [
            "ghs_ tokens begin with ghs_",
            "a Bearer token-without-any-number-in-it here",
            "Basic understanding",
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
            "https://docs.example.com/webhooks/setup",
            "AKIAIOSFODNN7EXAMPLEX",
            "see www.kernel.org.uk and a.b.c",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }
}
