//! Removes the volumes of runs that are over.
//!
//! stdin: nothing. stdout: one JSON line a volume, with what was decided and why, and a summary. stderr: what people should
//! know.
//!
//! ```text
//! $ reap-pvcs -n ai-agents
//! {"kind":"ReapedVolume","namespace":"ai-agents","run":"publisher-3fa9c10b77de","claim":"agent-ws-publisher-3fa9c10b77de",
//!  "decision":"delete","reason":"the run succeeded at 2026-11-22T22:09:00Z, …","result":"deleted"}
//! {"kind":"ReapSummary","namespace":"ai-agents","dryRun":false,"claims":1,…,"deleted":1,…,"failed":0}
//! ```
//!
//! What it does: lists the claims that bear a run's label, then all pods, Jobs and CronJobs of the namespace, and [decides](decision)
//! on each claim. How a run ended is told by its Job, and is written on the claim as soon as it is seen, because the Job
//! goes first. A volume of hostPath mode goes after its claim: first the directory, then the object, which until then says
//! what there is to do; so a pass that was cut short is taken up by the next. One that its storage class retains is told of, and on
//! request given back to whoever made it: the object alone is not the disk.
//!
//! What it never does: delete a volume that a pod or a Job uses, a suspended one too, or evidence of a failure before its
//! time; delete what changed since it was looked at; leave the configured root; follow a symbolic link.

pub mod args;
mod cluster;
pub mod decision;
pub mod directory;
pub mod objects;
pub mod report;
pub mod users;

pub use args::Args;

use crate::cluster::{Cluster, Deleted, Target};
use crate::decision::{Binding, Claim, Decision, Place, Storage, Verdict, Volume};
use crate::directory::Root;
use crate::objects::{ClaimObject, CronJob, Job, Pod, TaskObject, VolumeObject};
use crate::report::{Effect, Line, Summary};
use crate::users::{Ended, Users};
use agent_task::{Exit, labels, names};
use anyhow::Context as _;
use futures::StreamExt as _;
use jiff::Timestamp;
use piece::{Fault, output};
use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many calls are under way at a time.
const AT_ONCE: usize = 8;

/// How often, a second apart, the volumes are looked at again after their claims were deleted. Kubernetes takes a moment; what
/// takes longer is taken up by the next pass.
const LOOKS: u32 = 10;

const VOLUMES: &str = "/api/v1/persistentvolumes";

/// Runs the piece.
///
/// # Errors
/// Faults with the exit codes of the contract. What fails on a single volume is no error: it is in the volume's line, and the
/// exit code is [`Exit::Retry`].
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the runtime")?.block_on(reap(args))
}

async fn reap(args: Args) -> anyhow::Result<Exit> {
    let root = args
        .host_path_root
        .as_deref()
        .map(Root::open)
        .transpose()
        .context(Fault::usage("--host-path-root"))?;
    let client = cluster_client::connect(args.namespace.as_deref()).await?;
    let namespace = client.default_namespace().to_owned();
    let summary = Summary::new(&namespace, args.dry_run);
    let mut pass = Pass {
        cluster: Cluster::new(client),
        now: Timestamp::now(),
        deletions: 0,
        namespace,
        summary,
        root,
        preserved: HashSet::new(),
        args,
    };
    pass.preserved = pass.list_preserved().await?;
    // Before the volumes: a directory that is there now and has no volume then has lost it, and is not about to get one.
    let directories = pass.directories()?;
    let claims: Vec<Claim> = pass.list_claims().await?;
    let users = pass.list_users().await?;
    let volumes = if pass.args.claims_only { Vec::new() } else { pass.list_volumes().await? };

    let released = pass.reap_claims(&claims, &users, &volumes).await?;
    let gone = pass.reap_volumes(&claims, volumes, released).await?;
    pass.reap_directories(directories, gone).await?;
    output::line(&pass.summary)?;
    Ok(if pass.summary.failed == 0 { Exit::Done } else { Exit::Retry })
}

/// One pass over a namespace.
struct Pass {
    args: Args,
    cluster: Cluster,
    namespace: String,
    root: Option<Root>,
    /// The uids of the tasks that are marked to be preserved.
    preserved: HashSet<Box<str>>,
    now: Timestamp,
    deletions: usize,
    summary: Summary,
}

