//! Help, completions, wrong input, and readers that go away.

use crate::machine::Machine;

/// P13
#[test]
fn wrong_input_is_a_usage_error_with_an_example() {
    let machine = Machine::new();
    for args in [&["check"][..], &["env"], &["--agent", "a", "--overlay", "-"]] {
        for (input, expected) in [
            ("", "which is empty"),
            (" \n", "which is empty"),
            ("{", "which is not JSON"),
            ("{} {}", "which is not JSON"),
            ("[]", "it is a list, not an object"),
            ("{\"servers\":{}}", "field 'servers': unknown"),
        ] {
            let ended = machine.run(args, input);
            assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{args:?} {input}");
            assert!(ended.stderr.contains(expected), "{args:?} {input}: {}", ended.stderr);
        }
    }
    for args in [&[][..], &["--agent", ""], &["--agent", "a b"], &["--agent", "a", "--overlay", "none.json"]]
    {
        assert_eq!(machine.run(args, "").code, 2, "{args:?}");
    }
}

#[test]
fn the_helps_examples_work_when_pasted() {
    let machine = Machine::new();
    let help = machine.run(&["--help"], "");
    assert_eq!(help.code, 0);
    let examples: Vec<&str> = help
        .stdout
        .lines()
        .map(str::trim)
        .filter(|line| line.contains("| mcp-config ") || line.starts_with("mcp-config --"))
        .collect();
    assert!(examples.len() >= 3, "{}", help.stdout);
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_mcp-config")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    // The publisher's own needs the browser's server, which another test starts.
    for example in examples.into_iter().filter(|example| !example.contains("publisher")) {
        let mut command = std::process::Command::new("sh");
        let output = command
            .args(["-c", example])
            .env_clear()
            .env("PATH", &path)
            .current_dir(machine.home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn completions_are_printed_and_a_reader_that_goes_away_is_no_failure() {
    let machine = Machine::new();
    assert!(machine.run(&["--completions", "bash"], "").stdout.contains("mcp-config"));
    for args in [&["--agent", "writer"][..], &["env"]] {
        let mut child = machine.command(args).spawn().unwrap();
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().unwrap();
        let _ = std::io::Write::write_all(&mut stdin, b"{\"mcpServers\":{}}");
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}");
    }
}
