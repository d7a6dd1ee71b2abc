//! Volumes that are folders of the node, from the first run to the reaper.

use super::*;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// One pass, and what it says of each volume.
fn reap(site: &Site, root: &Path) -> anyhow::Result<Vec<Value>> {
    let output = site.program("reap-pvcs")?.arg("--host-path-root").arg(root).output()?;
    let stdout = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    Ok(stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// K4, K5, K11
#[test]
fn folders_of_the_node() -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    let settings = json!({"workspace": {"mode": "hostPath", "hostPathRoot": root.path()}});
    let site = Site::new("folders", writer([writes_the_note(), is_done()]), settings)?;
    let spec = json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Write"});
    let ended = site.spawn_job(&["--wait"], &site.task(&spec))?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    assert!(record(&ended).is_delivered());
    let claim = ended.report["claim"].as_str().unwrap();
    let run = ended.report["run"].as_str().unwrap().to_owned();
    let folder = site.volume(claim)?;
    assert_eq!(folder, root.path().join(claim));
    assert_eq!(folder.metadata()?.uid(), 1001);
    assert!(folder.join("repo/.git/HEAD").exists());

    site.world.sandbox.model().load(writer([is_done()]))?;
    let reads = json!({"agent": "writer", "prompt": PROMPT, "allowedTools": "Read", "readOnly": true});
    let ended = site.spawn_job(&["--wait"], &site.task(&reads))?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.report, ended.stderr);
    let shared = site.volume("agent-workspace")?;
    assert!(shared.starts_with(root.path()) && shared.join("octo/blog.git/HEAD").exists());

    // The claim is marked, and goes with the Job's pod, which Kubernetes deletes an hour later.
    let passes = reap(&site, root.path())?;
    assert!(passes[0]["claim"] == claim && passes[0]["result"] == "terminating", "{passes:?}");
    site.cluster.kubectl(&["delete", "job", &run, "--namespace", &site.namespace])?;
    let deadline = Instant::now() + Duration::from_secs(120);
    while folder.exists() {
        let lines = reap(&site, root.path())?;
        assert!(Instant::now() < deadline, "{lines:?}");
    }
    let volumes = site.cluster.get(&["persistentvolumes"])?.to_string();
    assert!(!volumes.contains(claim), "{volumes}");
    assert!(shared.join("octo/blog.git/HEAD").exists());
    Ok(())
}
