//! Command line.

use clap::{Parser, Subcommand};

/// What belongs to the custom resource AgentTask, and to the record of its runs.
#[derive(Debug, Parser)]
#[command(
    name = "agent-task",
    version,
    after_help = "Example:
  agent-task crd | kubectl apply --server-side -f -"
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the resource's definition, for kubectl or the chart: YAML.
    Crd,
    /// Print the run record on stdin as short as a pod's termination message must be.
    Brief,
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
