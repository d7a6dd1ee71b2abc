use crate::place::{Place, Ran, finished, processes_with, signal, started};
use agent_task::Outcome;

#[test]
fn a_failed_command_is_a_record_and_exit_0() {
    let place = Place::new();
    let ran = place.run(&[], "echo x >left; echo 'no such page' >&2; exit 7");
    let record = ran.record();
    assert_eq!(ran.code, Some(0));
    assert_eq!((record.outcome, record.unfinished, record.commits), (Outcome::AgentFailed, true, 1));
    assert_eq!(record.error.as_deref(), Some("sh ended with exit code 7: no such page"));
    assert_eq!(place.run(&["--exit-code"], "exit 7").code, Some(1));
}

/// P9
#[test]
fn an_agent_that_says_nothing_has_failed() {
    let place = Place::new();
    let record =
        place.run(&["--events", "stream-json"], r#"echo '{"type":"system"}'; echo x >left"#).record();
    assert_eq!((record.outcome, record.unfinished), (Outcome::NoResult, true));
}

/// P9
#[test]
fn an_mcp_server_that_is_needed_must_be_connected() {
    let place = Place::new();
    let config = place.path("mcp.json");
    std::fs::write(&config, r#"{"mcpServers":{"playwright":{"command":"x"}}}"#).unwrap();
    let script = r#"echo '{"type":"system","subtype":"init","mcp_servers":[{"name":"playwright","status":"failed"}]}'
        echo '{"type":"result","subtype":"success","is_error":false,"result":"Done"}'"#;
    let record =
        place.run(&["--events", "stream-json", "--mcp-config", config.to_str().unwrap()], script).record();
    assert_eq!((record.outcome, record.stage.unwrap().as_str()), (Outcome::McpFailed, "mcp-start"));
}

#[test]
fn the_time_limit_ends_the_command_and_keeps_its_work() {
    let place = Place::new();
    let ran = place.run(&["--timeout", "300ms"], "echo x >left; exec sleep 86401");
    let record = ran.record();
    assert_eq!(ran.code, Some(0));
    assert_eq!((record.outcome, record.commits, record.unfinished), (Outcome::Timeout, 1, true));
    assert_eq!(processes_with("sleep 86401"), [""; 0]);
}

/// The command ends in order, and so do we.
#[test]
fn a_signal_is_handed_on_and_the_work_is_kept() {
    for name in ["TERM", "INT", "HUP"] {
        let place = Place::new();
        let script = "trap 'echo bye >farewell; exit 0' TERM; echo x >left; echo ready; sleep 86402 & wait";
        let run = started(&mut place.run_with(&[], script), "ready");
        signal(&run.0, name);
        let ran = finished(run);
        let record = ran.record();
        assert_eq!(ran.code, Some(0), "{name}");
        assert_eq!(record.outcome, Outcome::Interrupted, "{name}");
        assert_eq!(record.error.as_deref(), Some(format!("branch-run got SIG{name}").as_str()));
        assert_eq!(record.files_changed, 2, "{name}: what it wrote on its way out is there too");
    }
    assert_eq!(processes_with("sleep 86402"), [""; 0]);
}

#[test]
fn a_second_signal_kills_at_once() {
    let place = Place::new();
    let script = "trap 'echo deaf' TERM; echo x >left; echo ready; while :; do sleep 86403 & wait; done";
    // With this grace period the test would not end.
    let mut run = started(&mut place.run_with(&["--grace", "24h"], script), "ready");
    signal(&run.0, "TERM");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut run.1, &mut line).unwrap();
    assert_eq!(line, "deaf\n");
    signal(&run.0, "TERM");
    let record = finished(run).record();
    assert_eq!((record.outcome, record.commits), (Outcome::Interrupted, 1));
    assert_eq!(processes_with("sleep 86403"), [""; 0]);
}

#[test]
fn what_does_not_hear_is_killed_after_the_grace_period() {
    let place = Place::new();
    let script = "trap '' TERM; echo x >left; while :; do sleep 86404; done";
    let record = place.run(&["--timeout", "200ms", "--grace", "200ms"], script).record();
    assert_eq!((record.outcome, record.commits), (Outcome::Timeout, 1));
    assert_eq!(processes_with("sleep 86404"), [""; 0]);
}

/// P14
#[test]
fn background_processes_end_with_the_run_wherever_they_went() {
    let place = Place::new();
    let script = "sleep 86405 & (setsid sleep 86405 &) ; setsid sh -c '(trap \"\" TERM; sleep 86405; sleep 86405) & ' ; \
        setsid sh -c 'kill -STOP $$; sleep 86405' & echo x >left; exit 0";
    let record = place.run(&[], script).record();
    assert_eq!((record.outcome, record.commits), (Outcome::Success, 1));
    assert_eq!(processes_with("sleep 86405"), [""; 0]);
}

#[test]
fn an_output_that_is_never_closed_does_not_hold_the_run() {
    let place = Place::new();
    // Not beneath us: the test's own process holds the command's stdout open, by a descriptor of /proc.
    let gate = place.path("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let script = format!("echo $$; echo ready; cat {}", gate.display());
    let pid_file = place.path("pid");
    let script = format!("echo $$ >{}; {script}", pid_file.display());
    let run = started(&mut place.run_with(&[], &script), "ready");
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let held = std::fs::File::options().write(true).open(format!("/proc/{}/fd/1", pid.trim())).unwrap();
    std::fs::write(&gate, "").unwrap();
    assert_eq!(finished(run).code, Some(0));
    drop(held);
}

/// A run that is killed. It leaves `sleep <seconds>`, which is to tell it from those of other tests.
fn killed(place: &Place, seconds: u32, options: &[&str]) {
    let script = format!("echo x >left; echo ready; sleep {seconds}");
    let run = started(&mut place.run_with(options, &script), "ready");
    signal(&run.0, "KILL");
    finished_although_open(run);
}

/// What was orphaned still holds the outputs: only the process itself is waited for.
fn finished_although_open((mut child, _): (std::process::Child, impl Sized)) {
    child.wait().unwrap();
}

/// The work of a run that was killed is committed by whoever comes next, and nothing of it goes on running.
#[test]
fn what_was_killed_is_salvaged() {
    let place = Place::new();
    let id = ["--run", "writer-1-aaaaaa", "--branch", "agent/killed"];
    killed(&place, 86406, &id);
    let ran = Ran::of(place.program().arg("salvage").output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let record = ran.record();
    assert_eq!((record.run.as_str(), record.outcome), ("writer-1-aaaaaa", Outcome::Interrupted));
    assert_eq!((record.commits, record.unfinished), (1, true));
    assert_eq!(place.git(["show", "agent/killed:left"]), "x");
    assert_eq!((place.branch().as_str(), place.is_clean()), ("main", true));
    let again = Ran::of(place.program().arg("salvage").output().unwrap());
    assert_eq!(again.code, Some(2));

    killed(&place, 86406, &["--run", "writer-2-bbbbbb", "--branch", "agent/again"]);
    assert_eq!(place.run(&["--dry-run"], "true").code, Some(0), "it would be no obstacle");
    assert_eq!(place.branch(), "agent/again");
    let next = place.run(&[], "true");
    assert_eq!(next.code, Some(0), "{}", next.stderr);
    assert_eq!(next.record().base_commit.unwrap(), place.git(["rev-parse", "main"]));
    assert_eq!(place.git(["show", "agent/again:left"]), "x");
    assert_eq!(processes_with("sleep 86406"), [""; 0]);
}

/// P2, P9: the agent was elsewhere when its run was killed, with something committed and something not.
#[test]
fn what_was_killed_elsewhere_is_salvaged() {
    let commit = "echo a >committed; git add committed; git commit --quiet --message=One";
    for (number, go) in
        ["git switch -qc elsewhere", "git switch -q --detach", "git switch -q main"].iter().enumerate()
    {
        let place = Place::new();
        let branch = format!("agent/away-{number}");
        let script = format!("{go} && {{ {commit}; }} && echo x >left; echo ready; sleep 86411");
        let run = started(&mut place.run_with(&["--branch", &branch], &script), "ready");
        signal(&run.0, "KILL");
        finished_although_open(run);
        assert_ne!(place.branch(), branch, "{go}");
        assert_eq!(place.run(&["--dry-run"], "true").code, Some(0), "it would be no obstacle");
        let record = step(&place, &["salvage"], None).record();
        assert_eq!(
            (record.outcome, record.commits, record.unfinished),
            (Outcome::Interrupted, 2, true),
            "{go}"
        );
        assert_eq!(place.git(["show", &format!("{branch}:committed")]), "a");
        assert_eq!(place.git(["show", &format!("{branch}:left")]), "x");
        assert_eq!((place.branch().as_str(), place.is_clean()), ("main", true), "{go}");
        assert_eq!(place.git(["rev-parse", "main"]), record.base_commit.unwrap(), "{go}");
    }
    assert_eq!(processes_with("sleep 86411"), [""; 0]);
}

/// P2, P9: what was committed is the run's, wherever it is. What lies in the tree is not: somebody else has taken over.
#[test]
fn who_takes_over_after_a_kill_keeps_what_is_theirs() {
    let place = Place::new();
    let script = "git switch -qc elsewhere; echo a >committed; git add --all; git commit --quiet --message=One; \
        echo ready; sleep 86412";
    let run = started(&mut place.run_with(&["--branch", "agent/taken-over"], script), "ready");
    signal(&run.0, "KILL");
    finished_although_open(run);
    // As quick as the next signs of life would have come nobody is.
    std::thread::sleep(std::time::Duration::from_secs(4));
    place.git(["switch", "--quiet", "main"]);
    std::fs::write(place.work().join("mine"), "mine").unwrap();
    let record = step(&place, &["salvage"], None).record();
    assert_eq!((record.outcome, record.commits, record.files.len()), (Outcome::Interrupted, 1, 1));
    assert_eq!(place.git(["show", "agent/taken-over:committed"]), "a");
    assert_eq!((place.branch().as_str(), place.git(["status", "--short"]).as_str()), ("main", "?? mine"));
    assert_eq!(processes_with("sleep 86412"), [""; 0]);
}

/// P2, P9: a run that has ended in order has left the tree, whatever becomes of its record.
#[test]
fn what_lies_in_the_tree_after_a_run_is_not_the_runs() {
    let place = Place::new();
    let record = place.path("record.json");
    let options = ["--branch", "agent/over", "--unsettled", "--record", record.to_str().unwrap()];
    assert_eq!(place.run(&options, "touch a").record().commits, 1);
    for _ in 0..2 {
        std::fs::remove_file(&record).unwrap();
        std::fs::write(place.work().join("mine"), "mine").unwrap();
        assert_eq!(step(&place, &["salvage"], None).record().commits, 1);
        assert_eq!((place.branch().as_str(), place.git(["status", "--short"]).as_str()), ("main", "?? mine"));
    }
}

fn step(place: &Place, arguments: &[&str], record: Option<&std::path::Path>) -> Ran {
    let mut command = place.program();
    command.args(arguments);
    if let Some(record) = record {
        command.stdin(std::fs::File::open(record).unwrap());
    }
    Ran::of(command.output().unwrap())
}

/// A run that is to be published is left, in order or killed, until it is said that it was; its record is where it was to be.
#[test]
fn what_is_to_be_published_is_left_until_it_is_settled() {
    let place = Place::new();
    let record = place.path("record.json");
    let options = ["--unsettled", "--record", record.to_str().unwrap()];
    assert_eq!(step(&place, &["left"], None).stdout, "", "before any run");

    let ran = place.run(&options, "touch a");
    let left: serde_json::Value = serde_json::from_str(&step(&place, &["left"], None).stdout).unwrap();
    assert_eq!(left["recordFile"], record.to_str().unwrap());
    assert_eq!(left["run"], ran.record().run);
    assert_eq!(step(&place, &["salvage"], None).record(), ran.record(), "nothing is to be done for it");
    assert_eq!(step(&place, &["settle"], Some(&record)).code, Some(0));
    assert_eq!(step(&place, &["left"], None).stdout, "");

    std::fs::remove_file(&record).unwrap();
    killed(
        &place,
        86408,
        &[&options[..], &["--run", "writer-3-cccccc", "--branch", "agent/unsettled"]].concat(),
    );
    let salvaged = step(&place, &["salvage"], None).record();
    assert_eq!((salvaged.outcome, salvaged.commits), (Outcome::Interrupted, 1));
    assert_eq!(
        serde_json::from_slice::<agent_task::RunRecord>(&std::fs::read(&record).unwrap()).unwrap(),
        salvaged
    );
    assert_ne!(step(&place, &["left"], None).stdout, "", "salvaged, and not published");

    // The next run leaves its record where it is found, and says so.
    let next = place.run(&options, "touch b");
    let kept = place.path("left-writer-3-cccccc/record.json");
    assert!(next.stderr.contains(kept.to_str().unwrap()), "{}", next.stderr);
    assert_eq!(step(&place, &["settle"], Some(&kept)).code, Some(0));
    assert_ne!(step(&place, &["left"], None).stdout, "", "what is left is another run");
    assert_eq!(processes_with("sleep 86408"), [""; 0]);
}

/// Killed when its work was committed and HEAD was back: nothing lies in the tree, and the branch has it all.
#[test]
fn what_was_committed_before_the_kill_is_found_on_its_branch() {
    let place = Place::new();
    killed(&place, 86409, &["--run", "writer-4-dddddd", "--branch", "agent/committed"]);
    place.git(["add", "--all"]);
    place.git(["commit", "--quiet", "--message=Work"]);
    place.git(["switch", "--quiet", "main"]);
    let record = step(&place, &["salvage"], None).record();
    assert_eq!((record.commits, record.files_changed, record.unfinished), (1, 1, true));
    assert_eq!(record.head.unwrap(), place.git(["rev-parse", "agent/committed"]));
    assert_eq!(processes_with("sleep 86409"), [""; 0]);
}

/// P9
#[test]
fn a_run_ends_in_order_when_its_parent_is_killed() {
    let place = Place::new();
    let (record, script) = (place.path("record.json"), "echo x >left; echo ready; exec sleep 86407");
    let program = env!("CARGO_BIN_EXE_branch-run");
    let mut parent = place.hermetic("sh");
    let run = r#""$@" --die-with-parent $$ -- sh -c "$SCRIPT"; true"#;
    parent.env("SCRIPT", script).args(["-c", run, "sh", program, "--record"]).arg(&record);
    let parent = started(&mut parent, "ready");
    signal(&parent.0, "KILL");
    let rest = finished(parent).stderr;
    let record: agent_task::RunRecord = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    assert_eq!((record.outcome, record.commits), (Outcome::Interrupted, 1), "{rest}");
    assert_eq!(processes_with("sleep 86407"), [""; 0]);

    let stranger = place.run(&["--die-with-parent", "1"], "touch b");
    assert_eq!(stranger.code, Some(2), "{}", stranger.stderr);
}

/// A process that has left the tree, and the environment that it is known by. With a control group of the run's own it ends all the same;
/// where this machine lets nobody make one, the note names none.
#[test]
fn what_hides_from_the_run_ends_with_its_control_group() {
    let place = Place::new();
    let script = "env -i setsid sleep 86410 & echo x >left; echo ready; wait";
    let run = started(&mut place.run_with(&["--branch", "agent/hidden"], script), "ready");
    let note: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.work().join(".git/pressrun.lock")).unwrap()).unwrap();
    signal(&run.0, "KILL");
    finished_although_open(run);
    assert_ne!(processes_with("sleep 86410"), [""; 0]);
    assert_eq!(step(&place, &["salvage"], None).record().commits, 1);
    match note["group"].as_str() {
        Some(group) => {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while !processes_with("sleep 86410").is_empty() {
                assert!(std::time::Instant::now() < deadline, "{group} is not ended");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        None => {
            let status = std::process::Command::new("pkill").args(["-f", "^sleep 86410$"]).status().unwrap();
            assert!(status.success());
        }
    }
    // A run that ends in order leaves no group.
    let group =
        place.run(&["--branch", "agent/orderly"], "sed -n 's/^0:://p' /proc/self/cgroup >group").record();
    let named = place.git(["show", &format!("{}:group", group.branch.unwrap())]);
    assert_eq!(named.ends_with(&format!("/pressrun-{}", group.run)), note["group"].is_string(), "{named}");
    let mut find = std::process::Command::new("find");
    find.args(["/sys/fs/cgroup", "-name", &format!("pressrun-{}", group.run)]);
    assert_eq!(Ran::of(find.output().unwrap()).stdout, "");
}
