//! What fails when a run is published: nothing is lost, it is told once, and publishing again finishes the job.

use crate::expected::{DELIVERED, Expected, Published, UNFINISHED, assert_ended};
use crate::scripted::{ended, is_done, published_again, run, runs, world, writer, writes_the_note};
use agent_task::Outcome;
use anyhow::{Context as _, bail};
use e2e::{Ended, REPOSITORY, World};
use sandbox::{Fault, How, Limit, Service};
use std::time::Duration;

/// Calls of this service fail from here on, where method and path are these; for so many times.
fn fail(world: &World, service: Service, method: &str, path: &str, times: usize, how: How) {
    let (method, path_prefix) = (Some(method.to_owned()), path.to_owned());
    world.sandbox.fail(Fault { method, path_prefix, times, ..Fault::next(service, how) });
}

fn status(code: u16, body: &str) -> How {
    // A wait that is longer than anybody's patience: asking again is not what is looked at.
    let headers = vec![("retry-after".to_owned(), "3600".to_owned())];
    How::Status { code, headers: if code < 500 { Vec::new() } else { headers }, body: body.to_owned() }
}

fn gives(world: &World, expected: Expected<'_>) -> anyhow::Result<()> {
    assert_ended(world, &published_again(world)?, expected)
}

/// P7, P8, P9: one run, whose publishing fails in one way after the other until it does not.
#[test]
fn whatever_fails_in_publishing_the_next_time_finishes_the_job() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let unpushed = Expected { published: Published::Nothing, ..UNFINISHED };
    let unopened = Expected {
        outcome: Outcome::PullRequestFailed,
        stage: "pull-request",
        published: Published::Branch,
        ..UNFINISHED
    };

    let body = r#"{"message":"Integration must generate a public key"}"#;
    fail(&world, Service::GitHub, "GET", "/repos/octo/blog/installation", 1, status(401, body));
    fail(&world, Service::GitHub, "POST", "/app/installations", 1, status(401, body));
    let token = Expected { outcome: Outcome::TokenFailed, stage: "token", error: "public key", ..unpushed };
    assert_ended(&world, &ended(&world, &[])?, token)?;
    // The one of the two calls that was not made: it would fail later.
    let _ = published_again(&world)?;

    for (code, outcome, error) in [(403, Outcome::PushRefused, "403"), (500, Outcome::PushFailed, "500")] {
        fail(&world, Service::Git, "GET", "/octo/blog.git", 1, status(code, ""));
        gives(&world, Expected { outcome, stage: "push", error, ..unpushed })?;
    }

    let pulls = "/repos/octo/blog/pulls";
    // The first time it is only looked for a merged one.
    fail(&world, Service::GitHub, "GET", pulls, 2, status(401, r#"{"message":"Bad credentials"}"#));
    gives(&world, Expected { error: "Bad credentials", ..unopened })?;
    let body = r#"{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"No"}]}"#;
    for (code, body, error) in [
        (422, body, "Validation Failed"),
        (403, r#"{"message":"Resource not accessible by integration"}"#, "not accessible by integration"),
        (503, r#"{"message":"Unicorn"}"#, "503"),
    ] {
        fail(&world, Service::GitHub, "POST", pulls, 1, status(code, body));
        gives(&world, Expected { error, ..unopened })?;
    }

    gives(&world, DELIVERED)?;
    gives(&world, DELIVERED)
}

/// P7, P9
#[test]
fn a_rule_that_refuses_the_push_is_told_in_its_words() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    world.sandbox.github().protect("agent/*", "Branches must name a ticket");
    let expected = Expected {
        outcome: Outcome::PushRefused,
        stage: "push",
        error: "Branches must name a ticket",
        published: Published::Nothing,
        ..UNFINISHED
    };
    assert_ended(&world, &ended(&world, &[])?, expected)
}

/// P7, P9: and what to do about it.
#[test]
fn a_workflow_file_is_refused_and_explained() -> anyhow::Result<()> {
    let command = "mkdir -p .github/workflows && echo 'on: push' >.github/workflows/ci.yml";
    let world = world([runs(command), is_done()])?;
    let expected = Expected {
        outcome: Outcome::PushRefused,
        stage: "push",
        error: "the permission 'workflows'",
        files: &[".github/workflows/ci.yml"],
        published: Published::Nothing,
        ..UNFINISHED
    };
    assert_ended(&world, &ended(&world, &["--allowed-tools", "Bash"])?, expected)
}

/// P7, P9: the token was given, and the run took longer than it lives.
#[test]
fn a_run_that_is_longer_than_its_token_is_published_with_another() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let token = world.sandbox.github().mint(REPOSITORY, &[("contents", "write"), ("pull_requests", "write")]);
    world.sandbox.clock().advance(jiff::SignedDuration::from_mins(61));
    let ended = Ended::from_output(&run(&world, &[])?.env("GITHUB_TOKEN", token).output()?)?;
    let expected = Expected {
        outcome: Outcome::PushRefused,
        stage: "push",
        error: "not be expired",
        published: Published::Nothing,
        ..UNFINISHED
    };
    assert_ended(&world, &ended, expected)?;
    gives(&world, DELIVERED)
}

/// P2, P7: another's push to the same name comes after the look at the remote, and before our push. Its work stays, ours goes beside
/// it.
#[test]
fn a_push_that_another_has_overtaken_goes_beside_it() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    fail(
        &world,
        Service::Git,
        "POST",
        "/octo/blog.git/git-receive-pack",
        1,
        How::Hang(Duration::from_secs(5)),
    );
    let child = run(&world, &[])?.spawn()?;
    let pushing = |sandbox: &sandbox::Sandbox| {
        sandbox.github().git_requests().iter().any(|request| request.path.ends_with("git-receive-pack"))
    };
    assert!(world.sandbox.wait_until(Duration::from_secs(120), pushing), "nothing is pushed");
    let branches =
        world.git(&world.clone_path(), &["branch", "--format=%(refname:short)", "--list", "agent/*"])?;
    let other = world
        .git(&world.path("seed"), &["commit-tree", "-p", "main", "-m", "Another's work", "main^{tree}"])?;
    let refspec = format!("{other}:refs/heads/{branches}");
    world.git(&world.path("seed"), &["push", "--quiet", &world.remote.to_string_lossy(), &refspec])?;

    let ended = Ended::from_output(&child.wait_with_output()?)?;
    let record = ended.record()?;
    assert_eq!((ended.code, record.outcome), (0, Outcome::Success), "{}", ended.stderr);
    let push = record.push.unwrap_or_else(|| panic!("no push: {}", ended.stderr));
    assert_ne!(push.branch, branches);
    let expected = vec![(branches, other), (push.branch.clone(), push.head)];
    assert_eq!(world.run_branches()?, expected, "{}", ended.stderr);
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    assert_eq!(pulls.iter().map(|pull| &pull.head).collect::<Vec<_>>(), [&push.branch]);
    assert_eq!(world.sandbox.discord().messages().len(), 1);
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// P7: a closed pull request is somebody's decision and stays closed; publishing again asks anew.
#[test]
fn a_pull_request_that_was_closed_is_not_taken_for_an_open_one() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    assert_ended(&world, &ended(&world, &[])?, DELIVERED)?;
    let token = world.sandbox.github().mint(REPOSITORY, &[("pull_requests", "write")]);
    let url = format!("{}/repos/{REPOSITORY}/pulls/1", world.sandbox.github().api_url());
    let header = format!("Authorization: Bearer {token}");
    let closed = world
        .command("curl")
        .args(["-fsS", "-o", "/dev/null", "-X", "PATCH", "-H", "Accept: application/vnd.github+json"])
        .args(["-H", "X-GitHub-Api-Version: 2022-11-28", "-H", &header, "-d", r#"{"state":"closed"}"#, &url])
        .status()?;
    assert!(closed.success());
    gives(&world, DELIVERED)?;
    let states: Vec<_> =
        world.sandbox.github().pull_requests(REPOSITORY).into_iter().map(|pull| pull.state).collect();
    assert_eq!(states, ["closed", "open"]);
    Ok(())
}

/// P8: the work is delivered all the same, the exit code says that nobody was told, and who runs it again is told once.
#[test]
fn a_discord_that_fails_costs_the_message_and_nothing_else() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let untold = Expected { code: 1, messages: 0, ..DELIVERED };
    let webhooks = "/api/webhooks";
    fail(&world, Service::Discord, "POST", webhooks, 1, status(503, "upstream connect error"));
    assert_ended(&world, &ended(&world, &[])?, untold)?;
    fail(
        &world,
        Service::Discord,
        "POST",
        webhooks,
        1,
        status(404, r#"{"message":"Unknown Webhook","code":10015}"#),
    );
    let again = published_again(&world)?;
    assert_ended(&world, &again, untold)?;
    assert!(again.stderr.contains("Unknown Webhook"), "{}", again.stderr);
    // Nobody is told, so the message stands where it can be read.
    assert!(again.stderr.contains("Writer completed"), "{}", again.stderr);

    let limited = How::RateLimited { retry_after: Duration::from_millis(50), limit: Limit::Primary };
    fail(&world, Service::Discord, "POST", webhooks, 1, limited);
    gives(&world, DELIVERED)?;
    gives(&world, DELIVERED)
}

/// How a person may merge a pull request.
#[derive(Debug, Clone, Copy)]
enum Merged {
    AsCommit,
    FastForward,
    SquashedAndDeleted,
}

/// A person merges the only pull request.
fn merge(world: &World, how: Merged) -> anyhow::Result<()> {
    let [(branch, head)] = &world.run_branches()?[..] else { bail!("not one branch") };
    let (seed, remote) = (world.path("seed"), world.remote.to_string_lossy().into_owned());
    world.git(&seed, &["fetch", "--quiet", &remote, branch])?;
    let arguments: &[&str] = match how {
        Merged::AsCommit => &["merge", "--quiet", "--no-ff", "-m", "Merge", head],
        Merged::FastForward => &["merge", "--quiet", "--ff-only", head],
        Merged::SquashedAndDeleted => &["merge", "--quiet", "--squash", head],
    };
    world.git(&seed, arguments)?;
    world.sandbox.github().merge(REPOSITORY, 1);
    if matches!(how, Merged::SquashedAndDeleted) {
        world.git(&seed, &["commit", "--quiet", "-m", "The note (#1)"])?;
        world.git(&world.remote, &["update-ref", "-d", &format!("refs/heads/{branch}")])?;
    }
    world.git(&seed, &["push", "--quiet", &remote, "main"])?;
    Ok(())
}

/// Asserts that the run is told as delivered by its one pull request, and that the remote is as it was.
#[track_caller]
fn assert_merged(world: &World, branches: &[(String, String)]) -> anyhow::Result<()> {
    let ended = published_again(world)?;
    let record = ended.record()?;
    assert_eq!((ended.code, record.outcome), (0, Outcome::Success), "{}", ended.stderr);
    assert_eq!(record.pull_request.context("a pull request")?.state, "merged");
    assert_eq!(world.run_branches()?, branches);
    assert_eq!(world.sandbox.github().pull_requests(REPOSITORY).len(), 1);
    let [message] = &world.sandbox.discord().messages()[..] else { bail!("not one message") };
    let text = message.raw.to_string();
    let pull = format!("PR: https://github.com/{REPOSITORY}/pull/1");
    assert!(text.contains("Writer completed") && text.contains(&pull), "{text}");
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// P1, P7, P8: what a person has merged is delivered, however it was merged, and also where nobody was told before.
#[test]
fn a_pull_request_that_was_merged_is_not_opened_again() -> anyhow::Result<()> {
    for how in [Merged::AsCommit, Merged::FastForward, Merged::SquashedAndDeleted] {
        for told in [false, true] {
            let world = world([writes_the_note(), is_done()])?;
            if !told {
                fail(&world, Service::Discord, "POST", "/api/webhooks", 1, status(503, "down"));
            }
            let expected = Expected { code: (!told).into(), messages: told.into(), ..DELIVERED };
            assert_ended(&world, &ended(&world, &[])?, expected)?;
            merge(&world, how)?;
            let branches = world.run_branches()?;
            assert_merged(&world, &branches)?;
            assert_merged(&world, &branches)?;
        }
    }
    Ok(())
}

/// The next run in the clone, which has its own work.
fn delivered_next(world: &World) -> anyhow::Result<Ended> {
    let more = runs("mkdir -p content/posts; echo more >content/posts/more.md");
    world.sandbox.model().load(writer([more, is_done()]))?;
    let second = ended(world, &["--allowed-tools", "Bash"])?;
    assert_eq!(second.code, 0, "{}", second.stderr);
    Ok(second)
}

/// Each of two runs was told as a success, once.
fn assert_both_completed(world: &World) {
    let messages = world.sandbox.discord().messages();
    let completed = messages.iter().filter(|message| message.raw.to_string().contains("Writer completed"));
    assert_eq!((messages.len(), completed.count()), (2, 2), "{messages:?}");
}

/// P7, P8: nor by the next run, which tells what nobody was told.
#[test]
fn the_next_run_tells_of_one_that_was_merged() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    fail(&world, Service::Discord, "POST", "/api/webhooks", 1, status(503, "down"));
    assert_ended(&world, &ended(&world, &[])?, Expected { code: 1, messages: 0, ..DELIVERED })?;
    merge(&world, Merged::SquashedAndDeleted)?;
    delivered_next(&world)?;
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    let states: Vec<_> = pulls.iter().map(|pull| pull.state.as_str()).collect();
    assert_eq!(states, ["closed", "open"]);
    assert_eq!(world.run_branches()?.len(), 1);
    assert_both_completed(&world);
    Ok(())
}

/// P1, P8: what failed in publishing for a reason that passes is published by the next run in the clone.
#[test]
fn the_next_run_publishes_what_could_not_be_published() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    fail(&world, Service::Git, "GET", "/octo/blog.git", 1, status(500, ""));
    let first = ended(&world, &[])?;
    assert_eq!(first.record()?.outcome, Outcome::PushFailed, "{}", first.stderr);
    let second = delivered_next(&world)?;
    let heads: Vec<_> =
        world.sandbox.github().pull_requests(REPOSITORY).into_iter().map(|pull| Some(pull.head)).collect();
    assert_eq!(heads, [first.record()?.branch, second.record()?.branch]);
    assert_both_completed(&world);
    Ok(())
}

/// P1, P8: what is refused for good is not tried by every run after it. By hand it is.
#[test]
fn the_next_run_does_not_try_again_what_is_refused_for_good() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    world.sandbox.github().protect("agent/*", "Branches must name a ticket");
    for runs in 1..=2 {
        if runs == 2 {
            world.sandbox.model().load(writer([writes_the_note(), is_done()]))?;
        }
        let ended = ended(&world, &[])?;
        assert_eq!(ended.record()?.outcome, Outcome::PushRefused, "{}", ended.stderr);
        assert_eq!(world.sandbox.github().git_pushes().len(), runs, "one push a run");
        assert_eq!(world.sandbox.discord().messages().len(), runs, "one message a run");
    }
    assert_eq!(published_again(&world)?.code, 1);
    assert_eq!(world.sandbox.github().git_pushes().len(), 3);
    Ok(())
}
