use crate::objects::{claim, ended, host_path_claim, host_path_volume, manifests, preserved};
use crate::process::Reap;
use cluster::Cluster;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A volume and its claim, bound to each other, and a directory with something in it.
fn bound(cluster: &Cluster, namespace: &str, run: &str, root: &Path, phase: &str, hours_ago: i64) {
    let claim = ended(host_path_claim(namespace, run), phase, hours_ago);
    cluster.apply(&manifests(&[host_path_volume(namespace, run, root), claim])).unwrap();
    let name = format!("agent-ws-{run}");
    let claim = format!("persistentvolumeclaim/{name}");
    cluster
        .kubectl(&["wait", "-n", namespace, "--for=jsonpath={.status.phase}=Bound", "--timeout=120s", &claim])
        .unwrap();
    fs::create_dir_all(root.join(&name).join("repository/.git")).unwrap();
    fs::write(root.join(&name).join("repository/.git/config"), "x").unwrap();
}

fn volume_exists(cluster: &Cluster, name: &str) -> bool {
    !cluster.kubectl(&["get", "persistentvolume", name, "--ignore-not-found"]).unwrap().is_empty()
}

/// Runs it until nothing is left to be done: Kubernetes may take longer for a step than one pass waits.
fn reap_all(cluster: &Cluster, namespace: &str, root: &Path, gone: &[&str]) {
    for _ in 0..12 {
        let ended = Reap::on(cluster, namespace).args(&["--host-path-root", root.to_str().unwrap()]).run();
        assert_eq!((ended.code, &ended.summary()["failed"]), (Some(0), &0.into()), "{ended:?}");
        if !gone.iter().any(|name| volume_exists(cluster, name) || root.join(name).exists()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    panic!("still there: {gone:?}");
}

/// K4, K5
#[test]
fn a_volume_goes_with_its_claim_and_its_directory_and_one_that_failed_stays_whole() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let root = tempfile::tempdir().unwrap();
    bound(cluster, &namespace, "hp-done", root.path(), "Succeeded", 1);
    bound(cluster, &namespace, "hp-failed", root.path(), "Failed", 1);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("keep"), "x").unwrap();
    symlink(outside.path(), root.path().join("agent-ws-hp-done/link")).unwrap();

    reap_all(cluster, &namespace, root.path(), &["agent-ws-hp-done"]);
    assert!(volume_exists(cluster, "agent-ws-hp-failed"));
    assert!(root.path().join("agent-ws-hp-failed/repository/.git/config").exists());
    assert!(outside.path().join("keep").exists());
}

/// K5
#[test]
fn a_volume_whose_claim_a_person_deleted_keeps_its_failure_for_its_time() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let root = tempfile::tempdir().unwrap();
    bound(cluster, &namespace, "hp-orphan", root.path(), "Failed", 1);
    cluster.kubectl(&["delete", "-n", &namespace, "persistentvolumeclaim", "agent-ws-hp-orphan"]).unwrap();
    let wait = "--for=jsonpath={.status.phase}=Released";
    cluster.kubectl(&["wait", wait, "--timeout=120s", "persistentvolume/agent-ws-hp-orphan"]).unwrap();

    let root_path = root.path().to_str().unwrap();
    let kept = Reap::on(cluster, &namespace).args(&["--host-path-root", root_path]).run();
    assert_eq!(kept.line("volume", "agent-ws-hp-orphan")["decision"], "keep", "{kept:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    for (args, why) in [
        (&[][..], "--host-path-root"),
        (&["--host-path-root", elsewhere.path().to_str().unwrap()], "not below the root"),
    ] {
        let kept = Reap::on(cluster, &namespace).args(&["--keep-failed=0"]).args(args).run();
        let reason = kept.line("volume", "agent-ws-hp-orphan")["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(why), "{reason}");
    }
    let only_claims = Reap::on(cluster, &namespace).args(&["--claims-only"]).run();
    assert_eq!(only_claims.summary()["volumes"], 0, "{only_claims:?}");
    assert!(root.path().join("agent-ws-hp-orphan/repository").exists());

    let patch = format!(
        r#"{{"metadata":{{"annotations":{{"{}":"Failed","{}":"{}"}}}}}}"#,
        agent_task::labels::PHASE,
        agent_task::labels::FINISHED_AT,
        crate::objects::ago(73)
    );
    cluster
        .kubectl(&["patch", "persistentvolume", "agent-ws-hp-orphan", "--type=merge", "-p", &patch])
        .unwrap();
    reap_all(cluster, &namespace, root.path(), &["agent-ws-hp-orphan"]);
}

