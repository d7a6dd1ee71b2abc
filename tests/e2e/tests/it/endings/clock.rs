//! The machine's clock jumps while the agent works: as when it is set, or when a suspended machine wakes. The pieces and the script
//! see it by libfaketime, which reads the jump from a file; like the kernel it leaves the monotonic clock alone.

use crate::expected::{DELIVERED, assert_ended};
use crate::scripted::{is_done, run, runs, world, writes_the_note};
use anyhow::Context as _;
use e2e::Ended;
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;

fn libfaketime() -> anyhow::Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
    folders
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.exists())
        .context("there is no libfaketime: scripts/setup.sh test installs it")
}

/// P1, P2, P6, P9, P10: a time limit is one of working time, a duration what it took, the branch is named after the beginning, and the
/// token is minted by GitHub's clock.
#[test]
fn a_clock_that_jumps_costs_a_run_nothing() -> anyhow::Result<()> {
    for (jump, hours) in [("+2h", 2), ("-2h", -2)] {
        let world = world([writes_the_note(), runs(&format!("echo {jump} >\"$HOME/../clock\"")), is_done()])?;
        let clock = world.path("clock");
        std::fs::write(&clock, "+0\n")?;
        let mut run = run(&world, &["--allowed-tools", "Write,Bash", "--timeout", "10m"])?;
        run.env("LD_PRELOAD", libfaketime()?)
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        let began = Timestamp::now();
        let ended = Ended::from_output(&run.output()?)?;
        let took = Timestamp::now().duration_since(began);
        assert_ended(&world, &ended, DELIVERED)?;

        let record = ended.record()?;
        let seconds = record.started_at.as_second();
        assert_eq!(record.branch, Some(format!("agent/writer-{seconds}")), "{jump}");
        assert!((seconds - began.as_second()).abs() <= took.as_secs(), "{jump}: named after its beginning");
        assert!(i128::from(record.duration_ms) <= took.as_millis(), "{jump}: {} ms", record.duration_ms);
        // The jump was seen at all.
        let by_the_clock = record.ended_at.context("an end")?.duration_since(record.started_at);
        let off = by_the_clock - SignedDuration::from_hours(hours);
        assert!(off.abs() <= took, "{jump}: the clock went {by_the_clock:?}");
        let skewed = world.sandbox.github().requests().iter().filter(|request| request.status == 401).count();
        assert_eq!(skewed, 1, "{jump}: GitHub's clock was asked for, once");
    }
    Ok(())
}
