//! `check` and servers that are programs.

use crate::machine::Machine;
use serde_json::{Value, json};
use std::io::Read as _;

const HELLO: &str = r#"echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"fake","version":"1"}}}'"#;
const TOOL: &str = r#"echo '{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"one"}]}}'"#;

fn sh(script: &str) -> Value {
    json!({"command": "sh", "args": ["-c", script]})
}

/// A server in sh that answers as it should.
fn good() -> String {
    format!("read -r a; {HELLO}; read -r b; read -r c; {TOOL}; cat >/dev/null")
}

/// P4, P5, P13
#[test]
fn the_real_playwright_mcp_lists_its_tools() {
    let program = std::env::var("PRESSRUN_PLAYWRIGHT_MCP").unwrap_or_else(|_| "playwright-mcp".to_owned());
    let found = program.contains('/') && std::path::Path::new(&program).exists()
        || std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .any(|folder| folder.join(&program).exists());
    assert!(
        found,
        "{program} is not installed: npm install --global @playwright/mcp@0.0.83, or put its path into PRESSRUN_PLAYWRIGHT_MCP"
    );
    let mut machine = Machine::new();
    if program.contains('/') {
        machine = machine.with("PRESSRUN_PLAYWRIGHT_MCP", &program);
    }
    let config = machine.run(&["--agent", "publisher", "--pinned", "--artifacts", "shots"], "");
    assert_eq!((config.code, config.stderr.as_str()), (0, ""));
    let ended = machine.run(&["check", "--timeout", "30s"], &config.stdout);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let server = &report["servers"][0];
    assert_eq!((&server["name"], &server["ok"]), (&json!("playwright"), &json!(true)));
    let tools: Vec<&str> =
        server["tools"].as_array().unwrap().iter().map(|tool| tool.as_str().unwrap()).collect();
    for needed in ["browser_navigate", "browser_take_screenshot", "browser_snapshot"] {
        assert!(tools.contains(&needed), "{tools:?}");
    }
    assert!(server["startMs"].is_u64() && server["toolsMs"].is_u64());
    assert!(ended.stderr.starts_with("mcp-config: playwright: "), "{}", ended.stderr);
    assert_eq!(machine.left_running(), Vec::<String>::new());
}

/// P13
#[test]
fn a_server_that_works_is_reported_with_all_its_pages_of_tools() {
    let page = |id: u32, tool: &str, next: &str| {
        format!(
            r#"read -r x; echo '{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{{"name":"{tool}"}}]{next}}}}}'"#
        )
    };
    let script = format!(
        "read -r a; {HELLO}; read -r b; {}; {}; cat >/dev/null",
        page(1, "one", r#","nextCursor":"p2""#),
        page(2, "two", "")
    );
    let (code, server, stderr) = Machine::new().check(&sh(&script), &[]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(server["tools"], json!(["one", "two"]));
    assert_eq!(server["protocolVersion"], "2025-06-18");
    assert_eq!(server["serverInfo"], json!({"name": "fake", "version": "1"}));
    assert_eq!(server.get("error"), None);
}

#[test]
fn a_server_that_asks_back_is_answered() {
    let script = format!(
        r#"read -r a; echo '{{"jsonrpc":"2.0","id":"p","method":"ping"}}'; read -r pong
        case $pong in *'"id":"p"'*result*) ;; *) exit 9 ;; esac
        {HELLO}; read -r b; read -r c; echo '{{"jsonrpc":"2.0","method":"notifications/message"}}'; {TOOL}; cat >/dev/null"#
    );
    let (code, _, stderr) = Machine::new().check(&sh(&script), &[]);
    assert_eq!(code, 0, "{stderr}");
}

/// P9
#[test]
fn each_way_of_being_dead_has_its_own_error() {
    let old = HELLO.replace("2025-06-18", "1999-01-01");
    for (script, expected) in [
        ("exit 3".to_owned(), "it ended with exit code 3 before it answered initialize"),
        ("kill -9 $$".to_owned(), "it was killed by signal 9 before it answered initialize"),
        ("cat >/dev/null".to_owned(), "no answer to initialize within 300ms"),
        (
            "echo Listening on 3000; cat >/dev/null".to_owned(),
            "no answer to initialize within 2s; it wrote to stdout what is no message: 'Listening on 3000'",
        ),
        (
            r#"read -r a; echo '{"jsonrpc":"2.0","id":0,"error":{"code":-32603,"message":"no browser"}}'; cat >/dev/null"#
                .to_owned(),
            "it answered initialize with error -32603: no browser",
        ),
        (format!("read -r a; {old}; cat >/dev/null"), "it speaks version 1999-01-01 of the protocol, and the agent CLI"),
        (format!("read -r a; {HELLO}; cat >/dev/null"), "no answer to tools/list within 2s"),
        (format!("read -r a; {HELLO}; read -r b; exit 5"), "it ended with exit code 5 before it answered tools/list"),
        ("exec >&-; cat >/dev/null".to_owned(), "it closed its stdout before it answered initialize"),
    ] {
        // Short only where the time must run out; elsewhere a busy machine must not make it run out.
        let timeout = ["300ms", "2s"].into_iter().find(|time| expected.contains(&format!("within {time}"))).unwrap_or("60s");
        let (code, server, stderr) = Machine::new().check(&sh(&script), &["--timeout", timeout]);
        assert_eq!((code, &server["ok"]), (1, &json!(false)), "{script}");
        let error = server["error"].as_str().unwrap();
        assert!(error.starts_with(expected), "{script}: {error}");
        assert!(stderr.starts_with(&format!("mcp-config: s: {expected}")), "{stderr}");
    }
}

