//! The other runtime: the same checks, with the real `opencode`.

use crate::success::nothing_is_left;
use crate::{Ended, look, preflight, scenario, world};
use e2e::World;
use sandbox::{Failing, Fault, How, Service};
use std::process::Command;

/// A world for it: its login is a key.
fn keyed() -> World {
    let world = world();
    world.sandbox.model().expect_api_key();
    world
}

/// `preflight` with it. It has no other runtime's login.
fn opencode(world: &World, arguments: &[&str]) -> Command {
    let mut command = preflight(world, &[&["--runtime", "opencode"], arguments].concat());
    command.env_remove("CLAUDE_CODE_OAUTH_TOKEN").env("OPENCODE_API_KEY", world.sandbox.model().token());
    command
}

/// The login alone.
fn login(world: &World) -> Ended {
    look(world, &mut opencode(world, &["--only", "login"]))
}

/// The login, where this happens to every question.
fn login_failing(how: Failing) -> Ended {
    let world = keyed();
    let mut scenario = scenario();
    let turn = &mut scenario.agents[0].turns[0];
    *turn = turn.clone().fail(100, how);
    world.sandbox.model().load(scenario).unwrap();
    login(&world)
}

/// P13, P12
#[test]
fn where_all_is_well_every_check_says_so_and_nothing_is_left() {
    let world = keyed();
    let ended = look(&world, &mut opencode(&world, &[]));
    assert_eq!((ended.code, ended.report["ok"].as_bool()), (0, Some(true)), "{}", ended.stderr);
    assert!(ended.statuses().iter().all(|(_, status)| *status == "ok"), "{}", ended.stderr);
    let tools = ended.check("tools")["detail"].as_str().unwrap();
    assert!(tools.contains("opencode 1.") && !tools.contains("claude"), "{tools}");
    let login = ended.check("login")["detail"].as_str().unwrap();
    assert!(login.contains("logged in, anthropic/claude-sonnet-5 answered ("), "{login}");

    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    assert!(world.sandbox.model().remaining().is_empty());
    let requests = world.sandbox.model().requests();
    let [asked] = requests.as_slice() else { panic!("asked once, not {} times", requests.len()) };
    assert_eq!(asked.header("x-api-key"), Some(world.sandbox.model().token().as_str()));
    assert!(asked.body.len() < 4000, "it costs a few hundred tokens, not {} bytes", asked.body.len());
    nothing_is_left(&world);
    assert_eq!(world.processes(), Vec::<String>::new());
}

/// P13, P12, P3: settings in the environment and in the work tree would send the key elsewhere.
#[test]
fn the_login_is_made_in_the_environment_of_the_run() {
    let world = keyed();
    let elsewhere = serde_json::json!({"provider": {"anthropic": {"options": {"baseURL": world.sandbox.discord().api_url()}}}});
    let elsewhere = elsewhere.to_string();
    std::fs::write(world.clone_path().join("opencode.json"), &elsewhere).unwrap();
    let mut command = opencode(&world, &["--only", "login", "--model", "anthropic/one-of-tomorrow"]);
    command
        .env("OPENCODE_CONFIG_CONTENT", &elsewhere)
        .env("OPENCODE_CONFIG", world.clone_path().join("opencode.json"));
    let ended = look(&world, &mut command);
    assert_eq!((ended.code, ended.statuses()), (0, vec![("login", "ok")]), "{}", ended.stderr);
    assert!(world.sandbox.discord().requests().is_empty());
    let asked: serde_json::Value = serde_json::from_slice(&world.sandbox.model().requests()[0].body).unwrap();
    assert_eq!(asked["model"], "one-of-tomorrow");
}

