use agent_task::labels;
use agent_task_crd::{AgentTask, AgentTaskSpec};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, PodSpec, Volume};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use spawn_job::plan::{self, Object, Plan};
use spawn_job::settings::Settings;
use std::collections::BTreeMap;

const PROMPT: &str = "Say \"it's\" $(HOME) $$(X) $é `id`; \\ \n--\tüñ😀 $(";

fn settings(more: &str) -> Settings {
    Settings::read(&format!("image: registry.example.org/pressrun:1.4.2\nrepository: octo/blog\n{more}"))
        .unwrap()
}

fn task(changes: Value) -> AgentTask {
    let mut spec = json!({"agent": "publisher", "prompt": PROMPT});
    for (name, value) in changes.as_object().unwrap() {
        spec[name] = value.clone();
    }
    let mut task = AgentTask::new("manual", serde_json::from_value::<AgentTaskSpec>(spec).unwrap());
    task.metadata.uid = Some("6d1c0c4e-0000-4000-8000-000000000001".to_owned());
    task
}

fn planned(changes: Value, more: &str) -> Plan {
    plan::plan(&task(changes), &settings(more), "ai-agents", "manual").unwrap()
}

fn job(plan: &Plan) -> &Job {
    plan.objects
        .iter()
        .find_map(|object| if let Object::Job(job) = object { Some(job.as_ref()) } else { None })
        .unwrap()
}

fn job_spec(plan: &Plan) -> &JobSpec {
    job(plan).spec.as_ref().unwrap()
}

fn pod(plan: &Plan) -> &PodSpec {
    job_spec(plan).template.spec.as_ref().unwrap()
}

fn claims(plan: &Plan) -> Vec<&PersistentVolumeClaim> {
    let claims = plan.objects.iter().filter_map(|object| match object {
        Object::Claim(claim) => Some(claim.as_ref()),
        _ => None,
    });
    claims.collect()
}

fn containers(pod: &PodSpec) -> Vec<&Container> {
    pod.init_containers.iter().flatten().chain(&pod.containers).collect()
}

fn container<'a>(pod: &'a PodSpec, name: &str) -> &'a Container {
    containers(pod).into_iter().find(|container| container.name == name).unwrap()
}

fn names(pod: &PodSpec) -> Vec<&str> {
    containers(pod).into_iter().map(|container| container.name.as_str()).collect()
}

/// What Kubernetes makes of a text with variables, by its documentation.
fn expanded(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            out.push_str(variables.get(name).map_or(&format!("$({name})"), |value| value));
            rest = after;
        } else {
            // A dollar that begins nothing: the real thing may break the character behind it.
            panic!("a single dollar before '{rest}'");
        }
    }
    out + rest
}

/// The container's variables and arguments as its process gets them.
fn arrived(container: &Container) -> (BTreeMap<String, String>, Vec<String>) {
    let mut variables = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        if let Some(value) = &variable.value {
            let value = expanded(value, &variables);
            variables.insert(variable.name.clone(), value);
        }
    }
    let arguments = container.args.iter().flatten().map(|text| expanded(text, &variables)).collect();
    (variables, arguments)
}

fn secrets(container: &Container) -> Vec<&str> {
    let of = |variable: &'_ k8s_openapi::api::core::v1::EnvVar| {
        variable.value_from.as_ref().is_some_and(|from| from.secret_key_ref.is_some())
    };
    let env =
        container.env.iter().flatten().filter(|variable| of(variable)).map(|variable| variable.name.as_str());
    let mounted = container.volume_mounts.iter().flatten().filter(|mount| mount.name == "github-app");
    env.chain(mounted.map(|mount| mount.mount_path.as_str())).collect()
}

fn volume<'a>(pod: &'a PodSpec, name: &str) -> &'a Volume {
    pod.volumes.iter().flatten().find(|volume| volume.name == name).unwrap()
}

