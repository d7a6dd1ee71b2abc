//! The pod of a run: containers in sequence that share a volume and nothing else.
//!
//! | container | does | has |
//! |---|---|---|
//! | `checkout` | clones the repository | the App's key, for a token that can only read |
//! | `agent` | runs the agent | its login |
//! | `publish` | pushes, opens the pull request, tells people | the App's key, Discord |
//!
//! The agent's processes are gone before `publish` begins. A run that only reads ends with `agent`. Nothing a person wrote is ever
//! part of a shell's text: it goes into arguments, with what Kubernetes would replace [escaped](literal).

use crate::literal::literal;
use crate::settings::{Secrets, Settings};
use agent_task_crd::resources::{Amount, Resources};
use agent_task_crd::{AgentTaskSpec, Runtime};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource,
    EmptyDirVolumeSource, EnvVar, EnvVarSource, KeyToPath, LocalObjectReference, ObjectFieldSelector,
    PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile, SecretKeySelector, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// User and group of the image's `pwuser`.
const USER: i64 = 1001;

/// What a stage gets between TERM and KILL: the agent ends, and its work is committed.
const GRACE_SECONDS: i64 = 60;

/// The annotation of the pod with the overlay of MCP servers; it is mounted as a file.
pub(crate) const OVERLAY: &str = "agents.kyle.pericak.com/mcp-overlay";

const WORKSPACE: &str = "/workspace";
const REPOSITORY: &str = "/workspace/repo";
const RUN_FOLDER: &str = "/workspace/run";
const MIRROR: &str = "/mirror";
const KEY_FOLDER: &str = "/etc/pressrun/github";
const CA_FOLDER: &str = "/etc/pressrun/ca";
const OVERLAY_FOLDER: &str = "/etc/pressrun/mcp";
const READ_TOKEN_FOLDER: &str = "/run/pressrun";

/// Where a run's id comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RunId<'a> {
    /// It is known.
    Known(&'a str),
    /// It is the Job's name, which a CronJob makes.
    JobName,
}

/// What the containers of a run have in common.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) run: RunId<'a>,
    pub(crate) agent: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) base: &'a str,
    /// The volume of the run.
    pub(crate) workspace: Volume,
    /// The volume that runs share which only read, for one of those.
    pub(crate) mirror: Option<Volume>,
    /// The volumes come from folders of the node, which are root's.
    pub(crate) owned_by_root: bool,
}

/// The volume named `workspace` or `mirror`.
pub(crate) fn volume(name: &str, source: Volume) -> Volume {
    Volume { name: name.to_owned(), ..source }
}

/// The pod of a run.
pub(crate) fn of_run(around: &Surroundings<'_>, spec: &AgentTaskSpec, branch: &str, timeout: u32) -> PodSpec {
    let mut volumes = vec![
        temporary("checkout-tmp"),
        temporary("agent-tmp"),
        temporary("agent-home"),
        in_memory("dshm", &around.settings.shm_size),
    ];
    let mut steps = Vec::new();
    if around.owned_by_root {
        steps.push(prepare(around));
    }
    steps.push(checkout(around, spec, branch));
    let agent = agent(around, spec, timeout);
    if spec.mcp_servers.is_some() {
        volumes.push(overlay_volume());
    }
    if spec.github_read {
        volumes.push(in_memory("read-token", &"1Mi".into()));
    }
    let main = if spec.read_only {
        agent
    } else {
        volumes.push(temporary("publish-tmp"));
        steps.push(agent);
        publish(around)
    };
    PodSpec {
        runtime_class_name: spec.runtime_class_name.clone(),
        priority_class_name: spec.priority.clone(),
        ..pod(around, steps, main, volumes, timeout)
    }
}

