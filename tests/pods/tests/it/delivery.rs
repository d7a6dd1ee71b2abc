//! Runs that do what they were asked for.

use super::*;

/// P5, K3, K7, K13, K15
#[test]
fn a_task_becomes_a_pull_request_with_browser_and_subagents() -> anyhow::Result<()> {
    let file = e2e::workspace().join("tests/sandbox/scenarios/publish.json");
    let scenario = Scenario::from_file(&file)?;
    let topic = scenario.topic.clone();
    let site = Site::new("publish", scenario, json!({}))?;
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
    let look = "exec >/workspace/run/seen 2>&1; id; sed -z 's/^/another: /' /proc/1/environ | tr '\\0' '\\n'; \
        cat /proc/[0-9]*/environ | tr '\\0' '\\n'; cat /proc/self/mounts; \
        grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/self/status; ls -lR /etc/pressrun /var/run/secrets; \
        touch /usr/local/bin/x; git config --list --show-origin; git -C /workspace/repo config credential.helper";
    let site = Site::new("inside", writer([runs(look), writes_the_note(), is_done()]), json!({}))?;
    let task = site.task(&json!({"agent": "writer", "prompt": PROMPT, "allowedTools": ["Write", "Bash"]}));
    let ended = site.spawn_job(&["--wait"], &task)?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    assert_eq!(record(&ended).prompt, PROMPT);
    let seen =
        std::fs::read_to_string(site.volume(ended.report["claim"].as_str().unwrap())?.join("run/seen"))?;
    // That it can read the environment of a process that is not its own: what it does not find there is not there.
    let another = format!("another: PRESSRUN_RUN={}", ended.report["run"].as_str().unwrap());
    for there in [
        another.as_str(),
        "uid=1001",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Read-only file system",
    ] {
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
    let look = "touch /workspace/run/x && echo own: written; touch /mirror/x || echo mirror: refused; git log --oneline -1; test -s hugo.yaml && echo all: there";
    let site = Site::new("reader", writer([runs(look), is_done()]), json!({}))?;
    let spec = json!({"agent": "writer", "prompt": PROMPT, "readOnly": true, "allowedTools": "Read,Bash"});
    let ended = site.spawn_job(&["--follow"], &site.task(&spec))?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    assert_eq!(record(&ended).outcome, Outcome::NoChange);
    assert_eq!(site.world.run_branches()?, []);
    assert_eq!(site.world.sandbox.github().git_pushes().len(), 0);
    assert!(site.volume("agent-workspace")?.join("octo/blog.git/HEAD").exists());
    let pod = site.pod(ended.report["job"].as_str().unwrap())?;
    assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1);
    let log = site.cluster.kubectl(&[
        "logs",
        pod["metadata"]["name"].as_str().unwrap(),
        "--namespace",
        &site.namespace,
    ])?;
    for seen in ["own: written", "'/mirror/x': Read-only file system", "mirror: refused", "all: there"] {
        assert!(log.contains(seen), "'{seen}' in {log}");
    }
    assert!(!site.volume("agent-workspace")?.join("x").exists());
    Ok(())
}

