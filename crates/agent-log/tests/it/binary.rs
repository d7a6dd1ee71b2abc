use crate::{fixture, transcript};
use agent_task::{AgentReport, Outcome};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Output, Stdio};

const SECRET: &str = "s3cret-value-of-a-variable";

fn agent_log(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-log"));
    command.args(arguments).env_clear().env("MY_TOKEN", SECRET).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = agent_log(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || _ = stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn last_report(output: &Output) -> AgentReport {
    serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap()
}

/// P6
#[test]
fn events_come_out_as_they_are_then_the_report_and_progress_for_people() {
    let events = transcript("qa-failed");
    let output = run(&[], &events);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with(&events));
    assert_eq!(stdout[events.len()..].lines().count(), 1);
    assert_eq!(last_report(&output).outcome, Outcome::Rejected);
    let stderr = text(&output.stderr);
    for line in [
        "agent › Write post.md",
        "qa started: Check the page",
        "qa › Bash echo built",
        "qa ended: FAIL /post",
    ] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
    assert!(!stderr.contains('\x1b'), "{stderr}");
}

/// P6
#[test]
fn secrets_are_in_neither_output() {
    let events =
        transcript("success").replace("echo built", &format!("echo {SECRET}")).replace("Done.", SECRET);
    for arguments in [&[][..], &["--summary", "-"]] {
        let output = run(arguments, &events);
        assert!(!text(&output.stdout).contains(SECRET) && !text(&output.stderr).contains(SECRET));
        assert_eq!(last_report(&output).result.as_deref(), Some("[redacted:MY_TOKEN]"));
    }
}

/// P6
#[test]
fn each_line_comes_out_before_the_next_goes_in() {
    let mut child = agent_log(&[]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for event in transcript("success").lines() {
        writeln!(stdin, "{event}").unwrap();
        let mut line = String::new();
        // Would wait for ever if the line were held back.
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), event);
    }
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("{\"kind\":\"AgentReport\""), "{rest}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_exit_code_tells_the_outcome_where_it_is_asked_for() {
    for (name, code) in [("success", 0), ("qa-failed", 1)] {
        assert_eq!(run(&["--exit-code"], &transcript(name)).status.code(), Some(code), "{name}");
        assert_eq!(run(&[], &transcript(name)).status.code(), Some(0), "{name}");
    }
}

#[test]
fn a_needed_server_is_asked_for() {
    let output = run(&["--needs-mcp", "gone"], &transcript("mcp-failed"));
    assert_eq!(last_report(&output).outcome, Outcome::McpFailed);
}

#[test]
fn a_summary_is_the_report_alone() {
    let path = fixture("qa-failed");
    let output = agent_log(&["--summary", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert_eq!(last_report(&output).outcome, Outcome::Rejected);
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("✗ rejected") && stderr.contains("/post shows 404"), "{stderr}");
    let quiet = agent_log(&["--quiet", "--summary", path.to_str().unwrap()]).output().unwrap();
    assert_eq!((quiet.stdout, text(&quiet.stderr)), (output.stdout, ""));
}

#[test]
fn a_summary_takes_the_report_that_the_transcript_ends_with() {
    let written = run(&["--needs-mcp", "gone"], &transcript("mcp-failed"));
    let again = run(&["--summary", "-"], text(&written.stdout));
    assert_eq!(last_report(&again), last_report(&written));
    let report = text(&written.stdout).lines().last().unwrap();
    let record = format!(
        "{}\n{{\"kind\":\"RunRecord\",\"run\":\"r\",\"report\":{report}}}\n",
        transcript("mcp-failed")
    );
    assert_eq!(last_report(&run(&["--summary", "-"], &record)), last_report(&written));
}

#[test]
fn nothing_on_stdin_is_a_usage_error() {
    for input in ["", " \n\n"] {
        let output = run(&[], input);
        assert_eq!(output.status.code(), Some(2), "{input:?}");
        assert!(text(&output.stderr).contains("stdin, which is empty"), "{output:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_transcript_that_is_not_there_is_named() {
    let output = agent_log(&["--summary", "/nowhere/run.jsonl"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nowhere/run.jsonl"), "{output:?}");
}

#[test]
fn input_that_holds_no_event_is_a_run_without_a_result() {
    let output = run(&[], "Segmentation fault\n");
    assert_eq!(output.status.code(), Some(0));
    let report = last_report(&output);
    assert_eq!((report.outcome, report.malformed_lines), (Outcome::NoResult, 1));
    assert_eq!(text(&output.stdout).lines().count(), 1, "only the report");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = agent_log(&["--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(transcript("success").as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn the_helps_example_works_and_completions_are_there() {
    let help = agent_log(&["--help"]).output().unwrap();
    let example =
        text(&help.stdout).lines().find(|line| line.trim_start().starts_with("echo ")).unwrap().trim();
    let directory = std::path::Path::new(env!("CARGO_BIN_EXE_agent-log")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.display());
    let pasted =
        Command::new("/bin/sh").args(["-c", example]).env_clear().env("PATH", path).output().unwrap();
    assert_eq!(last_report(&pasted).outcome, Outcome::Success, "{pasted:?}");
    let completions = agent_log(&["--completions", "bash"]).output().unwrap();
    assert!(text(&completions.stdout).contains("--needs-mcp"));
}

/// P6
#[test]
fn the_live_view_is_gone_when_the_run_has_ended() {
    let output = run(&["--progress", "live"], &transcript("qa-failed"));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("\x1b[?2026h"), "{stderr}");
    assert!(stderr.contains("▶ qa  Check the page") && stderr.contains("✓ Bash echo built"), "{stderr}");
    // What is left on the screen begins where the block was cleared for the last time.
    let (_, left) = stderr.rsplit_once("\x1b[J").unwrap();
    assert!(left.starts_with("✗ rejected") && !left.contains('\x1b'), "{left}");
}

/// The most memory that the process has had, in KiB.
fn memory_at_most(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    high.unwrap().parse().unwrap()
}

/// P6
#[test]
fn memory_does_not_grow_with_the_transcript() {
    const EVENTS: usize = 500;
    let shown = format!("{SECRET} and {}", "a line of a tool's answer\\n".repeat(4000));
    let event = format!(
        r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"a","content":"{shown}"}}]}}}}"#
    );
    let mut child = agent_log(&["--quiet"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        for _ in 0..EVENTS {
            stdin.write_all(event.as_bytes()).unwrap();
            stdin.write_all(b"\n").unwrap();
        }
        // The process stays until it has been looked at.
        let _ = ended.recv();
    });
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = Vec::new();
    let mut after = |events| {
        for _ in 0..events {
            line.clear();
            assert!(stdout.read_until(b'\n', &mut line).unwrap() > 100_000);
            assert!(!line.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
        }
        memory_at_most(child.id())
    };
    let early = after(EVENTS / 10);
    let late = after(EVENTS - EVENTS / 10);
    assert!(late < early + 1024, "{early} KiB after a tenth, {late} KiB after all");
    end.send(()).unwrap();
    writer.join().unwrap();
    child.wait_with_output().unwrap();
}
