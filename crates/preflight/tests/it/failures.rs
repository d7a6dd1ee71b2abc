//! Each thing that can be wrong, on its own: exit code, what is said, and the remedy.

use crate::{look, preflight, world};
use sandbox::{Fault, How, Service};
use std::fs;

/// P13, P3
#[test]
fn a_wrong_login_token_is_a_wrong_credential() {
    let world = world();
    let mut command = preflight(&world, &["--skip", "mcp"]);
    let ended = look(&world, command.env("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-wrong"));
    ended.assert_failed(4, "login", "could not log in", "claude setup-token");
    assert_eq!(ended.check("mcp")["status"], "skipped");
}

/// P13: both ways to be missing, and the model is not asked.
#[test]
fn a_missing_login_token_is_a_missing_credential() {
    let world = world();
    let mut command = preflight(&world, &["--only", "login"]);
    let ended = look(&world, command.env_remove("CLAUDE_CODE_OAUTH_TOKEN"));
    ended.assert_failed(4, "login", "CLAUDE_CODE_OAUTH_TOKEN is not set", "claude setup-token");
    let mut command = preflight(&world, &["--only", "login"]);
    command.env_remove("CLAUDE_CODE_OAUTH_TOKEN").env("CLAUDE_CODE_OAUTH_TOKEN_FILE", "/nowhere/token");
    look(&world, &mut command).assert_failed(4, "login", "/nowhere/token", "correct");
    assert!(world.sandbox.model().requests().is_empty());
}

/// P13
#[test]
fn a_login_token_in_a_file_is_read() {
    let world = world();
    let file = world.path("login");
    fs::write(&file, format!("{}\n", world.sandbox.model().token())).unwrap();
    let mut command = preflight(&world, &["--only", "login"]);
    command.env_remove("CLAUDE_CODE_OAUTH_TOKEN").env("CLAUDE_CODE_OAUTH_TOKEN_FILE", file);
    assert_eq!(look(&world, &mut command).code, 0);
}

/// P13: an App that is not named, one that GitHub does not know, one with another's key.
#[test]
fn a_missing_or_unknown_app_is_a_wrong_credential() {
    let world = world();
    let mut command = preflight(&world, &["--only", "github"]);
    let ended = look(&world, command.env_remove("GITHUB_APP_ID"));
    ended.assert_failed(4, "github", "GITHUB_APP_ID is not set", "set GITHUB_APP_ID");
    let mut command = preflight(&world, &["--only", "github"]);
    let ended = look(&world, command.env("GITHUB_APP_ID", "Iv1.nobody"));
    ended.assert_failed(4, "github", "GitHub refused the App's JWT", "check that GITHUB_APP_ID");
    let mut command = preflight(&world, &["--only", "github"]);
    let ended = look(&world, command.env("GITHUB_APP_PRIVATE_KEY_FILE", "/dev/null"));
    ended.assert_failed(4, "github", "GITHUB_APP_PRIVATE_KEY", "set GITHUB_APP_ID");
}

/// P13
#[test]
fn an_app_that_is_not_installed_is_a_missing_permission() {
    let world = world();
    world.sandbox.github().add_foreign_repository("other/site");
    let ended = look(&world, &mut preflight(&world, &["--only", "github", "--repo", "other/site"]));
    ended.assert_failed(4, "github", "GitHub answered 404", "install the App on other");
}

/// P13: Discord does not know the webhook; it is none; none is set; the bot's token is wrong.
#[test]
fn a_wrong_webhook_is_a_wrong_credential() {
    let world = world();
    let discord = |value: &str| {
        let mut command = preflight(&world, &["--only", "discord", "--post"]);
        look(&world, command.env("DISCORD_WEBHOOK_URL", value))
    };
    let unknown = discord("https://discord.com/api/webhooks/123456789012345678/not-its-token");
    unknown.assert_failed(4, "discord", "Unknown Webhook", "create a new one");
    assert!(!unknown.stderr.contains("not-its-token"));
    discord("https://discord.com/channels/1/2").assert_failed(
        4,
        "discord",
        "not the URL",
        "webhooks/ID/TOKEN",
    );
    discord("").assert_failed(4, "discord", "is set", "create a webhook");
    let mut command = preflight(&world, &["--only", "discord"]);
    command
        .env_remove("DISCORD_WEBHOOK_URL")
        .env("DISCORD_BOT_TOKEN", "wrong")
        .env("DISCORD_CHANNEL_ID", world.sandbox.discord().channel_id());
    look(&world, &mut command).assert_failed(4, "discord", "401", "the bot's token is wrong");
}

