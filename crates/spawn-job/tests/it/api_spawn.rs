use crate::api_resource::cluster;
use crate::api_trigger::applied;
use cluster::Cluster;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Value>,
    pub(crate) stderr: String,
}

/// A namespace that holds its pods to Pod Security "restricted", and the settings of a chart.
pub(crate) struct Place {
    pub(crate) cluster: &'static Cluster,
    pub(crate) namespace: String,
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new(purpose: &str, more: &str) -> Self {
        let cluster = cluster();
        let namespace = cluster.namespace(purpose).unwrap();
        let level = "pod-security.kubernetes.io/enforce=restricted";
        cluster.kubectl(&["label", "namespace", &namespace, level]).unwrap();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent-run", "namespace": namespace}});
        cluster.apply(&account.to_string()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = format!("image: pressrun.test/none:1\nrepository: octo/blog\n{more}");
        std::fs::write(folder.path().join("settings.yaml"), settings).unwrap();
        Self { cluster, namespace, folder }
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("settings.yaml")
    }

    pub(crate) fn start(&self, kubeconfig: &Path, arguments: &[&str], stdin: &str) -> Child {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spawn-job"))
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", kubeconfig)
            .env("SPAWN_JOB_CONFIG", self.settings())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // One that is killed reads nothing.
        let _ = pipe.write_all(stdin.as_bytes());
        child
    }

    pub(crate) fn spawn(&self, arguments: &[&str], stdin: &str) -> Ended {
        ended(self.start(self.cluster.kubeconfig(), arguments, stdin))
    }

    pub(crate) fn list(&self, kind: &str) -> Vec<Value> {
        let found = self.cluster.get(&[kind, "--namespace", &self.namespace]).unwrap();
        found["items"].as_array().unwrap().clone()
    }

    /// Puts the settings where the chart does.
    fn keep_settings(&self) {
        let file = format!("--from-file=settings.yaml={}", self.settings().display());
        let create = ["create", "configmap", "spawn-job", &file, "--namespace", &self.namespace];
        self.cluster.kubectl(&create).unwrap();
    }

    fn spawn_with_the_clusters_settings(&self, arguments: &[&str], stdin: &str) -> Ended {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spawn-job"));
        child.env_clear().env("HOME", self.folder.path()).env("KUBECONFIG", self.cluster.kubeconfig());
        let mut child = child
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        ended(child)
    }

    /// What Kubernetes does with a Job an hour after its end.
    pub(crate) fn goes(&self, job: &str) {
        self.cluster.kubectl(&["delete", "job", job, "--namespace", &self.namespace]).unwrap();
        let gone = ["wait", "--for=delete", "--timeout=60s", "pod", "--namespace", &self.namespace];
        let of_job = format!("--selector=batch.kubernetes.io/job-name={job}");
        self.cluster.kubectl(&[&gone[..], &[&of_job]].concat()).unwrap();
    }

    /// The kubeconfig of someone who may do this in the namespace, and that on the cluster: API group, resource, verbs.
    pub(crate) fn with_rights(
        &self,
        name: &str,
        here: &[[&str; 3]],
        on_the_cluster: &[[&str; 3]],
    ) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.kubeconfig"));
        let config = self.cluster.account(&self.namespace, name, here, on_the_cluster).unwrap();
        std::fs::write(&path, config).unwrap();
        path
    }
}

