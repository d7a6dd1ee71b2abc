//! The App: its key, and the JWTs that it signs with it.

use super::refusal::Refusal;
use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use std::sync::OnceLock;

/// The one App that GitHub knows.
#[derive(Debug, Clone)]
pub struct App {
    /// Its number.
    pub app_id: u64,
    /// Its client id, which GitHub prefers as a JWT's issuer.
    pub client_id: String,
    /// Its private key as GitHub hands it out: PKCS#1 PEM.
    pub private_key_pem: String,
    /// The same key as PKCS#8 PEM.
    pub private_key_pkcs8_pem: String,
    /// Its installation for the owner of the first repository that is added.
    pub installation_id: u64,
    /// Its name in URLs; it writes as `SLUG[bot]`.
    pub slug: String,
}

/// A key takes a while to make, and is the same for all sandboxes of a process.
struct Key {
    pkcs1_pem: String,
    pkcs8_pem: String,
    public_pem: String,
}

static KEY: OnceLock<Key> = OnceLock::new();

fn key() -> anyhow::Result<&'static Key> {
    if let Some(key) = KEY.get() {
        return Ok(key);
    }
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .context("making the App's key")?;
    let pkcs8 = pair.serialize_der();
    let pkcs1 = pkcs1_of(&pkcs8).context("the App's key is not PKCS#8")?;
    Ok(KEY.get_or_init(|| Key {
        pkcs1_pem: pem("RSA PRIVATE KEY", pkcs1),
        pkcs8_pem: pem("PRIVATE KEY", &pkcs8),
        public_pem: pair.public_key_pem(),
    }))
}

/// PKCS#8 is a sequence of a version, an algorithm, and the PKCS#1 key as an octet string (RFC 5208, section 5).
fn pkcs1_of(pkcs8: &[u8]) -> Option<&[u8]> {
    let (sequence, _) = der(0x30, pkcs8)?;
    let (_version, rest) = der(0x02, sequence)?;
    let (_algorithm, rest) = der(0x30, rest)?;
    let (key, _) = der(0x04, rest)?;
    Some(key)
}

/// The content of the element of this tag at the start of `from`, and what follows it.
fn der(tag: u8, from: &[u8]) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = from else { return None };
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        short @ 0..0x80 => (usize::from(*short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    rest.split_at_checked(length)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

impl App {
    pub(super) fn new() -> anyhow::Result<Self> {
        let key = key()?;
        Ok(Self {
            app_id: 1_234_567,
            client_id: "Iv23liSandboxClient0".to_owned(),
            private_key_pem: key.pkcs1_pem.clone(),
            private_key_pkcs8_pem: key.pkcs8_pem.clone(),
            installation_id: 87_654_321,
            slug: "pressrun-sandbox".to_owned(),
        })
    }

    /// The name it writes under.
    pub(super) fn bot(&self) -> String {
        format!("{}[bot]", self.slug)
    }

    /// Whether this JWT is the App's, by the servers' time.
    pub(super) fn check(&self, jwt: &str, now: Timestamp) -> Result<(), Refusal> {
        let refusal = |message: &str| Refusal::new(StatusCode::UNAUTHORIZED, message);
        let undecodable = || refusal("A JSON web token could not be decoded");
        let public = key().map_err(|_| undecodable())?.public_pem.as_bytes();
        let public = DecodingKey::from_rsa_pem(public).map_err(|_| undecodable())?;
        // The times are judged below, by another clock and other rules.
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims: Value =
            jsonwebtoken::decode(jwt, &public, &validation).map_err(|_| undecodable())?.claims;

        let now = now.as_second();
        let expires = claims["exp"].as_i64().filter(|expires| *expires > now).ok_or_else(|| {
            refusal(
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the \
                 assertion expires",
            )
        })?;
        let issued = claims["iat"].as_i64().filter(|issued| *issued <= now).ok_or_else(|| {
            refusal(
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            )
        })?;
        if expires - issued > 600 || expires - now > 600 {
            return Err(refusal("'Expiration time' claim ('exp') is too far in the future"));
        }
        let issuer = match &claims["iss"] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(refusal("'Issuer' claim ('iss') must be an Integer")),
        };
        if issuer != self.client_id && issuer != self.app_id.to_string() {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "Integration not found"));
        }
        Ok(())
    }
}
