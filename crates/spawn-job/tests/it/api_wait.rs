use crate::api_spawn::{Place, ended, task};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

impl Place {
    /// The one pod of a Job, once it is there.
    fn pod(&self, job: &str) -> String {
        let selector = format!("--selector=batch.kubernetes.io/job-name={job}");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let pods = self.cluster.get(&["pods", &selector, "--namespace", &self.namespace]).unwrap();
            if let Some(name) = pods["items"][0]["metadata"]["name"].as_str() {
                return name.to_owned();
            }
            assert!(Instant::now() < deadline, "the Job {job} has no pod");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Says of the Job's pod what a kubelet would, which ends the Job so.
    pub(crate) fn ends(&self, job: &str, status: &Value, end: &str) {
        let pod = self.pod(job);
        let patch = json!({"status": status}).to_string();
        let patch = ["patch", "pod", &pod, "--subresource=status", "--type=merge", "--patch", &patch];
        self.cluster.kubectl(&[&patch[..], &["--namespace", &self.namespace]].concat()).unwrap();
        self.wait_for(end, job);
    }

    fn wait_for(&self, what: &str, job: &str) {
        let what = format!("--for={what}");
        let wait = ["wait", &what, "--timeout=60s", "job", job, "--namespace", &self.namespace];
        self.cluster.kubectl(&wait).unwrap();
    }
}

/// K16
#[test]
fn a_killed_run_gets_one_job_that_publishes_its_volume() {
    let place = Place::new("salvage", "");
    let made = place.spawn(&[], &task("manual", json!({"base": "trunk"})));
    let run = made.lines[0]["run"].as_str().unwrap();
    place.goes(run);
    let arguments = ["--stage", "publish", "--run", run, "--reason", "out of memory: $(id)"];
    let first = place.spawn(&arguments, "");
    assert_eq!((first.code, &first.lines[0]["result"]), (Some(0), &"created".into()), "{}", first.stderr);
    assert_eq!(place.spawn(&arguments, "").lines[0]["result"], "existed");
    let job = place.cluster.get(&["job", &format!("save-{run}"), "--namespace", &place.namespace]).unwrap();
    let pod = &job["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["agents.kyle.pericak.com/agent"], "publisher");
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert!(
        volumes
            .iter()
            .any(|volume| volume["persistentVolumeClaim"]["claimName"] == format!("agent-ws-{run}"))
    );
    assert!(pod["spec"]["initContainers"][0]["env"].to_string().contains("out of memory: $$(id)"));
    assert!(pod["spec"]["containers"][0]["args"].to_string().contains("trunk"));

    let ended = place.spawn(&["--stage", "publish", "--run", "publisher-000000000000"], "");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("looking for the volume of run publisher-000000000000"),
        "{}",
        ended.stderr
    );
}

/// K16: two at work on one volume would lose what the agent does.
#[test]
fn a_run_that_is_at_work_is_not_salvaged() {
    let place = Place::new("alive", "");
    for (name, changes, why) in [
        ("works", json!({}), "is Pending: starting"),
        ("suspended", json!({"suspend": true}), "its Job has not ended, it is suspended"),
    ] {
        let made = place.spawn(&[], &task(name, changes));
        let run = made.lines[0]["run"].as_str().unwrap();
        if name == "works" {
            place.pod(run);
        }
        for how in [&[][..], &["--wait"], &["--dry-run=server"], &["--reason", "it is slow"]] {
            let refused = place.spawn(&[&["--stage", "publish", "--run", run], how].concat(), "");
            assert_eq!(refused.code, Some(3), "{}", refused.stderr);
            let told = format!("the run {run} is not over: ");
            assert!(refused.stderr.contains(&told) && refused.stderr.contains(why), "{}", refused.stderr);
            assert!(refused.stderr.contains(&format!("delete job {run}")), "{}", refused.stderr);
        }
    }
    assert_eq!(place.list("jobs").len(), 2);
}

/// K16
#[test]
fn people_are_told_what_the_cluster_knows_of_the_end() {
    let place = Place::new("reasons", "");
    let agent = |terminated: Value| json!([{"name": "agent", "state": {"terminated": terminated}, "image": "", "imageID": "", "ready": false, "restartCount": 0}]);
    let condition = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "the node is lost"}]);
    for (name, status, reason) in [
        (
            "memory",
            json!({"initContainerStatuses": agent(json!({"exitCode": 137, "reason": "OOMKilled"}))}),
            "container agent ended with 137 (OOMKilled)",
        ),
        (
            "evicted",
            json!({"reason": "Evicted", "message": "The node was low on resource: memory."}),
            "Evicted: The node was low on resource: memory.",
        ),
        (
            "late",
            json!({"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}),
            "DeadlineExceeded: Pod was active",
        ),
        (
            "lost",
            json!({"conditions": condition}),
            "DisruptionTarget, DeletionByTaintManager: the node is lost",
        ),
        ("gone", json!(null), "its pod is gone ("),
        ("forgotten", json!(null), "the run was killed"),
    ] {
        let made = place.spawn(&[], &task(name, json!({})));
        let run = made.lines[0]["run"].as_str().unwrap();
        match name {
            "gone" => {
                let pod = place.pod(run);
                place
                    .cluster
                    .kubectl(&["delete", "pod", &pod, "--force", "--namespace", &place.namespace])
                    .unwrap();
                place.wait_for("condition=Failed", run);
            }
            "forgotten" => place.goes(run),
            _ => {
                let mut status = status;
                status["phase"] = json!("Failed");
                place.ends(run, &status, "condition=Failed");
            }
        }
        let saved = place.spawn(&["--stage", "publish", "--run", run], "");
        assert_eq!(saved.code, Some(0), "{name}: {}", saved.stderr);
        let job =
            place.cluster.get(&["job", &format!("save-{run}"), "--namespace", &place.namespace]).unwrap();
        let variables =
            job["spec"]["template"]["spec"]["initContainers"][0]["env"].as_array().unwrap().clone();
        let told = variables.iter().find(|variable| variable["name"] == "PRESSRUN_REASON").unwrap();
        assert!(told["value"].as_str().unwrap().starts_with(reason), "{name}: {told}");
    }
}

/// K15: what keeps the Job from having a pod, or the pod from its node, and is not over in a moment.
#[test]
fn a_run_that_cannot_begin_says_why() {
    let cases = [
        ("account", "serviceAccount: nowhere", "the Job ", "serviceaccount \"nowhere\" not found"),
        ("security", "workspace: {mode: hostPath}", "the Job ", "violates PodSecurity \"restricted"),
        ("node", "", "the pod ", "Unschedulable: no nodes available"),
    ];
    let waiting: Vec<_> = cases
        .iter()
        .map(|(name, settings, ..)| {
            let place = Place::new(name, settings);
            let child = place.start(
                place.cluster.kubeconfig(),
                &["--wait", "--wait-timeout", "90s"],
                &task(name, json!({})),
            );
            (place, child)
        })
        .collect();
    for ((_place, child), (name, _, whose, why)) in waiting.into_iter().zip(cases) {
        let ended = ended(child);
        assert_eq!(ended.code, Some(1), "{name}: {}", ended.stderr);
        for part in [whose, "cannot start: ", why, "hint: mend it and it goes on; or give up: kubectl -n "] {
            assert!(ended.stderr.contains(part), "{name}: '{part}' in {}", ended.stderr);
        }
    }
}

/// K15, K12: the end of other runs may let it begin, or whoever suspended it.
#[test]
fn a_run_that_waits_for_others_says_for_what() {
    let quota = Place::new("quota", "");
    quota
        .cluster
        .kubectl(&["create", "quota", "none", "--hard=pods=0", "--namespace", &quota.namespace])
        .unwrap();
    let counted =
        ["wait", "--for=jsonpath={.status.hard.pods}=0", "--timeout=60s", "quota/none", "--namespace"];
    quota.cluster.kubectl(&[&counted[..], &[&quota.namespace]].concat()).unwrap();
    let suspended = Place::new("suspended", "");
    let wait = ["--wait", "--wait-timeout", "30s"];
    let children = [(&quota, json!({})), (&suspended, json!({"suspend": true}))]
        .map(|(place, changes)| place.start(place.cluster.kubeconfig(), &wait, &task("waits", changes)));
    for (child, why) in children.into_iter().zip([
        "exceeded quota: none",
        "Suspended: the Job begins when its task is spawned again without suspend",
    ]) {
        let ended = ended(child);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        for told in [" waits: ", "has not ended in time, it waits: "] {
            let line = ended.stderr.lines().find(|line| line.contains(told));
            assert!(line.is_some_and(|line| line.contains(why)), "'{told}' in {}", ended.stderr);
        }
        assert_eq!(ended.stderr.matches(why).count(), 2, "said once: {}", ended.stderr);
    }
}

/// K15: the scheduler's first try often fails where a volume is bound at once; what it told then is over.
#[test]
fn a_pod_that_has_its_node_is_not_taken_for_one_that_has_none() {
    let place = Place::new("scheduled", "");
    let child = place.start(
        place.cluster.kubeconfig(),
        &["--wait", "--wait-timeout", "32s"],
        &task("manual", json!({})),
    );
    let job = loop {
        if let [job] = &place.list("jobs")[..] {
            break job["metadata"]["name"].as_str().unwrap().to_owned();
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let pod = place.pod(&job);
    let unscheduled = [
        "wait",
        "--for=condition=PodScheduled=False",
        "--timeout=60s",
        "pod",
        &pod,
        "--namespace",
        &place.namespace,
    ];
    place.cluster.kubectl(&unscheduled).unwrap();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "busy"}});
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/binding", place.namespace);
    place.cluster.kubectl_reading(&["create", "--raw", &path, "--filename=-"], &binding.to_string()).unwrap();
    let ended = ended(child);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(!ended.stderr.contains("cannot start"), "{}", ended.stderr);
    let events = place.cluster.kubectl(&["get", "events", "--namespace", &place.namespace]).unwrap();
    assert!(events.contains("FailedScheduling"), "{events}");
}

