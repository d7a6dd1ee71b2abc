//! A cluster that is looked at: a real API server, on which one thing after the other is missing.

use crate::Ended;
use cluster::Cluster;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const CHECKS: [&str; 9] =
    ["server", "definition", "namespace", "rights", "settings", "account", "secrets", "volumes", "policy"];

/// What is in the Secrets, and must not be told.
const VALUE: &str = "sk-secret-value";

/// What `spawn-job --help` and `reap-pvcs --help` name.
const SPAWN_JOB: [[&str; 3]; 9] = [
    ["", "configmaps", "get"],
    ["", "persistentvolumeclaims", "create get patch"],
    ["batch", "jobs", "create get patch list watch"],
    ["agents.kyle.pericak.com", "agenttasks", "get"],
    ["agents.kyle.pericak.com", "agenttasks/status", "patch"],
    ["batch", "cronjobs", "create patch"],
    ["", "pods", "list watch"],
    ["", "pods/log", "get"],
    ["", "events", "list"],
];
const REAP_PVCS: [[&str; 3]; 5] = [
    ["agents.kyle.pericak.com", "agenttasks", "list"],
    ["", "pods", "list"],
    ["batch", "jobs", "list"],
    ["batch", "cronjobs", "list"],
    ["", "persistentvolumeclaims", "list patch delete"],
];

/// The cluster of these tests, with the custom resource.
fn shared() -> &'static Cluster {
    static DEFINED: OnceLock<()> = OnceLock::new();
    let cluster = Cluster::shared_control_plane();
    DEFINED.get_or_init(|| define(cluster));
    cluster
}

fn define(cluster: &Cluster) {
    cluster.apply(&agent_task_crd::run::definition().unwrap()).unwrap();
    let name = "crd/agenttasks.agents.kyle.pericak.com";
    cluster.kubectl(&["wait", "--timeout=60s", "--for=condition=Established", name]).unwrap();
}

/// A namespace with everything that a run needs.
struct Place {
    cluster: &'static Cluster,
    namespace: String,
    folder: tempfile::TempDir,
}

impl Place {
    fn new(purpose: &str) -> Self {
        let cluster = shared();
        let namespace = cluster.namespace(purpose).unwrap();
        let place = Self { cluster, namespace, folder: tempfile::tempdir().unwrap() };
        place.label("restricted");
        place.set(&json!({}));
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": place.namespace},
            "provisioner": "pressrun.test/none",
        });
        let account = place.object("v1", "ServiceAccount", "agent-run", json!({}));
        let keys =
            ["CLAUDE_CODE_OAUTH_TOKEN", "GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY", "DISCORD_WEBHOOK_URL"];
        let data: serde_json::Map<_, _> =
            keys.map(|key| (key.to_owned(), VALUE.into())).into_iter().collect();
        let secret = place.object("v1", "Secret", "pressrun", json!({"stringData": data}));
        let policy = egress_check::policy::network_policy(&egress_check::policy::NameServers::default());
        let policy = serde_json::to_value(policy).unwrap();
        let policy = place.object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "agent-egress",
            json!({"spec": policy["spec"]}),
        );
        place.apply(&[class, account, secret, policy]);
        place
    }

    /// An object of the namespace, with what `more` says.
    fn object(&self, version: &str, kind: &str, name: &str, more: Value) -> Value {
        let mut object = more;
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        object["metadata"] = json!({"name": name, "namespace": self.namespace});
        object
    }

    fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.cluster.apply(&list.to_string()).unwrap();
    }

    /// Makes the ConfigMap say this, beside what every one has.
    fn set(&self, more: &Value) {
        let class = json!({"storageClass": self.namespace});
        let mut settings = json!({
            "image": "pressrun.test/none:1", "repository": "octo/blog", "workspace": class, "sharedWorkspace": class,
        });
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let data = json!({"data": {"settings.yaml": settings.to_string()}});
        self.apply(&[self.object("v1", "ConfigMap", "spawn-job", data)]);
    }

    /// Makes the namespace take pods of this Pod Security level alone.
    fn label(&self, level: &str) {
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        self.cluster.kubectl(&["label", "--overwrite", "namespace", &self.namespace, &label]).unwrap();
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl(&[arguments, &["--namespace", &self.namespace]].concat()).unwrap()
    }

    /// All that is in it, with the versions of everything.
    fn state(&self) -> String {
        let kinds = "configmaps,secrets,serviceaccounts,networkpolicies,persistentvolumeclaims,jobs,cronjobs,pods,agenttasks";
        self.kubectl(&["get", kinds, "--output=json"])
    }

    fn preflight(&self, arguments: &[&str]) -> Ended {
        self.preflight_as(self.cluster.kubeconfig(), arguments)
    }

    /// Runs it, and sees that no secret is told.
    fn preflight_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Ended {
        let ended = preflight(kubeconfig, &[&["-n", &self.namespace], arguments].concat());
        assert!(!format!("{}{}", ended.report, ended.stderr).contains(VALUE));
        ended
    }

    /// The kubeconfig of somebody who has these rights.
    fn account(&self, name: &str, here: &[[&str; 3]], everywhere: &[[&str; 3]]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, self.cluster.account(&self.namespace, name, here, everywhere).unwrap())
            .unwrap();
        path
    }
}

