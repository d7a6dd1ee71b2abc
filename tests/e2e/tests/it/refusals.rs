use e2e::{Ended, World};
use std::process::Command;

/// Runs it, and looks whether anything has happened.
fn refused(world: &World, run: &mut Command) -> anyhow::Result<Ended> {
    let refs = world.git(&world.clone_path(), &["for-each-ref"])?;
    let ended = Ended::from_output(&run.output()?)?;
    assert_eq!(ended.lines.len(), 0, "{:?}", ended.lines);
    assert_eq!(world.sandbox.hosts_asked(), Vec::<String>::new());
    assert_eq!(world.git(&world.clone_path(), &["for-each-ref"])?, refs);
    Ok(ended)
}

#[track_caller]
fn assert_says(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, code, "{}", ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "'{part}' in {}", ended.stderr);
    }
    assert!(ended.stderr.lines().count() <= 2, "one line, and what to do: {}", ended.stderr);
}

/// P1
#[test]
fn a_missing_login_stops_before_anything_happens() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let mut run = world.run_publisher(&["A post"])?;
    let ended = refused(&world, run.env_remove("CLAUDE_CODE_OAUTH_TOKEN"))?;
    assert_says(&ended, 4, &["CLAUDE_CODE_OAUTH_TOKEN is not set", "claude setup-token"]);
    Ok(())
}

/// P1, P11: leaving out is chosen, never silent.
#[test]
fn missing_publish_credentials_stop_before_anything_happens() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let mut run = world.run_publisher(&["A post"])?;
    let ended = refused(&world, run.env_remove("GITHUB_APP_ID"))?;
    assert_says(&ended, 4, &["no GitHub credentials", "--no-publish"]);
    let mut run = world.run_publisher(&["A post"])?;
    let ended = refused(&world, run.env_remove("DISCORD_WEBHOOK_URL"))?;
    assert_says(&ended, 4, &["no Discord credentials", "--no-notify"]);
    Ok(())
}

/// P1
#[test]
fn a_credential_in_a_file_that_is_not_there_stops_before_anything_happens() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    for name in ["GITHUB_APP_PRIVATE_KEY_FILE", "DISCORD_WEBHOOK_URL_FILE"] {
        let mut run = world.run_publisher(&["A post"])?;
        let ended = refused(&world, run.env_remove("DISCORD_WEBHOOK_URL").env(name, "nowhere/secret"))?;
        assert_says(&ended, 4, &[name, "nowhere/secret"]);
    }
    Ok(())
}

/// P1
#[test]
fn a_missing_repository_base_agent_or_tool_stops_before_anything_happens() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let mut run = world.run_publisher(&["A post"])?;
    assert_says(&refused(&world, run.current_dir(world.path("home")))?, 2, &["in no git work tree", "clone"]);

    let mut run = world.run_publisher(&["--base", "trunk", "A post"])?;
    assert_says(&refused(&world, &mut run)?, 2, &["trunk"]);

    let mut run = world.run_publisher(&["--agent", "typist", "A post"])?;
    assert_says(&refused(&world, &mut run)?, 2, &["no agent 'typist'", ".claude/agents/typist.md"]);

    let mut run = world.run_publisher(&["A post"])?;
    let ended = refused(&world, run.env("PATH", "/usr/bin:/bin"))?;
    assert_says(&ended, 2, &["no command 'claude'", "setup.sh"]);
    Ok(())
}

/// P1
#[test]
fn wrong_usage_stops_before_anything_happens() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    for (arguments, part) in [
        (&[][..], "expected one topic"),
        (&["two", "topics"], "expected one topic"),
        (&[" \n"], "the topic is empty"),
        (&["--stage", "build", "A post"], "unknown stage 'build'"),
        (&["--no-such", "A post"], "unknown option --no-such"),
        (&["A post", "--timeout"], "--timeout wants a value"),
        (&["--stage", "publish", "--no-publish"], "exclude each other"),
    ] {
        let ended = refused(&world, &mut world.run_publisher(arguments)?)?;
        assert_says(&ended, 2, &[part]);
    }
    Ok(())
}

/// P2: what somebody has not committed yet is not the agent's to commit.
#[test]
fn uncommitted_work_stops_before_anything_happens() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    std::fs::write(world.clone_path().join("draft.md"), "mine")?;
    let ended = refused(&world, &mut world.run_publisher(&["A post"])?)?;
    assert_says(&ended, 2, &["draft.md"]);
    Ok(())
}
