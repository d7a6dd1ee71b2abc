//! What a task becomes: pure.

use crate::memory::Memory;
use crate::pod::{self, OVERLAY, RunId, Surroundings, quantity};
use crate::settings::Settings;
use agent_task::labels::{self, Role};
use agent_task::names;
use agent_task_crd::resources::Amount;
use agent_task_crd::{AgentTask, AgentTaskSpec, Mode, Trigger};
use k8s_openapi::api::batch::v1::{
    CronJob, CronJobSpec, Job, JobSpec, JobTemplateSpec, PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, EphemeralVolumeSource, HostPathVolumeSource, NodeSelector, NodeSelectorRequirement,
    NodeSelectorTerm, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PersistentVolumeClaimTemplate, PersistentVolumeClaimVolumeSource, PersistentVolumeSpec, PodSpec,
    PodTemplateSpec, Volume, VolumeNodeAffinity, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource as _, ResourceExt as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Annotation on a run's claim and pods: the repository, for who publishes what a killed run left.
pub(crate) const REPOSITORY: &str = "agents.kyle.pericak.com/repository";

/// Annotation on a run's claim and pods: the branch that the work is meant for.
pub(crate) const BASE: &str = "agents.kyle.pericak.com/base";

/// Annotation on a Job that its task had made suspended: it is resumed when the task says so.
pub(crate) const SUSPENDED: &str = "agents.kyle.pericak.com/suspended";

/// A missed run is caught up within a day.
const STARTING_DEADLINE_SECONDS: i64 = 86_400;

/// So many failed runs of a schedule stay, for their time: an hourly schedule has fewer in three days.
const FAILED_RUNS: i32 = 100;

/// So many runs stay, of each kind, of a schedule whose volumes are to be preserved.
const PRESERVED_RUNS: i32 = 1000;

/// How long publishing what a killed run left may take.
const SALVAGE_SECONDS: u32 = 900;

/// How often that is tried.
const SALVAGE_RETRIES: i32 = 2;

/// What is to be made, in the order in which it must be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The task's name; the run's, where a killed run is published.
    pub task: String,
    /// Where everything is made.
    pub namespace: String,
    /// The run; a schedule makes its own.
    pub run: Option<String>,
    /// The name of the Job or CronJob.
    pub job: String,
    /// The claim that the run works on.
    pub claim: Option<String>,
    /// What remembers that the run's Job was made.
    pub memory: Memory,
    /// All objects.
    pub objects: Vec<Object>,
}

/// An object that is to be made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Object {
    /// In mode hostPath.
    Volume(Box<PersistentVolume>),
    /// A run's, or the one that all share.
    Claim(Box<PersistentVolumeClaim>),
    /// A run.
    Job(Box<Job>),
    /// A schedule.
    CronJob(Box<CronJob>),
}

/// Why a task cannot become anything: the field, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impossible(pub String);

/// What makes the run of this task and trigger unique: its uid, or where it was never in the cluster, all that it says.
fn seed(task: &AgentTask, namespace: &str) -> String {
    task.uid().unwrap_or_else(|| {
        // One that waits and is told to begin is the same.
        let spec = AgentTaskSpec { suspend: false, ..task.spec.clone() };
        let spec = serde_json::to_string(&spec).unwrap_or_default();
        format!("{namespace}/{}@{:x}", task.name_any(), Sha256::digest(spec))
    })
}

/// The run that this trigger of the task makes.
#[must_use]
pub fn run_id(task: &AgentTask, namespace: &str, trigger: &str) -> String {
    names::triggered_run(&task.spec.agent, &seed(task, namespace), trigger)
}

