//! Nodes that fail: on a cluster of its own, because other runs would notice.

use super::*;
use cluster::Cluster;

/// The work that a person, or a test, lets end.
fn work_until_told() -> Scenario {
    let wait = "touch /workspace/run/at-work; until test -e /workspace/run/go; do sleep 0.2; done";
    writer([writes_the_note(), runs(wait), is_done()])
}

/// K13, K16
#[test]
fn a_node_that_fails() -> anyhow::Result<()> {
    // It ends with the process.
    let cluster: &Cluster = Box::leak(Box::new(Cluster::with_node()?));
    pods::furnish(cluster)?;
    without_a_kubelet(cluster)?;
    without_an_api_server(cluster)?;
    restarted(cluster)
}

/// Containers go on while nobody looks after them, and the run as if nothing had been.
fn without_a_kubelet(cluster: &'static Cluster) -> anyhow::Result<()> {
    let site = Site::on(cluster, "kubelet", work_until_told(), json!({}))?;
    let (task, run) = at_work(&site, json!({}))?;
    let volume = site.volume(&format!("agent-ws-{run}"))?;
    cluster.kill("kubelet")?;
    std::fs::write(volume.join("run/go"), "")?;
    let deadline = Instant::now() + Duration::from_secs(120);
    while !volume.join("run/record.json").exists() {
        assert!(Instant::now() < deadline, "the agent does not end");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(site.world.run_branches()?, []);
    cluster.start_again("kubelet")?;
    assert_delivered(&site, &site.spawn_job(&["--wait"], &task)?)
}

/// Who waits for the run waits on.
fn without_an_api_server(cluster: &'static Cluster) -> anyhow::Result<()> {
    let site = Site::on(cluster, "server", work_until_told(), json!({}))?;
    let (task, run) = at_work(&site, json!({}))?;
    let volume = site.volume(&format!("agent-ws-{run}"))?;
    let ended = std::thread::scope(|scope| {
        let follows = scope.spawn(|| site.spawn_job(&["--follow"], &task));
        std::thread::sleep(Duration::from_secs(3));
        cluster.kill("kube-apiserver")?;
        std::thread::sleep(Duration::from_secs(3));
        std::fs::write(volume.join("run/go"), "")?;
        cluster.start_again("kube-apiserver")?;
        follows.join().unwrap()
    })?;
    assert_delivered(&site, &ended)
}

fn assert_delivered(site: &Site, ended: &Ended) -> anyhow::Result<()> {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    assert!(record(ended).is_delivered());
    assert_eq!(site.world.run_branches()?.len(), 1);
    Ok(())
}

/// A power cut: all processes are gone at once, and the agent does not run a second time.
fn restarted(cluster: &'static Cluster) -> anyhow::Result<()> {
    let site = Site::on(cluster, "restart", long_work(), json!({}))?;
    let (task, run) = at_work(&site, json!({}))?;
    let asked = site.world.sandbox.model().requests().len();
    cluster.restart_node()?;
    assert_salvaged(&site, &task, &run, "container agent ended with", "ended with")?;
    assert_eq!(site.world.sandbox.model().requests().len(), asked);
    Ok(())
}
