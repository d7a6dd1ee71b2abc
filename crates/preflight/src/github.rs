//! `github`: a token can be minted for the repository, and with it the repository can be read, by API and by git. The rules that
//! stand against a run's branch are looked up where GitHub tells them. The token is revoked.

use crate::check::{Finding, Name};
use crate::context::Context;
use crate::program::{self, Broken};
use agent_task::{Exit, Secret, secret};
use anyhow::Context as _;
use api_client::github::{Api, accepted};
use api_client::retry::Policy;
use api_client::{StatusCode, Url, endpoint};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use branch_run::environment;
use mint_gh_token::{AppArgs, Minted};
use piece::Fault;
use serde::Deserialize;
use std::collections::{BTreeSet, btree_set};
use std::process::{Command, Stdio};

/// A branch as runs make them: rules are looked up by name, also for branches that do not exist.
const RUN_BRANCH: &str = "agent/preflight-0";

/// Rules that a run's push does not meet: its branch is new, and its commits are unsigned.
const IN_THE_WAY: &[&str] =
    &["creation", "update", "required_signatures", "branch_name_pattern", "commit_author_email_pattern"];

#[derive(Debug, Deserialize)]
struct Repository {
    default_branch: String,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    disabled: bool,
    permissions: Option<Permissions>,
}

#[derive(Debug, Deserialize)]
struct Permissions {
    #[serde(default)]
    push: bool,
}

#[derive(Debug, Deserialize)]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
}

/// The token, and whether it is ours to revoke.
enum Token {
    Given(Secret),
    Minted(Minted),
}

impl Token {
    fn secret(&self) -> &Secret {
        match self {
            Self::Given(token) => token,
            Self::Minted(minted) => &minted.token,
        }
    }
}

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let (repository, _) = context.repository().map_err(|fault| context.unmet(Name::Repository, fault))?;
    let app = AppArgs::from_env();
    let policy = Policy::github().within(context.patience());
    let api = Api::new(&context.client, app.api_url())?.with_policy(policy);
    let given = secret::from_env("GITHUB_TOKEN")
        .map_err(|error| Fault::denied(error.to_string()).hint("correct the variable or the file"))?;
    let token = match given {
        Some(token) => Token::Given(token),
        None => Token::Minted(mint_gh_token::mint(&api, &app, &repository).map_err(usage_is_denied)?),
    };
    let found = read(context, &api, &repository, &token);
    let Token::Minted(minted) = token else { return found };
    // Also where reading failed.
    let revoked = mint_gh_token::revoke(&api, &minted.token);
    match (found?, revoked) {
        (found, Ok(_)) => Ok(found),
        (
            Finding::Good(detail) | Finding::Warning { detail, .. } | Finding::Unknown { detail, .. },
            Err(error),
        ) => Ok(Finding::Warning {
            detail: format!("{detail}\nthe token could not be revoked: {error:#}"),
            remedy: format!("nothing need be done: it ends at {}", minted.expires_at),
        }),
    }
}

fn read(context: &Context, api: &Api<'_>, full_name: &str, token: &Token) -> anyhow::Result<Finding> {
    let (owner, name) = full_name.split_once('/').unwrap_or_default();
    let doing = format!("reading {full_name}");
    let response = api.send(&api.get(&["repos", owner, name]).bearer(token.secret()))?;
    if response.status == StatusCode::NOT_FOUND {
        let fault = Fault::denied(format!("{doing}: GitHub answered 404"));
        return Err(fault.hint("correct --repo, or give a token that may see the repository").into());
    }
    let repository: Repository = accepted(response, &doing)?.json().context(doing)?;
    if repository.archived || repository.disabled {
        let how = if repository.archived { "archived" } else { "disabled" };
        return Err(Fault::failed(format!("{full_name} is {how}: nothing can be pushed"))
            .hint("unarchive it in its settings, or correct --repo")
            .into());
    }
    // What is told of an App's token there is not what its permissions are.
    let may_push = repository.permissions.is_none_or(|permissions| permissions.push);
    if matches!(token, Token::Given(token) if !token.expose().starts_with("ghs_")) && !may_push {
        return Err(Fault::denied(format!("GITHUB_TOKEN may not push to {full_name}"))
            .hint("give a token with contents and pull requests to write, or unset it and use the GitHub App")
            .into());
    }
    let base = &context.base;
    let doing = format!("reading the branch '{base}' of {full_name}");
    let response = api.send(&api.get(&["repos", owner, name, "branches", base]).bearer(token.secret()))?;
    if response.status == StatusCode::NOT_FOUND {
        return Err(Fault::failed(format!("{full_name} has no branch '{base}'"))
            .hint(format!("give --base {}, its default branch, or push '{base}'", repository.default_branch))
            .into());
    }
    accepted(response, &doing)?;
    read_by_git(context, full_name, token.secret())?;

    let source = match token {
        Token::Given(_) => "GITHUB_TOKEN".to_owned(),
        Token::Minted(minted) => format!("the App's token ({})", minted.permissions),
    };
    let mut detail = format!("{source} reads {full_name}, by API and by git; base {base}");
    if *base != repository.default_branch {
        detail.push_str(&format!(", default {}", repository.default_branch));
    }
    if matches!(token, Token::Minted(_)) {
        detail.push_str("; revoked");
    }
    match rules(api, owner, name, token.secret()) {
        Some(rules) if rules.is_empty() => Ok(Finding::Good(detail)),
        Some(rules) => Ok(Finding::Warning {
            detail: format!("{detail}\na ruleset stands against branches agent/*: {}", join(rules.iter())),
            remedy: "exclude agent/** from the ruleset, or let the App bypass it".to_owned(),
        }),
        None => Ok(Finding::Good(format!("{detail}; its rules cannot be read"))),
    }
}

