//! The real git, with the helper between it and a real server.

use crate::world::{Done, World};
use std::path::Path;

fn git(world: &World, directory: &Path, arguments: &[&str]) -> Done {
    let mut command = world.command("git");
    command.current_dir(directory).args([
        "-c",
        "credential.helper=",
        "-c",
        "credential.helper=!mint-gh-token git-credential",
        "-c",
        "credential.useHttpPath=true",
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@example.com",
    ]);
    Done::of(command.args(arguments), "")
}

/// P10, K6
#[test]
fn git_pushes_and_fetches_with_tokens_that_the_helper_mints() {
    let world = World::new();
    let github = world.sandbox.github();
    let url = format!("{}/octo/blog.git", github.server_url());
    let work = world.home.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let ok = |directory: &Path, arguments: &[&str]| {
        let done = git(&world, directory, arguments);
        assert_eq!(done.code, 0, "git {arguments:?}: {}", done.stderr);
        assert!(!done.stderr.contains("ghs_") && !done.stdout.contains("ghs_"));
        done
    };
    ok(&work, &["init", "-q", "-b", "main"]);
    ok(&work, &["commit", "-q", "--allow-empty", "-m", "one"]);
    ok(&work, &["push", "-q", &url, "main"]);
    let head = ok(&work, &["rev-parse", "HEAD"]).stdout.trim().to_owned();
    assert_eq!(github.branch("octo/blog", "main"), Some(head.clone()));
    ok(&work, &["fetch", "-q", &url, "main"]);
    assert_eq!(world.mints(), 1, "the second call has its token from the cache");

    // The token's hour is over: git's call is refused, the helper is told, and the next call has a new token.
    world.sandbox.clock().advance(jiff::SignedDuration::from_mins(61));
    assert_eq!(world.cached_files().len(), 1);
    assert_ne!(git(&world, &work, &["fetch", "-q", &url, "main"]).code, 0);
    assert!(world.cached_files().is_empty(), "what was refused is forgotten");
    ok(&work, &["commit", "-q", "--allow-empty", "-m", "two"]);
    ok(&work, &["push", "-q", &url, "main"]);
    assert_eq!(world.mints(), 2);
    assert_ne!(github.branch("octo/blog", "main"), Some(head));

    // Nothing of it stays in the repository.
    let config = std::fs::read_to_string(work.join(".git/config")).unwrap();
    assert!(!config.contains("ghs_"), "{config}");
    world.no_violations();
}

/// K6
#[test]
fn a_token_for_one_repository_opens_no_other() {
    let world = World::new();
    let url = format!("{}/acme/private.git", world.sandbox.github().server_url());
    let done = git(&world, world.home.path(), &["ls-remote", &url]);
    assert_ne!(done.code, 0);
    assert!(done.stderr.contains("hint: install the App on acme"), "{}", done.stderr);
}
