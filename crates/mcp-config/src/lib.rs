//! `mcp-config`: the MCP servers of a run.
//!
//! From an agent's name, and an overlay that a person writes, it makes the configuration for the agent CLI's `--mcp-config`;
//! `mcp-config check` starts every server of it and asks for its tools, so that a run does not begin with a dead one; `mcp-config
//! env` names the variables that it refers to.
//!
//! It never writes a secret into the file: `${VAR}` stays `${VAR}`, and a literal that is or looks like a secret is an error. It
//! never emits a server that the agent CLI would drop in silence: every such fault is an error that names the server and the
//! field, and all are told at once. `check` leaves no process behind, however it ends.
//!
//! ```text
//! $ mcp-config --agent publisher
//! {
//!   "mcpServers": {
//!     "playwright": {
//!       "type": "stdio",
//!       "command": "/usr/local/bin/playwright-mcp",
//!       "args": ["--headless", "--isolated", …]
//!     }
//!   }
//! }
//! $ mcp-config --agent publisher | mcp-config check
//! {"kind":"McpCheck","servers":[{"name":"playwright","ok":true,"protocolVersion":"2025-11-25",…}]}
//! ```

mod args;
mod check;
mod config;
mod document;
mod fetch;
mod machine;
mod overlay;
mod presets;
mod problem;
pub mod references;
mod rules;

pub use args::Args;

use agent_task::{Exit, Secret};
use anyhow::Context as _;
use config::Config;
use machine::Machine;
use piece::{Fault, output};
use problem::Problem;
use redact::Redactor;
use rules::Judge;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;

/// What `mcp-config env` prints.
#[derive(Debug, Serialize)]
struct Environment {
    kind: &'static str,
    variables: BTreeSet<String>,
}

/// Does what the command line asks for.
///
/// # Errors
/// Usage faults (2) for a configuration that cannot be used; see [`Args`] for the rest.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let machine = Machine::here().context(Fault::usage("the working directory is gone"))?;
    match args.command {
        None => write(args.write, &machine),
        Some(args::Command::Check(asked)) => {
            let (config, problems) =
                configuration_on_stdin("mcp-config --agent publisher | mcp-config check")?;
            let redactor = Redactor::from_env(&names(&rules::variables(&config)));
            // Whether its program is there shows when the server is started.
            let judge = Judge { allow_fetch: asked.allow_fetch, programs: false };
            let found = rules::problems(&config, &machine, judge, &redactor);
            problem::settle(problems.into_iter().chain(found).collect(), &redactor)?;
            check::run(config, &asked, &machine, &redactor)
        }
        Some(args::Command::Env) => {
            let (config, problems) = configuration_on_stdin("mcp-config --agent publisher | mcp-config env")?;
            let variables = rules::variables(&config);
            problem::settle(problems, &Redactor::from_env(&names(&variables)))?;
            output::line(&Environment { kind: "McpEnvironment", variables })?;
            Ok(Exit::Done)
        }
    }
}

fn names(variables: &BTreeSet<String>) -> Vec<&str> {
    variables.iter().map(String::as_str).collect()
}

fn write(asked: args::Write, machine: &Machine) -> anyhow::Result<Exit> {
    let args::Write {
        agent,
        preset,
        no_presets,
        overlay,
        artifacts,
        out,
        playwright_mcp,
        browser,
        browser_sandbox,
        pinned,
        discord_mcp,
        allow_fetch,
    } = asked;
    let agent = agent.unwrap_or_default();
    if agent.is_empty() || agent.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
        return Err(Fault::usage(format!("{agent:?} is not the name of an agent"))
            .hint("letters, digits, '-' and '_', as in: mcp-config --agent publisher")
            .into());
    }
    let (overlay, mut problems) = match &overlay {
        Some(path) => read_overlay(path)?,
        None => (json!({"mcpServers": {}}), Vec::new()),
    };
    let presets = match preset.as_slice() {
        [] if no_presets => &[],
        [] => presets::defaults(&agent),
        asked => asked,
    };
    let choices = presets::Choices {
        artifacts,
        playwright_mcp,
        browser,
        sandbox: browser_sandbox,
        pinned,
        discord_mcp,
    };
    let mut servers = Map::new();
    for preset in presets {
        if overlay::removes(&overlay, preset.name()) {
            // Nobody needs it, so it need not be installed.
            servers.insert(preset.name().to_owned(), Value::Null);
            continue;
        }
        let made = preset.make(&choices, machine);
        problems.extend(made.problems);
        servers.extend(made.server.map(|server| (preset.name().to_owned(), server)));
        for warning in made.warnings {
            // stderr is for people; nobody there is no failure.
            let _ = writeln!(std::io::stderr(), "mcp-config: warning: {warning}");
        }
    }
    let judge = Judge { allow_fetch, programs: true };
    let redactor = |config: &Config| Redactor::from_env(&names(&rules::variables(config)));
    let config = configuration(servers, &overlay, machine, judge, redactor, problems)?;
    match out {
        Some(path) => save(&config, &path)?,
        None => output::pretty(&config)?,
    }
    Ok(Exit::Done)
}

