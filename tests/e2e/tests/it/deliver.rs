use agent_task::Outcome;
use anyhow::Context as _;
use e2e::{REPOSITORY, World};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, symlink};

const TOPIC: &str = "A post about container images";

/// P1, P4, P5, P7, P8
#[test]
fn a_topic_becomes_a_branch_a_pull_request_and_a_message() -> anyhow::Result<()> {
    let world = World::new("publish")?;
    let ended = world.publish(&["--label", "blog", TOPIC])?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    // The remote has one new branch with one new post, made from main; main has not moved.
    let branches = world.run_branches()?;
    let [(branch, head)] = branches.as_slice() else { panic!("one branch, not {branches:?}") };
    let main = world.git(&world.remote, &["rev-parse", "main"])?;
    assert_eq!(world.git(&world.remote, &["merge-base", "main", branch])?, main);
    let added = world.git(&world.remote, &["diff", "--name-status", "main", branch])?;
    assert!(added.starts_with("A\tcontent/posts/") && added.lines().count() == 1, "{added}");

    // The pull request is open, for that branch at that commit.
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    let [pull] = pulls.as_slice() else { panic!("one pull request, not {pulls:?}") };
    assert_eq!((&pull.head, &pull.base, pull.state.as_str()), (branch, &"main".to_owned(), "open"));
    assert_eq!((&pull.head_sha, pull.draft), (head, false));
    assert_eq!((pull.title.as_str(), pull.labels.as_slice()), (TOPIC, &["blog".to_owned()][..]));
    for part in [TOPIC, branch.as_str(), "success"] {
        assert!(pull.body.contains(part), "'{part}' in {}", pull.body);
    }

    // Discord was told once, with the pull request's address.
    let messages = world.sandbox.discord().messages();
    let [message] = messages.as_slice() else { panic!("one message, not {messages:?}") };
    let text = message.raw.to_string();
    for part in [
        format!("Publisher completed: \\\"{TOPIC}\\\""),
        format!("PR: https://github.com/{REPOSITORY}/pull/{}", pull.number),
        format!("Branch: {branch}"),
    ] {
        assert!(text.contains(&part), "'{part}' in {text}");
    }

    // The subagents were at work as the agent's definition has it, and the browser looked at the page.
    let report = ended.record()?.report.context("a report")?;
    let subagents: Vec<_> = report.subagents.iter().map(|subagent| subagent.agent_type.as_str()).collect();
    assert_eq!(subagents, ["researcher", "writer", "reviewer", "qa", "security-auditor"]);
    assert_eq!(world.sandbox.model().remaining(), Vec::new(), "turns of the script that nobody asked for");
    let screenshot = std::fs::read(world.run_dir().join("browser/post.png"))?;
    assert!(screenshot.starts_with(b"\x89PNG") && screenshot.len() > 10_000, "{} bytes", screenshot.len());

    // Every event went through, in the transcript too, which nobody else can read.
    let transcript = world.run_dir().join("transcript.jsonl");
    let kinds: BTreeSet<_> = std::fs::read_to_string(&transcript)?
        .lines()
        .map(|line| Ok(serde_json::from_str::<Value>(line)?["type"].as_str().unwrap_or_default().to_owned()))
        .collect::<anyhow::Result<_>>()?;
    for kind in ["system", "assistant", "user", "result"] {
        assert!(kinds.contains(kind), "{kinds:?}");
        assert!(ended.lines.iter().any(|line| line["type"] == kind), "{kind} on stdout");
    }
    assert_eq!(std::fs::metadata(&transcript)?.mode() & 0o077, 0);

    assert_eq!(world.processes(), Vec::<String>::new(), "browser or dev server is left running");
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// P3, P7: the hosts that were asked for, and the secrets, seen from outside.
#[test]
fn only_the_services_are_asked_and_no_secret_is_left_behind() -> anyhow::Result<()> {
    let world = World::new("one-edit")?;
    let ended = world.publish(&["--agent", "writer", TOPIC])?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    let hosts: BTreeSet<_> = world.sandbox.hosts_asked().into_iter().collect();
    let expected = ["api.anthropic.com:443", "api.github.com:443", "discord.com:443", "github.com:443"];
    assert_eq!(hosts, expected.map(str::to_owned).into());

    let webhook = world.sandbox.discord().webhook_url_real();
    let key = world.sandbox.github().app().private_key_pem.clone();
    let key_line = key.lines().nth(1).context("a key of more than one line")?;
    let secrets = [world.sandbox.model().token(), webhook, key_line.to_owned(), "ghs_".to_owned()];
    let said = std::iter::once(ended.stderr.clone()).chain(ended.lines.iter().map(Value::to_string));
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    let written = pulls.into_iter().flat_map(|pull| [pull.title, pull.body]);
    let sent = world.sandbox.discord().messages().into_iter().map(|message| message.raw.to_string());
    for text in said.chain(written).chain(sent) {
        for secret in &secrets {
            assert!(!text.contains(secret), "'{secret}' in {text}");
        }
    }
    // Neither in a file that the run has left: run directory, clone with its .git, home and temporary folder.
    for folder in [world.run_dir(), world.clone_path(), world.path("home"), world.path("tmp")] {
        for secret in &secrets {
            assert_eq!(world.files_with(secret, &folder)?, "", "'{secret}' stands in a file");
        }
    }
    Ok(())
}

/// P7, P8
#[test]
fn publishing_again_finds_the_same_pull_request() -> anyhow::Result<()> {
    let world = World::new("one-edit")?;
    assert_eq!(world.publish(&["--agent", "writer", TOPIC])?.code, 0);
    let again = world.publish(&["--stage", "publish"])?;
    assert_eq!(again.code, 0, "{}", again.stderr);

    assert_eq!(world.sandbox.github().pull_requests(REPOSITORY).len(), 1);
    assert_eq!(world.run_branches()?.len(), 1);
    assert_eq!(world.sandbox.discord().messages().len(), 1);
    let record = again.record()?;
    assert_eq!(record.pull_request.context("a pull request")?.operation, "existing");
    assert_eq!(record.push.context("a push")?.operation, "unchanged");
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// P2
#[test]
fn runs_at_once_in_clones_of_their_own_never_share_a_branch() -> anyhow::Result<()> {
    let world = World::new("one-edit")?;
    let scenario = e2e::workspace().join("tests/sandbox/scenarios/one-edit.json");
    world.sandbox.model().load(sandbox::Scenario::from_file(&scenario)?)?;
    let runs = ["first", "second"].map(|name| -> anyhow::Result<_> {
        let clone = world.clone_to(name)?;
        let mut run = world.run_publisher(&["--agent", "writer", TOPIC])?;
        run.current_dir(clone).env("PRESSRUN_RUN_DIR", world.path(&format!("run-{name}")));
        Ok(run.spawn()?)
    });
    for run in runs {
        let ended = e2e::Ended::from_output(&run?.wait_with_output()?)?;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let branches: BTreeSet<_> = world.run_branches()?.into_iter().map(|(name, _)| name).collect();
    let heads: BTreeSet<_> =
        world.sandbox.github().pull_requests(REPOSITORY).into_iter().map(|pull| pull.head).collect();
    assert_eq!(branches.len(), 2, "{branches:?}");
    assert_eq!(branches, heads, "a pull request a branch");
    Ok(())
}

/// P4: the prompt is data, for every piece that it goes through.
#[test]
fn a_topic_full_of_shell_and_markup_arrives_unchanged_and_runs_nothing() -> anyhow::Result<()> {
    let world = World::new("one-edit")?;
    let mark = world.path("ran");
    let topic = format!(
        "--help \"quotes\" 'single' $(touch {0}) `touch {0}` ; touch {0} & \\ {{{{x}}}} @everyone\nsecond line — ünïcödé 🦀",
        mark.display()
    );
    let ended = world.publish(&["--agent", "writer", "--", &topic])?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!mark.exists(), "a part of the topic was run");
    assert_eq!(ended.record()?.prompt, topic);
    // JSON in the body, so the topic is there as JSON writes it; without the quotes, for other text stands around it.
    let as_json = serde_json::to_string(&topic)?;
    let asked = world.sandbox.model().requests();
    let whole = asked.iter().find(|request| {
        let messages = request.json()["messages"].clone();
        messages.to_string().contains(as_json.trim_matches('"'))
    });
    assert!(whole.is_some(), "the model was never asked with the whole topic");
    assert_eq!(world.sandbox.violations(), Vec::<String>::new(), "a message that pings");
    Ok(())
}

/// P11
#[test]
fn without_publishing_the_branch_stays_here_and_that_is_said() -> anyhow::Result<()> {
    let world = World::new("one-edit")?;
    let mut run = world.run_publisher(&["--agent", "writer", "--no-publish", TOPIC])?;
    for name in ["GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY_FILE", "DISCORD_WEBHOOK_URL"] {
        run.env_remove(name);
    }
    let ended = e2e::Ended::from_output(&run.output()?)?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("--no-publish: the branch stays here"), "{}", ended.stderr);
    let record = ended.record()?;
    assert_eq!(record.outcome, Outcome::Success);
    let branch = record.branch.context("a branch")?;
    assert_eq!(world.git(&world.clone_path(), &["rev-parse", &branch])?, record.head.context("a head")?);
    assert_eq!(world.run_branches()?, Vec::new());
    assert!(world.sandbox.hosts_asked().iter().all(|host| host == "api.anthropic.com:443"));
    Ok(())
}

/// P1: paths are those of the folder that it is called from.
#[test]
fn a_run_may_be_started_in_a_folder_of_the_clone() -> anyhow::Result<()> {
    let world = World::new("one-edit")?;
    symlink(e2e::workspace().join("scripts"), world.path("scripts"))?;
    let known = world.run_publisher(&[])?;
    let mut run = world.command("sh");
    run.envs(known.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .args(["-c", r#"exec ../../scripts/run-publisher.sh "$@""#, "sh", "--agent", "writer", TOPIC])
        .env("GITHUB_APP_PRIVATE_KEY_FILE", "../../app-key.pem")
        .env("PRESSRUN_RUN_DIR", "../../run")
        .current_dir(world.clone_path().join("content"));
    let ended = e2e::Ended::from_output(&run.output()?)?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(world.run_branches()?.len(), 1);
    assert!(world.run_dir().join("published.json").is_file());
    Ok(())
}
