//! The one type that holds a secret, and the one way in: an environment variable, or the file that one names.

use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Variables that the agent and its MCP servers never get, whoever asks for them. The first three override claude's login
/// token or send it elsewhere; the next is opencode's login, which it gets and nothing that it starts; with the others the
/// agent could push.
pub const NEVER_HANDED_ON: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "OPENCODE_API_KEY",
    "OPENCODE_API_KEY_FILE",
    "GITHUB_APP_PRIVATE_KEY",
    "GITHUB_APP_PRIVATE_KEY_FILE",
];

/// A token, key or password. Its `Debug` shows nothing, it has no `Display` and is not serializable, and its
/// memory is wiped when it goes: whoever wants the text must ask with [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text as it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text. Where this is called, the secret leaves our care.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Two sources, of which one would be ignored.
    #[error("{0} and {0}_FILE are both set: unset one of them")]
    Both(String),
    /// The variable holds something that is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUnicode(String),
    /// The file could not be read.
    #[error("reading the file that {variable}_FILE names, {path}")]
    Unreadable {
        /// The variable without `_FILE`.
        variable: String,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// The secret `variable`: from the environment, or from the file that `<variable>_FILE` names. White space around it
/// is dropped; empty counts as unset. `environment` looks a variable up, so that a test needs no process environment.
///
/// # Errors
/// Where both are set, or the one that is set cannot be read.
pub fn read(
    variable: &str,
    environment: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<Option<Secret>, SecretError> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let trimmed = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::new);
    match (set(variable), set(&format!("{variable}_FILE"))) {
        (Some(_), Some(_)) => Err(SecretError::Both(variable.to_owned())),
        (Some(value), None) => {
            value.to_str().map(trimmed).ok_or_else(|| SecretError::NotUnicode(variable.to_owned()))
        }
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            match std::fs::read_to_string(&path).map(Zeroizing::new) {
                Ok(text) => Ok(trimmed(&text)),
                Err(source) => Err(SecretError::Unreadable { variable: variable.to_owned(), path, source }),
            }
        }
        (None, None) => Ok(None),
    }
}

/// [`read`] from this process's environment.
///
/// # Errors
/// As [`read`].
pub fn from_env(variable: &str) -> Result<Option<Secret>, SecretError> {
    read(variable, |name| std::env::var_os(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::io::Write as _;

    fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("ghs_x")), "Secret(redacted)");
    }

    #[test]
    fn a_file_is_read_and_trimmed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "  hunter2 ").unwrap();
        let path = file.path().to_str().unwrap();
        let secret = read("T", environment(&[("T_FILE", path)])).unwrap().unwrap();
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn both_sources_are_an_error() {
        let error = read("T", environment(&[("T", "a"), ("T_FILE", "/b")])).unwrap_err();
        assert_eq!(error.to_string(), "T and T_FILE are both set: unset one of them");
    }

    #[test]
    fn empty_counts_as_unset() {
        assert!(read("T", environment(&[("T", " \n")])).unwrap().is_none());
        assert!(read("T", environment(&[])).unwrap().is_none());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read("T", environment(&[("T_FILE", "/nowhere/t")])).unwrap_err();
        assert_eq!(error.to_string(), "reading the file that T_FILE names, /nowhere/t");
    }
}
