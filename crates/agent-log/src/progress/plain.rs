//! A line for each thing of interest, as `kubectl logs` shows it.

use crate::notice::{Notice, View};
use crate::summary::{calls, count};
use crate::text;
use std::io::Write;
use std::time::Instant;

/// So much of a text stands in a line.
const WIDTH: usize = 160;

/// Writes lines as `[  1:05] qa › Bash npm test`.
#[derive(Debug)]
pub struct Plain<W> {
    out: W,
    began: Instant,
}

impl<W: Write> Plain<W> {
    /// The time begins now.
    pub fn new(out: W) -> Self {
        Self { out, began: Instant::now() }
    }
}

/// What a notice says, in a line; nothing where it is of no interest by itself.
pub(super) fn told(notice: &Notice<'_>) -> Option<String> {
    let who = |agent: &Option<&str>| text::line(agent.unwrap_or("agent"), 40);
    let short = |said: &str| text::line(said, WIDTH);
    Some(match notice {
        Notice::Session { model, servers } => {
            let mut line = format!("session with {}", short(model));
            for server in *servers {
                line.push_str(&format!(
                    ", {} {}",
                    text::line(&server.name, 40),
                    text::line(&server.status, 40)
                ));
            }
            line
        }
        Notice::Call { agent, tool, argument, .. } => {
            format!("{} › {} {}", who(agent), text::line(tool, 60), short(argument))
        }
        Notice::CallEnded { agent, tool, failed: true, note, .. } => {
            format!("{} › {} failed: {}", who(agent), text::line(tool, 60), short(note.unwrap_or_default()))
        }
        Notice::SubagentStarted { agent, description, .. } => {
            format!("{} started: {}", text::line(agent, 40), short(description.unwrap_or_default()))
        }
        Notice::SubagentEnded { agent, failed, verdict, tool_calls, .. } => {
            let how = match verdict {
                Some(verdict) if verdict.pass => "PASS".to_owned(),
                Some(verdict) => format!("FAIL {}", short(verdict.reason.as_deref().unwrap_or_default())),
                None if *failed => "failed".to_owned(),
                None => "done".to_owned(),
            };
            format!("{} ended: {}, {}", text::line(agent, 40), how.trim_end(), calls(*tool_calls))
        }
        Notice::Said { agent, text: said } => {
            let said = short(said);
            if said.is_empty() {
                return None;
            }
            format!("{}: {said}", who(agent))
        }
        Notice::Retry { attempt, delay_ms, error } => {
            format!("the model's API failed ({}), attempt {attempt}, again in {delay_ms} ms", short(error))
        }
        Notice::Denied { tool } => format!("denied: {tool}"),
        Notice::Limit { resets_at: Some(at) } => format!("the usage limit is reached, it resets at {at}"),
        Notice::Limit { resets_at: None } => "the usage limit is reached".to_owned(),
        Notice::Malformed { line } => format!("no event, left out: {}", short(line)),
        Notice::Oversized { kind } => {
            format!("an event of more than 16 MiB ({}), passed on unread", short(kind))
        }
        Notice::Result { failed, text: said, cost_usd, turns, tokens } => format!(
            "{}: {} ({turns} turns, {} tokens out, ${cost_usd:.4})",
            if *failed { "error" } else { "result" },
            short(said),
            count(tokens.output)
        ),
        Notice::CallEnded { .. } | Notice::Tokens { .. } => return None,
    })
}

impl<W: Write> View for Plain<W> {
    fn notice(&mut self, notice: &Notice<'_>) {
        if let Some(line) = told(notice) {
            let seconds = self.began.elapsed().as_secs();
            let line = format!("[{:>3}:{:02}] {}\n", seconds / 60, seconds % 60, line.trim_end());
            // In one write, so that no other process's line gets in between. Nobody may be reading; that is all right.
            let _ = self.out.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P6
    #[test]
    fn a_line_holds_one_line_and_nothing_that_a_terminal_acts_on() {
        let mut out = Vec::new();
        let argument = "npm test\n\x1b[2Jrm -rf \u{202e}/";
        Plain::new(&mut out).notice(&Notice::Call { id: "1", agent: Some("qa"), tool: "Bash", argument });
        assert_eq!(String::from_utf8(out).unwrap(), "[  0:00] qa › Bash npm test rm -rf /\n");
    }

    #[test]
    fn a_call_that_went_well_is_told_once() {
        let ended = Notice::CallEnded { id: "1", agent: None, tool: "Bash", failed: false, note: None };
        assert_eq!(told(&ended), None);
        let failed =
            Notice::CallEnded { id: "1", agent: None, tool: "Bash", failed: true, note: Some("127\n") };
        assert_eq!(told(&failed).as_deref(), Some("agent › Bash failed: 127"));
    }
}
