//! Says whether a run would work, here or on a cluster, before one is begun: what is wrong, and how to mend it.
//!
//! - stdout: one JSON document, whatever was found.
//! - stderr: a table for people, a row as each check ends.
//!
//! ```text
//! $ preflight --repo octo/blog
//! {"kind":"Preflight","checks":[{"name":"tools","status":"ok","detail":"git 2.39.5, …","durationMs":212},…],"ok":true}
//! ```
//!
//! The checks do what the run would do, by the same means: the agent CLI logs in with the environment that it would get,
//! and is asked for one word, which costs a few hundred tokens (`--skip login`); the MCP servers are started and list their tools;
//! a token is minted for the repository, used to read, and revoked. On a cluster (`--cluster`) they look for what `spawn-job`
//! would need, by its own settings and its own plan of a pod.
//!
//! # What it never does
//!
//! - Change the work tree, the remote or the cluster, or post anything: `--post` alone sends one message.
//! - Print a secret: every text is redacted on its way out.
//! - Leave a process, a file or a token behind.

mod agent;
pub mod args;
mod check;
mod cluster;
mod context;
mod discord;
mod github;
mod login;
mod mcp;
mod program;
mod report;
mod repository;
mod tools;

pub use args::Args;

use agent_task::Exit;
use check::{Check, Checked, Name};
use context::Context;
use piece::{Fault, output};
use report::{Report, Table};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What a check gets beyond its time to end what it has started.
const GRACE: Duration = Duration::from_secs(6);

/// Runs the checks, all at once.
///
/// # Errors
/// Usage faults; a fault where a signal stopped it. What a check finds is no error but the exit code.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let context = Arc::new(Context::new(args)?);
    let checks: Vec<&'static Check> =
        context.place.checks().filter(|check| context.lists(check.name)).collect();
    let mut table = Table::new();
    let (results, arrivals) = channel();
    for &check in &checks {
        if context.skips(check.name) {
            // The receiver is ours and lives on.
            let _ = results.send(Checked::skipped(check.name, "left out by --skip"));
            continue;
        }
        let (context, results) = (Arc::clone(&context), results.clone());
        std::thread::Builder::new().name(check.name.to_string()).spawn(move || {
            // Nobody waits any more where the time was up.
            let _ = results.send(check.run(&context));
        })?;
    }
    drop(results);

    let give_up = context.deadline() + GRACE;
    let mut found: Vec<Checked> = Vec::new();
    let mut missing = None;
    while found.len() < checks.len() {
        match arrivals.recv_timeout(give_up.saturating_duration_since(Instant::now())) {
            Ok(checked) => {
                if !context.stop.came() {
                    table.row(&checked);
                }
                found.push(checked);
            }
            Err(why) => {
                missing = Some(why);
                break;
            }
        }
    }
    if context.stop.came() {
        return Err(Fault::failed("stopped by a signal; what was started has been ended").into());
    }
    let is_found = |name: Name, found: &[Checked]| found.iter().any(|checked| checked.name == name);
    for check in &checks {
        if !is_found(check.name, &found) {
            let without_end = match missing {
                Some(RecvTimeoutError::Disconnected) => Checked::broken(check.name),
                _ => Checked::late(check.name, context.timeout),
            };
            table.row(&without_end);
            found.push(without_end);
        }
    }
    found.sort_by_key(|checked| checked.name);
    let report = Report::new(context.place, found);
    table.end(&report);
    output::line(&report)?;
    Ok(report.exit())
}