/// K4, K11: at the same time, each in a volume of its own.
#[test]
fn two_runs_at_once_share_nothing() -> anyhow::Result<()> {
    let work = "test ! -e mine || exit 9; echo $PRESSRUN_RUN_ID >mine; sleep 5; cat mine";
    let site = Site::new("two", writer([runs(work), is_done()]), json!({}))?;
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

/// K10, K11: the pod's volume comes with it, and stays as long as the Job.
#[test]
fn a_schedule_makes_a_run_of_its_own() -> anyhow::Result<()> {
    let site = Site::new("schedule", writer([writes_the_note(), is_done()]), json!({}))?;
    let spec = json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Write", "trigger": "scheduled",
        "schedule": "* * * * *"});
    let made = site.spawn_job(&[], &site.task(&spec))?;
    assert_eq!((made.code, &made.report["result"]), (Some(0), &json!("applied")), "{}", made.stderr);
    let deadline = Instant::now() + Duration::from_secs(120);
    let job = loop {
        let jobs = site.cluster.get(&["jobs", "--namespace", &site.namespace])?;
        if let Some(name) = jobs["items"][0]["metadata"]["name"].as_str() {
            break name.to_owned();
        }
        assert!(Instant::now() < deadline, "no Job");
        std::thread::sleep(Duration::from_secs(1));
    };
    let suspended = site.spawn_job(&[], &site.task(&with(json!({"suspend": true}), spec)))?;
    assert_eq!((suspended.code, &suspended.report["job"]), (Some(0), &made.report["job"]));
    let complete = ["wait", "--for=condition=complete", "--timeout=300s", "--namespace", &site.namespace];
    site.cluster.kubectl(&[&complete[..], &["job", &job]].concat())?;

    let pod = site.pod(&job)?;
    let message = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"];
    let record: RunRecord = serde_json::from_str(message.as_str().unwrap())?;
    assert!(record.is_delivered() && record.run == job, "{record:?}");
    assert_eq!(site.world.sandbox.github().pull_requests(REPOSITORY).len(), 1);
    let claim = format!("{}-workspace", pod["metadata"]["name"].as_str().unwrap());
    assert!(site.volume(&claim)?.join("run/record.json").exists());
    let schedule = site.cluster.get(&[
        "cronjob",
        made.report["job"].as_str().unwrap(),
        "--namespace",
        &site.namespace,
    ])?;
    assert_eq!(schedule["spec"]["suspend"], true);
    Ok(())
}

/// K6, P9: a token that can read, and servers beside the presets, for a task that asks for them.
#[test]
fn the_agent_gets_what_its_task_asks_for() -> anyhow::Result<()> {
    let work = format!(
        "at=github.com/{REPOSITORY}; with=https://x-access-token:$GH_TOKEN@$at; \
        git ls-remote https://$at main >&2; echo anonymous=$? >seen; git ls-remote $with main >&2; echo read=$? >>seen; \
        git push $with HEAD:refs/heads/evil >&2; echo push=$? >>seen"
    );
    let site = Site::new("asked", writer([runs(&work), is_done()]), json!({}))?;
    let server = json!({"type": "stdio", "command": "playwright-mcp", "args": ["--headless", "--isolated"]});
    let spec = json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Bash", "githubRead": true,
        "mcpServers": {"another": server}});
    let ended = site.spawn_job(&["--wait"], &site.task(&spec))?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    let branch = record(&ended).push.unwrap().branch;
    let seen = site.world.git(&site.world.remote, &["show", &format!("{branch}:seen")])?;
    assert_eq!(seen, "anonymous=128\nread=0\npush=128", "{seen}");
    assert_eq!(site.world.run_branches()?.len(), 1);

    let volume = site.volume(ended.report["claim"].as_str().unwrap())?;
    let record: RunRecord = serde_json::from_slice(&std::fs::read(volume.join("run/record.json"))?)?;
    let servers = record.report.unwrap().mcp_servers;
    assert!(
        servers.iter().any(|server| server.name == "another" && server.status == "connected"),
        "{servers:?}"
    );
    Ok(())
}

/// K1, P12: the other agent CLI.
#[test]
fn a_task_for_opencode_becomes_a_pull_request() -> anyhow::Result<()> {
    let settings = json!({"secrets": {"agent": "provider"}});
    let site = Site::new("opencode", writer([writes_the_note(), is_done()]), settings)?;
    let key = json!({"OPENCODE_API_KEY": site.world.sandbox.model().expect_api_key()});
    let metadata = json!({"name": "provider", "namespace": site.namespace});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": key});
    site.cluster.apply(&secret.to_string())?;
    let spec = json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Write", "runtime": "opencode"});
    let ended = site.spawn_job(&["--wait"], &site.task(&spec))?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    assert!(record(&ended).is_delivered());
    assert_eq!(site.world.sandbox.github().pull_requests(REPOSITORY).len(), 1);
    Ok(())
}
