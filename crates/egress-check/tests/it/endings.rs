use crate::node::{IMAGE, cluster, egress_check};
use agent_task::labels::{AGENT, CHECK};
use cluster::{Cluster, Gate};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// For what takes seconds on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// Begins a check whose pods come up.
fn start(cluster: &Cluster, namespace: &str, kubeconfig: &Path) -> Child {
    egress_check(cluster)
        .env("KUBECONFIG", kubeconfig)
        .args(["run", "-n", namespace, "--image", IMAGE, "--service-account=default"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(check: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &check.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn pods(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let pods = cluster.get(&["pods", "-n", namespace]).unwrap();
    pods["items"].as_array().unwrap().clone()
}

/// Waits until the check has made the agent's pod.
fn agents_pod(cluster: &Cluster, namespace: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !pods(cluster, namespace).iter().any(|pod| pod["metadata"]["labels"][AGENT].is_string()) {
        assert!(Instant::now() < deadline, "no agent's pod");
        sleep(Duration::from_millis(50));
    }
}

/// That it ended as the help says, and that there is nothing of it.
fn left_nothing(cluster: &Cluster, namespace: &str, check: Child, why: &str) {
    let Output { status, stdout, stderr } = check.wait_with_output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(3), 0), "{status}: {stderr}");
    assert!(stderr.contains(why), "{stderr}");
    let pods = pods(cluster, namespace);
    assert!(pods.is_empty(), "{pods:#?}");
}

/// K8
#[test]
fn a_signal_in_the_middle_ends_the_check_and_leaves_nothing() {
    let cluster = cluster();
    for name in ["TERM", "INT"] {
        let namespace = cluster.namespace("ended").unwrap();
        let check = start(cluster, &namespace, cluster.kubeconfig());
        agents_pod(cluster, &namespace);
        signal(&check, name);
        left_nothing(cluster, &namespace, check, "ended by a signal");
    }
}

/// K8
#[test]
fn signals_while_a_pod_is_being_made_leave_nothing() {
    let cluster = cluster();
    let namespace = cluster.namespace("ended").unwrap();
    let way = SlowWay::to(cluster);
    let mut check = start(cluster, &namespace, way.gate.kubeconfig());
    way.creation_comes();
    way.let_pass(Answer::Arrives);
    way.is_answered();
    way.creation_comes();
    for name in ["TERM", "INT", "TERM"] {
        signal(&check, name);
        sleep(Duration::from_millis(300));
        assert_eq!(check.try_wait().unwrap(), None, "it waits for what it began");
    }
    assert_eq!(pods(cluster, &namespace).len(), 1, "the neighbour");
    way.let_pass(Answer::Arrives);
    left_nothing(cluster, &namespace, check, "ended by a signal");
    // The creation itself was not taken back.
    way.is_answered();
    assert!(pods(cluster, &namespace).is_empty());
}

/// K8
#[test]
fn a_pod_of_which_the_check_never_heard_is_deleted_too() {
    let cluster = cluster();
    let namespace = cluster.namespace("ended").unwrap();
    let way = SlowWay::to(cluster);
    let check = start(cluster, &namespace, way.gate.kubeconfig());
    way.creation_comes();
    way.let_pass(Answer::IsLost);
    way.is_answered();
    left_nothing(cluster, &namespace, check, "making a pod: the API server cannot be reached");
}

/// K8
#[test]
fn what_a_killed_check_left_is_deleted_by_the_next_one_after_its_time() {
    let cluster = cluster();
    let namespace = cluster.namespace("ended").unwrap();
    let mut check = start(cluster, &namespace, cluster.kubeconfig());
    agents_pod(cluster, &namespace);
    check.kill().unwrap();
    check.wait().unwrap();
    let left = pods(cluster, &namespace);
    assert!(left.len() >= 2, "{left:#?}");
    assert!(left.iter().all(|pod| pod["metadata"]["labels"][CHECK] == left[0]["metadata"]["labels"][CHECK]));
    // One that makes no pods: there is no such account.
    let next = || {
        let mut next = egress_check(cluster);
        next.args(["run", "-n", &namespace, "--image", IMAGE, "--service-account=none"]);
        assert_eq!(next.output().unwrap().status.code(), Some(4));
        pods(cluster, &namespace).len()
    };
    assert_eq!(next(), left.len(), "they could be those of a check that goes on");
    let one = left[0]["metadata"]["name"].as_str().unwrap();
    let ends_now = r#"{"spec": {"activeDeadlineSeconds": 1}}"#;
    // Ages are counted in whole seconds, and one must be over.
    sleep(Duration::from_secs(2));
    cluster.kubectl(&["patch", "pod", "-n", &namespace, one, "--patch", ends_now]).unwrap();
    assert_eq!(next(), left.len() - 1);
    assert!(pods(cluster, &namespace).iter().all(|pod| pod["metadata"]["name"] != one));
}

/// K8
#[test]
fn the_rights_that_the_help_names_are_enough() {
    let cluster = cluster();
    let namespace = cluster.namespace("rights").unwrap();
    let settings = format!("--from-literal=settings.yaml={{image: {IMAGE}, serviceAccount: default}}");
    cluster.kubectl(&["create", "configmap", "spawn-job", "-n", &namespace, &settings]).unwrap();
    let here = [["", "pods", "create get list watch delete"], ["", "configmaps", "get"]];
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.account(&namespace, "checker", &here, &[]).unwrap()).unwrap();
    let output = egress_check(cluster)
        .env("KUBECONFIG", &kubeconfig)
        .args(["run", "-n", &namespace])
        .output()
        .unwrap();
    // Nothing enforces anything here.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(verdict["kind"].is_string(), "{verdict}");
    assert!(pods(cluster, &namespace).is_empty());
}

/// What becomes of the answer to a creation that was held back.
enum Answer {
    Arrives,
    IsLost,
}

/// A way to the API server on which every creation of an object waits.
struct SlowWay {
    gate: Gate,
    came: Receiver<()>,
    passes: Sender<Answer>,
    answered: Receiver<()>,
}

impl SlowWay {
    fn to(cluster: &Cluster) -> Self {
        let (comes, came) = channel();
        let (passes, passed) = channel();
        let (answers, answered) = channel();
        let passed = Arc::new(Mutex::new(passed));
        let carry = move |client: TcpStream, server: TcpStream| {
            let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
            let creation = Arc::new(Mutex::new(None));
            let (answers, made) = (answers.clone(), creation.clone());
            thread::spawn(move || carry_answers(ends, &answers, &made));
            carry_calls(client, server, &comes, &passed, &creation);
        };
        Self { gate: Gate::carrying(cluster, carry).unwrap(), came, passes, answered }
    }

    /// Waits until the next creation waits.
    fn creation_comes(&self) {
        self.came.recv_timeout(PATIENCE).unwrap();
    }

    fn let_pass(&self, answer: Answer) {
        self.passes.send(answer).unwrap();
    }

    /// Waits until the API server has answered a creation.
    fn is_answered(&self) {
        self.answered.recv_timeout(PATIENCE).unwrap();
    }
}

/// A creation passes when it may, whether or not somebody still waits for the answer.
fn carry_calls(
    mut client: TcpStream,
    mut server: TcpStream,
    comes: &Sender<()>,
    passed: &Mutex<Receiver<Answer>>,
    creation: &Mutex<Option<Answer>>,
) {
    let mut chunk = [0; 65536];
    while let Ok(length @ 1..) = client.read(&mut chunk) {
        if chunk.starts_with(b"POST ") {
            comes.send(()).unwrap();
            let Ok(answer) = passed.lock().unwrap().recv() else { return };
            *creation.lock().unwrap() = Some(answer);
        }
        server.write_all(&chunk[..length]).unwrap();
    }
}

fn carry_answers(
    [mut client, mut server]: [TcpStream; 2],
    answers: &Sender<()>,
    creation: &Mutex<Option<Answer>>,
) {
    let mut chunk = [0; 65536];
    while let Ok(length @ 1..) = server.read(&mut chunk) {
        if let Some(answer) = creation.lock().unwrap().take() {
            let _ = answers.send(());
            if matches!(answer, Answer::IsLost) {
                break;
            }
        }
        // Where nobody waits for it any more, it is dropped.
        let _ = client.write_all(&chunk[..length]);
    }
    let _ = client.shutdown(Shutdown::Both);
}
