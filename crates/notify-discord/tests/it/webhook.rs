use crate::process::{notify, shell, to_webhook};
use crate::records::{delivered, lines, rejected};
use sandbox::Sandbox;
use serde_json::json;

/// P8
#[test]
fn a_success_reaches_the_channel_with_words_and_figures() {
    let sandbox = Sandbox::start().unwrap();
    let ended = to_webhook(&sandbox).run(delivered("A post about X").to_string());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));

    let messages = sandbox.discord().messages();
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(
        message.content,
        "Publisher completed: \"A post about X\"\nPR: https://github.com/octo/blog/pull/7\n\
         Branch: agent/publisher-1790635538"
    );
    assert_eq!(message.embeds[0]["title"], "octo/blog#7");
    assert_eq!(message.embeds[0]["fields"][0], json!({"name": "Cost", "value": "$0.42", "inline": true}));
    assert_eq!(message.raw["allowed_mentions"], json!({"parse": []}));
    assert_eq!(
        ended.lines(),
        [json!({"kind": "DiscordMessage", "id": message.id, "channelId": sandbox.discord().channel_id(),
            "run": "publisher-1790635538-3fa9c1", "operation": "created"})]
    );
    assert_eq!(sandbox.violations(), Vec::<String>::new());
}

/// P8, P9
#[test]
fn a_failure_reaches_the_channel_with_stage_and_error() {
    let sandbox = Sandbox::start().unwrap();
    let record = rejected("A post about X", "the page has\n no title");
    let ended = to_webhook(&sandbox).args(&["--plain"]).run(record.to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let message = &sandbox.discord().messages()[0];
    assert_eq!(
        message.content,
        "Publisher FAILED: \"A post about X\"\nStage: qa\nError: the page has no title\n\
         Branch: agent/publisher-1790635539 (preserved for debugging)"
    );
    assert_eq!((message.embeds.len(), &message.raw["flags"]), (0, &json!(4)));
    assert_eq!(sandbox.violations(), Vec::<String>::new());
}

/// P8
#[test]
fn a_pipe_made_by_hand_is_enough() {
    let sandbox = Sandbox::start().unwrap();
    let script = r#"printf '%s\n' '{"kind":"RunRecord","run":"qa-1-000000","agent":"qa","prompt":"Look at the page",
        "outcome":"no-change","base":"main","startedAt":"2026-11-22T22:00:00Z"}' | notify-discord --plain"#;
    let ended = shell(script).env("DISCORD_WEBHOOK_URL", &sandbox.discord().webhook_url()).run("");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        sandbox.discord().messages()[0].content,
        "Qa changed nothing: \"Look at the page\"\nPR: none (there is nothing to review)\nBranch: none"
    );
}

#[test]
fn several_records_are_several_messages_in_their_order() {
    let sandbox = Sandbox::start().unwrap();
    let ended =
        to_webhook(&sandbox).run(lines(&[delivered("one"), rejected("two", "e"), delivered("three")]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let messages = sandbox.discord().messages();
    let topics: Vec<_> = messages.iter().map(|message| message.content.split('"').nth(1).unwrap()).collect();
    assert_eq!(topics, ["one", "two", "three"]);
    let ids: Vec<_> = ended.lines().iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, messages.iter().map(|message| message.id.clone()).collect::<Vec<_>>());
}

#[test]
fn a_thread_gets_the_message_if_it_is_named() {
    let sandbox = Sandbox::start().unwrap();
    let thread = sandbox.discord().thread_id();
    let ended = to_webhook(&sandbox).args(&["--thread-id", &thread]).run(delivered("x").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(sandbox.discord().messages()[0].thread_id, Some(thread));
}

#[test]
fn discord_is_asked_through_the_proxy_under_its_own_name() {
    let sandbox = Sandbox::start().unwrap();
    let url = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(url.path(), format!("{}\n", sandbox.discord().webhook_url_real())).unwrap();
    let mut notify = notify().env("DISCORD_WEBHOOK_URL_FILE", url.path().to_str().unwrap());
    for (name, value) in sandbox.environment() {
        notify = notify.env(&name, &value);
    }
    let ended = notify.run(delivered("x").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(sandbox.discord().messages().len(), 1);
    assert_eq!(sandbox.hosts_asked(), ["discord.com:443"]);
}

#[test]
fn the_longest_texts_are_within_discords_limits() {
    let sandbox = Sandbox::start().unwrap();
    for unit in ["x", "*", "@everyone ", "👩🏽‍💻", "e\u{301}", "\u{1b}[31m\n"] {
        let mut record = rejected(&unit.repeat(5000), &unit.repeat(5000));
        record["stage"] = unit.repeat(500).into();
        record["branch"] = unit.repeat(500).into();
        record["report"] = json!({"kind": "AgentReport", "outcome": "rejected",
            "subagents": (0..60).map(|n| json!({"type": format!("{n}{}", unit.repeat(50)), "toolCalls": 1,
                "failed": true, "verdict": {"pass": false, "reason": unit.repeat(500)}})).collect::<Vec<_>>()});
        for arguments in [&["--plain"][..], &[]] {
            let ended = to_webhook(&sandbox).args(arguments).run(record.to_string());
            assert_eq!(ended.code, Some(0), "{unit:?}: {}", ended.stderr);
        }
    }
    assert_eq!(sandbox.discord().messages().len(), 12);
    assert_eq!(sandbox.violations(), Vec::<String>::new());
}

#[test]
fn a_secret_of_the_environment_is_not_told() {
    let sandbox = Sandbox::start().unwrap();
    let record = rejected("A post", "push with hunter2-hunter2 was refused");
    let ended = to_webhook(&sandbox).env("GITHUB_TOKEN", "hunter2-hunter2").run(record.to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let message = &sandbox.discord().messages()[0];
    assert!(!message.raw.to_string().contains("hunter2"), "{}", message.raw);
    assert!(message.content.contains("redacted:GITHUB"), "{}", message.content);
}