/// K5
#[test]
fn directories_without_a_volume_go_by_age_and_no_others() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let root = tempfile::tempdir().unwrap();
    for name in ["agent-ws-lost", "agent-workspace", "other"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    // One that a volume of another namespace has, whatever its labels are.
    let mut foreign = host_path_volume("another", "hp-foreign", root.path());
    foreign["metadata"]["labels"] = serde_json::json!({});
    cluster.apply(&manifests(&[foreign])).unwrap();
    fs::create_dir(root.path().join("agent-ws-hp-foreign")).unwrap();

    let args = ["--host-path-root", root.path().to_str().unwrap()];
    let young = Reap::on(cluster, &namespace).args(&args).run();
    assert_eq!(young.summary()["directories"], 1, "{young:?}");
    assert!(root.path().join("agent-ws-lost").exists());
    // Nobody can set the time of a directory's last change, so the test cannot make one old: the decision's own tests do.
    let still_young = Reap::on(cluster, &namespace).args(&args).args(&["--keep-failed=0"]).run();
    let line = still_young.lines.iter().find(|line| line["run"] == "lost").unwrap();
    assert_eq!((&line["decision"], &line["result"]), (&"keep".into(), &"none".into()), "{still_young:?}");
    cluster.kubectl(&["delete", "persistentvolume", "agent-ws-hp-foreign"]).unwrap();
}

/// K5
#[test]
fn what_cannot_be_deleted_fails_alone_and_the_volume_stays_to_tell_of_it() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("keep"), "x").unwrap();
    // The directory of this volume is a link that leads out of the root.
    let link = ended(host_path_volume(&namespace, "hp-link", root.path()), "Succeeded", 1);
    cluster.apply(&manifests(&[link, ended(claim(&namespace, "plain"), "Succeeded", 1)])).unwrap();
    symlink(outside.path(), root.path().join("agent-ws-hp-link")).unwrap();

    let args = ["--host-path-root", root.path().to_str().unwrap()];
    let ended = Reap::on(cluster, &namespace).args(&args).run();
    assert_eq!((ended.code, &ended.summary()["failed"]), (Some(3), &1.into()), "{ended:?}");
    let line = ended.line("volume", "agent-ws-hp-link");
    assert_eq!(line["result"], "failed");
    assert!(line["error"].as_str().unwrap().contains("symbolic link"), "{line}");
    assert_eq!(ended.claim("agent-ws-plain").0, "delete", "it goes on past the failure");
    assert!(volume_exists(cluster, "agent-ws-hp-link") && outside.path().join("keep").exists());

    fs::remove_file(root.path().join("agent-ws-hp-link")).unwrap();
    reap_all(cluster, &namespace, root.path(), &["agent-ws-hp-link"]);
}

/// K5
#[test]
fn a_preserved_volume_outlives_its_claim() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let root = tempfile::tempdir().unwrap();
    let volume = preserved(ended(host_path_volume(&namespace, "hp-kept", root.path()), "Succeeded", 1000));
    cluster.apply(&manifests(&[volume])).unwrap();
    let args = ["--host-path-root", root.path().to_str().unwrap()];
    let ended = Reap::on(cluster, &namespace).args(&args).run();
    assert_eq!(ended.line("volume", "agent-ws-hp-kept")["decision"], "keep", "{ended:?}");
    cluster.kubectl(&["delete", "persistentvolume", "agent-ws-hp-kept"]).unwrap();
}
