//! Objects of the cluster, cut down to what decides: of ten thousand, little may be held.

use crate::decision::{Binding, Claim, Storage, Volume};
use crate::users::Ended;
use agent_task::Phase;
use agent_task::labels::{FINISHED_AT, PHASE, PRESERVE, RUN, TASK_UID};
use agent_task::names::run_of_claim;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::path::PathBuf;

/// One page of a list.
#[derive(Debug, Deserialize)]
pub struct Page<T> {
    /// What the page is of.
    pub metadata: PageMetadata,
    /// What is on it.
    #[serde(default = "Vec::new")]
    pub items: Vec<T>,
}

/// What a page is of.
#[derive(Debug, Deserialize)]
pub struct PageMetadata {
    /// How to ask for the next page; empty or absent where there is none.
    #[serde(default, rename = "continue")]
    pub next: Option<String>,
}

/// `metadata` of any object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) creation_timestamp: Timestamp,
    deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    pub(crate) labels: HashMap<String, String>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

impl Metadata {
    fn run(&self) -> Box<str> {
        self.labels.get(RUN).map_or("", String::as_str).into()
    }

    /// Whoever writes something else than `false` meant something by it, and keeping can be mended.
    fn preserve(&self) -> bool {
        self.annotations.get(PRESERVE).is_some_and(|value| value != "false")
    }

    /// What cannot be read is not known.
    fn ended(&self) -> Option<Ended> {
        let at = self.annotations.get(FINISHED_AT)?.parse().ok()?;
        let phase = self.annotations.get(PHASE)?;
        [Phase::Succeeded, Phase::Failed]
            .into_iter()
            .find(|known| known.to_string() == *phase)
            .map(|phase| Ended { at, failed: phase == Phase::Failed })
    }
}

/// An AgentTask.
#[derive(Debug, Deserialize)]
pub struct TaskObject {
    metadata: Metadata,
}

impl TaskObject {
    /// Its uid, where it is marked that what belongs to it is preserved.
    #[must_use]
    pub fn preserved(self) -> Option<Box<str>> {
        self.metadata.preserve().then(|| self.metadata.uid.into())
    }
}

/// An object of a kind that has both parts.
#[derive(Debug, Deserialize)]
pub struct Object<Spec, Status> {
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    #[serde(default)]
    pub(crate) status: Status,
}

/// A PersistentVolumeClaim.
#[derive(Debug, Deserialize)]
pub struct ClaimObject {
    metadata: Metadata,
    #[serde(default)]
    spec: ClaimSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSpec {
    #[serde(default)]
    volume_name: String,
}

impl From<ClaimObject> for Claim {
    fn from(object: ClaimObject) -> Self {
        let ClaimObject { metadata, spec } = object;
        Self {
            run: metadata.run(),
            task: metadata.labels.get(TASK_UID).map(|uid| uid.as_str().into()),
            preserve: metadata.preserve(),
            ended: metadata.ended(),
            deleting: metadata.deletion_timestamp.is_some(),
            created: metadata.creation_timestamp,
            volume: (!spec.volume_name.is_empty()).then(|| spec.volume_name.into()),
            name: metadata.name.into(),
            uid: metadata.uid.into(),
            resource_version: metadata.resource_version.into(),
        }
    }
}

/// A PersistentVolume.
pub type VolumeObject = Object<VolumeSpec, VolumeStatus>;

/// `spec` of a PersistentVolume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSpec {
    claim_ref: Option<ClaimReference>,
    host_path: Option<HostPath>,
    local: Option<HostPath>,
    #[serde(default)]
    persistent_volume_reclaim_policy: String,
    #[serde(default)]
    node_affinity: NodeAffinity,
}

