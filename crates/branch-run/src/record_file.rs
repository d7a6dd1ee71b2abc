//! The file that a record is kept in: it is there as a whole or not at all, also after a crash.

use crate::push::RECORD_MAX;
use agent_task::RunRecord;
use anyhow::Context as _;
use piece::Fault;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The record in `path`, if one stands there.
pub(crate) fn read(path: &Path) -> Option<RunRecord> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(RECORD_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Removes it, if there is one.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| Fault::usage(format!("{} cannot be replaced", path.display())))
        }
        _ => Ok(()),
    }
}

/// Room on the disk for the records of a run, whatever fills it meanwhile. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Reserve(PathBuf);

impl Reserve {
    /// A record, and what becomes of it, are smaller.
    const BYTES: usize = 256 * 1024;

    /// Takes it beside the file that the record goes to.
    pub(crate) fn beside(path: &Path) -> anyhow::Result<Self> {
        let reserve = Self(Self::path(path));
        let reserving = || format!("reserving room for the record in {}", reserve.0.display());
        // Written, not only allocated: some file systems would promise more than they have.
        std::fs::write(&reserve.0, vec![0; Self::BYTES]).with_context(reserving)?;
        Ok(reserve)
    }
}

impl Reserve {
    fn path(record: &Path) -> PathBuf {
        let mut name = record.as_os_str().to_owned();
        name.push(".reserve");
        name.into()
    }

    /// Gives back what was taken by a run that is gone, for the record that is written in its place.
    pub(crate) fn give_back(record: &Path) {
        drop(Self(Self::path(record)));
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        // Of no use any more, and of no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Replaces `path` by the record.
pub(crate) fn write(path: &Path, record: &RunRecord) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut text = serde_json::to_vec(record).context("writing JSON")?;
    text.push(b'\n');
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("making a file in {}", folder.display()))?;
    file.write_all(&text)
        .and_then(|()| file.as_file().sync_all())
        .with_context(|| format!("writing {}", path.display()))?;
    file.persist(path).with_context(|| format!("writing {}", path.display()))?;
    // The new name is on the disk once its folder is.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("syncing {}", folder.display()))
}
