use crate::objects::{ago, claim, ended, job, job_status, manifests, pod, preserved};
use crate::process::Reap;
use agent_task::labels::{FINISHED_AT, PHASE, PRESERVE, TASK_UID};
use cluster::{Cluster, Gate};
use std::time::{Duration, Instant};

fn end_job(cluster: &Cluster, namespace: &str, run: &str, succeeded: bool, hours_ago: i64) {
    let patch = job_status(succeeded, hours_ago).to_string();
    cluster
        .kubectl(&[
            "patch",
            "-n",
            namespace,
            "job",
            run,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .unwrap();
}

fn claims(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let found = cluster.get(&["persistentvolumeclaims", "-n", namespace]).unwrap();
    let items = found["items"].as_array().unwrap();
    items.iter().map(|claim| claim["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Kubernetes lets a claim go a moment after it was told to.
fn wait_for_claims(cluster: &Cluster, namespace: &str, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while claims(cluster, namespace) != expected {
        assert!(Instant::now() < deadline, "{:?}", claims(cluster, namespace));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// K5
#[test]
fn succeeded_go_failed_preserved_used_and_unknown_stay() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let of = |run| claim(&namespace, run);
    let objects = [
        ended(of("written-succeeded"), "Succeeded", 1),
        ended(of("written-failed-new"), "Failed", 71),
        ended(of("written-failed-old"), "Failed", 73),
        ended(preserved(of("preserved")), "Succeeded", 1000),
        of("job-succeeded"),
        of("job-failed"),
        ended(of("job-running"), "Succeeded", 1),
        ended(of("job-suspended"), "Succeeded", 1),
        ended(of("pod-pending"), "Succeeded", 1),
        of("unknown"),
        job(&namespace, "job-succeeded", false),
        job(&namespace, "job-failed", false),
        job(&namespace, "job-running", false),
        job(&namespace, "job-suspended", true),
        pod(&namespace, "pod-pending"),
    ];
    cluster.apply(&manifests(&objects)).unwrap();
    let mut shared = claim(&namespace, "shared");
    shared["metadata"]["name"] = "agent-workspace".into();
    shared["metadata"]["labels"] = serde_json::json!({});
    cluster.apply(&manifests(&[shared])).unwrap();
    end_job(cluster, &namespace, "job-succeeded", true, 1);
    end_job(cluster, &namespace, "job-failed", false, 2);

    let dry = Reap::on(cluster, &namespace).args(&["--dry-run"]).run();
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert_eq!((&dry.summary()["postponed"], &dry.summary()["deleted"]), (&3.into(), &0.into()), "{dry:?}");
    assert_eq!(claims(cluster, &namespace).len(), 11, "a dry run deletes nothing");

    let reaped = Reap::on(cluster, &namespace).run();
    assert_eq!((reaped.code, &*reaped.stderr), (Some(0), ""), "{reaped:?}");
    for run in ["written-succeeded", "written-failed-old", "job-succeeded"] {
        assert_eq!(reaped.claim(&format!("agent-ws-{run}")), ("delete", "terminating"), "{run}");
        assert_eq!(dry.claim(&format!("agent-ws-{run}")), ("delete", "dry-run"), "{run}");
    }
    let left = [
        "job-failed",
        "job-running",
        "job-suspended",
        "pod-pending",
        "preserved",
        "unknown",
        "written-failed-new",
    ];
    for run in left {
        assert_eq!(reaped.claim(&format!("agent-ws-{run}")), ("keep", "none"), "{run}");
    }
    let summary = reaped.summary();
    assert_eq!(
        (&summary["claims"], &summary["kept"], &summary["deleted"]),
        (&10.into(), &7.into(), &3.into())
    );
    let mut expected: Vec<String> = left.map(|run| format!("agent-ws-{run}")).to_vec();
    expected.push("agent-workspace".to_owned());
    expected.sort();
    wait_for_claims(cluster, &namespace, &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

/// K5
#[test]
fn how_a_run_ended_outlives_its_job() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let runs = ["failed", "succeeded"];
    for run in runs {
        cluster.apply(&manifests(&[claim(&namespace, run), job(&namespace, run, false)])).unwrap();
    }
    end_job(cluster, &namespace, "failed", false, 100);
    end_job(cluster, &namespace, "succeeded", true, 3);
    let keep = ["--keep-succeeded=4h", "--keep-failed=200h"];
    let first = Reap::on(cluster, &namespace).args(&keep).run();
    assert_eq!((first.code, &first.summary()["kept"]), (Some(0), &2.into()), "{first:?}");

    cluster.kubectl(&["delete", "-n", &namespace, "jobs", "--all"]).unwrap();
    let found = cluster.get(&["persistentvolumeclaims", "-n", &namespace]).unwrap();
    let annotations = |item: usize| &found["items"][item]["metadata"]["annotations"];
    assert_eq!((&annotations(0)[PHASE], &annotations(1)[PHASE]), (&"Failed".into(), &"Succeeded".into()));
    let at: jiff::Timestamp = annotations(0)[FINISHED_AT].as_str().unwrap().parse().unwrap();
    let expected: jiff::Timestamp = ago(100).parse().unwrap();
    assert!(expected.duration_since(at).as_secs() < 600, "{at} {expected}");

    let second = Reap::on(cluster, &namespace).run();
    assert_eq!(second.summary()["deleted"], 2, "{second:?}");
    wait_for_claims(cluster, &namespace, &[]);
}

/// K5
#[test]
fn a_finished_pod_holds_a_claim_that_is_deleted_once_and_waited_for() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    // Kubernetes waits for pods that are on a node alone. This one never does anything.
    let node = format!("{namespace}-node");
    let mut on_node = pod(&namespace, "a");
    on_node["spec"]["nodeName"] = node.as_str().into();
    let node = serde_json::json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } });
    cluster.apply(&manifests(&[node, ended(claim(&namespace, "a"), "Succeeded", 1), on_node])).unwrap();
    let finished = r#"{"status":{"phase":"Succeeded"}}"#;
    cluster
        .kubectl(&[
            "patch",
            "-n",
            &namespace,
            "pod",
            "a",
            "--subresource=status",
            "--type=merge",
            "-p",
            finished,
        ])
        .unwrap();

    let first = Reap::on(cluster, &namespace).run();
    assert_eq!(first.claim("agent-ws-a"), ("delete", "terminating"), "{first:?}");
    let second = Reap::on(cluster, &namespace).run();
    assert_eq!(second.claim("agent-ws-a"), ("pending", "none"), "{second:?}");
    let reason = second.line("claim", "agent-ws-a")["reason"].as_str().unwrap();
    assert!(reason.contains("the pod a (Succeeded) is gone"), "{reason}");
    assert_eq!((second.code, &second.summary()["pending"]), (Some(0), &1.into()));

    cluster.kubectl(&["delete", "-n", &namespace, "pod", "a", "--grace-period=0", "--force"]).unwrap();
    wait_for_claims(cluster, &namespace, &[]);
}

/// K5
#[test]
fn selector_and_limit_narrow_what_is_deleted() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let mut objects: Vec<_> =
        ["a", "b", "c"].map(|run| ended(claim(&namespace, run), "Succeeded", 1)).to_vec();
    objects[0]["metadata"]["labels"]["team"] = "blue".into();
    cluster.apply(&manifests(&objects)).unwrap();

    let selected = Reap::on(cluster, &namespace).args(&["--selector", "team=blue"]).run();
    assert_eq!((&selected.summary()["claims"], &selected.summary()["deleted"]), (&1.into(), &1.into()));
    wait_for_claims(cluster, &namespace, &["agent-ws-b", "agent-ws-c"]);

    let limited = Reap::on(cluster, &namespace).args(&["--max-deletes", "1"]).run();
    let summary = limited.summary();
    assert_eq!((limited.code, &summary["deleted"], &summary["postponed"]), (Some(0), &1.into(), &1.into()));
    let reason = limited.line("claim", "agent-ws-c")["reason"].as_str().unwrap();
    assert!(reason.contains("the limit of 1"), "{reason}");
    wait_for_claims(cluster, &namespace, &["agent-ws-c"]);
}

/// K5
#[test]
fn two_reapers_at_once_do_not_fail_each_other() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let objects: Vec<_> =
        (0..60).map(|number| ended(claim(&namespace, &format!("r{number}")), "Succeeded", 1)).collect();
    cluster.apply(&manifests(&objects)).unwrap();
    let both: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..2).map(|_| scope.spawn(|| Reap::on(cluster, &namespace).run())).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for reaped in &both {
        assert_eq!((reaped.code, &reaped.summary()["failed"]), (Some(0), &0.into()), "{reaped:?}");
    }
    wait_for_claims(cluster, &namespace, &[]);
}

