//! Which environment variables hold secrets.

use agent_task::Secret;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;

/// Named like no secret, and one all the same.
const WELL_KNOWN: &[&str] = &["ANTHROPIC_CUSTOM_HEADERS", "GITHUB_APP_PRIVATE_KEY", "DISCORD_WEBHOOK_URL"];

/// What a secret's variable ends in.
const ENDINGS: &[&str] = &["_TOKEN", "_KEY", "_SECRET", "_PASSWORD", "_PASSPHRASE", "_WEBHOOK_URL"];

/// No secret's file is larger.
const LARGEST_FILE: u64 = 64 * 1024;

/// The secrets of an environment, by name: those in `names`, and those that are named like one.
pub(crate) fn secrets(
    variables: impl Iterator<Item = (OsString, OsString)>,
    names: &[&str],
) -> Vec<(String, Secret)> {
    let mut found = Vec::new();
    for (name, value) in variables {
        let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) else { continue };
        let is_secret = |name: &str| {
            names.contains(&name)
                || WELL_KNOWN.contains(&name)
                || ENDINGS.iter().any(|ending| name.to_ascii_uppercase().ends_with(ending))
        };
        if is_secret(&name) {
            found.push((name, Secret::new(value)));
        } else if let Some(stem) = name.strip_suffix("_FILE").filter(|stem| is_secret(stem)) {
            // A file that cannot be read is the trouble of the piece that needs it.
            if let Some(secret) = contents(Path::new(&value)) {
                found.push((stem.to_owned(), secret));
            }
        }
    }
    // The environment has no order, the names in the output must.
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn contents(path: &Path) -> Option<Secret> {
    // Opening a pipe would block, and take what is another's.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(LARGEST_FILE).read_to_string(&mut text).ok()?;
    Some(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(variables: &[(&str, &str)], asked: &[&str]) -> Vec<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        secrets(variables, asked).into_iter().map(|(name, _)| name).collect()
    }

    /// P6
    #[test]
    fn variables_that_are_named_like_secrets_are_taken() {
        let variables = [
            ("CLAUDE_CODE_OAUTH_TOKEN", "a"),
            ("GH_TOKEN", "a"),
            ("GITHUB_APP_PRIVATE_KEY", "a"),
            ("DISCORD_WEBHOOK_URL", "a"),
            ("npm_config_auth_token", "a"),
            ("MY_OWN", "a"),
        ];
        let mut expected = variables.map(|(name, _)| name).to_vec();
        expected.sort_unstable();
        assert_eq!(names(&variables, &["MY_OWN"]), expected);
    }

    #[test]
    fn other_variables_are_not() {
        let variables = [("DISCORD_CHANNEL_ID", "1"), ("PATH", "/bin"), ("KEYBOARD", "de"), ("MY_OWN", "a")];
        assert_eq!(names(&variables, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_not_there_is_passed_over() {
        assert_eq!(names(&[("X_TOKEN_FILE", "/nowhere/token")], &[]), Vec::<String>::new());
    }
}
