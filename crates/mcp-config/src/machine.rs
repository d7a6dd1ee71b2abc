//! What is looked up on this machine: variables, programs, browsers. Everything that decides gets it from here, so that a
//! test brings its own.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

/// A machine as a piece sees it.
#[derive(Clone)]
pub(crate) struct Machine {
    /// The environment; what is not UTF-8 is left out.
    variables: BTreeMap<String, String>,
    /// Where relative paths begin: the agent is started there too.
    directory: PathBuf,
    /// Whether we are root, as whom a browser does not start with its own sandbox.
    pub(crate) root: bool,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// Where the working directory is gone.
    pub(crate) fn here() -> std::io::Result<Self> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Self {
            variables,
            directory: std::env::current_dir()?,
            root: rustix::process::geteuid().is_root(),
        })
    }

    /// One with this environment and working directory.
    pub(crate) fn with(variables: &[(&str, &str)], directory: &Path) -> Self {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { variables: owned.collect(), directory: directory.to_owned(), root: false }
    }

    /// A variable, empty or not.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A setting: a variable that is not empty.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.variable(name).filter(|value| !value.is_empty())
    }

    /// `path` from the root, without `.` in it. Symbolic links stay, for they may be switched on purpose.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        let joined = self.directory.join(path);
        joined.components().filter(|part| *part != Component::CurDir).collect()
    }

    /// The program that `command` starts: a path, or a name that is looked up on the `PATH`.
    ///
    /// # Errors
    /// Why there is none, as the end of a sentence about it.
    pub(crate) fn program(&self, command: &str) -> Result<PathBuf, String> {
        if command.contains('/') {
            let path = self.absolute(Path::new(command));
            return match path.metadata() {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Err(format!("does not exist: {}", path.display()))
                }
                Err(error) => Err(format!("cannot be read: {}: {error}", path.display())),
                Ok(found) if found.is_dir() => Err(format!("is a directory: {}", path.display())),
                Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                    Err(format!("is not executable: {}", path.display()))
                }
                Ok(_) => Ok(path),
            };
        }
        self.on_path(command).ok_or_else(|| format!("is not on the PATH: {command}"))
    }

    /// The program of this name on the `PATH`. Entries that are no absolute paths are passed over: in a checkout they
    /// would start what the repository has put there.
    pub(crate) fn on_path(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(self.variable("PATH")?)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|path| is_program(path))
    }

    /// A folder for what can be made again: `$XDG_CACHE_HOME` or `~/.cache`.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        self.folder("XDG_CACHE_HOME", ".cache")
    }

    /// A folder for what is kept of runs: `$XDG_STATE_HOME` or `~/.local/state`.
    pub(crate) fn state(&self) -> Option<PathBuf> {
        self.folder("XDG_STATE_HOME", ".local/state")
    }

    fn folder(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let set = |name| self.setting(name).map(PathBuf::from).filter(|path| path.is_absolute());
        set(variable).or_else(|| Some(set("HOME")?.join(below_home)))
    }
}

/// Whether `path` is a file that can be executed.
pub(crate) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_path_or_by_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, mode| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (tool, data) = (put("tool", 0o755), put("data", 0o644));
        let machine = Machine::with(&[("PATH", &format!(":.:{}", folder.path().display()))], folder.path());
        assert_eq!(machine.program("tool").unwrap(), tool);
        assert_eq!(machine.program("./tool").unwrap(), tool);
        assert_eq!(machine.program(tool.to_str().unwrap()).unwrap(), tool);
        assert!(machine.program("data").unwrap_err().starts_with("is not on the PATH"));
        assert!(machine.program(data.to_str().unwrap()).unwrap_err().starts_with("is not executable"));
        assert!(machine.program("./none").unwrap_err().starts_with("does not exist"));
        assert!(machine.program("./").unwrap_err().starts_with("is a directory"));
        let relative = Machine::with(&[("PATH", ":.:..")], folder.path());
        assert!(relative.program("tool").is_err(), "the working directory is not searched");
    }
}
