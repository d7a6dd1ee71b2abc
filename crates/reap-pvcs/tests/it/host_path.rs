use crate::objects::{
    ago, claim, ended, host_path_claim, host_path_volume, manifests, pod, preserved, retained_volume,
};
use crate::process::{Ended, Reap};
use agent_task::labels::{FINISHED_AT, PHASE};
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
        ago(73)
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
    for name in ["agent-ws-lost", "agent-ws-hp-foreign", "agent-workspace", "other"] {
        fs::create_dir_all(root.path().join(name).join("in")).unwrap();
    }
    // One that a volume of another namespace has, whatever its labels are.
    let mut foreign = host_path_volume("another", "hp-foreign", root.path());
    foreign["metadata"]["labels"] = serde_json::json!({});
    cluster.apply(&manifests(&[foreign])).unwrap();

    let reap = |more: &[&str]| {
        let root = ["--host-path-root", root.path().to_str().unwrap()];
        Reap::on(cluster, &namespace).args(&root).args(more).run()
    };
    let young = reap(&[]);
    assert_eq!(young.summary()["directories"], 1, "{young:?}");
    let lost = |ended: &Ended| {
        let line = ended.lines.iter().find(|line| line["run"] == "lost").unwrap();
        (line["decision"].as_str().unwrap().to_owned(), line["result"].as_str().unwrap().to_owned())
    };
    assert_eq!(lost(&young), ("keep".to_owned(), "none".to_owned()));
    // Nobody can set the time of a directory's last change, so it is the time that is kept which is short.
    let due = reap(&["--keep-failed=0"]);
    assert_eq!(lost(&due), ("delete".to_owned(), "deleted".to_owned()), "{due:?}");
    assert_eq!((due.code, &due.summary()["deleted"]), (Some(0), &1.into()), "{due:?}");
    let mut left: Vec<_> =
        fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["agent-workspace", "agent-ws-hp-foreign", "other"]);
    cluster.kubectl(&["delete", "persistentvolume", "agent-ws-hp-foreign"]).unwrap();
}

/// K5
#[test]
fn a_dry_run_leaves_volumes_and_directories_where_they_are() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let root = tempfile::tempdir().unwrap();
    let due = |run| ended(host_path_volume(&namespace, run, root.path()), "Succeeded", 1);
    let retained = |run| ended(retained_volume(&namespace, run), "Succeeded", 1);
    cluster.apply(&manifests(&[due("hp-dry"), retained("dry-retained")])).unwrap();
    for name in ["agent-ws-hp-dry", "agent-ws-lost"] {
        fs::create_dir_all(root.path().join(name).join("in")).unwrap();
    }
    let args = ["--keep-failed=0", "--delete-retained", "--host-path-root", root.path().to_str().unwrap()];
    let dry = Reap::on(cluster, &namespace).args(&args).args(&["--dry-run"]).run();
    assert_eq!(
        (dry.code, &dry.summary()["postponed"], &dry.summary()["deleted"]),
        (Some(0), &3.into(), &0.into()),
        "{dry:?}"
    );
    assert!(root.path().join("agent-ws-hp-dry/in").exists() && root.path().join("agent-ws-lost/in").exists());
    assert!(volume_exists(cluster, "agent-ws-hp-dry"));
    assert_eq!(policy_of(cluster, "pv-dry-retained"), "Retain");

    let reaped = Reap::on(cluster, &namespace).args(&args).run();
    // That a directory went with its volume, is told once.
    assert_eq!(
        (reaped.code, &reaped.summary()["deleted"], reaped.lines.len()),
        (Some(0), &3.into(), 4),
        "{reaped:?}"
    );
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    cluster.kubectl(&["delete", "persistentvolume", "pv-dry-retained"]).unwrap();
}

fn policy_of(cluster: &Cluster, volume: &str) -> String {
    let found = cluster.get(&["persistentvolume", volume]).unwrap();
    found["spec"]["persistentVolumeReclaimPolicy"].as_str().unwrap().to_owned()
}

