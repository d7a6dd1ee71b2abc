//! A known secret never gets out, whatever form it has, whatever stands around it, and wherever the text is cut.

use crate::written::{secrets_in, ways};
use crate::{SECRETS, cuts, redactor};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Puts secrets into the input (where a byte from 0xf0 on stands, in a form that the next byte tells), redacts it as a whole,
/// cut in pieces, line by line, and as the text of a JSON document. Nothing may show a secret, all but the lines must say the
/// same, and JSON must stay JSON.
pub fn check(data: &[u8]) {
    let redactor = redactor();
    let (data, lengths) = cuts(data);
    let text = with_secrets(data);

    let mut pieces = Vec::new();
    let mut stream = redactor.stream();
    let mut rest = &text[..];
    for length in lengths {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        stream.push(piece, &mut pieces);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    stream.finish(&mut pieces);
    clean(&pieces);

    let whole = String::from_utf8_lossy(&text);
    let redacted = redactor.redact_text(&whole);
    clean(redacted.as_bytes());
    // What unseen characters keep apart, pieces leave apart.
    if std::str::from_utf8(&pieces).is_ok_and(|pieces| redactor.redact_text(pieces) == pieces)
        && std::str::from_utf8(&text).is_ok()
    {
        assert_eq!(redacted.as_bytes(), pieces, "a text in pieces is the same text");
    }

    let document = serde_json::json!({ "text": whole, "list": [whole] });
    let line = document.to_string();
    let redacted = redactor.redact_line(line.as_bytes());
    clean(&redacted);
    let document: serde_json::Value = serde_json::from_slice(&redacted).expect("JSON stays JSON");
    if let Some(text) = document["text"].as_str() {
        clean(text.as_bytes());
    }

    let mut lines = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        stream.push_lines(line, &mut lines);
    }
    stream.finish(&mut lines);
    clean(&lines);

    let mut search = redactor.search();
    text.chunks(7).for_each(|piece| search.push(piece));
    let found = search.finish().iter().any(|leak| leak.known);
    assert!(found || secrets_in(&text).is_empty(), "what is published is searched for the same");
}

#[track_caller]
fn clean(text: &[u8]) {
    assert_eq!(secrets_in(text), [""; 0], "in {:?}", String::from_utf8_lossy(text));
}

fn with_secrets(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut bytes = data.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            0xf0.. => {
                let secret = SECRETS[usize::from(byte) % SECRETS.len()].1;
                text.extend(form(secret, bytes.next().copied().unwrap_or_default()));
            }
            other => text.push(other),
        }
    }
    text
}

/// A way to write a secret down.
fn form(secret: &str, how: u8) -> Vec<u8> {
    let around = ["", "x", "xy", "xyz"][usize::from(how >> 4) % 4];
    let framed = format!("{around}{secret}{around}");
    let ways = ways(secret);
    match usize::from(how % 16) {
        0 => STANDARD.encode(&framed),
        1 => URL_SAFE_NO_PAD.encode(&framed),
        // Only a part of it: no secret, and what it is cut off by may look like more of it.
        2 => secret.chars().take(usize::from(how >> 3)).collect(),
        other => ways[(other - 3) % ways.len()].clone(),
    }
    .into_bytes()
}
