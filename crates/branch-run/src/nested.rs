//! Repositories in the work tree that are none of its submodules: what an agent has cloned or begun there. Git would commit no file of
//! theirs, so each becomes a plain folder. Its `.git` is moved, and neither read nor followed: whatever it says, nothing comes of it.

use anyhow::{Context as _, ensure};
use git2::{Index, Repository};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// In the git directory: a folder for each run, with the `.git` of each repository at the place that it had in the work tree.
const ASIDE: &str = "pressrun-nested";

/// So many times one run is salvaged.
const ATTEMPTS: u32 = 100;

/// The folders of the work tree at `root` that have a `.git` of their own, neither ignored nor submodules. Links are not followed.
pub(crate) fn find(repository: &Repository, index: &Index, root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            // It is told when what is in it cannot be committed.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
        };
        let mut below = Vec::new();
        let mut is_repository = false;
        for entry in entries {
            let entry = entry?;
            if entry.file_name() == ".git" {
                is_repository = true;
            } else if entry.file_type()?.is_dir() {
                below.push(folder.join(entry.file_name()));
            }
        }
        if is_repository && !folder.as_os_str().is_empty() {
            if is_submodule(repository, index, &folder) {
                continue;
            }
            found.push(folder);
        }
        folders.extend(below.into_iter().filter(|folder| !is_left_out(repository, index, folder)));
    }
    Ok(found)
}

/// Whether a commit would take nothing of this folder.
fn is_left_out(repository: &Repository, index: &Index, folder: &Path) -> bool {
    // With a slash at its end: a pattern may be for folders alone.
    let folder = folder.join("");
    repository.is_path_ignored(&folder).unwrap_or(false) && index.find_prefix(&folder).is_err()
}

/// Whether this is a submodule, by the index or by `.gitmodules`.
fn is_submodule(repository: &Repository, index: &Index, folder: &Path) -> bool {
    let is_link = |entry: git2::IndexEntry| entry.mode == u32::from(git2::FileMode::Commit);
    let in_index = index.get_path(folder, 0).is_some_and(is_link);
    let by_name = || folder.to_str().and_then(|name| repository.find_submodule(name).ok());
    // A submodule may have the path of another one for its name.
    in_index || by_name().is_some_and(|submodule| submodule.path() == folder)
}

/// Moves the `.git` of these folders into the git directory; where to.
pub(crate) fn set_aside(
    git_dir: &Path,
    root: &Path,
    folders: &[PathBuf],
    run: &str,
) -> anyhow::Result<PathBuf> {
    let all = git_dir.join(ASIDE);
    match fs::create_dir(&all) {
        // A link there would lead elsewhere.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            ensure!(all.symlink_metadata()?.is_dir(), "{} is no folder", all.display());
        }
        made => made.with_context(|| format!("making {}", all.display()))?,
    }
    let aside = make_new(&all, run)?;
    for folder in folders {
        let moving = || format!("setting {} aside", folder.join(".git").display());
        fs::create_dir_all(aside.join(folder)).with_context(moving)?;
        fs::rename(root.join(folder).join(".git"), aside.join(folder).join(".git")).with_context(moving)?;
    }
    Ok(aside)
}

fn make_new(all: &Path, run: &str) -> anyhow::Result<PathBuf> {
    for attempt in 1..=ATTEMPTS {
        let folder = all.join(if attempt == 1 { run.to_owned() } else { format!("{run}-{attempt}") });
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.with_context(|| format!("making {}", folder.display())).map(|()| folder),
        }
    }
    anyhow::bail!("{ATTEMPTS} folders of this name are in {}", all.display())
}
