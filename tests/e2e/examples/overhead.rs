//! What everything around the agent costs: `run-publisher.sh` against the bare agent CLI, on the same script of the
//! model, in turn, in one process. Prints the medians in milliseconds.
//!
//! Before: from the start to the agent's first request. After: from the agent's last request to the end, which for
//! `run-publisher.sh` includes commit, push, pull request and message.

use anyhow::{Context as _, ensure};
use e2e::World;
use jiff::Timestamp;
use std::io::Write as _;
use std::process::{Command, Stdio};

const TOPIC: &str = "A post about container images";

/// Milliseconds before the first request and after the last.
struct Around {
    before: f64,
    after: f64,
}

fn main() -> anyhow::Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5), |rounds| rounds.parse()).context("rounds")?;
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    // The first round warms the caches, and is not counted.
    for round in 0..=rounds {
        let world = self::world()?;
        let with_pipeline = measure(&world, world.run_publisher(&[TOPIC])?)?;
        let world = self::world()?;
        let without = measure(&world, agent_alone(&world)?)?;
        if round > 0 {
            whole.push(with_pipeline);
            bare.push(without);
        }
    }
    let mut out = std::io::stdout();
    writeln!(out, "{:<24}{:>12}{:>12}{:>12}", "", "before", "after", "in all")?;
    let mut row = |name: &str, before: f64, after: f64| {
        writeln!(out, "{name:<24}{before:>9.0} ms{after:>9.0} ms{:>9.0} ms", before + after)
    };
    let (b, w) = (median(&bare), median(&whole));
    row("run-publisher.sh", w.before, w.after)?;
    row("agent CLI alone", b.before, b.after)?;
    row("around the agent", w.before - b.before, w.after - b.after)?;
    Ok(())
}

/// A world whose publisher, browser at hand, writes a file itself: nothing but the least that a run does.
fn world() -> anyhow::Result<World> {
    let world = World::new("one-edit")?;
    let definition =
        "---\nname: publisher\ndescription: Writes\ntools: Write\n---\nYou write the posts of this blog.\n";
    std::fs::write(world.clone_path().join(".claude/agents/publisher.md"), definition)?;
    world.git(&world.clone_path(), &["commit", "--quiet", "--all", "--message=A publisher who writes"])?;
    Ok(world)
}

/// The agent CLI as `run-publisher.sh` calls it, with the files that it would make.
fn agent_alone(world: &World) -> anyhow::Result<Command> {
    let (config, mcp) = (world.path("claude"), world.path("mcp.json"));
    for (program, arguments) in [
        ("agent-home", vec!["--out".as_ref(), config.as_os_str()]),
        ("mcp-config", vec!["--out".as_ref(), mcp.as_os_str()]),
    ] {
        let mut command = world.command(program);
        command.args(["--agent", "publisher"]).args(arguments).current_dir(world.clone_path());
        ensure!(command.stdout(Stdio::null()).status()?.success(), "{program} failed");
    }
    let mut command = world.command("claude");
    command
        .args(["--agent", "publisher", "--setting-sources", "user", "--mcp-config"])
        .arg(mcp)
        .args(["--strict-mcp-config", "--permission-mode", "dontAsk", "--allowedTools", "Write,Bash(git *)"])
        .args(["--output-format", "stream-json", "--verbose", "-p", "--", TOPIC])
        .env("CLAUDE_CONFIG_DIR", config)
        .env("CLAUDE_CODE_OAUTH_TOKEN", world.sandbox.model().token())
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1")
        .env("DISABLE_AUTOUPDATER", "1")
        .current_dir(world.clone_path());
    Ok(command)
}

fn measure(world: &World, mut command: Command) -> anyhow::Result<Around> {
    let began = Timestamp::now();
    let output = command.output()?;
    let ended = Timestamp::now();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let model = world.sandbox.model();
    let first = model.first_request_at().context("the model was never asked")?;
    let last = model.last_request_at().context("the model was never asked")?;
    let milliseconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64() * 1000.0;
    Ok(Around { before: milliseconds(began, first), after: milliseconds(last, ended) })
}

fn median(runs: &[Around]) -> Around {
    let middle = |value: fn(&Around) -> f64| {
        let mut values: Vec<_> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Around { before: middle(|run| run.before), after: middle(|run| run.after) }
}
