use cluster::Cluster;
use cluster::image::{Image, Layer};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

/// A pod that Pod Security "restricted" lets pass, which runs this script.
pub(crate) fn pod(namespace: &str, name: &str, labels: &Value, script: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": spec(script),
    })
}

fn spec(script: &str) -> Value {
    json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 1001, "runAsGroup": 1001, "fsGroup": 1001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "main",
            "image": "pressrun.test/busybox:1",
            "imagePullPolicy": "Never",
            "command": ["sh", "-c", script],
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    })
}

/// Waits for an object's field to have a value.
pub(crate) fn wait(cluster: &Cluster, namespace: &str, object: &str, field: &str) {
    let field = format!("--for=jsonpath={field}");
    let waited = cluster.kubectl(&["wait", "--namespace", namespace, object, &field, "--timeout=120s"]);
    if let Err(error) = waited {
        let events = cluster.kubectl(&["get", "events", "--namespace", namespace]).unwrap();
        panic!("{error:#}\n{events}");
    }
}

/// Runs a script in a pod of its own to its end; what it printed.
pub(crate) fn run(cluster: &Cluster, namespace: &str, name: &str, labels: &Value, script: &str) -> String {
    cluster.apply(&pod(namespace, name, labels, script).to_string()).unwrap();
    wait(cluster, namespace, &format!("pod/{name}"), "{.status.phase}=Succeeded");
    cluster.kubectl(&["logs", "--namespace", namespace, name]).unwrap()
}

fn restricted(cluster: &Cluster, purpose: &str) -> String {
    let namespace = cluster.namespace(purpose).unwrap();
    let level = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", &namespace, level]).unwrap();
    namespace
}

#[test]
fn a_job_writes_to_a_volume_of_its_own_and_is_not_root() {
    let cluster = Cluster::shared_with_node();
    let namespace = restricted(cluster, "volume");
    let claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "workspace", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    });
    let mut template =
        spec("id -u; echo written >/workspace/file; touch /nowhere 2>/dev/null || echo read-only");
    template["volumes"] = json!([{"name": "workspace", "persistentVolumeClaim": {"claimName": "workspace"}}]);
    template["containers"][0]["volumeMounts"] = json!([{"name": "workspace", "mountPath": "/workspace"}]);
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "write", "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": template}},
    });
    let began = Instant::now();
    cluster.apply(&format!("{claim}\n---\n{job}")).unwrap();
    wait(cluster, &namespace, "job/write", "{.status.succeeded}=1");
    eprintln!("the Job took {:?}", began.elapsed());
    let logs = cluster.kubectl(&["logs", "-n", &namespace, "job/write"]).unwrap();
    assert_eq!(logs, "1001\nread-only\n");

    // The node's disk is this machine's, so the file can be looked at.
    let claim = cluster.get(&["-n", &namespace, "pvc", "workspace"]).unwrap();
    let volume = cluster.get(&["pv", claim["spec"]["volumeName"].as_str().unwrap()]).unwrap();
    let host = ["hostPath", "local"].iter().find_map(|kind| volume["spec"][kind]["path"].as_str());
    let file = std::path::Path::new(host.unwrap()).join("file");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "written\n");
    assert_eq!(file.metadata().unwrap().uid(), 1001);

    // Its disk space comes back with the claim.
    cluster.kubectl(&["delete", "-n", &namespace, "job/write", "pvc/workspace", "--timeout=120s"]).unwrap();
    let name = volume["metadata"]["name"].as_str().unwrap();
    let gone = cluster.kubectl(&["wait", "--for=delete", &format!("pv/{name}"), "--timeout=120s"]);
    assert!(gone.is_ok() && !file.exists(), "{gone:?}");
}

#[test]
fn pods_find_services_by_name_and_the_api_server() {
    let cluster = Cluster::shared_with_node();
    let namespace = restricted(cluster, "names");
    let labels = json!({"app": "greeter"});
    let greeter = pod(&namespace, "greeter", &labels, "while :; do echo hello | nc -l -p 8080; done");
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "greeter", "namespace": namespace},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    cluster.apply(&format!("{greeter}\n---\n{service}")).unwrap();
    wait(cluster, &namespace, "pod/greeter", "{.status.phase}=Running");
    let script = format!(
        "until nc -w 2 greeter.{namespace}.svc.cluster.local 80 </dev/null; do sleep 1; done
         nslookup -type=a public.test | tail -n 2
         nc -w 2 kubernetes.default.svc 443 </dev/null && echo api"
    );
    let said = run(cluster, &namespace, "asker", &json!({}), &script);
    assert!(said.starts_with("hello\n"), "{said}");
    assert!(said.contains("203.0.113.10") && said.ends_with("api\n"), "{said}");
}

