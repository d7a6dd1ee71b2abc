//! Runs in real pods.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests that fails fails the test")]

mod delivery;
mod endings;
mod node;
mod volumes;

use agent_task::{Outcome, RunRecord};
use e2e::REPOSITORY;
use pods::{Ended, Site, with};
use sandbox::{Agent, Scenario, Turn};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PROMPT: &str =
    "A note on \"it's\" $(HOME) $$(X) $\u{e9} `id` \\ --x \u{1f600}\n\n  and \"more\"\n\tof it";

fn writer(turns: impl IntoIterator<Item = Turn>) -> Scenario {
    let writer = turns.into_iter().fold(Agent::new("writer"), Agent::turn);
    Scenario { agents: vec![writer], ..Scenario::default() }
}

fn writes_the_note() -> Turn {
    Turn::call(
        "Write",
        json!({"file_path": "content/posts/note.md", "content": "---\ntitle: Backups\n---\n\nA hope.\n"}),
    )
}

fn runs(command: &str) -> Turn {
    Turn::call("Bash", json!({"command": command, "description": "Work"}))
}

fn is_done() -> Turn {
    Turn::text("The note is written.\n\nVERDICT: PASS")
}

fn record(ended: &Ended) -> RunRecord {
    serde_json::from_value(ended.report["record"].clone())
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", ended.report, ended.stderr))
}

/// A run whose agent has written the note and is at work for long: its task and its id.
fn at_work(site: &Site, more: Value) -> anyhow::Result<(String, String)> {
    let task =
        site.task(&with(more, json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Write,Bash"})));
    let made = site.spawn_job(&[], &task)?;
    let (run, claim) = (made.report["run"].as_str().unwrap(), made.report["claim"].as_str().unwrap());
    let deadline = Instant::now() + Duration::from_secs(300);
    while !site.volume(claim).is_ok_and(|volume| volume.join("run/at-work").exists()) {
        assert!(Instant::now() < deadline, "the agent is not at work: {}", site.pod(run)?["status"]);
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok((task, run.to_owned()))
}

fn long_work() -> Scenario {
    writer([writes_the_note(), runs("touch /workspace/run/at-work; sleep 600"), is_done()])
}

/// The note is on the remote, in a draft, and one message says why.
fn assert_kept(site: &Site, run: &str, ended: &Ended, outcome: Outcome, why: &str) -> anyhow::Result<()> {
    let record = record(ended);
    assert_eq!(
        (ended.code, record.outcome, record.run.as_str()),
        (Some(1), outcome, run),
        "{}",
        ended.stderr
    );
    let [(branch, _)] = &site.world.run_branches()?[..] else { panic!("one branch: {}", ended.stderr) };
    site.world.git(&site.world.remote, &["cat-file", "-e", &format!("{branch}:content/posts/note.md")])?;
    let [pull] = &site.world.sandbox.github().pull_requests(REPOSITORY)[..] else {
        panic!("one pull request")
    };
    assert!(pull.draft);
    let [message] = &site.world.sandbox.discord().messages()[..] else { panic!("one message") };
    assert!(message.raw.to_string().contains(why), "{message:?}");
    Ok(())
}

/// The run has failed for this reason, nothing of it was published, and a Job of its own does that.
fn assert_salvaged(site: &Site, task: &str, run: &str, reason: &str, told: &str) -> anyhow::Result<()> {
    let ended = site.spawn_job(&["--wait"], task)?;
    assert_eq!((ended.code, &ended.report["result"]), (Some(1), &json!("failed")), "{}", ended.stderr);
    let why = ended.report["error"].as_str().unwrap();
    assert!(why.contains(reason), "'{reason}' in {why}");
    assert_eq!(site.world.run_branches()?, []);
    let ended = site.spawn_job(&["--stage", "publish", "--run", run, "--wait"], "")?;
    assert_kept(site, run, &ended, Outcome::Interrupted, told)
}

/// Sends a signal to the processes of a run in its container that have this name.
fn signal(site: &Site, run: &str, signal: &str, name: &str) -> anyhow::Result<()> {
    let script = r#"for process in /proc/[0-9]*; do
        if [[ $(<"$process/comm") == "$2" ]] && grep -qz "^PRESSRUN_RUN=$0$" "$process/environ"; then
            kill "-$1" "${process##*/}" && sent=yes
        fi
    done 2>/dev/null
    [[ ${sent-} ]]"#;
    let status = site.cluster.command_on_node("bash")?.args(["-c", script, run, signal, name]).status()?;
    anyhow::ensure!(status.success(), "there is no {name}");
    Ok(())
}
