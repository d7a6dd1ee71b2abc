//! Signals to the run, at every stage. What was begun is ended in order, kept, and told.

use crate::expected::{DELIVERED, Expected, NOTHING_DONE, Published, UNFINISHED, assert_ended};
use crate::scripted::{ended, is_done, published_again, run, runs, world, writer, writes_the_note};
use agent_task::Outcome;
use e2e::{Ended, REPOSITORY, World, heard, send};
use sandbox::{Fault, How, Service};
use serde_json::json;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Child;
use std::time::{Duration, Instant};

const INTERRUPTED: Expected<'_> = Expected { outcome: Outcome::Interrupted, ..UNFINISHED };

const INTERRUPTED_BEFORE: Expected<'_> = Expected { outcome: Outcome::Interrupted, ..NOTHING_DONE };

/// A run whose agent writes the note and then runs `command`, which has said through the pipe that it is at work.
fn at_work(command: &str) -> anyhow::Result<(World, Child)> {
    let pipe = "\"$HOME/../at-work\"";
    let world = world([
        writes_the_note(),
        runs(&command.replace("AT_WORK", &format!("echo $$ >{pipe}"))),
        is_done(),
    ])?;
    let pipe = world.pipe("at-work")?;
    let child = run(&world, &["--allowed-tools", "Write,Bash"])?.spawn()?;
    heard(&pipe)?;
    Ok((world, child))
}

fn end(child: Child) -> anyhow::Result<Ended> {
    Ended::from_output(&child.wait_with_output()?)
}

/// P9, P10
#[test]
fn a_run_that_is_ended_while_the_agent_works_is_kept_and_told() -> anyhow::Result<()> {
    for signal in ["TERM", "INT", "HUP"] {
        let (world, child) = at_work("AT_WORK; sleep 600")?;
        send(signal, child.id())?;
        assert_ended(&world, &end(child)?, Expected { error: "SIGTERM", ..INTERRUPTED })?;
    }
    Ok(())
}

/// P9: what does not listen to the first signal is killed at the second, without its ten seconds.
#[test]
fn a_second_signal_ends_what_did_not_listen_to_the_first() -> anyhow::Result<()> {
    let stubborn = "trap 'echo TERM >\"$HOME/../termed\"' TERM; AT_WORK; while :; do sleep 600; done";
    let (world, child) = at_work(&format!("setsid sh -c '{}' & wait", stubborn.replace('\'', "'\\''")))?;
    let termed = world.pipe("termed")?;
    send("TERM", child.id())?;
    heard(&termed)?;
    let began = Instant::now();
    send("TERM", child.id())?;
    let ended = end(child)?;
    assert!(began.elapsed() < Duration::from_secs(9), "it was given its ten seconds: {:?}", began.elapsed());
    assert_ended(&world, &ended, INTERRUPTED)
}

/// P9, P10: the agent is not started after that.
#[test]
fn a_run_that_is_ended_while_its_servers_start_does_not_begin() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let pipe = world.pipe("at-work")?;
    let overlay = world.path("overlay.json");
    let script = format!("echo here >{}; exec sleep 600", pipe.display());
    let server = json!({"type": "stdio", "command": "sh", "args": ["-c", script]});
    std::fs::write(&overlay, json!({"mcpServers": {"search": server}}).to_string())?;
    let child = run(&world, &["--mcp-overlay", &overlay.to_string_lossy()])?.spawn()?;
    heard(&pipe)?;
    let began = Instant::now();
    send("TERM", child.id())?;
    let ended = end(child)?;
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for the server: {:?}", began.elapsed());
    let expected = Expected { outcome: Outcome::Interrupted, stage: "mcp-start", ..NOTHING_DONE };
    assert_ended(&world, &ended, expected)?;
    assert_eq!(world.sandbox.model().first_request_at(), None, "the model was asked");
    Ok(())
}

/// P8, P9: between the checks and the agent.
#[test]
fn a_run_that_is_ended_before_its_agent_does_not_begin() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let pipe = world.pipe("at-work")?;
    let go = world.pipe("go")?;
    let folder = world.path("before");
    std::fs::create_dir(&folder)?;
    let slow = format!(
        "#!/bin/sh\necho here >{}\nread -r go <{}\nexec {} \"$@\"\n",
        pipe.display(),
        go.display(),
        e2e::find_program("mcp-config")?.display(),
    );
    std::fs::write(folder.join("mcp-config"), slow)?;
    std::fs::set_permissions(folder.join("mcp-config"), Permissions::from_mode(0o755))?;
    let mut run = run(&world, &[])?;
    let path = run.get_envs().find_map(|(name, value)| value.filter(|_| name == "PATH")).unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(path)))?;
    let child = run.env("PATH", path).spawn()?;
    heard(&pipe)?;
    send("TERM", child.id())?;
    std::fs::write(&go, "go\n")?;
    let ended = end(child)?;
    assert_ended(&world, &ended, Expected { error: "ended by a signal", ..INTERRUPTED_BEFORE })?;
    assert_eq!(world.sandbox.model().first_request_at(), None, "the model was asked");
    Ok(())
}

