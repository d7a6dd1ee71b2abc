//! Which message a run has: remembered in a file, so that a run is told once.

use crate::discord::Sent;
use crate::message::Message;
use anyhow::Context as _;
use jiff::Timestamp;
use piece::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// The only value of [`Memory::kind`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[default]
    DiscordMessages,
}

/// The messages of runs, by the run's id. The file's content.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    kind: Kind,
    messages: BTreeMap<String, Told>,
    /// Those on their way, or that were when the process ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sending: BTreeMap<String, Sending>,
}

/// A message that Discord was sent, or was to be, and whose answer did not come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// When.
    pub(crate) at: Timestamp,
    /// Its text, by which it is found.
    pub(crate) content: String,
    /// [`Message::digest`].
    pub(crate) digest: String,
}

/// A run's message, and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) channel_id: String,
    /// [`Message::digest`].
    pub(crate) digest: String,
}

impl Told {
    /// As Discord told it.
    pub(crate) fn sent(self) -> Sent {
        Sent { id: self.id, channel_id: self.channel_id }
    }
}

/// The file, or none: then nothing is remembered.
#[derive(Debug)]
pub(crate) struct Once {
    path: Option<PathBuf>,
    memory: Memory,
}

impl Once {
    /// Reads the file, which need not be there yet.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        // Reading a pipe would wait for its other end.
        let read = |path: &Path| {
            if std::fs::metadata(path)?.is_file() {
                std::fs::read(path)
            } else {
                Err(std::io::Error::other("it is no file"))
            }
        };
        let memory = match path.map(read) {
            None => Memory::default(),
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => Memory::default(),
            Some(Err(error)) => return Err(error).with_context(|| Fault::usage(reading(path))),
            Some(Ok(text)) => serde_json::from_slice(&text).with_context(|| {
                Fault::usage(reading(path)).hint("it is not a file of notify-discord: name another one")
            })?,
        };
        Ok(Self { path: path.map(Path::to_owned), memory })
    }

    /// The run's message.
    pub(crate) fn told(&self, run: &str) -> Option<&Told> {
        self.memory.messages.get(run)
    }

    /// The run's message that may have been sent, or not.
    pub(crate) fn unanswered(&self, run: &str) -> Option<&Sending> {
        self.memory.sending.get(run)
    }

    /// Notes that the run's message is about to be sent.
    pub(crate) fn sending(&mut self, run: &str, message: &Message) -> anyhow::Result<()> {
        let (content, digest) = (message.content.clone(), message.digest());
        let sending = Sending { at: Timestamp::now(), content, digest };
        self.change(|memory| drop(memory.sending.insert(run.to_owned(), sending)))
    }

    /// Notes that it was not.
    pub(crate) fn not_sent(&mut self, run: &str) -> anyhow::Result<()> {
        self.change(|memory| drop(memory.sending.remove(run)))
    }

    /// Remembers it.
    pub(crate) fn remember(&mut self, run: &str, sent: &Sent, digest: String) -> anyhow::Result<()> {
        let told = Told { id: sent.id.clone(), channel_id: sent.channel_id.clone(), digest };
        self.change(|memory| {
            memory.sending.remove(run);
            memory.messages.insert(run.to_owned(), told);
        })
    }

    /// Changes the memory and the file, at once and whole: a crash, also of the machine, leaves the old one or the new one.
    fn change(&mut self, change: impl FnOnce(&mut Memory)) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        change(&mut self.memory);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> anyhow::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&mut file, &self.memory)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            File::open(folder)?.sync_all()?;
            Ok(())
        };
        write().with_context(|| format!("writing --once-file {}", path.display()))
    }
}

fn reading(path: Option<&Path>) -> String {
    format!("reading --once-file {}", path.unwrap_or(Path::new("")).display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_known_to_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("discord.json");
        let sent = Sent { id: "1".into(), channel_id: "2".into() };
        let mut once = Once::open(Some(&path)).unwrap();
        assert_eq!(once.told("run"), None);
        once.remember("run", &sent, "d".into()).unwrap();
        let told = Told { id: "1".into(), channel_id: "2".into(), digest: "d".into() };
        assert_eq!(Once::open(Some(&path)).unwrap().told("run"), Some(&told));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn another_file_is_not_overwritten() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"kind\":\"RunRecord\"}").unwrap();
        let error = Once::open(Some(file.path())).unwrap_err();
        assert_eq!(error.downcast_ref::<Fault>().unwrap().exit(), agent_task::Exit::Usage);
    }
}
