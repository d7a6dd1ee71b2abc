//! Hands the prompt to an agent CLI that reads `stream-json` on its stdin, once its MCP servers are connected: until then it asks
//! the model nothing. The servers are those that the run will use, started once, by the CLI itself.
//!
//! The CLI is asked with the control request `mcp_status` of its Agent SDK (there `mcpServerStatus()`). It has no request that
//! waits for a change, so it is asked again while a server is starting.

use crate::supervision::{Sink, Writer};
use memchr::memchr;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long after an answer the CLI is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// The CLI answers as soon as it has started, which takes a while on a slow disk.
const ANSWER: Duration = Duration::from_secs(60);

/// How the line of an answer begins.
const MARK: &[u8] = br#"{"type":"control_response""#;

/// No answer is longer: it lists the servers' tools.
const ANSWER_MAX: usize = 16 << 20;

/// What is to be handed over, and when.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) prompt: String,
    /// The servers that must be connected before.
    pub(crate) servers: Vec<String>,
    /// How long they may take, from the CLI's first answer on.
    pub(crate) limit: Duration,
}

impl Handover {
    /// The two ends: what the CLI's stdout goes through on its way to `sink`, and what writes to its stdin.
    pub(crate) fn ends<S: Sink>(self, sink: S) -> (Answers<S>, Writer<Handed>) {
        let (to, from) = channel();
        let answers = Answers { to, line: Vec::new(), at: At::Beginning, sink };
        let write: Writer<Handed> = Box::new(move |stdin: ChildStdin, stopper| {
            self.carry_out(stdin, &from).unwrap_or_else(|why| {
                stopper.stop();
                Handed::Refused(why)
            })
        });
        (answers, write)
    }

    /// Asks until the servers are connected, and hands over.
    ///
    /// # Errors
    /// Which server is not, and why.
    fn carry_out(&self, mut stdin: impl Write, answers: &Receiver<Vec<u8>>) -> Result<Handed, String> {
        let mut deadline = None::<Instant>;
        while !self.servers.is_empty() {
            // Where the CLI is gone, it is its end that tells why.
            let Ok(()) = write_line(&mut stdin, &request()) else { return Ok(Handed::Nothing) };
            let answer = match answers.recv_timeout(ANSWER) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Disconnected) => return Ok(Handed::Nothing),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "the agent CLI did not say within {ANSWER:?} whether its MCP servers started"
                    ));
                }
            };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.limit);
            match servers(&answer, &self.servers)? {
                Servers::Connected => break,
                Servers::Starting(name) if Instant::now() >= deadline => {
                    return Err(format!("the MCP server {name} did not start within {:?}", self.limit));
                }
                Servers::Starting(_) => std::thread::sleep(PAUSE),
            }
        }
        // As above; and that nothing follows says that there is no second prompt.
        let written = write_line(&mut stdin, &prompt(&self.prompt));
        Ok(if written.is_ok() { Handed::Over } else { Handed::Nothing })
    }
}

/// For a command that reads nothing but the prompt.
pub(crate) fn at_once(prompt: String) -> Writer<Handed> {
    Box::new(move |mut stdin: ChildStdin, _| {
        // Where the command is gone, it is its end that tells why.
        let written = stdin.write_all(prompt.as_bytes());
        if written.is_ok() { Handed::Over } else { Handed::Nothing }
    })
}

/// What became of the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Handed {
    /// The agent has it.
    Over,
    /// The agent ended before.
    Nothing,
    /// The agent may not have it: why.
    Refused(String),
}

fn write_line(to: &mut impl Write, message: &Value) -> io::Result<()> {
    let mut line = message.to_string();
    line.push('\n');
    to.write_all(line.as_bytes()).and_then(|()| to.flush())
}

fn request() -> Value {
    json!({"type": "control_request", "request_id": "servers", "request": {"subtype": "mcp_status"}})
}

fn prompt(text: &str) -> Value {
    json!({"type": "user", "message": {"role": "user", "content": text}})
}

