use crate::{assert_told_apart, report, transcript};
use agent_log::{Ending, Surroundings};
use agent_task::Outcome;

fn ended(ending: Ending) -> Surroundings<'static> {
    Surroundings { ending, ..Surroundings::default() }
}

const SUCCESS: &str =
    r#"{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"Done."}"#;

/// Every row of the table that the real CLI was made to show: the transcript, its exit code, what must be found.
///
/// P9
#[test]
fn the_real_clis_endings_are_told_apart() {
    let table = [
        ("success", 0, Outcome::Success, None),
        ("background", 0, Outcome::Success, None),
        ("qa-failed", 0, Outcome::Rejected, Some(("qa", "/post shows 404"))),
        ("tool-denied", 0, Outcome::ToolDenied, Some(("agent", "denied: WebFetch"))),
        ("status-400", 1, Outcome::ApiError, Some(("agent", "400 bad request"))),
        ("status-401", 1, Outcome::LoginFailed, Some(("agent", "401 invalid bearer token"))),
        ("status-529", 1, Outcome::ApiUnavailable, Some(("agent", "529 Overloaded"))),
        ("not-logged-in", 1, Outcome::LoginFailed, Some(("agent", "Not logged in"))),
        ("refused", 1, Outcome::NetworkError, Some(("agent", "Connection refused"))),
        ("cut-off", 1, Outcome::NetworkError, Some(("agent", "API Error"))),
        ("turn-limit", 1, Outcome::TurnLimit, Some(("agent", "maximum number of turns (2)"))),
        ("budget", 1, Outcome::Budget, Some(("agent", "maximum budget ($0.0001)"))),
        ("sigint", 0, Outcome::Interrupted, Some(("agent", "aborted tools"))),
        ("sigterm", 143, Outcome::Interrupted, Some(("qa", "signal 15"))),
    ];
    assert_told_apart("", &table);
}

/// P9
#[test]
fn a_server_that_is_needed_must_have_been_connected() {
    let events = transcript("mcp-failed");
    assert_eq!(report(&events, ended(Ending::Code(0))).outcome, Outcome::Success, "nobody needs it");
    for (needed, error) in [("gone", "gone is failed"), ("other", "other is missing")] {
        let needed = [needed.to_owned()];
        let surroundings = Surroundings { needed_mcp_servers: &needed, ..ended(Ending::Code(0)) };
        let report = report(&events, surroundings);
        assert_eq!(report.outcome, Outcome::McpFailed);
        assert_eq!(report.stage.unwrap().as_str(), "mcp-start");
        assert_eq!(report.error.as_deref(), Some(error));
    }
}

/// P9: what the agent CLI says of a call to a server that has ended, as it says it.
#[test]
fn a_server_that_is_needed_must_still_be_there_at_the_last_call() {
    let called = |id: &str, failure: &str| {
        format!(
            r#"{{"type":"assistant","message":{{"content":[{{"type":"tool_use","id":"{id}","name":"mcp__search__find","input":{{}}}}]}}}}
{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"{id}",{failure}}}]}}}}
"#
        )
    };
    const GONE: &str = r#""content":"Connection closed","is_error":true"#;
    const REFUSED: &str = r#""content":"page: Connection closed","is_error":true"#;
    const FOUND: &str = r#""content":[{"type":"text","text":"Connection closed"}]"#;
    let init = r#"{"type":"system","subtype":"init","mcp_servers":[{"name":"search","status":"connected"}]}"#;
    let needed = ["search".to_owned()];
    for (calls, outcome) in [
        (&[GONE][..], Outcome::McpFailed),
        (&[FOUND, GONE, REFUSED, GONE], Outcome::McpFailed),
        (&[GONE, FOUND], Outcome::Success),
        (&[GONE, REFUSED], Outcome::Success),
    ] {
        let calls: String =
            calls.iter().enumerate().map(|(id, failure)| called(&id.to_string(), failure)).collect();
        let events = format!("{init}\n{calls}{SUCCESS}\n");
        let surroundings = Surroundings { needed_mcp_servers: &needed, ..ended(Ending::Code(0)) };
        let lost = report(&events, surroundings);
        assert_eq!(lost.outcome, outcome, "{events}");
        if outcome == Outcome::McpFailed {
            assert_eq!(lost.stage.unwrap().as_str(), "agent");
            assert_eq!(lost.error.as_deref(), Some("search ended during the run"));
        }
        let unneeded = report(&events, ended(Ending::Code(0)));
        assert_eq!(unneeded.outcome, Outcome::Success, "nobody needs it");
    }
}

