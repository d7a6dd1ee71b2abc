//! `just kill-test ROUNDS [SEED]`: runs that are killed at random moments, and started again.

use anyhow::{Context as _, ensure};
use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(10), |rounds| rounds.parse()).context("rounds")?;
    let seed =
        arguments.next().map_or_else(|| Ok(e2e::kills::any_seed()), |seed| seed.parse()).context("seed")?;
    let mut out = std::io::stdout();
    let tally = e2e::kills::rounds(rounds, seed, &mut out)?;
    writeln!(out, "\nkilled, how often:")?;
    for (name, times) in &tally.killed {
        writeln!(out, "  {times:>4}  {name}")?;
    }
    writeln!(
        out,
        "{} of {rounds} before the agent had done anything; started again {} times; {} faults",
        tally.before_work,
        tally.started_again,
        tally.faults.len()
    )?;
    ensure!(tally.faults.is_empty(), "seed {seed}:\n{}", tally.faults.join("\n"));
    Ok(())
}
