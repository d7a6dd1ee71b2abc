//! The command line.

use crate::check::Name;
use agent_home::Runtime;
use clap::Parser;
use piece::duration::limit;
use std::path::PathBuf;
use std::time::Duration;

/// Check that a run would work, here or on a cluster: what is wrong, and how to mend it.
///
/// Nothing is changed and nothing is posted. The agent CLI logs in and answers with one word, which costs a few hundred tokens
/// (--skip login). Credentials are those of run-publisher.sh, from the environment. With --cluster, looks at the cluster that
/// spawn-job would use instead of this machine; what the caller may not read there is told as unknown.
#[derive(Debug, Parser)]
#[command(
    name = "preflight",
    version,
    after_help = "Exit codes: 0 all is well, or a warning at most; 1 a check failed; 2 wrong usage; 3 only the network, or a limit \
that passes, is in the way; 4 a credential is missing or wrong.

Examples:
  preflight
  preflight --only tools --only repository
  preflight --runtime opencode --model anthropic/claude-sonnet-5
  preflight --cluster -n ai-agents
  preflight --skip login | jq -r '.checks[] | select(.status == \"failed\") | .remedy'"
)]
pub struct Args {
    /// Agent that the run would begin with
    #[arg(long, value_name = "NAME", default_value = "publisher")]
    pub agent: String,

    /// Agent CLI that the run would begin with
    #[arg(long, value_enum, value_name = "NAME", env = "PRESSRUN_RUNTIME", default_value_t)]
    pub runtime: Runtime,

    /// Repository on GitHub [default: the remote origin's]
    #[arg(long, value_name = "OWNER/NAME", env = "GITHUB_REPOSITORY", hide_env_values = true)]
    pub repo: Option<String>,

    /// Branch that the pull request would go to
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub base: String,

    /// MCP servers beside the agent's presets, for mcp-config
    #[arg(long, value_name = "FILE")]
    pub mcp_overlay: Option<PathBuf>,

    /// Model to log in with, for opencode as provider/model [default: that of a run]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Send one test message to Discord
    #[arg(long)]
    pub post: bool,

    /// Check the cluster that KUBECONFIG names, instead of this machine
    #[arg(long, conflicts_with_all = ["mcp_overlay", "model", "post"])]
    pub cluster: bool,

    /// Namespace of the agents
    #[arg(long, short, value_name = "NAME", default_value = "ai-agents", requires = "cluster")]
    pub namespace: String,

    /// The cluster's settings, as spawn-job reads them [default: key settings.yaml of the ConfigMap spawn-job]
    #[arg(long, value_name = "FILE", env = "SPAWN_JOB_CONFIG")]
    pub config: Option<PathBuf>,

    /// Do this check alone; may be given several times
    #[arg(long, value_enum, value_name = "CHECK", value_delimiter = ',')]
    pub only: Vec<Name>,

    /// Leave this check out; may be given several times
    #[arg(long, value_enum, value_name = "CHECK", value_delimiter = ',')]
    pub skip: Vec<Name>,

    /// What each check may take, as 60s, 500ms or 2m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = limit)]
    pub timeout: Duration,
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