pub(crate) fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Ended {
        code: output.status.code(),
        lines: stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn task(name: &str, changes: Value) -> String {
    let mut spec = json!({"agent": "publisher", "prompt": "Say $(HOME) \"it's\" `id`\n\u{e9}\u{1f600} $("});
    for (name, value) in changes.as_object().unwrap() {
        spec[name] = value.clone();
    }
    let task = json!({"apiVersion": "agents.kyle.pericak.com/v1alpha1", "kind": "AgentTask", "metadata": {"name": name}, "spec": spec});
    format!("{task}\n")
}

/// K3, K4, K7, K15
#[test]
fn a_task_alone_becomes_a_job_whose_pod_a_restricted_namespace_takes() {
    let place = Place::new("one", "");
    let ended = place.spawn(&[], &task("manual", json!({})));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let [report] = &ended.lines[..] else { panic!("one line: {:?}", ended.lines) };
    assert_eq!(report["result"], "created");
    let [job] = &place.list("jobs")[..] else { panic!("one Job") };
    assert_eq!(job["metadata"]["name"], report["job"]);
    let [claim] = &place.list("persistentvolumeclaims")[..] else { panic!("one claim") };
    assert_eq!(claim["metadata"]["name"], report["claim"]);
    // The controller makes the pod: admission has taken it, with its labels.
    let selector = format!("batch.kubernetes.io/job-name={}", report["job"].as_str().unwrap());
    let wait = [
        "wait",
        "pod",
        "--for=create",
        "--timeout=60s",
        "--namespace",
        &place.namespace,
        "--selector",
        &selector,
    ];
    place.cluster.kubectl(&wait).unwrap_or_else(|error| {
        panic!(
            "{error:#}\n{}",
            place.cluster.kubectl(&["get", "events", "--namespace", &place.namespace]).unwrap()
        )
    });
    let [pod] = &place.list("pods")[..] else { panic!("one pod") };
    assert_eq!(pod["metadata"]["labels"]["agents.kyle.pericak.com/agent"], "publisher");
    assert_eq!(pod["spec"]["activeDeadlineSeconds"], 1800);

    let again = place.spawn(&[], &task("manual", json!({})));
    assert_eq!((again.code, &again.lines[0]["result"]), (Some(0), &"existed".into()), "{}", again.stderr);
}

/// K4, K7, K10, K15: what the API server checks of every form, unknown fields included.
#[test]
fn the_server_takes_every_form_of_a_task() {
    let place = Place::new(
        "forms",
        "certificateAuthority: {configMap: ca}\ntolerations: [{key: agents, operator: Exists}]",
    );
    let schedule =
        json!({"trigger": "scheduled", "schedule": "*/5 8-18 * * MON-FRI", "timeZone": "America/Toronto"});
    let mut scheduled_reader = schedule.clone();
    scheduled_reader["readOnly"] = json!(true);
    let forms = [
        json!({"readOnly": true, "githubRead": true}),
        json!({"workspace": {"mode": "hostPath"}}),
        json!({"workspace": {"mode": "ephemeral"}, "mcpServers": {"docs": {"type": "http", "url": "https://example.org"}}}),
        schedule,
        scheduled_reader,
        json!({"suspend": true, "labels": {"kueue.x-k8s.io/queue-name": "agents"}, "timeoutSeconds": 86_400, "runtime": "opencode"}),
    ];
    let manifests: String =
        forms.iter().enumerate().map(|(at, form)| task(&format!("form-{at}"), form.clone())).collect();
    let ended = place.spawn(&["--dry-run=server"], &manifests);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.lines.len(), forms.len());
    for line in &ended.lines {
        assert_eq!(line["result"], "planned");
        for object in line["objects"].as_array().unwrap() {
            assert!(object["metadata"]["uid"].is_string(), "the server's answer: {object}");
            // Not a field is unknown to it; and the pod by itself is taken by a restricted namespace.
            let mut object = object.clone();
            let mut sent = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "spec": object["spec"].take()});
            sent["metadata"] = json!({"generateName": "x-", "namespace": object["metadata"]["namespace"]});
            if sent["kind"] == "Job" {
                let template = &sent["spec"]["template"];
                let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]});
                pod["metadata"] = json!({"generateName": "x-", "namespace": place.namespace, "annotations": template["metadata"]["annotations"]});
                let create = ["create", "--dry-run=server", "--validate=strict", "--filename=-"];
                let taken = place.cluster.kubectl_reading(&create, &pod.to_string());
                let host_path = line["task"] == "form-1";
                // In mode hostPath one container is root's, and says so.
                match taken {
                    Ok(_) => assert!(!host_path),
                    Err(error) => {
                        let error = format!("{error:#}");
                        assert!(
                            host_path && error.contains("PodSecurity") && error.contains("prepare"),
                            "{line}: {error}"
                        );
                    }
                }
            }
        }
    }
    assert_eq!(
        (place.list("jobs").len(), place.list("cronjobs").len(), place.list("persistentvolumeclaims").len()),
        (0, 0, 0)
    );

    let ended = place.spawn(&[], &manifests);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let results: Vec<_> = ended.lines.iter().map(|line| line["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["created", "created", "created", "applied", "applied", "created"]);
    let claims = place.list("persistentvolumeclaims");
    let mut names: Vec<_> = claims.iter().map(|claim| claim["metadata"]["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names[0], "agent-workspace");
    assert_eq!(names.len(), 3);
    // A schedule follows its task.
    let changed = json!({"trigger": "scheduled", "schedule": "0 9 * * *", "suspend": true});
    let ended = place.spawn(&[], &task("form-3", changed));
    assert_eq!(ended.lines[0]["result"], "applied", "{}", ended.stderr);
}

/// K11: a name is no proof.
#[test]
fn another_tasks_job_is_not_taken_for_this_ones() {
    let place = Place::new("other", "");
    let manifest = task("manual", json!({}));
    let planned = place.spawn(&["--dry-run=client"], &manifest);
    let job = planned.lines[0]["job"].as_str().unwrap();
    place
        .cluster
        .kubectl(&["create", "job", job, "--image=pressrun.test/none:1", "--namespace", &place.namespace])
        .unwrap();
    let ended = place.spawn(&[], &manifest);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("is of another task or trigger"), "{}", ended.stderr);
}

/// K15
#[test]
fn what_the_server_refuses_is_told_with_what_to_do() {
    let place = Place::new("refused", "");
    let manifest = task("manual", json!({}));

    let reader = place.with_rights("reader", &[["batch", "jobs", "get list"]], &[]);
    let ended = self::ended(place.start(&reader, &[], &manifest));
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("making the claim agent-ws-publisher-") && ended.stderr.contains("forbidden")
    );
    assert!(ended.stderr.contains("hint: ") && ended.lines[0]["hint"].is_string());

    place
        .cluster
        .kubectl(&["create", "quota", "small", "--hard=count/jobs.batch=0", "--namespace", &place.namespace])
        .unwrap();
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    let ended = loop {
        // The quota is in force when its controller has counted.
        let ended = place.spawn(&[], &task(&format!("quota-{}", limit.elapsed().as_nanos()), json!({})));
        if ended.code != Some(0) || std::time::Instant::now() > limit {
            break ended;
        }
    };
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("exceeded quota") && ended.stderr.contains("making the Job"),
        "{}",
        ended.stderr
    );

    let nowhere = place.spawn(&["--config", "/dev/null"], &manifest);
    assert!(
        nowhere.code == Some(2) && nowhere.stderr.contains("the settings are wrong"),
        "{}",
        nowhere.stderr
    );

    // Nobody listens there.
    let config = std::fs::read_to_string(place.cluster.kubeconfig())
        .unwrap()
        .replace(place.cluster.server(), "https://127.0.0.1:9");
    let path = place.folder.path().join("nobody.kubeconfig");
    std::fs::write(&path, config).unwrap();
    let ended = self::ended(place.start(&path, &[], &manifest));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("the API server cannot be reached"), "{}", ended.stderr);
}