/// What the task becomes.
///
/// # Errors
/// Where the task and the settings do not go together.
pub fn plan(
    task: &AgentTask,
    settings: &Settings,
    namespace: &str,
    trigger: &str,
) -> Result<Plan, Impossible> {
    let spec = &task.spec;
    let repository = spec.repository.as_ref().or(settings.repository.as_ref()).ok_or_else(|| {
        Impossible("spec.repository: neither the task nor the settings name one".to_owned())
    })?;
    let named = |branch: &Option<String>| branch.clone().filter(|branch| !branch.is_empty());
    let base = named(&spec.base).or_else(|| named(&spec.branch)).unwrap_or_else(|| settings.base.clone());
    let branch = named(&spec.branch).unwrap_or_else(|| base.clone());
    let timeout = spec.timeout_seconds.unwrap_or(settings.timeout_seconds);
    let scheduled = spec.trigger == Trigger::Scheduled;
    let run = (!scheduled).then(|| run_id(task, namespace, trigger));
    let workspace = Workspace::of(task, settings);
    let marks = Marks { task, settings, namespace, trigger, run: run.as_deref(), repository, base: &base };

    let mut objects = Vec::new();
    let (own, mirror) = if spec.read_only {
        objects.extend(workspace.shared(&marks));
        (workspace.empty(), Some(pod::volume("mirror", workspace.mirror())))
    } else {
        match &run {
            Some(run) => {
                objects.extend(workspace.own(&marks, run));
                (workspace.of_run(run), None)
            }
            None => (workspace.of_schedule(&marks)?, None),
        }
    };
    let around = Surroundings {
        settings,
        run: run.as_deref().map_or(RunId::JobName, RunId::Known),
        agent: &spec.agent,
        repository,
        base: &base,
        workspace: pod::volume("workspace", own),
        mirror,
        owned_by_root: workspace.mode == Mode::HostPath,
    };
    let pod = pod::of_run(&around, spec, &branch, timeout);
    // A scheduled run's volume goes with its pod, and that with the Job, for which the volume's rules hold then.
    let volume_goes_too = scheduled && !spec.read_only && workspace.mode == Mode::StorageClass;
    let preserved = volume_goes_too && marks.preserve();
    let ttl = match volume_goes_too {
        true => (!preserved).then_some(settings.failed_retention_seconds),
        false => Some(settings.ttl_seconds_after_finished),
    };
    let job_spec = JobSpec {
        backoff_limit: Some(0),
        pod_failure_policy: Some(PodFailurePolicy { rules: vec![disrupted("FailJob"), no_retry_mends()] }),
        pod_replacement_policy: Some("Failed".to_owned()),
        ttl_seconds_after_finished: ttl.map(|ttl| i32::try_from(ttl).unwrap_or(i32::MAX)),
        suspend: (spec.suspend && !scheduled).then_some(true),
        template: marks.template(pod),
        ..JobSpec::default()
    };
    let claim = (!spec.read_only && workspace.mode != Mode::Ephemeral)
        .then(|| run.as_deref().map(names::claim))
        .flatten();
    let job = match &run {
        Some(run) => {
            let mut metadata = marks.metadata(run.clone(), Role::Run);
            let suspended = spec.suspend.then(|| (SUSPENDED.to_owned(), "true".to_owned()));
            metadata.annotations.get_or_insert_default().extend(suspended);
            objects.push(Object::Job(Box::new(Job { metadata, spec: Some(job_spec), status: None })));
            run.clone()
        }
        None => {
            let name = names::schedule(&task.name_any());
            objects.push(Object::CronJob(Box::new(marks.cron_job(name.clone(), job_spec, preserved))));
            name
        }
    };
    let memory = match (task.uid(), &claim) {
        (Some(uid), _) if run.is_some() => Memory::Task(uid),
        (None, Some(claim)) => Memory::Claim(claim.clone()),
        _ => Memory::Nothing,
    };
    Ok(Plan { task: task.name_any(), namespace: namespace.to_owned(), run, job, claim, memory, objects })
}

