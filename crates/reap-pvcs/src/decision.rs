//! What becomes of a volume, and why: pure. Evidence of a failure is never deleted before its time, so all doubt keeps.

use crate::users::{Ended, Users};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// How long volumes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// After a run that succeeded ended.
    pub keep_succeeded: SignedDuration,
    /// After a run that failed ended; or after the volume was made, where nothing tells how the run ended.
    pub keep_failed: SignedDuration,
    /// Whether volumes go too that their storage class retains.
    pub delete_retained: bool,
}

/// A claim is made before the Job that uses it, so one without a Job may be about to get one.
const JOB_MAY_COME: SignedDuration = SignedDuration::from_mins(10);

/// What is done with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It stays.
    Keep,
    /// It goes.
    Delete,
    /// It is going already, and what it waits for is not ours.
    Pending,
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The annotation is there.
    Preserved,
    /// This uses it.
    InUse(Box<str>),
    /// It is being deleted, and this has to go before.
    HeldBy(Box<str>),
    /// It is being deleted.
    Terminating,
    /// The run ended so, then; `due` is when the volume goes.
    Ended {
        /// How and when.
        ended: Ended,
        /// From when on it is deleted.
        due: Timestamp,
    },
    /// Nothing tells how the run ended.
    Unknown {
        /// When the object was made.
        since: Timestamp,
        /// From when on it is deleted.
        due: Timestamp,
    },
    /// It is bound to a claim, or about to be: the claim decides.
    HasClaim,
    /// Its storage class deletes it.
    Provisioner,
    /// Its storage class retains it, and so do we unless told otherwise.
    Retained,
    /// No root was given, so its directory cannot be deleted.
    NoRoot,
    /// Its directory is not below the root.
    OutsideRoot,
    /// Its directory is on this node.
    OtherNode(Box<str>),
    /// As many were deleted as may be.
    Limit(usize),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preserved => f.write_str("it is marked to be preserved"),
            Self::InUse(who) => write!(f, "{who} uses it"),
            Self::HeldBy(who) => write!(f, "it is being deleted, and goes when {who} is gone"),
            Self::Terminating => f.write_str("it is being deleted"),
            Self::Ended { ended, due } => {
                let how = if ended.failed { "failed" } else { "succeeded" };
                write!(f, "the run {how} at {}, its volume is kept until {due}", ended.at)
            }
            Self::Unknown { since, due } => {
                write!(f, "nothing tells how the run ended; made at {since}, it is kept until {due}")
            }
            Self::HasClaim => f.write_str("its claim is there"),
            Self::Provisioner => f.write_str("its claim is gone, and its storage class deletes it"),
            Self::Retained => f.write_str(
                "its claim is gone, and its storage class retains volumes; --delete-retained deletes it",
            ),
            Self::NoRoot => f.write_str("its claim is gone; deleting its directory needs --host-path-root"),
            Self::OutsideRoot => f.write_str("its claim is gone, but its directory is not below the root"),
            Self::OtherNode(node) => write!(f, "its claim is gone, but its directory is on the node {node}"),
            Self::Limit(limit) => write!(f, "it is to be deleted, but the limit of {limit} is reached"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A decision with its reason.
pub type Verdict = (Decision, Reason);

/// A run's volume claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: Box<str>,
    /// The run's id.
    pub run: Box<str>,
    /// The uid of the task that it belongs to, where the cluster has one.
    pub task: Option<Box<str>>,
    /// For the precondition of its deletion.
    pub uid: Box<str>,
    /// For the precondition of its deletion.
    pub resource_version: Box<str>,
    /// The volume that it is bound to.
    pub volume: Option<Box<str>>,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it, or its task, is marked to be preserved.
    pub preserve: bool,
    /// How the run ended, as it stands on the claim.
    pub ended: Option<Ended>,
}

