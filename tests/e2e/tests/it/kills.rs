//! A few rounds of `just kill-test`.

use std::io::Write as _;

/// P1, P2, P7, P8, P9
#[test]
fn runs_that_are_killed_at_random_lose_nothing_and_repeat_nothing() -> anyhow::Result<()> {
    let mut told = Vec::new();
    let seed = e2e::kills::any_seed();
    let tally = e2e::kills::rounds(6, seed, &mut told)?;
    std::io::stderr().write_all(&told)?;
    assert_eq!(tally.faults, Vec::<String>::new(), "seed {seed}");
    assert_eq!(tally.killed.values().sum::<usize>(), 6);
    Ok(())
}
