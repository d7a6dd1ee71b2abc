//! The stages by themselves, as the containers of a pod run them: each with its own environment and credentials, with a folder
//! and nothing else in common.

use crate::expected::NOTE;
use crate::scripted::{is_done, runs, world, writes_the_note};
use agent_task::{Outcome, RunRecord};
use anyhow::{Context as _, bail};
use e2e::{Disk, Ended, REPOSITORY, World, heard, workspace};
use sandbox::{Fault, How, Service};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const TOPIC: &str = "A note on $(HOME) \"backups\"";

/// The run's id. What is salvaged ends every process that has it, so no two worlds have the same.
fn run_id(world: &World) -> String {
    let folder = world
        .path("run")
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    format!("writer-{}", folder.trim_start_matches("e2e-"))
}

/// A script with the credentials that are named, and no other.
fn script(world: &World, name: &str, credentials: &[&str]) -> anyhow::Result<Command> {
    e2e::build();
    let mut command = world.command(&workspace().join("scripts").join(name).to_string_lossy());
    let known = world.credentials()?;
    command
        .envs(known.into_iter().filter(|(name, _)| credentials.contains(&name.as_str())))
        .env("PRESSRUN_RUN", run_id(world))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

const APP: [&str; 2] = ["GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY_FILE"];

/// Runs checkout.sh: its exit code, and what it said.
fn checkout(world: &World, arguments: &[&str], to: &Path) -> anyhow::Result<(i32, String)> {
    let output =
        script(world, "checkout.sh", &APP)?.args(["--repo", REPOSITORY]).args(arguments).arg(to).output()?;
    let stderr = String::from_utf8(output.stderr)?;
    assert!(output.stdout.is_empty());
    Ok((output.status.code().unwrap_or(-1), stderr))
}

/// The clone that a pod has on its volume.
fn volume(world: &World) -> PathBuf {
    world.path("volume")
}

fn repository(world: &World) -> PathBuf {
    volume(world).join("repo")
}

fn checked_out(world: &World) -> anyhow::Result<()> {
    let (code, stderr) = checkout(world, &[], &repository(world))?;
    assert_eq!(code, 0, "{stderr}");
    Ok(())
}

/// A stage of the run on the volume, not yet started.
fn stage(world: &World, stage: &str, credentials: &[&str]) -> anyhow::Result<Command> {
    let mut command = script(world, "run-publisher.sh", credentials)?;
    command
        .args(["--stage", stage, "--run-dir", &volume(world).join("run").to_string_lossy()])
        .args(["--agent", "writer", "--base", "main", "--repo", REPOSITORY])
        .current_dir(repository(world))
        .env("CLAUDE_CODE_MAX_RETRIES", "1")
        .env("PRESSRUN_TERMINATION_LOG", world.path(&format!("{stage}.message")));
    Ok(command)
}

fn agent(world: &World) -> anyhow::Result<Command> {
    let mut command = stage(world, "agent", &["CLAUDE_CODE_OAUTH_TOKEN"])?;
    command.args(["--allowed-tools", "Write,Bash", "--", TOPIC]);
    Ok(command)
}

fn publish(world: &World) -> anyhow::Result<Ended> {
    let credentials = [&APP[..], &["DISCORD_WEBHOOK_URL"]].concat();
    Ended::from_output(&stage(world, "publish", &credentials)?.output()?)
}

/// The termination message of a stage.
fn message(world: &World, stage: &str) -> anyhow::Result<RunRecord> {
    let text = fs::read_to_string(world.path(&format!("{stage}.message")))?;
    assert!(text.len() <= 4096);
    Ok(serde_json::from_str(&text)?)
}

/// K6, P10
#[test]
fn a_checkout_reads_with_a_token_of_its_own_and_leaves_no_credential() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    checked_out(&world)?;
    let repo = repository(&world);
    assert_eq!(world.git(&repo, &["status", "--porcelain", "--branch"])?, "## main...origin/main");
    let config = fs::read_to_string(repo.join(".git/config"))?;
    assert!(config.contains("url = https://github.com/octo/blog.git"), "{config}");
    for trace in ["ghs_", "token", "helper", "extraheader", "x-access"] {
        assert!(!config.contains(trace), "{trace}: {config}");
    }
    assert!(!repo.join(".git/hooks").exists());
    let minted = world.sandbox.github().requests();
    let minted = minted.iter().find(|request| request.path.ends_with("/access_tokens")).unwrap();
    let asked: serde_json::Value = serde_json::from_slice(&minted.body)?;
    assert_eq!(asked["permissions"], serde_json::json!({"contents": "read"}));
    assert_eq!(asked["repositories"], serde_json::json!(["blog"]));
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// K16: what is there may be work.
#[test]
fn a_checkout_leaves_what_is_there() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    checked_out(&world)?;
    let work = repository(&world).join("work.md");
    fs::write(&work, "half a post")?;
    // What an earlier attempt left that did not come to its end is no obstacle.
    fs::create_dir_all(volume(&world).join("repo.new/.git"))?;
    checked_out(&world)?;
    assert_eq!(fs::read_to_string(work)?, "half a post");
    Ok(())
}

