//! A view that is redrawn: what happened scrolls by, what is at work stays below, with a line of figures.
//!
//! Each change is one write: the block below is cleared, new lines are printed, the block is drawn again, all within
//! one synchronized update. The cursor is never hidden and no mode is left set, so there is nothing to restore where the
//! process is killed; an ordinary end clears the block.

use super::plain::told;
use crate::notice::{Notice, View};
use crate::summary::{calls, count, duration};
use crate::text;
use agent_task::record::Tokens;
use std::io::{self, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The elapsed time is shown in seconds.
const TICK: Duration = Duration::from_secs(1);

/// No more frames than the eye can follow.
const FRAME: Duration = Duration::from_millis(40);

/// So many calls at work are shown.
const SHOWN_MAX: usize = 8;

/// The view on this process's stderr.
#[derive(Debug)]
pub struct Live {
    screen: Arc<Mutex<Screen>>,
    /// Dropped to end the thread that counts the seconds.
    stop: Option<Sender<()>>,
    ticking: Option<JoinHandle<()>>,
}

impl Live {
    /// The time begins now.
    #[must_use]
    pub fn new() -> Self {
        let screen = Arc::new(Mutex::new(Screen::new(super::has_colours())));
        let (stop, stopped) = channel::<()>();
        let shared = Arc::clone(&screen);
        let ticking = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let mut screen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let frame = screen.frame(&[], columns());
                let _ = io::stderr().write_all(&frame);
            }
        });
        Self { screen, stop: Some(stop), ticking: ticking.ok() }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl View for Live {
    fn notice(&mut self, notice: &Notice<'_>) {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let lines = screen.take(notice, now);
        // A change of the figures alone need not be seen at once: a finished transcript has thousands a second.
        if matches!(notice, Notice::Tokens { .. }) && screen.is_fresh(now) {
            return;
        }
        let frame = screen.frame(&lines, columns());
        let _ = io::stderr().write_all(&frame);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(ticking) = self.ticking.take() {
            let _ = ticking.join();
        }
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = io::stderr().write_all(&screen.clear());
    }
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col)).max(20)
}

/// A call or a subagent at work.
#[derive(Debug)]
struct Work {
    id: String,
    /// The subagent that it is, or that makes the call.
    agent: Option<String>,
    is_agent: bool,
    label: String,
    began: Instant,
}

