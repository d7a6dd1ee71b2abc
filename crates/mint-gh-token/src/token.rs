//! A minted token, and how it is printed.

use crate::narrow::Permissions;
use agent_task::Secret;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// A token and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    /// The token.
    pub token: Secret,
    /// By GitHub's clock.
    pub expires_at: Timestamp,
    /// `owner/name`, as GitHub writes it.
    pub repository: String,
    /// What it may do there.
    pub permissions: Permissions,
    /// The App's installation that it is of.
    pub installation_id: u64,
    /// GitHub's clock minus ours, where it matters; else nothing.
    pub skew: SignedDuration,
}

/// What is printed on stdout: here the token leaves on purpose.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document<'a> {
    kind: &'static str,
    token: &'a str,
    expires_at: Timestamp,
    repository: &'a str,
    permissions: &'a BTreeMap<String, String>,
    installation_id: u64,
}

impl<'a> From<&'a Minted> for Document<'a> {
    fn from(minted: &'a Minted) -> Self {
        let Minted { token, expires_at, repository, permissions, installation_id, skew: _ } = minted;
        Self {
            kind: "InstallationToken",
            token: token.expose(),
            expires_at: *expires_at,
            repository,
            permissions: &permissions.0,
            installation_id: *installation_id,
        }
    }
}

/// `NAME=value` lines. Neither value has a character that a shell would read, see [`is_sound`].
pub(crate) fn environment(minted: &Minted) -> String {
    format!("GITHUB_TOKEN={}\nGITHUB_TOKEN_EXPIRES_AT={}\n", minted.token.expose(), minted.expires_at)
}

/// Whether a token can stand in a line, a header and a shell's assignment. Its length and form are GitHub's affair.
pub(crate) fn is_sound(token: &str) -> bool {
    !token.is_empty()
        && token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'~' | b'+' | b'/' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minted() -> Minted {
        Minted {
            token: Secret::new("ghs_a.b_c"),
            expires_at: "2026-11-22T23:00:00Z".parse().unwrap(),
            repository: "octo/blog".into(),
            permissions: Permissions([("contents".to_owned(), "write".to_owned())].into()),
            installation_id: 7,
            skew: SignedDuration::ZERO,
        }
    }

    /// K6
    #[test]
    fn the_document_says_what_the_token_is_good_for() {
        assert_eq!(
            serde_json::to_value(Document::from(&minted())).unwrap(),
            serde_json::json!({
                "kind": "InstallationToken",
                "token": "ghs_a.b_c",
                "expiresAt": "2026-11-22T23:00:00Z",
                "repository": "octo/blog",
                "permissions": {"contents": "write"},
                "installationId": 7,
            })
        );
    }

    #[test]
    fn the_environment_is_two_lines() {
        let text = "GITHUB_TOKEN=ghs_a.b_c\nGITHUB_TOKEN_EXPIRES_AT=2026-11-22T23:00:00Z\n";
        assert_eq!(environment(&minted()), text);
    }

    #[test]
    fn a_token_with_a_line_break_or_a_shell_character_is_none() {
        assert!(is_sound(&format!("ghs_{}._-", "aB9".repeat(170))));
        for bad in ["", "a\nhost=evil", "a b", "a$(x)", "a;b", "é"] {
            assert!(!is_sound(bad), "{bad}");
        }
    }
}