/// K4: stale code is worse than none.
#[test]
fn a_checkout_that_cannot_read_fails_and_says_what_to_do() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let to = repository(&world);
    let (code, stderr) = checkout(&world, &["--branch", "trunk"], &to)?;
    assert!(code == 1 && stderr.contains("the branches main and trunk"), "{code}: {stderr}");
    let (code, stderr) = checkout(&world, &["--repo", "octo/elsewhere"], &to)?;
    assert!(code == 4 && stderr.contains("installed on octo/elsewhere"), "{code}: {stderr}");
    let (code, stderr) = checkout(&world, &["--base", ""], &to)?;
    assert!(code == 2 && stderr.contains("--base wants a value"), "{code}: {stderr}");
    world.sandbox.fail(Fault {
        times: usize::MAX,
        ..Fault::next(Service::Git, How::Status { code: 503, headers: vec![], body: String::new() })
    });
    let mirror = world.path("mirror");
    let mirror = mirror.to_string_lossy();
    for arguments in [&[][..], &["--mirror", &mirror]] {
        let (code, stderr) = checkout(&world, arguments, &to)?;
        assert!(code == 3 && stderr.contains("reading octo/blog failed"), "{code}: {stderr}");
    }
    assert!(!to.exists());
    Ok(())
}

/// K4
#[test]
fn readers_share_a_copy_and_do_not_disturb_each_other() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let mirror = world.path("mirror");
    let shared = ["--mirror", &mirror.to_string_lossy()];
    let (first, second) = (world.path("first"), world.path("second"));
    let (code, stderr) = checkout(&world, &shared, &first)?;
    assert_eq!(code, 0, "{stderr}");
    let before = world.git(&first, &["rev-parse", "HEAD"])?;

    // The branch moves on, and not even forward.
    let seed = world.path("seed");
    world.git(&seed, &["commit", "--quiet", "--allow-empty", "--amend", "--message=Another beginning"])?;
    world.git(&seed, &["push", "--quiet", "--force", &world.remote.to_string_lossy(), "main"])?;
    let readers: Vec<_> = [&second, &world.path("third"), &world.path("fourth")]
        .into_iter()
        .map(|to| {
            script(&world, "checkout.sh", &APP)?
                .args(["--repo", REPOSITORY])
                .args(shared)
                .arg(to)
                .spawn()
                .map_err(anyhow::Error::from)
        })
        .collect::<Result<_, _>>()?;
    for reader in readers {
        let output = reader.wait_with_output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(world.git(&first, &["rev-parse", "HEAD"])?, before);
    assert_eq!(world.git(&first, &["status", "--porcelain"])?, "");
    world.git(&first, &["fsck", "--strict", "--no-dangling"])?;
    assert_eq!(world.git(&second, &["rev-parse", "HEAD"])?, world.git(&seed, &["rev-parse", "HEAD"])?);
    // A reader has no objects of its own, and nothing to push with.
    assert_eq!(
        fs::read_to_string(second.join(".git/objects/info/alternates"))?.trim(),
        mirror.join("octo/blog.git/objects").to_string_lossy()
    );
    assert!(fs::read_to_string(second.join(".git/config"))?.contains("https://github.com/octo/blog.git"));
    Ok(())
}

/// What is at the head of a clone: its branch, and its files.
fn head(world: &World, clone: &Path) -> anyhow::Result<(String, String)> {
    let branch = world.git(clone, &["branch", "--show-current"])?;
    Ok((branch, world.git(clone, &["log", "-1", "--format=%s"])?))
}

