//! Runs that get a SIGKILL at a random moment, each started again as the documents say; then the world is counted. What
//! must hold: no commit and no uncommitted work is lost, no pull request and no message comes twice, no process is left.
//!
//! Half of the kills hit all processes of the run at once, as when its machine dies; the others hit one, whichever it is: the
//! script, a piece, the agent CLI, its tool's shell, git.

use crate::{Ended, REPOSITORY, World, send};
use agent_task::Outcome;
use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const TOPIC: &str = "A note on backups";
const NOTE: &str = "content/posts/note.md";

/// So often a run is started again at most: each killed one may leave several to finish.
const ATTEMPTS: usize = 6;

/// Longer than this, nothing of a run may take.
const LIMIT: Duration = Duration::from_secs(240);

/// What came of all rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often a process of this name, or all, was killed.
    pub killed: BTreeMap<String, usize>,
    /// How often a run was started again, in all.
    pub started_again: usize,
    /// Killed before the run's agent had done anything.
    pub before_work: usize,
    /// What did not hold, with its round.
    pub faults: Vec<String>,
}

/// Numbers that look like chance and are the same for the same seed (SplitMix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// A seed for those who have none.
#[must_use]
pub fn any_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Chance(u64::from(now.subsec_nanos()) << 20 ^ now.as_secs() ^ u64::from(std::process::id()))
        .below(1_000_000)
}

/// That many rounds; each is told as it ends. The moments follow from the seed and from how long a run takes here.
///
/// # Errors
/// A world could not be made, or a run that nobody disturbs fails.
pub fn rounds(count: usize, seed: u64, out: &mut dyn Write) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut usual = undisturbed()?;
    writeln!(out, "seed {seed}: {count} rounds; an undisturbed run takes {:.1} s", usual.as_secs_f64())?;
    for round in 1..=count {
        let mut chance = Chance(seed.wrapping_add(round as u64));
        let mut told = String::new();
        let disturbed = loop {
            let moment = usual.mul_f64(chance.below(1000) as f64 / 1000.0);
            match disturbed(&mut chance, moment, &mut told) {
                // The machine is faster now than when it was measured.
                Ok(Round::EndedBefore(took)) => usual = (usual + took) / 2,
                Ok(Round::Disturbed(disturbed)) => break Ok((moment, disturbed)),
                Err(fault) => break Err(fault),
            }
        };
        match disturbed {
            Ok((moment, disturbed)) => {
                // Slower: the last moments are to be met too.
                usual = (usual * 3 + disturbed.delivered.unwrap_or(usual)) / 4;
                *tally.killed.entry(disturbed.killed).or_default() += 1;
                tally.before_work += usize::from(disturbed.before_work);
                tally.started_again += disturbed.started_again;
                told = format!("{:>6.2} s  {told}", moment.as_secs_f64());
            }
            Err(fault) => {
                told = format!("FAULT after {told}: {fault:#}");
                tally.faults.push(format!("round {round}: {told}"));
            }
        }
        writeln!(out, "{round:>4}  {told}")?;
        out.flush()?;
    }
    Ok(tally)
}

/// The writer commits half of its note and leaves the other half in the work tree, and a process that would outlive it.
fn world() -> anyhow::Result<World> {
    let bash = |command: &str| json!({"tool": "Bash", "input": {"command": command, "description": "Work"}});
    let half = "---\ntitle: Backups\n---\n\nA backup that was never restored is a hope.\n";
    let turns = json!([
        {"calls": [{"tool": "Write", "input": {"file_path": NOTE, "content": half}}]},
        {"calls": [bash("git add -A && git commit -qm 'Add half a note'; setsid sleep 600 >/dev/null 2>&1 </dev/null & true")]},
        {"calls": [bash(&format!("echo 'Restore one.' >>{NOTE}; sleep 0.5"))]},
        {"text": "The note is written.\n\nVERDICT: PASS"},
    ]);
    let scenario = json!({"agents": [{"name": "writer", "turns": turns}]});
    World::playing(serde_json::from_value(scenario).context("the script of the writer")?)
}

fn command(world: &World) -> anyhow::Result<Command> {
    let arguments = ["--agent", "writer", "--allowed-tools", "Write,Bash", TOPIC];
    let mut command = world.run_publisher(&arguments)?;
    command.env("CLAUDE_CODE_MAX_RETRIES", "1");
    Ok(command)
}

