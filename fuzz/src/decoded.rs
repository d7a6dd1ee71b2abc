//! Whether somebody can read a secret in a text who knows how it may be written there: an independent judge, which decodes
//! where `redact` encodes.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// Whether `secret` can be read in `text` as it stands, in one of the ways in which it is told that secrets are found:
/// verbatim, escaped once or twice as JSON, percent-encoded, or in base64.
pub(crate) fn shows(text: &[u8], secret: &str) -> bool {
    let holds = |text: &[u8]| text.windows(secret.len()).any(|window| window == secret.as_bytes());
    if holds(text) {
        return true;
    }
    let unescaped = unescaped(text);
    holds(&unescaped)
        || holds(&self::unescaped(&unescaped))
        || holds(&percent_decoded(text))
        || in_base64(text, holds)
}

/// JSON's escapes, wherever they stand; what is none stays.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else { break };
        rest = after;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => {
                let unit = rest.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
                let character = unit.and_then(|digits| char::from_u32(u32::from_str_radix(digits, 16).ok()?));
                match character {
                    Some(character) => {
                        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                        rest = &rest[4..];
                    }
                    None => out.push(b'u'),
                }
            }
            other => out.push(other),
        }
    }
    out
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (Some(high), Some(low)) if byte == b'%' => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Every run of base64's characters, read from each of the first four on.
fn in_base64(text: &[u8], holds: impl Fn(&[u8]) -> bool) -> bool {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let of = |byte: &u8, two: [u8; 2]| byte.is_ascii_alphanumeric() || two.contains(byte);
    [(alphabet::STANDARD, *b"+/"), (alphabet::URL_SAFE, *b"-_")].into_iter().any(|(alphabet, two)| {
        let engine = GeneralPurpose::new(&alphabet, lenient);
        text.split(|byte| !of(byte, two)).filter(|run| run.len() >= 8).any(|run| {
            (0..4).any(|from| {
                let run = &run[from..];
                // A single character at the end holds no byte.
                let run = &run[..run.len() - usize::from(run.len() % 4 == 1)];
                engine.decode(run).is_ok_and(|bytes| holds(&bytes))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_in_every_form() {
        let secret = "a\"secret\\/ü";
        let json = serde_json::to_string(secret).unwrap();
        let nested = serde_json::to_string(&json).unwrap();
        let base64 = GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new());
        for text in [
            secret.to_owned(),
            json,
            nested,
            "a%22secret%5C%2f%C3%bc".to_owned(),
            "a\\u0022secret\\u005c/\\u00fc".to_owned(),
            base64.encode(format!("x{secret}")),
            base64.encode(format!("xy{secret}y")),
            format!("=={}", base64.encode(secret)),
        ] {
            assert!(shows(text.as_bytes(), secret), "{text}");
            assert!(!shows(text.as_bytes(), "another"), "{text}");
        }
        assert!(!shows(b"a\"secret\\", secret));
    }
}
