//! One run a clone: a lock on `pressrun.lock` in the git directory, which ends with the process that holds it.

use agent_task::Exit;
use anyhow::Context as _;
use piece::Fault;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

/// The lock, as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// What stands in the file: who holds it. It stays there after a run that was killed, and says what that run was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) run: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) branch: Option<String>,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(git_dir: &Path) -> anyhow::Result<Self> {
        let path = git_dir.join("pressrun.lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| Fault::usage(format!("cannot open {}", path.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let holder = file
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| serde_json::from_str::<Holder>(&text).ok())
                    .map_or_else(
                        || "another run".to_owned(),
                        |holder| format!("run {} (pid {})", holder.run, holder.pid),
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
        self.0
            .set_len(0)
            .and_then(|()| self.0.rewind())
            .and_then(|()| self.0.write_all(&text))
            .context("writing pressrun.lock")
    }

    /// The run has ended in order.
    pub(crate) fn release(self) {
        // Only a note for people: the lock itself ends with the file's closing.
        let _ = self.0.set_len(0);
    }
}
