//! git's credential helper, as git speaks to it.

use crate::world::{Done, PROGRAM, World, read};
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt as _, symlink};

fn password(answer: &str) -> &str {
    answer.lines().find_map(|line| line.strip_prefix("password=")).unwrap()
}

/// P10, K6
#[test]
fn a_token_is_minted_once_and_kept_for_the_next_call() {
    let world = World::new();
    let first = world.credential("get", &world.description("octo/blog"));
    assert_eq!(first.code, 0, "{}", first.stderr);
    let names: Vec<&str> = first.stdout.lines().map(|line| line.split_once('=').unwrap().0).collect();
    assert_eq!(names, ["username", "password", "password_expiry_utc"]);
    assert!(first.stdout.starts_with("username=x-access-token\n"));
    assert_eq!(world.credential("get", &world.description("octo/blog")).stdout, first.stdout);
    assert_eq!(world.mints(), 1);
    let sent = world.sandbox.github().requests().last().unwrap().json();
    assert_eq!(sent, json!({"repositories": ["blog"], "permissions": {"contents": "write"}}));
    // Another repository is another token.
    assert_ne!(world.credential("get", &world.description("octo/notes")).stdout, first.stdout);
    assert_eq!(world.cached_files().len(), 2);
    world.no_violations();
}

/// P10
#[test]
fn a_token_that_ends_in_less_than_five_minutes_is_renewed() {
    let world = World::new();
    let first = world.credential("get", &world.description("octo/blog")).stdout;
    let file = world.cached_files().pop().unwrap();
    let mut stored: Value = serde_json::from_str(&read(&file)).unwrap();
    let mut ends_in = |minutes: i64| {
        stored["expiresAt"] =
            (jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes)).to_string().into();
        std::fs::write(&file, stored.to_string()).unwrap();
        world.credential("get", &world.description("octo/blog")).stdout
    };
    assert_eq!(password(&ends_in(6)), password(&first));
    assert_ne!(password(&ends_in(4)), password(&first));
    assert_eq!(world.mints(), 2);
}

/// P10
#[test]
fn two_gits_at_once_mint_once() {
    let world = World::new();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let ask = || world.credential("get", &world.description("octo/blog")).stdout;
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0] && !answer.is_empty()), "{answers:?}");
    assert_eq!(world.mints(), 1);
}

#[test]
fn erase_forgets_the_token_that_was_refused_and_no_other() {
    let world = World::new();
    let description = world.description("octo/blog");
    let answer = world.credential("get", &description).stdout;
    let other = world.credential("erase", &format!("{description}password=other\n"));
    assert_eq!((other.code, world.cached_files().len()), (0, 1));
    let same = world.credential("erase", &format!("{description}password={}\n", password(&answer)));
    assert_eq!((same.code, same.stdout.as_str(), world.cached_files().len()), (0, "", 0));
}

#[test]
fn store_and_what_later_gits_may_ask_are_passed_over() {
    let world = World::new();
    for operation in ["store", "capability"] {
        let done = world.credential(operation, &format!("{}password=x\n", world.description("octo/blog")));
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""));
    }
    assert!(world.cached_files().is_empty());
}

/// K6
#[test]
fn another_host_is_left_to_git_even_without_credentials() {
    let world = World::new();
    for text in [
        "protocol=https\nhost=gitlab.com\npath=octo/blog\n",
        "protocol=https\nhost=github.com\npath=octo/blog\n",
    ] {
        let done = Done::of(world.bare(PROGRAM).args(["git-credential", "get"]), text);
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""), "{text}");
    }
    assert!(world.sandbox.github().requests().is_empty());
}

#[test]
fn without_a_path_the_repository_is_the_one_given() {
    let world = World::new();
    let description: String =
        world.description("octo/blog").lines().take(2).map(|line| format!("{line}\n")).collect();
    world.credential("get", &description).fails(2, &["no repository", "hint: set credential.useHttpPath"]);
    let arguments = ["git-credential", "--repo", "octo/notes", "--read-only", "get"];
    let done = Done::of(world.command(PROGRAM).args(arguments), &description);
    assert!(done.stdout.contains("password=ghs_"), "{}", done.stderr);
    let sent = world.sandbox.github().requests().last().unwrap().json();
    assert_eq!(sent, json!({"repositories": ["notes"], "permissions": {"contents": "read"}}));
}

#[test]
fn an_empty_or_wrong_stdin_is_a_usage_error() {
    let world = World::new();
    for (stdin, words) in [("", "which is empty"), ("hello\n", "names no protocol and host")] {
        world.credential("get", stdin).fails(2, &[words, "hint: as in: printf"]);
        world.credential("erase", stdin).fails(2, &[words]);
    }
}

#[test]
fn a_cache_that_others_may_have_touched_is_refused() {
    let world = World::new();
    let description = world.description("octo/blog");
    world.credential("get", &description);
    let file = world.cached_files().pop().unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    world.credential("get", &description).fails(1, &["is open to other users", "hint:"]);
    std::fs::remove_file(&file).unwrap();
    symlink("/dev/null", &file).unwrap();
    world.credential("get", &description).fails(1, &["is not a regular file"]);
}

#[test]
fn without_a_place_for_the_cache_a_token_comes_all_the_same() {
    let world = World::new();
    let done = Done::of(
        world.command(PROGRAM).args(["git-credential", "get"]).env("XDG_CACHE_HOME", "/dev/null"),
        &world.description("octo/blog"),
    );
    assert!(
        done.stdout.contains("password=ghs_") && done.stderr.contains("no token cache"),
        "{}",
        done.stderr
    );
}
