//! The rules about what the configuration says, beyond its shape: references, secrets, programs, downloads, URLs.

use crate::config::{Config, Server, Text};
use crate::fetch;
use crate::machine::Machine;
use crate::problem::Problem;
use crate::references::{self, Part};
use agent_task::secret::NEVER_HANDED_ON;
use redact::Redactor;
use std::collections::BTreeSet;
use url::Url;

/// What is judged beside what always is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge {
    /// Whether a server may be downloaded when it starts.
    pub(crate) allow_fetch: bool,
    /// Whether programs must be there. [`resolve`] then makes their paths absolute.
    pub(crate) programs: bool,
}

/// Everything that is wrong with `config` on `machine`.
pub(crate) fn problems(
    config: &Config,
    machine: &Machine,
    judge: Judge,
    redactor: &Redactor,
) -> Vec<Problem> {
    let mut found = Vec::new();
    for (name, server) in &config.mcp_servers {
        let script = match server {
            Server::Stdio(server) => fetch::script_index(&server.command, &server.args),
            Server::Remote(_) => None,
        };
        for text in server.texts() {
            let in_script =
                matches!(text.key, Some(crate::config::Key::Index(index)) if Some(index) == script);
            let mut wrong = |what: String| found.push(Problem::of(name, text.path(), what));
            references_of(text, server, machine, in_script, &mut wrong);
            if let Some(what) = literal_secret(text, redactor) {
                wrong(what);
            }
        }
        match server {
            Server::Stdio(server) => {
                if let Some(what) =
                    fetch::fetched(&server.command, &server.args).filter(|_| !judge.allow_fetch)
                {
                    found.push(Problem::of(
                        name,
                        "command",
                        format!(
                            "{what}; a run downloads nothing: install the server with its version pinned and \
                             name its program here, or pass --allow-fetch"
                        ),
                    ));
                }
                let command = expanded(&server.command, machine);
                if judge.programs
                    && !command.contains("${")
                    && let Err(why) = machine.program(&command)
                {
                    found.push(Problem::of(name, "command", why));
                }
            }
            Server::Remote(server) => {
                let url = references::expand(&server.url, references::Sink::Remote, |variable| {
                    machine.variable(variable).map(str::to_owned)
                });
                if let Some(what) = bad_url(&server.url, &url) {
                    found.push(Problem::of(name, "url", what));
                }
            }
        }
    }
    found
}

/// Makes the path of every program absolute, so that the agent starts what was looked at here. Call it where
/// [`problems`] found none. A command that holds a reference stays as it is.
pub(crate) fn resolve(config: &mut Config, machine: &Machine) {
    for server in config.mcp_servers.values_mut() {
        if let Server::Stdio(server) = server
            && !server.command.contains("${")
            && let Ok(path) = machine.program(&server.command)
            && let Some(path) = path.to_str()
        {
            path.clone_into(&mut server.command);
        }
    }
}

/// The variables that `config` refers to, by name.
pub(crate) fn variables(config: &Config) -> BTreeSet<String> {
    let texts = config.mcp_servers.values().flat_map(Server::texts);
    texts.flat_map(|text| references::names(text.text)).map(str::to_owned).collect()
}

fn expanded(text: &str, machine: &Machine) -> String {
    references::expand(text, references::Sink::Local, |name| machine.variable(name).map(str::to_owned))
}

