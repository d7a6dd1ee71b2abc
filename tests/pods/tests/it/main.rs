//! Runs in real pods.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests that fails fails the test")]

use agent_task::{Outcome, RunRecord};
use e2e::REPOSITORY;
use pods::{Ended, Site};
use sandbox::{Agent, Call, Scenario, Turn};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PROMPT: &str = "A note on \"it's\" $(HOME) $$(X) $\u{e9} `id` \\ --x \u{1f600}";

fn writer(turns: impl IntoIterator<Item = Turn>) -> Scenario {
    let writer = Agent { name: "writer".to_owned(), turns: turns.into_iter().collect(), ..Agent::default() };
    Scenario { agents: vec![writer], ..Scenario::default() }
}

fn calls(tool: &str, input: Value) -> Turn {
    Turn { calls: vec![Call { tool: tool.to_owned(), input }], ..Turn::default() }
}

fn writes_the_note() -> Turn {
    calls(
        "Write",
        json!({"file_path": "content/posts/note.md", "content": "---\ntitle: Backups\n---\n\nA hope.\n"}),
    )
}

fn runs(command: &str) -> Turn {
    calls("Bash", json!({"command": command, "description": "Work"}))
}

fn is_done() -> Turn {
    Turn { text: Some("The note is written.\n\nVERDICT: PASS".to_owned()), ..Turn::default() }
}

fn record(ended: &Ended) -> RunRecord {
    serde_json::from_value(ended.report["record"].clone())
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", ended.report, ended.stderr))
}

/// P5, K3, K7, K13, K15
#[test]
fn a_task_becomes_a_pull_request_with_browser_and_subagents() -> anyhow::Result<()> {
    let file = e2e::workspace().join("tests/sandbox/scenarios/publish.json");
    let scenario = Scenario::from_file(&file)?;
    let topic = scenario.topic.clone();
    let site = Site::new("publish", scenario, "")?;
    let ended = site.spawn_job(&["--follow"], &site.task(&json!({"agent": "publisher", "prompt": topic})))?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    for part in ["agent is at work", "researcher started", "qa started"] {
        assert!(ended.stderr.contains(part), "'{part}' in {}", ended.stderr);
    }
    let record = record(&ended);
    assert!(record.is_delivered(), "{record:?}");
    assert_eq!(
        (record.run.as_str(), record.prompt.as_str()),
        (ended.report["run"].as_str().unwrap(), topic.as_str())
    );
    let [(branch, head)] = &site.world.run_branches()?[..] else { panic!("one branch") };
    assert_eq!((record.branch.as_ref(), record.head.as_ref()), (Some(branch), Some(head)));
    let [pull] = &site.world.sandbox.github().pull_requests(REPOSITORY)[..] else {
        panic!("one pull request")
    };
    assert!(pull.state == "open" && !pull.draft && pull.head == *branch);
    assert_eq!(site.world.sandbox.discord().messages().len(), 1);
    let volume = site.volume(ended.report["claim"].as_str().unwrap())?;
    let screenshot = std::fs::read(volume.join("run/browser/post.png"))?;
    assert!(screenshot.starts_with(b"\x89PNG"));
    assert_eq!(site.world.sandbox.violations(), Vec::<String>::new());
    Ok(())
}

/// K6, K7: looked for from inside, by the agent itself. What a person wrote arrives as it was written.
#[test]
fn the_agents_container_has_no_credential_but_its_login() -> anyhow::Result<()> {
    let look = "exec >/workspace/run/seen 2>&1; id; cat /proc/[0-9]*/environ | tr '\\0' '\\n'; cat /proc/self/mounts; \
        grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/self/status; ls -lR /etc/pressrun /var/run/secrets; \
        touch /usr/local/bin/x; git config --list --show-origin; git -C /workspace/repo config credential.helper";
    let site = Site::new("inside", writer([runs(look), writes_the_note(), is_done()]), "")?;
    let task = site.task(&json!({"agent": "writer", "prompt": PROMPT, "allowedTools": ["Write", "Bash"]}));
    let ended = site.spawn_job(&["--wait"], &task)?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    assert_eq!(record(&ended).prompt, PROMPT);
    let seen =
        std::fs::read_to_string(site.volume(ended.report["claim"].as_str().unwrap())?.join("run/seen"))?;
    for there in
        ["uid=1001", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Read-only file system"]
    {
        assert!(seen.contains(there), "no '{there}': {seen}");
    }
    let app = site.world.sandbox.github().app();
    let webhook = site.world.sandbox.discord().webhook_url_real();
    for absent in [
        "GITHUB_APP",
        app.client_id.as_str(),
        "PRIVATE KEY",
        "app.pem",
        "DISCORD",
        webhook.as_str(),
        "ghs_",
        "GH_TOKEN",
        "serviceaccount",
        "credential.helper",
        "x-access-token",
    ] {
        assert!(!seen.contains(absent), "'{absent}': {seen}");
    }
    // And not in what anyone may read who may read Jobs.
    let job = site
        .cluster
        .get(&["job", ended.report["job"].as_str().unwrap(), "--namespace", &site.namespace])?
        .to_string();
    for (name, value) in site.world.credentials()? {
        assert!(!job.contains(&value), "{name} stands in the Job");
    }
    Ok(())
}

/// K4: nothing of it is kept or pushed.
#[test]
fn a_task_that_only_reads_leaves_nothing() -> anyhow::Result<()> {
    let look = "touch /mirror/x && exit 9; git log --oneline -1 && test -s hugo.yaml";
    let site = Site::new("reader", writer([runs(look), is_done()]), "")?;
    let spec = json!({"agent": "writer", "prompt": PROMPT, "readOnly": true, "allowedTools": "Read,Bash"});
    let ended = site.spawn_job(&["--follow"], &site.task(&spec))?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    assert_eq!(record(&ended).outcome, Outcome::NoChange);
    assert_eq!(site.world.run_branches()?, []);
    assert_eq!(site.world.sandbox.github().git_pushes().len(), 0);
    assert!(site.volume("agent-workspace")?.join("octo/blog.git/HEAD").exists());
    let pod = site.pod(ended.report["job"].as_str().unwrap())?;
    assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1);
    Ok(())
}

