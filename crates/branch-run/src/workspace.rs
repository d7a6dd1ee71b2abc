//! The work tree that the command works in: looked at before, committed after. In process, by libgit2: no hook, no filter
//! program and no fsmonitor of the repository runs.

use crate::nested;
use crate::run::say;
use crate::settlement::{Facts, Settlement, settle};
use agent_task::record::ChangedFile;
use agent_task::{Outcome, RunRecord, Stage, names};
use anyhow::{Context as _, bail, ensure};
use git2::build::CheckoutBuilder;
use git2::{
    AttrCheckFlags, Commit, DiffFindOptions, DiffOptions, ErrorClass, ErrorCode, Index, Oid, ReflogEntry,
    Repository, RepositoryState, Signature, StatusOptions,
};
use jiff::Timestamp;
use piece::Fault;
use serde::{Deserialize, Serialize};
use std::collections::{BinaryHeap, HashSet};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Who commits where git knows nobody.
pub(crate) const NOBODY: (&str, &str) = ("pressrun", "pressrun@users.noreply.github.com");

/// How many names are tried for a branch; each one taken is a run of the same second.
const ATTEMPTS: u32 = 100;

/// A work tree, by its places.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    git_dir: PathBuf,
}

/// Where a branch was before the command ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tip {
    reference: String,
    #[serde(with = "hexadecimal")]
    commit: Oid,
}

/// The work tree as the command found it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    /// HEAD's commit.
    #[serde(with = "hexadecimal")]
    pub(crate) commit: Oid,
    /// HEAD's branch; none where it is detached.
    on: Option<String>,
    /// The branches that the command is not to commit to: HEAD's and the base.
    tips: Vec<Tip>,
}

impl Start {
    /// HEAD's branch, by its short name; none where it is detached.
    pub(crate) fn branch(&self) -> Option<&str> {
        self.on.as_deref().map(|name| name.strip_prefix("refs/heads/").unwrap_or(name))
    }
}

