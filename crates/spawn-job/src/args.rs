//! Command line.

use clap::{Parser, ValueEnum};
use piece::duration::limit;
use std::path::PathBuf;
use std::time::Duration;

/// Make Jobs, with volumes of their own, from the AgentTasks on stdin.
///
/// Reads YAML, JSON, JSON Lines, or what `kubectl get agenttasks -o json` prints; prints a JSON line a task. The same task and
/// trigger make one Job, however often this is run. A scheduled task becomes a CronJob.
#[derive(Debug, Parser)]
#[command(
    name = "spawn-job",
    version,
    after_help = "Rights, in the namespace:
  get the configmap spawn-job; create, get, patch persistentvolumeclaims, jobs
  for tasks that are in the cluster: get agenttasks; patch agenttasks/status
  for scheduled tasks: create, patch cronjobs
  with --wait: list, watch jobs, pods; list events, which say why a pod waits; with --follow also: get pods/log
  with --stage publish: get persistentvolumeclaims; list pods
  and on the cluster, for mode hostPath: create persistentvolumes

Exit codes: 0 done (with --wait or --follow: and the run succeeded); 1 failed; 2 called wrongly, and nothing was made; \
3 worth a retry; 4 not allowed.

Examples:
  spawn-job <task.yaml
  spawn-job --follow <task.yaml
  spawn-job --dry-run=client --config settings.yaml <task.yaml | jq '.objects[]'
  spawn-job --stage publish --run publisher-3fa9c10b77de"
)]
pub struct Args {
    /// Namespace of tasks that name none [default: ai-agents].
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,

    /// The cluster's settings, as YAML [default: key settings.yaml of the ConfigMap spawn-job].
    #[arg(long, value_name = "FILE", env = "SPAWN_JOB_CONFIG")]
    pub config: Option<PathBuf>,

    /// What sets the run off, as a webhook's delivery: another one is another run [default: manual, or the task's annotation
    /// agents.kyle.pericak.com/trigger].
    #[arg(long, value_name = "KEY")]
    pub trigger: Option<String>,

    /// Print what would be made, as this side or as the API server sees it.
    #[arg(long, value_enum, value_name = "SIDE", num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    pub dry_run: Option<DryRun>,

    /// Wait until the runs have ended, and print their records.
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,

    /// Show the one run's progress until it has ended; implies --wait.
    #[arg(long, conflicts_with = "dry_run")]
    pub follow: bool,

    /// Wait for a run no longer than this.
    #[arg(long, value_name = "DURATION", default_value = "25h", value_parser = limit)]
    pub wait_timeout: Duration,

    /// Make the whole run from tasks on stdin, or publish alone what the killed --run left on its volume.
    #[arg(long, value_enum, value_name = "STAGE", default_value = "all", requires_if("publish", "run"))]
    pub stage: Stage,

    /// The run that was killed.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,

    /// Why it was killed, for people [default: what the cluster knows of it].
    #[arg(long, value_name = "TEXT", requires = "run")]
    pub reason: Option<String>,
}

/// Who says what would be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// This program: no cluster is needed.
    Client,
    /// The API server, with its defaults and its checks.
    Server,
}

/// What of a run is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// All of it.
    All,
    /// The publishing of what is on the volume.
    Publish,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    /// K16
    #[test]
    fn publishing_alone_needs_a_run() {
        assert!(Args::try_parse_from(["spawn-job", "--stage", "publish"]).is_err());
        assert!(Args::try_parse_from(["spawn-job", "--stage", "publish", "--run", "x"]).is_ok());
        let args = Args::try_parse_from(["spawn-job", "--dry-run"]).unwrap();
        assert_eq!(args.dry_run, Some(DryRun::Client));
    }
}