/// K5: what was decided about is deleted, and nothing that came in its place.
#[test]
fn what_changes_between_the_look_and_the_deletion_is_left_alone() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("reap").unwrap();
    let due = |run| ended(claim(&namespace, run), "Succeeded", 1);
    cluster.apply(&manifests(&[due("marked"), due("renewed"), due("gone"), due("same")])).unwrap();
    let place = namespace.clone();
    let meanwhile = move |line: &str| {
        let kubectl = |arguments: &[&str]| cluster.kubectl(&[arguments, &["-n", &place]].concat()).unwrap();
        if line.starts_with("DELETE ") {
            if line.contains("agent-ws-marked") {
                kubectl(&[
                    "annotate",
                    "persistentvolumeclaim",
                    "agent-ws-marked",
                    &format!("{PRESERVE}=true"),
                ]);
            } else if line.contains("agent-ws-renewed") {
                kubectl(&["delete", "persistentvolumeclaim", "agent-ws-renewed"]);
                cluster.apply(&manifests(&[claim(&place, "renewed")])).unwrap();
            } else if line.contains("agent-ws-gone") {
                kubectl(&["delete", "persistentvolumeclaim", "agent-ws-gone"]);
            }
        }
        None
    };
    let gate = Gate::refusing(cluster, meanwhile).unwrap();
    let reaped = Reap::new().kubeconfig(gate.kubeconfig()).args(&["--namespace", &namespace]).run();
    assert_eq!(reaped.claim("agent-ws-marked"), ("delete", "changed"), "{reaped:?}");
    assert_eq!(reaped.claim("agent-ws-renewed"), ("delete", "changed"), "{reaped:?}");
    assert_eq!(reaped.claim("agent-ws-gone"), ("delete", "absent"), "{reaped:?}");
    assert_eq!(reaped.claim("agent-ws-same").0, "delete", "{reaped:?}");
    assert_eq!((reaped.code, &reaped.summary()["changed"]), (Some(0), &2.into()), "{reaped:?}");
    wait_for_claims(cluster, &namespace, &["agent-ws-marked", "agent-ws-renewed"]);
}

