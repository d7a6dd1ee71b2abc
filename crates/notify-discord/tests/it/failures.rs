use crate::process::{notify, to_webhook};
use crate::records::{delivered, lines, rejected};
use sandbox::{Fault, How, Limit, Sandbox, Service};
use std::time::Duration;

fn status(code: u16, body: &str) -> How {
    How::Status { code, headers: Vec::new(), body: body.to_owned() }
}

#[test]
fn a_limit_is_waited_for_as_long_as_discord_says() {
    let sandbox = Sandbox::start().unwrap();
    for limit in [Limit::Primary, Limit::Secondary] {
        sandbox.fail(Fault::next(
            Service::Discord,
            How::RateLimited { retry_after: Duration::from_millis(30), limit },
        ));
        let ended = to_webhook(&sandbox).run(delivered("x").to_string());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("429"), "{}", ended.stderr);
    }
    assert_eq!(sandbox.discord().messages().len(), 2);
    assert_eq!(sandbox.discord().requests().len(), 4);
}

#[test]
fn a_limit_that_lasts_too_long_is_worth_a_retry_later() {
    let sandbox = Sandbox::start().unwrap();
    let hour = How::RateLimited { retry_after: Duration::from_secs(3600), limit: Limit::Primary };
    sandbox.fail(Fault::next(Service::Discord, hour));
    let ended = to_webhook(&sandbox).run(delivered("A post").to_string());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert!(ended.stderr.contains("it asks to wait 1 h"), "{}", ended.stderr);
    assert!(ended.stderr.contains("not sent:\nPublisher completed: \"A post\"\nPR: "), "{}", ended.stderr);
}

#[test]
fn a_server_error_passes() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.fail(Fault::next(Service::Discord, status(502, "<html>")));
    let ended = to_webhook(&sandbox).run(delivered("x").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(sandbox.discord().messages().len(), 1);
}

#[test]
fn a_server_error_that_stays_ends_in_a_retry_with_the_text_on_stderr() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.fail(Fault { times: 1000, ..Fault::next(Service::Discord, status(503, "")) });
    let record = rejected("A post with *stars*", "no title");
    let ended = to_webhook(&sandbox).args(&["--retry-for", "0"]).run(record.to_string());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    // For people: nothing is escaped.
    assert!(
        ended.stderr.contains(
            "not sent:\nPublisher FAILED: \"A post with *stars*\"\nStage: qa\nError: no title\n\
             Branch: agent/publisher-1790635539 (preserved for debugging)\n"
        ),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("/webhooks/"), "the webhook's URL is a secret: {}", ended.stderr);
}

#[test]
fn a_webhook_whose_answer_was_lost_is_not_told_twice() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.fail(Fault::next(Service::Discord, How::CutAfter(5)));
    let ended = to_webhook(&sandbox).run(delivered("x").to_string());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("the work may be done"), "{}", ended.stderr);
    assert_eq!(sandbox.discord().requests().len(), 1);
}

#[test]
fn a_deleted_webhook_is_final() {
    let sandbox = Sandbox::start().unwrap();
    let gone = sandbox.discord().webhook_url().replace("/webhooks/", "/webhooks/9");
    let ended = notify().env("DISCORD_WEBHOOK_URL", &gone).run(delivered("A post").to_string());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(
        ended.stderr.ends_with(
            "notify-discord: sending the message: Discord answered 404: Unknown Webhook\n\
             hint: the webhook was deleted: create a new one and set DISCORD_WEBHOOK_URL\n"
        ),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("not sent:\nPublisher completed"), "{}", ended.stderr);
    assert_eq!(sandbox.discord().requests().len(), 1, "a 404 is not asked again");
}

#[test]
fn a_refused_webhook_is_not_allowed() {
    let sandbox = Sandbox::start().unwrap();
    for code in [401, 403] {
        sandbox.fail(Fault::next(Service::Discord, status(code, r#"{"message":"no","code":0}"#)));
        let ended = to_webhook(&sandbox).run(delivered("x").to_string());
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    }
}

#[test]
fn nobody_listening_is_worth_a_retry() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/webhooks/1/s3cret-s3cret", free.local_addr().unwrap());
    drop(free);
    let ended =
        notify().env("DISCORD_WEBHOOK_URL", &url).args(&["--retry-for", "0"]).run(delivered("x").to_string());
    assert_eq!(ended.code, Some(3));
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
}

#[test]
fn what_was_sent_before_a_failure_is_told_and_what_was_not_is_shown() {
    let sandbox = Sandbox::start().unwrap();
    sandbox
        .fail(Fault { from_call: 2, ..Fault::next(Service::Discord, status(400, r#"{"message":"bad"}"#)) });
    let ended = to_webhook(&sandbox).run(lines(&[delivered("one"), delivered("two"), delivered("three")]));
    assert_eq!((ended.code, ended.lines().len()), (Some(1), 1));
    assert_eq!(sandbox.discord().messages().len(), 1);
    assert!(!ended.stderr.contains("\"one\""), "{}", ended.stderr);
    assert!(ended.stderr.contains("\"two\"") && ended.stderr.contains("\"three\""), "{}", ended.stderr);
}
