use crate::api_resource::cluster;
use crate::api_spawn::{Place, ended, task};
use cluster::{Cluster, Gate};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A way to the API server on which so many calls pass that change something. The next one waits for ever, and is told of.
fn that_lets(passing: usize, cluster: &Cluster) -> (Gate, Receiver<()>) {
    let (holds, held) = channel();
    let left = Arc::new(AtomicUsize::new(passing));
    let gate = Gate::refusing(cluster, move |line: &str| {
        let changes = ["POST ", "PATCH "].iter().any(|method| line.starts_with(method));
        let one_less = |left: usize| left.checked_sub(1);
        if changes && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
            let _ = holds.send(());
            loop {
                thread::park();
            }
        }
        None
    });
    (gate.unwrap(), held)
}

/// The task as the cluster has it, before any run.
pub(crate) fn applied(place: &Place, name: &str, changes: Value) -> String {
    let mut manifest: Value = serde_json::from_str(&task(name, changes)).unwrap();
    manifest["metadata"]["namespace"] = json!(place.namespace);
    place.cluster.apply(&manifest.to_string()).unwrap();
    place.cluster.get(&["at", name, "--namespace", &place.namespace]).unwrap().to_string()
}

/// K11
#[test]
fn killed_between_any_two_calls_the_next_one_finishes() {
    let place = Place::new("killed", "");
    let host_path = json!({"workspace": {"mode": "hostPath"}});
    let ephemeral = json!({"workspace": {"mode": "ephemeral"}});
    for (form, changes, calls) in [
        ("by-hand", json!({}), 4),
        ("on-a-node", host_path, 5),
        ("applied", json!({}), 4),
        ("ephemeral", ephemeral, 3),
    ] {
        for passing in 0..=calls {
            let what = format!("{form}: {passing} calls");
            let name = format!("{form}-{passing}");
            let manifest = match form {
                "by-hand" | "on-a-node" => task(&name, changes.clone()),
                _ => applied(&place, &name, changes.clone()),
            };
            let (way, held) = that_lets(passing, place.cluster);
            let mut child = place.start(way.kubeconfig(), &[], &manifest);
            if passing < calls {
                held.recv_timeout(Duration::from_secs(60)).unwrap();
                assert!(child.try_wait().unwrap().is_none(), "{what}: it waits for the answer");
            } else {
                assert!(child.wait().unwrap().success(), "{what} are all");
            }
            let _ = child.kill();
            child.wait().unwrap();

            let next = place.spawn(&[], &manifest);
            assert_eq!(next.code, Some(0), "{what}: {}", next.stderr);
            let run = next.lines[0]["run"].as_str().unwrap();
            let of_run = format!("--selector=agents.kyle.pericak.com/run={run}");
            let there = |kind: &str| {
                let found = place.cluster.get(&[kind, &of_run, "--namespace", &place.namespace]).unwrap();
                found["items"].as_array().unwrap().clone()
            };
            let [job] = &there("jobs")[..] else { panic!("{what}: one Job") };
            assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 3600, "{what}");
            let claims = usize::from(form != "ephemeral");
            assert_eq!(there("persistentvolumeclaims").len(), claims, "{what}");
            assert_eq!(there("persistentvolumes").len(), usize::from(form == "on-a-node"), "{what}");
            place.goes(run);
            let again = place.spawn(&[], &manifest);
            assert_eq!((again.code, &again.lines[0]["result"]), (Some(0), &json!("ended")), "{what}");
            assert!(there("jobs").is_empty(), "{what}");
        }
    }
}