/// P9
#[test]
fn a_usage_limit_is_told_from_an_overload_and_says_when_it_resets() {
    let limit = |status: &str| {
        format!(
            r#"{{"type":"rate_limit_event","rate_limit_info":{{"status":"{status}","resetsAt":1795000000,"rateLimitType":"five_hour"}}}}
{{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"You've hit your limit"}}
"#
        )
    };
    let rejected = report(&limit("rejected"), ended(Ending::Code(1)));
    assert_eq!(rejected.outcome, Outcome::UsageLimit);
    assert_eq!(rejected.resets_at.unwrap().as_second(), 1_795_000_000);
    let allowed = report(&limit("allowed"), ended(Ending::Code(1)));
    assert_eq!((allowed.outcome, allowed.resets_at), (Outcome::ApiUnavailable, None));
}

/// P9
#[test]
fn a_status_of_the_api_decides() {
    for (status, outcome) in [
        (400, Outcome::ApiError),
        (401, Outcome::LoginFailed),
        (403, Outcome::LoginFailed),
        (404, Outcome::ApiError),
        (429, Outcome::ApiUnavailable),
        (500, Outcome::ApiUnavailable),
        (502, Outcome::ApiUnavailable),
        (503, Outcome::ApiUnavailable),
        (529, Outcome::ApiUnavailable),
    ] {
        let events = format!(
            r#"{{"type":"result","subtype":"success","is_error":true,"api_error_status":{status},"result":"API Error"}}"#
        );
        assert_eq!(report(&events, ended(Ending::Code(1))).outcome, outcome, "{status}");
    }
}

#[test]
fn retries_that_helped_are_no_failure() {
    let events = format!(
        "{}\n{SUCCESS}",
        r#"{"type":"system","subtype":"api_retry","attempt":1,"error":"overloaded"}"#
    );
    let report = report(&events, ended(Ending::Code(0)));
    assert_eq!((report.outcome, report.api_retries), (Outcome::Success, 1));
}

/// P9
#[test]
fn no_result_is_a_failure_whatever_the_exit_code() {
    let init = r#"{"type":"system","subtype":"init","session_id":"s"}"#;
    for (events, ending, stderr, outcome) in [
        (init, Ending::Code(0), "", Outcome::NoResult),
        (init, Ending::Unknown, "", Outcome::NoResult),
        (init, Ending::Code(1), "boom", Outcome::NoResult),
        ("", Ending::Code(1), "error: unknown option '--frob'", Outcome::AgentFailed),
        ("", Ending::Code(0), "", Outcome::AgentFailed),
        ("", Ending::Code(1), "Not logged in", Outcome::LoginFailed),
        (init, Ending::Signal(9), "", Outcome::Interrupted),
        (init, Ending::Signal(11), "", Outcome::NoResult),
        (init, Ending::Code(143), "", Outcome::Interrupted),
        ("text\n{\"type\":", Ending::Code(0), "", Outcome::AgentFailed),
    ] {
        let report = report(events, Surroundings { ending, stderr, needed_mcp_servers: &[] });
        assert_eq!(report.outcome, outcome, "{events:?} {ending:?} {stderr:?}");
        assert!(report.error.unwrap().contains(stderr.trim_start_matches("error: ")));
    }
}

/// P9
#[test]
fn a_result_and_a_bad_exit_code_is_a_failure() {
    assert_eq!(report(SUCCESS, ended(Ending::Code(1))).outcome, Outcome::AgentFailed);
    assert_eq!(report(SUCCESS, ended(Ending::Signal(15))).outcome, Outcome::Interrupted);
    assert_eq!(report(SUCCESS, ended(Ending::Unknown)).outcome, Outcome::Success);
}

