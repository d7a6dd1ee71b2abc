use crate::process::{open_pr, shell};
use serde_json::{Value, json};

fn record(outcome: &str) -> Value {
    json!({
        "kind": "RunRecord", "run": "publisher-1-3fa9c1", "agent": "publisher", "prompt": "A post", "outcome": outcome,
        "base": "main", "startedAt": "2026-11-22T22:00:00Z",
    })
}

#[test]
fn the_help_has_an_example_that_works_when_pasted() {
    let help = open_pr().env("COLUMNS", "80").args(&["--help"]).run("");
    assert_eq!(help.code, Some(0));
    let (_, example) = help.stdout.split_once("\nExample:\n").unwrap();
    let ended = shell(example).run("");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{example}");
    let plan = ended.document();
    assert_eq!((&plan["kind"], &plan["title"]), (&json!("PullRequestPlan"), &json!("A post about X")));
}

#[test]
fn completions_name_its_options() {
    let ended = open_pr().args(&["--completions", "zsh"]).run("");
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("--draft"));
}

#[test]
fn empty_and_wrong_stdin_are_wrong_usage() {
    for stdin in ["", "\n", "{}", "text", "{\"kind\":\"AgentReport\",\"outcome\":\"success\"}"] {
        let ended = open_pr().run(stdin);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{stdin:?}");
        assert!(ended.stderr.contains("a run record"), "{}", ended.stderr);
        assert!(ended.stderr.contains("hint: as in: branch-run push"), "{}", ended.stderr);
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let ended = open_pr().run_unread(&record("push-failed").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("went away"), "{}", ended.stderr);
}

#[test]
fn a_run_with_nothing_to_open_goes_on_as_it_came() {
    for (outcome, why) in [
        ("no-change", "open-pr: the run changed nothing: there is no pull request to open\n"),
        (
            "push-refused",
            "open-pr: the run ended with push-refused before its branch was pushed: there is no pull request to open\n",
        ),
    ] {
        let ended = open_pr().run(record(outcome).to_string());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), why));
        let passed_on = ended.document();
        for (name, value) in record(outcome).as_object().unwrap() {
            assert_eq!(&passed_on[name], value, "{name}");
        }
        assert_eq!(passed_on.get("pullRequest"), None);
    }
}

#[test]
fn a_success_that_is_not_pushed_is_wrong_usage() {
    let ended = open_pr().run(record("success").to_string());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(
        ended.stderr.contains("hint: as in: branch-run push < record.json | open-pr"),
        "{}",
        ended.stderr
    );
}
