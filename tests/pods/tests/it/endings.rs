//! Runs that end otherwise. What is on the volume is published, and why is told.

use super::*;

/// K16
#[test]
fn a_killed_container() -> anyhow::Result<()> {
    let site = Site::new("killed", long_work(), json!({}))?;
    let (task, run) = at_work(&site, json!({}))?;
    signal(&site, &run, "KILL", "tini")?;
    assert_salvaged(&site, &task, &run, "container agent ended with 137 (Error)", "ended with 137")
}

/// K16, K13: one process of the agent's takes all memory and is killed for it; the agent goes on. What it did is published.
#[test]
fn no_memory_left() -> anyhow::Result<()> {
    let eats = "touch /workspace/run/at-work; tail /dev/zero; test $? = 137";
    let site = Site::new("memory", writer([writes_the_note(), runs(eats), is_done()]), json!({}))?;
    let limits = json!({"resources": {"limits": {"memory": "800Mi"}, "requests": {"memory": "100Mi"}}});
    let (task, run) = at_work(&site, limits)?;
    let ended = site.spawn_job(&["--wait"], &task)?;
    assert_eq!((ended.code, &ended.report["result"]), (Some(1), &json!("failed")), "{}", ended.stderr);
    assert_eq!(ended.report["error"], "container agent ended with 1 (OOMKilled)");
    assert_eq!(site.world.run_branches()?, []);
    let ended = site.spawn_job(&["--stage", "publish", "--run", &run, "--wait"], "")?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    assert!(record(&ended).is_delivered());
    Ok(())
}

/// K16: the agent takes all memory, and the kernel ends its container.
#[test]
fn a_container_without_memory() -> anyhow::Result<()> {
    // The kernel takes the process with the highest mark. All have one already in a pod that does not get all that it may use.
    let eats = "touch /workspace/run/at-work; echo 1000 >/proc/1/oom_score_adj; tail /dev/zero; sleep 600";
    let amounts = json!({"cpu": "1", "memory": "800Mi"});
    let guaranteed = json!({"requests": amounts, "limits": amounts});
    let settings = json!({"resources": {"agent": guaranteed, "steps": guaranteed}});
    let site = Site::new("oom", writer([writes_the_note(), runs(eats), is_done()]), settings)?;
    let (task, run) = at_work(&site, json!({}))?;
    assert_salvaged(&site, &task, &run, "container agent ended with 137 (OOMKilled)", "OOMKilled")
}

/// P10, K16: the pod is taken away with time to end, as in a drain. It does not run again.
#[test]
fn an_evicted_pod() -> anyhow::Result<()> {
    let site = Site::new("evicted", long_work(), json!({}))?;
    let (task, run) = at_work(&site, json!({}))?;
    let pod = site.pod(&run)?["metadata"]["name"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", site.namespace);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    let file = site.world.path("eviction.json");
    std::fs::write(&file, eviction.to_string())?;
    site.cluster.kubectl(&["create", "--raw", &path, "--filename", file.to_str().unwrap()])?;
    assert_salvaged(&site, &task, &run, "DisruptionTarget", "branch-run got SIGTERM")
}

/// K3, P10: the agent's own limit comes first, so that its pod has time to publish what there is.
#[test]
fn a_run_that_overstays_its_time_is_published_by_its_own_pod() -> anyhow::Result<()> {
    let site = Site::new("late", long_work(), json!({}))?;
    let spec =
        json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Write,Bash", "timeoutSeconds": 90});
    let ended = site.spawn_job(&["--wait"], &site.task(&spec))?;
    let run = ended.report["run"].as_str().unwrap();
    assert_kept(&site, run, &ended, Outcome::Timeout, "the time limit of 1m 12s was reached")
}

/// K3, K16: who hears neither the agent's limit nor SIGTERM is ended by the pod's.
#[test]
fn a_run_that_is_deaf() -> anyhow::Result<()> {
    let site = Site::new("deaf", long_work(), json!({}))?;
    let (task, run) = at_work(&site, json!({"timeoutSeconds": 90}))?;
    signal(&site, &run, "STOP", "branch-run")?;
    assert_salvaged(&site, &task, &run, "DeadlineExceeded", "DeadlineExceeded")
}

fn assert_told(settings: Value, missing: &[&str]) -> anyhow::Result<()> {
    let site = Site::new("missing", writer([is_done()]), settings)?;
    let ended = site.spawn_job(&["--wait"], &site.task(&json!({"agent": "writer", "prompt": PROMPT})))?;
    assert_eq!(ended.code, Some(1));
    for part in [missing, &["hint: mend it and it goes on"]].concat() {
        assert!(ended.stderr.contains(part), "'{part}' in {}", ended.stderr);
    }
    Ok(())
}

/// K15
#[test]
fn a_secret_that_is_missing_is_told() -> anyhow::Result<()> {
    assert_told(
        json!({"secrets": {"agent": "nowhere"}}),
        &["container agent", "secret \"nowhere\" not found"],
    )
}

/// K15: a volume cannot be mounted.
#[test]
fn a_secret_of_a_volume_that_is_missing_is_told() -> anyhow::Result<()> {
    assert_told(
        json!({"secrets": {"github": "nowhere"}}),
        &["FailedMount", "\"github-app\"", "secret \"nowhere\" not found"],
    )
}

/// K15
#[test]
fn an_image_that_cannot_be_pulled_is_told() -> anyhow::Result<()> {
    assert_told(
        json!({"image": "registry.pressrun.test/nowhere:1", "imagePullPolicy": "IfNotPresent"}),
        &["container checkout", "Pull", "registry.pressrun.test/nowhere:1"],
    )
}
