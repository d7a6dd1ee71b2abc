//! Text that comes in pieces.
//!
//! Whether a secret begins at a byte is decided by at most [`Redactor::look_ahead`] bytes from there. So much is held
//! back; a finding that reaches into what is held back is held back as a whole, until it is longer than any secret.
//! From then on its marker is out, and what still belongs to it is dropped as it comes. The memory is bounded, and the
//! output does not depend on where the text was cut.

use crate::patterns::{Run, run_end};
use crate::{Redactor, push_marker};
use std::fmt;

/// No finding is held back beyond this length.
const LONGEST_HELD: usize = 64 * 1024;

/// What stands before a place decides too: a backslash, the beginning of a token.
const LOOK_BEHIND: usize = 128;

/// How far a text may be let out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// As far as what follows cannot matter.
    LookAhead,
    /// To the last line end.
    Line,
    /// All of it: nothing follows.
    End,
}

/// Redacts a text piece by piece. Made by [`Redactor::stream`].
pub struct Stream<'r> {
    redactor: &'r Redactor,
    /// What was dealt with and still decides, then what was not dealt with.
    buffer: Vec<u8>,
    /// Up to here the buffer was dealt with.
    done: usize,
    /// The last thing out was a marker: a finding that overlaps what was dealt with is part of it.
    covered: bool,
    /// What the last marker's finding goes on with.
    run: Option<Run>,
}

impl<'r> Stream<'r> {
    pub(crate) fn new(redactor: &'r Redactor) -> Self {
        Self { redactor, buffer: Vec::new(), done: 0, covered: false, run: None }
    }

    /// Takes the next piece, and appends to `out` what is settled.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        // Deciding costs a look at all that is held back, so it is done for several times as much.
        let enough = self.redactor.look_ahead() * 4;
        for piece in piece.chunks(LONGEST_HELD) {
            self.buffer.extend_from_slice(piece);
            if self.buffer.len() - self.done >= enough {
                self.settle(out, Until::LookAhead);
            }
        }
    }

    /// As [`Stream::push`], and lets lines out as soon as they are complete: for text that somebody watches. Held back is a line that
    /// may be part of a secret: of a private key, or of a known value's base64.
    pub fn push_lines(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.push(piece, out);
        if piece.contains(&b'\n') {
            self.settle(out, Until::Line);
        }
    }

    /// The text is at its end: appends what was held back. The stream can then take another text.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.settle(out, Until::End);
        *self = Self::new(self.redactor);
    }

    fn settle(&mut self, out: &mut Vec<u8>, until: Until) {
        let text = &self.buffer;
        let length = text.len();
        let last = until == Until::End;
        let mut limit = match until {
            Until::End => length,
            Until::Line => memchr::memrchr(b'\n', text).map_or(0, |line_end| line_end + 1).max(self.done),
            Until::LookAhead => length.saturating_sub(self.redactor.look_ahead()),
        };
        if until == Until::Line
            && let Some(start) = self.redactor.known.begun(&text[..limit])
            && length - start < LONGEST_HELD
        {
            limit = start.max(self.done);
        }
        // An escaped solidus at the very end may go on in the next piece.
        let goes_on = |end: usize| !last && end + 2 > length;
        let mut at = self.done;
        if let Some(run) = self.run {
            at = run_end(text, at, run);
            self.run = self.run.filter(|_| goes_on(at));
        }
        for finding in self.redactor.find(text) {
            let (start, end) = (finding.range.start, finding.range.end);
            if end <= at {
                continue;
            }
            if start < at && self.covered {
                at = end;
                self.run = finding.run.filter(|_| goes_on(end));
                continue;
            }
            let start = start.max(at);
            if start >= limit {
                break;
            }
            // A key that is at a line's end may go on in the next line.
            let goes_beyond = end > limit || (until == Until::Line && end == limit);
            if goes_beyond && !last && length - start < LONGEST_HELD {
                limit = start;
                break;
            }
            out.extend_from_slice(&text[at..start]);
            push_marker(out, finding.name);
            at = end;
            self.covered = true;
            self.run = finding.run.filter(|_| goes_on(end));
        }
        let cut = if last { length } else { outside_escapes(text, limit) };
        if at < cut {
            out.extend_from_slice(&text[at..cut]);
            at = cut;
            self.covered = false;
            self.run = None;
        }
        let behind = if self.covered { self.redactor.look_ahead() } else { LOOK_BEHIND };
        let dropped = at.saturating_sub(behind);
        self.buffer.drain(..dropped);
        self.done = at - dropped;
    }
}

/// What is held back may be a secret, and is not shown.
impl fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("held", &(self.buffer.len() - self.done)).finish_non_exhaustive()
    }
}

/// A place at or a little before `at` where no escape sequence is cut: a finding that begins inside one takes all of it.
fn outside_escapes(text: &[u8], at: usize) -> usize {
    let mut cut = at;
    while cut > 0 && at - cut < LOOK_BEHIND && text[cut.saturating_sub(6)..cut].contains(&b'\\') {
        cut -= 1;
    }
    cut
}