mod hexadecimal {
    use git2::Oid;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(oid: &Oid, to: S) -> Result<S::Ok, S::Error> {
        oid.to_string().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Oid, D::Error> {
        Oid::from_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// What was found and done after the command.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The tip of the run's branch.
    head: String,
    /// The commit that the work tree stands at: the same, unless the command had left HEAD elsewhere.
    at: String,
    commits: u64,
    files: Vec<ChangedFile>,
    files_changed: u64,
    /// What is not as it should be with the branch.
    faults: Vec<String>,
}

/// In the git directory: where a run could not go back from.
const STAY: &str = "pressrun-stays.json";

#[derive(Debug, Serialize, Deserialize)]
struct Stay {
    /// HEAD's branch, or its commit where it is detached.
    at: String,
    /// Where the run began, likewise.
    from: String,
    run: String,
    why: String,
}

fn at(repository: &Repository) -> anyhow::Result<String> {
    let head = repository.head()?;
    let detached = repository.head_detached()?;
    let commit = || head.peel_to_commit().map(|commit| commit.id().to_string());
    Ok(if detached { commit()? } else { head.shorthand().map(str::to_owned).or_else(|_| commit())? })
}

impl Kept {
    /// Notes it in the run's record.
    pub(crate) fn note_in(self, record: &mut RunRecord) {
        if !self.faults.is_empty() {
            record.fail(Outcome::WorkspaceInvalid, Stage::COMMIT, self.faults.join("; "));
        }
        record.head = Some(self.head);
        record.commits = self.commits;
        record.files = self.files;
        record.files_changed = self.files_changed;
    }
}

/// What became of what the command left uncommitted.
struct Left {
    /// None where there was nothing.
    commit: Option<Oid>,
    /// There were conflicts.
    conflicts: bool,
    /// What git takes from nobody, and why.
    refused: Vec<String>,
}

/// What a commit of ours says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Authorship<'a> {
    pub(crate) agent: &'a str,
    pub(crate) run: &'a str,
    /// Name and mail, where they were given.
    pub(crate) author: Option<(&'a str, &'a str)>,
}

impl Workspace {
    /// The work tree that `start` is in.
    pub(crate) fn find(start: &Path) -> anyhow::Result<Self> {
        let repository = Repository::discover(start).with_context(|| {
            Fault::usage(format!("{} is in no git repository", start.display()))
                .hint("change to a clone of the repository that the agent shall work on")
        })?;
        let root = repository.workdir().ok_or_else(|| {
            Fault::usage(format!("{} has no work tree", repository.path().display()))
                .hint("use a clone that is not bare")
        })?;
        Ok(Self { root: root.to_owned(), git_dir: repository.path().to_owned() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// Whether a file there would be part of what is committed.
    pub(crate) fn would_commit(&self, path: &Path) -> bool {
        let Ok(root) = self.root.canonicalize() else { return false };
        let Ok(inside) = path.strip_prefix(&root) else { return false };
        let ignored =
            || Repository::open(&self.git_dir).and_then(|repository| repository.is_path_ignored(inside));
        !inside.starts_with(".git") && !ignored().unwrap_or(false)
    }

    /// Its commits and branches, whatever has become of the work tree.
    fn store(&self) -> anyhow::Result<Repository> {
        Repository::open_bare(&self.git_dir).with_context(|| format!("opening {}", self.git_dir.display()))
    }

    fn open(&self) -> anyhow::Result<Repository> {
        let repository =
            Repository::open(&self.git_dir).with_context(|| format!("opening {}", self.git_dir.display()))?;
        // core.worktree is the command's to change.
        ensure!(
            repository.workdir() == Some(&self.root),
            "the repository's work tree is {}, it was {}",
            repository.workdir().map_or_else(|| "gone".to_owned(), |root| root.display().to_string()),
            self.root.display()
        );
        Ok(repository)
    }

    /// The URL of the remote `origin`, as it is configured.
    pub(crate) fn origin(&self) -> Option<String> {
        let repository = self.open().ok()?;
        let remote = repository.find_remote("origin").ok()?;
        remote.url().ok().map(str::to_owned)
    }

    /// Checks that a run may begin.
    pub(crate) fn check(&self, base: &str) -> anyhow::Result<Start> {
        let repository = self.open()?;
        let tip = |name: &str| {
            Some((name.to_owned(), repository.find_reference(name).ok()?.peel_to_commit().ok()?.id()))
        };
        let local = tip(&format!("refs/heads/{base}"));
        if local.is_none() && tip(&format!("refs/remotes/origin/{base}")).is_none() {
            return Err(Fault::usage(format!("there is no branch '{base}', here or in origin"))
                .hint("name the branch that the pull request goes to with --base, or run `git fetch origin`")
                .into());
        }
        let head = repository.head().map_err(|error| match error.code() {
            ErrorCode::UnbornBranch => anyhow::Error::new(
                Fault::usage("the current branch has no commit").hint("commit something first"),
            ),
            _ => anyhow::Error::new(error).context(Fault::usage("HEAD cannot be read")),
        })?;
        let commit = head.peel_to_commit().context(Fault::usage("HEAD is no commit"))?.id();
        if repository.state() != RepositoryState::Clean {
            return Err(Fault::usage(format!("a {} is in progress", in_progress(repository.state())))
                .hint("finish or abort it first")
                .into());
        }
        if let Some(stay) = self.stay(&repository) {
            return Err(stay.into());
        }
        let changed = uncommitted(&repository)?;
        if !changed.is_empty() {
            return Err(Fault::usage(format!(
                "the work tree has uncommitted changes: {}",
                some_of(&changed)
            ))
            .hint("commit them or `git stash --include-untracked` first: a run commits all that it finds")
            .into());
        }
        let on = if repository.head_detached()? { None } else { head.name().ok().map(str::to_owned) };
        let mut tips: Vec<Tip> =
            local.into_iter().map(|(reference, commit)| Tip { reference, commit }).collect();
        if let Some(reference) = on.clone().filter(|on| tips.iter().all(|tip| tip.reference != *on)) {
            tips.push(Tip { reference, commit });
        }
        Ok(Start { commit, on, tips })
    }

    /// Whether HEAD is this branch, as a run leaves it that was killed.
    pub(crate) fn is_on(&self, branch: &str) -> bool {
        let on = |repository: Repository| {
            Some(repository.head().ok()?.name().ok()? == format!("refs/heads/{branch}"))
        };
        self.open().ok().and_then(on).unwrap_or(false)
    }

    /// When HEAD was put where it is.
    pub(crate) fn head_moved_at(&self) -> Option<SystemTime> {
        self.git_dir.join("HEAD").metadata().and_then(|head| head.modified()).ok()
    }

    /// The commit that HEAD was at, the last time that is meant.
    pub(crate) fn head_when(&self, meant: impl Fn(SystemTime) -> bool) -> Option<Oid> {
        let log = self.open().ok()?.reflog("HEAD").ok()?;
        let at = |entry: &ReflogEntry<'_>| {
            let seconds = u64::try_from(entry.committer().when().seconds()).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        log.iter().find(|entry| meant(at(entry))).map(|entry| entry.id_new())
    }

    /// Whether git is configured with a name and mail here.
    pub(crate) fn has_identity(&self) -> bool {
        self.open().is_ok_and(|repository| repository.signature().is_ok())
    }

    /// Makes the run's branch at `start`. A name that is taken, here or by what was fetched from origin, gets a number.
    pub(crate) fn make_branch(
        &self,
        start: &Start,
        agent: &str,
        wanted: Option<&str>,
        at: Timestamp,
    ) -> anyhow::Result<String> {
        let repository = self.open()?;
        for attempt in 0..ATTEMPTS {
            let name = branch_name(agent, wanted, at, attempt);
            if create(&repository, &name, start.commit)? {
                return Ok(name);
            }
        }
        bail!("{ATTEMPTS} branches of this name exist")
    }

    /// Puts HEAD on the run's branch, which is where HEAD is: no file changes.
    pub(crate) fn enter(&self, branch: &str) -> anyhow::Result<()> {
        // That HEAD is where a run began says that it was put there.
        let _ = std::fs::remove_file(self.git_dir.join(STAY));
        let reference = format!("refs/heads/{branch}");
        self.open()?.set_head(&reference).with_context(|| format!("switching to {branch}"))
    }

    /// Notes in the run's record that what the command left could not be committed, and why. What it has committed by itself is to be
    /// published all the same.
    pub(crate) fn note_uncommitted(
        &self,
        start: &Start,
        branch: &str,
        record: &mut RunRecord,
        error: String,
    ) {
        if std::mem::replace(&mut record.uncommitted, true) {
            return;
        }
        record.fail(Outcome::CommitFailed, Stage::COMMIT, error);
        let stands_at = self.store().ok().and_then(|repository| Some(head_commit(&repository)?.id()));
        match self.look(start, branch, stands_at) {
            Ok(own) => own.note_in(record),
            Err(error) => say(&format!("{error:#}")),
        }
    }

    /// What the run's branch has, and what the commit has that the command `stood` at, whatever lies in the work tree.
    pub(crate) fn look(&self, start: &Start, branch: &str, stood: Option<Oid>) -> anyhow::Result<Kept> {
        let repository = self.store()?;
        let reference = format!("refs/heads/{branch}");
        let tip = repository
            .find_reference(&reference)
            .and_then(|branch| branch.peel_to_commit())
            .with_context(|| format!("looking at {branch}"))?
            .id();
        // It may be gone, as what is on no branch is in time.
        let work = stood.filter(|commit| repository.find_commit(*commit).is_ok()).unwrap_or(tip);
        let mut faults = Vec::new();
        let head = match settle(facts(&repository, false, work, tip)) {
            Settlement::Advance if work == tip => tip,
            Settlement::Advance => {
                point(&repository, &reference, work, "branch-run: to where the work is")?;
                work
            }
            Settlement::Stay => tip,
            Settlement::Beside => {
                let beside = make_beside(&repository, branch, work)?;
                faults.push(left_elsewhere(branch, &beside));
                tip
            }
        };
        kept(&repository, start, branch, (head, head), faults)
    }

    /// Commits what the command left, and puts the run's branch where the work is.
    pub(crate) fn keep(&self, start: &Start, branch: &str, by: Authorship<'_>) -> anyhow::Result<Kept> {
        let mut repository = self.open()?;
        let reference = format!("refs/heads/{branch}");
        let mut faults = Vec::new();

        let head = head_commit(&repository).map(|commit| commit.id());
        let on_branch = repository
            .find_reference("HEAD")
            .is_ok_and(|head| head.symbolic_target().ok().flatten() == Some(&reference));
        let state = repository.state();
        let merged = merge_heads(&mut repository);
        let Left { commit, conflicts, refused } =
            commit_left(&repository, &self.root, head, &merged, by).context("committing what was left")?;
        let Some(work) = commit.or(head) else { bail!("HEAD has no commit, and nothing was left") };
        if !refused.is_empty() {
            faults
                .push(format!("left in the work tree, because git does not take it: {}", some_of(&refused)));
        }
        if state != RepositoryState::Clean {
            if conflicts {
                faults.push(format!(
                    "a {} with conflicts was left in progress; the conflicts are committed",
                    in_progress(state)
                ));
            } else if state != RepositoryState::Merge {
                faults.push(format!("a {} was left in progress", in_progress(state)));
            }
        }

        let tip = repository
            .find_reference(&reference)
            .ok()
            .and_then(|branch| branch.peel_to_commit().ok())
            .map(|c| c.id());
        // A branch that was deleted or renamed had at least its first commit.
        let before = tip.unwrap_or(start.commit);
        let head = match settle(facts(&repository, on_branch, work, before)) {
            Settlement::Advance => {
                point(&repository, &reference, work, "branch-run: to where the work is")?;
                repository.set_head(&reference).context("switching to the run's branch")?;
                work
            }
            Settlement::Stay => {
                if tip.is_none() {
                    point(&repository, &reference, before, "branch-run: made again")?;
                }
                // The branch that HEAD is on may be one that is put back.
                repository.set_head_detached(work).context("leaving the branch that HEAD was left on")?;
                before
            }
            Settlement::Beside => {
                let beside = make_beside(&repository, branch, work)?;
                repository
                    .set_head(&format!("refs/heads/{beside}"))
                    .with_context(|| format!("switching to {beside}"))?;
                if tip.is_none() {
                    point(&repository, &reference, before, "branch-run: made again")?;
                }
                faults.push(left_elsewhere(branch, &beside));
                before
            }
        };
        if state != RepositoryState::Clean {
            repository.cleanup_state().context("ending what was in progress")?;
        }
        put_back(&repository, start, head).context("putting back the branches that the command moved")?;

        kept(&repository, start, branch, (head, work), faults)
    }

    /// Goes back to where the run began. Where that cannot be, it says so, to the next run too: that one would begin at this one's work.
    pub(crate) fn leave(&self, start: &Start, kept: &Kept, run: &str) {
        let Err(error) = self.go_back(start, kept) else { return };
        let stays = || {
            let at = at(&self.open()?)?;
            say(&format!("stays on {at}: {error:#}"));
            let from = start.branch().map_or_else(|| start.commit.to_string(), str::to_owned);
            let stay = Stay { at, from, run: run.to_owned(), why: format!("{error:#}") };
            std::fs::write(self.git_dir.join(STAY), serde_json::to_vec(&stay)?).context("writing that down")
        };
        if let Err(error) = stays() {
            say(&format!("the next run may begin where this one ended: {error:#}"));
        }
    }

    /// What keeps a run from beginning here: HEAD is where one before it could not go back from.
    fn stay(&self, repository: &Repository) -> Option<Fault> {
        let stay: Stay = serde_json::from_slice(&std::fs::read(self.git_dir.join(STAY)).ok()?).ok()?;
        (at(repository).ok()? == stay.at).then(|| {
            // The file is the command's to write.
            let [at, from, run, why] = [stay.at, stay.from, stay.run, stay.why].map(|text| text.escape_debug().to_string());
            Fault::usage(format!("HEAD is still at {at}, where run {run} could not go back to {from}: {why}"))
                .hint("see to that, and `git switch` to where runs shall begin: the work of that run is on its branch")
        })
    }

    /// Nothing in the tree may be lost by it.
    fn go_back(&self, start: &Start, kept: &Kept) -> anyhow::Result<()> {
        let repository = self.open()?;
        let at = repository.head()?.peel_to_commit()?.id();
        ensure!(at.to_string() == kept.at, "HEAD has moved since the work was kept");
        let changed = uncommitted(&repository)?;
        ensure!(changed.is_empty(), "the work tree has uncommitted changes: {}", some_of(&changed));
        let target = match &start.on {
            Some(reference) => repository.find_reference(reference)?.peel_to_commit()?,
            None => repository.find_commit(start.commit)?,
        };
        // A checkout in process runs no filter program, and would leave pointers where files should be.
        if let Some(path) = filtered(&repository, at, target.id())? {
            bail!("{path} goes through a filter (as git-lfs)");
        }
        let mut options = CheckoutBuilder::new();
        options.safe().overwrite_ignored(false);
        repository.checkout_tree(target.as_object(), Some(&mut options))?;
        match &start.on {
            Some(reference) => repository.set_head(reference)?,
            None => repository.set_head_detached(start.commit)?,
        }
        Ok(())
    }
}

fn head_commit(repository: &Repository) -> Option<Commit<'_>> {
    repository.head().ok()?.peel_to_commit().ok()
}

fn facts(repository: &Repository, on_branch: bool, work: Oid, tip: Oid) -> Facts {
    Facts {
        on_branch,
        holds_branch: descends(repository, work, tip),
        held_by_branch: descends(repository, tip, work),
    }
}

/// Makes a branch for work that the run's branch cannot take.
fn make_beside(repository: &Repository, branch: &str, work: Oid) -> anyhow::Result<String> {
    for attempt in 0..ATTEMPTS {
        let name = match attempt {
            0 => format!("{branch}-left"),
            more => format!("{branch}-left-{}", more + 1),
        };
        if create(repository, &name, work)? {
            return Ok(name);
        }
    }
    bail!("{ATTEMPTS} branches of this name exist")
}

fn left_elsewhere(branch: &str, beside: &str) -> String {
    format!("HEAD was left elsewhere, with work that {branch} has not: it is kept in {beside}")
}

fn kept(
    repository: &Repository,
    start: &Start,
    branch: &str,
    (head, at): (Oid, Oid),
    mut faults: Vec<String>,
) -> anyhow::Result<Kept> {
    if !descends(repository, head, start.commit) {
        faults.push(format!("{branch} no longer descends from {}, where it began", start.commit));
    }
    let (files, files_changed) = changed_files(repository, start.commit, head)?;
    Ok(Kept {
        head: head.to_string(),
        at: at.to_string(),
        commits: count(repository, start.commit, head)?,
        files,
        files_changed,
        faults,
    })
}

fn branch_name(agent: &str, wanted: Option<&str>, at: Timestamp, attempt: u32) -> String {
    match (wanted, attempt) {
        (None, attempt) => names::branch(agent, at, attempt),
        (Some(name), 0) => name.to_owned(),
        (Some(name), more) => format!("{name}-{}", u64::from(more) + 1),
    }
}

/// The name that the run's branch would get.
pub(crate) fn first_branch_name(agent: &str, wanted: Option<&str>, at: Timestamp) -> String {
    branch_name(agent, wanted, at, 0)
}

/// Makes a branch where there is none of that name. Git's own lock on the reference is held from the look to the making.
fn create(repository: &Repository, name: &str, commit: Oid) -> anyhow::Result<bool> {
    let reference = format!("refs/heads/{name}");
    let making = || format!("making the branch {name}");
    let mut transaction = repository.transaction().with_context(making)?;
    match transaction.lock_ref(&reference) {
        Ok(()) => {}
        Err(error) if error.code() == ErrorCode::Locked => return Ok(false),
        Err(error) => return Err(error).with_context(making),
    }
    let taken = [&reference, &format!("refs/remotes/origin/{name}")]
        .into_iter()
        .any(|name| repository.find_reference(name).is_ok());
    if taken {
        return Ok(false);
    }
    transaction
        .set_target(&reference, commit, Some(&nobody()?), "branch-run: created from HEAD")
        .and_then(|()| transaction.commit())
        .with_context(making)?;
    Ok(true)
}

fn point(repository: &Repository, reference: &str, commit: Oid, why: &str) -> anyhow::Result<()> {
    repository
        .reference(reference, commit, true, why)
        .map(drop)
        .with_context(|| format!("moving {reference}"))
}

fn nobody() -> Result<Signature<'static>, git2::Error> {
    Signature::now(NOBODY.0, NOBODY.1)
}

fn status_options() -> StatusOptions {
    let mut options = StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(false).include_ignored(false).update_index(false);
    options
}

fn uncommitted(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let statuses =
        repository.statuses(Some(&mut status_options())).context("looking for uncommitted changes")?;
    Ok(statuses.iter().map(|entry| String::from_utf8_lossy(entry.path_bytes()).into_owned()).collect())
}

fn some_of(paths: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = paths[..paths.len().min(SHOWN)].join(", ");
    match paths.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

const fn in_progress(state: RepositoryState) -> &'static str {
    match state {
        RepositoryState::Merge => "merge",
        RepositoryState::Revert | RepositoryState::RevertSequence => "revert",
        RepositoryState::CherryPick | RepositoryState::CherryPickSequence => "cherry-pick",
        RepositoryState::Bisect => "bisect",
        RepositoryState::ApplyMailbox => "git am",
        _ => "rebase",
    }
}

fn merge_heads(repository: &mut Repository) -> Vec<Oid> {
    let mut heads = Vec::new();
    if repository.state() == RepositoryState::Merge {
        // Without a readable MERGE_HEAD it is committed as ordinary work.
        let _ = repository.mergehead_foreach(|oid| {
            heads.push(*oid);
            true
        });
    }
    heads
}

/// Commits everything in the work tree that HEAD has not, deletions included, and what is ignored excluded. Moves no
/// reference.
fn commit_left(
    repository: &Repository,
    root: &Path,
    head: Option<Oid>,
    merged: &[Oid],
    by: Authorship<'_>,
) -> anyhow::Result<Left> {
    let mut index = repository.index().context("reading the index")?;
    index.read(true).context("reading the index")?;
    let conflicts = index.has_conflicts();
    if conflicts {
        // What stands in the work tree is the work, markers and all.
        let paths: Vec<Vec<u8>> = index
            .conflicts()?
            .filter_map(Result::ok)
            .filter_map(|conflict| {
                conflict.our.or(conflict.their).or(conflict.ancestor).map(|entry| entry.path)
            })
            .collect();
        for path in paths {
            if let Ok(path) = std::str::from_utf8(&path) {
                index.conflict_remove(Path::new(path))?;
            }
        }
    }
    let refused = stage(repository, &mut index, root, by.run)?;
    let tree = repository.find_tree(index.write_tree().context("writing the tree")?)?;
    let parent = head.map(|head| repository.find_commit(head)).transpose()?;
    let unchanged = parent.as_ref().is_some_and(|parent| parent.tree_id() == tree.id());
    if unchanged && merged.is_empty() {
        return Ok(Left { commit: None, conflicts, refused });
    }
    // With conflicts in it the commit is no merge of the other side.
    let merged = if conflicts { &[] } else { merged };
    let others = merged.iter().map(|oid| repository.find_commit(*oid)).collect::<Result<Vec<_>, _>>()?;
    let parents: Vec<&Commit<'_>> = parent.iter().chain(&others).collect();
    let signature = match by.author {
        Some((name, mail)) => Signature::now(name, mail).context("the author")?,
        None => repository.signature().or_else(|_| nobody())?,
    };
    let message = format!("{}: work that was left uncommitted\n\nPressrun-Run: {}\n", by.agent, by.run);
    let commit = repository
        .commit(None, &signature, &signature, &message, &tree, &parents)
        .context("writing the commit")?;
    index.write().context("writing the index")?;
    Ok(Left { commit: Some(commit), conflicts, refused })
}

/// Puts into the index what the work tree has and it has not, deletions included. Gives what git takes from nobody, with the reason.
fn stage(repository: &Repository, index: &mut Index, root: &Path, run: &str) -> anyhow::Result<Vec<String>> {
    let nested =
        nested::find(repository, index, root).context("looking for repositories in the work tree")?;
    if !nested.is_empty() {
        let aside = nested::set_aside(repository.path(), root, &nested, run)?;
        for folder in nested {
            say(&format!(
                "{folder:?} was a repository: its files are committed as they are, its .git is in {}",
                aside.join(&folder).display()
            ));
        }
    }
    let mut options = DiffOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true).include_typechange(true);
    let diff = repository
        .diff_index_to_workdir(Some(index), Some(&mut options))
        .context("looking for what was changed")?;
    let mut refused = Vec::new();
    for delta in diff.deltas() {
        let Some(path) = delta.new_file().path().or(delta.old_file().path()) else { continue };
        let staged = if delta.new_file().exists() {
            // That of a submodule which the index has not yet ends with a slash.
            index.add_path(&path.components().collect::<PathBuf>())
        } else {
            index.remove_path(path)
        };
        match staged {
            Ok(()) => {}
            Err(error) if is_about_the_path(&error, &root.join(path)) => {
                refused.push(format!("{} ({})", path.display(), error.message()));
            }
            Err(error) => return Err(error).with_context(|| format!("adding {}", path.display())),
        }
    }
    Ok(refused)
}

/// Whether this file alone cannot be added, and not what is added next either.
fn is_about_the_path(error: &git2::Error, file: &Path) -> bool {
    let unreadable = || File::open(file).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    matches!(error.class(), ErrorClass::Index | ErrorClass::Submodule | ErrorClass::Repository)
        || unreadable()
}

/// The base, and the branch that the run began on, go back to where they were if the command moved them to what the run's
/// branch has: the work is not theirs to hold.
fn put_back(repository: &Repository, start: &Start, head: Oid) -> anyhow::Result<()> {
    for tip in &start.tips {
        let Ok(now) = repository.find_reference(&tip.reference).and_then(|found| found.peel_to_commit())
        else {
            continue;
        };
        let moved = now.id() != tip.commit;
        if moved && descends(repository, head, now.id()) {
            point(repository, &tip.reference, tip.commit, "branch-run: the work is on the run's branch")?;
        }
    }
    Ok(())
}

/// Whether `commit` is `ancestor` or has it behind it. Walked by the commits as they are: libgit2's own answer is an error
/// in a shallow clone. The newest go first, so that what is near is found soon.
fn descends(repository: &Repository, commit: Oid, ancestor: Oid) -> bool {
    let mut seen = HashSet::from([commit]);
    let mut next = BinaryHeap::from([(0, commit)]);
    while let Some((_, commit)) = next.pop() {
        if commit == ancestor {
            return true;
        }
        let Ok(commit) = repository.find_commit(commit) else { continue };
        for parent in commit.parents() {
            if seen.insert(parent.id()) {
                next.push((parent.time().seconds(), parent.id()));
            }
        }
    }
    false
}

fn count(repository: &Repository, from: Oid, to: Oid) -> anyhow::Result<u64> {
    let mut walk = repository.revwalk()?;
    walk.push(to)?;
    walk.hide(from)?;
    Ok(walk.count() as u64)
}

fn changed_files(repository: &Repository, from: Oid, to: Oid) -> anyhow::Result<(Vec<ChangedFile>, u64)> {
    let (from, to) = (repository.find_commit(from)?.tree()?, repository.find_commit(to)?.tree()?);
    let mut diff = repository.diff_tree_to_tree(Some(&from), Some(&to), Some(&mut DiffOptions::new()))?;
    // Only what was moved unchanged: to compare contents could take longer than the run.
    diff.find_similar(Some(DiffFindOptions::new().renames(true).exact_match_only(true)))?;
    let files = diff
        .deltas()
        .take(RunRecord::FILES_MAX)
        .map(|delta| ChangedFile {
            path: String::from_utf8_lossy(
                delta.new_file().path_bytes().or(delta.old_file().path_bytes()).unwrap_or_default(),
            )
            .into_owned(),
            status: status_name(delta.status()).to_owned(),
        })
        .collect();
    Ok((files, diff.deltas().len() as u64))
}

const fn status_name(status: git2::Delta) -> &'static str {
    match status {
        git2::Delta::Added => "added",
        git2::Delta::Deleted => "deleted",
        git2::Delta::Renamed => "renamed",
        git2::Delta::Typechange => "typechange",
        _ => "modified",
    }
}

/// A path that differs between the two commits, is in `to`, and has the attribute `filter`.
fn filtered(repository: &Repository, from: Oid, to: Oid) -> anyhow::Result<Option<String>> {
    let (from, to) = (repository.find_commit(from)?.tree()?, repository.find_commit(to)?.tree()?);
    let diff = repository.diff_tree_to_tree(Some(&from), Some(&to), None)?;
    for delta in diff.deltas().filter(|delta| delta.new_file().exists()) {
        let Some(path) = delta.new_file().path() else { continue };
        if repository.get_attr(path, "filter", AttrCheckFlags::FILE_THEN_INDEX)?.is_some() {
            return Ok(Some(path.display().to_string()));
        }
    }
    Ok(None)
}