/// K15
#[test]
fn the_rights_that_the_help_names_are_enough() {
    let place = Place::new("rights", "");
    let here = [
        ["", "persistentvolumeclaims", "create get patch"],
        ["batch", "jobs", "create get patch list watch"],
        ["agents.kyle.pericak.com", "agenttasks", "get"],
        ["agents.kyle.pericak.com", "agenttasks/status", "patch"],
        ["batch", "cronjobs", "create patch"],
        ["", "pods", "list watch"],
        ["", "events", "list"],
    ];
    let kubeconfig = place.with_rights("spawner", &here, &[["", "persistentvolumes", "create"]]);
    let spawn = |arguments: &[&str], stdin: &str| ended(place.start(&kubeconfig, arguments, stdin));
    let tasks = [
        task("once", json!({})),
        task("reads", json!({"readOnly": true})),
        task("nightly", json!({"trigger": "scheduled", "schedule": "0 3 * * *"})),
        task("on-a-node", json!({"workspace": {"mode": "hostPath"}})),
        applied(&place, "applied", json!({})),
    ]
    .concat();
    for word in ["created", "existed"] {
        let result = [word, word, "applied", word, word];
        let made = spawn(&[], &tasks);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        assert!(made.lines.iter().map(|line| &line["result"]).eq(&result), "{:?}", made.lines);
    }
    let waited = spawn(&["--wait", "--wait-timeout", "1s"], &task("once", json!({})));
    assert_eq!(waited.code, Some(3), "too long, and nothing is forbidden: {}", waited.stderr);
    let run = waited.lines[0]["run"].as_str().unwrap();
    place.goes(run);
    let saved = spawn(&["--stage", "publish", "--run", run], "");
    assert_eq!(saved.code, Some(0), "{}", saved.stderr);
}

/// K15: the cluster's settings, where none are given.
#[test]
fn the_settings_are_the_clusters() {
    let place = Place::new("settings", "");
    let manifest = task("manual", json!({}));
    let without = |arguments: &[&str]| {
        let here = [&["--namespace", &place.namespace], arguments].concat();
        place.spawn_with_the_clusters_settings(&here, &manifest)
    };
    let none = without(&[]);
    assert_eq!(none.code, Some(2));
    assert!(
        none.stderr.contains("ConfigMap spawn-job in settings-") && none.stderr.contains("hint: make it"),
        "{}",
        none.stderr
    );
    place.keep_settings();
    assert_eq!(without(&[]).lines[0]["result"], "created");
}

