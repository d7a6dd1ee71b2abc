//! How long it takes from the call of `spawn-job` and from the Job's creation to the agent's first request to its model, on a node that
//! has the image: the volume, the pod's start, the clone and the agent CLI's start. Prints a line a round, in milliseconds, and the
//! medians. Arguments: rounds, and the mode of the volume (`storageClass`, `ephemeral`).

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use pods::Site;
use sandbox::{Agent, Scenario, Turn};
use serde_json::json;
use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5), |rounds| rounds.parse()).context("rounds")?;
    let mode = std::env::args().nth(2).unwrap_or_else(|| "storageClass".to_owned());
    let mut out = std::io::stdout();
    writeln!(out, "{:>8} {:>12} {:>24}", "round", "spawn-job", "Job to first request")?;
    let mut taken = Vec::new();
    // Round 0 warms the caches.
    for round in 0..=rounds {
        let writer = Agent::new("writer").turn(Turn::text("Nothing to do."));
        let scenario = Scenario { agents: vec![writer], ..Scenario::default() };
        let site = Site::new("start", scenario, json!({"workspace": {"mode": mode}}))?;
        let task = site.task(&json!({"agent": "writer", "prompt": "Nothing", "allowedTools": "Write"}));
        let began = Timestamp::now();
        let made = site.spawn_job(&[], &task)?;
        let made_at = Timestamp::now();
        ensure!(made.code == Some(0), "{}", made.stderr);
        site.spawn_job(&["--wait"], &task)?;
        let asked = site.world.sandbox.model().first_request_at().context("the model was never asked")?;
        let milliseconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_millis();
        let round_took = [milliseconds(began, made_at), milliseconds(made_at, asked)];
        writeln!(out, "{round:>8} {:>9} ms {:>21} ms", round_took[0], round_took[1])?;
        if round > 0 {
            taken.push(round_took);
        }
    }
    let median = |of: usize| {
        let mut sorted: Vec<_> = taken.iter().map(|round| round[of]).collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    writeln!(out, "{:>8} {:>9} ms {:>21} ms", "median", median(0), median(1))?;
    Ok(())
}
