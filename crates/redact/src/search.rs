//! The question before something is published: is there a secret in it?
//!
//! Redaction may take too much, and nobody is harmed. Here every finding stops somebody's work, so only what is certain
//! counts: the known values, and tokens of such a shape that prose and examples do not have it.

use crate::Redactor;
use crate::patterns::is_certain;
use std::collections::BTreeSet;
use std::fmt;

/// No secret is longer, a private key with its line ends escaped included.
const LONGEST: usize = 20 * 1024;

/// So much is looked at together.
const ENOUGH: usize = 512 * 1024;

/// A secret that stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak<'r> {
    /// The name of the known value, or of the shape, as `github-token`.
    pub name: &'r str,
    /// It is a known value, and not only of a secret's shape.
    pub known: bool,
}

/// Looks for secrets in a text that comes in pieces, in bounded memory. Made by [`Redactor::search`].
pub struct Search<'r> {
    redactor: &'r Redactor,
    /// What was not looked at, and before that what may be the beginning of a secret.
    buffer: Vec<u8>,
    found: BTreeSet<Leak<'r>>,
}

impl<'r> Search<'r> {
    pub(crate) fn new(redactor: &'r Redactor) -> Self {
        Self { redactor, buffer: Vec::new(), found: BTreeSet::new() }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        for piece in piece.chunks(ENOUGH) {
            self.buffer.extend_from_slice(piece);
            if self.buffer.len() >= ENOUGH {
                self.look();
                let overlap = LONGEST.max(self.redactor.look_ahead());
                self.buffer.drain(..self.buffer.len().saturating_sub(overlap));
            }
        }
    }

    /// The text is at its end: what was found in it, each kind once. The search can then take another text.
    pub fn finish(&mut self) -> BTreeSet<Leak<'r>> {
        self.look();
        self.buffer.clear();
        std::mem::take(&mut self.found)
    }

    fn look(&mut self) {
        let (redactor, found) = (self.redactor, &mut self.found);
        redactor.known.each(&self.buffer, |_, name| {
            found.insert(Leak { name: &redactor.names[name], known: true });
        });
        redactor.patterns.each(&self.buffer, |pattern| {
            if is_certain(&self.buffer[pattern.range], pattern.name) {
                found.insert(Leak { name: pattern.name, known: false });
            }
        });
    }
}

/// The text is not shown.
impl fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").field("found", &self.found).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_task::Secret;

    const RANDOM: &str = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0";

    fn leaks(text: &str) -> Vec<(String, bool)> {
        let value = Secret::new("hunter2-hunter2");
        let redactor = Redactor::new([("X", &value)]);
        let mut search = redactor.search();
        search.push(text.as_bytes());
        search.finish().into_iter().map(|leak| (leak.name.to_owned(), leak.known)).collect()
    }

    #[test]
    fn known_values_and_tokens_are_found() {
        assert_eq!(leaks("a hunter2-hunter2 b"), [("X".to_owned(), true)]);
        // Within something that has a weaker shape too.
        for text in [
            format!("Bearer hunter2-hunter2={RANDOM}"),
            "https://x-access-token:hunter2-hunter2@github.com".to_owned(),
        ] {
            assert_eq!(leaks(&text), [("X".to_owned(), true)], "{text}");
        }
        let key = RANDOM.repeat(5);
        for (text, name) in [
            (format!("ghs_{RANDOM}"), "github-token"),
            (format!("Authorization: Bearer ghs_{RANDOM}=="), "github-token"),
            (format!("https://x-access-token:ghp_{RANDOM}@github.com"), "github-token"),
            (format!("github_pat_11ABCDEFG0_{RANDOM}"), "github-token"),
            (format!("sk-ant-oat01-{RANDOM}{RANDOM}"), "model-key"),
            (
                format!("https://discord.com/api/webhooks/123456789012345678/{RANDOM}{RANDOM}"),
                "discord-webhook",
            ),
            (format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----"), "private-key"),
            (format!("\"-----BEGIN RSA PRIVATE KEY-----\\n{key}\\n-----END"), "private-key"),
        ] {
            assert_eq!(leaks(&text), [(name.to_owned(), false)], "{text}");
        }
    }

    #[test]
    fn examples_and_prose_are_not() {
        for text in [
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_owned(),
            "ghs_YOUR_INSTALLATION_ACCESS_TOKEN_GOES_HERE".to_owned(),
            "github_pat_your_fine_grained_token_stands_here".to_owned(),
            "sk-ant-api03-your-key-here".to_owned(),
            "sk-ant-api03-XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX".to_owned(),
            "https://discord.com/api/webhooks/123456789012345678/your-webhook-token-of-this-channel"
                .to_owned(),
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow...\n-----END RSA PRIVATE KEY-----".to_owned(),
            "-----BEGIN PRIVATE KEY-----\n<your key>\n-----END PRIVATE KEY-----".to_owned(),
            format!("Authorization: Bearer {RANDOM}"),
            format!("aws_secret_access_key = {RANDOM}"),
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            format!("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxIn0.{RANDOM}"),
            "password=hunter2".to_owned(),
        ] {
            assert_eq!(leaks(&text), [], "{text}");
        }
    }

    #[test]
    fn a_secret_is_found_wherever_the_text_is_cut() {
        let value = Secret::new("hunter2-hunter2");
        let redactor = Redactor::new([("X", &value)]);
        let mut search = redactor.search();
        for before in [0, 1, ENOUGH - 7, ENOUGH, 2 * ENOUGH - LONGEST - 3] {
            let text = format!("{}hunter2-hunter2{}", "x".repeat(before), " ".repeat(ENOUGH));
            for size in [1000, ENOUGH, text.len()] {
                text.as_bytes().chunks(size).for_each(|piece| search.push(piece));
                assert_eq!(search.finish().len(), 1, "{before} bytes before, in pieces of {size}");
            }
        }
        search.push(b"nothing");
        assert!(search.finish().is_empty(), "what the text before had");
    }
}
