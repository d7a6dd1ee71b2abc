//! One run a clone: a lock on `pressrun.lock` in the git directory, which ends with the process that holds it.

use crate::workspace::Start;
use agent_task::{Exit, RunRecord};
use anyhow::Context as _;
use piece::Fault;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

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
    /// The last sign of life that it gave, while what lies in the work tree was its own.
    #[serde(skip, default = "never")]
    pub(crate) alive: SystemTime,
}

fn never() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

/// How often a run gives a sign of life.
const PULSE: Duration = Duration::from_secs(1);

impl Holder {
    /// Whether the run may have done what happened at this time. Nobody else is as quick to come after it was killed.
    pub(crate) fn may_have_done(&self, at: SystemTime) -> bool {
        self.alive > never() && at <= self.alive + 2 * PULSE
    }
}

/// Gives signs of life until it is dropped.
#[derive(Debug)]
pub(crate) struct Pulse {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Pulse {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to panic about.
            let _ = thread.join();
        }
    }
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
        let mut holder = read.ok().and_then(|_| serde_json::from_str::<Holder>(&text).ok());
        if let Some(holder) = &mut holder {
            holder.alive = file.metadata().and_then(|file| file.modified()).unwrap_or_else(|_| never());
        }
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

    /// The run lives, until this is dropped: its signs of life are the file's modification times.
    pub(crate) fn pulse(&self) -> anyhow::Result<Pulse> {
        let file = self.0.try_clone().context("opening pressrun.lock once more")?;
        let (stop, stopped) = channel();
        let beat = move || {
            while stopped.recv_timeout(PULSE) == Err(RecvTimeoutError::Timeout) {
                // Without it the run is taken for dead since then.
                let _ = file.set_modified(SystemTime::now());
            }
        };
        let thread =
            std::thread::Builder::new().name("pulse".into()).spawn(beat).context("starting a thread")?;
        Ok(Pulse { stop: Some(stop), thread: Some(thread) })
    }

    /// The run's work is kept: what lies in the work tree from here on is somebody else's.
    pub(crate) fn leave_tree(&self) {
        // Where it fails there is no reason to think so but HEAD.
        let _ = self.0.set_modified(never());
    }

    /// The run has ended in order.
    pub(crate) fn clear(&mut self) {
        // The lock itself ends with the file's closing; what stays in the file would only be salvaged without need.
        let _ = self.0.set_len(0);
    }
}
