use crate::hub::{Hub, REPOSITORY};
use crate::process::{open_pr, to_github};
use sandbox::{Ended, Fault, How, Limit, Service};
use serde_json::{Value, json};
use std::time::Duration;

fn status(code: u16) -> How {
    How::Status { code, headers: Vec::new(), body: r#"{"message":"no"}"#.to_owned() }
}

fn post(how: How) -> Fault {
    Fault { method: Some("POST".to_owned()), ..Fault::next(Service::GitHub, how) }
}

/// The record says that it failed, and why; the token is nowhere.
fn assert_failed(hub: &Hub, ended: &Ended, code: i32, why: &str) -> Value {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    let record = ended.document();
    assert_eq!(
        (&record["outcome"], &record["stage"]),
        (&json!("pull-request-failed"), &json!("pull-request"))
    );
    assert!(record["error"].as_str().unwrap().contains(why), "{}", record["error"]);
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
    assert!(!ended.stderr.contains(&hub.token) && !ended.stdout.contains(&hub.token));
    record
}

/// P9
#[test]
fn without_a_token_it_is_not_allowed() {
    let hub = Hub::new();
    let ended = open_pr().run(hub.record("A post").to_string());
    assert_failed(&hub, &ended, 4, "GITHUB_TOKEN is not set");
    assert!(ended.stderr.contains("hint: export GITHUB_TOKEN=$(mint-gh-token"), "{}", ended.stderr);
}

/// P9
#[test]
fn a_token_that_is_unknown_is_not_allowed() {
    let hub = Hub::new();
    let ended = hub.open_pr().env("GITHUB_TOKEN", "ghs_unknown").run(hub.record("A post").to_string());
    assert_failed(&hub, &ended, 4, "GitHub answered 401: Bad credentials");
}

/// P9
#[test]
fn a_token_without_the_permission_is_not_allowed() {
    let hub = Hub::new();
    let token = hub.sandbox.github().mint(REPOSITORY, &[("contents", "write")]);
    let ended = to_github(&hub.sandbox, &token).run(hub.record("A post").to_string());
    assert_failed(&hub, &ended, 4, "Resource not accessible by integration");
    assert!(ended.stderr.contains("hint: the token needs pull_requests:write"), "{}", ended.stderr);
}

/// P9
#[test]
fn a_repository_that_the_token_does_not_cover_is_final() {
    let hub = Hub::new();
    hub.sandbox.github().add_foreign_repository("other/blog");
    let ended = hub.open_pr().args(&["--repo", "other/blog"]).run(hub.record("A post").to_string());
    assert_failed(&hub, &ended, 1, "GitHub answered 404: Not Found");
    assert!(ended.stderr.contains("hint: is other/blog right"), "{}", ended.stderr);
}

/// P9
#[test]
fn a_base_that_does_not_exist_is_final() {
    let hub = Hub::new();
    let mut record = hub.record("A post");
    record["base"] = "trunk".into();
    assert_failed(&hub, &hub.run(&record), 1, "PullRequest base invalid");
    assert_eq!(hub.pull_requests(), []);
}

#[test]
fn a_server_error_passes() {
    let hub = Hub::new();
    hub.sandbox.fail(post(status(502)));
    let ended = hub.run(&hub.record("A post"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(hub.pull_requests().len(), 1);
}

/// P9
#[test]
fn a_server_error_that_stays_is_worth_a_retry() {
    let hub = Hub::new();
    hub.sandbox.fail(Fault { times: 1000, ..post(status(503)) });
    let ended = hub.open_pr().args(&["--retry-for", "0"]).run(hub.record("A post").to_string());
    assert_failed(&hub, &ended, 3, "GitHub answered 503");
}

/// P9
#[test]
fn a_limit_that_lasts_too_long_is_worth_a_retry() {
    let hub = Hub::new();
    hub.sandbox
        .fail(post(How::RateLimited { retry_after: Duration::from_secs(3600), limit: Limit::Primary }));
    let ended = hub.run(&hub.record("A post"));
    assert_failed(&hub, &ended, 3, "more than the 2 min allowed");
}

/// P7
#[test]
fn an_answer_that_was_lost_does_not_open_a_second_one() {
    let hub = Hub::new();
    hub.sandbox.fail(post(How::CutAfter(20)));
    let ended = hub.run(&hub.record("A post"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(hub.pull_requests().len(), 1);
    assert_eq!(ended.document()["pullRequest"]["number"], 1);
}

/// P7, P9
#[test]
fn a_pull_request_that_is_not_at_the_runs_head_is_no_success() {
    let mut hub = Hub::new();
    let record = hub.record("A post");
    hub.work_on();
    let ended = hub.open_pr().args(&["--retry-for", "0"]).run(record.to_string());
    let record = assert_failed(&hub, &ended, 3, "not at the run's head");
    assert_eq!(record["pullRequest"]["number"], 1, "people get its address all the same");
}

#[test]
fn a_pull_request_that_is_at_the_runs_head_a_moment_later_is_one() {
    let mut hub = Hub::new();
    hub.run(&hub.record("A post"));
    let lagging = json!([{
        "number": 1, "html_url": "https://github.com/octo/blog/pull/1", "state": "open", "draft": false,
        "title": "A post", "body": null, "head": {"ref": crate::hub::BRANCH, "sha": hub.head},
        "base": {"ref": "main", "sha": "0"},
    }]);
    hub.work_on();
    let body = lagging.to_string();
    hub.sandbox.fail(Fault {
        method: Some("GET".to_owned()),
        ..Fault::next(Service::GitHub, How::Status { code: 200, headers: Vec::new(), body })
    });
    let ended = hub.run(&hub.record("A post"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(hub.calls().last().unwrap(), "GET /repos/octo/blog/pulls/1");
}

/// P9
#[test]
fn the_first_failure_of_a_run_stands() {
    let hub = Hub::new();
    let ended = open_pr().run(hub.unfinished("A post").to_string());
    assert_eq!(ended.code, Some(4));
    let record = ended.document();
    assert_eq!((&record["outcome"], &record["stage"]), (&json!("turn-limit"), &json!("writer")));
    assert_eq!(record["error"], "20 turns; then: GITHUB_TOKEN is not set");
}

#[test]
fn plain_http_to_another_machine_is_wrong_usage() {
    let hub = Hub::new();
    let ended =
        hub.open_pr().args(&["--api-url", "http://api.example.com"]).run(hub.record("A post").to_string());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
}