/// How the servers are that a run needs.
#[derive(Debug, PartialEq, Eq)]
enum Servers {
    Connected,
    /// The first one that is not, and may become so.
    Starting(String),
}

#[derive(Deserialize)]
struct Answer {
    response: Outer,
}

#[derive(Deserialize)]
struct Outer {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    response: Option<Statuses>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statuses {
    mcp_servers: Vec<Status>,
}

#[derive(Deserialize)]
struct Status {
    name: String,
    status: String,
    #[serde(default)]
    error: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// A server that will not be connected, or why that is not known.
fn servers(answer: &[u8], needed: &[String]) -> Result<Servers, String> {
    let unknown = |why: &str| format!("the agent CLI did not say whether its MCP servers started: {why}");
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| unknown(&error.to_string()))?;
    let Some(statuses) = answer.response.response else {
        return Err(unknown(answer.response.error.as_deref().unwrap_or("no answer")));
    };
    let mut starting = None;
    for name in needed {
        match statuses.mcp_servers.iter().find(|server| server.name == *name) {
            Some(server) if server.status == "connected" => {}
            Some(server) if server.status == "pending" => {
                starting.get_or_insert_with(|| name.clone());
            }
            Some(Status { status, error: Some(error), .. }) => {
                return Err(format!("the MCP server {name} did not start ({status}): {error}"));
            }
            Some(Status { status, error: None, .. }) => {
                return Err(format!("the MCP server {name} did not start: {status}"));
            }
            None => return Err(format!("the agent CLI does not know the MCP server {name}")),
        }
    }
    Ok(starting.map_or(Servers::Connected, Servers::Starting))
}

/// Takes the answers out of the CLI's stdout. They are no events, and hold the servers' configuration, secrets included.
#[derive(Debug)]
pub(crate) struct Answers<S> {
    to: Sender<Vec<u8>>,
    /// What is held of the present line.
    line: Vec<u8>,
    at: At,
    sink: S,
}

/// Where the present line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// It has begun as an answer does, as far as it has come.
    Beginning,
    /// It is an answer.
    Answer,
    /// It is something else, and on its way.
    Other,
}

impl<S> Answers<S> {
    /// Nobody waits for an answer any more.
    pub(crate) fn into_sink(self) -> S {
        self.sink
    }
}

impl<S: Sink> Sink for Answers<S> {
    fn take(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let (part, after) = rest.split_at(end);
            rest = after;
            self.part(part);
        }
    }
}

