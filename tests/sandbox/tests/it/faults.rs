//! Faults at a given call, in each service.

use crate::client::{ask, ask_with};
use sandbox::{Fault, How, Limit, Sandbox, Service};
use serde_json::json;
use std::time::Duration;

fn status(code: u16) -> How {
    How::Status {
        code,
        headers: vec![("x-said".to_owned(), "so".to_owned())],
        body: "{\"message\":\"no\"}".to_owned(),
    }
}

#[test]
fn a_call_fails_at_its_turn_and_the_next_does_not() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.fail(Fault {
        method: Some("GET".to_owned()),
        path_prefix: "/app".to_owned(),
        from_call: 2,
        ..Fault::next(Service::GitHub, status(502))
    });
    let asked = |path: &str| ask(&sandbox, "x", "GET", path, None);
    assert_eq!([asked("/nowhere").status, asked("/app").status], [404, 401]);
    let failed = asked("/app");
    assert_eq!(
        (failed.status, failed.message(), &failed.headers["x-said"]),
        (502, "no", &"so".parse().unwrap())
    );
    assert_eq!(asked("/app").status, 401);
    let seen: Vec<u16> = sandbox.github().requests().iter().map(|request| request.status).collect();
    assert_eq!(seen, [404, 401, 502, 401]);
}

#[test]
fn githubs_two_rate_limits_look_as_they_do() {
    let sandbox = Sandbox::start().unwrap();
    let limited = |limit| How::RateLimited { retry_after: Duration::from_secs(7), limit };
    sandbox.fail(Fault::next(Service::GitHub, limited(Limit::Primary)));
    let primary = ask(&sandbox, "x", "GET", "/app", None);
    assert_eq!((primary.status, &primary.headers["x-ratelimit-remaining"]), (403, &"0".parse().unwrap()));
    let reset: i64 = primary.headers["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
    assert!((6..=8).contains(&(reset - sandbox.clock().now().as_second())));
    assert!(!primary.headers.contains_key("retry-after"));
    sandbox.fail(Fault::next(Service::GitHub, limited(Limit::Secondary)));
    let secondary = ask(&sandbox, "x", "GET", "/app", None);
    assert_eq!((secondary.status, &secondary.headers["retry-after"]), (429, &"7".parse().unwrap()));
    assert!(secondary.message().contains("secondary rate limit"));
}

#[test]
fn connections_break_before_and_within_an_answer() {
    let sandbox = Sandbox::start().unwrap();
    let services = [
        (Service::GitHub, format!("{}/app", sandbox.github().api_url())),
        (Service::Git, format!("{}/octo/blog", sandbox.github().server_url())),
        (Service::Discord, sandbox.discord().webhook_url()),
        (Service::Model, format!("{}/v1/nothing", sandbox.model().url())),
    ];
    for (service, url) in services {
        let asked = || ask_with(&[("user-agent", "t".to_owned())], "GET", &url, None);
        sandbox.fail(Fault::next(service, How::Disconnect));
        assert!(asked().is_err(), "{service:?}");
        sandbox.fail(Fault::next(service, How::CutAfter(1)));
        let cut = asked();
        assert!(cut.is_err() || cut.is_ok_and(|answer| answer.body == json!("")), "{service:?}");
        sandbox.fail(Fault::next(service, status(500)));
        assert_eq!(asked().unwrap().status, 500, "{service:?}");
        assert_ne!(asked().unwrap().status, 500, "{service:?}");
    }
}

#[test]
fn an_answer_can_be_held_when_the_work_is_done() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.fail(Fault::next(Service::Discord, How::HoldAnswer(Duration::from_secs(3600))));
    let url = sandbox.discord().webhook_url();
    let message = json!({"content": "x", "allowed_mentions": {"parse": []}});
    let headers = [("user-agent", "t".to_owned()), ("content-type", "application/json".to_owned())];
    let waiting = std::thread::spawn(move || ask_with(&headers, "POST", &url, Some(&message)).is_err());
    let is_done = |sandbox: &Sandbox| sandbox.discord().messages().len() == 1;
    assert!(sandbox.wait_until(Duration::from_secs(20), is_done));
    assert!(!waiting.is_finished());
    drop(sandbox);
    assert!(waiting.join().unwrap());
}

#[test]
fn a_service_that_hangs_does_not_stop_the_others_or_the_end() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.fail(Fault::next(Service::GitHub, How::Hang(Duration::from_secs(3600))));
    let url = format!("{}/app", sandbox.github().api_url());
    let waiting = std::thread::spawn(move || ask_with(&[], "GET", &url, None).is_err());
    assert!(sandbox.wait_until(Duration::from_secs(20), |sandbox| !sandbox.github().requests().is_empty()));
    assert_eq!(ask(&sandbox, "x", "GET", "/app", None).status, 401);
    drop(sandbox);
    assert!(waiting.join().unwrap());
}
