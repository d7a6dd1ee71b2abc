//! What a run leaves that was killed (SIGKILL, out of memory, a lost node): processes, uncommitted work, HEAD on its branch. The
//! note in the lock file says what it was; its work is committed to its branch as that of any other run.

use crate::args::Salvage;
use crate::ending::conclude;
use crate::lock::{Holder, Lock};
use crate::run::{say, summary};
use crate::workspace::{Authorship, Workspace};
use crate::{processes, record_file};
use agent_task::{Exit, Outcome, RunRecord, Stage};
use anyhow::Context as _;
use jiff::Timestamp;
use piece::Fault;

pub(crate) fn run(args: Salvage) -> anyhow::Result<Exit> {
    let here = std::env::current_dir().context(Fault::usage("the current directory is gone"))?;
    let workspace = Workspace::find(&here)?;
    let (mut lock, killed) = Lock::take(workspace.git_dir())?;
    let killed = killed.ok_or_else(|| {
        Fault::usage("there is nothing to salvage").hint("only a run that was killed leaves something behind")
    })?;
    let record = salvage(&workspace, killed)?;
    let written = args.record.as_deref().map_or(Ok(()), |path| record_file::write(path, &record));
    let printed = piece::output::line(&record);
    written?;
    lock.clear();
    printed.map(|()| Exit::Done)
}

/// Whether the work tree is as the run left it. Someone who went to another branch since has taken over: what lies there
/// is theirs.
pub(crate) fn is_pending(workspace: &Workspace, killed: &Holder) -> bool {
    killed.record.branch.as_ref().is_some_and(|branch| workspace.is_on(branch))
}

/// Ends what is left of the run, and commits its work.
pub(crate) fn salvage(workspace: &Workspace, killed: Holder) -> anyhow::Result<RunRecord> {
    let pending = is_pending(workspace, &killed);
    let Holder { mut record, start, .. } = killed;
    let remains = processes::kill_remains(&record.run);
    say(&format!("run {} was killed; ended {remains} processes that it left", record.run));
    record.fail(Outcome::Interrupted, Stage::AGENT, "the run was killed");
    if let Some(branch) = record.branch.clone().filter(|_| pending) {
        let by = Authorship { agent: &record.agent, run: &record.run, author: None };
        let kept = workspace
            .keep(&start, &branch, by)
            .context(Fault::failed("the work of the run that was killed could not be committed"))?;
        if let Err(error) = workspace.go_back(&start, &kept) {
            say(&format!("stays on {branch}: {error:#}"));
        }
        if !kept.faults.is_empty() {
            record.fail(Outcome::WorkspaceInvalid, Stage::COMMIT, kept.faults.join("; "));
        }
        record.head = Some(kept.head);
        record.commits = kept.commits;
        record.files = kept.files;
        record.files_changed = kept.files_changed;
    }
    conclude(&mut record);
    record.ended_at = Some(Timestamp::now());
    say(&summary(&record));
    Ok(record)
}