/// P9, P10: a commit that has begun is finished, and published.
#[test]
fn a_run_that_is_ended_while_its_work_is_committed_delivers_it() -> anyhow::Result<()> {
    let large = "head -c 48M /dev/urandom >content/posts/film.bin";
    let world = world([writes_the_note(), runs(large), is_done()])?;
    let mut child = run(&world, &["--allowed-tools", "Write,Bash"])?.spawn()?;
    let objects = world.clone_path().join(".git/objects");
    let writes = || {
        let entries = std::fs::read_dir(&objects).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("tmp_obj"))
    };
    while !writes() {
        assert_eq!(child.try_wait()?, None, "no commit was seen");
        std::thread::sleep(Duration::from_millis(1));
    }
    send("TERM", child.id())?;
    let files = &["content/posts/film.bin", "content/posts/note.md"];
    assert_ended(&world, &end(child)?, Expected { files, ..DELIVERED })
}

/// P9: what guards the agent is killed itself, as by the kernel when memory runs out.
#[test]
fn a_run_whose_guard_is_killed_is_salvaged_and_told() -> anyhow::Result<()> {
    let world = world([writes_the_note(), runs("kill -KILL $PRESSRUN_PID; sleep 600"), is_done()])?;
    let ended = end(run(&world, &["--allowed-tools", "Write,Bash"])?.spawn()?)?;
    assert_ended(&world, &ended, Expected { error: "killed", ..INTERRUPTED })
}