/// Pushes a commit of this name, on top of what `seed` has, to the branch.
fn pushed(world: &World, branch: &str, subject: &str) -> anyhow::Result<()> {
    let seed = world.path("seed");
    world.git(&seed, &["commit", "--quiet", "--allow-empty", "--message", subject])?;
    world.git(
        &seed,
        &["push", "--quiet", &world.remote.to_string_lossy(), &format!("HEAD:refs/heads/{branch}")],
    )?;
    Ok(())
}

fn deleted(world: &World, branch: &str) -> anyhow::Result<()> {
    world.git(&world.remote, &["update-ref", "-d", &format!("refs/heads/{branch}")])?;
    Ok(())
}

/// K1, K4
#[test]
fn a_run_may_begin_at_another_branch_than_it_is_meant_for() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    pushed(&world, "release/1.0", "Of the release")?;
    let mirror = world.path("mirror");
    for shared in [&[][..], &["--mirror", &mirror.to_string_lossy()]] {
        let to = world.path(if shared.is_empty() { "own" } else { "shared" });
        let (code, stderr) = checkout(&world, &[shared, &["--branch", "release/1.0"]].concat(), &to)?;
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(head(&world, &to)?, ("release/1.0".to_owned(), "Of the release".to_owned()));
        let base = world.git(&to, &["log", "-1", "--format=%s", "origin/main"])?;
        assert_ne!(base, "Of the release", "the base is there too, and is its own");
        assert_eq!(world.git(&to, &["status", "--porcelain"])?, "");
    }
    Ok(())
}

/// K4: stale code is worse than none, and who reads it already is not disturbed.
#[test]
fn a_branch_that_is_gone_is_gone_for_the_next_reader() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    pushed(&world, "release", "Of the release")?;
    let mirror = world.path("mirror");
    let read = |branch: &str, to: &str| {
        let shared = ["--mirror", &mirror.to_string_lossy(), "--branch", branch];
        checkout(&world, &shared, &world.path(to))
    };
    let (code, stderr) = read("release", "first")?;
    assert_eq!(code, 0, "{stderr}");

    deleted(&world, "release")?;
    let (code, stderr) = read("release", "late")?;
    assert!(code == 1 && stderr.contains("there is no branch release"), "{code}: {stderr}");
    // Its name is a folder now.
    pushed(&world, "release/1.0", "Of the first release")?;
    let (code, stderr) = read("release/1.0", "second")?;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        head(&world, &world.path("second"))?,
        ("release/1.0".to_owned(), "Of the first release".to_owned())
    );

    let first = world.path("first");
    assert_eq!(head(&world, &first)?, ("release".to_owned(), "Of the release".to_owned()));
    world.git(&first, &["fsck", "--strict", "--no-dangling"])?;
    world.git(&first, &["checkout", "--quiet", "--detach", "origin/release"])?;
    Ok(())
}

/// K4, K16: a kill in the middle of a refresh leaves git's own locks, and half of a pack.
#[test]
fn what_a_killed_refresh_left_is_no_obstacle() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let mirror = world.path("mirror");
    let shared = ["--mirror", &mirror.to_string_lossy()];
    let (code, stderr) = checkout(&world, &shared, &world.path("first"))?;
    assert_eq!(code, 0, "{stderr}");
    let copy = mirror.join("octo/blog.git");
    let left = ["refs/heads/main.lock", "packed-refs.lock", "config.lock", "objects/pack/tmp_pack_Ab12cD"];
    for left in left {
        fs::write(copy.join(left), "")?;
    }
    pushed(&world, "main", "Later")?;
    let second = world.path("second");
    let (code, stderr) = checkout(&world, &shared, &second)?;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(head(&world, &second)?, ("main".to_owned(), "Later".to_owned()));
    assert!(left.iter().all(|left| !copy.join(left).exists()), "nothing of it is left");
    Ok(())
}

