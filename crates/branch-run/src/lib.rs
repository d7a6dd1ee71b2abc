//! Runs a command (an agent CLI) on a branch of its own, and commits whatever it leaves; `push` publishes the branch.
//!
//! - stdout: the command's events, redacted, as they come; then the [run record](agent_task::RunRecord) as the last line.
//! - stderr: progress, and what the command says on its stderr, redacted.
//!
//! ```text
//! $ branch-run --agent publisher --prompt "A post on Rust" -- claude --agent publisher … >run.jsonl
//! $ tail -1 run.jsonl | branch-run push --repo octo/blog
//! {"kind":"RunRecord","run":"publisher-1790635538-3fa9c1","outcome":"success","branch":"agent/publisher-1790635538",…}
//! ```
//!
//! # What it never does
//!
//! - Lose work: however the command ends (success, failure, time limit, signal), what it left is committed to the run's
//!   branch before anything else happens. Where that fails, the tree is left as it is, and the record says so. Of a run
//!   that was killed itself, the next one (or `salvage`) commits the work.
//! - Commit to the base branch.
//! - Ask the model anything while an MCP server is missing: the prompt is handed over when all are connected.
//! - Leave a process of the command's behind: also those that left its process group and session end with the run.
//! - Hand the command a credential it has no use for: its environment is [made](environment), not inherited.
//! - Believe the workspace when it pushes: see [`push`].
//! - Push a secret that it knows, or a token or private key that it can tell.

pub mod args;
mod cgroup;
pub mod checkout;
mod ending;
pub mod environment;
mod events;
mod fail;
mod handover;
mod leaks;
mod lock;
mod mcp;
mod nested;
mod processes;
mod publication;
pub mod push;
mod record_file;
mod remote;
mod run;
mod salvage;
mod settlement;
mod store;
mod supervision;
mod workspace;

use agent_task::Exit;
use args::{Args, Step};

/// Does what the arguments ask for.
///
/// # Errors
/// With the exit code of the contract, as a [`piece::Fault`].
pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.step {
        None => run::run(args.run),
        Some(Step::Push(args)) => push::run(args),
        Some(Step::Fail(args)) => fail::run(args),
        Some(Step::Explain(args)) => fail::explain(&args),
        Some(Step::Salvage(args)) => salvage::run(args),
        Some(Step::Left(_)) => salvage::left(),
        Some(Step::Settle(_)) => salvage::settle(),
        Some(Step::GitCredential(args)) => push::answer_git(&args),
    }
}