/// K15: the pod that cannot start says why.
#[test]
fn waiting_ends_with_how_the_job_ended() {
    let place = Place::new("wait", "");
    let manifest = task("manual", json!({}));
    let child = place.start(place.cluster.kubeconfig(), &["--wait"], &manifest);
    // No node here: the test ends the Job as a controller would.
    let name = loop {
        if let [job] = &place.list("jobs")[..] {
            break job["metadata"]["name"].as_str().unwrap().to_owned();
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    place.cluster.kubectl(&["delete", "job", &name, "--namespace", &place.namespace]).unwrap();
    let ended = self::ended(child);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("the Job {name} is gone")), "{}", ended.stderr);

    let late = place.spawn(&["--wait", "--wait-timeout", "2s"], &task("late", json!({})));
    assert_eq!(late.code, Some(3), "{}", late.stderr);
    assert_eq!(late.lines[0]["result"], "failed");
}

/// K15: each is told of when it ends, and none waits to be made.
#[test]
fn many_are_made_before_one_is_waited_for() {
    let place = Place::new("many", "");
    let tasks: String = (0..20).map(|at| task(&format!("task-{at:02}"), json!({}))).collect();
    let mut child = place.start(place.cluster.kubeconfig(), &["--wait"], &tasks);
    let deadline = Instant::now() + Duration::from_secs(15);
    while place.list("jobs").len() < 20 {
        assert!(Instant::now() < deadline, "{} are made", place.list("jobs").len());
        std::thread::sleep(Duration::from_millis(100));
    }
    let jobs = place.list("jobs");
    let job =
        jobs.iter().find(|job| job["metadata"]["annotations"]["agents.kyle.pericak.com/task"] == "task-18");
    let job = job.unwrap()["metadata"]["name"].as_str().unwrap();
    place.ends(job, &json!({"phase": "Failed", "reason": "Evicted", "message": "full"}), "condition=Failed");
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&first["task"], &first["error"]), (&json!("task-18"), &json!("Evicted: full")));
    child.kill().unwrap();
    child.wait().unwrap();
}
