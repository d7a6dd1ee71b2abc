//! One run a clone: a lock on `pressrun.lock` in the git directory, which ends with the process that holds it.

use crate::workspace::Start;
use agent_task::{Exit, RunRecord};
use anyhow::Context as _;
use piece::Fault;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// The lock, as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// What stands in the file: who holds it. It stays there when a run is killed, and says what that run was.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// The run as it began.
    pub(crate) record: RunRecord,
    pub(crate) start: Start,
    /// Where its record is written to in the end.
    #[serde(default)]
    pub(crate) record_file: Option<PathBuf>,
    /// The folder of its control group.
    #[serde(default)]
    pub(crate) group: Option<PathBuf>,
    /// The note stays, also of a run that has ended in order, until the run is published.
    #[serde(default)]
    pub(crate) unsettled: bool,
}

impl Lock {
    /// Takes the lock, or says who has it. Gives also the run that was killed while it had it.
    pub(crate) fn take(git_dir: &Path) -> anyhow::Result<(Self, Option<Holder>)> {
        let path = git_dir.join("pressrun.lock");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| Fault::usage(format!("cannot open {}", path.display())))?;
        let locked = file.try_lock();
        let mut text = String::new();
        let read = (&file).take(1 << 20).read_to_string(&mut text);
        let holder = read.ok().and_then(|_| serde_json::from_str::<Holder>(&text).ok());
        match locked {
            Ok(()) => Ok((Self(file), holder)),
            Err(TryLockError::WouldBlock) => {
                let holder = holder.map_or_else(
                    || "another run".to_owned(),
                    |holder| format!("run {} (pid {})", holder.record.run, holder.pid),
                );
                Err(Fault::new(Exit::Retry, format!("{holder} is at work in this clone"))
                    .hint("wait for it to end, or use a clone of its own for each run")
                    .into())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| Fault::usage(format!("cannot lock {}", path.display())))
            }
        }
    }

    /// Writes down who holds it.
    pub(crate) fn note(&mut self, holder: &Holder) -> anyhow::Result<()> {
        let text = serde_json::to_vec(holder)?;
        // Not emptied first: where there is no room for the new text, the old one may still be read.
        self.0
            .rewind()
            .and_then(|()| self.0.write_all(&text))
            .and_then(|()| self.0.set_len(text.len() as u64))
            .context("writing pressrun.lock")
    }

    /// The run has ended in order.
    pub(crate) fn clear(&mut self) {
        // The lock itself ends with the file's closing; what stays in the file would only be salvaged without need.
        let _ = self.0.set_len(0);
    }
}