/// K3
#[test]
fn a_task_becomes_a_job_that_ends_in_time_and_stays_an_hour() {
    let plan = planned(json!({}), "");
    let spec = job_spec(&plan);
    assert_eq!(spec.backoff_limit, Some(0));
    assert_eq!(spec.ttl_seconds_after_finished, Some(3600));
    assert_eq!(spec.active_deadline_seconds, None, "that one would delete the pod, its logs and its message");
    let pod = pod(&plan);
    assert_eq!(pod.active_deadline_seconds, Some(1800));
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
    assert_eq!(names(pod), ["checkout", "agent", "publish"]);
    for container in containers(pod) {
        assert_eq!(container.image.as_deref(), Some("registry.example.org/pressrun:1.4.2"));
        assert_eq!(container.command.as_ref().unwrap()[0], "tini", "zombies are reaped");
        let resources = container.resources.as_ref().unwrap();
        let limited = resources.limits.as_ref().unwrap();
        assert!(limited.contains_key("memory") && limited.contains_key("ephemeral-storage"));
    }
    let shm = volume(pod, "dshm").empty_dir.as_ref().unwrap();
    assert_eq!((shm.medium.as_deref(), shm.size_limit.as_ref().unwrap().0.as_str()), (Some("Memory"), "1Gi"));
    let mounts =
        |name| container(pod, name).volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str());
    assert!(mounts("agent").any(|path| path == "/dev/shm"));
    assert!(mounts("agent").any(|path| path == "/workspace"));
    let longer = planned(json!({"timeoutSeconds": 7200}), "");
    assert_eq!(self::pod(&longer).active_deadline_seconds, Some(7200));
    assert!(
        arrived(container(self::pod(&longer), "agent"))
            .1
            .windows(2)
            .any(|pair| pair == ["--timeout", "6900s"])
    );
}

/// K3, P4
#[test]
fn what_a_person_wrote_arrives_as_it_is() {
    let changes = json!({
        "base": "release/1.x", "branch": "a+b#c", "model": "m[1m]", "maxTurns": 7, "maxBudgetUsd": 2.5,
        "allowedTools": ["Read", "Bash(echo $(id), $HOME)"], "mcpServers": {"docs": {"type": "http", "url": "https://x/$(y)"}},
    });
    let plan = planned(changes, "environment: {HTTPS_PROXY: 'http://proxy/$(X)'}");
    let (variables, arguments) = arrived(container(pod(&plan), "agent"));
    assert_eq!(variables["PROMPT"], PROMPT);
    assert_eq!(variables["HTTPS_PROXY"], "http://proxy/$(X)");
    let expected = [
        "--stage",
        "agent",
        "--run-dir",
        "/workspace/run",
        "--agent",
        "publisher",
        "--base",
        "release/1.x",
        "--timeout",
        "1500s",
        "--model",
        "m[1m]",
        "--max-turns",
        "7",
        "--max-budget-usd",
        "2.5",
        "--allowed-tools",
        "Read,Bash(echo $(id), $HOME)",
        "--mcp-overlay",
        "/etc/pressrun/mcp/overlay.json",
        "--",
        PROMPT,
    ];
    assert_eq!(arguments, expected);
    let (variables, arguments) = arrived(container(pod(&plan), "checkout"));
    assert_eq!(arguments, ["--branch", "a+b#c", "--base", "release/1.x", "/workspace/repo"]);
    assert_eq!(variables["GITHUB_REPOSITORY"], "octo/blog");
    // A file with what the annotation says.
    let annotations = job_spec(&plan).template.metadata.as_ref().unwrap().annotations.as_ref().unwrap();
    let overlay: Value = serde_json::from_str(&annotations["agents.kyle.pericak.com/mcp-overlay"]).unwrap();
    assert_eq!(overlay["mcpServers"]["docs"]["url"], "https://x/$(y)");
    // No shell anywhere.
    for container in containers(pod(&plan)) {
        let command = container.command.as_ref().unwrap();
        assert!(command.iter().all(|word| !word.contains("sh") || word.ends_with(".sh")), "{command:?}");
    }
}