fn undisturbed() -> anyhow::Result<Duration> {
    // Not a part of what is measured.
    crate::build();
    let world = world()?;
    let began = Instant::now();
    let ended = Ended::from_output(&command(&world)?.output()?)?;
    ensure!(ended.code == 0, "a run that nobody disturbs ends with {}: {}", ended.code, ended.stderr);
    let took = began.elapsed();
    hold(&world, &BTreeSet::new())?;
    Ok(took)
}

/// One round.
enum Round {
    /// The run was quicker than the moment of its kill: it took so long.
    EndedBefore(Duration),
    Disturbed(Disturbed),
}

struct Disturbed {
    /// The name of the process that was killed.
    killed: String,
    before_work: bool,
    started_again: usize,
    /// How long the run took that was delivered in the end.
    delivered: Option<Duration>,
}

fn disturbed(chance: &mut Chance, moment: Duration, told: &mut String) -> anyhow::Result<Round> {
    let world = world()?;
    let began = Instant::now();
    let mut child = command(&world)?.spawn()?;
    let script = child.id();
    while began.elapsed() < moment {
        if child.try_wait()?.is_some() {
            return Ok(Round::EndedBefore(began.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(5).min(moment.saturating_sub(began.elapsed())));
    }

    let processes = world.process_ids();
    let killed = if chance.below(2) == 0 {
        kill_all(&world);
        "all at once".to_owned()
    } else {
        let at = usize::try_from(chance.below(processes.len() as u64)).unwrap_or_default();
        let Some(&process) = processes.get(at) else { return Ok(Round::EndedBefore(began.elapsed())) };
        let name = if process == script { "run-publisher.sh".to_owned() } else { name_of(process) };
        // It may just have ended by itself.
        let _ = send("KILL", process);
        name
    };
    told.push_str(&killed);

    let mut ended = ended_within(child)?;
    let work = work(&world)?;
    let mut disturbed = Disturbed { killed, before_work: work.is_empty(), started_again: 0, delivered: None };
    loop {
        let (code, stage) = next(&ended);
        told.push_str(&format!(" → {code}"));
        let Some(stage) = stage else { break };
        ensure!(
            disturbed.started_again < ATTEMPTS,
            "started again {ATTEMPTS} times in vain:\n{}",
            ended.stderr
        );
        disturbed.started_again += 1;
        let mut again = match stage {
            Again::All => command(&world)?,
            Again::Publish => world.run_publisher(&["--stage", "publish"])?,
        };
        let began = Instant::now();
        ended = loop {
            let ended = ended_within(again.spawn()?)?;
            // What is left of the run that was killed is still coming to its end.
            if ended.code != 3 || began.elapsed() > LIMIT {
                break ended;
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        disturbed.delivered = matches!(stage, Again::All).then(|| began.elapsed());
    }
    hold(&world, &work).with_context(|| ended.stderr.clone())?;
    Ok(Round::Disturbed(disturbed))
}

enum Again {
    All,
    Publish,
}

/// What is to be done after a run that ended so, by `docs/outcomes.md`; nothing after one that delivered.
fn next(ended: &Ended) -> (String, Option<Again>) {
    let Ok(record) = ended.record() else { return (format!("code {}", ended.code), Some(Again::All)) };
    let again = match record.outcome {
        _ if ended.code == 0 => None,
        // Nobody was told.
        Outcome::Success
        | Outcome::CommitFailed
        | Outcome::TokenFailed
        | Outcome::PushFailed
        | Outcome::PullRequestFailed => Some(Again::Publish),
        _ => Some(Again::All),
    };
    (record.outcome.to_string(), again)
}

fn ended_within(mut child: Child) -> anyhow::Result<Ended> {
    let (id, deadline) = (child.id(), Instant::now() + LIMIT);
    // Read as it comes: a full pipe would hold the run.
    let output = std::thread::spawn({
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        move || {
            let stderr = std::thread::spawn(move || all_of(stderr));
            (all_of(stdout), stderr.join().unwrap_or_default())
        }
    });
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => bail!("process {id} did not end within {LIMIT:?}"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // What outlives the script may hold its outputs open, and ends soon.
    let (stdout, stderr) = output.join().map_err(|_| anyhow::anyhow!("reading the outputs"))?;
    let output = std::process::Output { status, stdout: whole_lines(stdout), stderr };
    Ended::from_output(&output)
}

fn all_of(from: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What came before an error is worth something too.
        let _ = from.read_to_end(&mut bytes);
    }
    bytes
}

/// Without a last line that a kill has cut.
fn whole_lines(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    text.truncate(end);
    text
}

/// All at once: none sees another's end.
fn kill_all(world: &World) {
    for signal in ["STOP", "KILL"] {
        loop {
            let before = world.process_ids();
            for process in &before {
                // It may have ended by itself.
                let _ = send(signal, *process);
            }
            // What was started meanwhile.
            if world.process_ids().iter().all(|process| before.contains(process)) {
                break;
            }
        }
    }
}

fn name_of(process: u32) -> String {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
    let base = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    let mut name = words.first().map(|word| base(word)).unwrap_or_default();
    if name == "branch-run" {
        let step = words
            .get(1)
            .filter(|step| ["push", "fail", "left", "salvage", "settle"].contains(&step.as_ref()));
        name = step.map_or(name.clone(), |step| format!("{name} {step}"));
    } else if name == "bash" && words.get(1).is_some_and(|word| word.ends_with("run-publisher.sh")) {
        "a subshell of run-publisher.sh".clone_into(&mut name);
    }
    name
}

/// What the agent had done when the run was killed: the note as it lies in the work tree, and the commits of every run's branch.
fn work(world: &World) -> anyhow::Result<BTreeSet<Work>> {
    let clone = world.clone_path();
    let mut found: BTreeSet<Work> = commits(world)?.into_iter().map(Work::Commit).collect();
    let on_branch = world.git(&clone, &["branch", "--show-current"])?.starts_with("agent/");
    if on_branch && let Ok(text) = std::fs::read_to_string(clone.join(NOTE)) {
        found.insert(Work::Note(text));
    }
    Ok(found)
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Commit(String),
    Note(String),
}

/// The commits that the clone's branches have and the base has not.
fn commits(world: &World) -> anyhow::Result<Vec<String>> {
    let list = world.git(&world.clone_path(), &["rev-list", "--branches=agent/*", "--not", "main"])?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// Counts the world.
fn hold(world: &World, work: &BTreeSet<Work>) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = world.processes();
        if left.is_empty() {
            break;
        }
        ensure!(Instant::now() < deadline, "left running: {left:?}");
        std::thread::sleep(Duration::from_millis(100));
    }

    // The work: all commits of all runs, and what lay in the work tree.
    let clone = world.clone_path();
    let on_remote: BTreeSet<_> =
        world.git(&world.remote, &["rev-list", "--branches=agent/*"])?.lines().map(str::to_owned).collect();
    let lost: Vec<_> = commits(world)?.into_iter().filter(|commit| !on_remote.contains(commit)).collect();
    ensure!(lost.is_empty(), "commits that were not pushed: {lost:?}");
    for work in work {
        match work {
            Work::Commit(commit) => ensure!(on_remote.contains(commit), "lost: commit {commit}"),
            Work::Note(text) => {
                let kept = on_remote.iter().any(|commit| {
                    world
                        .git(&world.remote, &["show", &format!("{commit}:{NOTE}")])
                        .is_ok_and(|kept| kept == text.trim_end())
                });
                ensure!(kept, "lost: work that was not committed: {text:?}");
            }
        }
    }
    let status = world.git(&clone, &["status", "--porcelain", "--branch"])?;
    ensure!(status.lines().count() == 1 && status.starts_with("## main"), "the clone is left so: {status}");

    // One pull request a branch, and one message a run.
    let branches: Vec<_> = world.run_branches()?.into_iter().map(|(name, _)| name).collect();
    let pulls = world.sandbox.github().pull_requests(REPOSITORY);
    let mut heads: Vec<_> = pulls.iter().map(|pull| pull.head.clone()).collect();
    heads.sort();
    ensure!(heads == branches, "pull requests {heads:?} for the branches {branches:?}");
    let ready = pulls.iter().filter(|pull| !pull.draft).count();
    ensure!(ready >= 1, "nothing was delivered: {pulls:?}");
    let messages = world.sandbox.discord().messages();
    let mut told = BTreeMap::<String, usize>::new();
    for message in &messages {
        let run =
            message.embeds.first().and_then(|embed| embed["footer"]["text"].as_str()).unwrap_or_default();
        *told.entry(run.to_owned()).or_default() += 1;
    }
    ensure!(told.values().all(|times| *times == 1), "runs that were told more than once: {told:?}");
    for branch in &branches {
        let times =
            messages.iter().filter(|message| message.content.lines().any(|line| names(line, branch))).count();
        ensure!(times == 1, "{branch} was told {times} times: {messages:?}");
    }
    let violations = world.sandbox.violations();
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(())
}

/// Whether a line of a message is that of the branch.
fn names(line: &str, branch: &str) -> bool {
    line.strip_prefix("Branch: ").is_some_and(|rest| rest.split(' ').next() == Some(branch))
}