/// The pod that commits and publishes what a killed run left. What touches the work tree has no credential.
pub(crate) fn of_salvage(around: &Surroundings<'_>, task: &str, reason: &str, timeout: u32) -> PodSpec {
    let mut args =
        strings(&["--stage", "salvage", "--run-dir", RUN_FOLDER, "--agent", around.agent, "--base"]);
    args.push(literal(around.base));
    let mut env = own_environment(around, "/tmp");
    env.push(variable("PRESSRUN_TASK", task));
    env.push(variable("PRESSRUN_REASON", reason));
    let salvage = Container {
        name: "salvage".to_owned(),
        args: Some(args),
        env: Some(env),
        volume_mounts: Some(mounts(around, [mount("workspace", WORKSPACE), mount("salvage-tmp", "/tmp")])),
        working_dir: Some(REPOSITORY.to_owned()),
        ..step(around, "run-publisher.sh", &around.settings.resources.steps)
    };
    let volumes = vec![temporary("salvage-tmp"), temporary("publish-tmp")];
    pod(around, vec![salvage], publish(around), volumes, timeout)
}

fn pod(
    around: &Surroundings<'_>,
    steps: Vec<Container>,
    main: Container,
    mut volumes: Vec<Volume>,
    timeout: u32,
) -> PodSpec {
    let settings = around.settings;
    volumes.push(around.workspace.clone());
    volumes.extend(around.mirror.clone());
    volumes.push(Volume {
        name: "github-app".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(settings.secrets.github.clone()),
            items: Some(vec![KeyToPath {
                key: "GITHUB_APP_PRIVATE_KEY".to_owned(),
                path: "app.pem".to_owned(),
                mode: None,
            }]),
            default_mode: Some(0o440),
            optional: None,
        }),
        ..Volume::default()
    });
    if let Some(authority) = &settings.certificate_authority {
        volumes.push(Volume {
            name: "ca".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: authority.config_map.clone(),
                items: Some(vec![KeyToPath {
                    key: authority.key.clone(),
                    path: "ca.crt".to_owned(),
                    mode: None,
                }]),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    PodSpec {
        init_containers: Some(steps),
        containers: vec![main],
        volumes: Some(volumes),
        restart_policy: Some("Never".to_owned()),
        active_deadline_seconds: Some(timeout.into()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        service_account_name: Some(settings.service_account.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        image_pull_secrets: some(
            settings
                .image_pull_secrets
                .iter()
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect(),
        ),
        node_selector: Some(settings.node_selector.clone()).filter(|labels| !labels.is_empty()),
        tolerations: some(settings.tolerations.clone()),
        ..PodSpec::default()
    }
}

/// A folder of the node belongs to root, and fsGroup does not reach it.
fn prepare(around: &Surroundings<'_>) -> Container {
    let mut args = vec![format!("{USER}:{USER}"), WORKSPACE.to_owned()];
    let mut mounted = vec![mount("workspace", WORKSPACE)];
    if around.mirror.is_some() {
        args.push(MIRROR.to_owned());
        mounted.push(mount("mirror", MIRROR));
    }
    Container {
        name: "prepare".to_owned(),
        command: Some(strings(&["chown"])),
        args: Some(args),
        env: None,
        volume_mounts: Some(mounted),
        security_context: Some(SecurityContext {
            run_as_non_root: Some(false),
            run_as_user: Some(0),
            capabilities: Some(Capabilities {
                drop: Some(strings(&["ALL"])),
                add: Some(strings(&["CHOWN"])),
            }),
            ..locked_down()
        }),
        ..step(around, "chown", &around.settings.resources.steps)
    }
}

fn checkout(around: &Surroundings<'_>, spec: &AgentTaskSpec, branch: &str) -> Container {
    let mut args = vec!["--branch".to_owned(), literal(branch), "--base".to_owned(), literal(around.base)];
    let mut mounted = vec![mount("workspace", WORKSPACE), mount("checkout-tmp", "/tmp"), key_mount()];
    if around.mirror.is_some() {
        args.extend(strings(&["--mirror", MIRROR]));
        mounted.push(mount("mirror", MIRROR));
    }
    if spec.github_read {
        args.extend(strings(&["--read-token", "/run/pressrun/github-token"]));
        mounted.push(mount("read-token", READ_TOKEN_FOLDER));
    }
    args.push(REPOSITORY.to_owned());
    let mut env = own_environment(around, "/tmp");
    env.extend(app_environment(around));
    Container {
        name: "checkout".to_owned(),
        args: Some(args),
        env: Some(env),
        volume_mounts: Some(mounts(around, mounted)),
        working_dir: Some(WORKSPACE.to_owned()),
        ..step(around, "checkout.sh", &around.settings.resources.steps)
    }
}

fn agent(around: &Surroundings<'_>, spec: &AgentTaskSpec, timeout: u32) -> Container {
    let mut args = strings(&["--stage", "agent", "--run-dir", RUN_FOLDER, "--agent", around.agent]);
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), literal(&value)]);
    option("--base", around.base.to_owned());
    option("--timeout", format!("{}s", agent_timeout(timeout)));
    if spec.runtime != Runtime::Claude {
        option("--runtime", spec.runtime.as_str().to_owned());
    }
    if let Some(model) = &spec.model {
        option("--model", model.clone());
    }
    if let Some(turns) = spec.max_turns {
        option("--max-turns", turns.to_string());
    }
    if let Some(usd) = spec.max_budget_usd {
        option("--max-budget-usd", usd.to_string());
    }
    if let Some(tools) = spec.allowed_tools.as_ref().filter(|tools| !tools.patterns().is_empty()) {
        option("--allowed-tools", tools.argument());
    }
    let mut mounted = vec![
        mount("workspace", WORKSPACE),
        mount("agent-tmp", "/tmp"),
        mount("agent-home", "/home/agent"),
        mount("dshm", "/dev/shm"),
    ];
    if spec.mcp_servers.is_some() {
        option("--mcp-overlay", format!("{OVERLAY_FOLDER}/overlay.json"));
        mounted.push(VolumeMount { read_only: Some(true), ..mount("mcp-overlay", OVERLAY_FOLDER) });
    }
    // The only place where Kubernetes shall replace something.
    args.extend(strings(&["--", "$(PROMPT)"]));

    let mut env = own_environment(around, "/home/agent");
    env.push(variable("PROMPT", &spec.prompt));
    // The container forbids what the browser's own sandbox is made of, and is one itself.
    env.push(variable("PRESSRUN_BROWSER_SANDBOX", "off"));
    env.push(secret(&around.settings.secrets.agent, login(spec.runtime), false));
    if !spec.read_only {
        // Another step follows, which the kubelet would not start.
        env.push(variable("PRESSRUN_OUT_OF_MEMORY", "fail"));
    }
    if around.mirror.is_some() {
        mounted.push(VolumeMount { read_only: Some(true), ..mount("mirror", MIRROR) });
    }
    if spec.github_read {
        env.push(variable("PRESSRUN_READ_TOKEN_FILE", "/run/pressrun/github-token"));
        mounted.push(VolumeMount { read_only: Some(true), ..mount("read-token", READ_TOKEN_FOLDER) });
    }
    Container {
        name: "agent".to_owned(),
        args: Some(args),
        env: Some(env),
        resources: Some(requirements(&around.settings.resources.agent, spec.resources.as_ref())),
        volume_mounts: Some(mounts(around, mounted)),
        working_dir: Some(REPOSITORY.to_owned()),
        ..step(around, "run-publisher.sh", &around.settings.resources.agent)
    }
}

/// The agent's one credential.
const fn login(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Claude => "CLAUDE_CODE_OAUTH_TOKEN",
        Runtime::Opencode => "OPENCODE_API_KEY",
    }
}