/// K6: the App's id may come in a file too, as the help says.
#[test]
fn the_apps_id_may_come_in_a_file() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let credentials = world.credentials()?;
    let (_, id) = credentials.iter().find(|(name, _)| name == "GITHUB_APP_ID").unwrap();
    let file = world.path("app-id");
    fs::write(&file, format!("{id}\n"))?;
    let read = |id: Option<&str>, file: &Path, to: &str| -> anyhow::Result<(i32, String)> {
        let mut command = script(&world, "checkout.sh", &["GITHUB_APP_PRIVATE_KEY_FILE"])?;
        command.args(["--repo", REPOSITORY]).arg(world.path(to)).env("GITHUB_APP_ID_FILE", file);
        let output = command.envs(id.map(|id| ("GITHUB_APP_ID", id))).output()?;
        Ok((output.status.code().unwrap_or(-1), String::from_utf8(output.stderr)?))
    };
    let (code, stderr) = read(None, &file, "clone")?;
    assert_eq!(code, 0, "{stderr}");
    let (code, stderr) = read(Some(id), &file, "both")?;
    assert!(
        code == 4 && stderr.contains("GITHUB_APP_ID and GITHUB_APP_ID_FILE are both set"),
        "{code}: {stderr}"
    );
    let (code, stderr) = read(None, Path::new("/nowhere"), "none")?;
    assert!(code == 4 && stderr.contains("/nowhere"), "{code}: {stderr}");
    Ok(())
}

/// K6
#[test]
fn the_agents_token_can_only_read() -> anyhow::Result<()> {
    let world = world([runs("printf %s \"$GH_TOKEN\" >\"$HOME/../seen\""), writes_the_note(), is_done()])?;
    let file = world.path("read-token");
    let (code, stderr) = checkout(&world, &["--read-token", &file.to_string_lossy()], &repository(&world))?;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&file)?.trim().to_owned();
    let ended = agent(&world)?.env("PRESSRUN_READ_TOKEN_FILE", &file).output()?;
    assert_eq!(fs::read_to_string(world.path("seen"))?, token);
    let printed = [ended.stdout, ended.stderr].concat();
    assert!(!String::from_utf8_lossy(&printed).contains(&token), "it is redacted");

    let url = format!("https://x-access-token:{token}@github.com/{REPOSITORY}.git");
    world.git(&repository(&world), &["ls-remote", "--quiet", &url])?;
    assert!(world.git(&repository(&world), &["push", "--quiet", &url, "HEAD:refs/heads/agent/x"]).is_err());
    Ok(())
}