/// K5
#[test]
fn a_volume_that_its_storage_class_retains_is_told_of_and_goes_on_request() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let mut foreign = retained_volume("another", "foreign");
    foreign["spec"]["claimRef"]["namespace"] = "another".into();
    let mut data = retained_volume(&namespace, "data");
    data["spec"]["claimRef"]["name"] = "data".into();
    let ours = ended(retained_volume(&namespace, "kept"), "Succeeded", 1);
    cluster.apply(&manifests(&[foreign, data, ours])).unwrap();
    let wait =
        ["wait", "--for=jsonpath={.status.phase}=Released", "--timeout=120s", "persistentvolume/pv-kept"];
    cluster.kubectl(&wait).unwrap();

    let kept = Reap::on(cluster, &namespace).run();
    assert_eq!((kept.code, &kept.summary()["volumes"]), (Some(0), &1.into()), "{kept:?}");
    let line = kept.line("volume", "pv-kept");
    assert_eq!((&line["run"], &line["decision"]), (&"kept".into(), &"keep".into()), "{line}");
    assert!(line["reason"].as_str().unwrap().contains("--delete-retained"), "{line}");
    let told = Reap::on(cluster, &namespace).args(&["--delete-retained"]).run();
    assert_eq!(
        (told.code, &told.line("volume", "pv-kept")["result"]),
        (Some(0), &"terminating".into()),
        "{told:?}"
    );
    assert_eq!(policy_of(cluster, "pv-kept"), "Delete");
    // Whose it is by now.
    let pending = Reap::on(cluster, &namespace).args(&["--delete-retained"]).run();
    assert_eq!(pending.line("volume", "pv-kept")["decision"], "pending", "{pending:?}");
    for other in ["pv-foreign", "pv-data"] {
        assert_eq!(policy_of(cluster, other), "Retain", "{other}");
    }
    cluster.kubectl(&["delete", "persistentvolume", "pv-kept", "pv-foreign", "pv-data"]).unwrap();
}

/// K4, K5: by a real provisioner, whose directory is gone in the end.
#[test]
fn a_retained_volume_of_a_real_storage_class_goes_with_its_claim() {
    let cluster = Cluster::shared_with_node();
    let namespace = cluster.namespace("reap").unwrap();
    let class = serde_json::json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "retains" },
        "provisioner": "rancher.io/local-path", "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Retain",
    });
    let mut claim = claim(&namespace, "a");
    claim["spec"]["storageClassName"] = "retains".into();
    let mut pod = pod(&namespace, "a");
    pod["spec"]["schedulerName"] = "default-scheduler".into();
    let container = serde_json::json!({
        "name": "main", "image": "pressrun.test/busybox:1", "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo work >/workspace/post.md"],
        "volumeMounts": [{ "name": "workspace", "mountPath": "/workspace" }],
    });
    pod["spec"]["containers"] = serde_json::json!([container]);
    cluster.apply(&manifests(&[class, claim, pod])).unwrap();
    let wait =
        ["wait", "-n", &namespace, "pod/a", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s"];
    cluster.kubectl(&wait).unwrap();
    let found = cluster.get(&["-n", &namespace, "persistentvolumeclaim", "agent-ws-a"]).unwrap();
    let volume = found["spec"]["volumeName"].as_str().unwrap().to_owned();
    let object = cluster.get(&["persistentvolume", &volume]).unwrap();
    let source =
        [&object["spec"]["hostPath"], &object["spec"]["local"]].into_iter().find(|source| source.is_object());
    let directory = Path::new(source.unwrap()["path"].as_str().unwrap()).to_owned();
    assert_eq!(fs::read_to_string(directory.join("post.md")).unwrap(), "work\n");
    cluster.kubectl(&["delete", "-n", &namespace, "pod", "a"]).unwrap();
    let annotations = [(PHASE, "Succeeded".to_owned()), (FINISHED_AT, ago(1))];
    for (name, value) in annotations {
        let set = format!("{name}={value}");
        cluster
            .kubectl(&["annotate", "-n", &namespace, "persistentvolumeclaim", "agent-ws-a", &set])
            .unwrap();
    }

    for _ in 0..30 {
        let ended = Reap::on(cluster, &namespace).args(&["--delete-retained"]).run();
        assert_eq!((ended.code, &ended.summary()["failed"]), (Some(0), &0.into()), "{ended:?}");
        if !volume_exists(cluster, &volume) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    assert!(!volume_exists(cluster, &volume) && !directory.exists());
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