impl Pass {
    fn collection(&self, group: &str, plural: &str) -> String {
        format!("/{group}/namespaces/{}/{plural}", self.namespace)
    }

    fn claims(&self) -> String {
        self.collection("api/v1", "persistentvolumeclaims")
    }

    /// What the labels of a run's objects are asked for beside the run's own.
    fn selector(&self) -> Option<String> {
        self.args.selector.as_ref().map(|more| format!("{},{more}", labels::RUN))
    }

    fn is_preserved(&self, task: Option<&str>) -> bool {
        task.is_some_and(|task| self.preserved.contains(task))
    }

    async fn list_preserved(&self) -> anyhow::Result<HashSet<Box<str>>> {
        let tasks = self.collection(&format!("apis/{}/v1alpha1", labels::DOMAIN), "agenttasks");
        let add = |preserved: &mut HashSet<Box<str>>, task: TaskObject| preserved.extend(task.preserved());
        self.cluster.list(&tasks, None, add).await
    }

    async fn list_claims(&self) -> anyhow::Result<Vec<Claim>> {
        let add = |claims: &mut Vec<Claim>, claim: ClaimObject| {
            let mut claim = Claim::from(claim);
            claim.preserve |= self.is_preserved(claim.task.as_deref());
            claims.push(claim);
        };
        let selector = self.selector().unwrap_or_else(|| labels::RUN.to_owned());
        self.cluster.list(&self.claims(), Some(&selector), add).await
    }

    /// Whoever it is that uses a claim, it need not bear our labels.
    async fn list_users(&self) -> anyhow::Result<Users> {
        let cluster = &self.cluster;
        let jobs = cluster
            .list(&self.collection("apis/batch/v1", "jobs"), None, |users: &mut Users, job: Job| {
                users.add_job(&job);
            })
            .await?;
        let pods = cluster
            .list(&self.collection("api/v1", "pods"), None, |users: &mut Users, pod: Pod| users.add_pod(&pod))
            .await?;
        let cron_jobs = cluster
            .list(
                &self.collection("apis/batch/v1", "cronjobs"),
                None,
                |users: &mut Users, cron_job: CronJob| {
                    users.add_cron_job(&cron_job);
                },
            )
            .await?;
        Ok(jobs.with(pods).with(cron_jobs))
    }

    /// What a storage class makes has no labels, so without a selector all volumes are looked at. Of those that have a claim, none
    /// is held that goes with it.
    async fn list_volumes(&self) -> anyhow::Result<Vec<Volume>> {
        let add = |volumes: &mut Vec<Volume>, volume: VolumeObject| {
            if !volume.is_of(&self.namespace) {
                return;
            }
            let mut volume = Volume::from(volume);
            volume.preserve |= self.is_preserved(volume.task.as_deref());
            if volume.binding != Binding::Bound || volume.storage != Storage::Provisioner {
                volumes.push(volume);
            }
        };
        self.cluster.list(VOLUMES, self.selector().as_deref(), add).await
    }

    /// Once something was deleted, what fails ends no pass without a summary.
    fn leave_out(&mut self, error: &anyhow::Error) {
        say(&format!("{error:#}"));
        self.summary.left_out(error);
    }

    fn limited(&mut self, mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
        if let Some(limit) = self.args.max_deletes {
            decision::limit(&mut verdicts, limit, &mut self.deletions);
        }
        verdicts
    }

