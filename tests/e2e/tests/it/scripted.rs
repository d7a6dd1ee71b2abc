//! Small scripts for the sandbox's model: the blog's writer alone, without a browser.

use crate::expected::TOPIC;
use e2e::{Ended, World};
use sandbox::{Agent, Call, Failing, Failure, Fault, How, Scenario, Service, Turn};
use serde_json::json;
use std::process::Command;

/// The writer says this, turn by turn.
pub(crate) fn writer(turns: impl IntoIterator<Item = Turn>) -> Scenario {
    let writer = Agent { name: "writer".to_owned(), turns: turns.into_iter().collect(), ..Agent::default() };
    Scenario { agents: vec![writer], ..Scenario::default() }
}

/// A world with the writer at work.
pub(crate) fn world(turns: impl IntoIterator<Item = Turn>) -> anyhow::Result<World> {
    World::playing(writer(turns))
}

/// Writes the note.
pub(crate) fn writes_the_note() -> Turn {
    let input = json!({
        "file_path": "content/posts/note.md",
        "content": "---\ntitle: Backups\n---\n\nA backup that was never restored is a hope.\n",
    });
    calls("Write", input)
}

/// Runs a command of the shell.
pub(crate) fn runs(command: &str) -> Turn {
    calls("Bash", json!({"command": command, "description": "Work"}))
}

/// Calls one tool.
pub(crate) fn calls(tool: &str, input: serde_json::Value) -> Turn {
    Turn { calls: vec![Call { tool: tool.to_owned(), input }], ..Turn::default() }
}

/// Says its last words.
pub(crate) fn is_done() -> Turn {
    Turn { text: Some("The note is written.\n\nVERDICT: PASS".to_owned()), ..Turn::default() }
}

/// The same turn, whose first requests fail.
pub(crate) fn failing(mut turn: Turn, times: usize, how: Failing) -> Turn {
    turn.fail = vec![Failure { times, how }];
    turn
}

/// The plan's limit is used up, and resets in an hour.
pub(crate) fn usage_limit() -> Failing {
    Failing::UsageLimit { resets_in: 3600, claim: "five_hour".to_owned() }
}

/// From now on no connection to the model is made.
pub(crate) fn refuse_connections(world: &World) {
    world.sandbox.fail(Fault {
        method: Some("CONNECT".to_owned()),
        path_prefix: "api.anthropic.com".to_owned(),
        times: 1000,
        ..Fault::next(Service::Proxy, How::Disconnect)
    });
}

/// The run with the writer, not yet started. The agent CLI tries once more where it would try ten times.
pub(crate) fn run(world: &World, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = world.run_publisher(&[&["--agent", "writer"], arguments, &[TOPIC]].concat())?;
    command.env("CLAUDE_CODE_MAX_RETRIES", "1");
    Ok(command)
}

/// That run, to its end.
pub(crate) fn ended(world: &World, arguments: &[&str]) -> anyhow::Result<Ended> {
    Ended::from_output(&run(world, arguments)?.output()?)
}

/// The publish stage, once more.
pub(crate) fn published_again(world: &World) -> anyhow::Result<Ended> {
    world.publish(&["--stage", "publish"])
}
