use crate::objects::{claim, ended, manifests};
use crate::process::Reap;
use cluster::Cluster;
use std::fs;
use std::path::PathBuf;

/// A kubeconfig of a service account that may do `verbs` with `resources`.
fn account(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    verbs: &str,
    resources: &[(&str, &str)],
) -> (tempfile::TempDir, PathBuf) {
    let rights: Vec<_> = resources.iter().map(|(group, resource)| [*group, *resource, verbs]).collect();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    fs::write(&kubeconfig, cluster.account(namespace, name, &rights, &[]).unwrap()).unwrap();
    (folder, kubeconfig)
}

const NEEDED: [(&str, &str); 5] = [
    ("", "persistentvolumeclaims"),
    ("", "pods"),
    (agent_task::labels::DOMAIN, "agenttasks"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
];

/// K5
#[test]
fn without_the_right_to_look_nothing_is_done() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    cluster.apply(&manifests(&[ended(claim(&namespace, "a"), "Succeeded", 1)])).unwrap();
    let (_folder, kubeconfig) = account(cluster, &namespace, "blind", "list delete", &NEEDED[..3]);
    let ended = Reap::new().kubeconfig(&kubeconfig).args(&["--claims-only"]).run();
    assert_eq!((ended.code, &*ended.stdout), (Some(4), ""), "{ended:?}");
    assert!(ended.stderr.contains("cannot list resource \"jobs\""), "{ended:?}");
    assert!(ended.stderr.contains("hint: grant it by a Role"), "{ended:?}");
}

/// K5
#[test]
fn what_it_may_not_delete_fails_line_by_line_and_the_end_is_worth_a_retry() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let objects = ["a", "b"].map(|run| ended(claim(&namespace, run), "Succeeded", 1));
    cluster.apply(&manifests(&objects)).unwrap();
    let (_folder, kubeconfig) = account(cluster, &namespace, "looking", "list", &NEEDED);
    let ended = Reap::new().kubeconfig(&kubeconfig).args(&["--claims-only"]).run();
    assert_eq!((ended.code, &ended.summary()["failed"]), (Some(3), &2.into()), "{ended:?}");
    for claim in ["agent-ws-a", "agent-ws-b"] {
        let line = ended.line("claim", claim);
        assert!(line["error"].as_str().unwrap().contains("cannot delete resource"), "{line}");
    }
    // Without --claims-only, volumes are looked at too, which are the whole cluster's.
    let ended = Reap::new().kubeconfig(&kubeconfig).run();
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("persistentvolumes"), "{ended:?}");
}

/// K5
#[test]
fn a_selector_that_is_none_is_refused_by_the_server() {
    let cluster = Cluster::shared_control_plane();
    let ended = Reap::on(cluster, "default").args(&["--selector", "((("]).run();
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("expected: identifier"), "{ended:?}");
}