    /// Deletes the claims that are due, writes on those that stay how their runs ended, and gives the volumes that will be released
    /// by it.
    async fn reap_claims(
        &mut self,
        claims: &[Claim],
        users: &Users,
        volumes: &[Volume],
    ) -> anyhow::Result<HashSet<Box<str>>> {
        let policy = self.args.policy();
        let verdicts = claims.iter().map(|claim| decision::claim(claim, users, policy, self.now)).collect();
        let verdicts = self.limited(verdicts);
        let volumes: HashMap<&str, &Volume> = volumes.iter().map(|volume| (&*volume.name, volume)).collect();
        let (cluster, collection, dry_run) = (&self.cluster, &*self.claims(), self.args.dry_run);
        let mut done = futures::stream::iter(claims.iter().zip(&verdicts))
            .map(|(claim, verdict)| {
                let volume = claim.volume.as_deref().and_then(|name| volumes.get(name).copied());
                let ended = decision::ending(claim, users);
                async move {
                    let result = if dry_run {
                        Ok(untouched(verdict))
                    } else {
                        settle_claim(cluster, collection, claim, verdict.0, ended, volume).await
                    };
                    (claim, verdict, result)
                }
            })
            .buffer_unordered(AT_ONCE);
        let mut released = HashSet::new();
        while let Some((claim, (decision, reason), result)) = done.next().await {
            let gone = matches!(result, Ok(Effect::Deleted | Effect::Terminating | Effect::Absent));
            let held = users.of(&claim.name).is_some_and(|user| user.finished_pod.is_some());
            if gone && !held {
                released.extend(claim.volume.clone());
            }
            let mut line = Line::new(&self.namespace, &claim.run, *decision, reason);
            line.claim = Some(&claim.name);
            line.volume = claim.volume.as_deref();
            self.summary.claims += 1;
            self.summary.print(line, result)?;
        }
        Ok(released)
    }

    /// Deletes the volumes that have no claim any more and are due, directories first, and gives the directories that went.
    async fn reap_volumes(
        &mut self,
        claims: &[Claim],
        mut volumes: Vec<Volume>,
        released: HashSet<Box<str>>,
    ) -> anyhow::Result<HashSet<PathBuf>> {
        let (has_root, takes_retained) = (self.root.is_some(), self.args.delete_retained);
        let is_awaited = |volume: &Volume| {
            let is_ours = match volume.storage {
                Storage::Provisioner => false,
                Storage::Retained => takes_retained,
                Storage::Directory { .. } => has_root,
            };
            is_ours && volume.binding == Binding::Bound && released.contains(&volume.name)
        };
        for _ in 0..LOOKS {
            if !volumes.iter().any(is_awaited) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            match self.list_volumes().await {
                Ok(listed) => volumes = listed,
                // The next pass finds them. What is known of the others stands.
                Err(error) => {
                    self.leave_out(&error);
                    break;
                }
            }
        }
        // Those that have a claim are in the claim's line.
        volumes.retain(|volume| volume.binding != Binding::Bound);
        let names: HashSet<&str> = claims.iter().map(|claim| &*claim.name).collect();
        let policy = self.args.policy();
        let now = Timestamp::now();
        let place =
            self.args.host_path_root.as_deref().map(|root| Place { root, node: self.args.node.as_deref() });
        let verdicts = volumes
            .iter()
            .map(|volume| decision::volume(volume, |claim| names.contains(claim), place, policy, now))
            .collect();
        let verdicts = self.limited(verdicts);
        let (cluster, dry_run) = (&self.cluster, self.args.dry_run);
        let place = self.root.as_ref().zip(self.args.host_path_root.as_deref());
        let mut done = futures::stream::iter(volumes.iter().zip(&verdicts))
            .map(|(volume, verdict)| async move {
                let result = if dry_run || verdict.0 != Decision::Delete {
                    Ok(untouched(verdict))
                } else {
                    delete_volume(cluster, volume, place).await
                };
                (volume, verdict, result)
            })
            .buffer_unordered(AT_ONCE);
        let mut gone = HashSet::new();
        while let Some((volume, (decision, reason), result)) = done.next().await {
            let mut line = Line::new(&self.namespace, &volume.run, *decision, reason);
            line.volume = Some(&volume.name);
            if let Storage::Directory { path, .. } = &volume.storage {
                line.directory = Some(path.display().to_string());
                gone.extend((*decision == Decision::Delete).then(|| path.clone()));
            }
            self.summary.volumes += 1;
            self.summary.print(line, result)?;
        }
        Ok(gone)
    }