fn references_of(
    text: Text<'_>,
    server: &Server,
    machine: &Machine,
    in_script: bool,
    wrong: &mut impl FnMut(String),
) {
    for part in references::parts(text.text) {
        match part {
            Part::Literal(_) => {}
            // A shell's own business.
            Part::Unexpanded(_) if in_script => {}
            Part::Unexpanded(text) => {
                let name = text.trim_start_matches(['$', '{']);
                let name =
                    name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
                let name = if name.is_empty() { "VAR" } else { name };
                wrong(format!("'{text}' is never expanded: write ${{{name}}} or ${{{name}:-default}}"));
            }
            Part::Reference { name, .. } if NEVER_HANDED_ON.contains(&name) => {
                wrong(format!(
                    "{name} is kept from the agent and its servers: use a credential made for this server"
                ));
            }
            Part::Reference { name, .. } if references::withheld(name, server.sink()) => {
                wrong(match server.sink() {
                    references::Sink::Local => {
                        format!("the agent CLI hands {name} to no server and puts nothing in its place")
                    }
                    references::Sink::Remote => format!(
                        "the agent CLI sends {name} to no remote server and puts nothing in its place: \
                     hand the value over in a variable of another name, made for this server"
                    ),
                });
            }
            Part::Reference { name, default } => match (machine.variable(name), default) {
                (None, None) => wrong(format!("{name} is not set: set it, or write ${{{name}:-default}}")),
                (Some(""), Some(default)) if !default.is_empty() => wrong(format!(
                    "{name} is set and empty, so the agent CLI takes the empty text and not the default: unset it"
                )),
                (Some(""), None) if names_a_secret(name) => wrong(format!("{name} is set and empty")),
                _ => {}
            },
        }
    }
}

/// Words in the name of a variable or header whose value is a secret.
const SECRET_WORDS: &[&str] = &[
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "KEY",
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "AUTHORIZATION",
    "COOKIE",
    "WEBHOOK",
];

/// Whether a variable or a header of this name holds a secret.
pub(crate) fn names_a_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    upper.split(['_', '-']).any(|word| SECRET_WORDS.contains(&word))
        // The path of a file with the secret is none.
        && !["_FILE", "_PATH", "_DIR"].iter().any(|ending| upper.ends_with(ending))
}

/// Why `text` is a secret that stands in the file itself.
fn literal_secret(text: Text<'_>, redactor: &Redactor) -> Option<String> {
    // References stand for themselves; a placeholder keeps what is around them apart.
    let literal: String = references::parts(text.text)
        .into_iter()
        .map(|part| match part {
            Part::Literal(text) | Part::Unexpanded(text) => text,
            Part::Reference { .. } => " ",
        })
        .collect();
    if text.field == "url"
        && let Some((_, rest)) = text.text.split_once("://")
        && let authority = rest.split(['/', '?', '#']).next().unwrap_or_default()
        && authority.contains('@')
    {
        return Some("holds a user or password before the host: send it in headers, as ${VAR}".to_owned());
    }
    if let Some(finding) = redactor.find(literal.as_bytes()).first() {
        let name = finding.name;
        let known =
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        return Some(if known {
            format!("holds the value of {name}: write ${{{name}}}")
        } else {
            format!("holds a secret ({name}): put it into a variable and write ${{VAR}}")
        });
    }
    // By the name it is given, where no shape gives it away.
    let Some(crate::config::Key::Name(key)) = text.key else { return None };
    let whole = literal.trim();
    let scheme_only = ["bearer", "basic", "token", "bot"].contains(&whole.to_ascii_lowercase().as_str());
    let plain = whole.is_empty()
        || scheme_only
        || literal.len() < text.text.len() && whole.len() < 8
        || whole.parse::<f64>().is_ok()
        || ["true", "false"].contains(&whole);
    (names_a_secret(key) && !plain).then(|| {
        "is named like a secret and stands in the file: put it into a variable and write ${VAR}".to_owned()
    })
}

