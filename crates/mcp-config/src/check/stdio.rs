//! A server that is a program: one message a line on its standard streams (the protocol's "stdio" transport).
//!
//! It gets a process group of its own, and that group is gone when [`look`] returns: its stdin is closed, which asks it to end;
//! then come TERM and KILL.

use super::protocol::{Failure, Found, Meaning, Wire, meaning, messages, shake_hands, shortened};
use super::{Limit, Looked};
use crate::config::Stdio;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio as Stream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest message that is read; a page of tools with their schemas is some 30 KB.
const MESSAGE_MAX: u64 = 16 * 1024 * 1024;
/// So much of stderr is kept: its end, where the cause is.
const STDERR_MAX: usize = 4 * 1024;
/// How long a server may take to end once its stdin is closed, and again after TERM.
const GRACE: Duration = Duration::from_millis(500);
/// How long the last words on stderr are waited for, where a process that left the group holds it open.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What happens while a server is looked at.
#[derive(Debug)]
pub(crate) enum Event {
    /// A line on stdout, without its end.
    Line(Vec<u8>),
    /// stdout has ended, or gave a line without an end.
    OutputEnded,
    /// stderr has ended.
    ErrorsEnded,
    /// The process has ended and is not reaped.
    Exited,
    /// We were told to stop.
    Stop,
}

/// The environment that servers start with: ours, as with the agent CLI, but without secrets that the configuration (by
/// `referred`) does not refer to. In a run `branch-run` keeps them from the agent too.
pub(super) fn inherited(referred: &BTreeSet<String>) -> Vec<(OsString, OsString)> {
    std::env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            !crate::references::withheld(&name, crate::references::Sink::Local)
                && (referred.contains(&*name)
                    || !crate::rules::names_a_secret(name.strip_suffix("_FILE").unwrap_or(&name)))
        })
        .collect()
}

/// Starts the server, asks for its tools, ends it. `events` is where its threads report, `inbox` the other end.
pub(super) fn look(
    server: &Stdio,
    inherited: &[(OsString, OsString)],
    events: Sender<Event>,
    inbox: &Receiver<Event>,
    limit: Limit,
) -> Looked {
    let began = Instant::now();
    let mut found = Found::default();
    let mut running = match Running::start(server, inherited, events, inbox, limit) {
        Ok(running) => running,
        Err(failure) => {
            return Looked { found, failure: Some(failure), warning: None, stderr: String::new() };
        }
    };
    let failure = shake_hands(&mut running, began, &mut found).err();
    running.finish(found, failure)
}

struct Running<'i> {
    child: Child,
    group: Option<Pid>,
    stdin: Option<ChildStdin>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    inbox: &'i Receiver<Event>,
    limit: Limit,
    /// The first line on stdout that is no message.
    noise: Option<String>,
    errors_ended: bool,
    exited: bool,
    stop: bool,
}

/// Why no answer will come; [`Running::finish`] says it in full, once it is known how the process ended.
mod end {
    pub(super) const OUTPUT: &str = "closed its stdout";
    pub(super) const TIME: &str = "did not answer in time";
    pub(super) const STOP: &str = "was stopped";
}

impl<'i> Running<'i> {
    fn start(
        server: &Stdio,
        inherited: &[(OsString, OsString)],
        events: Sender<Event>,
        inbox: &'i Receiver<Event>,
        limit: Limit,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(&server.command);
        command.args(&server.args).env_clear().envs(inherited.iter().map(|(name, value)| (name, value)));
        command.envs(&server.env).process_group(0);
        command.stdin(Stream::piped()).stdout(Stream::piped()).stderr(Stream::piped());
        let mut child = command.spawn().map_err(|error| {
            Failure::dead(format!("{} cannot be started: {error}", shortened(&server.command)))
        })?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let (lines, errors, exit) = (events.clone(), events.clone(), events);
        let tail = Arc::clone(&kept);
        std::thread::spawn(move || {
            if let Some(stdout) = stdout {
                read_lines(stdout, &lines);
            }
            let _ = lines.send(Event::OutputEnded);
        });
        std::thread::spawn(move || {
            if let Some(stderr) = stderr {
                keep_tail(stderr, &tail);
            }
            let _ = errors.send(Event::ErrorsEnded);
        });
        std::thread::spawn(move || {
            if let Some(group) = group {
                // Left unreaped: as long as it is, its number and its group's are not given to others.
                while waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
                    .is_err_and(|error| error == rustix::io::Errno::INTR)
                {}
            }
            let _ = exit.send(Event::Exited);
        });
        Ok(Self {
            child,
            group,
            stdin,
            stderr: kept,
            inbox,
            limit,
            noise: None,
            errors_ended: false,
            exited: false,
            stop: false,
        })
    }

    fn write(&mut self, message: &Value) -> Result<(), Failure> {
        let mut line = message.to_string();
        line.push('\n');
        let written = self.stdin.as_mut().map(|stdin| stdin.write_all(line.as_bytes()));
        match written {
            Some(Ok(())) => Ok(()),
            // It is gone, or has closed its stdin.
            _ => Err(Failure::dead(end::OUTPUT)),
        }
    }

