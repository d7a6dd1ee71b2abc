//! `mcp-config check`: every server is started and asked for its tools, all at once, so that the whole costs what the slowest
//! costs. What was started is gone when this ends, also where it was stopped by a signal.

mod processes;
mod protocol;
mod remote;
mod stdio;

use crate::args::Check;
use crate::config::{Config, RemoteType, Server};
use crate::machine::Machine;
use agent_task::Exit;
use piece::{Fault, output};
use protocol::{Failure, Found};
use redact::Redactor;
use serde::Serialize;
use serde_json::Value;
use std::io::Write as _;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    servers: Vec<Checked>,
}

/// One server.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    name: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_info: Option<Value>,
    tools: Vec<String>,
    /// From its start to its answer to `initialize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_ms: Option<u64>,
    /// From then to the last page of its tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools_ms: Option<u64>,
    /// It works, but breaks the protocol in a way that the agent CLI tolerates.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The end of what a server that failed wrote to stderr.
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

/// What one look at a server brought.
pub(crate) struct Looked {
    found: Found,
    failure: Option<Failure>,
    warning: Option<String>,
    stderr: String,
}

/// How long a server may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    time: Duration,
    deadline: Instant,
}

impl Limit {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

enum News {
    Looked(usize, Box<Looked>),
    Stopped(&'static str),
}

/// Checks the servers that `asked` wants and prints the report.
///
/// # Errors
/// Usage faults for a server that is not in the configuration; a fault where a signal stopped it.
pub(crate) fn run(
    config: Config,
    asked: &Check,
    machine: &Machine,
    redactor: &Redactor,
) -> anyhow::Result<Exit> {
    if let Some(name) = asked.server.iter().find(|name| !config.mcp_servers.contains_key(*name)) {
        let known: Vec<&str> = config.mcp_servers.keys().map(String::as_str).collect();
        return Err(Fault::usage(format!("the configuration has no server '{name}'"))
            .hint(format!("it has: {}", known.join(", ")))
            .into());
    }
    let variables = crate::rules::variables(&config);
    let inherited = stdio::inherited(&variables);
    let servers: Vec<(String, Server)> = config
        .mcp_servers
        .into_iter()
        .filter(|(name, _)| asked.server.is_empty() || asked.server.contains(name))
        .map(|(name, server)| (name, expanded(server, machine)))
        .collect();
    processes::adopt_orphans();
    let (news, arrivals) = channel();
    let mut stops = Vec::new();
    let began = Instant::now();
    let limit = Limit { time: asked.timeout, deadline: began + asked.timeout };
    // A signal that comes before the first server was started must stop that one too.
    let signals = processes::signals()?;
    let mut pending = 0_usize;
    for (index, (name, server)) in servers.iter().enumerate() {
        let (news, server, inherited) = (news.clone(), server.clone(), inherited.clone());
        let (events, inbox) = channel();
        if matches!(server, Server::Stdio(_)) {
            stops.push(events.clone());
            pending += 1;
        }
        let look = move || {
            let looked = match server {
                Server::Stdio(server) => stdio::look(&server, &inherited, events, &inbox, limit),
                Server::Remote(server) => remote::look(&server, limit),
            };
            // Nobody waits any more where a signal came.
            let _ = news.send(News::Looked(index, Box::new(looked)));
        };
        std::thread::Builder::new().name(name.clone()).spawn(look)?;
    }
    processes::forward(signals, stops, move |signal| {
        let _ = Sender::send(&news, News::Stopped(signal));
    })?;

    let mut checked: Vec<Option<Checked>> = servers.iter().map(|_| None).collect();
    let mut missing = servers.len();
    let mut stopped = None;
    // After a signal only those are waited for that have a process.
    while if stopped.is_some() { pending > 0 } else { missing > 0 } {
        let Ok(arrived) = arrivals.recv() else { break };
        match arrived {
            News::Stopped(signal) => stopped = Some(signal),
            News::Looked(index, looked) => {
                missing -= 1;
                let (name, server) = &servers[index];
                pending -= usize::from(matches!(server, Server::Stdio(_)));
                let one = Checked::new(name.clone(), *looked, redactor);
                if stopped.is_none() {
                    one.tell();
                }
                checked[index] = Some(one);
            }
        }
    }
    processes::sweep();
    if let Some(signal) = stopped {
        return Err(Fault::failed(format!("stopped by {signal}; every server was ended")).into());
    }
    let servers: Vec<Checked> = checked.into_iter().flatten().collect();
    // The worst that waiting will not mend decides.
    let exit = [Exit::Failed, Exit::Denied, Exit::Retry]
        .into_iter()
        .find(|exit| servers.iter().any(|server| server.exit == *exit))
        .unwrap_or(Exit::Done);
    output::line(&Report { kind: "McpCheck", servers })?;
    Ok(exit)
}

/// The server with its references filled in, as the agent CLI does it.
fn expanded(server: Server, machine: &Machine) -> Server {
    let sink = server.sink();
    let expand = |text: &mut String| {
        *text = crate::references::expand(text, sink, |name| machine.variable(name).map(str::to_owned));
    };
    match server {
        Server::Stdio(mut server) => {
            expand(&mut server.command);
            server.args.iter_mut().for_each(expand);
            server.env.values_mut().for_each(expand);
            Server::Stdio(server)
        }
        Server::Remote(mut server) => {
            expand(&mut server.url);
            server.headers.values_mut().for_each(expand);
            Server::Remote(server)
        }
    }
}

impl Checked {
    fn new(name: String, looked: Looked, redactor: &Redactor) -> Self {
        let Looked { found, failure, warning, stderr } = looked;
        let clean = |text: &str| redactor.redact_text(text).into_owned();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let stderr = Some(clean(stderr.trim_end())).filter(|text| failure.is_some() && !text.is_empty());
        Self {
            name,
            ok: failure.is_none(),
            protocol_version: found.protocol_version.as_deref().map(clean),
            server_info: found.server_info.map(|info| info.redacted(redactor)),
            tools: found.tools.iter().map(|tool| clean(tool)).collect(),
            start_ms: found.start.map(milliseconds),
            tools_ms: found.tools_took.map(milliseconds),
            warning: warning.as_deref().map(clean),
            exit: failure.as_ref().map_or(Exit::Done, |failure| failure.exit),
            error: failure.map(|failure| clean(&failure.text)),
            stderr,
        }
    }

