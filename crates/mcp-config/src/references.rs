//! `${VAR}` and `${VAR:-default}`, exactly as the agent CLI expands them (observed with Claude Code 2.1.330).
//!
//! The CLI replaces `${NAME}` and `${NAME:-default}` and nothing else: `$NAME` and `${NAME-x}` stay as they are. A variable
//! that is set and empty gives the empty text, default or not. Its own credentials become the empty text in silence, and
//! towards a remote server so do many other variables: these are withheld.

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'t> {
    /// Stands as it is.
    Literal(&'t str),
    /// `${name}` or `${name:-default}`.
    Reference {
        /// The variable.
        name: &'t str,
        /// What stands in for it where it is unset.
        default: Option<&'t str>,
    },
    /// `$NAME`, or a `${…` that is no reference: the CLI would hand it on as it is.
    Unexpanded(&'t str),
}

/// The pieces of `text`, in order.
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut literal = rest;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        let piece = if let Some(inside) = after.strip_prefix('{') {
            Some(braced(&rest[at..], inside))
        } else {
            let length = name_length(after);
            (length > 0).then(|| (Part::Unexpanded(&rest[at..at + 1 + length]), 1 + length))
        };
        let Some((part, length)) = piece else {
            rest = after;
            continue;
        };
        let before = &literal[..literal.len() - rest.len() + at];
        if !before.is_empty() {
            found.push(Part::Literal(before));
        }
        found.push(part);
        rest = &rest[at + length..];
        literal = rest;
    }
    if !literal.is_empty() {
        found.push(Part::Literal(literal));
    }
    found
}

/// The variables that `text` refers to.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Reference { name, .. } => Some(name),
        Part::Literal(_) | Part::Unexpanded(_) => None,
    })
}

/// What begins with `${`: the piece and its length.
fn braced<'t>(whole: &'t str, inside: &'t str) -> (Part<'t>, usize) {
    let length = name_length(inside);
    let (name, rest) = inside.split_at(length);
    let end = inside.find('}').map_or(whole.len(), |end| end + 3);
    let default = rest.strip_prefix(":-").and_then(|rest| rest.split_once('}')).map(|(default, _)| default);
    if length > 0 && (default.is_some() || rest.starts_with('}')) {
        return (Part::Reference { name, default }, end);
    }
    (Part::Unexpanded(&whole[..end]), end)
}

