//! The workspace as `push` reads it: plain files, one reference and the object database. No git runs on it, its
//! configuration is not read, and nothing in it may lead out of it.

use anyhow::{Context as _, bail, ensure};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// No file with one reference or one path in it is longer.
const LINE_MAX: u64 = 4096;

/// Below `objects` git reads files in folders, and no deeper than `info/commit-graphs`.
const OBJECTS_DEPTH: u32 = 2;

/// A repository that may have been tampered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    /// What the references and objects are in.
    common: PathBuf,
}

impl Store {
    /// The repository of the work tree at `root`, or of one of the folders above it.
    pub(crate) fn find(root: &Path) -> anyhow::Result<Self> {
        let root = root.canonicalize().with_context(|| format!("looking for {}", root.display()))?;
        let git = root
            .ancestors()
            .map(|folder| folder.join(".git"))
            .find(|git| git.symlink_metadata().is_ok())
            .with_context(|| format!("{} is in no git repository", root.display()))?;
        let kind = git.symlink_metadata()?.file_type();
        let common = if kind.is_dir() {
            ensure!(
                !exists(&git.join("commondir")),
                "{} says that the repository is elsewhere",
                git.join("commondir").display()
            );
            git
        } else if kind.is_file() {
            linked(&git)?
        } else {
            bail!("{} is neither a folder nor a file", git.display());
        };
        let store = Self { common };
        store.check_objects()?;
        Ok(store)
    }

    /// The object database.
    pub(crate) fn objects(&self) -> PathBuf {
        self.common.join("objects")
    }