#[test]
fn an_image_from_a_folder_runs_as_it_says() {
    let cluster = Cluster::shared_with_node();
    let namespace = restricted(cluster, "image");
    let folder = tempfile::tempdir().unwrap();
    let base = cluster::image::busybox("pressrun.test/layers:1", folder.path(), json!({})).unwrap();
    let root = folder.path().join("upper");
    std::fs::create_dir_all(root.join("opt")).unwrap();
    std::fs::write(root.join("opt/greeting"), "from the upper layer\n").unwrap();
    let upper = Layer::pack(&root, &folder.path().join("upper.tar")).unwrap();
    let image = Image {
        layers: vec![base.layers[0].clone(), upper],
        config: json!({"Entrypoint": ["/bin/sh", "-c", "echo \"$GREETING\"; pwd; cat greeting; id -u"],
            "Env": ["GREETING=from the configuration", "PATH=/bin"], "WorkingDir": "/opt", "User": "1001:1001"}),
        ..base
    };
    cluster.import(&image).unwrap();
    let mut pod = pod(&namespace, "layers", &json!({}), "");
    let container = pod["spec"]["containers"][0].as_object_mut().unwrap();
    container.remove("command");
    container["image"] = json!("pressrun.test/layers:1");
    cluster.apply(&pod.to_string()).unwrap();
    wait(cluster, &namespace, "pod/layers", "{.status.phase}=Succeeded");
    let said = cluster.kubectl(&["logs", "-n", &namespace, "layers"]).unwrap();
    assert_eq!(said, "from the configuration\n/opt\nfrom the upper layer\n1001\n");
}

#[test]
fn a_server_of_this_process_is_public_to_pods() {
    let cluster = Cluster::shared_with_node();
    let namespace = restricted(cluster, "publish");
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = server.local_addr().unwrap();
    cluster.world().unwrap().publish("203.0.113.10:3128".parse().unwrap(), address).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut connection, from) = server.accept().unwrap();
        std::io::Write::write_all(&mut connection, b"from outside\n").unwrap();
        from
    });
    let said = run(cluster, &namespace, "asker", &json!({}), "nc -w 5 203.0.113.10 3128 </dev/null");
    assert_eq!(said, "from outside\n");
    assert!(answering.join().unwrap().ip().is_loopback());
}

#[test]
fn the_runtime_image_has_what_a_run_starts_and_a_browser_that_works_without_privileges() {
    let cluster = Cluster::shared_with_node();
    let namespace = restricted(cluster, "runtime");
    let folder = tempfile::tempdir().unwrap();
    let program = std::path::PathBuf::from(env!("CARGO_BIN_EXE_cluster"));
    let image = cluster::image::runtime("pressrun.test/runtime:1", &[program], folder.path()).unwrap();
    cluster.import(&image).unwrap();
    let script = "id -u; claude --version; opencode --version; hugo version; git --version; node --version; jq --version; curl --version
        cluster --version
        playwright-mcp --version
        cat ~/.claude.json
        cd /tmp && HOME=/tmp chromium --headless --no-sandbox --disable-gpu --user-data-dir=/tmp/c --dump-dom 'data:text/html,<p>rendered</p>'";
    let mut pod = pod(&namespace, "runtime", &json!({}), script);
    pod["spec"]["containers"][0]["image"] = json!("pressrun.test/runtime:1");
    let memory = |size: &str| json!({"medium": "Memory", "sizeLimit": size});
    pod["spec"]["volumes"] =
        json!([{"name": "tmp", "emptyDir": {}}, {"name": "shm", "emptyDir": memory("1Gi")}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}]);
    cluster.apply(&pod.to_string()).unwrap();
    wait(cluster, &namespace, "pod/runtime", "{.status.phase}=Succeeded");
    let said = cluster.kubectl(&["logs", "-n", &namespace, "runtime"]).unwrap();
    let pinned: Value = serde_json::from_str(include_str!("../../../../tools/package.json")).unwrap();
    let version = |package: &str| pinned["dependencies"][package].as_str().unwrap().to_owned();
    for expected in [
        "1001\n",
        &version("@anthropic-ai/claude-code"),
        "hugo v",
        "git version",
        "jq-",
        "curl ",
        concat!("cluster ", env!("CARGO_PKG_VERSION")),
        &version("@playwright/mcp"),
        "hasCompletedOnboarding",
        "<p>rendered</p>",
    ] {
        assert!(said.contains(expected), "no '{expected}': {said}");
    }
}

#[test]
fn pods_outlive_the_kubelet_and_not_the_node() {
    let cluster = Cluster::with_node().unwrap();
    let namespace = restricted(&cluster, "restart");
    cluster.apply(&pod(&namespace, "long", &json!({}), "trap : TERM; sleep 1000").to_string()).unwrap();
    wait(&cluster, &namespace, "pod/long", "{.status.phase}=Running");
    let started = || {
        let pod = cluster.get(&["-n", &namespace, "pod", "long"]).unwrap();
        pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].clone()
    };
    let before = started();

    cluster.kill("kubelet").unwrap();
    assert!(cluster.kill("kubelet").is_err());
    cluster.start_again("kubelet").unwrap();
    assert!(cluster.start_again("kubelet").is_err());
    // A pod that the new kubelet starts shows that it has taken over.
    run(&cluster, &namespace, "after", &json!({}), "true");
    assert!(before.is_string() && started() == before, "{before} and {}", started());

    cluster.restart_node().unwrap();
    wait(&cluster, &namespace, "pod/long", "{.status.phase}=Failed");
    run(&cluster, &namespace, "again", &json!({}), "true");
}
