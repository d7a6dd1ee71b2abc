use cluster::{Cluster, KUBECONFIG_VARIABLE};
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

fn job(namespace: &str) -> String {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "greeting", "namespace": namespace},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "greeting", "command": ["true"]}],
        }}},
    })
    .to_string()
}

#[test]
fn controllers_make_a_pod_for_a_job_and_the_scheduler_says_why_it_waits() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("job").unwrap();
    cluster.apply(&job(&namespace)).unwrap();
    let condition = "--for=condition=PodScheduled=False";
    let selector = "--selector=batch.kubernetes.io/job-name=greeting";
    // The pod comes a moment after the Job, and `kubectl wait` does not wait for that.
    cluster
        .kubectl(&[
            "wait",
            "-n",
            &namespace,
            "--for=jsonpath={.status.active}=1",
            "job/greeting",
            "--timeout=60s",
        ])
        .unwrap();
    cluster.kubectl(&["wait", "-n", &namespace, condition, "pod", selector, "--timeout=60s"]).unwrap();
    let pods = cluster.get(&["pods", "-n", &namespace, selector]).unwrap();
    let message = pods["items"][0]["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("no nodes available"), "{pods:#}");
}

#[test]
fn admission_and_validation_are_real() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("admission").unwrap();
    let level = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", &namespace, level]).unwrap();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": namespace},
        "spec": {"containers": [{"name": "main", "image": "greeting"}]},
    });
    let error = cluster.apply(&pod.to_string()).unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity \"restricted"), "{error}");
    let error = cluster.apply(&job(&namespace).replace("Never", "Sometimes")).unwrap_err().to_string();
    assert!(error.contains("Unsupported value: \"Sometimes\""), "{error}");
}

#[test]
fn permissions_are_real() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("permissions").unwrap();
    let user = format!("--as=system:serviceaccount:{namespace}:default");
    let error = cluster.kubectl(&["get", "jobs", "-n", &namespace, &user]).unwrap_err().to_string();
    assert!(error.contains("cannot list resource \"jobs\""), "{error}");
    cluster
        .kubectl(&["create", "role", "reader", "-n", &namespace, "--verb=list", "--resource=jobs"])
        .unwrap();
    let account = format!("--serviceaccount={namespace}:default");
    cluster
        .kubectl(&["create", "rolebinding", "reader", "-n", &namespace, "--role=reader", &account])
        .unwrap();
    cluster.kubectl(&["get", "jobs", "-n", &namespace, &user]).unwrap();
}

#[test]
fn a_program_reaches_it_by_the_kubeconfig_alone() {
    let cluster = Cluster::shared_control_plane();
    let output = Command::new("kubectl")
        .args(["get", "--raw=/version"])
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .unwrap();
    let version: Value = serde_json::from_slice(&output.stdout).unwrap();
    let pinned = include_str!("../../kubernetes/go.mod")
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .unwrap();
    assert_eq!(version["gitVersion"], pinned, "{output:?}");
    assert!(cluster.server().starts_with("https://127.0.0.1:"), "{}", cluster.server());
}

#[test]
fn many_talk_to_it_at_once() {
    let cluster = Cluster::shared_control_plane();
    let namespace = cluster.namespace("many").unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let namespace = &namespace;
            scope.spawn(move || {
                let name = format!("map-{number}");
                cluster.kubectl(&["create", "configmap", &name, "-n", namespace]).unwrap();
            });
        }
    });
    let found = cluster.get(&["configmaps", "-n", &namespace]).unwrap();
    let names =
        found["items"].as_array().unwrap().iter().map(|map| map["metadata"]["name"].as_str().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("map-")).count(), 8);
}

/// One test of this binary, in a process of its own with this kubeconfig in a variable, on a machine that has nothing but kubectl.
fn with_kubeconfig_in(variable: &str) -> (u32, Output) {
    let cluster = Cluster::shared_control_plane();
    let folder = tempfile::tempdir().unwrap();
    let found = Command::new("sh").args(["-c", "command -v kubectl"]).output().unwrap();
    let kubectl = String::from_utf8(found.stdout).unwrap();
    std::os::unix::fs::symlink(kubectl.trim_end(), folder.path().join("kubectl")).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "control_plane::permissions_are_real"])
        .env("PATH", folder.path())
        .env_remove(KUBECONFIG_VARIABLE)
        .env(variable, cluster.kubeconfig())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (child.id(), child.wait_with_output().unwrap())
}

#[test]
fn a_cluster_that_is_named_on_purpose_is_used_and_one_by_accident_is_not() {
    let (process, output) = with_kubeconfig_in(KUBECONFIG_VARIABLE);
    assert!(output.status.success(), "{output:?}");
    let namespace = format!("namespace/permissions-{process}-0");
    Cluster::shared_control_plane().kubectl(&["get", &namespace]).unwrap();

    let (process, output) = with_kubeconfig_in("KUBECONFIG");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("no cluster: starting the box"), "{said}");
    let namespace = format!("namespace/permissions-{process}-0");
    assert!(Cluster::shared_control_plane().kubectl(&["get", &namespace]).is_err());
}