    /// Objects come from this repository alone: what can be read here but not by the agent must not be pushed.
    fn check_objects(&self) -> anyhow::Result<()> {
        let objects = self.objects();
        ensure!(is_folder(&objects), "{} is no folder", objects.display());
        let mut folders = vec![(objects.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
            for entry in entries {
                let entry = entry?;
                let kind = entry.file_type()?;
                ensure!(kind.is_dir() || kind.is_file(), "{} leads elsewhere", entry.path().display());
                if kind.is_dir() && depth < OBJECTS_DEPTH {
                    folders.push((entry.path(), depth + 1));
                }
            }
        }
        for name in ["info/alternates", "info/http-alternates"] {
            ensure!(
                !exists(&objects.join(name)),
                "{} takes objects from elsewhere",
                objects.join(name).display()
            );
        }
        let path = objects.to_str().context("the path of the repository is not UTF-8")?;
        ensure!(!path.contains(['\n', '"']) && !path.starts_with('#'), "{path} cannot be borrowed from");
        Ok(())
    }

    /// The commit that `refs/heads/<branch>` names, in hexadecimal; none where there is no such branch.
    pub(crate) fn tip(&self, branch: &str) -> anyhow::Result<Option<String>> {
        let name = format!("refs/heads/{branch}");
        let path = self.common.join(&name);
        // A folder on the way that leads elsewhere.
        let mut above = path.parent();
        while let Some(folder) =
            above.filter(|folder| folder.starts_with(&self.common) && *folder != self.common)
        {
            match folder.symlink_metadata() {
                Ok(metadata) => ensure!(metadata.is_dir(), "{} is no folder", folder.display()),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
            }
            above = folder.parent();
        }
        if exists(&path) && !is_folder(&path) {
            let text = short_text(&path)?;
            return Ok(Some(commit_id(text.trim_end()).with_context(|| format!("{name} is no commit"))?));
        }
        self.packed_tip(&name)
    }

    fn packed_tip(&self, name: &str) -> anyhow::Result<Option<String>> {
        let path = self.common.join("packed-refs");
        if !exists(&path) {
            return Ok(None);
        }
        ensure!(is_file(&path), "{} is no file", path.display());
        for line in BufReader::new(File::open(&path)?).split(b'\n') {
            let line = line.with_context(|| format!("reading {}", path.display()))?;
            let Ok(line) = std::str::from_utf8(&line) else { continue };
            if let Some((commit, found)) = line.split_once(' ')
                && found == name
            {
                return Ok(Some(commit_id(commit).with_context(|| format!("{name} is no commit"))?));
            }
        }
        Ok(None)
    }

    /// The commits whose parents a shallow clone lacks.
    pub(crate) fn shallow(&self) -> anyhow::Result<Option<String>> {
        let path = self.common.join("shallow");
        if !exists(&path) {
            return Ok(None);
        }
        ensure!(is_file(&path), "{} is no file", path.display());
        let mut text = String::new();
        File::open(&path)?.take(1 << 20).read_to_string(&mut text).context("reading shallow")?;
        text.lines()
            .try_for_each(|line| commit_id(line).map(drop))
            .context("shallow is no list of commits")?;
        Ok(Some(text))
    }
}

/// The repository that a linked work tree (`git worktree add`) belongs to. The repository must know the work tree, so
/// that a `.git` file alone cannot point at someone else's.
fn linked(file: &Path) -> anyhow::Result<PathBuf> {
    let text = short_text(file)?;
    let stranger = || format!("{} leads to a repository that does not know it", file.display());
    let git_dir =
        text.trim_end().strip_prefix("gitdir: ").context("it is no git file").with_context(stranger)?;
    let git_dir = file.parent().unwrap_or(file).join(git_dir).canonicalize().with_context(stranger)?;
    let back = short_text(&git_dir.join("gitdir")).with_context(stranger)?;
    let back = Path::new(back.trim_end()).canonicalize().with_context(stranger)?;
    ensure!(back == file.canonicalize()?, stranger());
    let common = short_text(&git_dir.join("commondir")).with_context(stranger)?;
    let common = git_dir.join(common.trim_end()).canonicalize().with_context(stranger)?;
    ensure!(git_dir.parent() == Some(&common.join("worktrees")), stranger());
    Ok(common)
}

/// Forty hexadecimal digits, or 64 in a repository of SHA-256.
fn commit_id(text: &str) -> anyhow::Result<String> {
    let hexadecimal = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    ensure!(hexadecimal && matches!(text.len(), 40 | 64), "not the id of a commit");
    Ok(text.to_owned())
}

fn short_text(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    ensure!(is_file(path), "{} is no file", path.display());
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LINE_MAX).read_to_string(&mut text)).with_context(reading)?;
    Ok(text)
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn repository() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().canonicalize().unwrap().join("work/.git");
        fs::create_dir_all(git.join("objects/info")).unwrap();
        fs::create_dir_all(git.join("refs/heads/agent")).unwrap();
        (folder, git)
    }

    fn found(git: &Path) -> anyhow::Result<Store> {
        Store::find(git.parent().unwrap())
    }

    #[test]
    fn a_branch_is_read_loose_or_packed() {
        let (_folder, git) = repository();
        fs::write(git.join("packed-refs"), format!("# pack-refs\n{COMMIT} refs/heads/agent/packed\n"))
            .unwrap();
        fs::write(git.join("refs/heads/agent/loose"), format!("{COMMIT}\n")).unwrap();
        let store = found(&git).unwrap();
        assert_eq!(store.tip("agent/loose").unwrap().as_deref(), Some(COMMIT));
        assert_eq!(store.tip("agent/packed").unwrap().as_deref(), Some(COMMIT));
        assert_eq!(store.tip("agent/none").unwrap(), None);
    }

    #[test]
    fn a_reference_that_leads_elsewhere_is_refused() {
        let (folder, git) = repository();
        let outside = folder.path().join("outside");
        fs::write(&outside, COMMIT).unwrap();
        symlink(&outside, git.join("refs/heads/agent/link")).unwrap();
        fs::write(git.join("refs/heads/agent/symbolic"), "ref: refs/heads/main\n").unwrap();
        let store = found(&git).unwrap();
        assert!(store.tip("agent/link").is_err());
        assert!(store.tip("agent/symbolic").is_err());
        fs::create_dir(folder.path().join("refs")).unwrap();
        fs::write(folder.path().join("refs/x"), COMMIT).unwrap();
        fs::remove_dir_all(git.join("refs/heads/agent")).unwrap();
        symlink(folder.path().join("refs"), git.join("refs/heads/agent")).unwrap();
        assert!(store.tip("agent/x").is_err());
    }

    #[test]
    fn objects_from_elsewhere_are_refused() {
        for name in ["info/alternates", "info/http-alternates"] {
            let (_folder, git) = repository();
            fs::write(git.join("objects").join(name), "/elsewhere/objects\n").unwrap();
            assert!(found(&git).is_err(), "{name}");
        }
        let (folder, git) = repository();
        symlink(folder.path(), git.join("objects/pack")).unwrap();
        assert!(found(&git).is_err());

        let (folder, git) = repository();
        fs::create_dir(git.join("objects/ab")).unwrap();
        symlink(folder.path().join("secret"), git.join("objects/ab/cdef")).unwrap();
        assert!(found(&git).is_err());

        let (folder, git) = repository();
        fs::rename(git.join("objects"), folder.path().join("objects")).unwrap();
        symlink(folder.path().join("objects"), git.join("objects")).unwrap();
        assert!(found(&git).is_err());
    }

    #[test]
    fn a_git_folder_that_leads_elsewhere_is_refused() {
        let (folder, git) = repository();
        let elsewhere = folder.path().join("other.git");
        fs::rename(&git, &elsewhere).unwrap();
        symlink(&elsewhere, &git).unwrap();
        assert!(found(&git).is_err(), "a symbolic link");
        fs::remove_file(&git).unwrap();
        fs::write(&git, format!("gitdir: {}\n", elsewhere.display())).unwrap();
        assert!(found(&git).is_err(), "a file, and the repository does not know the work tree");
        // A linked work tree is somebody else's.
        let linked = elsewhere.join("worktrees/theirs");
        fs::create_dir_all(&linked).unwrap();
        fs::write(linked.join("commondir"), "../..\n").unwrap();
        fs::write(&git, format!("gitdir: {}\n", linked.display())).unwrap();
        let theirs = folder.path().join("theirs");
        fs::write(&theirs, "").unwrap();
        fs::write(linked.join("gitdir"), format!("{}\n", theirs.display())).unwrap();
        assert!(found(&git).is_err(), "it knows another one");
        fs::write(linked.join("gitdir"), format!("{}\n", git.display())).unwrap();
        assert!(found(&git).is_ok(), "it knows this one");
    }
}