/// How the run of `claim` ended: the latest ending of the Jobs on it, and of what is written on it. Of two at one time the worse.
#[must_use]
pub fn ending(claim: &Claim, users: &Users) -> Option<Ended> {
    users.of(&claim.name).and_then(|user| user.ended).max(claim.ended)
}

/// What becomes of a claim.
#[must_use]
pub fn claim(claim: &Claim, users: &Users, policy: Policy, now: Timestamp) -> Verdict {
    let user = users.of(&claim.name);
    let finished_pod = user.and_then(|user| user.finished_pod.clone());
    if claim.deleting {
        let active = user.and_then(|user| user.active.clone());
        return (Decision::Pending, active.or(finished_pod).map_or(Reason::Terminating, Reason::HeldBy));
    }
    if claim.preserve {
        return (Decision::Keep, Reason::Preserved);
    }
    if let Some(active) = user.and_then(|user| user.active.clone()) {
        return (Decision::Keep, Reason::InUse(active));
    }
    by_age(ending(claim, users), claim.created, policy, now)
}

/// A persistent volume of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: Box<str>,
    /// The run's id.
    pub run: Box<str>,
    /// The uid of the task that it belongs to, where the cluster has one.
    pub task: Option<Box<str>>,
    /// For the precondition of its deletion.
    pub uid: Box<str>,
    /// For the precondition of its deletion.
    pub resource_version: Box<str>,
    /// Since when it is in its phase, or there.
    pub since: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it, or its task, is marked to be preserved.
    pub preserve: bool,
    /// How the run ended, as it stands on the volume.
    pub ended: Option<Ended>,
    /// Whether a claim has it.
    pub binding: Binding,
    /// Who deletes what is stored on it.
    pub storage: Storage,
}

/// Whether a claim has a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// One has it.
    Bound,
    /// It was made for this one, which has not come yet, or for none.
    Free(Option<Box<str>>),
    /// The one that had it is gone.
    Released,
}

/// Who deletes what is stored on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// The storage class does, with the volume.
    Provisioner,
    /// Nobody: the storage class retains it. It could be told to delete it.
    Retained,
    /// We do: it is a directory of a node, given by path and by the nodes that have it (all, where there are none).
    Directory {
        /// Where it is.
        path: PathBuf,
        /// Who has it.
        nodes: Vec<String>,
    },
}

/// Where the directories are that can be deleted here.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The directory that they are below.
    pub root: &'a Path,
    /// The node.
    pub node: Option<&'a str>,
}

/// What becomes of a persistent volume, which is decided by its claim as long as there is one (`claim_is_there`).
#[must_use]
pub fn volume(
    volume: &Volume,
    claim_is_there: impl Fn(&str) -> bool,
    place: Option<Place<'_>>,
    policy: Policy,
    now: Timestamp,
) -> Verdict {
    let keep = |reason| (Decision::Keep, reason);
    if volume.deleting {
        return (Decision::Pending, Reason::Terminating);
    }
    if volume.preserve {
        return keep(Reason::Preserved);
    }
    match &volume.binding {
        Binding::Bound => return keep(Reason::HasClaim),
        Binding::Free(Some(claim)) if claim_is_there(claim) => return keep(Reason::HasClaim),
        Binding::Free(_) | Binding::Released => {}
    }
    let (path, nodes) = match &volume.storage {
        Storage::Provisioner => return (Decision::Pending, Reason::Provisioner),
        Storage::Retained if policy.delete_retained => {
            return by_age(volume.ended, volume.since, policy, now);
        }
        Storage::Retained => return keep(Reason::Retained),
        Storage::Directory { path, nodes } => (path, nodes),
    };
    let Some(place) = place else { return keep(Reason::NoRoot) };
    if below(place.root, path).is_none() {
        return keep(Reason::OutsideRoot);
    }
    if let Some(first) = nodes.first()
        && !nodes.iter().any(|node| Some(node.as_str()) == place.node)
    {
        return keep(Reason::OtherNode(first.as_str().into()));
    }
    by_age(volume.ended, volume.since, policy, now)
}

