//! Keeps the node's rules in step with the NetworkPolicy objects of the cluster, for as long as it lives.

use crate::Cluster;
use crate::node::POD_ADDRESSES;
use crate::policy::{self, Objects};
use crate::sealed::command_in;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Events come in bunches.
const PAUSE: Duration = Duration::from_millis(50);

/// NetworkPolicy is enforced while this lives. Dropped, all is allowed again.
///
/// A new pod can send nothing until its policies are in force, which takes a moment longer than its start.
#[derive(Debug)]
pub struct Enforcement {
    rules: Arc<Rules>,
    watches: Vec<Child>,
    worker: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Rules {
    cluster: Cluster,
    init: u32,
    in_force: Mutex<String>,
}

impl Enforcement {
    /// `cluster` is a handle on the one whose box has this first process.
    pub(crate) fn start(cluster: Cluster, init: u32) -> anyhow::Result<Self> {
        let (sender, events) = channel();
        let rules = Arc::new(Rules { cluster, init, in_force: Mutex::default() });
        let mut enforcement = Self { rules, watches: Vec::new(), worker: None };
        for kind in ["namespaces", "networkpolicies", "pods"] {
            let watch = enforcement.rules.watch(kind, sender.clone());
            enforcement.watches.push(watch.with_context(|| format!("watching {kind}"))?);
        }
        let rules = Arc::clone(&enforcement.rules);
        let worker = thread::Builder::new().name("enforcement".to_owned());
        enforcement.worker = Some(worker.spawn(move || rules.follow(&events))?);
        enforcement.update()?;
        Ok(enforcement)
    }

    /// Brings the rules up to date now, for a test that has just changed a policy.
    ///
    /// # Errors
    /// The objects cannot be read, a policy has what is not supported, or nft refuses.
    pub fn update(&self) -> anyhow::Result<()> {
        self.rules.update()
    }
}

impl Drop for Enforcement {
    fn drop(&mut self) {
        // With the last watch, its reader ends, and with the last reader the worker.
        for watch in &mut self.watches {
            let _ = watch.kill();
            let _ = watch.wait();
        }
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        if let Err(error) = self.rules.load("table inet networkpolicy\ndelete table inet networkpolicy\n") {
            eprintln!("NetworkPolicy may still be enforced: {error:#}");
        }
    }
}

impl Rules {
    /// Sends a word for every change of an object of this kind.
    fn watch(&self, kind: &str, changes: Sender<()>) -> anyhow::Result<Child> {
        let arguments = ["get", kind, "--all-namespaces", "--watch", "--output=name"];
        let mut child =
            self.cluster.kubectl_command(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("kubectl has no stdout")?).lines();
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            for _ in lines.map_while(Result::ok) {
                if changes.send(()).is_err() {
                    break;
                }
            }
        })?;
        Ok(child)
    }

    fn follow(&self, changes: &Receiver<()>) {
        while changes.recv().is_ok() {
            while changes.recv_timeout(PAUSE).is_ok() {}
            if let Err(error) = self.update() {
                eprintln!("NetworkPolicy is not enforced as it is now: {error:#}");
            }
        }
    }

    fn update(&self) -> anyhow::Result<()> {
        // Held from the listing on, so that an older one never comes after a newer one.
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds = "namespaces,networkpolicies,pods";
        let found = self.cluster.get(&[kinds, "--all-namespaces"])?;
        let rules = policy::rules(&objects(found)?, &POD_ADDRESSES)?;
        if *in_force != rules {
            self.load(&rules)?;
            *in_force = rules;
        }
        Ok(())
    }

    fn load(&self, script: &str) -> anyhow::Result<()> {
        let mut nft = command_in(self.init, "nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("nft")?;
        let written = nft.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
        let output = nft.wait_with_output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft refuses the rules: {}\n{script}", stderr.trim());
        written.transpose().context("nft")?;
        Ok(())
    }
}

/// Sorts a list of all kinds.
fn objects(mut list: Value) -> anyhow::Result<Objects> {
    let mut objects = Objects::default();
    let Value::Array(items) = list["items"].take() else { return Ok(objects) };
    for item in items {
        match item["kind"].as_str() {
            Some("Namespace") => objects.namespaces.push(serde_json::from_value(item)?),
            Some("NetworkPolicy") => objects.policies.push(serde_json::from_value(item)?),
            _ => objects.pods.push(serde_json::from_value(item)?),
        }
    }
    Ok(objects)
}
