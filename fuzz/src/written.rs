//! The ways in which a secret may be written down, by an independent judge: what others escape it reads in the forms in which
//! their writers write, base64 it decodes.

use crate::SECRETS;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Everything but base64: as it stands, as writers of JSON escape it, once and within a text that is escaped again, and
/// percent-encoded.
pub(crate) fn ways(secret: &str) -> Vec<String> {
    let units = |text: &str, of: &[char]| {
        let unit = |c: char| if of.contains(&c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() };
        text.chars().map(unit).collect::<String>()
    };
    let json = escaped(secret);
    let mut ways = vec![
        secret.to_owned(),
        json.replace('/', "\\/"),
        units(&json, &['ü']),
        units(&json, &['&', '<', '>']),
        percent_encoded(secret, false),
        percent_encoded(secret, true),
        json,
    ];
    ways.extend((1..7).map(|way| escaped(&ways[way])).collect::<Vec<_>>());
    ways
}

fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent_encoded(text: &str, lower: bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ if lower => format!("%{byte:02x}"),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The secrets of [`SECRETS`] that stand in `text`, in one of the [`ways`] or in base64: their names.
pub(crate) fn secrets_in(text: &[u8]) -> Vec<&'static str> {
    static WAYS: LazyLock<Vec<(&str, Vec<Finder<'static>>)>> = LazyLock::new(|| {
        let finders = |secret| ways(secret).iter().map(|way| Finder::new(way).into_owned()).collect();
        SECRETS.iter().map(|(name, secret)| (*name, finders(secret))).collect()
    });
    let decoded = in_base64(text);
    let holds = |ways: &[Finder<'_>]| {
        ways.iter().any(|way| way.find(text).is_some())
            || decoded.iter().any(|bytes| ways[0].find(bytes).is_some())
    };
    WAYS.iter().filter(|(_, ways)| holds(ways)).map(|(name, _)| *name).collect()
}

/// Every run of base64's characters, decoded from each of the first four on.
fn in_base64(text: &[u8]) -> Vec<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let of = |byte: &u8, two: [u8; 2]| byte.is_ascii_alphanumeric() || two.contains(byte);
    let mut decoded = Vec::new();
    for (alphabet, two) in [(alphabet::STANDARD, *b"+/"), (alphabet::URL_SAFE, *b"-_")] {
        let engine = GeneralPurpose::new(&alphabet, lenient);
        for run in text.split(|byte| !of(byte, two)).filter(|run| run.len() >= 12) {
            for run in (0..4).map(|from| &run[from..]) {
                // A single character at the end holds no byte.
                let whole = run.len() - usize::from(run.len() % 4 == 1);
                decoded.extend(engine.decode(&run[..whole]));
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_in_every_form() {
        let (name, secret) = SECRETS[0];
        let json = serde_json::to_string(secret).unwrap();
        let nested = serde_json::to_string(&json).unwrap();
        let base64 = GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new());
        for text in [
            secret.to_owned(),
            json,
            nested,
            "p4ss%22w%2Frd%5Cn%2B%C3%BC%26%3Cx%3E".to_owned(),
            "p4ss\\\"w\\/rd\\\\n+ü&<x>".to_owned(),
            base64.encode(format!("x{secret}")),
            base64.encode(format!("xy{secret}y")),
            format!("=={}", base64.encode(secret)),
        ] {
            assert_eq!(secrets_in(text.as_bytes()), [name], "{text}");
        }
        assert_eq!(secrets_in(b"p4ss\"w/rd"), [""; 0]);
    }
}