/// P9
#[test]
fn of_several_results_the_last_counts() {
    let failed = r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":500,"result":"API Error"}"#;
    assert_eq!(report(&format!("{failed}\n{SUCCESS}"), ended(Ending::Code(0))).outcome, Outcome::Success);
    assert_eq!(
        report(&format!("{SUCCESS}\n{failed}"), ended(Ending::Code(0))).outcome,
        Outcome::ApiUnavailable
    );
}

/// P9
#[test]
fn a_denial_in_a_subagent_is_its_stage_though_the_agent_recovered() {
    let events = [
        r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"a","name":"Agent","input":{"subagent_type":"writer"}}]}}"#,
        r#"{"type":"assistant","parent_tool_use_id":"a","message":{"content":[{"type":"tool_use","id":"b","name":"WebFetch","input":{}}]}}"#,
        r#"{"type":"system","subtype":"permission_denied","tool_name":"WebFetch","tool_use_id":"b"}"#,
        r#"{"type":"user","parent_tool_use_id":"a","message":{"content":[{"type":"tool_result","tool_use_id":"b","is_error":true,"content":"denied"}]}}"#,
        r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"a","content":"VERDICT: PASS"}]}}"#,
        SUCCESS,
    ]
    .join("\n");
    let report = report(&events, ended(Ending::Code(0)));
    assert_eq!((report.outcome, report.denials), (Outcome::ToolDenied, vec!["WebFetch".to_owned()]));
    assert_eq!(report.stage.unwrap().as_str(), "writer");
}

/// P9
#[test]
fn the_last_verdict_of_a_subagent_decides() {
    let call = |id: &str, verdict: &str| {
        format!(
            r#"{{"type":"assistant","message":{{"content":[{{"type":"tool_use","id":"{id}","name":"Agent","input":{{"subagent_type":"qa"}}}}]}}}}
{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"{id}","content":[{{"type":"text","text":"Seen.\nVERDICT: {verdict}"}}]}}]}}}}
"#
        )
        .replace("Seen.\nV", "Seen.\\nV")
    };
    let mended = format!("{}{}{SUCCESS}", call("1", "FAIL: no title"), call("2", "PASS"));
    assert_eq!(report(&mended, ended(Ending::Code(0))).outcome, Outcome::Success);
    let broken = report(
        &format!("{}{}{SUCCESS}", call("1", "PASS"), call("2", "FAIL: no title")),
        ended(Ending::Code(0)),
    );
    assert_eq!((broken.outcome, broken.error.as_deref()), (Outcome::Rejected, Some("no title")));
    let silent = call("2", "").replace("VERDICT: ", "");
    let still = format!("{}{silent}{SUCCESS}", call("1", "FAIL: no title"));
    assert_eq!(report(&still, ended(Ending::Code(0))).outcome, Outcome::Rejected);
    let own = SUCCESS.replace("Done.", "I tried. VERDICT?\\nVERDICT: FAIL: no topic");
    let own = report(&own, ended(Ending::Code(0)));
    assert_eq!((own.outcome, own.stage.unwrap().as_str()), (Outcome::Rejected, "agent"));
}

/// P9
#[test]
fn a_failure_has_the_stage_of_the_subagent_at_work() {
    let begun = transcript("sigterm");
    let failed = r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":529,"result":"API Error"}"#;
    let report = report(&format!("{begun}{failed}"), ended(Ending::Code(1)));
    assert_eq!((report.outcome, report.stage.unwrap().as_str()), (Outcome::ApiUnavailable, "qa"));
    assert!(report.subagents[0].failed, "its call never ended");
}

#[test]
fn the_report_has_the_runs_figures() {
    let report = report(&transcript("success"), ended(Ending::Code(0)));
    assert_eq!((report.turns, report.tool_calls, report.duration_ms), (3, 3, 655));
    assert_eq!(report.model.as_deref(), Some("claude-sonnet-4-5"));
    assert_eq!((report.tokens.input, report.tokens.output), (500, 60));
    assert!((report.cost_usd - 0.002_426_25).abs() < 1e-9);
    let qa = &report.subagents[0];
    assert_eq!(
        (qa.agent_type.as_str(), qa.description.as_deref(), qa.tool_calls),
        ("qa", Some("Check the page"), 1)
    );
    assert!(qa.verdict.as_ref().unwrap().pass);
    assert_eq!(report.result.as_deref(), Some("Done."));
}
