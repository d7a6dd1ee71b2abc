//! What must hold for every input of the pieces that read what they cannot trust: an agent's events and record, a person's
//! overlay, what git asks a credential helper. Each module is a target: its `check` takes bytes and panics where something
//! does not hold.
//!
//! `just fuzz TARGET SECONDS` runs a target in libFuzzer. The tests run each over its seeds, and over what a simple mutation
//! makes of them, so that no target goes stale.
#![allow(clippy::panic, clippy::expect_used, reason = "a target tells by panicking")]

pub mod credentials;
pub mod events;
pub mod overlays;
pub mod records;
pub mod redaction;

mod written;

use agent_task::Secret;
use redact::Redactor;
use std::sync::LazyLock;

/// A target.
pub type Check = fn(&[u8]);

/// The targets, by name.
pub const TARGETS: [(&str, Check); 5] = [
    ("credentials", credentials::check),
    ("events", events::check),
    ("overlays", overlays::check),
    ("records", records::check),
    ("redaction", redaction::check),
];

/// Values that are known as secrets, each awkward in its own way; none is of a known shape.
const SECRETS: [(&str, &str); 4] = [
    ("PASSWORD", "p4ss\"w/rd\\n+ü&<x>"),
    ("LOGIN_TOKEN", "sk-oat-0123456789-abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOP"),
    ("WEBHOOK", "hunter2~hunter2"),
    ("NUMBER", "73019284650"),
];

/// One that knows [`SECRETS`]. Making it costs more than a target does.
fn redactor() -> &'static Redactor {
    static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| {
        let secrets = SECRETS.map(|(name, value)| (name, Secret::new(value)));
        Redactor::new(secrets.iter().map(|(name, value)| (*name, value)))
    });
    &REDACTOR
}

/// Cuts `data` in pieces whose lengths the first bytes of it tell; gives the rest, and the pieces' lengths.
fn cuts(data: &[u8]) -> (&[u8], impl Iterator<Item = usize>) {
    let (lengths, rest) = data.split_at(data.len().min(4));
    let lengths = lengths.to_vec();
    (rest, lengths.into_iter().map(|length| usize::from(length) + 1).cycle())
}