/// K6, K7
#[test]
fn each_container_has_its_own_credentials_alone() {
    let plan = planned(json!({}), "");
    let pod = pod(&plan);
    let app = ["GITHUB_APP_ID", "GITHUB_APP_INSTALLATION_ID", "/etc/pressrun/github"];
    assert_eq!(secrets(container(pod, "agent")), ["CLAUDE_CODE_OAUTH_TOKEN"]);
    assert_eq!(secrets(container(pod, "checkout")), app);
    let discord = ["DISCORD_WEBHOOK_URL", "DISCORD_BOT_TOKEN", "DISCORD_CHANNEL_ID"];
    // The agent's too, which what is pushed must not have.
    let logins = ["CLAUDE_CODE_OAUTH_TOKEN", "OPENCODE_API_KEY"];
    assert_eq!(secrets(container(pod, "publish")), [&app[..2], &logins, &discord, &app[2..]].concat());
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.service_account_name.as_deref(), Some("agent-run"));
    for container in containers(pod) {
        assert!(container.env_from.is_none());
    }
    // A token that can only read, where that is asked for.
    let plan = planned(json!({"githubRead": true}), "");
    let agent = container(self::pod(&plan), "agent");
    assert_eq!(secrets(agent), ["CLAUDE_CODE_OAUTH_TOKEN"]);
    let token = agent.volume_mounts.iter().flatten().find(|mount| mount.name == "read-token").unwrap();
    assert_eq!(token.read_only, Some(true));
    let opencode = planned(json!({"runtime": "opencode"}), "");
    assert_eq!(secrets(container(self::pod(&opencode), "agent")), ["OPENCODE_API_KEY"]);
    let quiet = planned(json!({}), "notify: false");
    let publish = container(self::pod(&quiet), "publish");
    assert_eq!(secrets(publish), [&app[..2], &logins, &app[2..]].concat());
    assert!(arrived(publish).1.contains(&"--no-notify".to_owned()));
}

/// K7
#[test]
fn every_container_is_locked_down() {
    for (changes, more) in
        [(json!({}), ""), (json!({"readOnly": true}), ""), (json!({}), "workspace: {mode: ephemeral}")]
    {
        let plan = planned(changes, more);
        let pod = pod(&plan);
        let of_pod = pod.security_context.as_ref().unwrap();
        assert_eq!(
            (of_pod.run_as_non_root, of_pod.run_as_user, of_pod.fs_group),
            (Some(true), Some(1001), Some(1001))
        );
        assert_eq!(of_pod.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
        for container in containers(pod) {
            let context = container.security_context.as_ref().unwrap();
            assert_eq!(context.allow_privilege_escalation, Some(false));
            assert_eq!(context.read_only_root_filesystem, Some(true));
            let capabilities = context.capabilities.as_ref().unwrap();
            assert_eq!(
                (capabilities.drop.as_ref().unwrap().as_slice(), &capabilities.add),
                (&["ALL".to_owned()][..], &None)
            );
            assert_eq!((context.run_as_user, context.run_as_non_root), (None, None));
        }
        assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None));
        assert!(pod.volumes.iter().flatten().all(|volume| volume.host_path.is_none()));
    }
}

/// K8
#[test]
fn the_pod_has_the_labels_not_only_the_job() {
    let plan = planned(json!({"labels": {"kueue.x-k8s.io/queue-name": "agents"}}), "labels: {team: web}");
    let template = job_spec(&plan).template.metadata.as_ref().unwrap();
    let run = plan.run.clone().unwrap();
    for labels in [job(&plan).labels(), template.labels.as_ref().unwrap()] {
        assert_eq!(labels[labels::AGENT], "publisher");
        assert_eq!(labels[labels::RUN], run);
        assert_eq!(labels[labels::ROLE], "run");
        assert_eq!(labels["kueue.x-k8s.io/queue-name"], "agents");
        assert_eq!(labels["team"], "web");
    }
    let annotations = template.annotations.as_ref().unwrap();
    assert_eq!(annotations["kubectl.kubernetes.io/default-container"], "agent");
    assert_eq!(annotations[labels::TASK], "manual");
}

/// K4
#[test]
fn a_run_that_writes_has_a_volume_of_its_own() {
    let plan = planned(json!({"workspace": {"size": "20Gi", "storageClass": "fast"}}), "");
    let run = plan.run.clone().unwrap();
    let [claim] = claims(&plan)[..] else { panic!("one claim") };
    assert_eq!(claim.name_any(), format!("agent-ws-{run}"));
    assert_eq!(claim.labels()[labels::RUN], run);
    let spec = claim.spec.as_ref().unwrap();
    assert_eq!(spec.storage_class_name.as_deref(), Some("fast"));
    assert_eq!(spec.resources.as_ref().unwrap().requests.as_ref().unwrap()["storage"].0, "20Gi");
    assert!(claim.owner_references().is_empty(), "it is evidence, and outlives the task");
    let used = volume(pod(&plan), "workspace").persistent_volume_claim.as_ref().unwrap();
    assert_eq!(used.claim_name, claim.name_any());
    assert_eq!(job(&plan).owner_references()[0].uid, "6d1c0c4e-0000-4000-8000-000000000001");
}

