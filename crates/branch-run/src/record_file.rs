//! The file that a record is kept in: it is there as a whole or not at all, also after a crash.

use agent_task::RunRecord;
use anyhow::Context as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

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