/// Why `url` cannot be asked. The text may hold a secret by now, so it is not told; `written` is what the file has.
fn bad_url(written: &str, url: &str) -> Option<String> {
    if url.contains("${") {
        // A variable that is not set, which is told already.
        return None;
    }
    let Ok(parsed) = Url::parse(url) else {
        return Some(if written.contains("${") {
            "is not a URL once its variables are filled in".to_owned()
        } else {
            "is not a URL: write https://HOST/PATH".to_owned()
        });
    };
    match parsed.scheme() {
        "https" => None,
        "http" if api_client::endpoint::is_loopback(&parsed) => None,
        "http" => Some(
            "is http to another machine, which shows everyone between what is sent: write https".to_owned(),
        ),
        other => Some(format!("begins with {other}:, not with https:")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_task::Secret;
    use serde_json::{Value, json};

    fn told_on(machine: &Machine, server: &Value) -> Vec<String> {
        let (config, shape) = crate::config::read(&json!({"mcpServers": {"s": server}}));
        assert!(shape.is_empty(), "{shape:?}");
        let secret = Secret::new("a-value-that-is-set");
        let redactor = Redactor::new([("MY_TOKEN", &secret)]);
        let judge = Judge { allow_fetch: false, programs: false };
        let mut told: Vec<String> =
            problems(&config, machine, judge, &redactor).iter().map(ToString::to_string).collect();
        told.sort();
        told.into_iter().map(|text| text.replacen("server 's', ", "", 1)).collect()
    }

    fn told(server: &Value) -> Vec<String> {
        let variables = [
            ("MY_TOKEN", "a-value-that-is-set"),
            ("EMPTY", ""),
            ("EMPTY_TOKEN", ""),
            ("HOST", "example.com"),
            ("VAULT_TOKEN", "v"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "o"),
        ];
        told_on(&Machine::with(&variables, std::path::Path::new("/")), server)
    }

    /// P4
    #[test]
    fn a_reference_that_would_come_out_wrong_is_named() {
        for (server, expected) in [
            (json!({"command": "x", "args": ["${NOT_SET}"]}), "field 'args[0]': NOT_SET is not set"),
            (json!({"command": "x", "env": {"A": "${NOT_SET}"}}), "field 'env.A': NOT_SET is not set"),
            (json!({"command": "${NOT_SET}/x"}), "field 'command': NOT_SET is not set"),
            (json!({"type": "http", "url": "https://${NOT_SET}/"}), "field 'url': NOT_SET is not set"),
            (
                json!({"command": "x", "env": {"A": "$MY_TOKEN"}}),
                "field 'env.A': '$MY_TOKEN' is never expanded: write ${MY_TOKEN}",
            ),
            (
                json!({"command": "x", "args": ["${MY_TOKEN-x}"]}),
                "field 'args[0]': '${MY_TOKEN-x}' is never expanded",
            ),
            (json!({"command": "x", "args": ["${EMPTY:-x}"]}), "field 'args[0]': EMPTY is set and empty, so"),
            (
                json!({"command": "x", "args": ["${EMPTY_TOKEN}"]}),
                "field 'args[0]': EMPTY_TOKEN is set and empty",
            ),
            (
                json!({"command": "x", "args": ["${CLAUDE_CODE_OAUTH_TOKEN}"]}),
                "field 'args[0]': the agent CLI hands CLAUDE",
            ),
            (
                json!({"command": "x", "args": ["${GITHUB_APP_PRIVATE_KEY}"]}),
                "field 'args[0]': GITHUB_APP_PRIVATE_KEY is kept",
            ),
            (
                json!({"type": "http", "url": "https://x/", "headers": {"A": "${VAULT_TOKEN}"}}),
                "field 'headers.A': the agent CLI sends VAULT_TOKEN to no remote server",
            ),
        ] {
            let told = told(&server);
            assert_eq!(told.len(), 1, "{server}: {told:?}");
            assert!(told[0].starts_with(expected), "{server}: {told:?}");
        }
        for server in [
            json!({"command": "x", "args": ["${MY_TOKEN}", "${NOT_SET:-x}", "${NOT_SET:-}", "${EMPTY}", "$5"]}),
            json!({"command": "sh", "args": ["-c", "exec x --token $MY_TOKEN"]}),
            json!({"command": "x", "args": ["${VAULT_TOKEN}"]}),
            json!({"type": "http", "url": "https://${HOST}/mcp", "headers": {"Authorization": "Bearer ${MY_TOKEN}"}}),
        ] {
            assert_eq!(told(&server), [""; 0], "{server}");
        }
    }

    #[test]
    fn a_secret_in_the_file_is_found_by_value_shape_and_name_and_never_told() {
        let github = format!("ghp_{}", "a1B2".repeat(9));
        for server in [
            json!({"command": "x", "args": ["--token=a-value-that-is-set"]}),
            json!({"command": "x", "env": {"A": "a-value-that-is-set"}}),
            json!({"type": "http", "url": "https://x/a-value-that-is-set"}),
            json!({"type": "http", "url": "https://me:hunter2@x/"}),
            json!({"type": "http", "url": "https://me:${MY_TOKEN}@x/"}),
            json!({"command": "x", "args": [github]}),
            json!({"command": "x", "env": {"API_TOKEN": "hunter2hunter2"}}),
            json!({"type": "http", "url": "https://x/", "headers": {"Authorization": "Bearer hunter2hunter2"}}),
            json!({"type": "http", "url": "https://x/", "headers": {"X-Api-Key": "hunter2"}}),
        ] {
            let told = told(&server);
            assert!(!told.is_empty(), "{server}");
            for text in told {
                assert!(text.contains("${"), "{text}");
                for secret in ["a-value", "hunter2", "ghp_"] {
                    assert!(!text.contains(secret), "{text}");
                }
            }
        }
        for server in [
            json!({"command": "x", "env": {"API_TOKEN": "${MY_TOKEN}", "TOKEN_FILE": "/run/t", "USE_TOKEN": "true", "KEY_BITS": "2048"}}),
            json!({"command": "x", "env": {"TOKENIZERS_PARALLELISM": "nothing secret", "KEYBOARD": "german"}}),
        ] {
            assert_eq!(told(&server), [""; 0], "{server}");
        }
    }

    #[test]
    fn only_urls_that_are_safe_to_ask_pass() {
        for (url, expected) in [
            ("nowhere", "is not a URL: write"),
            ("https://", "is not a URL"),
            ("ftp://x/", "begins with ftp:"),
            ("http://mcp.example.com/", "is http to another machine"),
        ] {
            let told = told(&json!({"type": "http", "url": url}));
            assert!(told[0].starts_with(&format!("field 'url': {expected}")), "{told:?}");
        }
        for url in ["https://mcp.example.com/x", "http://127.0.0.1:8080/mcp", "http://localhost:1/"] {
            assert_eq!(told(&json!({"type": "http", "url": url})), [""; 0]);
        }
    }

    #[test]
    fn programs_are_looked_for_and_made_absolute() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::with(&[("PATH", "/bin:/usr/bin"), ("SHELL_NAME", "sh")], folder.path());
        let (mut config, _) = crate::config::read(&json!({"mcpServers": {
            "a": {"command": "sh"}, "b": {"command": "${SHELL_NAME}"}, "c": {"command": "./none"}, "d": {"command": "no-such"},
        }}));
        let judge = Judge { allow_fetch: false, programs: true };
        let told: Vec<String> =
            problems(&config, &machine, judge, &Redactor::new([])).iter().map(ToString::to_string).collect();
        let none = folder.path().join("none");
        assert_eq!(
            told,
            [
                format!("server 'c', field 'command': does not exist: {}", none.display()),
                "server 'd', field 'command': is not on the PATH: no-such".to_owned(),
            ]
        );
        resolve(&mut config, &machine);
        let command = |name: &str| match &config.mcp_servers[name] {
            Server::Stdio(server) => server.command.clone(),
            Server::Remote(_) => panic!("it is local"),
        };
        assert_eq!((command("a").as_str(), command("b").as_str()), ("/bin/sh", "${SHELL_NAME}"));
    }
}
