//! The environment that the command gets: made from what is allowed, so that a credential which appears in ours tomorrow
//! is not handed on by oversight.
//!
//! A prompt-injected agent can read whatever stands here. Of credentials it has its own login, and what its MCP
//! configuration refers to. A proxy that holds the login and puts it on requests to the model would take it out of here.

use agent_task::secret::NEVER_HANDED_ON;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

/// The way out, and whom to believe there: what git reads, the agent's and ours.
pub(crate) const WAY_OUT: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "GIT_SSL_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Handed on as they are.
const ALLOWED: &[&str] = &[
    // The person and the machine.
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "TZ",
    // Whom to believe on the way out, beside what git reads.
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    // The agent.
    "CLAUDE_CONFIG_DIR",
    "NPM_CONFIG_OFFLINE",
    "OPENCODE_AUTH_CONTENT",
    "OPENCODE_MODELS_PATH",
    "OPENCODE_TEST_HOME",
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
    // Where tools live that a site is built with.
    "JAVA_HOME",
    "GOPATH",
    "GOROOT",
    "GOPROXY",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "NVM_DIR",
    "PNPM_HOME",
    "BUN_INSTALL",
    "VIRTUAL_ENV",
    "PYENV_ROOT",
    "RBENV_ROOT",
    "GEM_HOME",
    "GEM_PATH",
    "BUNDLE_PATH",
    "ASDF_DATA_DIR",
    "MISE_DATA_DIR",
];

/// Handed on by how they begin.
const ALLOWED_PREFIXES: &[&str] =
    &["LC_", "XDG_", "CLAUDE_CODE_", "DISABLE_", "OPENCODE_DISABLE_", "MCP_", "PLAYWRIGHT_", "PRESSRUN_"];

/// Of those, the families in which a name may be a secret's.
const MIXED_PREFIXES: &[&str] = &["MCP_", "PLAYWRIGHT_", "PRESSRUN_"];

/// The login token of claude, which knows the variable and not the file.
pub const LOGIN_TOKEN: &str = "CLAUDE_CODE_OAUTH_TOKEN";

/// The key of opencode's provider, likewise.
pub const LOGIN_KEY: &str = "OPENCODE_API_KEY";

/// Why a variable may not be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is never handed on to the command")]
pub struct NeverPassed(pub String);

/// Checks the names that the MCP configuration or `--pass-env` ask for.
///
/// # Errors
/// Names the first one that is never handed on.
pub fn check_asked<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), NeverPassed> {
    names
        .into_iter()
        .find(|name| NEVER_HANDED_ON.contains(name))
        .map_or(Ok(()), |name| Err(NeverPassed(name.to_owned())))
}

/// What of `ours` the command gets: what is allowed, and what was asked for by name.
pub fn inherited(
    ours: impl IntoIterator<Item = (OsString, OsString)>,
    asked: &BTreeSet<String>,
) -> BTreeMap<OsString, OsString> {
    ours.into_iter().filter(|(name, _)| name.to_str().is_some_and(|name| passes(name, asked))).collect()
}

fn passes(name: &str, asked: &BTreeSet<String>) -> bool {
    // The login is put on top, by whose it is.
    if NEVER_HANDED_ON.contains(&name) || name == LOGIN_TOKEN {
        return false;
    }
    if asked.contains(name) || ALLOWED.contains(&name) || WAY_OUT.contains(&name) {
        return true;
    }
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    begins(ALLOWED_PREFIXES)
        && !(begins(MIXED_PREFIXES) && names_a_secret(name))
        // Read here and handed on as the variable itself.
        && name.strip_suffix("_FILE") != Some(LOGIN_TOKEN)
}

fn names_a_secret(name: &str) -> bool {
    ["TOKEN", "SECRET", "KEY", "PASSWORD", "CREDENTIAL", "WEBHOOK"].iter().any(|word| name.contains(word))
}

/// What is set on top, whatever ours says.
#[derive(Debug, Clone)]
pub struct Set<'a> {
    /// The run's id.
    pub run: &'a str,
    /// Process id of `branch-run`: background processes of the run end with it.
    pub pid: u32,
    /// A folder of the run's own for temporary files: browsers share theirs otherwise.
    pub temporary: &'a OsStr,
    /// Name and mail for commits, where git has none.
    pub identity: Option<(&'a str, &'a str)>,
    /// The variable that the command logs in with, and its value.
    pub login: Option<(&'static str, &'a str)>,
}