/// The agent's own limit: what follows it needs a part of the pod's time.
fn agent_timeout(pod: u32) -> u32 {
    pod - (pod / 5).min(300)
}

fn publish(around: &Surroundings<'_>) -> Container {
    let Secrets { discord, agent, .. } = &around.settings.secrets;
    let mut args = strings(&["--stage", "publish", "--run-dir", RUN_FOLDER, "--base"]);
    args.push(literal(around.base));
    let mut env = own_environment(around, "/tmp");
    env.extend(app_environment(around));
    // The agent has had it: what is pushed is searched for it.
    env.extend([Runtime::Claude, Runtime::Opencode].map(|runtime| secret(agent, login(runtime), true)));
    if around.settings.notify {
        // Either the first, or the others.
        env.extend(
            ["DISCORD_WEBHOOK_URL", "DISCORD_BOT_TOKEN", "DISCORD_CHANNEL_ID"]
                .map(|key| secret(discord, key, true)),
        );
    } else {
        args.push("--no-notify".to_owned());
    }
    Container {
        name: "publish".to_owned(),
        args: Some(args),
        env: Some(env),
        volume_mounts: Some(mounts(
            around,
            [mount("workspace", WORKSPACE), mount("publish-tmp", "/tmp"), key_mount()],
        )),
        working_dir: Some(REPOSITORY.to_owned()),
        ..step(around, "run-publisher.sh", &around.settings.resources.steps)
    }
}