/// K11: a Job that nothing else tells of must not go, or its trigger would make another.
#[test]
fn a_job_has_its_time_to_live_once_it_is_written_down() {
    let place = Place::new("unwritten", "");
    let by_hand = task("by-hand", json!({}));
    let applied = applied(&place, "applied", json!({}));
    for manifest in [by_hand, applied] {
        // Its claim and the Job.
        let (way, held) = that_lets(2, place.cluster);
        let mut child = place.start(way.kubeconfig(), &[], &manifest);
        held.recv_timeout(Duration::from_secs(60)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let jobs = place.list("jobs");
    assert_eq!(jobs.len(), 2);
    assert!(jobs.iter().all(|job| job["spec"]["ttlSecondsAfterFinished"].is_null()), "{jobs:?}");
}

/// K11, K13: as long as the task is there, whatever else is gone.
#[test]
fn a_task_in_the_cluster_remembers_its_runs() {
    let place = Place::new("remembers", "");
    for (name, changes) in [
        ("writes", json!({})),
        ("reads", json!({"readOnly": true})),
        ("ephemeral", json!({"workspace": {"mode": "ephemeral"}})),
    ] {
        let manifest = applied(&place, name, changes);
        let runs: Vec<String> = ["manual", "another"]
            .iter()
            .map(|trigger| {
                let made = place.spawn(&["--trigger", trigger], &manifest);
                assert_eq!(made.lines[0]["result"], "created", "{}", made.stderr);
                let run = made.lines[0]["run"].as_str().unwrap().to_owned();
                place.goes(&run);
                run
            })
            .collect();
        let delete = ["delete", "pvc", "--all", "--wait=false", "--namespace", &place.namespace];
        place.cluster.kubectl(&delete).unwrap();

        let found = place.cluster.get(&["at", name, "--namespace", &place.namespace]).unwrap();
        assert_eq!(found["status"]["runs"], json!(runs));
        assert_eq!(
            (&found["status"]["jobName"], &found["status"]["run"]),
            (&json!(runs[1]), &json!(runs[1]))
        );
        // What was read before its runs, and what it says now.
        for manifest in [manifest, found.to_string()] {
            for trigger in ["manual", "another"] {
                let again = place.spawn(&["--trigger", trigger], &manifest);
                assert_eq!((again.code, &again.lines[0]["result"]), (Some(0), &json!("ended")));
                assert!(again.stderr.contains("its Job is gone"), "{}", again.stderr);
            }
            for waits in ["--wait", "--follow"] {
                let waited = place.spawn(&[waits], &manifest);
                assert_eq!((waited.code, &waited.lines[0]["result"]), (Some(1), &json!("failed")));
                assert!(waited.stderr.contains("how it ended is not known"), "{}", waited.stderr);
            }
        }
        assert_eq!(place.list("jobs").len(), 0);
        assert_eq!(
            place
                .list("persistentvolumeclaims")
                .iter()
                .filter(|claim| claim["metadata"]["deletionTimestamp"].is_null())
                .count(),
            0
        );
    }
}

/// K11: as long as the volume is there, with what the reaper has written on it.
#[test]
fn a_volume_remembers_the_run_of_a_task_that_was_never_applied() {
    let place = Place::new("volume", "");
    let manifest = task("manual", json!({}));
    let made = place.spawn(&[], &manifest);
    let (run, claim) = (made.lines[0]["run"].as_str().unwrap(), made.lines[0]["claim"].as_str().unwrap());
    place.goes(run);
    assert_eq!(place.spawn(&[], &manifest).lines[0]["result"], "ended");
    for (phase, code, told) in [("Succeeded", 0, "ended"), ("Failed", 1, "failed")] {
        let domain = "agents.kyle.pericak.com";
        let ended = [format!("{domain}/phase={phase}"), format!("{domain}/finished-at=2026-11-25T20:00:00Z")];
        let annotate = ["annotate", "--overwrite", "pvc", claim, "--namespace", &place.namespace];
        place.cluster.kubectl(&[&annotate[..], &[&ended[0], &ended[1]]].concat()).unwrap();
        let waited = place.spawn(&["--wait"], &manifest);
        assert_eq!(
            (waited.code, &waited.lines[0]["result"]),
            (Some(code), &json!(told)),
            "{}",
            waited.stderr
        );
    }
    assert_eq!(place.list("jobs").len(), 0);
}

/// K11, K1: what belongs to a task goes with it, and its volume stays.
#[test]
fn the_job_goes_with_its_task() {
    let place = Place::new("owner", "");
    let manifest = applied(&place, "writes", json!({}));
    assert_eq!(place.spawn(&[], &manifest).lines[0]["result"], "created");
    let uid = serde_json::from_str::<Value>(&manifest).unwrap()["metadata"]["uid"].clone();
    let [job] = &place.list("jobs")[..] else { panic!("one Job") };
    let [owner] = &job["metadata"]["ownerReferences"].as_array().unwrap()[..] else { panic!("one owner") };
    assert_eq!(
        (&owner["uid"], &owner["kind"], &owner["controller"]),
        (&uid, &json!("AgentTask"), &json!(true))
    );
    assert_eq!(job["metadata"]["labels"]["agents.kyle.pericak.com/task-uid"], uid);

    let name = job["metadata"]["name"].as_str().unwrap();
    place.cluster.kubectl(&["delete", "at", "writes", "--namespace", &place.namespace]).unwrap();
    let gone = ["wait", "--for=delete", "--timeout=60s", "--namespace", &place.namespace, "job", name];
    place.cluster.kubectl(&gone).unwrap();
    assert_eq!(place.list("persistentvolumeclaims").len(), 1);
    // Its owner is gone, so that Kubernetes would delete what is made of it.
    let late = place.spawn(&[], &manifest);
    assert_eq!(late.code, Some(1), "{}", late.stderr);
    assert!(late.stderr.contains("the task writes of this uid is not in"), "{}", late.stderr);
    assert_eq!(place.list("jobs").len(), 0);
}

/// K11
#[test]
fn fifty_at_once_make_one_job_and_one_volume() {
    let place = Place::new("fifty", "");
    for manifest in [task("by-hand", json!({})), applied(&place, "applied", json!({}))] {
        let children: Vec<_> = (0..50).map(|_| place.start(cluster().kubeconfig(), &[], &manifest)).collect();
        let reports: Vec<_> = children.into_iter().map(ended).collect();
        for ended in &reports {
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
        assert_eq!(reports.iter().filter(|ended| ended.lines[0]["result"] == "created").count(), 1);
    }
    assert_eq!((place.list("jobs").len(), place.list("persistentvolumeclaims").len()), (2, 2));
}
