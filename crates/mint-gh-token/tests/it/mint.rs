//! From the App's key to a token: what GitHub is asked for, and what comes out.

use crate::world::{Done, PROGRAM, World};
use sandbox::{Fault, How, Service};
use serde_json::json;

/// K6
#[test]
fn a_token_is_for_one_repository_and_the_permissions_asked_for() {
    let world = World::new();
    let document = world.mint(&["--repo", "octo/blog"]).json();
    assert_eq!(document["kind"], "InstallationToken");
    assert_eq!(document["repository"], "octo/blog");
    assert_eq!(document["installationId"], world.sandbox.github().app().installation_id);
    assert_eq!(
        document["permissions"],
        json!({"contents": "write", "metadata": "read", "pull_requests": "write"})
    );
    let expires: jiff::Timestamp = document["expiresAt"].as_str().unwrap().parse().unwrap();
    let remaining = expires.duration_since(world.sandbox.clock().now()).as_mins();
    assert!((58..=60).contains(&remaining), "{remaining} minutes remain");

    let requests = world.sandbox.github().requests();
    let [find, mint] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((find.method.as_str(), find.path.as_str()), ("GET", "/repos/octo/blog/installation"));
    let expected =
        json!({"repositories": ["blog"], "permissions": {"contents": "write", "pull_requests": "write"}});
    assert_eq!(mint.json(), expected);
    assert_eq!(mint.header("accept"), Some("application/vnd.github+json"));
    assert!(mint.header("x-github-api-version").is_some());
    assert!(mint.header("user-agent").unwrap().starts_with("pressrun-mint-gh-token/"));
    world.no_violations();
}

/// K6
#[test]
fn a_read_only_token_can_only_read() {
    let world = World::new();
    let document = world.mint(&["--repo", "octo/notes", "--read-only"]).json();
    assert_eq!(document["permissions"], json!({"contents": "read", "metadata": "read"}));
    let sent = world.sandbox.github().requests().last().unwrap().json();
    assert_eq!(sent, json!({"repositories": ["notes"], "permissions": {"contents": "read"}}));
}

#[test]
fn a_known_installation_saves_the_look_up() {
    let world = World::new();
    let id = world.sandbox.github().app().installation_id.to_string();
    let arguments = ["--repo", "octo/blog", "--installation-id", &id, "--permission", "issues=read"];
    assert_eq!(world.mint(&arguments).json()["permissions"], json!({"issues": "read", "metadata": "read"}));
    assert_eq!(world.sandbox.github().requests().len(), 1);
    world.no_violations();
}

#[test]
fn the_app_id_serves_as_well_as_the_client_id_and_is_trimmed() {
    let world = World::new();
    let id = format!(" {}\n", world.sandbox.github().app().app_id);
    let done = Done::of(
        world
            .command(PROGRAM)
            .args(["--repo", "octo/blog"])
            .env("GITHUB_APP_ID", id)
            .env("GITHUB_APP_INSTALLATION_ID", ""),
        "",
    );
    assert_eq!(done.json()["repository"], "octo/blog");
}

#[test]
fn an_enterprise_server_has_its_api_below_a_path() {
    let world = World::new();
    let url = format!("{}/api/v3/", world.sandbox.github().api_url());
    assert_eq!(world.mint(&["--repo", "octo/blog", "--api-url", &url]).json()["repository"], "octo/blog");
}

#[test]
fn the_real_host_is_reached_through_the_proxy_with_its_authority_trusted() {
    let world = World::new();
    let done = Done::of(
        world
            .command(PROGRAM)
            .args(["--repo", "octo/blog"])
            .env_remove("GITHUB_API_URL")
            .envs(world.sandbox.environment()),
        "",
    );
    assert_eq!(done.json()["repository"], "octo/blog");
    assert_eq!(world.sandbox.hosts_asked(), ["api.github.com:443"], "one connection for both calls");
    world.no_violations();
}

#[test]
fn an_authority_that_is_not_trusted_ends_it_at_once() {
    let world = World::new();
    let other = sandbox::Sandbox::start().unwrap();
    let done = Done::of(
        world
            .command(PROGRAM)
            .args(["--repo", "octo/blog"])
            .env_remove("GITHUB_API_URL")
            .envs(world.sandbox.environment())
            .env("SSL_CERT_FILE", other.ca_file()),
        "",
    );
    done.fails(1, &["the certificate of api.github.com is not trusted", "hint: set SSL_CERT_FILE"]);
}

