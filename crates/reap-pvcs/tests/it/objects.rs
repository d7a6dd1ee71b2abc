use agent_task::labels::{FINISHED_AT, PHASE, PRESERVE, ROLE, RUN, Role};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::path::Path;

/// So many hours ago, to the second.
pub(crate) fn ago(hours: i64) -> String {
    let at = Timestamp::now() - SignedDuration::from_hours(hours);
    Timestamp::from_second(at.as_second()).unwrap().to_string()
}

/// A run's claim, of no storage class that there is.
pub(crate) fn claim(namespace: &str, run: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": format!("agent-ws-{run}"),
            "namespace": namespace,
            "labels": { RUN: run, ROLE: Role::Workspace.as_str() },
            "annotations": {},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "none",
            "resources": { "requests": { "storage": "1Gi" } },
        },
    })
}

/// With it written on it how the run ended.
pub(crate) fn ended(mut object: Value, phase: &str, hours_ago: i64) -> Value {
    object["metadata"]["annotations"][PHASE] = phase.into();
    object["metadata"]["annotations"][FINISHED_AT] = ago(hours_ago).into();
    object
}

pub(crate) fn preserved(mut object: Value) -> Value {
    object["metadata"]["annotations"][PRESERVE] = "true".into();
    object
}

fn pod_spec(run: &str) -> Value {
    json!({
        "restartPolicy": "Never",
        "volumes": [{ "name": "workspace", "persistentVolumeClaim": { "claimName": format!("agent-ws-{run}") } }],
        "containers": [{ "name": "main", "image": "none" }],
    })
}

/// A pod on a run's claim, which no scheduler looks at.
pub(crate) fn pod(namespace: &str, run: &str) -> Value {
    let mut spec = pod_spec(run);
    spec["schedulerName"] = "none".into();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": run, "namespace": namespace }, "spec": spec,
    })
}

/// A Job on a run's claim that no controller looks at, so that a test says how it ends.
pub(crate) fn job(namespace: &str, run: &str, suspend: bool) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": run, "namespace": namespace, "labels": { RUN: run } },
        "spec": { "suspend": suspend, "managedBy": "pressrun.test/nobody", "template": { "spec": pod_spec(run) } },
    })
}

/// A Job's status after it ended.
pub(crate) fn job_status(succeeded: bool, hours_ago: i64) -> Value {
    let at = ago(hours_ago);
    let conditions = if succeeded { ["SuccessCriteriaMet", "Complete"] } else { ["FailureTarget", "Failed"] };
    let conditions =
        conditions.map(|kind| json!({ "type": kind, "status": "True", "lastTransitionTime": at }));
    let mut status = json!({ "conditions": conditions, "startTime": at });
    if succeeded {
        status["completionTime"] = at.into();
    }
    json!({ "status": status })
}

/// A run's volume in hostPath mode, made for its claim.
pub(crate) fn host_path_volume(namespace: &str, run: &str, root: &Path) -> Value {
    let name = format!("agent-ws-{run}");
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": name, "labels": { RUN: run }, "annotations": {} },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": "1Gi" },
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": { "path": root.join(&name), "type": "DirectoryOrCreate" },
            "claimRef": { "namespace": namespace, "name": name },
            "storageClassName": "",
        },
    })
}

/// A volume as a storage class makes it that retains volumes: without labels of ours. Its claim is one that is gone.
pub(crate) fn retained_volume(namespace: &str, run: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": format!("pv-{run}"),
            "annotations": { "pv.kubernetes.io/provisioned-by": "pressrun.test/none" },
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": "1Gi" },
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": { "driver": "pressrun.test", "volumeHandle": run },
            "claimRef": { "namespace": namespace, "name": format!("agent-ws-{run}"), "uid": "2b1b1c3e-0000-4000-8000-000000000000" },
            "storageClassName": "none",
        },
    })
}

/// The claim of a volume in hostPath mode.
pub(crate) fn host_path_claim(namespace: &str, run: &str) -> Value {
    let mut claim = claim(namespace, run);
    claim["spec"]["storageClassName"] = "".into();
    claim["spec"]["volumeName"] = format!("agent-ws-{run}").into();
    claim
}

/// Manifests for kubectl.
pub(crate) fn manifests(objects: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}
