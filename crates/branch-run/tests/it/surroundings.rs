use crate::place::{Place, Ran, finished, started};
use agent_task::Outcome;
use std::process::Command;

fn refused(ran: &Ran, saying: &str) {
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains(saying), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

/// P1
#[test]
fn nothing_begins_where_a_run_could_not_end_well() {
    let place = Place::new();
    refused(&place.run(&["--base", "trunk"], "true"), "no branch 'trunk'");
    let missing = Ran::of(place.program().args(["--", "no-such-command"]).output().unwrap());
    refused(&missing, "no command 'no-such-command'");
    let outside = Ran::of(place.run_with(&[], "true").current_dir(place.path("home")).output().unwrap());
    refused(&outside, "in no git repository");
    refused(&place.run(&["--record", "record.json"], "true"), "would be committed");
    refused(&place.run(&["--branch", "main"], "true"), "'main' is no name");
    place.write("draft.md", "mine\n");
    refused(&place.run(&[], "true"), "uncommitted changes: draft.md");
    assert_eq!(place.git(["branch", "--format=%(refname:short)"]), "main");
}

#[test]
fn a_merge_in_progress_and_an_unborn_branch_are_refused() {
    let place = Place::new();
    place.git(["switch", "--quiet", "--create", "side"]);
    place.git(["commit", "--quiet", "--allow-empty", "--message=side"]);
    place.git(["switch", "--quiet", "main"]);
    place.git(["merge", "--quiet", "--no-ff", "--no-commit", "side"]);
    refused(&place.run(&[], "true"), "a merge is in progress");
    place.git(["merge", "--abort"]);
    place.git(["switch", "--quiet", "--orphan", "empty"]);
    refused(&place.run(&[], "true"), "has no commit");
}

#[test]
fn a_branch_that_is_in_the_way_is_told_before_anything_happens() {
    let place = Place::new();
    place.git(["branch", "agent"]);
    refused(&place.run(&[], "true"), "the run's branch could not be made");
    assert_eq!(place.branch(), "main");
}

#[test]
fn the_base_may_be_known_from_origin_alone() {
    let place = Place::new();
    place.git(["update-ref", "refs/remotes/origin/trunk", "HEAD"]);
    assert_eq!(place.run(&["--base", "trunk"], "true").code, Some(0));
}

#[test]
fn one_run_at_a_time_in_a_clone() {
    let place = Place::new();
    let gate = place.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let first = started(&mut place.run_with(&[], &format!("echo ready; cat {}", gate.display())), "ready");
    let second = place.run(&[], "true");
    assert_eq!(second.code, Some(3));
    assert!(
        second.stderr.contains(&format!("(pid {}) is at work in this clone", first.0.id())),
        "{}",
        second.stderr
    );
    std::fs::write(&gate, "").unwrap();
    assert_eq!(finished(first).code, Some(0));
    assert_eq!(place.run(&[], "true").code, Some(0));
}

/// P3
#[test]
fn the_command_gets_no_credential_but_its_own() {
    let place = Place::new();
    std::fs::write(place.path("login"), "sk-ant-oat01-from-a-file\n").unwrap();
    let config = place.path("mcp.json");
    std::fs::write(&config, r#"{"mcpServers":{"d":{"command":"x","env":{"T":"${DISCORD_BOT_TOKEN}"}}}}"#)
        .unwrap();
    let seen = place.path("seen");
    let output = place
        .run_with(
            &["--mcp-config", config.to_str().unwrap(), "--pass-env", "SITE_URL"],
            &format!("env >{}; ls -A \"$TMPDIR\"", seen.display()),
        )
        .envs([
            ("ANTHROPIC_API_KEY", "a"),
            ("ANTHROPIC_AUTH_TOKEN", "a"),
            ("ANTHROPIC_BASE_URL", "http://evil"),
            ("CLAUDE_CODE_OAUTH_TOKEN_FILE", place.path("login").to_str().unwrap()),
            ("DISCORD_BOT_TOKEN", "named-by-the-configuration"),
            ("DISCORD_WEBHOOK_URL", "https://discord.com/api/webhooks/1/x"),
            ("GITHUB_TOKEN", "ghs_x"),
            ("GITHUB_APP_PRIVATE_KEY", "x"),
            ("SITE_URL", "http://site"),
            ("HTTPS_PROXY", "http://proxy"),
        ])
        .output()
        .unwrap();
    let ran = Ran::of(output);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let seen = std::fs::read_to_string(seen).unwrap();
    let has = |line: &str| seen.lines().any(|found| found == line);
    for name in ["ANTHROPIC_", "GITHUB_", "DISCORD_WEBHOOK_URL", "CLAUDE_CODE_OAUTH_TOKEN_FILE"] {
        assert!(!seen.contains(name), "{name}");
    }
    assert!(has("CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-from-a-file"));
    assert!(has("DISCORD_BOT_TOKEN=named-by-the-configuration"));
    assert!(has("SITE_URL=http://site") && has("HTTPS_PROXY=http://proxy"));
    assert!(has("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS=1") && has("GIT_TERMINAL_PROMPT=0"));
    assert!(has(&format!("PRESSRUN_RUN_ID={}", ran.record().run)));
    let temporary = seen.lines().find_map(|line| line.strip_prefix("TMPDIR=")).unwrap();
    assert!(!std::path::Path::new(temporary).exists(), "it goes with the run");
}

/// P3
#[test]
fn what_is_never_handed_on_cannot_be_asked_for() {
    let place = Place::new();
    let ran = place.run(&["--pass-env", "ANTHROPIC_BASE_URL"], "true");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("ANTHROPIC_BASE_URL is never handed on"));
}

/// P6
#[test]
fn events_go_to_stdout_and_the_transcript_redacted() {
    let place = Place::new();
    let transcript = place.path("transcript.jsonl");
    let script = r#"echo '{"type":"system","note":"token hunter2-hunter2"}'
        echo 'password hunter2-hunter2' >&2
        echo '{"type":"result","subtype":"success","is_error":false,"result":"Done","num_turns":3,"session_id":"s"}'"#;
    let output = place
        .run_with(&["--events", "stream-json", "--transcript", transcript.to_str().unwrap()], script)
        .env("MY_PASSWORD", "hunter2-hunter2")
        .output()
        .unwrap();
    let ran = Ran::of(output);
    assert!(ran.stdout.contains("[redacted:MY_PASSWORD]"), "{}", ran.stdout);
    assert!(ran.stderr.contains("password [redacted:MY_PASSWORD]"), "{}", ran.stderr);
    let kept = std::fs::read_to_string(&transcript).unwrap();
    assert_eq!(kept.lines().count(), 2);
    assert!(ran.stdout.starts_with(&kept));
    assert!(!format!("{}{}{kept}", ran.stdout, ran.stderr).contains("hunter2"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&transcript.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let report = ran.record().report.unwrap();
    assert_eq!((report.turns, report.result.as_deref()), (3, Some("Done")));
}

/// P6: as `base64` prints it, in lines of which none has the whole.
#[test]
fn base64_in_lines_is_redacted_on_stderr_and_in_the_transcript() {
    let place = Place::new();
    let transcript = place.path("transcript");
    let secret = "correct-horse-battery-staple-".repeat(4);
    let script = format!("printf %s 'the login of today {secret}' | base64");
    let printed = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
    let options = ["--transcript", transcript.to_str().unwrap()];
    let output = place
        .run_with(
            &options,
            &format!("{script} | while read -r line; do echo $line | tee /dev/stderr; done; echo done"),
        )
        .env("MY_PASSWORD", &secret)
        .output()
        .unwrap();
    let ran = Ran::of(output);
    let kept = std::fs::read_to_string(&transcript).unwrap();
    assert!(kept.contains("[redacted:MY_PASSWORD]") && kept.ends_with("done\n"), "{kept}");
    // The first line's end, a line, and a rest.
    for line in String::from_utf8(printed).unwrap().lines() {
        let end = &line[line.len().saturating_sub(40)..];
        assert!(!kept.contains(end) && !ran.stderr.contains(end), "{end} in {kept}{}", ran.stderr);
    }
}

/// P6
#[test]
fn text_of_a_plain_command_is_live_on_stderr() {
    let place = Place::new();
    let gate = place.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    // `started` comes back only if the line is out while the command still runs.
    let run =
        started(&mut place.run_with(&[], &format!("echo building; cat {}", gate.display())), "building");
    std::fs::write(&gate, "").unwrap();
    let ran = finished(run);
    assert_eq!(ran.stdout.lines().count(), 1, "the record alone");
}

#[test]
fn a_dry_run_changes_nothing_and_shows_no_value() {
    let place = Place::new();
    let output = place
        .run_with(&["--dry-run"], "touch x")
        .env("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-secret")
        .output()
        .unwrap();
    let ran = Ran::of(output);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("\"RunPlan\"") && ran.stdout.contains("CLAUDE_CODE_OAUTH_TOKEN"));
    assert!(!ran.stdout.contains("sk-ant"));
    assert_eq!(place.git(["branch", "--format=%(refname:short)"]), "main");
    assert!(place.is_clean());
}

#[test]
fn commits_have_an_author_where_git_knows_none() {
    let place = Place::new();
    place.git(["config", "--unset", "user.name"]);
    place.git(["config", "--unset", "user.email"]);
    let script = "git commit --quiet --allow-empty -m own && touch left";
    let head = place.run(&[], script).record().head.unwrap();
    let authors = place.git(["log", "--format=%an <%ae>", "-2", &head]);
    let nobody = "pressrun <pressrun@users.noreply.github.com>";
    assert_eq!(authors, format!("{nobody}\n{nobody}"));
    let head = place.run(&["--author", "Bot <bot@example.org>"], script).record().head.unwrap();
    assert_eq!(
        place.git(["log", "--format=%an <%ae>", "-2", &head]),
        "Bot <bot@example.org>\nBot <bot@example.org>"
    );
}

/// P3: nothing of a process's memory is dumped, ours or the command's, though the caller wants core dumps.
#[test]
fn no_memory_is_dumped() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_branch-run");
    let script = r#"grep "core file" /proc/self/limits /proc/$PPID/limits >limits
        kill -SEGV $$"#;
    let mut run = place.hermetic("sh");
    run.args(["-c", r#"ulimit -S -c unlimited; exec "$@""#, "sh", program, "--"]).args(["sh", "-c", script]);
    let ran = Ran::of(run.output().unwrap());
    let record = ran.record();
    assert_eq!(record.outcome, Outcome::AgentFailed, "{}", ran.stderr);
    let files: Vec<_> = record.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["limits"], "no core beside it");
    let branch = record.branch.unwrap();
    let limits = place.git(["show", &format!("{branch}:limits")]);
    for line in limits.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().rev().take(3).collect();
        assert_eq!(words, ["bytes", "1", "1"], "not for a pipe either: {line}");
    }
    assert_eq!(limits.lines().count(), 2);
}