    /// One line for people, and below it the end of stderr of a server that failed.
    fn tell(&self) {
        use std::fmt::Write as _;
        let mut text = match &self.error {
            Some(error) => format!("mcp-config: {}: {error}\n", printable(&self.name)),
            None => {
                let took = self.start_ms.unwrap_or(0) + self.tools_ms.unwrap_or(0);
                format!("mcp-config: {}: {} tools in {took} ms\n", self.name, self.tools.len())
            }
        };
        if let Some(warning) = &self.warning {
            let _ = writeln!(text, "mcp-config: {}: warning: {warning}", self.name);
        }
        for line in self.stderr.iter().flat_map(|stderr| stderr.lines()) {
            let _ = writeln!(text, "  | {}", printable(line));
        }
        // Nobody there is no failure.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Without what moves the cursor of a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Takes the secrets out of every text of a JSON value.
trait Redacted {
    fn redacted(self, redactor: &Redactor) -> Self;
}

impl Redacted for Value {
    fn redacted(self, redactor: &Redactor) -> Self {
        match self {
            Self::String(text) => Self::String(redactor.redact_text(&text).into_owned()),
            Self::Array(items) => items.into_iter().map(|item| item.redacted(redactor)).collect(),
            Self::Object(fields) => {
                fields.into_iter().map(|(key, value)| (key, value.redacted(redactor))).collect()
            }
            other => other,
        }
    }
}

/// How a remote server is called in messages.
impl RemoteType {
    fn other(self) -> &'static str {
        match self {
            Self::Http => "sse",
            Self::Sse => "http",
        }
    }
}