#[derive(Debug, Deserialize)]
struct ClaimReference {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct HostPath {
    path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
struct NodeAffinity {
    #[serde(default)]
    required: NodeSelector,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeSelector {
    #[serde(default)]
    node_selector_terms: Vec<NodeSelectorTerm>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeSelectorTerm {
    #[serde(default)]
    match_expressions: Vec<NodeExpression>,
}

#[derive(Debug, Deserialize)]
struct NodeExpression {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

/// `status` of a PersistentVolume.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStatus {
    phase: Option<String>,
    last_phase_transition_time: Option<Timestamp>,
}

/// On a volume that a storage class made.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

impl VolumeObject {
    /// The directory of a node that it is, if it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&PathBuf> {
        self.spec.host_path.as_ref().or(self.spec.local.as_ref()).map(|source| &source.path)
    }

    /// Whether it is a run's of `namespace`: by its label, and made for a claim in there or for none; or by the claim's name.
    #[must_use]
    pub fn is_of(&self, namespace: &str) -> bool {
        let is_labelled = self.metadata.labels.contains_key(RUN);
        match &self.spec.claim_ref {
            Some(claim) if claim.namespace == namespace => is_labelled || run_of_claim(&claim.name).is_some(),
            Some(_) => false,
            None => is_labelled,
        }
    }
}

impl From<VolumeObject> for Volume {
    fn from(object: VolumeObject) -> Self {
        let directory = object.directory().cloned();
        let VolumeObject { metadata, spec, status } = object;
        // What a storage class makes has no label.
        let run = match (&spec.claim_ref, metadata.run()) {
            (Some(claim), run) if run.is_empty() => run_of_claim(&claim.name).unwrap_or_default().into(),
            (_, run) => run,
        };
        let binding = match status.phase.as_deref() {
            Some("Released" | "Failed") => Binding::Released,
            Some("Available") => Binding::Free(spec.claim_ref.map(|claim| claim.name.into())),
            _ => Binding::Bound,
        };
        let storage = match directory {
            Some(path) if !metadata.annotations.contains_key(PROVISIONED_BY) => {
                Storage::Directory { path, nodes: nodes(spec.node_affinity) }
            }
            _ if spec.persistent_volume_reclaim_policy == "Delete" => Storage::Provisioner,
            _ => Storage::Retained,
        };
        Self {
            run,
            task: metadata.labels.get(TASK_UID).map(|uid| uid.as_str().into()),
            preserve: metadata.preserve(),
            ended: metadata.ended(),
            deleting: metadata.deletion_timestamp.is_some(),
            since: status.last_phase_transition_time.unwrap_or(metadata.creation_timestamp),
            name: metadata.name.into(),
            uid: metadata.uid.into(),
            resource_version: metadata.resource_version.into(),
            binding,
            storage,
        }
    }
}

fn nodes(affinity: NodeAffinity) -> Vec<String> {
    let expressions =
        affinity.required.node_selector_terms.into_iter().flat_map(|term| term.match_expressions);
    expressions
        .filter(|expression| expression.key == "kubernetes.io/hostname")
        .flat_map(|expression| expression.values)
        .collect()
}

/// A Pod.
pub type Pod = Object<PodSpec, PodStatus>;
/// A Job.
pub type Job = Object<JobSpec, JobStatus>;
/// A CronJob.
pub type CronJob = Object<CronJobSpec, IgnoredAny>;

/// What others are made from.
#[derive(Debug, Deserialize)]
pub(crate) struct Template<Spec> {
    pub(crate) spec: Spec,
}

/// `spec` of a Pod.
#[derive(Debug, Deserialize)]
pub struct PodSpec {
    #[serde(default)]
    pub(crate) volumes: Vec<PodVolume>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodVolume {
    pub(crate) name: String,
    pub(crate) persistent_volume_claim: Option<ClaimSource>,
    pub(crate) ephemeral: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimSource {
    pub(crate) claim_name: String,
}

/// `status` of a Pod.
#[derive(Debug, Default, Deserialize)]
pub struct PodStatus {
    pub(crate) phase: Option<String>,
}

/// `spec` of a Job.
#[derive(Debug, Deserialize)]
pub struct JobSpec {
    #[serde(default)]
    pub(crate) suspend: bool,
    pub(crate) template: Template<PodSpec>,
}

/// `status` of a Job.
#[derive(Debug, Default, Deserialize)]
pub struct JobStatus {
    #[serde(default)]
    pub(crate) conditions: Vec<JobCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobCondition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) last_transition_time: Option<Timestamp>,
}

/// `spec` of a CronJob.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CronJobSpec {
    pub(crate) job_template: Template<JobSpec>,
}

/// What the API server answers to a deletion: the object, while something holds it, or a `Status` when it is gone.
#[derive(Debug, Deserialize)]
pub struct Deletion {
    kind: String,
}

impl Deletion {
    /// Whether the object is gone.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.kind == "Status"
    }
}