/// P13, P12: the variable that chooses for `run-publisher.sh` chooses here.
#[test]
fn a_missing_key_is_a_missing_credential() {
    let world = keyed();
    let mut command = preflight(&world, &["--only", "login"]);
    let ended = look(&world, command.env("PRESSRUN_RUNTIME", "opencode"));
    ended.assert_failed(4, "login", "OPENCODE_API_KEY is not set", "create a key at the model's provider");
    assert!(world.sandbox.model().requests().is_empty());
    let file = world.path("key");
    std::fs::write(&file, format!("{}\n", world.sandbox.model().token())).unwrap();
    assert_eq!(look(&world, command.env("OPENCODE_API_KEY_FILE", file)).code, 0);
}

/// P13, P12, P3
#[test]
fn a_wrong_key_is_a_wrong_credential() {
    let world = keyed();
    let key = "sk-ant-api03-another-one-of-nobody";
    let mut command = opencode(&world, &["--only", "login"]);
    let ended = look(&world, command.env("OPENCODE_API_KEY", key));
    ended.assert_failed(4, "login", "could not log in", "OPENCODE_API_KEY");
    assert!(!format!("{}{}", ended.report, ended.stderr).contains(key));
}

/// P13, P12: the service does not know it, its name leaves out whose it is, or opencode does not know whose.
#[test]
fn a_wrong_model_is_named() {
    let message = Some("model: claude-sonet-5".to_owned());
    let unknown = Failing::Status { code: 404, kind: None, message, headers: Vec::new() };
    login_failing(unknown).assert_failed(1, "login", "claude-sonet-5", "the model's name");
    let world = keyed();
    let ended = look(&world, &mut opencode(&world, &["--only", "login", "--model", "sonnet"]));
    ended.assert_failed(1, "login", "'sonnet' names no provider", "provider/model");
    let ended =
        look(&world, &mut opencode(&world, &["--only", "login", "--model", "antropic/claude-sonnet-5"]));
    ended.assert_failed(1, "login", "the agent CLI failed: ", "its provider");
}

/// P13, P12: worth another try later, and told before a minute is over.
#[test]
fn what_passes_is_worth_a_retry() {
    let limit = Failing::UsageLimit { resets_in: 3600, claim: "five_hour".to_owned() };
    login_failing(limit).assert_failed(3, "login", "usage limit is reached", "after the reset time");
    login_failing(Failing::Overloaded).assert_failed(3, "login", "overloaded or broken", "later");
    let world = keyed();
    world.sandbox.fail(Fault { times: 1000, ..Fault::next(Service::Proxy, How::Disconnect) });
    let ended = login(&world);
    ended.assert_failed(3, "login", "could not be reached", "later");
    assert!(ended.check("login")["durationMs"].as_u64() < Some(30_000), "{}", ended.stderr);
}

/// P13, P12: an answer that never comes costs no more than the time limit, and the CLI is gone.
#[test]
fn a_model_that_hangs_is_given_up() {
    let world = keyed();
    let hang = How::Hang(std::time::Duration::from_secs(600));
    world.sandbox.fail(Fault { times: 1000, ..Fault::next(Service::Model, hang) });
    let ended = look(&world, &mut opencode(&world, &["--only", "login", "--timeout", "8s"]));
    ended.assert_failed(3, "login", "opencode has not answered in time", "--timeout");
    assert_eq!(world.processes(), Vec::<String>::new());
}

/// P13, P12: what is missing is what this runtime needs.
#[test]
fn a_missing_cli_is_named() {
    let world = keyed();
    let mut command = opencode(&world, &["--only", "tools,login"]);
    let ended = look(&world, command.env("PATH", "/usr/bin:/bin"));
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let tools = ended.check("tools")["detail"].as_str().unwrap();
    assert!(tools.contains("opencode is not on the PATH") && !tools.contains("claude"), "{tools}");
    let login = ended.check("login");
    assert!(login["detail"].as_str().unwrap().contains("opencode cannot be started"), "{login}");
    assert!(login["remedy"].as_str().unwrap().contains("scripts/setup.sh"), "{login}");
}