/// What becomes of a directory that no volume has, and that was changed last at `changed`.
#[must_use]
pub fn directory(changed: Timestamp, policy: Policy, now: Timestamp) -> Verdict {
    // No Job is about to come to it: the volume would be there already.
    let due = later(changed, policy.keep_failed);
    (if due <= now { Decision::Delete } else { Decision::Keep }, Reason::Unknown { since: changed, due })
}

/// The part of `path` that is strictly below `root`, where it is and names nothing above itself.
#[must_use]
pub fn below<'a>(root: &Path, path: &'a Path) -> Option<&'a Path> {
    let rest = path.strip_prefix(root).ok()?;
    let plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !rest.as_os_str().is_empty()).then_some(rest)
}

/// By how and when the run ended, or by how long the object is there.
fn by_age(ended: Option<Ended>, since: Timestamp, policy: Policy, now: Timestamp) -> Verdict {
    let (due, reason) = match ended {
        Some(ended) => {
            let due = later(ended.at, if ended.failed { policy.keep_failed } else { policy.keep_succeeded });
            (due, Reason::Ended { ended, due })
        }
        None => {
            let due = later(since, policy.keep_failed.max(JOB_MAY_COME));
            (due, Reason::Unknown { since, due })
        }
    };
    (if due <= now { Decision::Delete } else { Decision::Keep }, reason)
}

