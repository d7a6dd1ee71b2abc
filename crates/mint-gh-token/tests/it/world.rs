//! A GitHub with two repositories that the App covers and one that it does not, and the program with nothing but what is set here.

use sandbox::Sandbox;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mint-gh-token");

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) home: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::start().unwrap();
        sandbox.github().add_repository("octo/blog");
        sandbox.github().add_repository("octo/notes");
        sandbox.github().add_foreign_repository("acme/private");
        Self { sandbox, home: tempfile::tempdir().unwrap() }
    }

    /// A command without the App's credentials.
    pub(crate) fn bare(&self, program: &str) -> Command {
        let mut path = PathBuf::from(PROGRAM).parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let github = self.sandbox.github();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GITHUB_API_URL", github.api_url())
            .env("GITHUB_SERVER_URL", github.server_url())
            .stdin(Stdio::null());
        command
    }

    /// A command with the App's credentials.
    pub(crate) fn command(&self, program: &str) -> Command {
        let app = self.sandbox.github().app();
        let mut command = self.bare(program);
        command.env("GITHUB_APP_ID", &app.client_id).env("GITHUB_APP_PRIVATE_KEY", &app.private_key_pem);
        command
    }

    pub(crate) fn mint(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(PROGRAM).args(arguments), "")
    }

    /// `git-credential` with a description on stdin.
    pub(crate) fn credential(&self, operation: &str, stdin: &str) -> Done {
        Done::of(self.command(PROGRAM).args(["git-credential", operation]), stdin)
    }

    /// What git would say of a repository here.
    pub(crate) fn description(&self, repository: &str) -> String {
        let url = self.sandbox.github().server_url();
        format!("protocol=http\nhost={}\npath={repository}.git\n", url.strip_prefix("http://").unwrap())
    }

    pub(crate) fn cached_files(&self) -> Vec<PathBuf> {
        let Ok(directory) = std::fs::read_dir(self.home.path().join(".cache/pressrun/tokens")) else {
            return Vec::new();
        };
        let is_token = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
        directory.map(|entry| entry.unwrap().path()).filter(is_token).collect()
    }

    /// The requests for tokens so far.
    pub(crate) fn mints(&self) -> usize {
        self.sandbox
            .github()
            .requests()
            .iter()
            .filter(|request| request.path.ends_with("/access_tokens"))
            .count()
    }

    pub(crate) fn key_lines(&self) -> Vec<String> {
        let pem = &self.sandbox.github().app().private_key_pem;
        pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned).collect()
    }

    /// Holds at the end of every test: the servers saw nothing that the documentation forbids.
    pub(crate) fn no_violations(&self) {
        assert_eq!(self.sandbox.violations(), Vec::<String>::new());
    }
}

/// A command that has ended.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(command: &mut Command, stdin: &str) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A program that does not read its stdin may be gone already.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        Self::from(child.wait_with_output().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        for words in words {
            assert!(self.stderr.contains(words), "{words:?} is not in {}", self.stderr);
        }
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