/// P1, P2, K6, K13
#[test]
fn a_run_goes_through_containers_that_share_a_folder_alone() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    checked_out(&world)?;
    let ended = Ended::from_output(&agent(&world)?.output()?)?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let record = ended.record()?;
    assert_eq!((record.run.as_str(), record.prompt.as_str()), (&*run_id(&world), TOPIC));
    assert_eq!(message(&world, "agent")?.outcome, Outcome::Success);
    assert_eq!(world.run_branches()?, [], "the agent stage cannot push");

    let ended = publish(&world)?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let [(branch, head)] = &world.run_branches()?[..] else { panic!("one branch") };
    let message = message(&world, "publish")?;
    assert!(message.is_delivered(), "{message:?}");
    assert_eq!((message.branch.as_ref(), message.head.as_ref()), (Some(branch), Some(head)));
    assert_eq!(message.run, run_id(&world));
    assert_eq!(world.sandbox.discord().messages().len(), 1);
    assert_eq!(world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// Begins a run in a container, whose agent does this and then stays at work; comes back when it has.
fn at_work(commands: &str, kib: Option<u32>) -> anyhow::Result<(World, Option<Disk>, Child)> {
    let world = world([
        writes_the_note(),
        runs(&format!("{commands}; echo here >\"$HOME/../at-work\"; sleep 600")),
        is_done(),
    ])?;
    let pipe = world.pipe("at-work")?;
    let disk = kib.map(|kib| Disk::mount(&volume(&world), kib)).transpose()?;
    checked_out(&world)?;
    // A namespace of processes, as a container has: they all end with the first.
    let mut inside = agent(&world)?;
    let mut container = world.command("unshare");
    container
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(inside.get_program())
        .args(inside.get_args());
    for (name, value) in inside.get_envs() {
        container.env(name, value.unwrap_or_default());
    }
    let directory = inside.get_current_dir().context("no folder")?.to_owned();
    let container = container
        .current_dir(directory)
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    inside.env_clear();
    heard(&pipe)?;
    Ok((world, disk, container))
}

fn kill(mut container: Child) -> anyhow::Result<()> {
    container.kill()?;
    container.wait()?;
    Ok(())
}

/// The salvage stage, for this reason: its exit code, and what it said.
fn salvage(world: &World, reason: &str) -> anyhow::Result<(i32, String)> {
    let mut salvage = stage(world, "salvage", &[])?;
    let ended = salvage.env("PRESSRUN_REASON", reason).env("PRESSRUN_TASK", "notes").output()?;
    Ok((ended.status.code().unwrap_or(-1), String::from_utf8(ended.stderr)?))
}

/// Salvages and publishes, and holds what became of it against a run that was interrupted, for this reason among others: the note is
/// in a draft, and the message is the only one.
#[track_caller]
fn assert_salvaged(world: &World, reason: &str, told: &str) -> anyhow::Result<()> {
    let (code, stderr) = salvage(world, reason)?;
    assert_eq!(code, 0, "{stderr}");
    let ended = publish(world)?;
    assert_eq!(ended.code, 1, "it was no success: {}", ended.stderr);
    let record = ended.record()?;
    assert_eq!(
        (record.outcome, record.run.as_str(), record.prompt.as_str(), record.uncommitted),
        (Outcome::Interrupted, &*run_id(world), TOPIC, false)
    );
    assert!(record.error.as_deref().unwrap_or_default().contains(told), "{record:?}");
    let [(branch, _)] = &world.run_branches()?[..] else { bail!("not one branch") };
    let files = world.git(&world.remote, &["diff", "--name-only", "main", branch])?;
    assert_eq!(files.lines().collect::<Vec<_>>(), NOTE);
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    assert!(pulls.len() == 1 && pulls[0].draft, "{pulls:?}");
    let [message] = &world.sandbox.discord().messages()[..] else { bail!("not one message") };
    assert!(message.raw.to_string().contains(told), "{message:?}");
    Ok(())
}

/// K16: the whole of the agent's container is killed at once. What works on its files has no credential.
#[test]
fn what_a_killed_container_left_is_committed_pushed_and_told() -> anyhow::Result<()> {
    let (world, _, container) = at_work("true", None)?;
    kill(container)?;
    assert!(!volume(&world).join("run/record.json").exists());
    let told = "out of memory (the run was killed)";
    assert_salvaged(&world, "out of memory", told)?;
    // Once more: it is found.
    assert_salvaged(&world, "out of memory", told)
}

/// K16: an agent stage that was ended in order knows the signal, and not why it was sent.
#[test]
fn why_a_run_was_ended_in_order_is_told() -> anyhow::Result<()> {
    let (world, _, container) = at_work("true", None)?;
    // To the whole group: the shell of the stage hands it on.
    let group = format!("-{}", container.id());
    assert!(Command::new("kill").args(["-s", "TERM", "--", &group]).status()?.success());
    container.wait_with_output()?;
    assert_eq!(message(&world, "agent")?.outcome, Outcome::Interrupted);
    assert_salvaged(&world, "evicted", "evicted (branch-run got SIGTERM)")?;
    assert_salvaged(&world, "evicted", "evicted (branch-run got SIGTERM)")
}

/// K16: it was given no reason to be ended.
#[test]
fn a_success_stays_one_whatever_reason_is_given() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    checked_out(&world)?;
    assert!(agent(&world)?.output()?.status.success());
    let (code, stderr) = salvage(&world, "evicted")?;
    assert_eq!(code, 0, "{stderr}");
    let ended = publish(&world)?;
    assert_eq!((ended.code, ended.record()?.error), (0, None), "{}", ended.stderr);
    Ok(())
}

