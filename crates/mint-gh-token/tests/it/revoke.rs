//! Ending a token's life.

use crate::world::{Done, PROGRAM, World};

#[test]
fn a_token_is_revoked_once_and_a_second_time_is_no_failure() {
    let world = World::new();
    let document = world.mint(&["--repo", "octo/blog"]).stdout;
    let revoke = |stdin: &str| Done::of(world.bare(PROGRAM).arg("revoke"), stdin);
    assert_eq!(revoke(&document).json(), serde_json::json!({"kind": "TokenRevocation", "revoked": true}));
    let again = revoke(&document);
    assert_eq!(again.json()["revoked"], false);
    assert!(again.stderr.contains("nothing to revoke"), "{}", again.stderr);
    world.no_violations();
}

#[test]
fn the_token_may_be_in_the_environment_where_stdin_is_empty() {
    let world = World::new();
    let token = world.sandbox.github().mint("octo/blog", &[]);
    assert_eq!(
        Done::of(world.bare(PROGRAM).arg("revoke").env("GITHUB_TOKEN", &token), "").json()["revoked"],
        true
    );
    let file = world.home.path().join("token");
    std::fs::write(&file, world.sandbox.github().mint("octo/blog", &[])).unwrap();
    assert_eq!(
        Done::of(world.bare(PROGRAM).arg("revoke").env("GITHUB_TOKEN_FILE", file), "").json()["revoked"],
        true
    );
}

#[test]
fn without_a_token_it_says_where_to_put_one() {
    let world = World::new();
    Done::of(world.bare(PROGRAM).arg("revoke"), "")
        .fails(2, &["stdin is empty", "hint: as in: mint-gh-token"]);
    let done = Done::of(world.bare(PROGRAM).arg("revoke"), "two s3crets");
    done.fails(2, &["is not one token"]);
    assert!(!done.stderr.contains("s3cret"));
}
