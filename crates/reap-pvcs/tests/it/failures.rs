use crate::objects::{claim, ended, manifests};
use crate::process::Reap;
use cluster::Cluster;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// A kubeconfig with the rights of a service account that may do `verbs` with `resources`.
fn account(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    verbs: &[&str],
    resources: &[(&str, &str)],
) -> (tempfile::TempDir, PathBuf) {
    cluster.kubectl(&["create", "-n", namespace, "serviceaccount", name]).unwrap();
    let account = format!("--serviceaccount={namespace}:{name}");
    let rules: Vec<_> = resources
        .iter()
        .map(|(group, resource)| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs }))
        .collect();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": name, "namespace": namespace }, "rules": rules,
    });
    cluster.apply(&role.to_string()).unwrap();
    let role_reference = format!("--role={name}");
    cluster.kubectl(&["create", "-n", namespace, "rolebinding", name, &role_reference, &account]).unwrap();
    let token = cluster.kubectl(&["create", "-n", namespace, "token", name]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    fs::copy(cluster.kubeconfig(), &kubeconfig).unwrap();
    let path = kubeconfig.to_str().unwrap();
    let config = |args: &[&str]| {
        let mut kubectl = std::process::Command::new("kubectl");
        let output = kubectl.arg("--kubeconfig").arg(path).arg("config").args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    };
    config(&["set-credentials", "account", &format!("--token={}", token.trim())]);
    config(&["set-context", "--current", "--user=account", &format!("--namespace={namespace}")]);
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
    let (_folder, kubeconfig) = account(cluster, &namespace, "blind", &["list", "delete"], &NEEDED[..3]);
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
    let (_folder, kubeconfig) = account(cluster, &namespace, "looking", &["list"], &NEEDED);
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
