//! All is well: what is said of it, and that nothing but one message on request is left of it.

use crate::{Ended, look, preflight, world};
use e2e::World;
use sandbox::{Fault, How, Service};

const ALL: [&str; 7] = ["tools", "repository", "agent", "mcp", "login", "github", "discord"];

/// Nothing is in the home but what Node (22 and newer) keeps of the MCP server's code that it compiled.
pub(crate) fn nothing_is_left(world: &World) {
    for (folder, kept) in [("home", ".cache"), ("home/.cache", "pressrun")] {
        let names = std::fs::read_dir(world.path(folder)).into_iter().flatten();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| name == kept), "{folder}: {names:?}");
    }
}

/// P13: every check passes, the token is revoked, nothing is posted.
#[test]
fn where_all_is_well_every_check_says_so_and_nothing_is_left() {
    let world = world();
    let ended = look(&world, &mut preflight(&world, &[]));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.report["kind"], "Preflight");
    assert_eq!(ended.report["ok"], true);
    assert_eq!(ended.statuses(), ALL.map(|name| (name, "ok")), "{}", ended.stderr);
    for (name, part) in [
        ("tools", "claude 2."),
        ("repository", "clean, main at "),
        ("agent", "'publisher' is defined"),
        ("mcp", "playwright: "),
        ("login", "tokens, $"),
        ("github", "the App's token (contents=write, "),
        ("discord", "writes to channel"),
    ] {
        let check = ended.check(name);
        assert!(check["detail"].as_str().unwrap().contains(part), "{check}");
        assert!(check["durationMs"].is_u64(), "{check}");
    }
    assert!(ended.stderr.ends_with("preflight: a run would work here\n"), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'), "colours are for terminals");

    nothing_is_left(&world);

    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    assert!(world.sandbox.model().remaining().is_empty(), "the model was asked once");
    let asked = world.sandbox.github().requests();
    let revoked = asked.iter().filter(|request| request.path.ends_with("/installation/token"));
    assert_eq!(
        revoked.map(|request| (request.method.as_str(), request.status)).collect::<Vec<_>>(),
        [("DELETE", 204)]
    );
    let written = asked.iter().filter(|request| request.method != "GET").count();
    assert_eq!(written, 2, "the token's beginning and end");
    assert!(world.sandbox.discord().requests().iter().all(|request| request.method == "GET"));
}

/// P13, P3: the login token goes to the model, by the run's environment: what would send it elsewhere is not passed on.
#[test]
fn the_login_is_made_in_the_environment_of_the_run() {
    let world = world();
    let mut command = preflight(&world, &["--only", "login"]);
    let elsewhere = world.sandbox.discord().api_url();
    let ended =
        look(&world, command.env("ANTHROPIC_BASE_URL", elsewhere).env("ANTHROPIC_API_KEY", "sk-other"));
    assert_eq!((ended.code, ended.statuses()), (0, vec![("login", "ok")]), "{}", ended.stderr);
    assert!(world.sandbox.discord().requests().is_empty());
    assert!(world.sandbox.model().remaining().is_empty());
}

/// P13: a message is sent where it was asked for, and only there.
#[test]
fn one_message_is_sent_on_request() {
    for credential in ["webhook", "bot"] {
        let world = world();
        let discord = world.sandbox.discord();
        let mut command = preflight(&world, &["--only", "discord", "--post"]);
        if credential == "bot" {
            command
                .env_remove("DISCORD_WEBHOOK_URL")
                .env("DISCORD_BOT_TOKEN", discord.bot_token())
                .env("DISCORD_CHANNEL_ID", discord.channel_id());
        }
        let ended = Ended::of(&mut command);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let messages = discord.messages();
        assert_eq!(messages.len(), 1, "{credential}");
        assert!(messages[0].content.contains("preflight"), "{:?}", messages[0]);
        let said = ended.check("discord")["detail"].as_str().unwrap();
        assert!(said.contains(&format!("sent message {}", messages[0].id)), "{said}");
        assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    }
}

/// P13: a given token is used as it is, and stays alive.
#[test]
fn a_given_token_is_used_and_not_revoked() {
    let world = world();
    let github = world.sandbox.github();
    let token = github.mint(e2e::REPOSITORY, &[("contents", "write"), ("pull_requests", "write")]);
    let mut command = preflight(&world, &["--only", "github"]);
    let ended = look(&world, command.env("GITHUB_TOKEN", token).env_remove("GITHUB_APP_ID"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(github.requests().iter().all(|request| request.method == "GET"));
}

/// P13: a rule against the run's branches is seen before a run has worked for nothing.
#[test]
fn a_ruleset_against_the_runs_branches_is_a_warning() {
    let world = world();
    world.sandbox.github().protect("agent/*", "Cannot create ref due to creations being restricted.");
    let ended = look(&world, &mut preflight(&world, &["--only", "github"]));
    assert_eq!((ended.code, ended.statuses()), (0, vec![("github", "warning")]), "{}", ended.stderr);
    let check = ended.check("github");
    assert!(check["detail"].as_str().unwrap().contains("agent/*: creation, update"), "{check}");
    assert!(check["remedy"].as_str().unwrap().contains("exclude agent/**"), "{check}");
    assert!(ended.stderr.ends_with("1 of 7 checks, with 1 warning\n"), "{}", ended.stderr);
}

/// P13: a token that cannot be revoked is no failure of a run.
#[test]
fn a_token_that_stays_is_a_warning() {
    let world = world();
    world.sandbox.fail(Fault {
        method: Some("DELETE".to_owned()),
        times: 100,
        ..Fault::next(Service::GitHub, How::Disconnect)
    });
    let ended = look(&world, &mut preflight(&world, &["--only", "github"]));
    assert_eq!((ended.code, ended.statuses()), (0, vec![("github", "warning")]), "{}", ended.stderr);
    assert!(ended.check("github")["remedy"].as_str().unwrap().contains("it ends at"), "{}", ended.stderr);
}
