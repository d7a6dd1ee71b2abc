//! The directories of hostPath volumes. What is in them was written by an agent and may be made to lead elsewhere, so every
//! step is taken from an open directory, follows no symbolic link, and crosses into no other file system; and it may be deep,
//! so no step depends on the depth.

use anyhow::Context as _;
use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The directory that all volumes' directories are below.
pub struct Root(OwnedFd);

impl Root {
    /// Opens it.
    ///
    /// # Errors
    /// Where it is not there, or no directory.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        rustix::fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(Self)
            .with_context(|| format!("opening the directory {}", path.display()))
    }

    /// The directories in it whose names `chosen` takes, each with the time of its last change, which nobody can set.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn directories(&self, chosen: impl Fn(&str) -> bool) -> anyhow::Result<Vec<(String, Timestamp)>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.0).context("reading the root of the volumes' directories")? {
            let entry = entry.context("reading the root of the volumes' directories")?;
            let Ok(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if !chosen(&name) {
                continue;
            }
            match rustix::fs::statat(&self.0, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    found.push((name, Timestamp::from_second(stat.st_ctime).unwrap_or(Timestamp::MAX)));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error).with_context(|| format!("looking at {name}")),
            }
        }
        Ok(found)
    }

    /// Deletes the directory at `path`, which is relative to the root, with all that is in it; `false` where there is none.
    ///
    /// # Errors
    /// Where it, or something in it, cannot be deleted, leads out of the root, or has a file system of its own.
    pub fn delete(&self, path: &Path) -> anyhow::Result<bool> {
        let what = || format!("deleting the directory {}", path.display());
        let name = path.file_name().context("it has no name").with_context(what)?;
        let parent = match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => open_below(self.0.as_fd(), parent),
            None => self.0.try_clone().map_err(|_| Errno::MFILE),
        };
        let top = parent.and_then(|parent| Ok((open_below(parent.as_fd(), name)?, parent)));
        let (top, parent) = match top {
            Ok(both) => both,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(explained(error)).with_context(what),
        };
        empty(top.as_fd()).with_context(what)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(explained).with_context(what)?;
        Ok(true)
    }
}

/// Opens a directory below `directory`, on the same file system, by no symbolic link.
fn open_below(directory: BorrowedFd<'_>, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve)
}

/// Deletes all that is in `top`. A directory is emptied by moving the directories in it up into `top`, whose turn comes later:
/// so two are open at a time, however deep they are.
fn empty(top: BorrowedFd<'_>) -> anyhow::Result<()> {
    let mut moved = 0_u64;
    loop {
        let directories = delete_files(top)?;
        if directories.is_empty() {
            return Ok(());
        }
        for name in directories {
            let directory = open_below(top, &*name).map_err(explained).with_context(|| shown(&name))?;
            for inner in delete_files(directory.as_fd())? {
                move_up(directory.as_fd(), &inner, top, &mut moved).with_context(|| shown(&inner))?;
            }
            rustix::fs::unlinkat(top, &*name, AtFlags::REMOVEDIR)
                .map_err(explained)
                .with_context(|| shown(&name))?;
        }
    }
}

/// Deletes what is no directory, and gives the directories' names.
fn delete_files(directory: BorrowedFd<'_>) -> anyhow::Result<Vec<CString>> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(directory).context("reading a directory")? {
        let entry = entry.context("reading a directory")?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            directories.push(name.to_owned());
            continue;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // File systems that do not say in the list what an entry is.
            Err(Errno::ISDIR) => directories.push(name.to_owned()),
            Err(error) => return Err(explained(error)).with_context(|| shown(name)),
        }
    }
    Ok(directories)
}

/// Moves `name` from `directory` into `top`, under a name that nothing there has.
fn move_up(
    directory: BorrowedFd<'_>,
    name: &CStr,
    top: BorrowedFd<'_>,
    moved: &mut u64,
) -> anyhow::Result<()> {
    loop {
        *moved += 1;
        let free = format!(".reaped-{moved}");
        match rustix::fs::renameat_with(directory, name, top, &*free, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(explained(error)),
        }
    }
}

fn shown(name: &CStr) -> String {
    format!("in it, {}", name.to_string_lossy().escape_debug())
}