/// K4
#[test]
fn runs_that_only_read_share_a_volume_and_cannot_publish() {
    let plan = planned(json!({"readOnly": true}), "");
    let [claim] = claims(&plan)[..] else { panic!("one claim") };
    assert_eq!(claim.name_any(), "agent-workspace");
    assert!(!claim.labels().contains_key(labels::RUN), "it belongs to no run");
    let pod = pod(&plan);
    assert_eq!(names(pod), ["checkout", "agent"]);
    assert!(volume(pod, "workspace").empty_dir.is_some());
    let agent = container(pod, "agent");
    let mirror = agent.volume_mounts.iter().flatten().find(|mount| mount.name == "mirror").unwrap();
    assert_eq!(mirror.read_only, Some(true));
    assert_eq!(secrets(agent), ["CLAUDE_CODE_OAUTH_TOKEN"]);
    assert!(arrived(container(pod, "checkout")).1.windows(2).any(|pair| pair == ["--mirror", "/mirror"]));
    assert_eq!(plan.claim, None);
}

/// K4, K7
#[test]
fn in_mode_host_path_the_pair_is_bound_to_each_other() {
    let plan = planned(json!({"workspace": {"mode": "hostPath"}}), "workspace: {hostPathRoot: /data/runs/}");
    let run = plan.run.clone().unwrap();
    let Object::Volume(volume) = &plan.objects[0] else { panic!("the volume is made first") };
    let name = format!("agent-ws-{run}");
    assert_eq!((volume.name_any(), volume.namespace()), (name.clone(), None));
    let spec = volume.spec.as_ref().unwrap();
    let folder = spec.host_path.as_ref().unwrap();
    assert_eq!(
        (folder.path.clone(), folder.type_.as_deref()),
        (format!("/data/runs/{name}"), Some("DirectoryOrCreate"))
    );
    let bound = spec.claim_ref.as_ref().unwrap();
    assert_eq!((bound.namespace.as_deref(), bound.name.as_deref()), (Some("ai-agents"), Some(name.as_str())));
    let claim = claims(&plan)[0].spec.as_ref().unwrap();
    assert_eq!(
        (claim.volume_name.as_deref(), claim.storage_class_name.as_deref()),
        (Some(name.as_str()), Some(""))
    );
    // The folder is root's: one container gives it away, with the one capability for that.
    let prepare = container(pod(&plan), "prepare");
    let context = prepare.security_context.as_ref().unwrap();
    assert_eq!((context.run_as_user, context.allow_privilege_escalation), (Some(0), Some(false)));
    assert_eq!(context.capabilities.as_ref().unwrap().add.as_ref().unwrap(), &["CHOWN"]);
    assert!(secrets(prepare).is_empty());
    assert_eq!(names(pod(&plan))[0], "prepare");
}

/// K4, K5: the reaper of another node leaves it alone.
#[test]
fn in_mode_host_path_the_volume_says_which_node_has_the_folder() {
    let changes = || json!({"workspace": {"mode": "hostPath"}});
    let affinity = |more: &str| {
        let plan = planned(changes(), more);
        let Object::Volume(volume) = &plan.objects[0] else { panic!("the volume is made first") };
        serde_json::to_value(volume.spec.as_ref().unwrap().node_affinity.clone()).unwrap()
    };
    assert_eq!(affinity(""), json!(null));
    let expression = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["one"]});
    let terms = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}});
    assert_eq!(affinity("nodeSelector: {kubernetes.io/hostname: one}"), terms);
}

