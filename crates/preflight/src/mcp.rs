//! `mcp`: the agent's MCP servers start and list their tools.
//!
//! By the programs that the run calls, `mcp-config` and `mcp-config check`: the latter ends and reaps every child of its process
//! when it is done, so it needs a process of its own.

use crate::check::Finding;
use crate::context::Context;
use crate::program::{self, Broken, Ended};
use agent_task::Exit;
use anyhow::Context as _;
use piece::Fault;
use serde::Deserialize;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// So many lines of a dead server's stderr are told.
const LAST_WORDS: usize = 3;

/// What `mcp-config check` prints.
#[derive(Debug, Deserialize)]
struct Report {
    servers: Vec<Server>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    name: String,
    ok: bool,
    #[serde(default)]
    tools: Vec<String>,
    warning: Option<String>,
    error: Option<String>,
    stderr: Option<String>,
}

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let folder = tempfile::Builder::new().prefix("preflight-").tempdir().context("making a folder")?;
    let (file, artifacts) = (folder.path().join("mcp.json"), folder.path().join("browser"));
    let root = context.root();

    let mut write = Command::new("mcp-config");
    write.args(["--agent", &context.agent]).arg("--artifacts").arg(&artifacts).arg("--out").arg(&file);
    if let Some(overlay) = &context.mcp_overlay {
        write.arg("--overlay").arg(overlay);
    }
    let mut check = Command::new("mcp-config");
    let left = context.deadline().saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    check.args(["check", "--timeout", &format!("{}ms", left.as_millis())]);
    for command in [&mut write, &mut check] {
        command.env("TMPDIR", folder.path());
        if let Ok(root) = root {
            command.current_dir(root);
        }
    }

    let written = run(write.stdin(Stdio::null()), context)?;
    if !written.status.success() {
        let (text, hint) = told(&written);
        let fault = Fault::new(exit(&written), text);
        return Err(match hint {
            Some(hint) => fault.hint(hint).into(),
            None => fault.hint("mend what it names: the overlay, the PATH, or a variable").into(),
        });
    }
    let warnings = told(&written).0;
    let checked = run(check.stdin(File::open(&file).context("reading the MCP configuration")?), context)?;
    let Ok(report) = serde_json::from_slice::<Report>(&checked.stdout) else {
        let (text, hint) = told(&checked);
        let fault = Fault::new(exit(&checked), text);
        return Err(fault.hint(hint.unwrap_or_else(|| by_hand(context))).into());
    };
    settle(&report, exit(&checked), &warnings, &by_hand(context))
}

fn by_hand(context: &Context) -> String {
    format!("see it by hand: mcp-config --agent {} | mcp-config check", context.agent)
}

fn settle(report: &Report, exit: Exit, warnings: &str, by_hand: &str) -> anyhow::Result<Finding> {
    let mut lines = Vec::new();
    let mut doubts: Vec<&str> = Some(warnings).into_iter().filter(|text| !text.is_empty()).collect();
    for server in &report.servers {
        match (&server.error, server.tools.len()) {
            (Some(error), _) => lines.push(format!("{}: {error}", server.name)),
            (None, 1) => lines.push(format!("{}: 1 tool", server.name)),
            (None, tools) => lines.push(format!("{}: {tools} tools", server.name)),
        }
        // The end says why; the rest is in the report of mcp-config.
        let said: Vec<&str> = server.stderr.iter().flat_map(|stderr| stderr.lines()).collect();
        let last_words = &said[said.len().saturating_sub(LAST_WORDS)..];
        lines.extend(last_words.iter().map(|line| format!("| {line}")));
        doubts.extend(server.warning.as_deref());
    }
    let detail = lines.join("\n");
    if report.servers.iter().any(|server| !server.ok) {
        let remedy = match exit {
            Exit::Denied => "correct the credential that the server's configuration refers to".to_owned(),
            _ => by_hand.to_owned(),
        };
        return Err(Fault::new(exit, detail).hint(remedy).into());
    }
    if !doubts.is_empty() {
        let detail = format!("{detail}\n{}", doubts.join("\n"));
        return Ok(Finding::Warning { detail, remedy: by_hand.to_owned() });
    }
    let none = || "the agent needs no server".to_owned();
    Ok(Finding::Good(if lines.is_empty() { none() } else { detail }))
}

fn run(command: &mut Command, context: &Context) -> anyhow::Result<Ended> {
    // mcp-config itself keeps to the deadline, and tells which server does not.
    let deadline = context.deadline() + Duration::from_secs(2);
    program::run(command, deadline, &context.stop).map_err(|broken| {
        let fault = Fault::failed(format!("mcp-config: {broken}"));
        match broken {
            Broken::NotStarted(_) => {
                fault.hint("put the pieces on the PATH: `cargo build` makes them").into()
            }
            Broken::Late | Broken::Stopped => fault.into(),
        }
    })
}

fn exit(ended: &Ended) -> Exit {
    match ended.status.code() {
        Some(0) => Exit::Done,
        Some(3) => Exit::Retry,
        Some(4) => Exit::Denied,
        _ => Exit::Failed,
    }
}

/// What it said, without its name, and its hint.
fn told(ended: &Ended) -> (String, Option<String>) {
    let said = ended.said();
    let (text, hint) = match said.rsplit_once("\nhint: ") {
        Some((text, hint)) => (text, Some(hint.to_owned())),
        None => (said.as_str(), None),
    };
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("mcp-config: ").unwrap_or(line))
        .map(|line| line.strip_prefix("warning: ").unwrap_or(line))
        .collect();
    (lines.join("\n"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn servers_that_work_are_counted_and_dead_ones_say_their_last_words() {
        let good = report(r#"{"servers":[{"name":"a","ok":true,"tools":["x","y"]}]}"#);
        assert_eq!(settle(&good, Exit::Done, "", "h").unwrap(), Finding::Good("a: 2 tools".into()));
        assert!(matches!(settle(&good, Exit::Done, "old", "h").unwrap(), Finding::Warning { .. }));
        let dead = report(
            r#"{"servers":[{"name":"a","ok":false,"error":"exited with 1","stderr":"1\n2\n3\nno such module"}]}"#,
        );
        let error = settle(&dead, Exit::Failed, "", "h").unwrap_err();
        assert_eq!(error.to_string(), "a: exited with 1\n| 2\n| 3\n| no such module");
        assert_eq!(error.downcast_ref::<Fault>().unwrap().hint_text(), Some("h"));
    }
}
