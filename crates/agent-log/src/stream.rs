//! From bytes to redacted lines, and each line to the observer.
//!
//! Memory is bounded whatever comes: a line of up to [`LINE_MAX`] bytes is held and read; a longer one is redacted and
//! passed on as it comes, and only its beginning is read.

use crate::decision::Surroundings;
use crate::notice::{Notice, View};
use crate::observer::Observer;
use agent_task::AgentReport;
use redact::{Redactor, Stream};
use std::borrow::Cow;

/// Longer lines are passed on without being read.
pub const LINE_MAX: usize = 16 * 1024 * 1024;

/// So much of a longer line is read.
const HEAD: usize = 64 * 1024;

/// The events of a run on their way through: bytes go in, redacted lines come out, and the observer has seen them.
///
/// ```
/// use agent_log::{EventStream, Surroundings};
/// use redact::Redactor;
///
/// let redactor = Redactor::new([]);
/// let mut events = EventStream::new(&redactor, ());
/// let mut out = Vec::new();
/// events.feed(b"{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"Done\"}\nno event\n", &mut out);
/// assert!(out.ends_with(b"\"Done\"}\n"));
/// let report = events.finish(Surroundings::default(), &mut out);
/// assert!(report.outcome.is_success());
/// assert_eq!(report.malformed_lines, 1);
/// ```
#[derive(Debug)]
pub struct EventStream<'r, V> {
    redactor: &'r Redactor,
    observer: Observer,
    view: V,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    long: Option<Long<'r>>,
}

/// A line that is longer than [`LINE_MAX`], on its way.
#[derive(Debug)]
enum Long<'r> {
    /// It looks like an event.
    Passed(Stream<'r>),
    /// It does not.
    Dropped,
}

impl<'r, V: View> EventStream<'r, V> {
    /// Nothing has come.
    pub fn new(redactor: &'r Redactor, view: V) -> Self {
        Self { redactor, observer: Observer::new(), view, partial: Vec::new(), long: None }
    }

    /// What was observed so far.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// The view.
    pub fn view(&mut self) -> &mut V {
        &mut self.view
    }

    /// Takes bytes as they come, and appends to `out` the lines that are complete.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if self.long.is_some() || self.partial.len() + line.len() > LINE_MAX {
                self.more(line, out);
                self.end_of_line(out);
            } else if self.partial.is_empty() {
                self.line(line, out);
            } else {
                self.partial.extend_from_slice(line);
                self.end_of_line(out);
            }
        }
        if !rest.is_empty() {
            self.more(rest, out);
        }
    }

    /// Whether a line has begun and not ended.
    pub fn holds_some(&self) -> bool {
        self.long.is_some() || !self.partial.is_empty()
    }

    /// The bytes are at their end: a last line may lack its line end.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if self.holds_some() {
            self.end_of_line(out);
        }
    }

    /// [`EventStream::end`], then the report. The tail of stderr is redacted here.
    pub fn finish(mut self, surroundings: Surroundings<'_>, out: &mut Vec<u8>) -> AgentReport {
        self.end(out);
        let stderr = self.redactor.redact_text(surroundings.stderr);
        self.observer.finish(Surroundings { stderr: &stderr, ..surroundings })
    }

    /// Takes a part of a line that has not ended.
    fn more(&mut self, part: &[u8], out: &mut Vec<u8>) {
        match &mut self.long {
            Some(Long::Passed(stream)) => stream.push(part, out),
            Some(Long::Dropped) => {}
            None => {
                self.partial.extend_from_slice(part);
                if self.partial.len() > LINE_MAX {
                    self.begin_long(out);
                }
            }
        }
    }

    fn begin_long(&mut self, out: &mut Vec<u8>) {
        // The memory goes with it: a run has hardly two such lines.
        let line = std::mem::take(&mut self.partial);
        if !line.trim_ascii_start().starts_with(b"{") {
            self.observer.malformed += 1;
            self.view.notice(&Notice::Malformed { line: "(a very long line)" });
            self.long = Some(Long::Dropped);
            return;
        }
        let head = self.redactor.redact_line(&line[..HEAD]);
        self.observer.oversized(&head, &mut self.view);
        let mut stream = self.redactor.stream();
        stream.push(&line, out);
        self.long = Some(Long::Passed(stream));
    }

    fn end_of_line(&mut self, out: &mut Vec<u8>) {
        match self.long.take() {
            Some(Long::Passed(mut stream)) => {
                stream.finish(out);
                out.push(b'\n');
            }
            Some(Long::Dropped) => {}
            None => {
                let mut line = std::mem::take(&mut self.partial);
                self.line(&line, out);
                line.clear();
                self.partial = line;
            }
        }
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        // What is not UTF-8 is no JSON; a reader down the pipe is spared it.
        let line = match std::str::from_utf8(line) {
            Ok(line) => Cow::Borrowed(line),
            Err(_) => String::from_utf8_lossy(line),
        };
        let redacted = self.redactor.redact_text_line(&line);
        if self.observer.line(&redacted, &mut self.view) {
            out.extend_from_slice(redacted.as_bytes());
            out.push(b'\n');
        }
    }
}