/// A time that cannot be told is never reached.
fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Turns all deletions but the first `limit` into what waits for the next time.
pub fn limit(verdicts: &mut [Verdict], limit: usize, deletions: &mut usize) {
    for verdict in verdicts.iter_mut().filter(|(decision, _)| *decision == Decision::Delete) {
        if *deletions < limit {
            *deletions += 1;
        } else {
            *verdict = (Decision::Keep, Reason::Limit(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{ClaimObject, CronJob, Job, Pod, VolumeObject};
    use agent_task::labels::{FINISHED_AT, PHASE, PRESERVE, ROLE, RUN, Role};
    use serde_json::{Value, json};

    const POLICY: Policy = Policy {
        keep_succeeded: SignedDuration::ZERO,
        keep_failed: SignedDuration::from_hours(72),
        delete_retained: false,
    };

    fn now() -> Timestamp {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    fn ago(hours: i64) -> Timestamp {
        now() - SignedDuration::from_hours(hours)
    }

    fn metadata(name: &str, created: Timestamp, labels: Value, annotations: Value) -> Value {
        json!({ "name": name, "uid": "u", "resourceVersion": "1", "creationTimestamp": created,
                "labels": labels, "annotations": annotations })
    }

    fn claim_with(created: Timestamp, annotations: Value) -> Claim {
        let metadata = metadata("agent-ws-a", created, json!({ RUN: "a" }), annotations);
        serde_json::from_value::<ClaimObject>(json!({ "metadata": metadata, "spec": {} })).unwrap().into()
    }

    fn spec() -> Value {
        json!({ "volumes": [{ "name": "tmp", "emptyDir": {} },
                            { "name": "workspace", "persistentVolumeClaim": { "claimName": "agent-ws-a" } }] })
    }

    fn pod(phase: &str) -> Pod {
        let metadata = metadata("a-x1", ago(1), json!({}), json!({}));
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec(), "status": { "phase": phase } }))
            .unwrap()
    }

    fn job(role: Role, suspend: bool, ended: Option<(&str, Timestamp)>) -> Job {
        let conditions: Vec<Value> = ended
            .map(|(kind, at)| json!({ "type": kind, "status": "True", "lastTransitionTime": at }))
            .into_iter()
            .collect();
        let metadata = metadata("a", ago(200), json!({ ROLE: role.as_str() }), json!({}));
        serde_json::from_value(json!({
            "metadata": metadata,
            "spec": { "suspend": suspend, "template": { "spec": spec() } },
            "status": { "conditions": conditions },
        }))
        .unwrap()
    }

    fn run(ended: Option<(&str, Timestamp)>) -> Job {
        job(Role::Run, false, ended)
    }

    fn users(jobs: &[Job], pods: &[Pod]) -> Users {
        let mut users = Users::default();
        jobs.iter().for_each(|job| users.add_job(job));
        pods.iter().for_each(|pod| users.add_pod(pod));
        users
    }

    fn decide(about: &Claim, jobs: &[Job], pods: &[Pod]) -> (Decision, String) {
        let (decision, reason) = claim(about, &users(jobs, pods), POLICY, now());
        (decision, reason.to_string())
    }

    /// K5
    #[test]
    fn the_claim_of_a_run_that_succeeded_goes_at_once() {
        let claim = claim_with(ago(1), json!({}));
        let (decision, reason) = decide(&claim, &[run(Some(("Complete", ago(0))))], &[]);
        assert_eq!(decision, Decision::Delete);
        assert!(reason.starts_with("the run succeeded at 2026-11-25T12:00:00Z"), "{reason}");
        let later = Policy { keep_succeeded: SignedDuration::from_hours(2), ..POLICY };
        let users = users(&[run(Some(("Complete", ago(1))))], &[]);
        assert_eq!(super::claim(&claim, &users, later, now()).0, Decision::Keep);
    }

    /// K5
    #[test]
    fn the_claim_of_a_run_that_failed_goes_72_hours_after_its_end() {
        let claim = claim_with(ago(100), json!({}));
        assert_eq!(decide(&claim, &[run(Some(("Failed", ago(71))))], &[]).0, Decision::Keep);
        assert_eq!(decide(&claim, &[run(Some(("Failed", ago(72))))], &[]).0, Decision::Delete);
    }

    /// K5
    #[test]
    fn what_is_written_on_the_claim_tells_of_a_job_that_is_gone() {
        let written =
            |phase: &str, at: Timestamp| claim_with(ago(100), json!({ PHASE: phase, FINISHED_AT: at }));
        assert_eq!(decide(&written("Succeeded", ago(2)), &[], &[]).0, Decision::Delete);
        assert_eq!(decide(&written("Failed", ago(71)), &[], &[]).0, Decision::Keep);
        assert_eq!(decide(&written("Failed", ago(73)), &[], &[]).0, Decision::Delete);
        // Not final, so no ending: as if it were not there.
        assert_eq!(decide(&written("Running", ago(1)), &[], &[]).0, Decision::Delete);
    }

    /// K5
    #[test]
    fn where_nothing_tells_the_ending_it_is_a_failure_as_old_as_the_claim() {
        let (decision, reason) = decide(&claim_with(ago(71), json!({})), &[], &[]);
        assert_eq!(decision, Decision::Keep);
        assert!(reason.starts_with("nothing tells how the run ended"), "{reason}");
        assert_eq!(decide(&claim_with(ago(72), json!({})), &[], &[]).0, Decision::Delete);
    }

    /// K5
    #[test]
    fn a_claim_that_was_just_made_may_be_about_to_get_its_job() {
        let none = Policy { keep_failed: SignedDuration::ZERO, ..POLICY };
        let decide = |created| claim(&claim_with(created, json!({})), &Users::default(), none, now()).0;
        assert_eq!(decide(now() - SignedDuration::from_mins(9)), Decision::Keep);
        assert_eq!(decide(now() - SignedDuration::from_mins(10)), Decision::Delete);
        assert_eq!(decide(now() + SignedDuration::from_hours(1)), Decision::Keep, "clocks differ");
    }

    /// K5
    #[test]
    fn what_is_marked_is_preserved_for_good() {
        let marked = |value: &str| claim_with(ago(9999), json!({ PRESERVE: value }));
        let succeeded = [run(Some(("Complete", ago(9000))))];
        for value in ["true", "yes", "", "True"] {
            assert_eq!(decide(&marked(value), &succeeded, &[]).0, Decision::Keep, "{value:?}");
        }
        assert_eq!(decide(&marked("false"), &succeeded, &[]).0, Decision::Delete);
    }

    /// K5
    #[test]
    fn what_a_pod_or_a_job_uses_is_kept_however_old() {
        let old = claim_with(ago(9999), json!({ PHASE: "Succeeded", FINISHED_AT: ago(9000) }));
        for phase in ["Pending", "Running", "Unknown"] {
            let (decision, reason) = decide(&old, &[], &[pod(phase)]);
            assert_eq!((decision, reason), (Decision::Keep, format!("the pod a-x1 ({phase}) uses it")));
        }
        let (decision, reason) = decide(&old, &[run(None)], &[]);
        assert_eq!((decision, reason.as_str()), (Decision::Keep, "the Job a (not finished) uses it"));
        let (decision, reason) = decide(&old, &[job(Role::Run, true, None)], &[pod("Succeeded")]);
        assert_eq!((decision, reason.as_str()), (Decision::Keep, "the Job a (suspended) uses it"));
        // One that is finished beside one that is not.
        let salvage = job(Role::Salvage, false, None);
        assert_eq!(decide(&old, &[run(Some(("Failed", ago(99)))), salvage], &[]).0, Decision::Keep);
    }

    /// K5, K10
    #[test]
    fn what_a_schedule_will_use_again_is_kept() {
        let cron_job: CronJob = serde_json::from_value(json!({
            "metadata": metadata("nightly", ago(1), json!({}), json!({})),
            "spec": { "jobTemplate": { "spec": { "template": { "spec": spec() } } } },
        }))
        .unwrap();
        let mut users = Users::default();
        users.add_cron_job(&cron_job);
        let old = claim_with(ago(9999), json!({}));
        let (decision, reason) = claim(&old, &users, POLICY, now());
        assert_eq!((decision, reason.to_string().as_str()), (Decision::Keep, "the CronJob nightly uses it"));
    }

    /// K5
    #[test]
    fn a_claim_that_is_made_for_a_pod_is_used_by_it() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": metadata("agent", ago(1), json!({}), json!({})),
            "spec": { "volumes": [{ "name": "ws-a", "ephemeral": { "volumeClaimTemplate": {} } }] },
            "status": { "phase": "Running" },
        }))
        .unwrap();
        let mut users = Users::default();
        users.add_pod(&pod);
        assert!(users.of("agent-ws-a").is_some_and(|user| user.active.is_some()));
    }

    /// K5
    #[test]
    fn a_claim_that_goes_already_is_waited_for_and_says_for_what() {
        let mut going = claim_with(ago(9999), json!({}));
        going.deleting = true;
        let succeeded = [run(Some(("Complete", ago(1))))];
        let (decision, reason) = decide(&going, &succeeded, &[pod("Succeeded")]);
        assert_eq!(decision, Decision::Pending);
        assert_eq!(reason, "it is being deleted, and goes when the pod a-x1 (Succeeded) is gone");
        assert_eq!(decide(&going, &succeeded, &[]).0, Decision::Pending);
    }

    /// K5, K16
    #[test]
    fn that_a_killed_runs_work_was_salvaged_makes_no_success_of_it() {
        let claim = claim_with(ago(100), json!({}));
        let jobs = |salvaged| {
            [run(Some(("Failed", ago(90)))), job(Role::Salvage, false, Some(("Complete", salvaged)))]
        };
        assert_eq!(decide(&claim, &jobs(ago(71)), &[]).0, Decision::Keep);
        assert_eq!(decide(&claim, &jobs(ago(72)), &[]).0, Decision::Delete);
    }

    /// K5
    #[test]
    fn the_last_of_several_endings_counts_and_of_two_at_once_the_failure() {
        let written = claim_with(ago(100), json!({ PHASE: "Succeeded", FINISHED_AT: ago(2) }));
        assert_eq!(decide(&written, &[run(Some(("Failed", ago(1))))], &[]).0, Decision::Keep);
        assert_eq!(decide(&written, &[run(Some(("Failed", ago(2))))], &[]).0, Decision::Keep);
        assert_eq!(decide(&written, &[run(Some(("Failed", ago(3))))], &[]).0, Decision::Delete);
    }

    fn volume_with(phase: &str, spec: &Value, annotations: Value) -> Volume {
        let mut whole = json!({
            "claimRef": { "namespace": "ai-agents", "name": "agent-ws-a" },
            "hostPath": { "path": "/srv/runs/agent-ws-a" },
            "persistentVolumeReclaimPolicy": "Retain",
        });
        for (name, value) in spec.as_object().unwrap() {
            whole[name] = value.clone();
        }
        serde_json::from_value::<VolumeObject>(json!({
            "metadata": metadata("agent-ws-a", ago(200), json!({ RUN: "a" }), annotations),
            "spec": whole,
            "status": { "phase": phase, "lastPhaseTransitionTime": ago(10) },
        }))
        .unwrap()
        .into()
    }

    fn decide_volume(about: &Volume, there: bool) -> (Decision, String) {
        let place = Place { root: Path::new("/srv/runs"), node: Some("one") };
        let (decision, reason) = volume(about, |_| there, Some(place), POLICY, now());
        (decision, reason.to_string())
    }

    /// K5
    #[test]
    fn a_volume_goes_by_what_its_claim_left_on_it() {
        let left = |phase, at: Timestamp| {
            volume_with("Released", &json!({}), json!({ PHASE: phase, FINISHED_AT: at }))
        };
        assert_eq!(decide_volume(&left("Succeeded", ago(0)), false).0, Decision::Delete);
        assert_eq!(decide_volume(&left("Failed", ago(71)), false).0, Decision::Keep);
        assert_eq!(decide_volume(&left("Failed", ago(72)), false).0, Decision::Delete);
        let orphan = volume_with("Released", &json!({}), json!({}));
        assert_eq!(decide_volume(&orphan, false).0, Decision::Keep, "released 10 hours ago");
        let preserved = volume_with(
            "Released",
            &json!({}),
            json!({ PHASE: "Succeeded", FINISHED_AT: ago(99), PRESERVE: "true" }),
        );
        assert_eq!(decide_volume(&preserved, false).0, Decision::Keep);
    }

    /// K5
    #[test]
    fn a_volume_that_has_a_claim_or_waits_for_it_is_kept() {
        let ended = json!({ PHASE: "Succeeded", FINISHED_AT: ago(99) });
        for phase in ["Bound", "Pending"] {
            assert_eq!(
                decide_volume(&volume_with(phase, &json!({}), ended.clone()), false).0,
                Decision::Keep
            );
        }
        let free = volume_with("Available", &json!({}), ended);
        assert_eq!(decide_volume(&free, true).0, Decision::Keep);
        assert_eq!(decide_volume(&free, false).0, Decision::Delete);
    }

    /// K5
    #[test]
    fn a_volume_whose_directory_is_not_ours_to_delete_is_kept() {
        let ended = json!({ PHASE: "Succeeded", FINISHED_AT: ago(99) });
        let decide = |spec: Value| decide_volume(&volume_with("Released", &spec, ended.clone()), false);
        for path in ["/srv/runs", "/srv/runs/", "/srv/other", "/srv/runs/../etc", "/", "/srv/runsagent-ws-a"]
        {
            let (decision, reason) = decide(json!({ "hostPath": { "path": path } }));
            assert_eq!(decision, Decision::Keep, "{path}");
            assert!(reason.contains("not below the root"), "{reason}");
        }
        assert_eq!(
            decide(json!({ "hostPath": { "path": "/srv/runs/team/agent-ws-a" } })).0,
            Decision::Delete
        );
        assert_eq!(decide(json!({ "hostPath": null, "nfs": {} })).0, Decision::Keep);
        let of_class = json!({ "hostPath": null, "csi": {}, "persistentVolumeReclaimPolicy": "Delete" });
        assert_eq!(decide(of_class).0, Decision::Pending);
        let on = |node| {
            let expression = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] });
            decide(
                json!({ "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [expression] }] } } }),
            )
        };
        assert_eq!(on("one").0, Decision::Delete);
        assert_eq!(
            on("two"),
            (Decision::Keep, "its claim is gone, but its directory is on the node two".to_owned())
        );
        let released = volume_with("Released", &json!({}), ended.clone());
        let (decision, reason) = volume(&released, |_| false, None, POLICY, now());
        assert_eq!((decision, reason), (Decision::Keep, Reason::NoRoot));
    }

    /// K5
    #[test]
    fn a_volume_that_its_storage_class_retains_goes_on_request_alone_and_then_in_its_time() {
        let spec = json!({ "hostPath": null, "csi": {} });
        let all = Policy { delete_retained: true, ..POLICY };
        let decide = |policy, annotations| {
            volume(&volume_with("Released", &spec, annotations), |_| false, None, policy, now()).0
        };
        let ended = |phase: &str, hours| json!({ PHASE: phase, FINISHED_AT: ago(hours) });
        assert_eq!(decide(POLICY, ended("Succeeded", 99)), Decision::Keep);
        assert_eq!(decide(all, ended("Succeeded", 1)), Decision::Delete);
        assert_eq!(decide(all, ended("Failed", 71)), Decision::Keep);
        assert_eq!(decide(all, ended("Failed", 72)), Decision::Delete);
        assert_eq!(decide(all, json!({})), Decision::Keep, "it is without a claim for 10 hours alone");
        assert_eq!(
            decide(all, json!({ PHASE: "Succeeded", FINISHED_AT: ago(99), PRESERVE: "true" })),
            Decision::Keep
        );
    }

    /// K5
    #[test]
    fn a_volume_is_a_runs_by_its_label_or_by_the_name_of_its_claim() {
        let is_of = |labels: Value, claim: Value| {
            let spec = json!({ "claimRef": claim, "csi": {} });
            let whole = json!({ "metadata": metadata("pvc-1", ago(1), labels, json!({})), "spec": spec });
            serde_json::from_value::<VolumeObject>(whole).unwrap().is_of("ai-agents")
        };
        let claim = |namespace: &str, name: &str| json!({ "namespace": namespace, "name": name });
        assert!(is_of(json!({}), claim("ai-agents", "agent-ws-a")));
        assert!(is_of(json!({ RUN: "a" }), claim("ai-agents", "other")));
        assert!(is_of(json!({ RUN: "a" }), Value::Null));
        assert!(!is_of(json!({}), claim("another", "agent-ws-a")));
        assert!(!is_of(json!({ RUN: "a" }), claim("another", "agent-ws-a")));
        assert!(!is_of(json!({}), claim("ai-agents", "agent-workspace")));
        assert!(!is_of(json!({}), Value::Null));
    }

    /// K5
    #[test]
    fn a_directory_without_a_volume_is_a_failure_as_old_as_its_last_change() {
        assert_eq!(directory(ago(71), POLICY, now()).0, Decision::Keep);
        assert_eq!(directory(ago(72), POLICY, now()).0, Decision::Delete);
    }

    /// K5
    #[test]
    fn no_more_is_deleted_than_the_limit_says() {
        let due = || (Decision::Delete, Reason::Terminating);
        let (mut first, mut second, mut deletions) =
            ([due(), (Decision::Keep, Reason::Preserved), due()], [due(), due()], 0);
        limit(&mut first, 3, &mut deletions);
        limit(&mut second, 3, &mut deletions);
        let decisions =
            |verdicts: &[Verdict]| verdicts.iter().map(|(decision, _)| *decision).collect::<Vec<_>>();
        assert_eq!(decisions(&first), [Decision::Delete, Decision::Keep, Decision::Delete]);
        assert_eq!(decisions(&second), [Decision::Delete, Decision::Keep]);
        assert_eq!(second[1].1, Reason::Limit(3));
    }
}
