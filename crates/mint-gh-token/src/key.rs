//! The App's private key, in every form in which people have it.
//!
//! GitHub hands out a PKCS#1 PEM. On its way through consoles, `.env` files, secret stores and JSON it becomes PKCS#8, gets CRLF line
//! ends, quotes, `\n` as two characters, blanks for line breaks, or is encoded in base64. All of these are one key.

use agent_task::Secret;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::EncodingKey;
use std::fmt;
use zeroize::Zeroizing;

/// Padding may have been lost to whoever splits at `=`.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An RSA private key. Its `Debug` shows nothing of it.
pub(crate) struct Key(EncodingKey);

/// The form that a key's text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A PEM as it comes.
    Pem,
    /// A PEM with `\n` written out.
    Escaped,
    /// The base64 of a PEM.
    Base64,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pem => "a PEM",
            Self::Escaped => "a PEM with \\n written out",
            Self::Base64 => "the base64 of a PEM",
        })
    }
}

/// Why a text is no key. It never holds a part of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(
        "it is in none of the known forms: tried a PEM (it would begin with -----BEGIN), a PEM with \\n written out, and the base64 of a PEM"
    )]
    UnknownForm,
    #[error("it is {0} that is cut short: its END line is missing")]
    CutShort(Form),
    #[error("it is {form} of {label}, not of an RSA private key (PKCS#1 or PKCS#8)")]
    OtherContent { form: Form, label: &'static str },
    #[error("it is {0} whose inner base64 is damaged")]
    Damaged(Form),
    #[error(
        "it is {form} that says {standard}, but what it holds is no RSA private key of at least 2048 bits"
    )]
    NotRsa { form: Form, standard: &'static str },
}

impl Key {
    /// The key in `text`.
    ///
    /// # Errors
    /// Names the forms that were tried, or the one that was recognised and what is wrong with it.
    pub(crate) fn read(text: &Secret) -> Result<Self, KeyError> {
        let (form, pem) = unwrap(text.expose())?;
        let (standard, canonical) = canonical(form, &pem)?;
        let not_rsa = KeyError::NotRsa { form, standard };
        let key = EncodingKey::from_rsa_pem(canonical.as_bytes()).map_err(|_| not_rsa.clone())?;
        let key = Self(key);
        // The PEM's structure says nothing of the numbers in it; signing does.
        key.sign(&serde_json::json!({})).map(|_| key).map_err(|_| not_rsa)
    }