fn join(rules: btree_set::Iter<'_, String>) -> String {
    rules.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The rules in the way of a run's branch; nothing where GitHub does not tell. Who may bypass them is not told.
fn rules(api: &Api<'_>, owner: &str, name: &str, token: &Secret) -> Option<BTreeSet<String>> {
    let request = api.get(&["repos", owner, name, "rules", "branches", RUN_BRANCH]).bearer(token);
    let response = api.send(&request).ok().filter(api_client::Response::is_success)?;
    let rules: Vec<Rule> = response.json().ok()?;
    Some(rules.into_iter().map(|rule| rule.kind).filter(|kind| IN_THE_WAY.contains(&kind.as_str())).collect())
}

/// git has its own way through proxies, and its own roots.
fn read_by_git(context: &Context, full_name: &str, token: &Secret) -> anyhow::Result<()> {
    let server = std::env::var("GITHUB_SERVER_URL").ok().filter(|url| !url.trim().is_empty());
    let server = endpoint::base("GITHUB_SERVER_URL", server.as_deref().unwrap_or("https://github.com"))?;
    let (owner, name) = full_name.split_once('/').unwrap_or_default();
    let url: Url = endpoint::join(&server, &[owner, &format!("{name}.git")]);
    let folder = tempfile::Builder::new().prefix("preflight-").tempdir().context("making a folder")?;
    let credential = STANDARD.encode(format!("x-access-token:{}", token.expose()));
    let mut command = Command::new("git");
    command
        .args(["ls-remote", "--quiet", url.as_str(), &format!("refs/heads/{}", context.base)])
        .current_dir(folder.path())
        .env_clear()
        .envs(environment::inherited(std::env::vars_os(), &BTreeSet::new()))
        .env_remove(environment::LOGIN_TOKEN)
        .env("HOME", folder.path())
        .env("LC_ALL", "C")
        .env("GIT_CEILING_DIRECTORIES", folder.path())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        // Not an argument: those can be read by everybody.
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", format!("http.{server}.extraHeader"))
        .env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {credential}"))
        .env("GIT_CONFIG_KEY_1", "http.followRedirects")
        .env("GIT_CONFIG_VALUE_1", "false")
        .stdin(Stdio::null());
    let ended =
        program::run(&mut command, context.deadline(), &context.stop).map_err(|broken| match broken {
            Broken::Late => Fault::retry("git has not reached the repository in time")
                .hint("look at the network and the proxy"),
            broken => Fault::failed(format!("git: {broken}")),
        })?;
    if ended.status.success() {
        return Ok(());
    }
    let said = ended.said();
    let said = said.lines().last().unwrap_or_default();
    Err(Fault::retry(format!("git cannot read {full_name}, which the API can: {said}"))
        .hint(format!("look at the proxy and the CA file for git (HTTPS_PROXY, GIT_SSL_CAINFO) to {server}"))
        .into())
}

/// What is set and makes no sense is a wrong credential: the command line was right.
fn usage_is_denied(error: anyhow::Error) -> anyhow::Error {
    let Some(fault) = error.downcast_ref::<Fault>().filter(|fault| fault.exit() == Exit::Usage) else {
        return error;
    };
    let denied = Fault::new(Exit::Denied, fault.message().to_owned());
    match fault.hint_text() {
        Some(hint) => denied.hint(hint.to_owned()).into(),
        None => denied.into(),
    }
}
