//! Makes the folder that the agent CLI takes its configuration from (`CLAUDE_CONFIG_DIR`), for one run.
//!
//! A repository may define agents and give instructions; it may not change how the agent CLI works. But the CLI reads
//! both from the same place, and believes `.claude/settings.json` where it says which host the login token goes to,
//! which helper makes a key, and which hooks run. So the CLI is called with `--setting-sources user`, which keeps the
//! repository's folder out altogether, and what it may say is copied into a folder that is the run's own: the agent
//! definitions and `CLAUDE.md`. Frontmatter of such an agent can ask for hooks and MCP servers: the folder's settings
//! turn every hook off, and `--strict-mcp-config` keeps the servers out. Instructions can import files (`@~/notes.md`): in
//! the run's folder the agent CLI would take those from anywhere, so imports are no imports there.
//!
//! For opencode it is one configuration file, made whole here: see [`opencode`].
//!
//! It never follows a link, writes into the work tree, or runs anything.
//!
//! ```text
//! $ agent-home --agent publisher --out /tmp/run/claude
//! {"kind":"AgentHome","configDir":"/tmp/run/claude","agent":"publisher","agents":["publisher","qa"],"ignored":[]}
//! ```

mod args;
mod definition;
mod folder;
mod imports;
pub mod opencode;

pub use args::{Args, Opencode, Runtime};
pub use folder::Found;

use agent_task::{Exit, names};
use piece::Fault;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentHome {
    kind: &'static str,
    /// For `CLAUDE_CONFIG_DIR`.
    config_dir: PathBuf,
    /// The agent that was asked for: it is among `agents`.
    agent: String,
    /// Names of all agents that the run can call, sorted.
    agents: Vec<String>,
    /// What the repository says and the agent CLI will not hear.
    ignored: Vec<String>,
    /// What the agent CLI is to have in its environment; empty where `config_dir` says it all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<&'static str, String>,
}

/// Makes the folder and prints what is in it.
///
/// # Errors
/// A usage fault where there is no such agent, or the folder is no place for it.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let Args { runtime, agent, repository, user_agents, out, opencode: asked } = args;
    let mut found = find(&agent, &repository, user_agents.as_deref())?;
    let mut environment = BTreeMap::new();
    match runtime {
        Runtime::Claude => folder::write(&out, &repository, &found)?,
        Runtime::Opencode => {
            folder::make(&out, &repository)?;
            // Its own name for them comes first.
            if let Some(text) = folder::instructions(&repository, &["AGENTS.md"], &mut found.ignored)? {
                found.instructions = Some(text);
            }
            environment = opencode::make(&out, &agent, &mut found, &asked)?;
        }
    }
    for ignored in &found.ignored {
        eprintln!("agent-home: ignored: {ignored}");
    }
    let config_dir = out.canonicalize()?;
    let agents = found.agents.into_keys().collect();
    piece::output::line(&AgentHome {
        kind: "AgentHome",
        config_dir,
        agent,
        agents,
        ignored: found.ignored,
        environment,
    })?;
    Ok(Exit::Done)
}

/// Reads what the repository, and the person's own folder of agents, has to say. `agent` is among the agents. Nothing is written.
///
/// # Errors
/// A usage fault where there is no such agent or repository.
pub fn find(agent: &str, repository: &Path, user_agents: Option<&Path>) -> anyhow::Result<Found> {
    names::check_agent(agent).map_err(|error| Fault::usage(error.to_string()))?;
    let found = folder::read(repository, user_agents)?;
    if !found.agents.contains_key(agent) {
        let known: Vec<_> = found.agents.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none is defined".to_owned() } else { known.join(", ") };
        return Err(Fault::usage(format!("there is no agent '{agent}' in {}", repository.display()))
            .hint(format!(
                "define it in .claude/agents/{agent}.md with 'name: {agent}' at its head; there are: {known}"
            ))
            .into());
    }
    Ok(found)
}
