//! What a run leaves that was killed (SIGKILL, out of memory, a lost node), or whose disk was full: processes, uncommitted work,
//! HEAD on its branch, a branch that nobody was told of. The note in the lock file says what it was. Its work is committed to
//! its branch as that of any other run, and its record is written where it would have written it.

use crate::args::Salvage;
use crate::ending::conclude;
use crate::lock::{Holder, Lock};
use crate::run::{say, summary};
use crate::workspace::{Authorship, Workspace};
use crate::{cgroup, processes, push, record_file};
use agent_task::{Exit, Outcome, RunRecord, Stage};
use anyhow::Context as _;
use jiff::Timestamp;
use piece::Fault;
use serde_json::json;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: Salvage) -> anyhow::Result<Exit> {
    let workspace = here()?;
    // Whatever keeps the note from being read: there may be one.
    let (mut lock, killed) = Lock::take(workspace.git_dir()).map_err(|error| {
        if is_at_work(&error) { error } else { error.context(Fault::failed("what is left cannot be seen")) }
    })?;
    let mut killed = killed.ok_or_else(|| {
        Fault::usage("there is nothing to salvage").hint("only a run that was killed leaves something behind")
    })?;
    let record = salvage(&workspace, &killed);
    let noted = killed.record_file.clone();
    if let Some(path) = args.record {
        killed.record_file = Some(std::path::absolute(path)?);
    }
    noted.as_deref().map(record_file::Reserve::give_back);
    let written = killed.record_file.as_deref().map_or(Ok(()), |path| record_file::write(path, &record));
    let printed = piece::output::line(&record);
    written?;
    let settled = !killed.unsettled && !record.uncommitted;
    if settled {
        lock.clear();
    } else if killed.record_file != noted {
        lock.note(&killed)?;
    }
    if record.uncommitted {
        return Err(not_committed(&record, Exit::Failed).into());
    }
    if !settled {
        lock.leave_tree();
    }
    printed.map(|()| Exit::Done)
}

fn not_committed(record: &RunRecord, exit: Exit) -> Fault {
    let why = record.error.as_deref().unwrap_or_default();
    Fault::new(exit, format!("the work of run {} is not committed: {why}", record.run))
        .hint("mend that (make room, say) and salvage again: the work is in the work tree")
}

/// Whether the lock is held.
fn is_at_work(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Fault>().is_some_and(|fault| fault.exit() == Exit::Retry)
}

/// Prints which run there is to salvage or to publish.
pub(crate) fn left() -> anyhow::Result<Exit> {
    if let (_, Some(Holder { record, record_file, .. })) = Lock::take(here()?.git_dir())? {
        piece::output::line(&json!({
            "kind": "LeftRun",
            "run": record.run,
            "branch": record.branch,
            "recordFile": record_file,
        }))?;
    }
    Ok(Exit::Done)
}

/// Forgets the run whose record is on stdin.
pub(crate) fn settle() -> anyhow::Result<Exit> {
    let record = push::record_from_stdin("branch-run settle <published.json")?;
    if record.uncommitted {
        say("the work is still to be committed: make room, and publish again");
        return Ok(Exit::Done);
    }
    match Lock::take(here()?.git_dir()) {
        Ok((mut lock, Some(left))) if left.record.run == record.run => lock.clear(),
        Ok(_) => {}
        // Whoever is at work has taken the note over.
        Err(error) if is_at_work(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Exit::Done)
}

fn here() -> anyhow::Result<Workspace> {
    Workspace::find(&std::env::current_dir().context(Fault::usage("the current directory is gone"))?)
}

/// Whether the work tree is as the run left it: on its branch, or where the agent went. Someone who went to another branch since has
/// taken over: what lies there is theirs.
pub(crate) fn is_pending(workspace: &Workspace, killed: &Holder) -> bool {
    killed.record.branch.as_ref().is_some_and(|branch| workspace.is_on(branch))
        || workspace.head_moved_at().is_some_and(|at| killed.may_have_done(at))
}

/// For a new run, whose record goes to `next`: what was killed is salvaged, and how to publish it is said.
pub(crate) fn make_way(workspace: &Workspace, killed: &Holder, next: Option<&Path>) -> anyhow::Result<()> {
    let record = salvage(workspace, killed);
    if record.uncommitted {
        // Nothing of the new run was begun.
        return Err(not_committed(&record, Exit::Usage).into());
    }
    let Some(path) = place_for(killed, next) else { return Ok(()) };
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    match folder.map_err(Into::into).and_then(|()| record_file::write(&path, &record)) {
        Ok(()) if record.commits > 0 => say(&format!(
            "it is not published: branch-run push --repo OWNER/NAME <'{}' | open-pr | notify-discord",
            path.display()
        )),
        Ok(()) => {}
        Err(error) => say(&format!("its record is lost: {error:#}")),
    }
    Ok(())
}

/// Where its record goes: where it was to go, unless the new run writes its own there.
fn place_for(killed: &Holder, next: Option<&Path>) -> Option<PathBuf> {
    let next = next.and_then(|next| std::path::absolute(next).ok());
    match &killed.record_file {
        Some(own) if next.as_ref() != Some(own) => Some(own.clone()),
        _ => Some(next?.parent()?.join(format!("left-{}", killed.record.run)).join("record.json")),
    }
}

/// Ends what is left of the run, and commits its work. Where that fails, the record says so, and the work stays where it is.
fn salvage(workspace: &Workspace, killed: &Holder) -> RunRecord {
    let pending = is_pending(workspace, killed);
    if let Some(group) = &killed.group {
        cgroup::kill(group, &killed.record.run);
    }
    let remains = processes::kill_remains(&killed.record.run);
    if let Some(group) = &killed.group {
        cgroup::remove(group);
    }
    let run = &killed.record.run;
    let recorded = killed.record_file.as_deref().and_then(record_file::read);
    let mut record = match recorded.filter(|record| record.run == *run) {
        Some(record) if record.head.is_some() && !record.uncommitted => {
            say(&format!("run {run} has ended, and was not published"));
            return record;
        }
        Some(record) => record,
        None => {
            say(&format!("run {run} was killed; ended {remains} processes that it left"));
            let mut record = killed.record.clone();
            record.fail(Outcome::Interrupted, Stage::AGENT, "the run was killed");
            record.ended_at = Some(Timestamp::now());
            record
        }
    };
    let Some(branch) = record.branch.clone() else { return record };
    let kept = if pending {
        let by = Authorship { agent: &record.agent, run, author: None };
        let kept = workspace.keep(&killed.start, &branch, by);
        kept.inspect(|kept| workspace.leave(&killed.start, kept, run))
    } else {
        let stood = workspace.head_when(|at| killed.may_have_done(at));
        workspace.look(&killed.start, &branch, stood)
    };
    match kept {
        Ok(kept) => {
            if std::mem::take(&mut record.uncommitted) && pending && record.outcome == Outcome::CommitFailed {
                // Nothing else had failed.
                (record.outcome, record.stage, record.error) = (Outcome::Success, None, None);
            }
            kept.note_in(&mut record);
        }
        Err(error) if pending => {
            workspace.note_uncommitted(&killed.start, &branch, &mut record, format!("{error:#}"));
        }
        Err(error) => {
            say(&format!("{error:#}"));
            return record;
        }
    }
    conclude(&mut record);
    say(&summary(&record));
    record
}