#[test]
fn the_other_formats_hold_the_token_alone_and_shell_lines() {
    let world = World::new();
    let token = world.mint(&["--repo", "octo/blog", "--format", "token"]).stdout;
    assert!(token.starts_with("ghs_") && token.ends_with('\n') && token.lines().count() == 1, "{token}");
    let lines = world.mint(&["--repo", "octo/blog", "--format", "env"]).stdout;
    let names: Vec<&str> = lines.lines().map(|line| line.split_once('=').unwrap().0).collect();
    assert_eq!(names, ["GITHUB_TOKEN", "GITHUB_TOKEN_EXPIRES_AT"]);
}

/// K6
#[test]
fn a_token_that_can_do_more_than_was_asked_is_revoked() {
    let world = World::new();
    let wide = world.sandbox.github().mint("octo/blog", &[]);
    let body = json!({
        "token": wide,
        "expires_at": "2099-01-01T00:00:00Z",
        "permissions": {"contents": "write", "pull_requests": "write", "workflows": "write"},
        "repository_selection": "selected",
        "repositories": [{"full_name": "octo/blog"}],
    });
    world.sandbox.fail(Fault {
        method: Some("POST".to_owned()),
        ..Fault::next(Service::GitHub, How::Status { code: 201, headers: Vec::new(), body: body.to_string() })
    });
    let done = world.mint(&["--repo", "octo/blog"]);
    done.fails(
        1,
        &["can do more than contents=write, pull_requests=write on octo/blog: it has workflows=write"],
    );
    assert!(!done.stderr.contains(&wide));
    let last = world.sandbox.github().requests().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.path.as_str(), last.status),
        ("DELETE", "/installation/token", 204)
    );
}

#[test]
fn what_the_app_may_not_do_is_denied_with_what_to_do() {
    let world = World::new();
    world.mint(&["--repo", "acme/private"]).fails(4, &["404", "hint: install the App on acme"]);
    world.mint(&["--repo", "octo/none"]).fails(4, &["404", "let it see octo/none"]);
    let administration = ["--repo", "octo/blog", "--permission", "administration=write"];
    world.mint(&administration).fails(4, &["422", "grant administration=write"]);
    world.mint(&["--repo", "octo/blog", "--installation-id", "1"]).fails(4, &["404", "no installation 1"]);
    let stranger =
        Done::of(world.command(PROGRAM).args(["--repo", "octo/blog"]).env("GITHUB_APP_ID", "Iv1.other"), "");
    stranger.fails(4, &["refused the App's JWT: Integration not found", "hint: check that GITHUB_APP_ID"]);
    world.no_violations();
}

/// A JWT is good for minutes. What GitHub finds expired is signed once more, by the clock that GitHub's `Date` tells.
#[test]
fn an_expired_jwt_is_refused_and_signed_again_by_githubs_clock() {
    let world = World::new();
    world.sandbox.clock().advance(jiff::SignedDuration::from_hours(1));
    let done = world.mint(&["--repo", "octo/blog"]);
    assert_eq!(done.json()["repository"], "octo/blog");
    // An hour, less the time between the two clocks' readings.
    assert!(done.stderr.contains("behind GitHub's: signing by GitHub's"), "{}", done.stderr);
    let statuses: Vec<u16> = world.sandbox.github().requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [401, 200, 201]);
    world.no_violations();
}

#[test]
fn a_skew_that_explains_a_refusal_is_named() {
    let world = World::new();
    let headers = vec![("date".to_owned(), "Sun, 22 Nov 2099 22:00:00 GMT".to_owned())];
    let how = How::Status { code: 401, headers, body: r#"{"message":"expired"}"#.to_owned() };
    world.sandbox.fail(Fault { times: 2, ..Fault::next(Service::GitHub, how) });
    world
        .mint(&["--repo", "octo/blog"])
        .fails(4, &["refused the App's JWT: expired", "hint: this machine's clock is"]);
}