/// What every container has. tini reaps the processes whose parents have gone.
fn step(around: &Surroundings<'_>, program: &str, resources: &Resources) -> Container {
    let settings = around.settings;
    Container {
        image: Some(settings.image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        command: Some(strings(&["tini", "--", program])),
        resources: Some(requirements(resources, None)),
        security_context: Some(locked_down()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn locked_down() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(strings(&["ALL"])), add: None }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

fn own_environment(around: &Surroundings<'_>, home: &str) -> Vec<EnvVar> {
    let run = match around.run {
        RunId::Known(run) => variable("PRESSRUN_RUN", run),
        RunId::JobName => EnvVar {
            name: "PRESSRUN_RUN".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: None,
                    field_path: "metadata.labels['batch.kubernetes.io/job-name']".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        },
    };
    let mut env =
        vec![variable("HOME", home), run, variable("PRESSRUN_TERMINATION_LOG", "/dev/termination-log")];
    if around.settings.certificate_authority.is_some() {
        let names = ["SSL_CERT_FILE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"];
        env.extend(names.map(|name| variable(name, "/etc/pressrun/ca/ca.crt")));
    }
    env.extend(around.settings.environment.iter().map(|(name, value)| variable(name, value)));
    env
}

fn app_environment(around: &Surroundings<'_>) -> [EnvVar; 4] {
    let github = &around.settings.secrets.github;
    [
        variable("GITHUB_REPOSITORY", around.repository),
        secret(github, "GITHUB_APP_ID", false),
        secret(github, "GITHUB_APP_INSTALLATION_ID", true),
        variable("GITHUB_APP_PRIVATE_KEY_FILE", "/etc/pressrun/github/app.pem"),
    ]
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(literal(value)), value_from: None }
}

fn secret(from: &str, key: &str, optional: bool) -> EnvVar {
    EnvVar {
        name: key.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: from.to_owned(),
                key: key.to_owned(),
                optional: optional.then_some(true),
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn key_mount() -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount("github-app", KEY_FOLDER) }
}

fn mounts(around: &Surroundings<'_>, own: impl IntoIterator<Item = VolumeMount>) -> Vec<VolumeMount> {
    let authority = around.settings.certificate_authority.as_ref();
    let ca = authority.map(|_| VolumeMount { read_only: Some(true), ..mount("ca", CA_FOLDER) });
    own.into_iter().chain(ca).collect()
}

fn temporary(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

fn in_memory(name: &str, size: &Amount) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(quantity(size)),
        }),
        ..Volume::default()
    }
}

fn overlay_volume() -> Volume {
    let file = DownwardAPIVolumeFile {
        path: "overlay.json".to_owned(),
        field_ref: Some(ObjectFieldSelector {
            api_version: None,
            field_path: format!("metadata.annotations['{OVERLAY}']"),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    Volume {
        name: "mcp-overlay".to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![file]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub(crate) fn quantity(amount: &Amount) -> Quantity {
    Quantity(amount.as_str().to_owned())
}

/// The defaults, with what the task says on top.
fn requirements(defaults: &Resources, asked: Option<&Resources>) -> ResourceRequirements {
    let merged = |defaults: &BTreeMap<String, Amount>, asked: Option<&BTreeMap<String, Amount>>| {
        let all = defaults.iter().chain(asked.into_iter().flatten());
        Some(all.map(|(name, amount)| (name.clone(), quantity(amount))).collect())
    };
    ResourceRequirements {
        requests: merged(&defaults.requests, asked.map(|asked| &asked.requests)),
        limits: merged(&defaults.limits, asked.map(|asked| &asked.limits)),
        claims: None,
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K3
    #[test]
    fn what_follows_the_agent_has_time_left() {
        assert_eq!([60, 1500, 1800, 86_400].map(agent_timeout), [48, 1200, 1500, 86_100]);
    }
}