/// K10
#[test]
fn a_schedule_becomes_a_cron_job_with_the_same_pod() {
    let changes = json!({"trigger": "scheduled", "schedule": "0 8 * * *", "timeZone": "America/Toronto"});
    let plan = planned(changes, "");
    let [Object::CronJob(cron)] = &plan.objects[..] else { panic!("a CronJob, and nothing else") };
    let CronJob { spec: Some(spec), .. } = cron.as_ref() else { panic!("no spec") };
    assert!(cron.name_any().len() <= 52);
    assert_eq!((spec.schedule.as_str(), spec.time_zone.as_deref()), ("0 8 * * *", Some("America/Toronto")));
    assert_eq!(spec.concurrency_policy.as_deref(), Some("Forbid"));
    assert_eq!(spec.starting_deadline_seconds, Some(86_400));
    assert_eq!(spec.suspend, Some(false));
    let job = spec.job_template.spec.as_ref().unwrap();
    let template = job.template.metadata.as_ref().unwrap();
    assert_eq!(template.labels.as_ref().unwrap()[labels::AGENT], "publisher");
    let pod = job.template.spec.as_ref().unwrap();
    assert_eq!(names(pod), ["checkout", "agent", "publish"]);
    // Each run has a claim that comes with its pod, and is named after its Job.
    assert!(volume(pod, "workspace").ephemeral.is_some());
    let run = container(pod, "agent")
        .env
        .iter()
        .flatten()
        .find(|variable| variable.name == "PRESSRUN_RUN")
        .unwrap();
    let field = run.value_from.as_ref().unwrap().field_ref.as_ref().unwrap();
    assert_eq!(field.field_path, "metadata.labels['batch.kubernetes.io/job-name']");
    assert_eq!(job.ttl_seconds_after_finished, Some(3 * 86_400), "a failed run's volume stays as long");

    let refused = json!({"trigger": "scheduled", "schedule": "0 8 * * *", "workspace": {"mode": "hostPath"}});
    let error = plan::plan(&task(refused), &settings(""), "ai-agents", "scheduled").unwrap_err();
    assert!(error.0.starts_with("spec.workspace.mode:"), "{error:?}");
}

/// K5, K10: a scheduled run's volume goes with its Job.
#[test]
fn the_jobs_of_a_schedule_stay_as_its_volumes_shall() {
    let kept = |more: Value, preserve: Option<&str>| {
        let mut changes = json!({"trigger": "scheduled", "schedule": "0 8 * * *"});
        for (name, value) in more.as_object().unwrap() {
            changes[name] = value.clone();
        }
        let mut task = task(changes);
        let annotation = |value: &str| (labels::PRESERVE.to_owned(), value.to_owned());
        task.metadata.annotations = preserve.map(|value| BTreeMap::from([annotation(value)]));
        let plan =
            plan::plan(&task, &settings("failedRetentionSeconds: 7200"), "ai-agents", "scheduled").unwrap();
        let Some(Object::CronJob(cron)) = plan.objects.last() else { panic!("a CronJob") };
        let spec = cron.spec.as_ref().unwrap();
        let ttl = spec.job_template.spec.as_ref().unwrap().ttl_seconds_after_finished;
        (ttl, spec.failed_jobs_history_limit, spec.successful_jobs_history_limit)
    };
    let ephemeral = json!({"workspace": {"mode": "ephemeral"}});
    assert_eq!(kept(json!({}), None), (Some(7200), Some(100), Some(1)));
    assert_eq!(kept(json!({}), Some("false")), (Some(7200), Some(100), Some(1)));
    assert_eq!(kept(json!({}), Some("true")), (None, Some(1000), Some(1000)));
    for no_volume in [json!({"readOnly": true}), ephemeral] {
        assert_eq!(kept(no_volume, Some("true")), (Some(3600), Some(100), Some(1)));
    }
}

/// K4, K5
#[test]
fn a_task_that_is_to_be_preserved_says_so_on_its_volume() {
    let mut task = task(json!({"workspace": {"mode": "hostPath"}}));
    task.metadata.annotations = Some(BTreeMap::from([(labels::PRESERVE.to_owned(), "true".to_owned())]));
    let plan = plan::plan(&task, &settings(""), "ai-agents", "manual").unwrap();
    let Object::Volume(volume) = &plan.objects[0] else { panic!("the volume is made first") };
    for annotations in [volume.annotations(), claims(&plan)[0].annotations()] {
        assert_eq!(annotations.get(labels::PRESERVE).map(String::as_str), Some("true"));
    }
    assert!(!claims(&planned(json!({}), ""))[0].annotations().contains_key(labels::PRESERVE));
}

