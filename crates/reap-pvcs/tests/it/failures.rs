use crate::objects::{
    claim, ended, host_path_claim, host_path_volume, job, job_status, manifests, retained_volume,
};
use crate::process::Reap;
use cluster::{Cluster, Gate};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// K5: what was deleted is told of, and counted, whatever comes then.
#[test]
fn a_server_that_fails_after_deletions_leaves_a_summary() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let root = tempfile::tempdir().unwrap();
    let of_run = ended(host_path_claim(&namespace, "late"), "Succeeded", 1);
    cluster.apply(&manifests(&[host_path_volume(&namespace, "late", root.path()), of_run])).unwrap();
    let bound = ["wait", "-n", &namespace, "--for=jsonpath={.status.phase}=Bound", "--timeout=120s"];
    cluster.kubectl(&[&bound[..], &["persistentvolumeclaim/agent-ws-late"]].concat()).unwrap();
    for name in ["agent-ws-late", "agent-ws-lost"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    // The first list is what is decided by; after the deletion there is none.
    let lists = Arc::new(AtomicUsize::new(0));
    let gate = Gate::refusing(cluster, move |line: &str| {
        let is_list = line.starts_with("GET /api/v1/persistentvolumes?");
        (is_list && lists.fetch_add(1, Ordering::SeqCst) > 0).then_some(500)
    });
    let gate = gate.unwrap();
    let root_path = root.path().to_str().unwrap();
    let args = ["--namespace", &namespace, "--keep-failed=0", "--host-path-root", root_path];
    let ended = Reap::new().kubeconfig(gate.kubeconfig()).args(&args).run();
    assert_eq!(ended.claim("agent-ws-late").0, "delete", "{ended:?}");
    let summary = ended.summary();
    assert_eq!(
        (ended.code, &summary["deleted"], &summary["failed"]),
        (Some(3), &1.into(), &2.into()),
        "{ended:?}"
    );
    for error in summary["errors"].as_array().unwrap() {
        let error = error.as_str().unwrap();
        assert!(error.contains("listing /api/v1/persistentvolumes: refused by the test (500)"), "{error}");
        assert!(ended.stderr.contains(error), "{ended:?}");
    }
    assert!(root.path().join("agent-ws-lost").exists(), "nobody knows whose it is");
    assert!(root.path().join("agent-ws-late").exists());

    let next = Reap::on(cluster, &namespace).args(&args[2..]).run();
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(!root.path().join("agent-ws-lost").exists());
}

/// K5
#[test]
fn the_rights_that_the_help_names_are_enough() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let root = tempfile::tempdir().unwrap();
    let here = [
        [agent_task::labels::DOMAIN, "agenttasks", "list"],
        ["", "pods", "list"],
        ["batch", "jobs", "list"],
        ["batch", "cronjobs", "list"],
        ["", "persistentvolumeclaims", "list patch delete"],
    ];
    let everywhere = [["", "persistentvolumes", "list patch delete"]];
    let folder = tempfile::tempdir().unwrap();
    let reap = |name: &str, everywhere: &[[&str; 3]], args: &[&str]| {
        let kubeconfig = folder.path().join(name);
        fs::write(&kubeconfig, cluster.account(&namespace, name, &here, everywhere).unwrap()).unwrap();
        Reap::new().kubeconfig(&kubeconfig).args(args).run()
    };
    // Everything that it does: a claim that goes, one that is written on, a volume, a volume with a directory, and one that is given back.
    cluster.apply(&agent_task_crd::run::definition().unwrap()).unwrap();
    let objects = [
        ended(claim(&namespace, "gone"), "Succeeded", 1),
        claim(&namespace, "written"),
        job(&namespace, "written", false),
        ended(host_path_volume(&namespace, "rights-hp", root.path()), "Succeeded", 1),
        ended(retained_volume(&namespace, "rights-retained"), "Succeeded", 1),
    ];
    cluster.apply(&manifests(&objects)).unwrap();
    let status = job_status(false, 1).to_string();
    let patch =
        ["patch", "-n", &namespace, "job", "written", "--subresource=status", "--type=merge", "-p", &status];
    cluster.kubectl(&patch).unwrap();
    fs::create_dir(root.path().join("agent-ws-rights-hp")).unwrap();

    let claims = reap("claims", &[], &["--claims-only"]);
    assert_eq!((claims.code, &claims.summary()["failed"]), (Some(0), &0.into()), "{claims:?}");
    let all =
        reap("all", &everywhere, &["--delete-retained", "--host-path-root", root.path().to_str().unwrap()]);
    assert_eq!((all.code, &all.summary()["failed"]), (Some(0), &0.into()), "{all:?}");
    assert_eq!(all.line("volume", "agent-ws-rights-hp")["decision"], "delete", "{all:?}");
    assert_eq!(all.line("volume", "pv-rights-retained")["decision"], "delete", "{all:?}");
    let written = cluster.get(&["-n", &namespace, "persistentvolumeclaim", "agent-ws-written"]).unwrap();
    assert_eq!(written["metadata"]["annotations"][agent_task::labels::PHASE], "Failed");
    cluster.kubectl(&["delete", "persistentvolume", "pv-rights-retained"]).unwrap();
}