/// P13: a server that ends, and one that is not there.
#[test]
fn a_dead_mcp_server_is_named_with_its_last_words() {
    let world = world();
    let overlay = world.path("overlay.json");
    let with = |server: &str| {
        fs::write(&overlay, format!(r#"{{"mcpServers":{{"notes":{server}}}}}"#)).unwrap();
        look(&world, &mut preflight(&world, &["--only", "mcp", "--mcp-overlay", overlay.to_str().unwrap()]))
    };
    let dead = with(r#"{"command":"/bin/sh","args":["-c","echo 'no database' >&2; exit 7"]}"#);
    dead.assert_failed(1, "mcp", "notes: ", "mcp-config check");
    let detail = dead.check("mcp")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("| no database") && detail.contains("playwright: "), "{detail}");
    with(r#"{"command":"/nowhere/server"}"#).assert_failed(1, "mcp", "'notes'", "mend what it names");
}

/// P13: a server that hangs takes no longer than it may.
#[test]
fn an_mcp_server_that_hangs_is_a_failure() {
    let world = world();
    let overlay = world.path("overlay.json");
    fs::write(&overlay, r#"{"mcpServers":{"notes":{"command":"/bin/sleep","args":["600"]}}}"#).unwrap();
    let overlay = overlay.to_str().unwrap();
    let arguments = ["--only", "mcp", "--timeout", "1s", "--agent", "qa", "--mcp-overlay", overlay];
    look(&world, &mut preflight(&world, &arguments)).assert_failed(1, "mcp", "notes: ", "mcp-config check");
}

/// P13
#[test]
fn a_missing_agent_is_named_with_those_that_are_there() {
    let world = world();
    let arguments = ["--agent", "typist", "--only", "repository,agent"];
    let ended = look(&world, &mut preflight(&world, &arguments));
    ended.assert_failed(1, "agent", "no agent 'typist'", ".claude/agents/typist.md");
}

/// P13: in the clone, and on GitHub.
#[test]
fn a_missing_base_branch_is_seen_here_and_there() {
    let world = world();
    let ended = look(&world, &mut preflight(&world, &["--only", "repository", "--base", "trunk"]));
    ended.assert_failed(1, "repository", "no branch 'trunk'", "--base");
    let ended = look(&world, &mut preflight(&world, &["--only", "github", "--base", "trunk"]));
    ended.assert_failed(1, "github", "octo/blog has no branch 'trunk'", "give --base main");
}

/// P13: what hangs on the work tree is not told a second time.
#[test]
fn outside_of_a_repository_one_check_says_so() {
    let world = world();
    let mut command = preflight(&world, &["--only", "repository,agent,github"]);
    let ended = look(&world, command.current_dir(world.path("home")));
    ended.assert_failed(1, "repository", "in no git repository", "change to a clone");
    for name in ["agent", "github"] {
        assert_eq!(ended.check(name)["status"], "skipped");
        assert!(ended.check(name)["detail"].as_str().unwrap().contains("'repository'"));
    }
    let mut command = preflight(&world, &["--only", "agent"]);
    let ended = look(&world, command.current_dir(world.path("home")));
    ended.assert_failed(1, "agent", "in no git repository", "change to a clone");
}

/// P13
#[test]
fn uncommitted_changes_are_named() {
    let world = world();
    fs::write(world.clone_path().join("draft.md"), "x").unwrap();
    let ended = look(&world, &mut preflight(&world, &["--only", "repository"]));
    ended.assert_failed(1, "repository", "draft.md", "git stash");
}

/// P13
#[test]
fn a_missing_tool_is_named() {
    let world = world();
    let mut command = preflight(&world, &["--only", "tools"]);
    let ended = look(&world, command.env("PATH", "/usr/bin:/bin"));
    ended.assert_failed(1, "tools", "claude is not on the PATH", "scripts/setup.sh");
}

/// P13: nothing is wrong here, and nobody can be reached: worth another try.
#[test]
fn without_a_network_it_is_worth_a_retry() {
    let world = world();
    world.sandbox.fail(Fault { times: 1000, ..Fault::next(Service::Proxy, How::Disconnect) });
    let ended = look(&world, &mut preflight(&world, &["--skip", "mcp", "--skip", "tools"]));
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    let expected = [
        ("tools", "skipped"),
        ("repository", "ok"),
        ("agent", "ok"),
        ("mcp", "skipped"),
        ("login", "failed"),
        ("github", "failed"),
        ("discord", "failed"),
    ];
    assert_eq!(ended.statuses(), expected, "{}", ended.stderr);
    assert!(ended.stderr.ends_with("preflight: 3 of 7 checks failed: a run would not work here\n"));
    for name in ["login", "github", "discord"] {
        assert!(ended.check(name)["remedy"].is_string(), "{}", ended.check(name));
    }
}

/// P13: a server that never answers costs no more than the time limit, and ends no other check.
#[test]
fn a_service_that_hangs_is_given_up() {
    let world = world();
    let hang = How::Hang(std::time::Duration::from_secs(600));
    world.sandbox.fail(Fault { times: 1000, ..Fault::next(Service::Discord, hang) });
    let arguments = ["--only", "discord,repository", "--timeout", "200ms"];
    let ended = look(&world, &mut preflight(&world, &arguments));
    ended.assert_failed(3, "discord", "no end after 200 ms", "--timeout");
    assert_eq!(ended.check("repository")["status"], "ok");
}