#[derive(Debug)]
struct Screen {
    began: Instant,
    colours: bool,
    work: Vec<Work>,
    calls: u64,
    tokens: Tokens,
    cost: Option<f64>,
    state: String,
    /// Rows of the block below.
    drawn: usize,
    drawn_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Colour {
    Dim,
    Bold,
    Good,
    Bad,
}

impl Screen {
    fn new(colours: bool) -> Self {
        Self {
            began: Instant::now(),
            colours,
            work: Vec::new(),
            calls: 0,
            tokens: Tokens::default(),
            cost: None,
            state: "starting".to_owned(),
            drawn: 0,
            drawn_at: None,
        }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Dim => "2",
            Colour::Bold => "1",
            Colour::Good => "32",
            Colour::Bad => "31",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Notes it, and gives the lines that scroll by: a mark, and what it says.
    fn take(&mut self, notice: &Notice<'_>, now: Instant) -> Vec<(Colour, String)> {
        let owned = |agent: &Option<&str>| agent.map(|agent| text::line(agent, 40));
        let indent = |agent: &Option<&str>| if agent.is_some() { "  " } else { "" };
        match notice {
            Notice::Call { id, agent, tool, argument } => {
                self.calls += 1;
                "working".clone_into(&mut self.state);
                let label = format!("{} {}", text::line(tool, 60), text::line(argument, 300));
                self.begin(id, owned(agent), false, label.trim_end().to_owned(), now);
                Vec::new()
            }
            Notice::CallEnded { id, agent, failed, note, .. } => {
                let Some((work, took)) = self.end(id, now) else { return Vec::new() };
                let indent = indent(agent);
                let line = format!("{indent}{} {}  {took}", mark(*failed), work.label);
                let mut lines = vec![(if *failed { Colour::Bad } else { Colour::Dim }, line)];
                let note = text::line(note.unwrap_or_default(), 300);
                if !note.is_empty() {
                    lines.push((Colour::Bad, format!("{indent}  {note}")));
                }
                lines
            }
            Notice::SubagentStarted { id, agent, description, by } => {
                self.calls += 1;
                let name = text::line(agent, 40);
                let about = text::line(description.unwrap_or_default(), 200);
                self.begin(id, Some(name.clone()), true, about.clone(), now);
                vec![(Colour::Bold, format!("{}▶ {name}  {about}", indent(by)))]
            }
            Notice::SubagentEnded { id, agent, failed, verdict, tool_calls } => {
                let took = self.end(id, now).map_or_else(String::new, |(_, took)| format!(", {took}"));
                let bad = *failed || verdict.is_some_and(|verdict| !verdict.pass);
                let said = verdict.map_or_else(String::new, |verdict| {
                    let word = if verdict.pass { "PASS" } else { "FAIL" };
                    format!("{word} {}", text::line(verdict.reason.as_deref().unwrap_or_default(), 200))
                });
                let line =
                    format!("{} {}  {said} ({}{took})", mark(bad), text::line(agent, 40), calls(*tool_calls));
                vec![(if bad { Colour::Bad } else { Colour::Good }, line)]
            }
            Notice::Tokens { total } => {
                self.tokens = *total;
                "thinking".clone_into(&mut self.state);
                Vec::new()
            }
            Notice::Result { failed, cost_usd, tokens, text: said, .. } => {
                self.cost = Some(*cost_usd);
                self.tokens = *tokens;
                "ended".clone_into(&mut self.state);
                let colour = if *failed { Colour::Bad } else { Colour::Good };
                vec![(colour, format!("{} {}", mark(*failed), text::line(said, 300)))]
            }
            Notice::Retry { .. } => {
                "waiting for the model".clone_into(&mut self.state);
                told(notice).map(|line| (Colour::Bad, line)).into_iter().collect()
            }
            Notice::Denied { .. }
            | Notice::Limit { .. }
            | Notice::Malformed { .. }
            | Notice::Oversized { .. } => told(notice).map(|line| (Colour::Bad, line)).into_iter().collect(),
            Notice::Session { .. } => {
                "thinking".clone_into(&mut self.state);
                told(notice).map(|line| (Colour::Dim, line)).into_iter().collect()
            }
            Notice::Said { agent, text: said } => {
                let said = text::line(said, 300);
                if said.is_empty() {
                    Vec::new()
                } else {
                    vec![(Colour::Dim, format!("{}“{said}”", indent(agent)))]
                }
            }
        }
    }

    fn begin(&mut self, id: &str, agent: Option<String>, is_agent: bool, label: String, now: Instant) {
        if self.work.len() < 1000 {
            self.work.push(Work { id: id.to_owned(), agent, is_agent, label, began: now });
        }
    }

    fn end(&mut self, id: &str, now: Instant) -> Option<(Work, String)> {
        let index = self.work.iter().position(|work| work.id == id)?;
        let work = self.work.remove(index);
        let took = duration(now.saturating_duration_since(work.began));
        Some((work, took))
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.drawn_at.is_some_and(|drawn_at| now.saturating_duration_since(drawn_at) < FRAME)
    }

    /// Goes back to the block's first row, and clears it.
    fn clear(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.drawn > 0 {
            if self.drawn > 1 {
                out.extend_from_slice(format!("\x1b[{}A", self.drawn - 1).as_bytes());
            }
            out.extend_from_slice(b"\r\x1b[J");
        }
        self.drawn = 0;
        out
    }

    /// What is to be written: the new lines above, then the block.
    fn frame(&mut self, lines: &[(Colour, String)], columns: usize) -> Vec<u8> {
        let mut out = b"\x1b[?2026h".to_vec();
        out.append(&mut self.clear());
        for (colour, line) in lines {
            out.extend_from_slice(self.paint(*colour, &fit(line, columns - 1)).as_bytes());
            out.push(b'\n');
        }
        let block = self.block(columns - 1);
        out.extend_from_slice(block.join("\n").as_bytes());
        self.drawn = block.len();
        self.drawn_at = Some(Instant::now());
        out.extend_from_slice(b"\x1b[?2026l");
        out
    }

    /// What is at work, as a tree, and the figures.
    fn block(&self, width: usize) -> Vec<String> {
        let mut rows = Vec::new();
        let row = |work: &Work, depth: usize| {
            let took = duration(work.began.elapsed());
            let name = if work.is_agent { work.agent.as_deref().unwrap_or("subagent") } else { "" };
            let label = fit(&work.label, width.saturating_sub(depth * 2 + name.width() + took.len() + 7));
            let pad = "  ".repeat(depth);
            if work.is_agent {
                format!(
                    "{pad}{} {}",
                    self.paint(Colour::Bold, &format!("▶ {name}")),
                    format_args!("{label}  {took}")
                )
            } else {
                format!("{pad}{} {label}  {}", self.paint(Colour::Good, "●"), self.paint(Colour::Dim, &took))
            }
        };
        for agent in self.work.iter().filter(|work| work.is_agent) {
            rows.push(row(agent, 0));
            let own = |work: &&Work| !work.is_agent && work.agent == agent.agent;
            rows.extend(self.work.iter().filter(own).map(|work| row(work, 1)));
        }
        let of_none = |work: &&Work| {
            !work.is_agent && !self.work.iter().any(|agent| agent.is_agent && agent.agent == work.agent)
        };
        rows.extend(self.work.iter().filter(of_none).map(|work| row(work, 0)));
        if rows.len() > SHOWN_MAX {
            let more = rows.len() - SHOWN_MAX;
            rows.truncate(SHOWN_MAX);
            rows.push(format!("… and {more} more"));
        }
        let tokens = self.tokens;
        let read = tokens.input.saturating_add(tokens.cache_read).saturating_add(tokens.cache_write);
        let mut figures = format!(
            "{} · {} · {} · {} tokens in, {} out",
            duration(Duration::from_secs(self.began.elapsed().as_secs()))
                .replace(".0s", "s")
                .replace("0ms", "0s"),
            self.state,
            calls(self.calls),
            count(read),
            count(tokens.output),
        );
        if let Some(cost) = self.cost {
            figures.push_str(&format!(" · ${cost:.4}"));
        }
        rows.push(self.paint(Colour::Dim, &fit(&figures, width)));
        rows
    }
}

fn mark(failed: bool) -> char {
    if failed { '✗' } else { '✓' }
}

/// The text in at most so many columns.
fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// P6
    #[test]
    fn calls_stand_below_their_subagent_and_then_scroll_by() {
        let mut screen = Screen::new(false);
        let now = Instant::now();
        let started = Notice::SubagentStarted { id: "1", agent: "qa", description: Some("Check"), by: None };
        assert_eq!(screen.take(&started, now)[0].1, "▶ qa  Check");
        let call = Notice::Call { id: "2", agent: Some("qa"), tool: "Bash", argument: "npm test" };
        assert_eq!(screen.take(&call, now).len(), 0);
        let block = screen.block(60);
        assert!(block[0].starts_with("▶ qa Check"), "{block:?}");
        assert!(block[1].starts_with("  ● Bash npm test"), "{block:?}");
        assert!(block[2].contains("working · 2 calls"), "{block:?}");
        let ended = Notice::CallEnded { id: "2", agent: Some("qa"), tool: "Bash", failed: false, note: None };
        let lines = screen.take(&ended, now + Duration::from_millis(1500));
        assert_eq!(lines[0].1, "  ✓ Bash npm test  1.5s");
    }

