//! The work tree, which is read, and the configuration folder, which is written.

use crate::{definition, imports};
use anyhow::{Context as _, ensure};
use piece::Fault;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A definition is instructions for a model: more than this is something else.
const FILE_MAX: u64 = 256 * 1024;
const AGENTS_MAX: usize = 500;
const DEPTH_MAX: usize = 8;

/// What else the agent CLI reads in a repository, and this run's will not.
const UNHEARD: [&str; 10] = [
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".claude/hooks",
    ".claude/skills",
    ".claude/commands",
    ".claude/plugins",
    ".mcp.json",
    ".opencode",
    "opencode.json",
    "opencode.jsonc",
];

/// What a repository has to say.
#[derive(Debug, Default)]
pub struct Found {
    /// Definitions by the agent's name.
    pub agents: BTreeMap<String, String>,
    /// Its instructions.
    pub instructions: Option<String>,
    /// What will not be heard, a line each.
    pub ignored: Vec<String>,
}

/// Reads the agents and the instructions.
pub(crate) fn read(repository: &Path, user_agents: Option<&Path>) -> anyhow::Result<Found> {
    if !repository.is_dir() {
        return Err(Fault::usage(format!("{} is no folder", repository.display()))
            .hint("--repository is the root of a work tree")
            .into());
    }
    let mut found = Found::default();
    // The repository's definitions come last, and so win.
    for folder in user_agents.into_iter().chain([repository.join(".claude/agents").as_path()]) {
        for file in definitions(folder, &mut found.ignored)? {
            let Some(text) = read_regular(&file, &mut found.ignored)? else { continue };
            let Some(head) = definition::head(&text) else {
                found.ignored.push(format!("{}: no head with a name", file.display()));
                continue;
            };
            found.ignored.extend(head.active.iter().map(|key| format!("{}: {key}", file.display())));
            found.agents.insert(head.name, text);
            ensure!(
                found.agents.len() <= AGENTS_MAX,
                "more than {AGENTS_MAX} agents in {}",
                folder.display()
            );
        }
    }
    found.instructions = instructions(repository, &["CLAUDE.md", ".claude/CLAUDE.md"], &mut found.ignored)?;
    let unheard = UNHEARD.into_iter().filter(|name| repository.join(name).symlink_metadata().is_ok());
    found.ignored.extend(unheard.map(str::to_owned));
    Ok(found)
}

/// The text of the first of these files that is one, without imports.
pub(crate) fn instructions(
    repository: &Path,
    names: &[&str],
    ignored: &mut Vec<String>,
) -> anyhow::Result<Option<String>> {
    for file in names.iter().map(|name| repository.join(name)) {
        if file.symlink_metadata().is_err() {
            continue;
        }
        if let Some(text) = read_regular(&file, ignored)? {
            let (text, imports) = imports::defused(&text);
            ignored.extend(imports.iter().map(|path| format!("{}: @{path}", file.display())));
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The Markdown files below `folder`, sorted. A folder that is not there has none.
fn definitions(folder: &Path, ignored: &mut Vec<String>) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        if folder.is_symlink() || depth > DEPTH_MAX {
            ignored.push(format!("{}: a link, or too deep", folder.display()));
            continue;
        }
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
            if entry.file_type()?.is_dir() {
                open.push((entry.path(), depth + 1));
            } else if entry.path().extension().is_some_and(|extension| extension == "md") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a regular file of sensible size; anything else is ignored, and named.
fn read_regular(path: &Path, ignored: &mut Vec<String>) -> anyhow::Result<Option<String>> {
    let mut text = Vec::new();
    let context = || format!("reading {}", path.display());
    if !fs::symlink_metadata(path).with_context(context)?.is_file() {
        ignored.push(format!("{}: no regular file", path.display()));
        return Ok(None);
    }
    fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut text))
        .with_context(context)?;
    if text.len() as u64 > FILE_MAX {
        ignored.push(format!("{}: more than {} KiB", path.display(), FILE_MAX / 1024));
        return Ok(None);
    }
    match String::from_utf8(text) {
        Ok(text) => Ok(Some(text)),
        Err(_) => {
            ignored.push(format!("{}: no UTF-8", path.display()));
            Ok(None)
        }
    }
}

/// Makes the folder, readable for its owner alone.
pub(crate) fn make(out: &Path, repository: &Path) -> anyhow::Result<()> {
    let context = || format!("making {}", out.display());
    DirBuilder::new().mode(0o700).recursive(true).create(out).with_context(context)?;
    let inside = out.canonicalize().with_context(context)?.starts_with(repository.canonicalize()?);
    if inside {
        return Err(Fault::usage(format!("{} is inside of the repository", out.display()))
            .hint("the agent CLI writes into it: choose a folder elsewhere")
            .into());
    }
    Ok(())
}

/// Makes the folder with what claude reads in it.
pub(crate) fn write(out: &Path, repository: &Path, found: &Found) -> anyhow::Result<()> {
    make(out, repository)?;
    let context = || format!("making {}", out.display());
    let agents = out.join("agents");
    // What an earlier call copied may be gone from the repository.
    match fs::remove_dir_all(&agents) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(context);
        }
        _ => DirBuilder::new().mode(0o700).create(&agents).with_context(context)?,
    }
    for (number, text) in found.agents.values().enumerate() {
        // A name may hold anything; the file's does not matter to the agent CLI.
        write_file(&agents.join(format!("{number:03}.md")), text)?;
    }
    write_file(&out.join("CLAUDE.md"), found.instructions.as_deref().unwrap_or_default())?;
    write_file(&out.join("settings.json"), "{\"disableAllHooks\":true}\n")
}

pub(crate) fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}
