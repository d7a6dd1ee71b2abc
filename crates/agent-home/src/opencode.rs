//! opencode's configuration for one run.
//!
//! opencode reads its configuration from many places, and a repository's own `opencode.json`, `.opencode` folder and
//! instructions are believed without a question: providers in them get the key, plugins in them run, and so do language
//! servers and formatters out of the work tree. That is switched off by its environment (`OPENCODE_DISABLE_…`,
//! [`environment`]), the person's own configuration and logins are out of its sight (`XDG_…`, `OPENCODE_TEST_HOME`,
//! `OPENCODE_AUTH_CONTENT`), and one file says all there is: the repository's agents, which are the same as claude's,
//! what they may do, the MCP servers, and one provider, whose key is `OPENCODE_API_KEY`. Nothing is fetched at its start.
//!
//! `report.js` is a plugin of ours: what `opencode run` does not tell, it prints. It also lets no module of the repository into the
//! process, because `OPENCODE_DISABLE_PROJECT_CONFIG` does not reach all of opencode.

mod json;
mod mcp;
mod permission;

use crate::args::Opencode;
use crate::definition;
use crate::folder::{Found, write_file};
use anyhow::Context as _;
use json::{literal, variable};
use permission::{Rules, Tool};
use piece::Fault;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// The variable with the key of the one provider that a run uses.
pub const API_KEY: &str = "OPENCODE_API_KEY";

const PLUGIN: &str = include_str!("opencode/report.js");

/// Folders that are the run's own for opencode, and the person's for all that it starts.
const FOLDERS: [(&str, &str); 4] = [
    ("XDG_CACHE_HOME", "cache"),
    ("XDG_CONFIG_HOME", "config"),
    ("XDG_DATA_HOME", "data"),
    ("XDG_STATE_HOME", "state"),
];

/// Keeps the npm within opencode from the registry.
const NPM_OFFLINE: &str = "NPM_CONFIG_OFFLINE";

/// What opencode is to have in its environment, with its configuration in `out`: no other source of settings or logins is
/// read, and nothing is fetched.
#[must_use]
pub fn environment(out: &Path) -> BTreeMap<&'static str, String> {
    let path = |name: &str| out.join(name).to_string_lossy().into_owned();
    let mut environment: BTreeMap<&str, String> =
        FOLDERS.iter().map(|(variable, folder)| (*variable, path(folder))).collect();
    // Without it, `.opencode` in the home directory is a source as well.
    environment.insert("OPENCODE_TEST_HOME", path("home"));
    environment.insert("OPENCODE_AUTH_CONTENT", "{}".to_owned());
    // Packages that a repository's configuration names are not even asked for.
    environment.insert(NPM_OFFLINE, "true".to_owned());
    // None: then it takes the list of models that it has within.
    environment.insert("OPENCODE_MODELS_PATH", path("models.json"));
    environment.extend(
        [
            "OPENCODE_DISABLE_AUTOUPDATE",
            "OPENCODE_DISABLE_CLAUDE_CODE",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS",
            "OPENCODE_DISABLE_EXTERNAL_SKILLS",
            "OPENCODE_DISABLE_LSP_DOWNLOAD",
            "OPENCODE_DISABLE_MODELS_FETCH",
            "OPENCODE_DISABLE_PROJECT_CONFIG",
            "OPENCODE_DISABLE_SHARE",
        ]
        .map(|name| (name, "1".to_owned())),
    );
    environment
}