    /// P6
    #[test]
    fn no_row_is_wider_than_the_terminal() {
        let mut screen = Screen::new(false);
        let argument = "漢字".repeat(100);
        let call = Notice::Call { id: "1", agent: Some("qa"), tool: "Bash", argument: &argument };
        screen.take(&call, Instant::now());
        let started =
            Notice::SubagentStarted { id: "2", agent: "qa", description: Some(&argument), by: None };
        screen.take(&started, Instant::now());
        for columns in [20, 33, 80] {
            for row in screen.block(columns - 1) {
                assert!(row.width() < columns, "{columns}: {row}");
            }
        }
    }

    #[test]
    fn a_frame_clears_exactly_what_the_last_one_drew() {
        let mut screen = Screen::new(false);
        screen.frame(&[], 80);
        assert_eq!(screen.drawn, 1);
        let call = Notice::Call { id: "1", agent: None, tool: "Bash", argument: "x" };
        screen.take(&call, Instant::now());
        assert!(text(&screen.frame(&[], 80)).starts_with("\x1b[?2026h\r\x1b[J"));
        assert!(text(&screen.frame(&[], 80)).starts_with("\x1b[?2026h\x1b[1A\r\x1b[J"));
        assert_eq!(text(&screen.clear()), "\x1b[1A\r\x1b[J");
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert_eq!(Screen::new(false).paint(Colour::Bad, "x"), "x");
        assert_eq!(Screen::new(true).paint(Colour::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
