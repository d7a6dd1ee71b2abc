use cluster::Cluster;
use cluster::image::{Image, Layer};
use cluster::world::{PRIVATE, PUBLIC};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;
use std::time::{Duration, Instant};

pub(crate) const IMAGE: &str = "pressrun.test/egress-check:1";
const PORT: u16 = 8080;

/// The cluster, with an image that has the binary and what it is linked with, and with somebody who answers in its world.
pub(crate) fn cluster() -> &'static Cluster {
    static READY: Once = Once::new();
    let cluster = Cluster::shared_with_node();
    READY.call_once(|| {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let binary = Path::new(env!("CARGO_BIN_EXE_egress-check"));
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy(binary, root.join("bin/egress-check")).unwrap();
        let linked = Command::new("ldd").arg(binary).output().unwrap();
        for library in
            String::from_utf8(linked.stdout).unwrap().split_whitespace().filter(|word| word.starts_with('/'))
        {
            let copy = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(library, copy).unwrap();
        }
        let layer = Layer::pack(&root, &folder.path().join("layer.tar")).unwrap();
        let config = json!({ "Env": ["PATH=/bin"] });
        cluster.import(&Image { name: IMAGE.to_owned(), layers: vec![layer], config }).unwrap();
        cluster.world().unwrap().greet(PORT).unwrap();
    });
    cluster
}

fn check(cluster: &Cluster, namespace: &str) -> (Option<i32>, Value, String) {
    let output = egress_check(cluster)
        .args(["run", "--namespace", namespace])
        .args(PUBLIC.map(|address| format!("--public={}", SocketAddr::new(address, PORT))))
        .args(PRIVATE.map(|address| format!("--private={}", SocketAddr::new(address, PORT))))
        .output()
        .unwrap();
    let Output { status, stdout, stderr } = output;
    (status.code(), serde_json::from_slice(&stdout).unwrap_or_default(), String::from_utf8(stderr).unwrap())
}

pub(crate) fn egress_check(cluster: &Cluster) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egress-check"));
    command.env_clear().env("KUBECONFIG", cluster.kubeconfig());
    command
}

fn reasons(verdict: &Value) -> Vec<&str> {
    verdict["reasons"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap()).collect()
}

fn has_no_pods(cluster: &Cluster, namespace: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let pods = cluster.get(&["pods", "-n", namespace]).unwrap();
        if pods["items"].as_array().unwrap().is_empty() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// K7, K8
#[test]
fn the_answer_is_not_enforced_on_a_plain_network_and_enforced_where_packets_are_stopped() {
    let cluster = cluster();
    let namespace = cluster.namespace("egress").unwrap();
    let level = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", &namespace, level]).unwrap();
    // The pods are made by the cluster's settings, as the agents' are.
    let settings = format!("image: {IMAGE}\nimagePullPolicy: Never\nserviceAccount: default\n");
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "spawn-job", "namespace": namespace }, "data": { "settings.yaml": settings },
    });
    cluster.apply(&settings.to_string()).unwrap();
    let policy = egress_check(cluster).arg("policy").output().unwrap().stdout;
    let mut policy: Value = serde_json::from_slice(&policy).unwrap();
    policy["metadata"]["namespace"] = namespace.as_str().into();
    cluster.apply(&policy.to_string()).unwrap();

    // The object is there, and nobody heeds it.
    let (code, verdict, stderr) = check(cluster, &namespace);
    assert_eq!((code, &verdict["answer"]), (Some(1), &json!("not-enforced")), "{verdict:#}{stderr}");
    assert!(stderr.starts_with("egress-check: not enforced\n"), "{stderr}");
    for leak in ["neighbour-pod", "api-server", "kubelet", "private"] {
        let leaks = format!("the agent reaches {leak} ");
        assert!(reasons(&verdict).iter().any(|reason| reason.starts_with(&leaks)), "{leak}: {verdict:#}");
    }
    assert!(
        reasons(&verdict).iter().any(|reason| reason.starts_with("another pod reaches the agent's")),
        "{verdict:#}"
    );

    let enforcement = cluster.enforce_network_policy().unwrap();
    let (code, verdict, stderr) = check(cluster, &namespace);
    assert_eq!((code, &verdict["answer"]), (Some(0), &json!("enforced")), "{verdict:#}{stderr}");
    for target in verdict["targets"].as_array().unwrap() {
        let optional = target["name"] == "metadata";
        assert!(target["proof"] == "holds" || optional && target["proof"] == "nothing", "{target}");
    }

    // The same network, and no policy that selects the agent.
    cluster.kubectl(&["delete", "networkpolicy", "-n", &namespace, "--all"]).unwrap();
    enforcement.update().unwrap();
    let (code, verdict, stderr) = check(cluster, &namespace);
    assert_eq!((code, &verdict["answer"]), (Some(1), &json!("not-enforced")), "{verdict:#}{stderr}");
    drop(enforcement);
    assert!(has_no_pods(cluster, &namespace), "it leaves no pods");
}

/// K8
#[test]
fn a_pod_that_does_not_start_is_no_answer_and_is_cleaned_up() {
    let cluster = cluster();
    let namespace = cluster.namespace("egress").unwrap();
    let output = egress_check(cluster)
        .args(["run", "-n", &namespace, "--service-account=default", "--image=pressrun.test/no-such-image:1"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0), "{stderr}");
    assert!(stderr.contains("did not do its part"), "{stderr}");
    assert!(stderr.contains("no-such-image"), "{stderr}");
    assert!(has_no_pods(cluster, &namespace), "it leaves no pods");
}

/// K8
#[test]
fn without_settings_or_the_right_to_make_pods_it_says_what_is_missing() {
    let cluster = cluster();
    let namespace = cluster.namespace("egress").unwrap();
    let (code, _, stderr) = check(cluster, &namespace);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("ConfigMap spawn-job"), "{stderr}");
    // The account that a pod must have is not there.
    let output = egress_check(cluster)
        .args(["run", "-n", &namespace, "--image", IMAGE, "--service-account=none"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("serviceaccount \"none\" not found"), "{stderr}");
}
