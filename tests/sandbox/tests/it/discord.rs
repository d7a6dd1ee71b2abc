//! Discord: what it accepts, keeps and refuses.

#![allow(clippy::unwrap_used, clippy::panic)]

use sandbox::{Fault, How, Limit, Sandbox, Service};
use serde_json::{Value, json};
use std::time::Duration;
use ureq::http;

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn ask(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = match body {
        Some(body) => {
            let request = request.header("content-type", "application/json").body(body.to_string()).unwrap();
            agent.run(request).unwrap()
        }
        None => agent.run(request.body(()).unwrap()).unwrap(),
    };
    let text = response.body_mut().read_to_string().unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
    }
}

fn silent(content: &str) -> Value {
    json!({"content": content, "allowed_mentions": {"parse": []}})
}

#[test]
fn a_webhook_sends_reads_and_edits_a_message() {
    let sandbox = Sandbox::start().unwrap();
    let url = sandbox.discord().webhook_url();
    assert_eq!(ask("GET", &url, &[], None).body["channel_id"], sandbox.discord().channel_id());
    let thread = sandbox.discord().thread_id();
    let sent = ask("POST", &format!("{url}?wait=true&thread_id={thread}"), &[], Some(&silent("started")));
    assert_eq!((sent.status, &sent.body["content"]), (200, &json!("started")));
    assert_eq!(sent.body["channel_id"], thread);
    let id = sent.body["id"].as_str().unwrap();
    let in_thread = format!("{url}/messages/{id}?thread_id={thread}");
    assert_eq!(ask("PATCH", &in_thread, &[], Some(&silent("done"))).body["content"], "done");
    assert_eq!(ask("GET", &in_thread, &[], None).body["content"], "done");
    assert_eq!(ask("GET", &format!("{url}/messages/{id}"), &[], None).body["code"], 10008);

    let message = &sandbox.discord().messages()[0];
    assert_eq!((message.content.as_str(), message.edited), ("done", true));
    assert_eq!((message.id.as_str(), message.thread_id.as_deref()), (id, Some(thread.as_str())));
    assert_eq!(sandbox.violations(), Vec::<String>::new());
}

#[test]
fn without_wait_a_webhook_answers_nothing() {
    let sandbox = Sandbox::start().unwrap();
    let sent = ask("POST", &sandbox.discord().webhook_url(), &[], Some(&silent("a")));
    assert_eq!((sent.status, sent.body), (204, Value::Null));
    assert_eq!(sandbox.discord().messages().len(), 1);
}

#[test]
fn a_bot_that_repeats_itself_with_its_nonce_sends_one_message() {
    let sandbox = Sandbox::start().unwrap();
    let discord = sandbox.discord();
    let url = format!("{}/channels/{}/messages", discord.api_url(), discord.channel_id());
    let bot = format!("Bot {}", discord.bot_token());
    let bot = [("authorization", bot.as_str())];
    let mut message = silent("a");
    message["nonce"] = json!("run-1");
    message["enforce_nonce"] = json!(true);
    let first = ask("POST", &url, &bot, Some(&message)).body["id"].clone();
    assert_eq!(ask("POST", &url, &bot, Some(&message)).body["id"], first);
    message["nonce"] = json!("run-2");
    assert_ne!(ask("POST", &url, &bot, Some(&message)).body["id"], first);
    message["enforce_nonce"] = json!(false);
    ask("POST", &url, &bot, Some(&message));
    assert_eq!(discord.messages().len(), 3);
    let edited = ask("PATCH", &format!("{url}/{}", first.as_str().unwrap()), &bot, Some(&silent("b")));
    assert_eq!(edited.body["content"], "b");
    assert_eq!(sandbox.violations(), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_refused_in_discords_words() {
    let sandbox = Sandbox::start().unwrap();
    let discord = sandbox.discord();
    let webhook = discord.webhook_url();
    let channel = format!("{}/channels/{}/messages", discord.api_url(), discord.channel_id());
    let bot = format!("Bot {}", discord.bot_token());
    let bot = [("authorization", bot.as_str())];

    let refused = ask("POST", &format!("{webhook}x?wait=true"), &[], Some(&silent("a")));
    assert_eq!((refused.status, refused.body), (404, json!({"message": "Unknown Webhook", "code": 10015})));
    let refused = ask("POST", &channel, &[("authorization", "Bot wrong")], Some(&silent("a")));
    assert_eq!((refused.status, refused.body), (401, json!({"message": "401: Unauthorized", "code": 0})));
    let elsewhere = format!("{}/channels/1/messages", discord.api_url());
    let refused = ask("POST", &elsewhere, &bot, Some(&silent("a")));
    assert_eq!((refused.status, &refused.body["code"]), (404, &json!(10003)));
    let refused = ask("POST", &channel, &bot, Some(&silent(" ")));
    assert_eq!(refused.body, json!({"message": "Cannot send an empty message", "code": 50006}));
    let refused = ask("POST", &format!("{webhook}?wait=true"), &[], Some(&silent(&"a".repeat(2001))));
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.body,
        json!({
            "code": 50035,
            "message": "Invalid Form Body",
            "errors": {"content": {"_errors": [
                {"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer in length."},
            ]}},
        })
    );
    assert_eq!(discord.messages(), []);
    assert_eq!(sandbox.violations(), Vec::<String>::new());
}

#[test]
fn a_message_that_could_ping_is_sent_and_is_a_violation() {
    let sandbox = Sandbox::start().unwrap();
    let url = format!("{}?wait=true", sandbox.discord().webhook_url());
    assert_eq!(ask("POST", &url, &[], Some(&json!({"content": "@everyone"}))).status, 200);
    let violations = sandbox.violations();
    assert!(violations.len() == 1 && violations[0].contains("could ping"), "{violations:?}");
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let sandbox = Sandbox::start().unwrap();
    let url = format!("{}?wait=true", sandbox.discord().webhook_url());
    let limited = |limit| {
        let how = How::RateLimited { retry_after: Duration::from_millis(1250), limit };
        sandbox.fail(Fault::next(Service::Discord, how));
        ask("POST", &url, &[], Some(&silent("a")))
    };
    let own = limited(Limit::Primary);
    assert_eq!(own.status, 429);
    assert_eq!((&own.body["retry_after"], &own.body["global"]), (&json!(1.25), &json!(false)));
    assert_eq!((own.header("retry-after"), own.header("x-ratelimit-reset-after")), ("2", "1.250"));
    assert_eq!((own.header("x-ratelimit-scope"), own.header("x-ratelimit-global")), ("user", ""));
    let global = limited(Limit::Secondary);
    assert_eq!(global.body["global"], true);
    assert_eq!((global.header("x-ratelimit-scope"), global.header("x-ratelimit-global")), ("global", "true"));
    assert_eq!(sandbox.discord().messages(), []);
    assert_eq!(ask("POST", &url, &[], Some(&silent("a"))).status, 200);
}