/// A run whose agent has written the note and is at work for long: its task, its id and its claim.
fn at_work(site: &Site) -> anyhow::Result<(String, String)> {
    let task = site.task(&json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Write,Bash"}));
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

/// K16: the first process of the container is killed, and with it all others, as when memory runs out.
#[test]
fn what_a_killed_container_left_is_published_by_a_job_of_its_own() -> anyhow::Result<()> {
    let site = Site::new("killed", long_work(), "")?;
    let (task, run) = at_work(&site)?;
    let kill = r#"for process in /proc/[0-9]*; do
        if [[ $(<"$process/comm") == tini ]] && grep -qz "^PRESSRUN_RUN=$0$" "$process/environ"; then kill -KILL "${process##*/}"; fi
    done 2>/dev/null"#;
    site.cluster.command_on_node("bash")?.args(["-c", kill, &run]).status()?;

    let ended = site.spawn_job(&["--wait"], &task)?;
    assert_eq!((ended.code, &ended.report["result"]), (Some(1), &json!("failed")), "{}", ended.stderr);
    let why = ended.report["error"].as_str().unwrap();
    assert!(why.contains("container agent ended with 137"), "{why}");
    assert_eq!(site.world.run_branches()?, []);

    let ended = site.spawn_job(&["--stage", "publish", "--run", &run, "--reason", why, "--wait"], "")?;
    assert_kept(&site, &run, &ended, Outcome::Interrupted, "ended with 137")
}

/// P10, K16: the pod is taken away with time to end, as in a drain.
#[test]
fn what_an_evicted_pod_left_is_published_by_a_job_of_its_own() -> anyhow::Result<()> {
    let site = Site::new("evicted", long_work(), "")?;
    let (_, run) = at_work(&site)?;
    let pod = site.pod(&run)?["metadata"]["name"].as_str().unwrap().to_owned();
    site.cluster.kubectl(&["delete", "pod", &pod, "--namespace", &site.namespace, "--wait=true"])?;
    assert_eq!(site.world.run_branches()?, []);
    let ended =
        site.spawn_job(&["--stage", "publish", "--run", &run, "--reason", "drained", "--wait"], "")?;
    assert_kept(&site, &run, &ended, Outcome::Interrupted, "branch-run got SIGTERM")
}

/// K3, P10: the agent's own limit comes first, so that its pod has time to publish what there is.
#[test]
fn a_run_that_overstays_its_time_is_published_as_unfinished_by_its_own_pod() -> anyhow::Result<()> {
    let site = Site::new("late", long_work(), "")?;
    let spec =
        json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Write,Bash", "timeoutSeconds": 90});
    let ended = site.spawn_job(&["--wait"], &site.task(&spec))?;
    let run = ended.report["run"].as_str().unwrap();
    assert_kept(&site, run, &ended, Outcome::Timeout, "the time limit of 1m 12s was reached")
}

/// K4, K11: at the same time, each in a volume of its own.
#[test]
fn two_runs_at_once_share_nothing() -> anyhow::Result<()> {
    let work = "test ! -e mine || exit 9; echo $PRESSRUN_RUN_ID >mine; sleep 5; cat mine";
    let site = Site::new("two", writer([runs(work), is_done()]), "")?;
    let task = site.task(&json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Bash"}));
    let ended = std::thread::scope(|scope| {
        let (site, task) = (&site, &task);
        let runs = ["one", "two"]
            .map(|trigger| scope.spawn(move || site.spawn_job(&["--wait", "--trigger", trigger], task)));
        runs.map(|run| run.join().unwrap())
    });
    for ended in ended {
        let ended = ended?;
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
        let record = record(&ended);
        let branch = record.push.unwrap().branch;
        let mine = site.world.git(&site.world.remote, &["show", &format!("{branch}:mine")])?;
        assert_eq!(mine, record.run);
    }
    assert_eq!(site.world.run_branches()?.len(), 2);
    Ok(())
}

/// K15: what is missing is named, and the run goes on when it is there.
#[test]
fn a_missing_secret_and_image_are_told() -> anyhow::Result<()> {
    let site = Site::new("missing", writer([is_done()]), "secrets: {agent: nowhere}")?;
    let ended = site.spawn_job(&["--wait"], &site.task(&json!({"agent": "writer", "prompt": PROMPT})))?;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("secret \"nowhere\" not found") && ended.stderr.contains("container agent"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("hint: mend it and it goes on"), "{}", ended.stderr);
    Ok(())
}