/// K5
#[test]
fn a_task_that_is_marked_preserves_what_belongs_to_it() {
    let cluster = Cluster::shared_control_plane();
    cluster.apply(&agent_task_crd::run::definition().unwrap()).unwrap();
    let definition = "customresourcedefinition/agenttasks.agents.kyle.pericak.com";
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=120s", definition]).unwrap();
    let namespace = cluster.namespace("reap").unwrap();
    let task = serde_json::json!({
        "apiVersion": "agents.kyle.pericak.com/v1alpha1", "kind": "AgentTask",
        "metadata": { "name": "post", "namespace": namespace, "annotations": { PRESERVE: "true" } },
        "spec": { "agent": "publisher", "prompt": "A post" },
    });
    cluster.apply(&task.to_string()).unwrap();
    let task = cluster.get(&["-n", &namespace, "agenttask", "post"]).unwrap();
    let mut of_task = ended(claim(&namespace, "a"), "Succeeded", 1000);
    of_task["metadata"]["labels"][TASK_UID] = task["metadata"]["uid"].clone();
    cluster.apply(&manifests(&[of_task, ended(claim(&namespace, "b"), "Succeeded", 1)])).unwrap();

    let reaped = Reap::on(cluster, &namespace).run();
    assert_eq!(reaped.claim("agent-ws-a"), ("keep", "none"), "{reaped:?}");
    assert_eq!(reaped.claim("agent-ws-b").0, "delete", "{reaped:?}");
    let unmark = format!("{PRESERVE}-");
    cluster.kubectl(&["annotate", "-n", &namespace, "agenttask", "post", &unmark]).unwrap();
    assert_eq!(Reap::on(cluster, &namespace).run().claim("agent-ws-a").0, "delete");
}
