use agent_task_crd::run::definition;
use cluster::Cluster;
use serde_json::{Value, json};

#[path = "../../../agent-task-crd/tests/cases/mod.rs"]
mod cases;

/// The shared cluster, with the custom resource.
pub(crate) fn cluster() -> &'static Cluster {
    static DEFINED: std::sync::Once = std::sync::Once::new();
    let cluster = Cluster::shared_control_plane();
    DEFINED.call_once(|| {
        cluster.apply(&definition().unwrap()).unwrap();
        let name = "crd/agenttasks.agents.kyle.pericak.com";
        cluster.kubectl(&["wait", "--timeout=60s", "--for=condition=Established", name]).unwrap();
    });
    cluster
}

fn task(namespace: &str, name: &str, spec: &Value) -> String {
    let task = json!({
        "apiVersion": "agents.kyle.pericak.com/v1alpha1", "kind": "AgentTask",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    task.to_string()
}

/// K1
#[test]
fn the_server_takes_older_manifests_and_every_field() {
    let cluster = cluster();
    let namespace = cluster.namespace("good").unwrap();
    for (at, (what, spec)) in cases::good().into_iter().enumerate() {
        let name = format!("good-{at}");
        let manifest = task(&namespace, &name, &spec);
        cluster
            .kubectl_reading(&["create", "--validate=strict", "--filename=-"], &manifest)
            .unwrap_or_else(|error| panic!("{what}: {error:#}"));
        // The short name; what was written, with defaults around it.
        let found = cluster.get(&["at", &name, "--namespace", &namespace]).unwrap();
        for (field, value) in spec.as_object().unwrap() {
            assert_eq!(&found["spec"][field], value, "{what}: {field}");
        }
        for (field, default) in
            [("runtime", json!("claude")), ("trigger", json!("manual")), ("readOnly", json!(false))]
        {
            let expected = spec.get(field).unwrap_or(&default);
            assert_eq!(&found["spec"][field], expected, "{what}: {field}");
        }
    }
    // The columns.
    let listed = cluster.kubectl(&["get", "at", "--namespace", &namespace]).unwrap();
    for column in ["NAME", "AGENT", "PHASE", "OUTCOME", "PULL REQUEST", "SCHEDULE", "AGE"] {
        assert!(listed.lines().next().unwrap().contains(column), "{column}: {listed}");
    }
}

/// K1
#[test]
fn the_server_refuses_each_bad_field_by_its_name() {
    let cluster = cluster();
    let namespace = cluster.namespace("bad").unwrap();
    let mut taken = Vec::new();
    for (field, spec) in cases::bad() {
        let manifest = task(&namespace, "bad", &spec);
        let arguments = ["create", "--dry-run=server", "--validate=strict", "--filename=-"];
        match cluster.kubectl_reading(&arguments, &manifest) {
            Ok(_) => taken.push(format!("{field}: {spec:.200}")),
            Err(error) => {
                let named = format!("spec.{field}");
                assert!(format!("{error:#}").contains(&named), "{named}: {error:#}");
            }
        }
    }
    assert_eq!(taken, Vec::<String>::new());
}

/// K1
#[test]
fn what_was_ordered_stays_and_the_status_is_apart() {
    let cluster = cluster();
    let namespace = cluster.namespace("fixed").unwrap();
    let spec = json!({"agent": "publisher", "prompt": "Write a post"});
    cluster.apply(&task(&namespace, "once", &spec)).unwrap();
    for (field, value) in [
        ("prompt", json!("Another")),
        ("agent", json!("qa")),
        ("readOnly", json!(true)),
        ("trigger", json!("webhook")),
    ] {
        let mut changed = spec.clone();
        changed[field] = value;
        let error = cluster.apply(&task(&namespace, "once", &changed)).unwrap_err();
        assert!(format!("{error:#}").contains(&format!("spec.{field}")), "{field}: {error:#}");
    }
    let scheduled =
        json!({"agent": "publisher", "prompt": "Write", "trigger": "scheduled", "schedule": "0 8 * * *"});
    cluster.apply(&task(&namespace, "daily", &scheduled)).unwrap();
    let mut changed = scheduled.clone();
    changed["prompt"] = json!("Write better");
    cluster.apply(&task(&namespace, "daily", &changed)).unwrap();

    let status = json!({"status": {"phase": "Succeeded", "outcome": "success", "costUsd": 0.25, "turns": 7,
        "pullRequest": "https://github.com/o/n/pull/1", "startTime": "2026-11-22T22:00:00Z",
        "conditions": [{"type": "Succeeded", "status": "True", "reason": "Delivered", "message": "", "lastTransitionTime": "2026-11-22T22:00:00Z"}]}});
    let patch =
        ["patch", "at/once", "--namespace", &namespace, "--subresource=status", "--type=merge", "--patch"];
    cluster.kubectl(&[&patch[..], &[&status.to_string()]].concat()).unwrap();
    let found = cluster.get(&["at", "once", "--namespace", &namespace]).unwrap();
    assert_eq!(found["status"], status["status"]);
    assert_eq!(found["metadata"]["generation"], 1, "the status is no change of the task");
    let wrong = json!({"status": {"phase": "Dreaming"}}).to_string();
    assert!(cluster.kubectl(&[&patch[..], &[&wrong]].concat()).is_err());
}
