use crate::{assert_told_apart, report, transcript};
use agent_log::{Ending, Surroundings};
use agent_task::{AgentReport, Outcome, Stage};

fn ended(events: &str, ending: Ending, needed: &[String]) -> AgentReport {
    report(events, Surroundings { ending, needed_mcp_servers: needed, ..Surroundings::default() })
}

/// Every row of the table that the real CLI was made to show: the transcript, its exit code, what must be found.
///
/// P9, P12
#[test]
fn the_real_clis_endings_are_told_apart() {
    let table = [
        ("success", 0, Outcome::Success, None),
        ("qa-failed", 0, Outcome::Rejected, Some(("qa", "/post shows 404"))),
        ("tool-denied", 0, Outcome::ToolDenied, Some(("agent", "denied: webfetch, bash"))),
        ("status-400", 1, Outcome::ApiError, Some(("agent", "not valid"))),
        ("status-401", 1, Outcome::LoginFailed, Some(("agent", "Invalid authentication"))),
        ("status-529", 1, Outcome::ApiUnavailable, Some(("agent", "Overloaded"))),
        ("usage-limit", 0, Outcome::UsageLimit, Some(("agent", "rate limit"))),
        ("turn-limit", 1, Outcome::TurnLimit, Some(("agent", "maximum number of turns (1)"))),
        ("budget", 1, Outcome::Budget, Some(("agent", "maximum budget ($0.0001)"))),
        ("mcp-failed", 1, Outcome::McpFailed, Some(("mcp-start", "not connected: gone: "))),
        ("length", 0, Outcome::AgentFailed, Some(("agent", "ended its answer early: length"))),
    ];
    assert_told_apart("opencode-", &table);
}

/// P6, P12
#[test]
fn a_run_is_counted_with_its_subagents() {
    let report = ended(&transcript("opencode-success"), Ending::Code(0), &[]);
    assert_eq!(report.model.as_deref(), Some("anthropic/claude-sonnet-4-5"));
    assert!(report.session.as_deref().unwrap().starts_with("ses_"));
    assert_eq!((report.turns, report.tool_calls), (3, 3));
    let [qa] = report.subagents.as_slice() else { panic!("one subagent") };
    assert_eq!((qa.agent_type.as_str(), qa.tool_calls, qa.failed), ("qa", 1, false));
    assert_eq!(qa.description.as_deref(), Some("Check"));
    assert!(qa.verdict.as_ref().unwrap().pass);
    // Five steps, each with a price.
    assert!(report.cost_usd > 0.003 && report.tokens.input > 400 && report.tokens.output > 60, "{report:?}");
    assert!(report.duration_ms > 0 && report.duration_ms < 600_000);
    assert_eq!(report.result.as_deref(), Some("Done.\n\nVERDICT: PASS"));
}

/// P9, P12: each line could be the last one that comes.
#[test]
fn a_transcript_that_is_cut_off_is_no_success() {
    let events = transcript("opencode-success");
    let lines: Vec<&str> = events.split_inclusive('\n').collect();
    for kept in 1..lines.len() {
        let report = ended(&lines[..kept].concat(), Ending::Signal(15), &[]);
        assert_eq!(report.outcome, Outcome::Interrupted, "after {kept} lines");
    }
    // While the subagent is at work it is the stage.
    let begun = lines.iter().position(|line| line.contains(r#""tool_start""#) && line.contains(r#""task""#));
    let report = ended(&lines[..=begun.unwrap()].concat(), Ending::Signal(15), &[]);
    assert_eq!(report.stage.as_ref().map(Stage::as_str), Some("qa"));
}

/// P9, P12
#[test]
fn a_limit_has_the_time_of_its_reset_and_a_retry_is_counted() {
    let limited = ended(&transcript("opencode-usage-limit"), Ending::Code(0), &[]);
    assert!(limited.resets_at.is_some());
    let overloaded = ended(&transcript("opencode-status-529"), Ending::Code(1), &[]);
    assert_eq!((overloaded.api_retries, overloaded.resets_at), (5, None));
}

/// P9, P12
#[test]
fn a_server_that_is_needed_must_be_there_to_the_end() {
    let events = transcript("opencode-success");
    let needed = ["search".to_owned()];
    assert_eq!(ended(&events, Ending::Code(0), &needed).error.as_deref(), Some("search is missing"));

    let connected =
        events.replacen(r#""servers":[]"#, r#""servers":[{"name":"search","status":"connected"}]"#, 1);
    assert!(ended(&connected, Ending::Code(0), &needed).outcome.is_success());
    let called = |state: &str| {
        let call = format!(
            r#"{{"type":"tool_use","sessionID":"x","part":{{"type":"tool","tool":"search_find","callID":"c","state":{state}}}}}"#
        );
        let (head, tail) = connected.split_once('\n').unwrap();
        format!("{head}\n{call}\n{tail}")
    };
    let gone = called(r#"{"status":"error","input":{},"error":"MCP error -32000: Connection closed"}"#);
    let lost = ended(&gone, Ending::Code(0), &needed);
    assert_eq!(
        (lost.outcome, lost.error.as_deref()),
        (Outcome::McpFailed, Some("search ended during the run"))
    );
    // A tool's own error is none of the server's.
    let failed = called(r#"{"status":"error","input":{},"error":"Connection closed by example.org"}"#);
    assert!(ended(&failed, Ending::Code(0), &needed).outcome.is_success());
}