/// Runs the writer, and kills the script and the agent's guard when the agent tells the guard's process id.
fn killed_at_once(world: &World) -> anyhow::Result<()> {
    let pipe = world.pipe("at-work")?;
    let mut child = run(world, &["--allowed-tools", "Write,Bash"])?.spawn()?;
    let guard = heard(&pipe)?.trim().parse()?;
    // As if at once: neither is there to see the other's end.
    send("STOP", child.id())?;
    send("KILL", guard)?;
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// P2, P8, P9: all of the run is killed at once, as with its machine. The next run in the clone ends what is left of it, keeps
/// and publishes what was done, tells of it, and goes about its own work.
#[test]
fn a_run_that_is_killed_loses_nothing_when_another_is_started() -> anyhow::Result<()> {
    let command = "echo $PRESSRUN_PID >\"$HOME/../at-work\"; sleep 600";
    let world = world([writes_the_note(), runs(command), is_done()])?;
    killed_at_once(&world)?;
    let killed = world.git(&world.clone_path(), &["branch", "--show-current"])?;
    assert!(killed.starts_with("agent/writer-"), "{killed}");

    world.sandbox.model().load(writer([runs("echo more >content/posts/more.md"), is_done()]))?;
    let ended = ended(&world, &["--allowed-tools", "Write,Bash"])?;
    let record = ended.record()?;
    assert_eq!((ended.code, record.outcome), (0, Outcome::Success), "{}", ended.stderr);
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    let open: Vec<_> = pulls.into_iter().map(|pull| (Some(pull.head), pull.draft)).collect();
    assert_eq!(open, [(Some(killed.clone()), true), (record.branch, false)], "{}", ended.stderr);
    world.git(&world.remote, &["cat-file", "-e", &format!("{killed}:content/posts/note.md")])?;
    let messages = world.sandbox.discord().messages();
    let told: Vec<_> = messages.iter().map(|message| message.raw.to_string()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("FAILED") && told[0].contains("the run was killed"), "{told:?}");
    assert_eq!(world.processes(), Vec::<String>::new());
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// P2, P9: all of the run is killed while the agent is on a branch of its own, with its work committed there.
#[test]
fn a_run_that_is_killed_elsewhere_is_published_as_any_other() -> anyhow::Result<()> {
    let command = "git switch -qc elsewhere && git add -A && git commit -qm 'Add a note' && \
                   echo $PRESSRUN_PID >\"$HOME/../at-work\"; sleep 600";
    let world = world([writes_the_note(), runs(command), is_done()])?;
    killed_at_once(&world)?;
    assert_eq!(world.git(&world.clone_path(), &["branch", "--show-current"])?, "elsewhere");
    assert_ended(&world, &published_again(&world)?, Expected { error: "killed", ..INTERRUPTED })
}

/// P9: nobody is left to publish what the agent does, so it ends, in order; the next run publishes it.
#[test]
fn a_run_whose_script_is_killed_ends_and_is_published_by_the_next() -> anyhow::Result<()> {
    let (world, mut child) = at_work("AT_WORK; sleep 600")?;
    child.kill()?;
    child.wait()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !world.processes().is_empty() {
        assert!(Instant::now() < deadline, "goes on without its script: {:?}", world.processes());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_ended(&world, &published_again(&world)?, Expected { error: "SIGTERM", ..INTERRUPTED })
}

/// P9, P10: publishing that is ended is told, and the next time finishes the job.
#[test]
fn publishing_that_is_ended_can_be_done_again() -> anyhow::Result<()> {
    let unpushed = Expected { stage: "push", published: Published::Nothing, ..INTERRUPTED };
    let unopened = Expected {
        outcome: Outcome::PullRequestFailed,
        stage: "pull-request",
        published: Published::Branch,
        ..UNFINISHED
    };
    let world = world([writes_the_note(), is_done()])?;
    let hang = || How::Hang(Duration::from_secs(600));
    let wait_for = |what: &str, condition: &dyn Fn(&sandbox::GitHub) -> bool| {
        let holds = |sandbox: &sandbox::Sandbox| condition(sandbox.github());
        assert!(world.sandbox.wait_until(Duration::from_secs(120), holds), "{what}");
    };

    world.sandbox.fail(Fault::next(Service::Git, hang()));
    let child = run(&world, &[])?.spawn()?;
    wait_for("git asks nothing", &|github| !github.git_requests().is_empty());
    send("TERM", child.id())?;
    assert_ended(&world, &end(child)?, unpushed)?;

    let pulls = "/repos/octo/blog/pulls";
    let (path_prefix, method) = (pulls.to_owned(), Some("POST".to_owned()));
    world.sandbox.fail(Fault { path_prefix, method, ..Fault::next(Service::GitHub, hang()) });
    let child = world.run_publisher(&["--stage", "publish"])?.spawn()?;
    wait_for("open-pr asks nothing", &|github| {
        github.requests().iter().any(|request| request.method == "POST" && request.path.starts_with(pulls))
    });
    send("TERM", child.id())?;
    assert_ended(&world, &end(child)?, unopened)?;

    assert_ended(&world, &published_again(&world)?, DELIVERED)
}

/// P8, P9, P10: neither the token nor the message is waited for, and the next time finishes the job.
#[test]
fn a_signal_ends_the_wait_for_the_token_and_for_discord_at_once() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let ended_at = |service, path: &str, arguments: &[&str]| -> anyhow::Result<Ended> {
        let how = How::Hang(Duration::from_secs(600));
        world.sandbox.fail(Fault { path_prefix: path.to_owned(), ..Fault::next(service, how) });
        let before = world.sandbox.github().requests().len() + world.sandbox.discord().requests().len();
        let child = match arguments {
            [] => run(&world, &[])?.spawn()?,
            _ => world.run_publisher(arguments)?.spawn()?,
        };
        let asked = |sandbox: &sandbox::Sandbox| {
            let requests = [sandbox.github().requests(), sandbox.discord().requests()].concat();
            requests.iter().skip(before).any(|request| request.path.starts_with(path) && request.status == 0)
        };
        assert!(world.sandbox.wait_until(Duration::from_secs(120), asked), "nothing asks for {path}");
        let began = Instant::now();
        send("TERM", child.id())?;
        let ended = end(child)?;
        assert!(began.elapsed() < Duration::from_secs(20), "it was waited for: {:?}", began.elapsed());
        Ok(ended)
    };
    let untokened = Expected { stage: "token", published: Published::Nothing, ..INTERRUPTED };
    assert_ended(&world, &ended_at(Service::GitHub, "/repos/octo/blog/installation", &[])?, untokened)?;
    let again = ["--stage", "publish"];
    // The message is still that of the first time; the exit code says so.
    let untold = ended_at(Service::Discord, "/api/", &again)?;
    assert_eq!((untold.code, untold.record()?.outcome), (1, Outcome::Success), "{}", untold.stderr);
    assert_ended(&world, &published_again(&world)?, DELIVERED)
}
