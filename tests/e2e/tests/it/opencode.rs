//! The other runtime: the same pipeline with the real `opencode`.

/// Every way in which its run can end.
mod endings;
/// A repository that fights back with what opencode would believe.
mod hostile;

use crate::expected::{DELIVERED, TOPIC, assert_ended};
use crate::scripted::{is_done, writer, writes_the_note};
use agent_task::Outcome;
use anyhow::Context as _;
use e2e::{Ended, REPOSITORY, World};
use sandbox::Turn;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// A world for it: its login is a key.
fn keyed(world: World) -> World {
    world.sandbox.model().expect_api_key();
    world
}

/// A world with the writer at work.
pub(crate) fn world(turns: impl IntoIterator<Item = Turn>) -> anyhow::Result<World> {
    World::playing(writer(turns)).map(keyed)
}

/// `run-publisher.sh` with it, not yet started. It has no other runtime's login.
pub(crate) fn publisher(world: &World, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = world.run_publisher(&[&["--runtime", "opencode"], arguments].concat())?;
    command.env_remove("CLAUDE_CODE_OAUTH_TOKEN").env("OPENCODE_API_KEY", world.sandbox.model().token());
    Ok(command)
}

/// The run with the writer, not yet started.
fn run(world: &World, arguments: &[&str]) -> anyhow::Result<Command> {
    publisher(world, &[&["--agent", "writer"], arguments, &[TOPIC]].concat())
}

/// That run, to its end.
fn ended(world: &World, arguments: &[&str]) -> anyhow::Result<Ended> {
    Ended::from_output(&run(world, arguments)?.output()?)
}

/// P12, with P1, P4, P5, P6, P7, P8: the whole loop, with its subagents and the browser.
#[test]
fn a_topic_becomes_a_branch_a_pull_request_and_a_message() -> anyhow::Result<()> {
    let world = keyed(World::new("publish")?);
    let topic = "A post about container images";
    let ended = Ended::from_output(&publisher(&world, &[topic])?.output()?)?;
    let record = ended.record()?;
    assert_eq!((ended.code, record.outcome), (0, Outcome::Success), "{record:#?}\n{}", ended.stderr);

    let branches = world.run_branches()?;
    let [(branch, head)] = branches.as_slice() else { panic!("one branch, not {branches:?}") };
    let added = world.git(&world.remote, &["diff", "--name-status", "main", branch])?;
    assert!(added.starts_with("A\tcontent/posts/") && added.lines().count() == 1, "{added}");
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    let [pull] = pulls.as_slice() else { panic!("one pull request, not {pulls:?}") };
    assert_eq!((&pull.head_sha, pull.draft, pull.title.as_str()), (head, false, topic));
    let messages = world.sandbox.discord().messages();
    let [message] = messages.as_slice() else { panic!("one message, not {messages:?}") };
    assert!(message.raw.to_string().contains(&format!("PR: https://github.com/{REPOSITORY}/pull/1")));

    // Every turn of the script was asked for, each by the agent that it is for, and the browser looked at the page.
    assert_eq!(world.sandbox.model().remaining(), Vec::new(), "turns of the script that nobody asked for");
    let report = record.report.context("a report")?;
    let subagents: Vec<_> = report.subagents.iter().map(|subagent| subagent.agent_type.as_str()).collect();
    assert_eq!(subagents, ["researcher", "writer", "reviewer", "qa", "security-auditor"]);
    assert!(report.subagents.iter().all(|subagent| subagent.tool_calls > 0), "{:?}", report.subagents);
    let servers: Vec<_> = report.mcp_servers.iter().map(|server| (&*server.name, &*server.status)).collect();
    assert_eq!(servers, [("playwright", "connected")]);
    assert!(report.turns > 5 && report.tokens.output > 0 && report.cost_usd > 0.0, "{report:?}");
    let screenshot = std::fs::read(world.run_dir().join("browser/post.png"))?;
    assert!(screenshot.starts_with(b"\x89PNG") && screenshot.len() > 10_000, "{} bytes", screenshot.len());

    // People could follow it.
    for line in ["qa started: ", "qa › playwright_browser_navigate http://127.0.0.1:", "qa ended: PASS"] {
        assert!(ended.stderr.contains(line), "'{line}' in {}", ended.stderr);
    }
    let kinds: BTreeSet<_> = ended.lines.iter().filter_map(|line| line["type"].as_str()).collect();
    for kind in ["session", "step_start", "text", "tool_start", "tool_use", "step_finish"] {
        assert!(kinds.contains(kind), "{kind} in {kinds:?}");
    }
    assert_eq!(world.processes(), Vec::<String>::new());
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// P12, with P3: the hosts that were asked for, and the key, seen from outside.
#[test]
fn only_the_services_are_asked_and_no_secret_is_left_behind() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let ended = ended(&world, &[])?;
    assert_ended(&world, &ended, DELIVERED)?;
    let hosts: BTreeSet<_> = world.sandbox.hosts_asked().into_iter().collect();
    let expected = ["api.anthropic.com:443", "api.github.com:443", "discord.com:443", "github.com:443"];
    assert_eq!(hosts, expected.map(str::to_owned).into());

    let key = world.sandbox.model().token();
    for request in world.sandbox.model().requests() {
        assert_eq!(request.header("x-api-key"), Some(key.as_str()));
        // The topic as it was given, which its own arguments are not.
        let asked: Value = serde_json::from_slice(&request.body)?;
        assert!(asked["messages"][0].to_string().contains(&format!("\"text\":\"{TOPIC}\"")), "{asked}");
    }
    let said = std::iter::once(ended.stderr.clone()).chain(ended.lines.iter().map(Value::to_string));
    for text in said {
        assert!(!text.contains(&key), "the key in {text}");
    }
    for folder in [world.run_dir(), world.clone_path(), world.path("home"), world.path("tmp")] {
        assert_eq!(world.files_with(&key, &folder)?, "", "the key stands in a file");
    }
    // The home directory is the person's.
    let home: Vec<_> = std::fs::read_dir(world.path("home"))?.collect();
    assert!(home.is_empty(), "{home:?}");
    Ok(())
}

/// P12, with P1: before anything happens, and in words that help.
#[test]
fn without_its_key_nothing_begins() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let output = run(&world, &[])?.env_remove("OPENCODE_API_KEY").output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0), "{stderr}");
    assert!(stderr.contains("OPENCODE_API_KEY is not set"), "{stderr}");
    for (arguments, error) in [
        (&["--model", "sonnet"][..], "'sonnet' names no provider"),
        (&["--allowed-tools", "Read,NotebookEdit"], "NotebookEdit"),
    ] {
        let output = run(&world, arguments)?.output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(error), "{stderr}");
    }
    assert_eq!(world.sandbox.hosts_asked(), Vec::<String>::new());
    Ok(())
}
