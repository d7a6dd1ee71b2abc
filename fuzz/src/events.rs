//! The agent CLI's events: parsed, observed, redacted, shown.

use crate::written::secrets_in;
use crate::{SECRETS, cuts, redactor};
use agent_log::progress::Plain;
use agent_log::{EventStream, Notice, Surroundings, View, summary};
use agent_task::AgentReport;

/// Shows everything that there is to see.
struct Watcher<'o>(Plain<&'o mut Vec<u8>>);

impl View for Watcher<'_> {
    fn notice(&mut self, notice: &Notice<'_>) {
        self.0.notice(notice);
    }
}

/// Whatever comes, and however it is cut: each line that comes out is a JSON object in UTF-8 without a secret, and so is the
/// report; what a person is shown has nothing that a terminal acts on; no line is lost without being counted.
pub fn check(data: &[u8]) {
    let (data, lengths) = cuts(data);
    let (whole, shown, report) = through([data].into_iter());
    let mut rest = data;
    let pieces = lengths.map_while(|length| {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    });
    let (cut, _, again) = through(pieces);
    assert_eq!(cut, whole, "how the bytes are cut makes no difference");
    assert_eq!(again, report);

    let out = String::from_utf8(whole).expect("UTF-8 comes out");
    for line in out.lines() {
        let object: serde_json::Result<serde_json::value::Map<String, serde_json::Value>> =
            serde_json::from_str(line);
        // Valid JSON may still be no text to this reader: halves of characters, depth, doubled names are passed on.
        let lenient = serde_json::from_str::<&serde_json::value::RawValue>(line);
        assert!(object.is_ok() || lenient.is_ok() && line.starts_with('{'), "no event came out: {line}");
    }
    let given = data.split(|byte| *byte == b'\n').filter(|line| !blank(line)).count();
    assert_eq!(out.lines().count() as u64 + report.malformed_lines, given as u64, "a line is lost");

    let report_text = serde_json::to_string(&report).expect("a report is JSON");
    serde_json::from_str::<AgentReport>(&report_text).expect("a report can be read again");
    let shown = String::from_utf8(shown).expect("a person is shown UTF-8");
    let summary = summary::text(&report, false);
    for text in [&out, &report_text, &shown, &summary] {
        assert_eq!(secrets_in(text.as_bytes()), [""; 0], "{text}");
    }
    for text in [&shown, &summary] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a terminal would act on it");
    }
}

fn blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

fn through<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> (Vec<u8>, Vec<u8>, AgentReport) {
    let redactor = redactor();
    let (mut out, mut shown) = (Vec::new(), Vec::new());
    let needed = ["playwright".to_owned()];
    let stderr = format!("warning\nerror: {}", SECRETS[2].1);
    let mut stream = EventStream::new(redactor, Watcher(Plain::new(&mut shown)));
    for piece in pieces {
        stream.feed(piece, &mut out);
    }
    let surroundings =
        Surroundings { stderr: &stderr, needed_mcp_servers: &needed, ..Surroundings::default() };
    let report = stream.finish(surroundings, &mut out);
    (out, shown, report)
}