/// Writes the configuration for a run that begins with `agent`, one of those that were found, and gives the [`environment`] for it.
///
/// # Errors
/// A usage fault where what is asked for is nothing that opencode could do.
pub fn make(
    out: &Path,
    agent: &str,
    found: &mut Found,
    asked: &Opencode,
) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let look_up = |name: &str| std::env::var(name).ok();
    let servers = match &asked.mcp_config {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| {
                Fault::usage(format!("cannot read the MCP configuration {}", path.display()))
            })?;
            serde_json::from_slice(&text).with_context(|| {
                Fault::usage(format!("{} is not an MCP configuration", path.display()))
                    .hint("make one with mcp-config")
            })?
        }
        None => mcp::Servers::default(),
    };
    let outside = outside(look_up);
    let servers = mcp::servers(&servers, &outside, &look_up).map_err(|unfit| {
        Fault::usage(unfit.to_string())
            .hint(format!("give {} another value, or leave the server out", unfit.0))
    })?;
    let text = json::document(&document(agent, found, asked, servers, &outside)?).context("writing JSON")?;

    let folder = out.join("config/opencode");
    // opencode takes a folder with both for one whose packages are installed, and looks for none.
    let packages = folder.join("node_modules");
    let context = || format!("making {}", folder.display());
    DirBuilder::new().mode(0o700).recursive(true).create(packages).with_context(context)?;
    let lock = json!({"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}});
    write_file(&folder.join("package-lock.json"), &lock.to_string())?;
    write_file(&folder.join("report.js"), PLUGIN)?;
    write_file(&folder.join("AGENTS.md"), found.instructions.as_deref().unwrap_or_default())?;
    write_file(&folder.join("opencode.json"), &text)?;
    Ok(environment(&out.canonicalize().with_context(context)?))
}

/// What opencode's children have in place of what is opencode's own: no key, and the person's folders.
fn outside(look_up: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let names = FOLDERS.iter().map(|(name, _)| *name).chain([NPM_OFFLINE]);
    let theirs = names.map(|name| (name.to_owned(), look_up(name).unwrap_or_default()));
    theirs.chain([(API_KEY.to_owned(), String::new())]).collect()
}

fn document(
    main: &str,
    found: &mut Found,
    asked: &Opencode,
    servers: Map<String, Value>,
    outside: &BTreeMap<String, String>,
) -> anyhow::Result<Document> {
    let (provider, model) = asked
        .model
        .split_once('/')
        .filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
        .ok_or_else(|| {
            Fault::usage(format!("'{}' names no provider", asked.model))
                .hint("write it as provider/model, as in: anthropic/claude-sonnet-5")
        })?;
    let allowed = permission::list(&asked.allowed_tools);
    let rules = |tools: &[Tool]| {
        permission::rules(tools)
            .map_err(|error| Fault::usage(error.to_string()).hint("leave it out of --allowed-tools"))
    };
    let mut agents = BTreeMap::new();
    for (name, text) in &found.agents {
        let Some(head) = definition::head(text) else { continue };
        let fields = json!({
            "mode": if name == main { "all" } else { "subagent" },
            "prompt": literal(definition::body(text)),
            "description": literal(head.description.as_deref().unwrap_or(name)),
        });
        let permission = match head.tools {
            // What the run allows is all that it can name, so each has a rule.
            Some(own) => Some(rules(&permission::of_agent(&allowed, &permission::list(&own)))?),
            None => None,
        };
        if name.contains('/') || name.contains('\\') {
            found.ignored.push(format!("agent '{name}': opencode takes no such name"));
            continue;
        }
        agents.insert(literal(name), Agent { fields, permission });
    }
    let mut limits = Map::new();
    limits.extend(asked.max_turns.map(|turns| ("maxTurns".to_owned(), turns.into())));
    limits.extend(asked.max_budget_usd.map(|budget| ("maxBudgetUsd".to_owned(), budget.into())));
    limits.extend(asked.max_retries.map(|retries| ("maxRetries".to_owned(), retries.into())));
    limits.insert("shellEnvironment".to_owned(), json!(outside));
    let fields = json!({
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": false,
        "share": "disabled",
        // Each of them would run what the work tree has.
        "formatter": false,
        "lsp": false,
        // The run's branch is the record of what was there before.
        "snapshot": false,
        "enabled_providers": [literal(provider)],
        "provider": {
            literal(provider): {"options": {"apiKey": variable(API_KEY)}, "models": {literal(model): {}}},
        },
        "model": literal(&asked.model),
        "small_model": literal(&asked.model),
        "default_agent": literal(main),
        "plugin": [["./report.js", limits]],
        "mcp": servers,
    });
    Ok(Document { fields, permission: rules(&allowed)?, agent: agents })
}

/// opencode's configuration. Rules are kept apart: their order counts.
#[derive(Debug, serde::Serialize)]
struct Document {
    #[serde(flatten)]
    fields: Value,
    permission: Rules,
    agent: BTreeMap<String, Agent>,
}

#[derive(Debug, serde::Serialize)]
struct Agent {
    #[serde(flatten)]
    fields: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission: Option<Rules>,
}