    /// The directories of runs below the root, for [`Self::reap_directories`]. They have no labels, so a selector chooses none.
    fn directories(&self) -> anyhow::Result<Vec<(String, Timestamp)>> {
        match &self.root {
            Some(root) if self.args.selector.is_none() => {
                root.directories(|name| names::run_of_claim(name).is_some())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Deletes the directories that no volume of the cluster has, nor had in this pass (`gone`), and that are due.
    async fn reap_directories(
        &mut self,
        directories: Vec<(String, Timestamp)>,
        gone: HashSet<PathBuf>,
    ) -> anyhow::Result<()> {
        let Some(path) = self.args.host_path_root.clone() else { return Ok(()) };
        if directories.is_empty() {
            return Ok(());
        }
        let add =
            |paths: &mut HashSet<PathBuf>, volume: VolumeObject| paths.extend(volume.directory().cloned());
        let mut taken: HashSet<PathBuf> = match self.cluster.list(VOLUMES, None, add).await {
            Ok(taken) => taken,
            Err(error) => {
                self.leave_out(&error);
                return Ok(());
            }
        };
        taken.extend(gone);
        let is_taken = |name: &str| taken.iter().any(|taken| taken.starts_with(path.join(name)));
        let orphans: Vec<_> = directories.into_iter().filter(|(name, _)| !is_taken(name)).collect();
        let policy = self.args.policy();
        let verdicts =
            orphans.iter().map(|(_, changed)| decision::directory(*changed, policy, self.now)).collect();
        let verdicts = self.limited(verdicts);
        for ((name, _), verdict) in orphans.iter().zip(&verdicts) {
            let result = match &self.root {
                Some(root) if verdict.0 == Decision::Delete && !self.args.dry_run => root
                    .delete(Path::new(name))
                    .map(|found| if found { Effect::Deleted } else { Effect::Absent }),
                _ => Ok(untouched(verdict)),
            };
            let run = names::run_of_claim(name).unwrap_or_default();
            let mut line = Line::new(&self.namespace, run, verdict.0, &verdict.1);
            line.directory = Some(path.join(name).display().to_string());
            self.summary.directories += 1;
            self.summary.print(line, result)?;
        }
        Ok(())
    }
}

fn untouched((decision, _): &Verdict) -> Effect {
    if *decision == Decision::Delete { Effect::DryRun } else { Effect::None }
}

/// Does what was decided about a claim.
async fn settle_claim(
    cluster: &Cluster,
    collection: &str,
    claim: &Claim,
    decision: Decision,
    ended: Option<Ended>,
    volume: Option<&Volume>,
) -> anyhow::Result<Effect> {
    let target =
        Target { collection, name: &claim.name, uid: &claim.uid, resource_version: &claim.resource_version };
    match decision {
        Decision::Pending => Ok(Effect::None),
        Decision::Keep => match ended.filter(|_| ended != claim.ended) {
            Some(ended) => {
                Ok(if cluster.annotate(target, ended).await? { Effect::None } else { Effect::Changed })
            }
            None => Ok(Effect::None),
        },
        Decision::Delete => {
            if let Some(volume) = volume.filter(|volume| volume.storage != Storage::Provisioner) {
                // The claim takes with it how the run ended, and the volume is decided about by it, in this pass or another.
                let ended = ended.unwrap_or(Ended { at: claim.created, failed: true });
                if volume.ended != Some(ended) && !cluster.annotate(volume_target(volume), ended).await? {
                    return Ok(Effect::Changed);
                }
            }
            Ok(effect(cluster.delete(target).await?))
        }
    }
}

async fn delete_volume(
    cluster: &Cluster,
    volume: &Volume,
    place: Option<(&Root, &Path)>,
) -> anyhow::Result<Effect> {
    if volume.storage == Storage::Retained {
        let told = cluster.give_to_provisioner(volume_target(volume)).await?;
        return Ok(if told { Effect::Terminating } else { Effect::Changed });
    }
    if let (Storage::Directory { path, .. }, Some((root, root_path))) = (&volume.storage, place)
        && let Some(rest) = decision::below(root_path, path)
        && !root.delete(rest)?
    {
        say(&format!("the volume {} has no directory {} here", volume.name, path.display()));
    }
    Ok(effect(cluster.delete(volume_target(volume)).await?))
}

fn volume_target(volume: &Volume) -> Target<'_> {
    Target {
        collection: VOLUMES,
        name: &volume.name,
        uid: &volume.uid,
        resource_version: &volume.resource_version,
    }
}

fn effect(deleted: Deleted) -> Effect {
    match deleted {
        Deleted::Gone => Effect::Deleted,
        Deleted::Terminating => Effect::Terminating,
        Deleted::Absent => Effect::Absent,
        Deleted::Changed => Effect::Changed,
    }
}

fn say(line: &str) {
    // Nobody on stderr is no failure.
    let _ = writeln!(std::io::stderr(), "reap-pvcs: {line}");
}