    /// The claims as a signed JWT, RS256.
    ///
    /// # Errors
    /// Where the key cannot sign, which [`Key::read`] has ruled out.
    pub(crate) fn sign(&self, claims: &impl serde::Serialize) -> Result<Secret, jsonwebtoken::errors::Error> {
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        jsonwebtoken::encode(&header, claims, &self.0).map(Secret::new)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// The PEM inside `text`, and the form that it was wrapped in.
fn unwrap(text: &str) -> Result<(Form, Zeroizing<String>), KeyError> {
    let text = unquoted(text.trim());
    if let Some(found) = as_pem(text) {
        return Ok(found);
    }
    let compact = Zeroizing::new(text.split_ascii_whitespace().collect::<String>().replace("\\n", ""));
    let decoded = BASE64.decode(compact.as_bytes()).map(Zeroizing::new).map_err(|_| KeyError::UnknownForm)?;
    let decoded = std::str::from_utf8(&decoded).map_err(|_| KeyError::UnknownForm)?;
    as_pem(unquoted(decoded.trim())).map(|(_, pem)| (Form::Base64, pem)).ok_or(KeyError::UnknownForm)
}

fn as_pem(text: &str) -> Option<(Form, Zeroizing<String>)> {
    // Keys made with openssl may have a comment above.
    let text = &text[text.find("-----BEGIN ")?..];
    if !text.contains("\\n") {
        return Some((Form::Pem, Zeroizing::new(text.to_owned())));
    }
    let plain = Zeroizing::new(text.replace("\\r", ""));
    Some((Form::Escaped, Zeroizing::new(plain.replace("\\n", "\n"))))
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .map_or(text, str::trim)
}

/// The standard that the PEM says it follows, and the PEM with its lines as they should be.
fn canonical(form: Form, pem: &str) -> Result<(&'static str, Zeroizing<String>), KeyError> {
    let (label, rest) = pem
        .strip_prefix("-----BEGIN ")
        .and_then(|rest| rest.split_once("-----"))
        .ok_or(KeyError::UnknownForm)?;
    let standard = match label {
        "RSA PRIVATE KEY" => "PKCS#1",
        "PRIVATE KEY" => "PKCS#8",
        other => return Err(KeyError::OtherContent { form, label: content(other) }),
    };
    let (body, _) = rest.split_once(&format!("-----END {label}-----")).ok_or(KeyError::CutShort(form))?;
    if body.contains("ENCRYPTED") {
        return Err(KeyError::OtherContent { form, label: "an encrypted key" });
    }
    let compact = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
    let der = BASE64.decode(compact.as_bytes()).map(Zeroizing::new).map_err(|_| KeyError::Damaged(form))?;
    let body = Zeroizing::new(BASE64.encode(&der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() * 2));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    Ok((standard, text))
}

/// What a PEM's label says in words of ours: the label itself is a part of the text.
fn content(label: &str) -> &'static str {
    match label {
        "ENCRYPTED PRIVATE KEY" => "an encrypted key",
        "PUBLIC KEY" | "RSA PUBLIC KEY" => "a public key",
        "CERTIFICATE" => "a certificate",
        "OPENSSH PRIVATE KEY" => "an OpenSSH key",
        "EC PRIVATE KEY" => "an elliptic-curve key",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str =
        "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0IGJ1\ndCBub3QgYSBrZXk=\n-----END RSA PRIVATE KEY-----\n";

    fn error(text: &str) -> KeyError {
        Key::read(&Secret::new(text)).unwrap_err()
    }

    #[test]
    fn every_wrapping_gives_the_same_pem() {
        let expected = canonical(Form::Pem, PEM).unwrap().1;
        let base64 = BASE64.encode(PEM);
        let (left, right) = base64.split_at(40);
        for (form, text) in [
            (Form::Pem, PEM.to_owned()),
            (Form::Pem, PEM.replace('\n', "\r\n")),
            (Form::Pem, PEM.replace('\n', " ")),
            (Form::Pem, format!("\"{PEM}\"")),
            (Form::Escaped, PEM.replace('\n', "\\n")),
            (Form::Escaped, PEM.replace('\n', "\\r\\n")),
            (Form::Escaped, format!("'{}'", PEM.replace('\n', "\\n"))),
            (Form::Base64, base64.clone()),
            (Form::Base64, base64.trim_end_matches('=').to_owned()),
            (Form::Base64, format!("{left}\n{right}\n")),
            (Form::Base64, BASE64.encode(PEM.replace('\n', "\r\n"))),
            (Form::Base64, BASE64.encode(PEM.replace('\n', "\\n"))),
        ] {
            let (found, pem) = unwrap(&text).unwrap();
            assert_eq!(found, form, "{text}");
            assert_eq!(canonical(found, &pem).unwrap().1, expected, "{text}");
        }
    }

    #[test]
    fn an_error_names_the_form_and_shows_nothing_of_the_key() {
        let cut = PEM.split_at(60).0;
        for (text, words) in [
            ("hunter2", "none of the known forms: tried a PEM"),
            ("aHVudGVyMg==", "none of the known forms"),
            (cut, "it is a PEM that is cut short"),
            (&BASE64.encode(cut), "it is the base64 of a PEM that is cut short"),
            (&PEM.replace("RSA PRIVATE KEY", "CERTIFICATE"), "it is a PEM of a certificate, not"),
            (&PEM.replace("RSA PRIVATE", "HUNTER2"), "it is a PEM of something else, not"),
            (&PEM.replace("c2Vj", "c2V!"), "it is a PEM whose inner base64 is damaged"),
            (PEM, "it is a PEM that says PKCS#1, but what it holds is no RSA private key"),
            (
                &PEM.replace("RSA PRIVATE", "PRIVATE").replace('\n', "\\n"),
                "PEM with \\n written out that says PKCS#8",
            ),
        ] {
            let message = error(text).to_string();
            assert!(message.contains(words), "{message}");
            for part in ["hunter2", "HUNTER2", "c2Vj", "secret"] {
                assert!(!message.contains(part), "{message}");
            }
        }
    }
}