fn explained(error: Errno) -> anyhow::Error {
    let why = match error {
        Errno::XDEV | Errno::BUSY => "a file system is mounted there, or it is reached by leaving the root",
        Errno::LOOP | Errno::NOTDIR => "it is no directory: a file or a symbolic link, which is not followed",
        Errno::ACCESS | Errno::PERM => {
            "not permitted: it takes root with CAP_DAC_OVERRIDE and CAP_FOWNER, or the files' owner"
        }
        _ => return anyhow::Error::new(error),
    };
    anyhow::Error::new(error).context(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    /// K5
    #[test]
    fn a_directory_goes_with_all_that_is_in_it() {
        let (at, root) = root();
        let top = at.path().join("agent-ws-a");
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::create_dir_all(top.join(".reaped-1/d")).unwrap();
        fs::write(top.join("a/b/c/file"), "x").unwrap();
        fs::write(top.join(".reaped-1/d/.hidden"), "x").unwrap();
        fs::create_dir(at.path().join("agent-ws-b")).unwrap();
        assert!(root.delete(Path::new("agent-ws-a")).unwrap());
        assert!(!top.exists());
        assert!(at.path().join("agent-ws-b").exists());
        assert!(!root.delete(Path::new("agent-ws-a")).unwrap(), "it is gone already");
    }

    /// K5
    #[test]
    fn symbolic_links_are_deleted_and_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "x").unwrap();
        let (at, root) = root();
        fs::create_dir_all(at.path().join("agent-ws-a/in")).unwrap();
        symlink(outside.path(), at.path().join("agent-ws-a/out")).unwrap();
        symlink(outside.path(), at.path().join("agent-ws-a/in/out")).unwrap();
        symlink("..", at.path().join("agent-ws-a/up")).unwrap();
        assert!(root.delete(Path::new("agent-ws-a")).unwrap());
        assert!(outside.path().join("keep").exists() && at.path().exists());

        symlink(outside.path(), at.path().join("agent-ws-b")).unwrap();
        let error = format!("{:#}", root.delete(Path::new("agent-ws-b")).unwrap_err());
        assert!(error.contains("symbolic link"), "{error}");
        fs::create_dir(outside.path().join("agent-ws-c")).unwrap();
        root.delete(Path::new("agent-ws-b/agent-ws-c")).unwrap_err();
        assert!(outside.path().join("keep").exists() && outside.path().join("agent-ws-c").exists());
    }

    /// K5
    #[test]
    fn nothing_outside_of_the_root_is_reached() {
        let (at, root) = root();
        let below = at.path().join("root");
        fs::create_dir_all(at.path().join("sibling")).unwrap();
        fs::create_dir_all(below.join("a")).unwrap();
        let inner = Root::open(&below).unwrap();
        for path in ["../sibling", "a/../../sibling", "/", "..", ".", ""] {
            inner.delete(Path::new(path)).unwrap_err();
        }
        inner.delete(&at.path().join("sibling")).unwrap_err();
        assert!(at.path().join("sibling").exists() && below.join("a").exists());
        assert!(root.delete(Path::new("root/a")).unwrap(), "deeper ones are below it too");
    }

    /// K5
    #[test]
    fn no_depth_is_too_deep() {
        // In memory: a disk takes its time for so many.
        let at = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = Root::open(at.path()).unwrap();
        let top = at.path().join("agent-ws-deep");
        fs::create_dir(&top).unwrap();
        // Deeper than a path can name, and than there may be open files; made from the inside out.
        let inner = at.path().join("inner");
        for _ in 0..1500 {
            fs::create_dir(&inner).unwrap();
            fs::write(inner.join("file"), "x").unwrap();
            if top.join("next").exists() {
                fs::rename(top.join("next"), inner.join("next")).unwrap();
            }
            fs::rename(&inner, top.join("next")).unwrap();
        }
        assert!(root.delete(Path::new("agent-ws-deep")).unwrap());
        assert!(!top.exists());
    }

    /// K5
    #[test]
    fn only_chosen_directories_are_listed() {
        let (at, root) = root();
        fs::create_dir(at.path().join("agent-ws-a")).unwrap();
        fs::create_dir(at.path().join("other")).unwrap();
        fs::write(at.path().join("agent-ws-file"), "x").unwrap();
        symlink("/", at.path().join("agent-ws-link")).unwrap();
        let found = root.directories(|name| name.starts_with("agent-ws-")).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "agent-ws-a");
        let age = Timestamp::now().duration_since(found[0].1);
        assert!(age.as_secs().abs() < 3600, "{age:?}");
    }
}
