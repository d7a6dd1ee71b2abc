//! A clone in a folder of its own, with an environment that holds nothing of this machine's.

use agent_task::RunRecord;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub(crate) struct Place {
    folder: tempfile::TempDir,
}

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The record, which is the last line of stdout.
    pub(crate) fn record(&self) -> RunRecord {
        let last = self.stdout.lines().last().unwrap_or_else(|| panic!("no record; stderr: {}", self.stderr));
        serde_json::from_str(last).unwrap()
    }
}

impl Place {
    /// A clone with one commit on `main`.
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.path("home")).unwrap();
        std::fs::create_dir(place.work()).unwrap();
        place.git(["init", "--quiet", "--initial-branch=main"]);
        place.git(["config", "user.name", "Test"]);
        place.git(["config", "user.email", "test@example.org"]);
        place.write("index.md", "hello\n");
        place.write(".gitignore", "ignored\n");
        place.git(["add", "."]);
        place.git(["commit", "--quiet", "--message=first"]);
        place
    }

    /// A path outside of the clone.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.work().join(name), text).unwrap();
    }

    pub(crate) fn hermetic(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null());
        command
    }

    /// What git prints, without the line end.
    pub(crate) fn git<const N: usize>(&self, arguments: [&str; N]) -> String {
        self.git_in(&self.work(), arguments)
    }

    pub(crate) fn git_in<const N: usize>(&self, folder: &Path, arguments: [&str; N]) -> String {
        let ran = Ran::of(self.hermetic("git").current_dir(folder).args(arguments).output().unwrap());
        assert_eq!(ran.code, Some(0), "git {arguments:?}: {}", ran.stderr);
        ran.stdout.trim_end().to_owned()
    }

    pub(crate) fn program(&self) -> Command {
        self.hermetic(env!("CARGO_BIN_EXE_branch-run"))
    }

    /// A run of a shell script as agent `writer`.
    pub(crate) fn run_with(&self, options: &[&str], script: &str) -> Command {
        let mut command = self.program();
        command.args(["--agent", "writer"]).args(options).args(["--", "sh", "-c", script]);
        command
    }

    pub(crate) fn run(&self, options: &[&str], script: &str) -> Ran {
        Ran::of(self.run_with(options, script).output().unwrap())
    }

    pub(crate) fn branch(&self) -> String {
        self.git(["branch", "--show-current"])
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.git(["status", "--porcelain"]).is_empty()
    }
}

/// Starts it, and comes back when it has printed this line on stderr.
pub(crate) fn started(command: &mut Command, line: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while text.lines().last() != Some(line) {
        assert_ne!(stderr.read_line(&mut text).unwrap(), 0, "it ended without saying {line:?}: {text}");
    }
    (child, stderr)
}

/// Waits for it to end; stderr goes on where `started` stopped.
pub(crate) fn finished((mut child, mut stderr): (Child, BufReader<std::process::ChildStderr>)) -> Ran {
    use std::io::Read as _;
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ran { code: child.wait().unwrap().code(), stdout, stderr: rest }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// The command lines of all processes that have this text in theirs.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(text))
        .collect()
}