/// K16: a volume without room is where runs are killed. What is left is told, and pushed when there is room.
#[test]
fn what_a_killed_container_left_on_a_full_volume_is_told_and_salvaged_later() -> anyhow::Result<()> {
    let fill = "head -c 600k /dev/urandom | base64 >>content/posts/note.md; \
         for size in 1M 64k 4k; do dd if=/dev/zero bs=$size oflag=append conv=notrunc of=.git/ballast; done";
    let (world, disk, container) = at_work(fill, Some(8 * 1024))?;
    kill(container)?;
    let (code, stderr) = salvage(&world, "evicted")?;
    assert_eq!(code, 0, "{stderr}");
    let ended = publish(&world)?;
    let record = ended.record()?;
    assert_eq!(
        (ended.code, record.outcome, record.uncommitted),
        (1, Outcome::Interrupted, true),
        "{}",
        ended.stderr
    );
    assert!(record.branch.is_some() && record.run == run_id(&world) && record.prompt == TOPIC, "{record:?}");
    let [message] = &world.sandbox.discord().messages()[..] else { panic!("one message") };
    let text = message.raw.to_string();
    for part in ["evicted", "No space left on device", "Make room"] {
        assert!(text.contains(part), "'{part}' in {text}");
    }
    disk.as_ref().unwrap().grow(64 * 1024)?;
    assert_salvaged(&world, "evicted", "evicted")?;
    assert_salvaged(&world, "evicted", "evicted")
}

/// K16: nothing of a run that is at work is touched.
#[test]
fn a_run_that_is_at_work_is_neither_salvaged_nor_published() -> anyhow::Result<()> {
    let (world, _, container) = at_work("true", None)?;
    let session = volume(&world).join("run/claude");
    assert!(session.exists());
    let (code, stderr) = salvage(&world, "evicted")?;
    assert!(code == 3 && stderr.contains("at work"), "{code}: {stderr}");
    let ended = publish(&world)?;
    assert!(ended.code == 3 && ended.stderr.contains("at work"), "{}: {}", ended.code, ended.stderr);
    assert!(session.exists() && !volume(&world).join("run/record.json").exists());
    assert_eq!(world.sandbox.discord().messages().len(), 0);
    kill(container)?;
    assert_salvaged(&world, "evicted", "evicted")
}

/// P3, K6: the record is the agent's to write, and the shell has credentials.
#[test]
fn nothing_in_a_record_is_run() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    checked_out(&world)?;
    let record = volume(&world).join("run/record.json");
    assert!(agent(&world)?.output()?.status.success());
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&record)?)?;
    let ran = world.path("ran");
    let command = format!("PATH[$(touch {})]", ran.display());
    for field in ["commits", "uncommitted", "outcome", "stage"] {
        for (outcome, value) in [("success", &command), ("", &command)] {
            let mut hostile = written.clone();
            hostile["outcome"] = outcome.into();
            hostile["stage"] = command.clone().into();
            hostile[field] = value.clone().into();
            fs::write(&record, hostile.to_string())?;
            let _ = stage(&world, "publish", &[&APP[..], &["DISCORD_WEBHOOK_URL"]].concat())?.output()?;
            assert!(!ran.exists(), "{hostile}");
        }
    }
    Ok(())
}

/// K16: it was killed before there was anything.
#[test]
fn a_run_that_was_killed_before_it_began_is_told() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    for (name, prepare) in [("checkout", false), ("agent", true)] {
        fs::create_dir_all(repository(&world))?;
        if prepare {
            fs::remove_dir_all(volume(&world))?;
            checked_out(&world)?;
        }
        let mut salvage = stage(&world, "salvage", &[])?;
        let ended = salvage.env("PRESSRUN_REASON", "evicted").env("PRESSRUN_TASK", "notes").output()?;
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let ended = publish(&world)?;
        let record = ended.record()?;
        assert_eq!((ended.code, record.outcome), (1, Outcome::Interrupted));
        assert_eq!((record.stage.unwrap().as_str(), record.error.as_deref()), (name, Some("evicted")));
    }
    let messages = world.sandbox.discord().messages();
    assert_eq!(messages.len(), 2);
    assert!(messages.iter().all(|message| message.raw.to_string().contains("notes")), "{messages:?}");
    Ok(())
}

/// K6: a link in the run's folder could lead to what the publish stage alone can read.
#[test]
fn a_record_that_is_a_link_is_not_read() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    checked_out(&world)?;
    let run = volume(&world).join("run");
    fs::create_dir(&run)?;
    world.credentials()?;
    std::os::unix::fs::symlink(world.path("app-key.pem"), run.join("record.json"))?;
    let ended = publish(&world)?;
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("is a link"), "{}", ended.stderr);
    let copied = fs::read_dir(&run)?.count();
    assert_eq!(copied, 1, "nothing of it was copied");
    Ok(())
}
