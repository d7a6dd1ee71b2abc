use clap::{Parser, ValueEnum};
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
                  then: CLAUDE_CONFIG_DIR=… claude --setting-sources user --strict-mcp-config --agent publisher -p …\n\n\
                  For opencode, the environment that it prints is for: opencode run --format json --agent publisher …"
)]
pub struct Args {
    /// Agent CLI that the folder is for
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    pub runtime: Runtime,

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

    /// For opencode
    #[command(flatten)]
    pub opencode: Opencode,
}

/// An agent CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Runtime {
    /// Claude Code
    #[default]
    Claude,
    /// opencode
    Opencode,
}

impl Runtime {
    /// Its program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Opencode => "opencode",
        }
    }
}

/// The model, unless another one is asked for.
const MODEL: &str = "anthropic/claude-sonnet-5";

/// What opencode takes from its configuration, and claude from its command line.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "For opencode")]
pub struct Opencode {
    /// Model, with the provider that OPENCODE_API_KEY is a key of
    #[arg(long, value_name = "PROVIDER/MODEL", default_value = MODEL)]
    pub model: String,

    /// Tools that the agents may use, as 'Read,Bash(git *)'
    #[arg(long, value_name = "LIST", default_value = "")]
    pub allowed_tools: String,

    /// MCP servers, as mcp-config writes them
    #[arg(long, value_name = "FILE")]
    pub mcp_config: Option<PathBuf>,

    /// Turn limit of the agent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_turns: Option<u64>,

    /// Budget of the agent and its subagents, in dollars
    #[arg(long, value_name = "USD", value_parser = amount)]
    pub max_budget_usd: Option<f64>,

    /// How often a model that fails is asked again [default: opencode's own, 5]
    #[arg(long, value_name = "N")]
    pub max_retries: Option<u64>,
}

impl Default for Opencode {
    fn default() -> Self {
        Self {
            model: MODEL.to_owned(),
            allowed_tools: String::new(),
            mcp_config: None,
            max_turns: None,
            max_budget_usd: None,
            max_retries: None,
        }
    }
}

fn amount(text: &str) -> Result<f64, String> {
    let amount: f64 = text.parse().map_err(|_| format!("'{text}' is no amount of money"))?;
    if amount.is_finite() && amount > 0.0 {
        Ok(amount)
    } else {
        Err("it must be more than nothing".to_owned())
    }
}