impl Set<'_> {
    /// Puts it into `environment`.
    pub fn put_into(&self, environment: &mut BTreeMap<OsString, OsString>) {
        let mut set = |name: &str, value: &OsStr| {
            environment.insert(name.into(), value.to_owned());
        };
        set("PRESSRUN_RUN_ID", self.run.as_ref());
        set("PRESSRUN_PID", self.pid.to_string().as_ref());
        for name in ["TMPDIR", "TMP", "TEMP"] {
            set(name, self.temporary);
        }
        // One answer a run, nothing fetched on the side, nobody asked.
        for name in [
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
            "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS",
            // The task is data: `@/proc/self/environ` in it would put that file before the model, whatever tools are allowed.
            "CLAUDE_CODE_DISABLE_FILE_MENTIONS",
            "DISABLE_AUTOUPDATER",
        ] {
            set(name, "1".as_ref());
        }
        set("GIT_TERMINAL_PROMPT", "0".as_ref());
        if let Some((name, mail)) = self.identity {
            for role in ["AUTHOR", "COMMITTER"] {
                set(&format!("GIT_{role}_NAME"), name.as_ref());
                set(&format!("GIT_{role}_EMAIL"), mail.as_ref());
            }
        }
        if let Some((variable, value)) = self.login {
            set(variable, value.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(names: &[&str], asked: &[&str]) -> Vec<String> {
        let ours = names.iter().map(|name| (OsString::from(name), OsString::from("x")));
        let asked = asked.iter().map(|name| (*name).to_owned()).collect();
        inherited(ours, &asked).into_keys().map(|name| name.into_string().unwrap()).collect()
    }

    /// P3
    #[test]
    fn what_overrides_or_redirects_the_login_never_passes() {
        let three = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"];
        assert_eq!(passed(&three, &[]), [""; 0]);
        assert_eq!(passed(&three, &three), [""; 0], "asked for or not");
        assert_eq!(check_asked(three), Err(NeverPassed("ANTHROPIC_API_KEY".into())));
        assert_eq!(check_asked(["GITHUB_TOKEN"]), Ok(()));
    }

    /// P3, P12: one runtime's login is not for the other.
    #[test]
    fn a_login_passes_as_the_commands_own_alone() {
        assert_eq!(passed(&[LOGIN_TOKEN, LOGIN_KEY], &[LOGIN_TOKEN, LOGIN_KEY]), [""; 0]);
        let mut environment = BTreeMap::new();
        let (run, temporary) = ("r", OsStr::new("/t"));
        Set { run, pid: 1, temporary, identity: None, login: Some((LOGIN_KEY, "k")) }
            .put_into(&mut environment);
        assert!(environment.contains_key(OsStr::new(LOGIN_KEY)));
        assert!(!environment.contains_key(OsStr::new(LOGIN_TOKEN)));
    }

    /// P3, P12: what would be another source of opencode's settings.
    #[test]
    fn settings_of_opencode_do_not_pass() {
        let others =
            ["OPENCODE_CONFIG", "OPENCODE_CONFIG_CONTENT", "OPENCODE_CONFIG_DIR", "OPENCODE_PERMISSION"];
        assert_eq!(passed(&others, &[]), [""; 0]);
    }

    /// P3
    #[test]
    fn credentials_of_the_other_pieces_do_not_pass_unless_asked_for() {
        let others = [
            "AWS_SECRET_ACCESS_KEY",
            "CLAUDE_CODE_OAUTH_TOKEN_FILE",
            "DISCORD_BOT_TOKEN",
            "DISCORD_WEBHOOK_URL",
            "GH_TOKEN",
            "GITHUB_APP_ID",
            "GITHUB_APP_PRIVATE_KEY",
            "GITHUB_TOKEN",
            "GITHUB_TOKEN_FILE",
            "LD_PRELOAD",
            "MCP_SERVER_TOKEN",
            "PRESSRUN_WEBHOOK_SECRET",
            "SSH_AUTH_SOCK",
        ];
        assert_eq!(passed(&others, &[]), [""; 0]);
        assert_eq!(passed(&others, &["DISCORD_BOT_TOKEN", "GITHUB_APP_PRIVATE_KEY"]), ["DISCORD_BOT_TOKEN"]);
    }

    #[test]
    fn what_tools_need_passes() {
        let needed = [
            "CLAUDE_CODE_MAX_RETRIES",
            "HOME",
            "HTTPS_PROXY",
            "LC_ALL",
            "MCP_TIMEOUT",
            "PATH",
            "PRESSRUN_RUN_DIR",
            "https_proxy",
        ];
        assert_eq!(passed(&needed, &[]), needed);
    }
}
