//! A run record as short as a pod's termination message must be: still a record, so that whoever reads the pod's status
//! reads what every piece reads.

use crate::record::RunRecord;

/// Kubernetes keeps so many bytes of a termination message.
pub const MESSAGE_MAX: usize = 4096;

/// The record in at most [`MESSAGE_MAX`] bytes. What tells the run apart and how it ended stays; the lists and the agent's last
/// words go, and the prompt and the error are cut as far as they must.
#[must_use]
pub fn message(record: &RunRecord) -> String {
    let mut brief = record.clone();
    brief.files.clear();
    if let Some(report) = &mut brief.report {
        report.subagents.clear();
        report.denials.clear();
        report.mcp_servers.clear();
        report.result = None;
        // The record's own says as much.
        report.error = None;
        cut(&mut report.model, 100);
        cut(&mut report.session, 100);
    }
    let mut room = 1024;
    loop {
        shorten(&mut brief.prompt, room / 4);
        cut(&mut brief.error, room);
        let text = serde_json::to_string(&brief).unwrap_or_default();
        if text.len() <= MESSAGE_MAX || room == 0 {
            return text;
        }
        room /= 2;
        if room == 0 {
            // Nothing but what an agent cannot make long.
            brief.report = None;
        }
    }
}

fn cut(text: &mut Option<String>, most: usize) {
    if let Some(text) = text {
        shorten(text, most);
    }
}

/// At most so many bytes, whole characters, and a sign that something is missing.
fn shorten(text: &mut String, most: usize) {
    const MISSING: &str = "…";
    if text.len() <= most {
        return;
    }
    let most = most.saturating_sub(MISSING.len());
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text.truncate(end);
    text.push_str(MISSING);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ChangedFile;
    use crate::{Outcome, Stage};

    fn record() -> RunRecord {
        let started = "2026-11-22T22:00:00Z".parse().unwrap();
        RunRecord::begun("publisher-3fa9c10b77de", "publisher", "a post", "main", started)
    }

    fn read(message: &str) -> RunRecord {
        serde_json::from_str(message).unwrap()
    }

    /// K13
    #[test]
    fn a_short_record_stays_as_it_is() {
        assert_eq!(read(&message(&record())), record());
    }

    /// K13
    #[test]
    fn the_longest_record_fits_and_says_how_the_run_ended() {
        for text in ["\u{1}", "\"", "é", "x", "😀"] {
            let mut long = record();
            long.prompt = text.repeat(65_536);
            long.fail(Outcome::PushRefused, Stage::PUSH, text.repeat(65_536));
            long.branch = Some(format!("agent/{}", "b".repeat(194)));
            long.base = "b".repeat(200);
            long.files =
                vec![ChangedFile { path: "f".repeat(4096), status: "added".into() }; RunRecord::FILES_MAX];
            let message = message(&long);
            assert!(message.len() <= MESSAGE_MAX, "{}", message.len());
            let brief = read(&message);
            assert_eq!((brief.outcome, brief.stage, brief.branch), (long.outcome, long.stage, long.branch));
            assert!(brief.error.unwrap().ends_with('…'));
        }
    }
}