/// The servers with the overlay upon them, their programs' paths absolute; or all that is wrong, on top of `problems`.
fn configuration(
    servers: Map<String, Value>,
    overlay: &Value,
    machine: &Machine,
    judge: Judge,
    redactor: impl FnOnce(&Config) -> Redactor,
    mut problems: Vec<Problem>,
) -> Result<Config, Fault> {
    let servers = overlay::merge(servers, overlay, &mut problems);
    let (mut config, shape) = config::read(&json!({"mcpServers": servers}));
    problems.extend(shape);
    let redactor = redactor(&config);
    problems.extend(rules::problems(&config, machine, judge, &redactor));
    problem::settle(problems, &redactor)?;
    rules::resolve(&mut config, machine);
    Ok(config)
}

/// What `mcp-config --no-presets --overlay FILE` prints for this overlay where these are the variables, all of them secrets:
/// for tests, which bring their own machine.
///
/// # Errors
/// A usage fault with all that is wrong, or that the text is no JSON.
pub fn overlaid(overlay: &[u8], variables: &[(&str, &str)]) -> anyhow::Result<String> {
    let machine = Machine::with(variables, Path::new("/"));
    let (overlay, problems) = document::parse(overlay).context(Fault::usage("the overlay is not JSON"))?;
    let judge = Judge { allow_fetch: false, programs: false };
    let secrets: Vec<(&str, Secret)> =
        variables.iter().map(|(name, value)| (*name, Secret::new(*value))).collect();
    let redactor = |_: &Config| Redactor::new(secrets.iter().map(|(name, secret)| (*name, secret)));
    let config = configuration(Map::new(), &overlay, &machine, judge, redactor, problems)?;
    serde_json::to_string(&config).context("writing JSON")
}

fn read_overlay(path: &Path) -> anyhow::Result<(Value, Vec<Problem>)> {
    if path == Path::new("-") {
        return document_on_stdin("an overlay", "mcp-config --agent publisher --overlay - <overlay.json");
    }
    let text = std::fs::read(path)
        .with_context(|| Fault::usage(format!("cannot read the overlay {}", path.display())))?;
    document::parse(&text)
        .with_context(|| Fault::usage(format!("the overlay {} is not JSON", path.display())))
}

fn configuration_on_stdin(example: &'static str) -> anyhow::Result<(Config, Vec<Problem>)> {
    let (document, mut problems) = document_on_stdin("an MCP configuration", example)?;
    let (config, shape) = config::read(&document);
    problems.extend(shape);
    Ok((config, problems))
}

fn document_on_stdin(what: &str, example: &'static str) -> anyhow::Result<(Value, Vec<Problem>)> {
    let wrong = |how: &str| {
        Fault::usage(format!("expected {what} on stdin, {how}")).hint(format!("as in: {example}"))
    };
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(wrong("which is a terminal").into());
    }
    let mut text = Vec::new();
    stdin.read_to_end(&mut text).context("reading stdin")?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(wrong("which is empty").into());
    }
    document::parse(&text).with_context(|| wrong("which is not JSON"))
}

/// Writes the configuration beside `path` and puts it in its place, so that a reader sees all of it or the former one.
fn save(config: &Config, path: &Path) -> anyhow::Result<()> {
    let cannot = || Fault::usage(format!("cannot write {}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    let mut text = serde_json::to_vec_pretty(config).context("writing JSON")?;
    text.push(b'\n');
    file.write_all(&text).with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}
