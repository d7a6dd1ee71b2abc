//! What every piece does at its edge.

use crate::world::{Done, PROGRAM, World};
use std::process::Stdio;

#[test]
fn the_helps_examples_work_when_pasted() {
    let world = World::new();
    let help = Done::of(world.bare(PROGRAM).arg("--help"), "").stdout;
    let examples =
        help.split_once("Examples:\n").unwrap().1.split_once("\n\n").unwrap().0.replace("\\\n", " ");
    let examples: Vec<&str> = examples.lines().map(str::trim).collect();
    assert_eq!(examples.len(), 3, "{examples:?}");
    for example in examples {
        // The real names, through the proxy.
        let done = Done::of(
            world
                .command("sh")
                .args(["-ec", example])
                .env_remove("GITHUB_API_URL")
                .env_remove("GITHUB_SERVER_URL")
                .envs(world.sandbox.environment()),
            "",
        );
        assert_eq!(done.code, 0, "{example}: {}", done.stderr);
    }
    world.no_violations();
}

#[test]
fn what_cannot_be_done_is_a_usage_error() {
    let world = World::new();
    world.mint(&[]).fails(2, &["no repository", "hint: give --repo owner/name"]);
    world.mint(&["--installation-id", "7"]).fails(2, &["a token is for one repository only"]);
    world.mint(&["--repo", "blog"]).fails(2, &["owner/name"]);
    world.mint(&["--repo", "octo/blog", "--permission", "contents"]).fails(2, &["NAME=LEVEL"]);
    world.mint(&["--repo", "octo/blog", "--installation-id", "x"]).fails(2, &["not a number"]);
    world
        .mint(&["--repo", "octo/blog", "--api-url", "http://example.com"])
        .fails(2, &["only https is allowed"]);
    assert!(world.sandbox.github().requests().is_empty());
}

/// Variables that are set for minting do not stand in a subcommand's way.
#[test]
fn the_environment_goes_with_every_subcommand() {
    let world = World::new();
    let mut command = world.command(PROGRAM);
    command.env("GITHUB_REPOSITORY", "octo/blog").env("GITHUB_APP_INSTALLATION_ID", "");
    command.args(["git-credential", "get"]);
    assert_eq!(Done::of(&mut command, &world.description("octo/notes")).code, 0);
}

#[test]
fn completions_are_printed() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let done = world.mint(&["--completions", shell]);
        assert!(done.code == 0 && done.stdout.contains("git-credential"), "{shell}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let world = World::new();
    let mut child = world
        .command(PROGRAM)
        .args(["--repo", "octo/blog"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}
