//! Labels and annotations of everything that a task becomes in a cluster. What finds objects again is a label; what only
//! tells something of one is an annotation.

/// Group of the custom resource, and domain of all labels and annotations.
pub const DOMAIN: &str = "agents.kyle.pericak.com";

/// Label: the agent's name. Network policies select on it, so it is on every pod of a run.
pub const AGENT: &str = "agents.kyle.pericak.com/agent";

/// Label: the run's id. It is on all that belongs to one run and goes with it: Job, pod, claim, volume. What several runs
/// share does not have it.
pub const RUN: &str = "agents.kyle.pericak.com/run";

/// Label: what an object is for, a [`Role`].
pub const ROLE: &str = "agents.kyle.pericak.com/role";

/// Label: uid of the task. Absent where the task was never in the cluster.
pub const TASK_UID: &str = "agents.kyle.pericak.com/task-uid";

/// Label: the id of a check of the network, on every pod that it makes.
pub const CHECK: &str = "agents.kyle.pericak.com/egress-check";

/// Annotation: name of the task. A name may be longer than a label's value.
pub const TASK: &str = "agents.kyle.pericak.com/task";

/// Annotation: what set the run off, as `manual` or a webhook's delivery. With the task it makes the run's id.
pub const TRIGGER: &str = "agents.kyle.pericak.com/trigger";

/// Annotation on a claim, a volume or a task: `true` keeps the volume for good.
pub const PRESERVE: &str = "agents.kyle.pericak.com/preserve";

/// Annotation on a claim or a volume: how the run ended, as a final [`Phase`](crate::Phase). It outlives the run's Job.
pub const PHASE: &str = "agents.kyle.pericak.com/phase";

/// Annotation beside [`PHASE`]: when the run ended, in RFC 3339.
pub const FINISHED_AT: &str = "agents.kyle.pericak.com/finished-at";

/// Label of Kubernetes' own: who manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The value of [`MANAGED_BY`], and the field manager of what is applied.
pub const MANAGER: &str = "pressrun";

/// What an object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A run: checkout, agent, publish.
    Run,
    /// The publishing of what a killed run left.
    Salvage,
    /// The schedule that makes runs.
    Schedule,
    /// The volume of one run.
    Workspace,
    /// The volume that all runs share which only read.
    SharedWorkspace,
}

impl Role {
    /// The value of [`ROLE`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Salvage => "salvage",
            Self::Schedule => "schedule",
            Self::Workspace => "workspace",
            Self::SharedWorkspace => "shared-workspace",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8
    #[test]
    fn every_name_is_in_the_domain() {
        for name in [AGENT, RUN, ROLE, TASK_UID, CHECK, TASK, TRIGGER, PRESERVE, PHASE, FINISHED_AT] {
            assert!(name.strip_prefix(DOMAIN).is_some_and(|rest| rest.starts_with('/')), "{name}");
        }
    }
}