#[test]
fn a_program_that_is_not_there_is_a_dead_server() {
    let (code, server, _) = Machine::new().check(&json!({"command": "/nowhere/server"}), &[]);
    assert_eq!(code, 1);
    assert!(server["error"].as_str().unwrap().starts_with("/nowhere/server cannot be started"), "{server}");
}

#[test]
fn a_log_line_on_stdout_is_a_warning_where_the_server_works() {
    let (code, server, _) = Machine::new().check(&sh(&format!("echo Listening; {}", good())), &[]);
    assert_eq!(code, 0);
    assert_eq!(server["warning"], "it wrote to stdout what is no message: 'Listening'");
}

/// P6, P13
#[test]
fn stderr_of_a_dead_server_is_shown_without_secrets() {
    let machine =
        Machine::new().with("MY_TOKEN", "value-of-my-token").with("PLAIN_NAME", "value-of-plain-name");
    let server = json!({
        "command": "sh",
        "args": ["-c", "echo \"token $T and $P\" >&2; echo last >&2; exit 1"],
        "env": {"T": "${MY_TOKEN}", "P": "${PLAIN_NAME}"},
    });
    let (code, server, stderr) = machine.check(&server, &[]);
    assert_eq!(code, 1);
    let told = server["stderr"].as_str().unwrap();
    assert!(told.ends_with("\nlast") && stderr.ends_with("  | last\n"), "{told} {stderr}");
    for text in [told, &stderr] {
        assert!(text.contains("token [redacted:MY_TOKEN] and [redacted:PLAIN_NAME]"), "{text}");
        assert!(!text.contains("value-of"), "{text}");
    }
}

/// P4
#[test]
fn a_server_starts_with_what_the_agent_cli_would_give_it() {
    let machine = Machine::new()
        .with("MY_TOKEN", "value-of-my-token")
        .with("OTHER_TOKEN", "not-referred-to")
        .with("GITHUB_APP_PRIVATE_KEY_FILE", "/key")
        .with("CLAUDE_CODE_OAUTH_TOKEN", "login")
        .with("LANG", "C");
    let seen = machine.path("seen");
    let script = format!("env >\"$SEEN\"; echo \"$0 $1\" >>\"$SEEN\"; {}", good());
    let server = json!({
        "command": "sh",
        "args": ["-c", script, "<${MY_TOKEN}>", "${UNSET:-default}"],
        "env": {"SEEN": seen, "SET": "a${MY_TOKEN}b"},
    });
    let (code, _, stderr) = machine.check(&server, &[]);
    assert_eq!(code, 0, "{stderr}");
    let seen = std::fs::read_to_string(seen).unwrap();
    let has = |line: &str| seen.lines().any(|seen| seen == line);
    assert!(has("<value-of-my-token> default") && has("SET=avalue-of-my-tokenb") && has("LANG=C"), "{seen}");
    for secret in ["OTHER_TOKEN", "GITHUB_APP", "CLAUDE_CODE_OAUTH_TOKEN"] {
        assert!(!seen.contains(secret), "{secret}");
    }
}

/// P13
#[test]
fn nothing_is_left_of_a_server_that_ignores_every_request_to_end() {
    for script in [
        "trap '' TERM INT HUP; while :; do sleep 1000; done".to_owned(),
        format!("trap '' TERM; setsid sleep 1000 & sleep 1000 & {}", good()),
        "setsid sh -c 'setsid sleep 1000 & exec sleep 1000' & exit 0".to_owned(),
    ] {
        // `check` shows that nothing is left.
        Machine::new().check(&sh(&script), &["--timeout", "1s"]);
    }
}

/// P13
#[test]
fn a_signal_ends_the_check_and_every_server() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let machine = Machine::new();
        let up = machine.path("up");
        assert!(std::process::Command::new("mkfifo").arg(&up).status().unwrap().success());
        let script = format!("trap '' TERM; setsid sleep 1000 & echo up >'{}'; sleep 1000", up.display());
        let config = json!({"mcpServers": {"s": sh(&script)}}).to_string();
        let child = machine.spawn(&["check", "--timeout", "60s"], &config);
        // Blocks until the server is up.
        let mut word = String::new();
        std::fs::File::open(&up).unwrap().read_to_string(&mut word).unwrap();
        assert_eq!(word, "up\n");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.starts_with("mcp-config: stopped by SIG"), "{told}");
        assert_eq!(machine.left_running(), Vec::<String>::new());
    }
}

#[test]
fn servers_are_started_at_once_and_one_can_be_picked() {
    let machine = Machine::new();
    // Each waits for the other: one after the other would never end.
    let (a, b) = (machine.path("a"), machine.path("b"));
    for pipe in [&a, &b] {
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    let meet = |mine: &std::path::Path, theirs: &std::path::Path, first: bool| {
        let (tell, hear) =
            (format!("echo x >'{}'", mine.display()), format!("read -r w <'{}'", theirs.display()));
        let order = if first { format!("{tell}; {hear}") } else { format!("{hear}; {tell}") };
        sh(&format!("{order}; {}", good()))
    };
    let config =
        json!({"mcpServers": {"a": meet(&a, &b, true), "b": meet(&b, &a, false), "dead": sh("exit 1")}});
    let ended = machine.run(&["check"], &config.to_string());
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let ok: Vec<&Value> = report["servers"].as_array().unwrap().iter().map(|server| &server["ok"]).collect();
    assert_eq!((ended.code, ok), (1, vec![&json!(true), &json!(true), &json!(false)]), "{}", ended.stderr);

    let ended = machine.run(&["check", "--server", "a", "--server", "b"], &config.to_string());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let ended = machine.run(&["check", "--server", "c"], &config.to_string());
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("hint: it has: a, b, dead"), "{}", ended.stderr);
}
