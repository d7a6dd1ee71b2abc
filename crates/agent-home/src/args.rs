use clap::Parser;
use std::path::PathBuf;

/// Make the agent CLI's configuration folder for one run.
///
/// Copies the agents that the repository defines (.claude/agents) and its CLAUDE.md into a folder of the run's own.
/// Settings, hooks, helpers and MCP servers that the repository brings along are left out, and named on stderr.
/// Prints what was made as JSON.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  agent-home --agent publisher --out \"$(mktemp -d)/claude\"\n\n\
                  then: CLAUDE_CONFIG_DIR=… claude --setting-sources user --strict-mcp-config --agent publisher -p …"
)]
pub struct Args {
    /// Agent that the run begins with
    #[arg(long, value_name = "NAME")]
    pub agent: String,

    /// Root of the repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub repository: PathBuf,

    /// Folder with agents of the person who runs it; the repository's win
    #[arg(long, value_name = "DIR")]
    pub user_agents: Option<PathBuf>,

    /// Folder to make; outside of the repository, new or from an earlier call
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}
