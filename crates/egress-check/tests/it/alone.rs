use serde_json::Value;
use std::process::{Command, Output, Stdio};

fn egress_check(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_egress-check"))
        .args(args)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("COLUMNS", "80")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// K8
#[test]
fn the_helps_examples_work_when_pasted() {
    let help = egress_check(&["--help"]);
    let (_, examples) = text(&help.stdout).split_once("\nExamples:\n").unwrap();
    let (examples, _) = examples.split_once("\n\nOn a cluster:\n").unwrap();
    let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_egress-check")).parent().unwrap();
    for (example, expected) in examples.lines().zip(["53", "refused"]) {
        let output = Command::new("/bin/sh")
            .args(["-c", example])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", binaries.display()))
            .output()
            .unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{example}");
        assert!(text(&output.stdout).contains(expected), "{example}: {output:?}");
    }
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let completions = egress_check(&["--completions", shell]);
        assert!(
            completions.status.success() && text(&completions.stdout).contains("service-account"),
            "{shell}"
        );
    }
}

/// K8
#[test]
fn the_policy_is_printed_for_the_name_servers_of_the_cluster() {
    let output = egress_check(&["policy", "--dns-namespace", "openshift-dns", "--dns-label", "dns=default"]);
    let policy: Value = serde_json::from_slice(&output.stdout).unwrap();
    let peer = &policy["spec"]["egress"][0]["to"][0];
    assert_eq!(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "openshift-dns");
    assert_eq!(peer["podSelector"]["matchLabels"]["dns"], "default");
}

/// K8
#[test]
fn a_reader_that_went_away_is_no_failure() {
    for args in [&["policy"][..], &["probe", "--connect", "here=127.0.0.1:1"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_egress-check"))
            .args(args)
            .env_clear()
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{args:?}");
    }
}

/// K8
#[test]
fn wrong_usage_says_why() {
    for (args, why) in [
        (&["probe"][..], "nothing to probe"),
        (&["probe", "--connect", "a=example.com:1"], "192.0.2.1:443"),
        (&["probe", "--api-server", "a"], "KUBERNETES_SERVICE_HOST is no address"),
        (&["run"], "no cluster is configured"),
        (&["run", "--pull-secret", "a"], "unexpected argument"),
        (&[], "Usage"),
    ] {
        let output = egress_check(args);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{args:?}");
        assert!(text(&output.stderr).contains(why), "{args:?}: {output:?}");
    }
}
