use crate::place::{Place, Ran};
use std::io::Write as _;
use std::process::Stdio;

fn with_input(place: &Place, arguments: &[&str], input: &str) -> Ran {
    let mut child = place
        .program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have refused its arguments and gone.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Ran::of(child.wait_with_output().unwrap())
}

#[test]
fn help_shows_an_example() {
    let place = Place::new();
    for step in [&["--help"][..], &["push", "--help"], &["fail", "--help"]] {
        let ran = Ran::of(place.program().args(step).output().unwrap());
        assert_eq!(ran.code, Some(0));
        assert!(ran.stdout.contains("Example"), "{}", ran.stdout);
    }
}

#[test]
fn the_example_of_the_help_works() {
    let place = Place::new();
    let help = Ran::of(place.program().arg("--help").output().unwrap()).stdout;
    let example = help.lines().find_map(|line| line.trim().strip_prefix("branch-run --agent")).unwrap();
    let script = format!("{} --agent{example}", env!("CARGO_BIN_EXE_branch-run"));
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.work())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", place.path("home"))
        .output()
        .unwrap();
    let ran = Ran::of(output);
    assert_eq!((ran.code, ran.record().commits), (Some(0), 1), "{}", ran.stderr);
}

#[test]
fn completions_are_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = Ran::of(place.program().args(["--completions", shell]).output().unwrap());
        assert_eq!(ran.code, Some(0));
        assert!(ran.stdout.contains("branch-run"));
    }
}

#[test]
fn empty_and_wrong_input_are_usage_errors() {
    let place = Place::new();
    let push: &[&str] = &["push", "--repo", "octo/blog"];
    let fail: &[&str] = &["fail", "--stage", "push", "--outcome", "push-failed", "--error", "x"];
    for step in [push, fail] {
        for input in ["", "{", r#"{"kind":"AgentReport"}"#] {
            let ran = with_input(&place, step, input);
            assert_eq!(ran.code, Some(2), "{step:?} {input:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("a run record") && ran.stderr.contains("hint: as in: branch-run"));
            assert_eq!(ran.stdout, "");
        }
    }
}

#[test]
fn a_reader_that_went_away_does_not_end_the_run() {
    let place = Place::new();
    let mut child = place
        .run_with(
            &["--events", "stream-json"],
            r#"echo '{"type":"system"}'; echo '{"type":"system"}'; echo x >new"#,
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(place.is_clean());
    assert_eq!(
        place.git(["log", "--format=%s", "-1", "--all", "--", "new"]),
        "writer: work that was left uncommitted"
    );
}

/// P9
#[test]
fn a_failure_is_added_to_a_record_or_makes_one() {
    let place = Place::new();
    let made = with_input(
        &place,
        &[
            "fail",
            "--agent",
            "qa",
            "--prompt",
            "--odd",
            "--stage",
            "mcp-start",
            "--outcome",
            "mcp-failed",
            "--error",
            "no browser",
        ],
        "",
    );
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let record = made.record();
    assert_eq!((record.agent.as_str(), record.prompt.as_str()), ("qa", "--odd"));
    assert_eq!(record.outcome.to_string(), "mcp-failed");
    assert_eq!(record.stage.unwrap().as_str(), "mcp-start");

    std::fs::write(place.path("log"), "first\nno key\n").unwrap();
    let log = place.path("log");
    let file = place.path("out.json");
    let arguments = [
        "fail",
        "--stage",
        "token",
        "--outcome",
        "token-failed",
        "--error-file",
        log.to_str().unwrap(),
        "--record",
        file.to_str().unwrap(),
    ];
    let again = with_input(&place, &arguments, &made.stdout);
    assert_eq!(again.record().error.as_deref(), Some("no browser; then: first\nno key"));
    assert_eq!(std::fs::read_to_string(file).unwrap(), again.stdout);
}

#[test]
fn a_success_is_no_failure() {
    let place = Place::new();
    let ran = with_input(&place, &["fail", "--stage", "x", "--outcome", "success", "--error", "x"], "");
    assert_eq!(ran.code, Some(2));
}
