//! Installation tokens: opaque, for some repositories, with some permissions, for an hour.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// How much a permission lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Read,
    Write,
    Admin,
}

pub(super) type Permissions = BTreeMap<String, Level>;

/// What the App's installation was granted.
pub(super) fn of_installation() -> Permissions {
    [
        ("contents", Level::Write),
        ("issues", Level::Write),
        ("metadata", Level::Read),
        ("pull_requests", Level::Write),
        ("workflows", Level::Write),
    ]
    .map(|(name, level)| (name.to_owned(), level))
    .into()
}

/// `asked`, with the `metadata` that every token can read; nothing where the installation was not granted all of it.
pub(super) fn granted(asked: &Permissions) -> Option<Permissions> {
    let installed = of_installation();
    let within =
        |(name, level): (&String, &Level)| installed.get(name).is_some_and(|granted| granted >= level);
    if !asked.iter().all(within) {
        return None;
    }
    let mut granted = asked.clone();
    granted.insert("metadata".to_owned(), Level::Read);
    Some(granted)
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) installation: u64,
    /// Full names; nothing where it covers all that the installation does.
    pub(super) repositories: Option<BTreeSet<String>>,
    pub(super) permissions: Permissions,
    pub(super) expires_at: Timestamp,
}

impl Token {
    pub(super) const LIFE: SignedDuration = SignedDuration::from_hours(1);

    pub(super) fn allows(&self, permission: &str, level: Level) -> bool {
        self.permissions.get(permission).is_some_and(|granted| *granted >= level)
    }
}

/// The text of a token, in the form that GitHub's have since 2026: about 520 characters, with `.` and `_`.
pub(super) fn text(app_id: u64) -> String {
    format!("ghs_{app_id}_{}.{}.{}", random(36), random(300), random(168))
}

fn random(length: usize) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // Seeded by the system, and different at every call.
        let mut number = RandomState::new().build_hasher().finish();
        for _ in 0..(length - text.len()).min(10) {
            text.push(char::from(LETTERS[usize::try_from(number % 62).unwrap_or_default()]));
            number /= 62;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_look_like_githubs_and_differ() {
        let token = text(1_234_567);
        let pattern = regex::Regex::new(r"^ghs_[A-Za-z0-9._]{36,}$").unwrap();
        assert!(pattern.is_match(&token), "{token}");
        assert_eq!(token.len(), 518);
        assert_ne!(token, text(1_234_567));
    }

    #[test]
    fn no_more_is_granted_than_the_installation_has() {
        let ask = |name: &str, level| granted(&[(name.to_owned(), level)].into());
        assert!(ask("contents", Level::Write).is_some_and(|granted| granted.contains_key("metadata")));
        assert!(ask("contents", Level::Admin).is_none());
        assert!(ask("administration", Level::Read).is_none());
    }
}