    /// The next line of stdout.
    fn line(&mut self, until: Instant) -> Result<Vec<u8>, Failure> {
        let mut until = until;
        loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Line(line)) => return Ok(line),
                Ok(Event::OutputEnded) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::dead(end::OUTPUT));
                }
                Ok(Event::ErrorsEnded) => self.errors_ended = true,
                Ok(Event::Exited) => {
                    self.exited = true;
                    // What it wrote before may be on its way; a child of its own may hold the pipe open for ever.
                    until = until.min(Instant::now() + LAST_WORDS);
                }
                Ok(Event::Stop) => {
                    self.stop = true;
                    return Err(Failure::dead(end::STOP));
                }
                Err(RecvTimeoutError::Timeout) if self.exited => return Err(Failure::dead(end::OUTPUT)),
                Err(RecvTimeoutError::Timeout) => return Err(Failure::dead(end::TIME)),
            }
        }
    }

    /// Waits until the process has ended, or `time` is over.
    fn await_exit(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while !self.exited {
            match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Exited) => self.exited = true,
                Ok(Event::ErrorsEnded) => self.errors_ended = true,
                Ok(Event::Stop) if !self.stop => {
                    self.stop = true;
                    self.signal(Signal::TERM);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Nobody left in the group is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Ends the process and its group, and tells how it went.
    fn finish(mut self, found: Found, failure: Option<Failure>) -> Looked {
        let silent = failure.as_ref().is_some_and(|failure| failure.text == end::OUTPUT);
        if silent && !self.exited {
            // Its exit code is told only where it ended by itself, and not because its stdin is closed.
            self.await_exit(LAST_WORDS);
        }
        let by_itself = self.exited;
        drop(self.stdin.take());
        let hung = failure.as_ref().is_some_and(|failure| failure.text == end::TIME);
        if !hung && !self.stop {
            self.await_exit(GRACE);
        }
        if !self.exited {
            self.signal(Signal::TERM);
            self.await_exit(GRACE);
        }
        // What it started and left in its group goes with it, and so does what did not listen.
        self.signal(Signal::KILL);
        self.await_exit(Duration::from_secs(5));
        let status = self.child.wait().ok().filter(|_| by_itself);
        if failure.is_some() {
            let until = Instant::now() + LAST_WORDS;
            while !self.errors_ended {
                match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(Event::ErrorsEnded) => self.errors_ended = true,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        let stderr: Vec<u8> =
            self.stderr.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let noise = self.noise.map(|line| format!("it wrote to stdout what is no message: '{line}'"));
        let failure = failure.map(|failure| Failure {
            text: said_in_full(&failure.text, &found, status, self.limit.time, noise.as_deref()),
            ..failure
        });
        let warning = noise.filter(|_| failure.is_none());
        Looked { found, failure, warning, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }
}

impl Wire for Running<'_> {
    fn ask(&mut self, id: u64, message: &Value) -> Result<Value, Failure> {
        self.write(message)?;
        loop {
            let line = self.line(self.limit.deadline)?;
            let Some(messages) = messages(&line) else {
                if !line.iter().all(u8::is_ascii_whitespace) {
                    self.noise.get_or_insert_with(|| shortened(&String::from_utf8_lossy(&line)));
                }
                continue;
            };
            for message in messages {
                match meaning(message, id) {
                    Meaning::Answer(answer) => return Ok(answer),
                    Meaning::Asks(response) => self.write(&response)?,
                    Meaning::Nothing => {}
                    Meaning::Noise => {
                        self.noise.get_or_insert_with(|| shortened(&String::from_utf8_lossy(&line)));
                    }
                }
            }
        }
    }

    fn tell(&mut self, message: &Value) -> Result<(), Failure> {
        self.write(message)
    }
}

/// The failure with what is known once the process has ended.
fn said_in_full(
    what: &str,
    found: &Found,
    status: Option<ExitStatus>,
    limit: Duration,
    noise: Option<&str>,
) -> String {
    let waited_for = if found.start.is_none() { "initialize" } else { "tools/list" };
    let mut text = match what {
        end::TIME => format!("no answer to {waited_for} within {limit:?}"),
        end::OUTPUT => match status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => {
                format!("it ended with exit code {code} before it answered {waited_for}")
            }
            Some((None, Some(signal))) => {
                format!("it was killed by signal {signal} before it answered {waited_for}")
            }
            _ => format!("it closed its stdout before it answered {waited_for}"),
        },
        other => return other.to_owned(),
    };
    if let Some(noise) = noise {
        text.push_str("; ");
        text.push_str(noise);
    }
    text
}

fn read_lines(stdout: impl Read, events: &Sender<Event>) {
    let mut reader = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(MESSAGE_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            // The rest would be read as another message.
            Ok(_) if line.last() != Some(&b'\n') && line.len() as u64 == MESSAGE_MAX => return,
            Ok(_) => {}
        }
        line.pop_if(|byte| *byte == b'\n');
        if events.send(Event::Line(line)).is_err() {
            return;
        }
    }
}

/// Reads to the end, so that the server never blocks on a full pipe, and keeps the last of it.
fn keep_tail(mut stderr: impl Read, tail: &Mutex<VecDeque<u8>>) {
    let mut piece = [0; 4096];
    while let Ok(length) = stderr.read(&mut piece) {
        if length == 0 {
            return;
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&piece[..length]);
        let excess = tail.len().saturating_sub(STDERR_MAX);
        tail.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_stderr_is_kept() {
        let tail = Mutex::new(VecDeque::new());
        let text = [vec![b'a'; 10_000], b"cause".to_vec()].concat();
        keep_tail(&text[..], &tail);
        let kept: Vec<u8> = tail.into_inner().unwrap().into();
        assert_eq!(kept.len(), STDERR_MAX);
        assert!(kept.ends_with(b"aacause"));
    }

    #[test]
    fn lines_are_read_to_the_last_one_without_an_end() {
        let (events, inbox) = std::sync::mpsc::channel();
        read_lines(&b"a\n\nb"[..], &events);
        drop(events);
        let lines: Vec<Vec<u8>> = inbox
            .iter()
            .map(|event| match event {
                Event::Line(line) => line,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lines, [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
    }
}