/// How much of `text` is a variable's name.
fn name_length(text: &str) -> usize {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Where a text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sink {
    /// To a process on this machine: `command`, `args`, `env`.
    Local,
    /// To another machine: `url`, `headers`.
    Remote,
}

/// `text` as the CLI hands it on. `variable` looks one up.
pub(crate) fn expand(text: &str, sink: Sink, variable: impl Fn(&str) -> Option<String>) -> String {
    parts(text)
        .into_iter()
        .map(|part| match part {
            Part::Literal(text) | Part::Unexpanded(text) => text.to_owned(),
            Part::Reference { name, .. } if withheld(name, sink) => String::new(),
            Part::Reference { name, default } => variable(name)
                .or_else(|| default.map(str::to_owned))
                .unwrap_or_else(|| format!("${{{name}}}")),
        })
        .collect()
}

/// Whether the CLI puts nothing in the place of this variable, whatever it holds.
pub(crate) fn withheld(name: &str, sink: Sink) -> bool {
    let name = name.to_ascii_uppercase();
    let plain = name.strip_prefix("INPUT_").unwrap_or(&name);
    let listed = |list: &[&str]| list.contains(&plain);
    plain.starts_with("OTEL_") || listed(OWN) || (sink == Sink::Remote && listed(NOT_TO_OTHERS))
}

/// The CLI's own credentials and channels, which it hands to nobody.
const OWN: &[&str] = &[
    "CLAUDE_BRIDGE_OAUTH_TOKEN",
    "CLAUDE_CODE_ARTIFACTS_API_TOKEN",
    "CLAUDE_CODE_HFI_BEARER_TOKEN",
    "CLAUDE_CODE_HOST_CREDS_FILE",
    "CLAUDE_CODE_MCP_SERVE_AUTH_TOKEN",
    "CLAUDE_CODE_MEMORY_API_BASE_URL",
    "CLAUDE_CODE_MEMORY_API_TOKEN",
    "CLAUDE_CODE_MESSAGING_TOKEN",
    "CLAUDE_CODE_OAUTH_REFRESH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_RATE_LIMIT_TIER",
    "CLAUDE_CODE_SESSIONS_OAUTH_TOKEN",
    "CLAUDE_CODE_SLACK_TAG_TOKEN",
    "CLAUDE_CODE_SUBSCRIPTION_TYPE",
    "CLAUDE_SESSION_INGRESS_TOKEN_FILE",
    "CLAUDE_TRUSTED_DEVICE_TOKEN",
    "ENVIRONMENT_SERVICE_KEY",
    "MCP_CLIENT_SECRET",
    "MCP_XAA_IDP_CLIENT_SECRET",
    "SELF_HOSTED_RUNNER_ENVIRONMENT_SECRET",
    "SELF_HOSTED_RUNNER_POOL_SECRET",
];

/// What it does not send to a remote server.
const NOT_TO_OTHERS: &[&str] = &[
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_RUNTIME_TOKEN",
    "ACTIONS_RUNTIME_URL",
    "ALL_INPUTS",
    "ALL_PROXY",
    "ANACONDA_API_TOKEN",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_AWS_API_KEY",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_FOUNDRY_API_KEY",
    "ANTHROPIC_FOUNDRY_AUTH_TOKEN",
    "ANTHROPIC_IDENTITY_TOKEN",
    "ANTHROPIC_IDENTITY_TOKEN_FILE",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_AUTH_LOCATION",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_PASSWORD",
    "BINSTAR_API_TOKEN",
    "CARGO_REGISTRY_TOKEN",
    "CLAUDE_CODE_CLIENT_CERT",
    "CLAUDE_CODE_CLIENT_KEY",
    "CLAUDE_CODE_CLIENT_KEY_PASSPHRASE",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "CODEARTIFACT_AUTH_TOKEN",
    "COMPOSER_AUTH",
    "CONAN_LOGIN_USERNAME",
    "CONAN_PASSWORD",
    "CONSUL_HTTP_AUTH",
    "CONSUL_HTTP_TOKEN",
    "DEFAULT_WORKFLOW_TOKEN",
    "DISCORD_WEBHOOK",
    "DISCORD_WEBHOOK_URL",
    "FASTLANE_SESSION",
    "GEM_HOST_API_KEY",
    "GOAUTH",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_GHA_CREDS_PATH",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "GOPROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "IDENTITY_HEADER",
    "MATCH_GIT_BASIC_AUTHORIZATION",
    "MS_TEAMS_WEBHOOK_URI",
    "MSI_SECRET",
    "NODE_AUTH_TOKEN",
    "NOMAD_HTTP_AUTH",
    "NOMAD_TOKEN",
    "NPM_TOKEN",
    "NUGET_AUTH_TOKEN",
    "OVERRIDE_GITHUB_TOKEN",
    "PIP_EXTRA_INDEX_URL",
    "PIP_INDEX_URL",
    "PYPI_API_TOKEN",
    "PYPI_TOKEN",
    "SLACK_WEBHOOK",
    "SLACK_WEBHOOK_URL",
    "SONAR_TOKEN",
    "SSH_SIGNING_KEY",
    "TEAMS_WEBHOOK_URL",
    "TWINE_PASSWORD",
    "TWINE_USERNAME",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_PUBLISH_PASSWORD",
    "UV_PUBLISH_TOKEN",
    "UV_PUBLISH_USERNAME",
    "VAULT_AUTH_TOKEN",
    "VAULT_ROLE_ID",
    "VAULT_SECRET_ID",
    "VAULT_TOKEN",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, sink: Sink) -> String {
        expand(text, sink, |name| match name {
            "SET" | "CLAUDE_CODE_OAUTH_TOKEN" | "VAULT_TOKEN" | "lower_1" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    /// P4
    #[test]
    fn expansion_is_the_clis() {
        for (text, result) in [
            ("plain", "plain"),
            ("", ""),
            ("a${SET}b${SET}c", "avaluebvaluec"),
            ("${SET:-x}", "value"),
            ("${UNSET:-x y}", "x y"),
            ("${UNSET:-}", ""),
            ("${EMPTY:-x}", ""),
            ("${UNSET}", "${UNSET}"),
            ("$SET", "$SET"),
            ("${SET-x}", "${SET-x}"),
            ("${1}", "${1}"),
            ("${}", "${}"),
            ("${SET", "${SET"),
            ("$5 and $", "$5 and $"),
            ("$${SET}", "$value"),
            ("${lower_1}", "value"),
            ("é${SET}é", "évalueé"),
        ] {
            assert_eq!(expanded(text, Sink::Local), result, "{text}");
        }
    }

    #[test]
    fn the_clis_own_credentials_become_nothing_and_others_do_towards_a_remote_server() {
        assert_eq!(expanded("a${CLAUDE_CODE_OAUTH_TOKEN}", Sink::Local), "a");
        assert_eq!(expanded("a${CLAUDE_CODE_OAUTH_TOKEN:-x}", Sink::Remote), "a");
        assert_eq!(expanded("a${VAULT_TOKEN}", Sink::Local), "avalue");
        assert_eq!(expanded("a${VAULT_TOKEN}", Sink::Remote), "a");
        assert_eq!(expanded("a${SET}", Sink::Remote), "avalue");
    }

    #[test]
    fn what_is_never_expanded_is_found() {
        let unexpanded = |text| {
            parts(text)
                .into_iter()
                .filter_map(|part| match part {
                    Part::Unexpanded(text) => Some(text),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(unexpanded("a $HOME/b ${X} ${Y-z} ${open"), ["$HOME", "${Y-z}", "${open"]);
        assert!(unexpanded("costs $5 or ${A:-$1}").is_empty());
    }

    #[test]
    fn nothing_is_lost_between_the_parts() {
        for text in ["$a${b}c$", "x${", "${a}${b:-c}d", "$$$a", "}{$"] {
            let again: String = parts(text)
                .into_iter()
                .map(|part| match part {
                    Part::Literal(text) | Part::Unexpanded(text) => text.to_owned(),
                    Part::Reference { name, default: None } => format!("${{{name}}}"),
                    Part::Reference { name, default: Some(default) } => format!("${{{name}:-{default}}}"),
                })
                .collect();
            assert_eq!(again, text);
        }
    }
}
