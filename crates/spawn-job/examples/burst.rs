//! A burst of tasks: `spawn-job` beside a bare loop that makes the same calls on the same API server, in turns; then a hundred tasks one
//! by one.
//!
//! ```text
//! cargo run --release -p spawn-job --example burst -- 1000 3
//! ```

use anyhow::{Context as _, ensure};
use cluster::Cluster;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// As many as `spawn-job` has under way.
const AT_ONCE: usize = 16;

/// How many tasks are made one by one.
const ALONE: usize = 100;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (tasks, rounds) = (number(1000)?, number(3)?);
    let program = std::env::current_exe()?.with_file_name("../spawn-job");
    let cluster = Cluster::control_plane()?;
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("settings.yaml");
    std::fs::write(&settings, "image: pressrun.test/none:1\nrepository: octo/blog\n")?;
    let mut stderr = std::io::stderr();
    writeln!(
        stderr,
        "{:>8} {:>16} {:>16} {:>8} {:>8}",
        "round", "floor tasks/s", "spawn-job", "ratio", "MiB"
    )?;
    for round in 1..=rounds {
        let floor = floor(&cluster, &program, &settings, tasks)?;
        let (ours, peak) = ours(&cluster, &program, &settings, tasks)?;
        let rate = |time: Duration| tasks as f64 / time.as_secs_f64();
        let ratio = ours.as_secs_f64() / floor.as_secs_f64();
        writeln!(stderr, "{round:>8} {:>16.1} {:>16.1} {ratio:>8.2} {peak:>8.1}", rate(floor), rate(ours))?;
    }
    let namespace = cluster.namespace("alone")?;
    let mut times = manifests(ALONE)
        .lines()
        .map(|task| {
            let began = Instant::now();
            spawn_job(&cluster, &program, &settings, &["--namespace", &namespace], task)?;
            Ok(began.elapsed())
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    times.sort();
    let nth = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    writeln!(stderr, "one Job: p50 {:.0} ms, p99 {:.0} ms", nth(50), nth(99))?;
    Ok(())
}

/// Suspended, so that the controllers' work on pods is not what is measured.
fn manifests(tasks: usize) -> String {
    let task = |at: usize| {
        let spec = json!({"agent": "publisher", "prompt": format!("Write post {at}"), "suspend": true});
        let metadata = json!({"name": format!("task-{at}")});
        json!({"apiVersion": "agents.kyle.pericak.com/v1alpha1", "kind": "AgentTask", "metadata": metadata, "spec": spec})
    };
    (0..tasks).map(|at| format!("{}\n", task(at))).collect()
}

fn spawn_job(
    cluster: &Cluster,
    program: &Path,
    settings: &Path,
    arguments: &[&str],
    stdin: &str,
) -> anyhow::Result<(Vec<String>, f64)> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("SPAWN_JOB_CONFIG", settings)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{}: build it first", program.display()))?;
    child.stdin.take().context("no stdin")?.write_all(stdin.as_bytes())?;
    let status = format!("/proc/{}/status", child.id());
    let (mut lines, mut peak) = (Vec::new(), 0.0);
    for line in BufReader::new(child.stdout.take().context("no stdout")?).lines() {
        lines.push(line?);
        // The highest so far, in KiB; after the last line it may be gone.
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = high.and_then(|high| high.trim().parse::<f64>().ok()).unwrap_or(0.0).max(peak);
    }
    let status = child.wait()?;
    ensure!(status.success(), "spawn-job: {status}");
    Ok((lines, peak / 1024.0))
}

fn ours(cluster: &Cluster, program: &Path, settings: &Path, tasks: usize) -> anyhow::Result<(Duration, f64)> {
    let namespace = cluster.namespace("ours")?;
    let stdin = manifests(tasks);
    let began = Instant::now();
    let (lines, peak) = spawn_job(cluster, program, settings, &["--namespace", &namespace], &stdin)?;
    let took = began.elapsed();
    let created = lines.iter().filter(|line| line.contains("\"result\":\"created\"")).count();
    ensure!(created == tasks, "{created} of {tasks} were made");
    Ok((took, peak))
}

/// The same calls with the same objects, made before the clock starts, by the same client library.
fn floor(cluster: &Cluster, program: &Path, settings: &Path, tasks: usize) -> anyhow::Result<Duration> {
    let namespace = cluster.namespace("floor")?;
    let arguments = ["--namespace", &namespace, "--dry-run=client"];
    let (planned, _) = spawn_job(cluster, program, settings, &arguments, &manifests(tasks))?;
    let all = planned
        .iter()
        .map(|line| {
            let objects = &serde_json::from_str::<Value>(line)?["objects"];
            let claim: PersistentVolumeClaim = serde_json::from_value(objects[0].clone())?;
            let mut job: Job = serde_json::from_value(objects[1].clone())?;
            let spec = job.spec.as_mut().context("no spec")?;
            let lives = json!({"spec": {"ttlSecondsAfterFinished": spec.ttl_seconds_after_finished.take()}});
            Ok((claim, job, lives))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let config = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
        let config =
            kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?;
        let client = kube::Client::try_from(config)?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
        let jobs: Api<Job> = Api::namespaced(client, &namespace);
        let (claims, jobs, how) = (&claims, &jobs, &PostParams::default());
        let noted = &json!({"metadata": {"annotations": {"agents.kyle.pericak.com/job-made": "true"}}});
        let began = Instant::now();
        stream::iter(&all)
            .map(|(claim, job, lives)| async move {
                claims.create(how, claim).await?;
                jobs.create(how, job).await?;
                let how = &PatchParams::default();
                claims.patch(&claim.name_any(), how, &Patch::Merge(noted)).await?;
                jobs.patch(&job.name_any(), how, &Patch::Merge(lives)).await
            })
            .buffered(AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        Ok(began.elapsed())
    })
}