/// K3
#[test]
fn the_pod_has_what_task_and_settings_ask_for() {
    let more = "imagePullSecrets: [registry]\nnodeSelector: {disk: fast}\ntolerations: [{key: agents, operator: Exists}]\nlabels: {team: blog}";
    let changes = json!({"runtimeClassName": "gvisor", "priority": "batch", "suspend": true, "labels": {"queue": "agents"}});
    let plan = planned(changes, more);
    let pod = pod(&plan);
    assert_eq!(pod.runtime_class_name.as_deref(), Some("gvisor"));
    assert_eq!(pod.priority_class_name.as_deref(), Some("batch"));
    assert_eq!(pod.image_pull_secrets.as_ref().unwrap()[0].name, "registry");
    assert_eq!(pod.node_selector.as_ref().unwrap()["disk"], "fast");
    assert_eq!(pod.tolerations.as_ref().unwrap()[0].key.as_deref(), Some("agents"));
    assert_eq!(job_spec(&plan).suspend, Some(true));
    let template = job_spec(&plan).template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
    for labels in [job(&plan).labels(), template] {
        assert_eq!((labels["queue"].as_str(), labels["team"].as_str()), ("agents", "blog"));
    }
    let plain = planned(json!({}), "");
    assert_eq!(job_spec(&plain).suspend, None);
    let pod = self::pod(&plain);
    assert_eq!((&pod.runtime_class_name, &pod.priority_class_name), (&None, &None));
    assert_eq!((&pod.image_pull_secrets, &pod.node_selector), (&None, &None));
}

/// K11
#[test]
fn a_run_is_named_by_task_and_trigger() {
    let named =
        |task: &AgentTask, trigger: &str| plan::plan(task, &settings(""), "ai-agents", trigger).unwrap().job;
    let one = task(json!({}));
    assert_eq!(named(&one, "manual"), named(&one.clone(), "manual"));
    assert_ne!(named(&one, "manual"), named(&one, "delivery 7"));
    // Never in the cluster: what it says makes it.
    let mut by_hand = one.clone();
    by_hand.metadata.uid = None;
    let mut other = by_hand.clone();
    other.spec.prompt.push('!');
    assert_eq!(named(&by_hand, "manual"), named(&by_hand.clone(), "manual"));
    assert_ne!(named(&by_hand, "manual"), named(&other, "manual"));
    let mut waits = by_hand.clone();
    waits.spec.suspend = true;
    assert_eq!(named(&by_hand, "manual"), named(&waits, "manual"), "it is resumed, not another");
}

/// K16
#[test]
fn what_a_killed_run_left_is_published_from_its_volume() {
    let run = planned(json!({"base": "trunk"}), "");
    let claim = claims(&run)[0];
    let reason = "out of memory: $(id) \"it's\"";
    let plan = plan::salvage(run.run.as_deref().unwrap(), claim, &settings(""), "ai-agents", reason);
    assert_eq!(plan.job, format!("save-{}", run.run.as_deref().unwrap()));
    let pod = pod(&plan);
    assert_eq!(names(pod), ["salvage", "publish"]);
    let salvage = container(pod, "salvage");
    assert!(secrets(salvage).is_empty(), "it works on the agent's files");
    let (variables, arguments) = arrived(salvage);
    assert_eq!(variables["PRESSRUN_REASON"], reason);
    assert_eq!(
        arguments,
        ["--stage", "salvage", "--run-dir", "/workspace/run", "--agent", "publisher", "--base", "trunk"]
    );
    assert_eq!(arrived(container(pod, "publish")).0["GITHUB_REPOSITORY"], "octo/blog");
    assert_eq!(
        volume(pod, "workspace").persistent_volume_claim.as_ref().unwrap().claim_name,
        claim.name_any()
    );
    let labels = job_spec(&plan).template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
    assert_eq!((labels[labels::ROLE].as_str(), labels[labels::AGENT].as_str()), ("salvage", "publisher"));
    assert!(job_spec(&plan).backoff_limit > Some(0), "publishing again does no harm");
}

/// K3
#[test]
fn a_task_without_a_repository_is_impossible() {
    let settings = Settings::read("image: a/b:1").unwrap();
    let error = plan::plan(&task(json!({})), &settings, "ai-agents", "manual").unwrap_err();
    assert!(error.0.starts_with("spec.repository:"));
}