/// K15: those of the namespace that a task is in.
#[test]
fn the_settings_are_those_of_the_tasks_namespace() {
    let places = ["one", "two"].map(|image| {
        let place = Place::new("team", "");
        let settings = format!("image: pressrun.test/{image}:1\nrepository: octo/blog\n");
        std::fs::write(place.settings(), settings).unwrap();
        place.keep_settings();
        place
    });
    let tasks: String = places
        .iter()
        .map(|place| {
            let mut task: Value = serde_json::from_str(&task("manual", json!({}))).unwrap();
            task["metadata"]["namespace"] = json!(place.namespace);
            format!("{task}\n")
        })
        .collect();
    let made = places[0].spawn_with_the_clusters_settings(&[], &tasks);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    for (place, image) in places.iter().zip(["one", "two"]) {
        let [job] = &place.list("jobs")[..] else { panic!("one Job") };
        let used = &job["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(*used, format!("pressrun.test/{image}:1"));
    }
}

/// K1, K11: what waits is resumed, and not made again.
#[test]
fn a_suspended_run_begins_when_its_task_says_so() {
    let place = Place::new("resumed", "");
    let manifests = [false, true].map(|waits| task("by-hand", json!({"suspend": waits})));
    let stored = [true, false].map(|waits| applied(&place, "applied", json!({"suspend": waits})));
    let [begins, waits] = manifests;
    let [stored_waits, stored_begins] = stored;
    for (waits, begins) in [(waits, begins), (stored_waits, stored_begins)] {
        let made = place.spawn(&[], &waits);
        assert_eq!(made.lines[0]["result"], "created", "{}", made.stderr);
        let job = made.lines[0]["job"].as_str().unwrap();
        let suspended = || {
            let job = place.cluster.get(&["job", job, "--namespace", &place.namespace]).unwrap();
            job["spec"]["suspend"].as_bool().unwrap()
        };
        assert_eq!(place.spawn(&[], &waits).lines[0]["result"], "existed");
        assert!(suspended());
        let resumed = place.spawn(&[], &begins);
        assert_eq!((&resumed.lines[0]["result"], &resumed.lines[0]["job"]), (&json!("resumed"), &json!(job)));
        assert!(!suspended());
        // What somebody else has suspended since, as a queue does, is theirs.
        let patch = r#"--patch={"spec": {"suspend": true}}"#;
        place.cluster.kubectl(&["patch", "job", job, patch, "--namespace", &place.namespace]).unwrap();
        assert_eq!(place.spawn(&[], &begins).lines[0]["result"], "existed");
        assert!(suspended());
    }
    assert_eq!(place.list("jobs").len(), 2);
}

/// K5, K10: what a schedule's own controller leaves, and for how long.
#[test]
fn the_runs_of_a_schedule_that_failed_stay_and_one_that_succeeded() {
    let place = Place::new("history", "");
    let made = place.spawn(&[], &task("nightly", json!({"trigger": "scheduled", "schedule": "0 3 1 1 *"})));
    let schedule = made.lines[0]["job"].as_str().unwrap();
    let from = format!("--from=cronjob/{schedule}");
    for at in 0..7 {
        let (job, phase, end) = match at {
            0..5 => (format!("bad-{at}"), "Failed", "condition=Failed"),
            _ => (format!("good-{at}"), "Succeeded", "condition=Complete"),
        };
        place.cluster.kubectl(&["create", "job", &job, &from, "--namespace", &place.namespace]).unwrap();
        place.ends(&job, &json!({"phase": phase}), end);
        // Which is the older is told by whole seconds.
        std::thread::sleep(Duration::from_secs(1));
    }
    let names = || {
        let mut jobs = place.list("jobs");
        jobs.sort_by_key(|job| job["metadata"]["name"].to_string());
        jobs.iter().map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while names() != ["bad-0", "bad-1", "bad-2", "bad-3", "bad-4", "good-6"] {
        assert!(Instant::now() < deadline, "{:?}", names());
        std::thread::sleep(Duration::from_millis(200));
    }
    for job in place.list("jobs") {
        assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 3 * 86_400);
    }
    // One that is to stay for good, as docs/tasks.md says.
    let patch = r#"--patch=[{"op": "remove", "path": "/spec/ttlSecondsAfterFinished"}, {"op": "remove", "path": "/metadata/ownerReferences"}]"#;
    place
        .cluster
        .kubectl(&["patch", "job", "bad-0", "--type=json", patch, "--namespace", &place.namespace])
        .unwrap();
    place.cluster.kubectl(&["delete", "cronjob", schedule, "--namespace", &place.namespace]).unwrap();
    while names() != ["bad-0"] {
        assert!(Instant::now() < deadline + Duration::from_secs(60), "{:?}", names());
        std::thread::sleep(Duration::from_millis(200));
    }
}
