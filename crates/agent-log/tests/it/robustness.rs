use crate::transcript;
use agent_log::stream::LINE_MAX;
use agent_log::{EventStream, Surroundings};
use agent_task::{AgentReport, Outcome, Secret};
use proptest::prelude::*;
use redact::Redactor;

const TOKEN: &str = "ghs_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0";

fn through(pieces: &[&[u8]]) -> (Vec<u8>, AgentReport) {
    let secret = Secret::new("hunter2-hunter2");
    let redactor = Redactor::new([("X", &secret)]);
    let mut stream = EventStream::new(&redactor, ());
    let mut out = Vec::new();
    for piece in pieces {
        stream.feed(piece, &mut out);
    }
    let report = stream.finish(Surroundings::default(), &mut out);
    (out, report)
}

/// A field of an event with any value: what is odd must neither panic nor cost the line.
fn odd_event() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "type",
        "subtype",
        "message",
        "result",
        "errors",
        "usage",
        "modelUsage",
        "mcp_servers",
        "is_error",
        "rate_limit_info",
        "permission_denials",
        "parent_tool_use_id",
        "session_id",
        "num_turns",
        "total_cost_usd",
        "tool_use_result",
        "api_error_status",
    ]);
    let kind = prop::sample::select(vec!["assistant", "user", "system", "result", "rate_limit_event", "odd"]);
    let value = prop::sample::select(vec![
        "null",
        "true",
        "-1",
        "1e999",
        "3.5",
        "\"\"",
        "\"init\"",
        "[]",
        "[null,1,\"x\",{}]",
        "{}",
        "{\"content\":7}",
        "{\"content\":[{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"Agent\",\"input\":[]}]}",
        "{\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"1\",\"content\":{}}]}",
        "18446744073709551616",
        "\"\\ud83d\"",
        "{\"resetsAt\":99999999999999999}",
    ]);
    prop_oneof![
        3 => (kind, prop::collection::vec((field, value), 0..4)).prop_map(|(kind, fields)| {
            let mut event = format!("{{\"type\":\"{kind}\"");
            for (name, value) in fields {
                event.push_str(&format!(",\"{name}\":{value}"));
            }
            event + "}"
        }),
        1 => "\\PC{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// P6
    #[test]
    fn how_the_bytes_are_cut_makes_no_difference(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let events = transcript("qa-failed").replace("echo built", &format!("echo {TOKEN} hunter2-hunter2"));
        let bytes = events.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut at = 0;
        let mut pieces = Vec::new();
        for cut in cuts {
            pieces.push(&bytes[at..cut]);
            at = cut;
        }
        let (out, report) = through(&pieces);
        prop_assert_eq!(&out, &through(&[bytes]).0);
        prop_assert_eq!(report.outcome, Outcome::Rejected);
        let out = String::from_utf8(out).unwrap();
        prop_assert!(!out.contains(TOKEN) && !out.contains("hunter2"));
        prop_assert!(out.contains("[redacted:github-token] [redacted:X]"));
    }

    /// P6
    #[test]
    fn odd_events_never_panic_and_only_json_comes_out(lines in prop::collection::vec(odd_event(), 0..12)) {
        let (out, report) = through(&[lines.join("\n").as_bytes()]);
        let out = String::from_utf8(out).unwrap();
        for line in out.lines() {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok(), "{}", line);
        }
        let given = lines.iter().flat_map(|line| line.split('\n')).filter(|line| !line.trim_ascii().is_empty()).count();
        prop_assert_eq!(out.lines().count() as u64 + report.malformed_lines, given as u64);
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        through(&[&bytes]);
    }
}

/// P6
#[test]
fn an_event_that_is_too_long_passes_redacted_and_its_beginning_is_read() {
    let mut event =
        br#"{"type":"result","subtype":"success","is_error":false,"num_turns":7,"result":""#.to_vec();
    event.resize(LINE_MAX - 20, b'x');
    event.extend_from_slice(TOKEN.as_bytes());
    event.resize(LINE_MAX + 100_000, b' ');
    event.extend_from_slice(b"hunter2-hunter2\"}");
    let mut bytes = event;
    bytes.extend_from_slice(b"\n{\"type\":\"odd\"}\n");
    let pieces: Vec<&[u8]> = bytes.chunks(65_536).collect();
    let (out, report) = through(&pieces);
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines.len(), lines[1]), (2, "{\"type\":\"odd\"}"));
    assert!(lines[0].contains("[redacted:github-token]") && lines[0].ends_with("[redacted:X]\"}"));
    assert!(!out.contains("ghs_"));
    assert!(serde_json::from_str::<serde::de::IgnoredAny>(lines[0]).is_ok());
    assert_eq!((report.outcome, report.turns), (Outcome::Success, 7));
}

#[test]
fn a_long_line_that_is_no_event_is_dropped() {
    let mut bytes = vec![b'x'; LINE_MAX + 10];
    bytes.extend_from_slice(b"\n{\"type\":\"odd\"}\n");
    let pieces: Vec<&[u8]> = bytes.chunks(1 << 20).collect();
    let (out, report) = through(&pieces);
    assert_eq!((out.as_slice(), report.malformed_lines), (&b"{\"type\":\"odd\"}\n"[..], 1));
}

/// JavaScript writes a character that was cut in half as one half of its escape.
///
/// P9
#[test]
fn half_a_character_costs_neither_the_result_nor_a_verdict() {
    let events = [
        r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"a","name":"Agent","input":{"subagent_type":"qa"}}]}}"#,
        r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"cut \ud83d\nVERDICT: FAIL: no \ud83d\ude00"}]}]}}"#,
        r#"{"type":"result","subtype":"success","is_error":false,"result":"\\ud83d \udc00 cut \ud83d"}"#,
    ]
    .join("\n");
    let (out, report) = through(&[events.as_bytes()]);
    assert_eq!(String::from_utf8(out).unwrap().trim_end(), events);
    assert_eq!(report.result.as_deref(), Some("\\ud83d \u{fffd} cut \u{fffd}"));
    assert_eq!((report.outcome, report.error.as_deref()), (Outcome::Rejected, Some("no \u{1f600}")));
}

/// P6
#[test]
fn what_is_not_utf8_comes_out_as_utf8() {
    let (out, report) = through(&[b"{\"type\":\"odd\",\"x\":\"\xff\"}\r\n"]);
    assert_eq!(String::from_utf8(out).unwrap(), "{\"type\":\"odd\",\"x\":\"\u{fffd}\"}\n");
    assert_eq!(report.malformed_lines, 0);
}

/// P6
#[test]
fn a_list_is_no_event() {
    let (out, report) = through(&[b"[\"result\",\"success\"]\n[1]\n"]);
    assert_eq!((out.len(), report.malformed_lines), (0, 2));
}