/// The Job that commits and publishes what a killed run left on its claim.
#[must_use]
pub fn salvage(
    run: &str,
    claim: &PersistentVolumeClaim,
    settings: &Settings,
    namespace: &str,
    reason: &str,
) -> Plan {
    let label = |name: &str| claim.labels().get(name).cloned().unwrap_or_default();
    let annotation = |name: &str| claim.annotations().get(name).cloned();
    let repository = annotation(REPOSITORY).or_else(|| settings.repository.clone()).unwrap_or_default();
    let base = annotation(BASE).unwrap_or_else(|| settings.base.clone());
    let agent = label(labels::AGENT);
    let around = Surroundings {
        settings,
        run: RunId::Known(run),
        agent: &agent,
        repository: &repository,
        base: &base,
        workspace: pod::volume("workspace", claimed(&claim.name_any())),
        mirror: None,
        owned_by_root: false,
    };
    let task = annotation(labels::TASK).unwrap_or_else(|| run.to_owned());
    let pod = pod::of_salvage(&around, &task, reason, SALVAGE_SECONDS);
    let name = names::salvage_job(run);
    let mut labels = claim.labels().clone();
    labels.insert(labels::RUN.to_owned(), run.to_owned());
    labels.insert(labels::ROLE.to_owned(), Role::Salvage.as_str().to_owned());
    let mut annotations = claim.annotations().clone();
    annotations.retain(|name, _| [labels::TASK, labels::TRIGGER, REPOSITORY, BASE].contains(&name.as_str()));
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels.clone()),
        annotations: Some(annotations.clone()),
        ..ObjectMeta::default()
    };
    let job = Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(SALVAGE_RETRIES),
            pod_failure_policy: Some(PodFailurePolicy { rules: vec![disrupted("Ignore"), no_retry_mends()] }),
            pod_replacement_policy: Some("Failed".to_owned()),
            ttl_seconds_after_finished: i32::try_from(settings.ttl_seconds_after_finished).ok(),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            ..JobSpec::default()
        }),
        status: None,
    };
    Plan {
        task,
        namespace: namespace.to_owned(),
        run: Some(run.to_owned()),
        job: name,
        claim: Some(claim.name_any()),
        // Publishing again does no harm.
        memory: Memory::Nothing,
        objects: vec![Object::Job(Box::new(job))],
    }
}

/// Labels, annotations and owner of everything that a task becomes.
struct Marks<'a> {
    task: &'a AgentTask,
    settings: &'a Settings,
    namespace: &'a str,
    trigger: &'a str,
    run: Option<&'a str>,
    repository: &'a str,
    base: &'a str,
}

impl Marks<'_> {
    fn labels(&self, role: Role) -> BTreeMap<String, String> {
        let asked = self.settings.labels.iter().chain(&self.task.spec.labels);
        let mut all: BTreeMap<String, String> = if matches!(role, Role::Workspace | Role::SharedWorkspace) {
            BTreeMap::new()
        } else {
            asked.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let mut set = |name: &str, value: &str| all.insert(name.to_owned(), value.to_owned());
        set(labels::MANAGED_BY, labels::MANAGER);
        set(labels::ROLE, role.as_str());
        if role == Role::SharedWorkspace {
            return all;
        }
        set(labels::AGENT, &self.task.spec.agent);
        if let Some(run) = self.run {
            set(labels::RUN, run);
        }
        if let Some(uid) = self.task.uid() {
            set(labels::TASK_UID, &uid);
        }
        all
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::from([
            (labels::TASK.to_owned(), self.task.name_any()),
            (labels::TRIGGER.to_owned(), self.trigger.to_owned()),
            (REPOSITORY.to_owned(), self.repository.to_owned()),
            (BASE.to_owned(), self.base.to_owned()),
        ]);
        let preserve = self.task.annotations().get_key_value(labels::PRESERVE);
        all.extend(preserve.map(|(name, value)| (name.clone(), value.clone())));
        all
    }

    /// Of what goes with the task: where the task is deleted, its Job is too. A volume is not, because it is evidence.
    fn metadata(&self, name: String, role: Role) -> ObjectMeta {
        let owner = self.task.uid().map(|uid| OwnerReference {
            api_version: AgentTask::api_version(&()).into_owned(),
            kind: AgentTask::kind(&()).into_owned(),
            name: self.task.name_any(),
            uid,
            controller: Some(true),
            block_owner_deletion: None,
        });
        ObjectMeta { owner_references: owner.map(|owner| vec![owner]), ..self.unowned(name, role) }
    }

    fn unowned(&self, name: String, role: Role) -> ObjectMeta {
        let shared = role == Role::SharedWorkspace;
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels(role)),
            annotations: (!shared).then(|| self.annotations()),
            ..ObjectMeta::default()
        }
    }

    fn template(&self, pod: PodSpec) -> PodTemplateSpec {
        let mut annotations = self.annotations();
        annotations.insert("kubectl.kubernetes.io/default-container".to_owned(), "agent".to_owned());
        if let Some(servers) = &self.task.spec.mcp_servers {
            let overlay = serde_json::json!({"mcpServers": servers});
            annotations.insert(OVERLAY.to_owned(), overlay.to_string());
        }
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(self.labels(Role::Run)),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            }),
            spec: Some(pod),
        }
    }

    /// As the reaper reads it: whoever wrote something else than `false` meant something by it.
    fn preserve(&self) -> bool {
        self.task.annotations().get(labels::PRESERVE).is_some_and(|value| value != "false")
    }

    fn cron_job(&self, name: String, job: JobSpec, preserved: bool) -> CronJob {
        let spec = &self.task.spec;
        CronJob {
            metadata: self.metadata(name, Role::Schedule),
            spec: Some(CronJobSpec {
                schedule: spec.schedule.clone().unwrap_or_default(),
                time_zone: Some(spec.time_zone.clone().unwrap_or_else(|| "Etc/UTC".to_owned())),
                concurrency_policy: Some("Forbid".to_owned()),
                starting_deadline_seconds: Some(STARTING_DEADLINE_SECONDS),
                // The last one, with its log.
                successful_jobs_history_limit: Some(if preserved { PRESERVED_RUNS } else { 1 }),
                failed_jobs_history_limit: Some(if preserved { PRESERVED_RUNS } else { FAILED_RUNS }),
                suspend: Some(spec.suspend),
                job_template: JobTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(self.labels(Role::Run)),
                        annotations: Some(self.annotations()),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(job),
                },
            }),
            status: None,
        }
    }
}

