use crate::process::{notify, shell};
use crate::records::{delivered, lines, rejected};

#[test]
fn the_help_has_an_example_that_works_when_pasted() {
    let help = notify().env("COLUMNS", "80").args(&["--help"]).run("");
    assert_eq!(help.code, Some(0));
    let (_, example) = help.stdout.split_once("\nExample:\n").unwrap();
    let ended = shell(example).run("");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{example}");
    assert_eq!(
        ended.lines()[0]["content"],
        "Publisher FAILED: \"A post about X\"\nStage: qa\nError: the page has no title\n\
         Branch: agent/publisher-1790635538 (preserved for debugging)"
    );
}

#[test]
fn completions_name_its_options() {
    let ended = notify().args(&["--completions", "bash"]).run("");
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("--once-file"));
}

#[test]
fn empty_and_wrong_stdin_are_wrong_usage() {
    for stdin in ["", "\n", "{}", "[]", "{\"kind\":\"AgentReport\",\"outcome\":\"success\"}"] {
        let ended = notify().run(stdin);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{stdin:?}");
        assert!(ended.stderr.contains("a run record"), "{}", ended.stderr);
        assert!(ended.stderr.contains("hint: as in: notify-discord < record.json"), "{}", ended.stderr);
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let ended = notify().args(&["--dry-run"]).run_unread(&delivered("A post").to_string());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

/// P8
#[test]
fn a_dry_run_shows_every_message_and_needs_no_credentials() {
    let records = lines(&[delivered("A post"), rejected("A post", "no title")]);
    let ended = notify().args(&["--dry-run", "--plain"]).run(&records);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let contents: Vec<_> = ended.lines().into_iter().map(|message| message["content"].clone()).collect();
    assert_eq!(
        contents,
        [
            "Publisher completed: \"A post\"\nPR: https://github.com/octo/blog/pull/7\n\
             Branch: agent/publisher-1790635538",
            "Publisher FAILED: \"A post\"\nStage: qa\nError: no title\n\
             Branch: agent/publisher-1790635539 (preserved for debugging)",
        ]
    );
}

#[test]
fn without_credentials_it_says_what_is_missing_and_what_was_not_sent() {
    let ended = notify().run(delivered("A post").to_string());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""));
    assert_eq!(
        ended.stderr,
        "notify-discord: not sent:\nPublisher completed: \"A post\"\nPR: https://github.com/octo/blog/pull/7\n\
         Branch: agent/publisher-1790635538\n\
         notify-discord: neither DISCORD_WEBHOOK_URL nor DISCORD_BOT_TOKEN is set\n\
         hint: create a webhook in the channel's settings (Integrations) and set DISCORD_WEBHOOK_URL\n"
    );
}

#[test]
fn a_webhook_that_is_set_twice_is_wrong_usage() {
    let ended = notify()
        .env("DISCORD_WEBHOOK_URL", "https://discord.com/api/webhooks/1/s3cret")
        .env("DISCORD_WEBHOOK_URL_FILE", "/nowhere")
        .run(delivered("A post").to_string());
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("are both set"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("s3cret"));
}