fn preflight(kubeconfig: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_preflight"));
    // No credential of a run, and no clone: the cluster alone is looked at.
    command.env_clear().env("HOME", "/nonexistent").current_dir("/");
    Ended::of(command.env("KUBECONFIG", kubeconfig).arg("--cluster").args(arguments))
}

/// P13
#[test]
fn where_all_is_well_every_check_of_the_cluster_says_so() {
    let place = Place::new("well");
    let before = place.state();
    let ended = place.preflight(&[]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(place.state(), before, "nothing is changed");
    assert_eq!((&ended.report["kind"], &ended.report["ok"]), (&"Preflight".into(), &true.into()));
    assert_eq!(ended.statuses(), CHECKS.map(|name| (name, "ok")), "{}", ended.stderr);
    for (name, part) in [
        ("server", "Kubernetes v1."),
        ("definition", "agents.kyle.pericak.com/v1alpha1"),
        ("namespace", "restricted"),
        ("rights", "spawn-job: all 19 rights; reap-pvcs: all 10 rights"),
        ("settings", "image pressrun.test/none:1, volumes of mode storageClass, for main of octo/blog"),
        ("account", "agent-run"),
        ("secrets", "the Secret pressrun has all of its keys"),
        ("volumes", "storage class well-"),
        ("policy", "agent-egress; whether it is enforced: egress-check run -n well-"),
    ] {
        let detail = ended.check(name)["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{name}: {detail}");
    }
    assert!(ended.stderr.ends_with("preflight: a run would work on this cluster\n"), "{}", ended.stderr);
}

/// P13
#[test]
fn what_is_missing_fails_alone_and_says_how_to_mend_it() {
    let place = Place::new("missing");
    let webhook = r#"[{"op": "remove", "path": "/data/DISCORD_WEBHOOK_URL"}]"#;
    let login = r#"[{"op": "replace", "path": "/data/CLAUDE_CODE_OAUTH_TOKEN", "value": ""}]"#;
    let patch = |patch| place.kubectl(&["patch", "secret", "pressrun", "--type=json", "--patch", patch]);
    let fails = |code, name, detail: &str, remedy: &str| {
        place.preflight(&[]).assert_failed(code, name, detail, remedy);
    };

    patch(webhook);
    fails(
        4,
        "secrets",
        "the Secret pressrun has no DISCORD_WEBHOOK_URL, or DISCORD_BOT_TOKEN and",
        "edit secret pressrun",
    );
    place.set(&json!({"notify": false}));
    assert_eq!(place.preflight(&[]).code, 0, "nobody is told");
    patch(login);
    fails(4, "secrets", "the Secret pressrun has no CLAUDE_CODE_OAUTH_TOKEN", "edit secret pressrun");
    let opencode = place.preflight(&["--runtime", "opencode"]);
    opencode.assert_failed(
        4,
        "secrets",
        "the Secret pressrun has no OPENCODE_API_KEY",
        "edit secret pressrun",
    );
    place.kubectl(&["delete", "secret", "pressrun"]);
    fails(4, "secrets", "there is no Secret pressrun in missing-", "create secret generic pressrun");
    let part =
        "--from-file=KEY=FILE for each of CLAUDE_CODE_OAUTH_TOKEN, GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY";
    fails(4, "secrets", "there is no Secret", part);
    let other = json!({"secrets": {"agent": "all", "github": "all"}, "notify": false, "imagePullSecrets": ["registry"],
        "certificateAuthority": {"configMap": "authority"}});
    place.set(&other);
    let data =
        json!({"CLAUDE_CODE_OAUTH_TOKEN": VALUE, "GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY": VALUE});
    place.apply(&[place.object("v1", "Secret", "all", json!({"stringData": data}))]);
    fails(4, "secrets", "there is no Secret registry in missing-", "create secret docker-registry registry");
    fails(
        4,
        "secrets",
        "there is no ConfigMap authority in missing-",
        "--from-file=KEY=FILE for each of ca.crt",
    );
    place.set(&json!({"secrets": {"agent": "all", "github": "all"}, "notify": false}));
    assert_eq!(place.preflight(&[]).code, 0);

    place.kubectl(&["delete", "networkpolicy", "agent-egress"]);
    fails(1, "policy", "limits the agents' pods (Egress)", "egress-check policy | kubectl -n missing-");
    // Policies that select others, or one way alone.
    let policy = |name, selector: Value, kind| {
        let spec = json!({"spec": {"podSelector": selector, "policyTypes": [kind]}});
        place.apply(&[place.object("networking.k8s.io/v1", "NetworkPolicy", name, spec)]);
    };
    policy("others", json!({"matchLabels": {"app": "web"}}), "Egress");
    fails(1, "policy", "limits the agents' pods (Egress)", "egress-check policy");
    policy("all", json!({}), "Egress");
    fails(1, "policy", "limits the agents' pods (Ingress)", "egress-check policy");
    let agents =
        json!({"matchExpressions": [{"key": "agents.kyle.pericak.com/agent", "operator": "Exists"}]});
    policy("agents", agents, "Ingress");
    let found = place.preflight(&[]);
    assert_eq!(found.code, 0, "{}", found.stderr);
    assert!(
        found.check("policy")["detail"].as_str().unwrap().contains("selected by agents, all;"),
        "{}",
        found.stderr
    );

    place.kubectl(&["delete", "serviceaccount", "agent-run"]);
    fails(1, "account", "there is no ServiceAccount agent-run", "create serviceaccount agent-run");
    place.set(
        &json!({"secrets": {"agent": "all", "github": "all"}, "notify": false, "serviceAccount": "default"}),
    );
    assert_eq!(place.preflight(&[]).code, 0);
}

/// P13, K4
#[test]
fn volumes_that_cannot_be_had_are_told() {
    let place = Place::new("volumes");
    let class = |name: &str| json!({"storageClass": name});
    place.set(&json!({"workspace": class("fast")}));
    let ended = place.preflight(&[]);
    ended.assert_failed(1, "volumes", "there is no storage class fast", "correct workspace.storageClass");
    assert!(ended.check("volumes")["remedy"].as_str().unwrap().contains(&place.namespace), "what there is");
    place.set(&json!({"sharedWorkspace": class("slow")}));
    place.preflight(&[]).assert_failed(
        1,
        "volumes",
        "there is no storage class slow",
        "sharedWorkspace.storageClass",
    );
    place.set(&json!({"sharedWorkspace": {}}));
    let none = "no default storage class";
    place.preflight(&[]).assert_failed(1, "volumes", none, "set workspace.storageClass");
    place.set(&json!({"workspace": {"mode": "ephemeral"}}));
    assert_eq!(place.preflight(&[]).code, 0);

    let host_path = |labels: Value| {
        place.set(&json!({"workspace": {"mode": "hostPath"}, "nodeSelector": labels}));
        place.preflight(&[])
    };
    let label = json!({"node-of": place.namespace});
    let refused = host_path(label.clone());
    assert_eq!(refused.check("namespace")["status"], "failed", "{}", refused.stderr);
    assert!(
        refused.check("namespace")["remedy"].as_str().unwrap().contains("enforce=baseline"),
        "{}",
        refused.stderr
    );
    place.label("baseline");
    host_path(label.clone()).assert_failed(
        1,
        "volumes",
        "no node is chosen by nodeSelector (node-of=",
        "kubectl get nodes",
    );
    for name in ["one", "two"] {
        let mut node = json!({"apiVersion": "v1", "kind": "Node"});
        node["metadata"] = json!({"name": format!("{}-{name}", place.namespace), "labels": label});
        place.apply(&[node]);
        let ended = host_path(label.clone());
        let expected = if name == "one" { "ok" } else { "warning" };
        assert_eq!(
            (ended.code, ended.check("volumes")["status"].as_str()),
            (0, Some(expected)),
            "{}",
            ended.stderr
        );
    }
}

/// P13
#[test]
fn settings_that_are_missing_or_wrong_are_told_once() {
    let place = Place::new("settings");
    let others = |ended: &Ended| {
        let skipped = ended.statuses().into_iter().filter(|(_, status)| *status == "skipped");
        skipped.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    place.set(&json!({"image": "pressrun:latest"}));
    let ended = place.preflight(&[]);
    ended.assert_failed(1, "settings", "image: 'pressrun:latest' is not pinned", "docs/tasks.md");
    assert_eq!(others(&ended), ["account", "secrets", "volumes", "policy"]);
    let only = place.preflight(&["--only", "account"]);
    only.assert_failed(1, "account", "is not pinned", "docs/tasks.md");

    let file = place.folder.path().join("settings.yaml");
    std::fs::write(
        &file,
        format!(
            "image: a/b:1\nworkspace: {{storageClass: {0}}}\nsharedWorkspace: {{storageClass: {0}}}",
            place.namespace
        ),
    )
    .unwrap();
    let given = place.preflight(&["--config", file.to_str().unwrap()]);
    assert_eq!(given.code, 0, "{}", given.stderr);
    assert!(given.check("settings")["detail"].as_str().unwrap().contains("the repository that a task names"));

    place.kubectl(&["delete", "configmap", "spawn-job"]);
    let ended = place.preflight(&[]);
    ended.assert_failed(1, "settings", "ConfigMap spawn-job in settings-", "docs/tasks.md");
    let nowhere = preflight(place.cluster.kubeconfig(), &["-n", "no-such-namespace"]);
    nowhere.assert_failed(
        1,
        "namespace",
        "there is no namespace no-such-namespace",
        "kubectl create namespace",
    );
    assert_eq!(others(&nowhere), ["settings", "account", "secrets", "volumes", "policy"]);
}

/// P13, K15: what spawn-job's help names is enough for a run, and what may not be read is no failure.
#[test]
fn with_the_rights_of_the_help_alone_nothing_fails_and_what_is_hidden_is_unknown() {
    let place = Place::new("rights");
    let ended = place.preflight_as(&place.account("spawner", &SPAWN_JOB, &[]), &[]);
    assert_eq!((ended.code, &ended.report["ok"]), (0, &true.into()), "{}", ended.stderr);
    let statuses = [
        ("server", "ok"),
        ("definition", "ok"),
        ("namespace", "unknown"),
        ("rights", "warning"),
        ("settings", "ok"),
        ("account", "unknown"),
        ("secrets", "unknown"),
        ("volumes", "unknown"),
        ("policy", "unknown"),
    ];
    assert_eq!(ended.statuses(), statuses, "{}", ended.stderr);
    for (name, remedy) in [
        ("namespace", "get namespaces"),
        ("account", "get serviceaccounts in rights-"),
        ("secrets", "get secrets and configmaps in rights-"),
        ("volumes", "list storageclasses"),
        ("policy", "list networkpolicies in rights-"),
    ] {
        let check = ended.check(name);
        assert!(check["detail"].as_str().unwrap().starts_with("unknown: "), "{check}");
        assert!(check["remedy"].as_str().unwrap().contains(remedy), "{check}");
    }
    let lacks = ended.check("rights")["detail"].as_str().unwrap();
    assert!(
        lacks.contains("reap-pvcs: may not list agenttasks, list cronjobs, list persistentvolumeclaims"),
        "{lacks}"
    );
    assert!(!lacks.contains("spawn-job"), "{lacks}");
    assert!(ended.stderr.contains("? secrets"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("4 of 9 checks, with 1 warning\n"), "{}", ended.stderr);

    let both = [&SPAWN_JOB[..], &REAP_PVCS].concat();
    let volumes = [["", "persistentvolumes", "list patch delete"]];
    let ended = place.preflight_as(&place.account("both", &both, &volumes), &["--only", "rights"]);
    assert_eq!(ended.statuses(), [("rights", "ok")], "{}", ended.stderr);
}

/// P13: each right that a run takes is asked for by itself, and that for volumes in mode hostPath alone.
#[test]
fn a_right_that_a_run_takes_and_that_is_missing_is_not_allowed() {
    let place = Place::new("lacks");
    let without = |name: &str, resource: &str, verbs: &str| {
        let mut rights = SPAWN_JOB;
        let right = rights.iter_mut().find(|right| right[1] == resource).unwrap();
        right[2] = Box::leak(verbs.to_owned().into_boxed_str());
        place.preflight_as(&place.account(name, &rights, &[]), &["--only", "rights"])
    };
    for (name, resource, verbs, lacks) in [
        ("claims", "persistentvolumeclaims", "get patch", "spawn-job: may not create persistentvolumeclaims"),
        ("jobs", "jobs", "get patch list watch", "spawn-job: may not create jobs"),
        ("settings", "configmaps", "list", "spawn-job: may not get configmaps spawn-job"),
    ] {
        without(name, resource, verbs).assert_failed(
            4,
            "rights",
            lacks,
            "grant it by a Role and a RoleBinding in lacks-",
        );
    }
    for (name, resource, verbs, lacks) in [
        ("cron", "cronjobs", "create", "spawn-job for scheduled tasks: may not patch cronjobs"),
        ("logs", "pods/log", "list", "spawn-job with --follow also: may not get pods/log"),
    ] {
        let ended = without(name, resource, verbs);
        assert_eq!((ended.code, ended.statuses()), (0, vec![("rights", "warning")]), "{}", ended.stderr);
        assert!(ended.stderr.contains(lacks), "{lacks}: {}", ended.stderr);
    }
    let nobody = place.preflight_as(&place.account("nobody", &[], &[]), &[]);
    assert_eq!(nobody.code, 4, "{}", nobody.stderr);
    assert_eq!(nobody.check("settings")["status"], "failed");
    assert_eq!(nobody.check("rights")["status"], "failed");

    place.set(&json!({"workspace": {"mode": "hostPath"}}));
    let spawner = place.account("spawner", &SPAWN_JOB, &[]);
    let ended = place.preflight_as(&spawner, &["--only", "rights"]);
    ended.assert_failed(
        4,
        "rights",
        "spawn-job for mode hostPath: may not create persistentvolumes",
        "ClusterRole",
    );
}

/// P13
#[test]
fn a_cluster_that_does_not_answer_or_know_the_caller_is_told_once() {
    let place = Place::new("server");
    let config = |name: &str, change: &dyn Fn(String) -> String| {
        let path = place.folder.path().join(name);
        let config = std::fs::read_to_string(place.account(&format!("as-{name}"), &[], &[])).unwrap();
        std::fs::write(&path, change(config)).unwrap();
        path
    };
    let told_once = |ended: &Ended| {
        assert!(ended.statuses()[1..].iter().all(|(_, status)| *status == "skipped"), "{}", ended.stderr);
    };
    // Nobody listens there.
    let nobody = config("nobody", &|config| config.replace(place.cluster.server(), "https://127.0.0.1:9"));
    let ended = preflight(&nobody, &[]);
    ended.assert_failed(3, "server", "the API server cannot be reached", "kubectl version");
    told_once(&ended);
    let token = config("token", &|config| config.replace("\"token\":\"", "\"token\":\"x"));
    let ended = preflight(&token, &[]);
    ended.assert_failed(4, "server", "Unauthorized (401)", "is not valid");
    told_once(&ended);
    // Accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let silent = config("silent", &|config| config.replace(place.cluster.server(), &address));
    let ended = preflight(&silent, &["--timeout", "1s"]);
    ended.assert_failed(3, "server", "does not answer in time", "--timeout");
    told_once(&ended);
}

/// P13: what is of the whole cluster, on one that has nothing yet, mended by what the remedies say.
#[test]
fn a_bare_cluster_has_no_definition_and_no_default_storage_class() {
    let cluster = Cluster::control_plane().unwrap();
    let namespace = cluster.namespace("bare").unwrap();
    let settings = "--from-literal=settings.yaml=image: a/b:1";
    cluster.kubectl(&["create", "configmap", "spawn-job", settings, "--namespace", &namespace]).unwrap();
    let look = || preflight(cluster.kubeconfig(), &["-n", &namespace, "--only", "definition,volumes"]);
    let bare = look();
    assert_eq!(bare.statuses(), [("definition", "failed"), ("volumes", "failed")], "{}", bare.stderr);
    let remedy = bare.check("definition")["remedy"].as_str().unwrap();
    assert!(remedy.ends_with("agent-task crd | kubectl apply --server-side -f -"), "{remedy}");
    let remedy = bare.check("volumes")["remedy"].as_str().unwrap();
    assert!(remedy.ends_with("the cluster has none at all: install a provisioner"), "{remedy}");

    // Another version of it, which is none that the pieces speak.
    let definition = agent_task_crd::run::definition().unwrap();
    cluster.apply(&definition.replace("v1alpha1", "v1beta1")).unwrap();
    let name = "crd/agenttasks.agents.kyle.pericak.com";
    cluster.kubectl(&["wait", "--timeout=60s", "--for=condition=Established", name]).unwrap();
    assert_eq!(look().check("definition")["status"], "failed");
    cluster.kubectl(&["delete", name]).unwrap();

    define(&cluster);
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "pressrun.test/none",
        "metadata": {"name": "usual", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    });
    cluster.apply(&class.to_string()).unwrap();
    let ended = look();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.check("volumes")["detail"], "storage class usual, the default");
}

/// P13
#[test]
fn wrong_usage_of_a_cluster_is_told_before_anything_is_asked() {
    let kubeconfig = Path::new("/nonexistent");
    for (arguments, part) in [
        (&[][..], "no cluster is configured"),
        (&["--post"], "cannot be used with"),
        (&["--model", "x"], "cannot be used with"),
        (&["--only", "discord"], "'discord' is not among what is checked"),
    ] {
        let ended = preflight(kubeconfig, arguments);
        assert_eq!((ended.code, &ended.report), (2, &Value::Null), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}