/// The volumes of a task.
struct Workspace<'a> {
    mode: Mode,
    size: &'a Amount,
    storage_class: Option<&'a String>,
    settings: &'a Settings,
}

impl<'a> Workspace<'a> {
    fn of(task: &'a AgentTask, settings: &'a Settings) -> Self {
        let asked = task.spec.workspace.as_ref();
        let given = &settings.workspace;
        Self {
            mode: asked.and_then(|asked| asked.mode).unwrap_or(given.mode),
            size: asked.and_then(|asked| asked.size.as_ref()).unwrap_or(&given.size),
            storage_class: asked
                .and_then(|asked| asked.storage_class.as_ref())
                .or(given.storage_class.as_ref()),
            settings,
        }
    }

    /// The claim of a run that writes, and in mode hostPath its volume before it.
    fn own(&self, marks: &Marks<'_>, run: &str) -> Vec<Object> {
        let name = names::claim(run);
        let metadata = marks.unowned(name.clone(), Role::Workspace);
        match self.mode {
            Mode::Ephemeral => Vec::new(),
            Mode::StorageClass => {
                let spec = claim_spec(self.size, "ReadWriteOnce", self.storage_class.cloned());
                vec![claim(metadata, spec)]
            }
            Mode::HostPath => self.on_the_node(&name, metadata, self.size, "ReadWriteOnce"),
        }
    }

    /// The claim that runs share which only read. The chart makes it too; whoever is first.
    fn shared(&self, marks: &Marks<'_>) -> Vec<Object> {
        let metadata = marks.unowned(names::SHARED_CLAIM.to_owned(), Role::SharedWorkspace);
        let shared = &self.settings.shared_workspace;
        match self.mode {
            Mode::Ephemeral => Vec::new(),
            Mode::StorageClass => {
                let spec = claim_spec(&shared.size, &shared.access_mode, shared.storage_class.clone());
                vec![claim(metadata, spec)]
            }
            Mode::HostPath => {
                let volume = format!("{}-{}", names::SHARED_CLAIM, marks.namespace);
                self.on_the_node(&volume, metadata, &shared.size, "ReadWriteMany")
            }
        }
    }