impl<S: Sink> Answers<S> {
    /// Takes a part of a line, or the whole of one.
    fn part(&mut self, part: &[u8]) {
        if self.at == At::Other {
            self.sink.take(part);
        } else {
            self.line.extend_from_slice(part);
            let known = self.line.len().min(MARK.len());
            if self.line[..known] != MARK[..known] {
                self.at = At::Other;
                self.sink.take(&std::mem::take(&mut self.line));
            } else if known == MARK.len() {
                self.at = At::Answer;
            }
        }
        if part.ends_with(b"\n") {
            if self.at == At::Answer {
                // Once the prompt is handed over nobody waits.
                let _ = self.to.send(std::mem::take(&mut self.line));
            }
            self.at = At::Beginning;
        } else if self.line.len() > ANSWER_MAX {
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: &[&str] = &["playwright", "search"];

    fn needed() -> Vec<String> {
        NEEDED.iter().map(|name| (*name).to_owned()).collect()
    }

    fn answer(search: &Value) -> Vec<u8> {
        let playwright = json!({"name": "playwright", "status": "connected", "tools": []});
        let servers = json!({"mcpServers": [playwright, search]});
        let response = json!({"subtype": "success", "request_id": "servers", "response": servers});
        let mut line = json!({"type": "control_response"}).to_string();
        line.pop();
        format!("{line},\"response\":{response}}}\n").into_bytes()
    }

    /// P9
    #[test]
    fn a_run_begins_when_every_server_is_connected() {
        let status = |status: &str| servers(&answer(&json!({"name": "search", "status": status})), &needed());
        assert_eq!(status("connected"), Ok(Servers::Connected));
        assert_eq!(status("pending"), Ok(Servers::Starting("search".to_owned())));
        assert_eq!(status("needs-auth"), Err("the MCP server search did not start: needs-auth".to_owned()));
        let failed = json!({"name": "search", "status": "failed", "error": "Connection closed"});
        let told = "the MCP server search did not start (failed): Connection closed";
        assert_eq!(servers(&answer(&failed), &needed()), Err(told.to_owned()));
        let other = servers(&answer(&json!({"name": "other", "status": "connected"})), &needed());
        assert_eq!(other, Err("the agent CLI does not know the MCP server search".to_owned()));
    }

    #[test]
    fn an_answer_that_is_none_is_told() {
        let refused =
            br#"{"type":"control_response","response":{"subtype":"error","error":"unknown subtype"}}"#;
        assert!(servers(refused, &needed()).unwrap_err().ends_with(": unknown subtype"));
        assert!(servers(b"{}", &needed()).unwrap_err().contains("missing field"));
    }

    #[derive(Default)]
    struct Kept(Vec<u8>);

    impl Sink for Kept {
        fn take(&mut self, piece: &[u8]) {
            self.0.extend_from_slice(piece);
        }
    }

    fn answers() -> (Answers<Kept>, Receiver<Vec<u8>>) {
        let (to, from) = channel();
        (Answers { to, line: Vec::new(), at: At::Beginning, sink: Kept::default() }, from)
    }

    /// P6: however the pieces are cut.
    #[test]
    fn answers_are_taken_out_and_all_else_passes() {
        let answer = answer(&json!({"name": "search", "status": "pending"}));
        let events = b"{\"type\":\"system\"}\n\n{\"type\":\"control_request\"}\nno event\n{\"type\":\"con";
        let text = [&events[..19], &answer, &events[19..]].concat();
        for size in [1, 7, 64, text.len()] {
            let (mut answers, from) = answers();
            text.chunks(size).for_each(|piece| answers.take(piece));
            assert_eq!(
                from.try_iter().collect::<Vec<_>>(),
                std::slice::from_ref(&answer),
                "in pieces of {size}"
            );
            let passed = String::from_utf8(answers.into_sink().0).unwrap();
            // The last line has not come to where it differs.
            assert_eq!(passed.as_bytes(), &events[..events.len() - 12], "in pieces of {size}");
        }
    }

    /// What is written to the CLI whose answers are these.
    fn written(answers: &[&Value], limit: Duration) -> (Vec<Value>, Result<Handed, String>) {
        let (to, from) = channel();
        answers.iter().for_each(|search| to.send(answer(search)).unwrap());
        let mut stdin = Vec::new();
        let handover = Handover { prompt: "A \"post\"\n".to_owned(), servers: needed(), limit };
        let result = handover.carry_out(&mut stdin, &from);
        let lines = String::from_utf8(stdin).unwrap();
        (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), result)
    }

    /// P4, P9
    #[test]
    fn the_prompt_is_handed_over_once_and_as_data() {
        let pending = json!({"name": "search", "status": "pending"});
        let connected = json!({"name": "search", "status": "connected"});
        let (lines, result) = written(&[&pending, &connected], Duration::from_secs(60));
        assert_eq!(result, Ok(Handed::Over));
        assert_eq!(lines, [request(), request(), prompt("A \"post\"\n")]);
    }

    /// P9
    #[test]
    fn no_prompt_is_handed_over_without_the_servers() {
        let pending = json!({"name": "search", "status": "pending"});
        let (lines, result) = written(&[&pending], Duration::ZERO);
        assert_eq!(result, Err("the MCP server search did not start within 0ns".to_owned()));
        assert_eq!(lines, [request()]);
        let (lines, _) = written(&[&json!({"name": "search", "status": "failed"})], Duration::from_secs(60));
        assert_eq!(lines, [request()]);
    }
}
