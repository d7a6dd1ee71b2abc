//! The program and the library, from the outside.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::panic)]

/// The built binary: streams, options, exit codes.
mod binary;
/// Every ending of the agent CLI, over transcripts that the real one wrote.
mod endings;
/// The same for opencode.
mod opencode;
/// Whatever comes, however it is cut.
mod robustness;

use agent_log::{Ending, EventStream, Surroundings};
use agent_task::{AgentReport, Outcome};
use redact::Redactor;
use serde_json::Value;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.jsonl"))
}

fn transcript(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap()
}

/// What is reported of these events, all of which are passed on.
fn report(events: &str, surroundings: Surroundings<'_>) -> AgentReport {
    let redactor = Redactor::new([]);
    let mut stream = EventStream::new(&redactor, ());
    let mut out = Vec::new();
    stream.feed(events.as_bytes(), &mut out);
    let report = stream.finish(surroundings, &mut out);
    let passed_on = String::from_utf8(out).unwrap();
    let events = events.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok());
    assert!(passed_on.lines().eq(events), "{passed_on}");
    report
}

/// A transcript, the agent CLI's exit code, and what must be found: the outcome, and of a failure the stage and a part of the error.
type Row = (&'static str, i32, Outcome, Option<(&'static str, &'static str)>);

fn assert_told_apart(prefix: &str, table: &[Row]) {
    for &(name, code, outcome, failure) in table {
        let ending = Ending::Code(code);
        let report = report(
            &transcript(&format!("{prefix}{name}")),
            Surroundings { ending, ..Surroundings::default() },
        );
        assert_eq!(report.outcome, outcome, "{name}: {report:?}");
        match failure {
            None => assert_eq!((&report.stage, &report.error), (&None, &None), "{name}"),
            Some((stage, error)) => {
                assert_eq!(report.stage.as_ref().unwrap().as_str(), stage, "{name}");
                assert!(report.error.as_deref().unwrap().contains(error), "{name}: {:?}", report.error);
            }
        }
        assert_eq!(report.malformed_lines, 0, "{name}");
    }
}
