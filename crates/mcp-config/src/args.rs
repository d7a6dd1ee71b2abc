//! The command line.

use crate::presets::{BrowserSandbox, Preset};
use clap::{Args as Arguments, Parser, Subcommand};
use piece::duration::limit;
use std::path::PathBuf;
use std::time::Duration;

/// Writes the MCP server configuration of a run, and checks that its servers work.
///
/// The agent CLI drops a server that it cannot use without a word, and the run goes on without it. Here everything that it would
/// drop is an error which names the server and the field, and all errors are told at once. References `${VAR}` and
/// `${VAR:-default}` stay in the file, so that no secret is in it.
#[derive(Debug, Parser)]
#[command(
    name = "mcp-config",
    version,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true,
    after_help = "The overlay is a configuration of the same form, merged over the presets (RFC 7396): null removes a server or a \
                  field, an object is merged, a list or a text replaces.\n\n\
                  Examples:\n  \
                  mcp-config --agent writer\n  \
                  echo '{\"mcpServers\":{\"x\":{\"command\":\"cat\"}}}' | mcp-config --agent writer --overlay -\n  \
                  mcp-config --agent publisher | mcp-config check\n  \
                  echo '{\"mcpServers\":{}}' | mcp-config env\n\n\
                  Exit codes: 0 done; 1 a server is dead; 2 the configuration or the call is wrong; 3 a server could not be reached; \
                  4 a server refused the credentials."
)]
pub struct Args {
    /// What else than a configuration is wanted.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// What goes into a configuration.
#[derive(Debug, Arguments)]
pub(crate) struct Write {
    /// The agent that the servers are for.
    #[arg(long, required = true, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// A server by name, instead of those that the agent has by default; may be given several times.
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',', conflicts_with = "no_presets")]
    pub(crate) preset: Vec<Preset>,
    /// None of the servers that the agent has by default.
    #[arg(long)]
    pub(crate) no_presets: bool,
    /// A configuration that is merged over the presets; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) overlay: Option<PathBuf>,
    /// Where the browser puts screenshots [default: browser in $PRESSRUN_RUN_DIR, else in ~/.local/state/pressrun].
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,
    /// Writes to this file, which only its owner can read, and nothing on stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The program playwright-mcp [default: from the PATH].
    #[arg(long, env = "PRESSRUN_PLAYWRIGHT_MCP", value_name = "FILE")]
    pub(crate) playwright_mcp: Option<PathBuf>,
    /// The browser [default: chromium or google-chrome from the PATH, else Playwright's own].
    #[arg(long, env = "PRESSRUN_BROWSER", value_name = "FILE")]
    pub(crate) browser: Option<PathBuf>,
    /// Whether the browser has its own sandbox.
    #[arg(long, env = "PRESSRUN_BROWSER_SANDBOX", value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) browser_sandbox: BrowserSandbox,
    /// Makes another version than the pinned one an error, not a warning.
    #[arg(long)]
    pub(crate) pinned: bool,
    /// The program of the preset discord.
    #[arg(long, env = "PRESSRUN_DISCORD_MCP", value_name = "FILE")]
    pub(crate) discord_mcp: Option<PathBuf>,
    /// Lets servers be downloaded when they start (npx, uvx, @latest).
    #[arg(long)]
    pub(crate) allow_fetch: bool,
}

/// What else than a configuration is wanted.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts every server of the configuration on stdin, all at once, and asks each for its tools.
    #[command(
        after_help = "Example:\n  mcp-config --agent publisher | mcp-config check --timeout 5s | jq -r '.servers[].tools[]'"
    )]
    Check(Check),
    /// Prints the variables that the configuration on stdin refers to.
    #[command(
        after_help = "Example:\n  mcp-config --agent publisher | mcp-config env | jq -r '.variables[]'"
    )]
    Env,
}

/// How servers are checked.
#[derive(Debug, Arguments)]
pub(crate) struct Check {
    /// How long each server may take until it has listed its tools, as 10s or 500ms.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = limit)]
    pub(crate) timeout: Duration,
    /// Only this server; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Vec<String>,
    /// Lets servers be downloaded when they start.
    #[arg(long)]
    pub(crate) allow_fetch: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}