    /// A volume that is a folder of the node, and the claim that is bound to it alone.
    fn on_the_node(
        &self,
        volume: &str,
        metadata: ObjectMeta,
        size: &Amount,
        access_mode: &str,
    ) -> Vec<Object> {
        let root = self.settings.workspace.host_path_root.trim_end_matches('/');
        let spec = PersistentVolumeSpec {
            capacity: Some(BTreeMap::from([("storage".to_owned(), quantity(size))])),
            access_modes: Some(vec![access_mode.to_owned()]),
            persistent_volume_reclaim_policy: Some("Retain".to_owned()),
            storage_class_name: Some(String::new()),
            host_path: Some(HostPathVolumeSource {
                path: format!("{root}/{volume}"),
                type_: Some("DirectoryOrCreate".to_owned()),
            }),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: metadata.namespace.clone(),
                name: metadata.name.clone(),
                ..ObjectReference::default()
            }),
            node_affinity: self.nodes(),
            ..PersistentVolumeSpec::default()
        };
        let made = PersistentVolume {
            metadata: ObjectMeta { name: Some(volume.to_owned()), namespace: None, ..metadata.clone() },
            spec: Some(spec),
            status: None,
        };
        let mut bound = claim_spec(size, access_mode, Some(String::new()));
        bound.volume_name = Some(volume.to_owned());
        vec![Object::Volume(Box::new(made)), claim(metadata, bound)]
    }

    /// The nodes that runs may be on have the folder; the reaper leaves it to the one that is named.
    fn nodes(&self) -> Option<VolumeNodeAffinity> {
        let labels = self.settings.node_selector.iter().map(|(name, value)| NodeSelectorRequirement {
            key: name.clone(),
            operator: "In".to_owned(),
            values: Some(vec![value.clone()]),
        });
        let term = NodeSelectorTerm { match_expressions: Some(labels.collect()), match_fields: None };
        (!self.settings.node_selector.is_empty())
            .then(|| VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![term] }) })
    }

    fn of_run(&self, run: &str) -> Volume {
        if self.mode == Mode::Ephemeral { self.empty() } else { claimed(&names::claim(run)) }
    }

    fn mirror(&self) -> Volume {
        if self.mode == Mode::Ephemeral { self.empty() } else { claimed(names::SHARED_CLAIM) }
    }

    /// A CronJob makes the same pod each time, so a claim must come with the pod.
    fn of_schedule(&self, marks: &Marks<'_>) -> Result<Volume, Impossible> {
        match self.mode {
            Mode::Ephemeral => Ok(self.empty()),
            Mode::HostPath => Err(Impossible(
                "spec.workspace.mode: a schedule makes no volume a run in mode hostPath: take storageClass, or ephemeral"
                    .to_owned(),
            )),
            Mode::StorageClass => Ok(Volume {
                ephemeral: Some(EphemeralVolumeSource {
                    volume_claim_template: Some(PersistentVolumeClaimTemplate {
                        metadata: Some(ObjectMeta {
                            labels: Some(marks.labels(Role::Workspace)),
                            annotations: Some(marks.annotations()),
                            ..ObjectMeta::default()
                        }),
                        spec: claim_spec(self.size, "ReadWriteOnce", self.storage_class.cloned()),
                    }),
                }),
                ..Volume::default()
            }),
        }
    }

    fn empty(&self) -> Volume {
        Volume {
            empty_dir: Some(EmptyDirVolumeSource { medium: None, size_limit: Some(quantity(self.size)) }),
            ..Volume::default()
        }
    }
}

fn claimed(name: &str) -> Volume {
    Volume {
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: name.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    }
}

fn claim(metadata: ObjectMeta, spec: PersistentVolumeClaimSpec) -> Object {
    Object::Claim(Box::new(PersistentVolumeClaim { metadata, spec: Some(spec), status: None }))
}

fn claim_spec(size: &Amount, access_mode: &str, storage_class: Option<String>) -> PersistentVolumeClaimSpec {
    PersistentVolumeClaimSpec {
        access_modes: Some(vec![access_mode.to_owned()]),
        resources: Some(VolumeResourceRequirements {
            requests: Some(BTreeMap::from([("storage".to_owned(), quantity(size))])),
            limits: None,
        }),
        storage_class_name: storage_class,
        ..PersistentVolumeClaimSpec::default()
    }
}

/// The node goes, or something more important needs it. An agent is not started again: it may have done half of its work,
/// which is published as it is.
fn disrupted(action: &str) -> PodFailurePolicyRule {
    PodFailurePolicyRule {
        action: action.to_owned(),
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
        }]),
        on_exit_codes: None,
    }
}

/// The exit codes of the contract after which the same would fail again.
fn no_retry_mends() -> PodFailurePolicyRule {
    use agent_task::Exit;
    PodFailurePolicyRule {
        action: "FailJob".to_owned(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: None,
            operator: "In".to_owned(),
            values: [Exit::Failed, Exit::Usage, Exit::Denied].map(|exit| i32::from(exit.code())).to_vec(),
        }),
        on_pod_conditions: None,
    }
}
