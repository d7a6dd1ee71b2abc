//! How long it takes from the call of `spawn-job` to the agent's first request to its model, on a node that has the image: the pod's
//! start, the clone and the agent CLI's start. Prints a line a round, in milliseconds.

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use pods::Site;
use sandbox::{Agent, Scenario, Turn};
use serde_json::json;
use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5), |rounds| rounds.parse()).context("rounds")?;
    let mut out = std::io::stdout();
    writeln!(out, "{:>8} {:>16} {:>16}", "round", "spawn-job", "first request")?;
    // Round 0 warms the caches.
    for round in 0..=rounds {
        let writer = Agent::new("writer").turn(Turn::text("Nothing to do."));
        let scenario = Scenario { agents: vec![writer], ..Scenario::default() };
        let site = Site::new("start", scenario, json!({}))?;
        let task = site.task(&json!({"agent": "writer", "prompt": "Nothing", "allowedTools": "Write"}));
        let began = Timestamp::now();
        let made = site.spawn_job(&[], &task)?;
        let made_at = Timestamp::now();
        ensure!(made.code == Some(0), "{}", made.stderr);
        site.spawn_job(&["--wait"], &task)?;
        let asked = site.world.sandbox.model().first_request_at().context("the model was never asked")?;
        let milliseconds = |to: Timestamp| to.duration_since(began).as_secs_f64() * 1000.0;
        writeln!(out, "{round:>8} {:>13.0} ms {:>13.0} ms", milliseconds(made_at), milliseconds(asked))?;
    }
    Ok(())
}
