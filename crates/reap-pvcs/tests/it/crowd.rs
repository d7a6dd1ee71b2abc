use crate::objects::{claim, ended, job, pod, preserved, retained_volume};
use cluster::Cluster;
use futures::StreamExt as _;
use kube::api::PostParams;
use kube::core::Request;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CLAIMS: usize = 10_000;

/// Volumes whose claims are gone, and which their storage class retains; as many again are another namespace's.
const VOLUMES: usize = 1000;

/// What is made of the claim with this number, and what is to be decided about it.
fn nth(namespace: &str, number: usize) -> (Vec<Value>, &'static str) {
    let run = format!("publisher-{number:012x}");
    let of = claim(namespace, &run);
    match number % 10 {
        0..=3 => (vec![ended(of, "Succeeded", 1)], "delete"),
        4 => (vec![ended(of, "Failed", 73)], "delete"),
        5 | 6 => (vec![ended(of, "Failed", 71)], "keep"),
        7 => (vec![ended(preserved(of), "Succeeded", 1000)], "keep"),
        8 if number % 20 == 8 => (vec![ended(of, "Succeeded", 1), job(namespace, &run, true)], "keep"),
        9 => (vec![ended(of, "Succeeded", 1), pod(namespace, &run)], "keep"),
        _ => (vec![of], "keep"),
    }
}

fn volumes(namespace: &str) -> impl Iterator<Item = Value> {
    (0..VOLUMES).flat_map(move |number| {
        [
            retained_volume(namespace, &format!("lost-{number}")),
            retained_volume("another", &format!("foreign-{number}")),
        ]
    })
}

async fn make_all(cluster: &Cluster, namespace: &str) {
    let kubeconfig = kube::config::Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let objects = (0..CLAIMS).flat_map(|number| nth(namespace, number).0).chain(volumes(namespace));
    let made = futures::stream::iter(objects).map(|object| {
        let collection = match object["kind"].as_str() {
            Some("Job") => format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
            Some("Pod") => format!("/api/v1/namespaces/{namespace}/pods"),
            Some("PersistentVolume") => "/api/v1/persistentvolumes".to_owned(),
            _ => format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims"),
        };
        let client = client.clone();
        async move {
            let body = serde_json::to_vec(&object).unwrap();
            let request = Request::new(collection).create(&PostParams::default(), body).unwrap();
            client.request::<Value>(request).await.unwrap();
        }
    });
    made.buffer_unordered(16).for_each(|()| async {}).await;
}

/// Waits until the controller has seen that the volumes' claims are gone.
fn wait_for_volumes(cluster: &Cluster) {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let phases =
            ["get", "persistentvolumes", "--output=jsonpath={range .items[*]}{.status.phase}{\"\\n\"}{end}"];
        let phases = cluster.kubectl(&phases).unwrap();
        if phases.lines().filter(|phase| *phase == "Released").count() == 2 * VOLUMES {
            return;
        }
        assert!(Instant::now() < deadline, "not all volumes are released");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// How often the API server was asked this about claims.
fn asked(cluster: &Cluster, verb: &str) -> f64 {
    let metrics = cluster.kubectl(&["get", "--raw=/metrics"]).unwrap();
    let of = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("resource=\"persistentvolumeclaims\"")
            && line.contains("subresource=\"\"")
            && line.contains(&format!("verb=\"{verb}\""))
    };
    metrics.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// K5
#[test]
fn ten_thousand_claims_are_decided_right_in_32_mib_and_with_one_call_each() {
    // One of its own: its counters are looked at.
    let cluster = Cluster::control_plane().unwrap();
    let namespace = cluster.namespace("crowd").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let started = Instant::now();
    runtime.block_on(make_all(&cluster, &namespace));
    wait_for_volumes(&cluster);
    let making = started.elapsed();

    let before = (asked(&cluster, "DELETE"), asked(&cluster, "GET"));
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_reap-pvcs"))
        .args(["--namespace", &namespace])
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (mut decisions, mut retained, mut summary, mut peak) = (HashMap::new(), 0, Value::Null, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["kind"] == "ReapSummary" {
            summary = line;
        } else if let Some(claim) = line["claim"].as_str() {
            decisions.insert(claim.to_owned(), line["decision"].clone());
        } else {
            assert!(
                line["volume"].as_str().unwrap().starts_with("pv-lost-") && line["decision"] == "keep",
                "{line}"
            );
            retained += 1;
        }
        // The highest so far; read with every line, for after the last one it may be gone.
        let high = std::fs::read_to_string(&status).ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        });
        peak = high.unwrap_or(0).max(peak);
    }
    let code = child.wait().unwrap().code();
    let reaping = started.elapsed();
    let figures = format!(
        "reap-pvcs: {CLAIMS} claims in {:.1} s, {:.1} MiB at most; {}; making them took {:.1} s\n",
        reaping.as_secs_f64(),
        peak as f64 / 1024.0,
        summary,
        making.as_secs_f64()
    );
    std::io::stderr().write_all(figures.as_bytes()).unwrap();

    assert_eq!(code, Some(0), "{summary}");
    assert_eq!(decisions.len(), CLAIMS);
    for number in 0..CLAIMS {
        let (objects, expected) = nth(&namespace, number);
        let name = objects[0]["metadata"]["name"].as_str().unwrap();
        assert_eq!(decisions[name], expected, "{name}");
    }
    assert_eq!(retained, VOLUMES);
    assert_eq!((&summary["deleted"], &summary["kept"]), (&5000.into(), &6000.into()), "{summary}");
    assert_eq!(asked(&cluster, "DELETE") - before.0, 5000.0, "one deletion a claim");
    assert_eq!(asked(&cluster, "GET") - before.1, 0.0, "no claim is asked for by itself");
    assert!(peak > 0 && peak < 32 * 1024, "{peak} KiB");
}
