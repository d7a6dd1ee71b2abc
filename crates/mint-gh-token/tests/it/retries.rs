//! What is asked again, and when not.

use crate::world::World;
use sandbox::{Fault, How, Limit, Service};
use std::time::Duration;

fn minted_after(how: How, words: &str) {
    let world = World::new();
    world.sandbox.fail(Fault { method: Some("POST".to_owned()), ..Fault::next(Service::GitHub, how) });
    let done = world.mint(&["--repo", "octo/blog"]);
    assert_eq!(done.json()["repository"], "octo/blog");
    assert!(done.stderr.contains(words), "{}", done.stderr);
    assert_eq!(world.mints(), 2);
    world.no_violations();
}

#[test]
fn a_server_error_is_asked_again() {
    let how = How::Status { code: 502, headers: Vec::new(), body: "<html>".to_owned() };
    minted_after(how, "mint-gh-token: GitHub answered 502: waiting 0.");
}

#[test]
fn a_limit_is_waited_for_as_its_headers_say() {
    let retry_after = Duration::from_secs(1);
    minted_after(
        How::RateLimited { retry_after, limit: Limit::Secondary },
        "GitHub answered 429: waiting 1 s",
    );
    minted_after(How::RateLimited { retry_after, limit: Limit::Primary }, "GitHub answered 403: waiting ");
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    minted_after(How::Disconnect, "GitHub did not answer");
    minted_after(How::CutAfter(20), "GitHub did not answer");
}

#[test]
fn a_limit_that_is_far_off_ends_at_once_with_3() {
    let world = World::new();
    let how = How::RateLimited { retry_after: Duration::from_secs(1800), limit: Limit::Secondary };
    world.sandbox.fail(Fault::next(Service::GitHub, how));
    world
        .mint(&["--repo", "octo/blog"])
        .fails(3, &["GitHub answered 429; it asks to wait 30 min, more than the 2 min allowed"]);
    assert_eq!(world.sandbox.github().requests().len(), 1);
}
