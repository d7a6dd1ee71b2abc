//! A world for a run: the [`Sandbox`], a clone of the sample blog, and the environment that a person would have set.
//!
//! What a test claims is read back from the servers and from the git repositories, never from the run's own words
//! alone. The programs are the built binaries of this workspace, and what is installed on the `PATH`: `claude`,
//! `playwright-mcp`, `chromium`, `hugo`, `git`. A missing one is a failure that says so, never a skipped test.

pub mod kills;

use agent_task::RunRecord;
use anyhow::{Context as _, bail, ensure};
use sandbox::Sandbox;
use serde_json::Value;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// The repository that every run works on.
pub const REPOSITORY: &str = "octo/blog";

/// What a run needs around it. Dropped with everything in it.
#[derive(Debug)]
pub struct World {
    /// The stand-ins.
    pub sandbox: Sandbox,
    /// The repository on the server, bare.
    pub remote: PathBuf,
    folder: tempfile::TempDir,
}

/// How `run-publisher.sh` ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; 128 and more for a signal.
    pub code: i32,
    /// Every line of stdout.
    pub lines: Vec<Value>,
    /// All of stderr.
    pub stderr: String,
}

impl Ended {
    /// Makes sense of a finished process.
    ///
    /// # Errors
    /// stdout has a line that is no JSON.
    pub fn from_output(output: &Output) -> anyhow::Result<Self> {
        use std::os::unix::process::ExitStatusExt as _;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| {
                serde_json::from_str(line).with_context(|| format!("no JSON on stdout: {line}\n{stderr}"))
            })
            .collect::<Result<_, _>>()?;
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        Ok(Self { code: code.unwrap_or(-1), lines, stderr })
    }

    /// The run record: the last line of stdout.
    ///
    /// # Errors
    /// There is none, or it is something else.
    pub fn record(&self) -> anyhow::Result<RunRecord> {
        let last = self.lines.last().with_context(|| format!("nothing on stdout\n{}", self.stderr))?;
        serde_json::from_value(last.clone())
            .with_context(|| format!("the last line of stdout is no run record: {last}\n{}", self.stderr))
    }
}

impl World {
    /// A world whose model follows `tests/sandbox/scenarios/<scenario>.json`.
    ///
    /// # Errors
    /// A program is missing, or something could not be set up.
    pub fn new(scenario: &str) -> anyhow::Result<Self> {
        for program in ["claude", "playwright-mcp", "hugo", "git", "jq"] {
            find_program(program)?;
        }
        let file = workspace().join("tests/sandbox/scenarios").join(format!("{scenario}.json"));
        Self::playing(sandbox::Scenario::from_file(&file)?)
    }

    /// A world whose model follows this script.
    ///
    /// # Errors
    /// Something could not be set up.
    pub fn playing(scenario: sandbox::Scenario) -> anyhow::Result<Self> {
        let world = Self::without_scenario()?;
        world.sandbox.model().load(scenario)?;
        Ok(world)
    }

    /// A world whose model has no script: any request to it is a violation.
    ///
    /// # Errors
    /// Something could not be set up.
    pub fn without_scenario() -> anyhow::Result<Self> {
        let sandbox = Sandbox::start()?;
        let remote = sandbox.github().add_repository(REPOSITORY);
        let folder = tempfile::Builder::new().prefix("e2e-").tempdir()?;
        for name in ["home", "tmp"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let world = Self { sandbox, remote, folder };
        let seed = world.path("seed");
        copy(&workspace().join("config/samples/blog"), &seed)?;
        world.git(&seed, &["init", "--quiet", "--initial-branch=main"])?;
        world.git(&seed, &["add", "--all"])?;
        world.git(&seed, &["commit", "--quiet", "--message=A small blog"])?;
        let remote = world.remote.clone();
        world.git(&seed, &["push", "--quiet", &remote.to_string_lossy(), "main"])?;
        world.clone_to("blog")?;
        Ok(world)
    }

    /// A path in the world's own folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The clone that a run works in unless a test makes another.
    #[must_use]
    pub fn clone_path(&self) -> PathBuf {
        self.path("blog")
    }

    /// The run directory of the clone's runs.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// One more clone of the repository, whose origin is the address on GitHub.
    ///
    /// # Errors
    /// git fails.
    pub fn clone_to(&self, name: &str) -> anyhow::Result<PathBuf> {
        let clone = self.path(name);
        let remote = self.remote.to_string_lossy();
        self.git(self.folder.path(), &["clone", "--quiet", &remote, &clone.to_string_lossy()])?;
        self.git(&clone, &["remote", "set-url", "origin", &format!("https://github.com/{REPOSITORY}.git")])?;
        Ok(clone)
    }

    /// The files below `folder` that hold this text, as lines. What is looked for is in no process's arguments: other tests look at those.
    ///
    /// # Errors
    /// grep cannot be run, or cannot read the folder.
    pub fn files_with(&self, text: &str, folder: &Path) -> anyhow::Result<String> {
        let mut command = self.command("grep");
        command.args(["-rlaF", "--file=-", "--"]);
        let mut grep = command.arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        grep.stdin.take().context("grep has no stdin")?.write_all(text.as_bytes())?;
        let output = grep.wait_with_output()?;
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "grep in {}: {}",
            folder.display(),
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs git, away from every configuration of this machine; its stdout, trimmed.
    ///
    /// # Errors
    /// git fails.
    pub fn git(&self, directory: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .command("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.com"])
            .args(arguments)
            .current_dir(directory)
            .output()?;
        ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// The branches that the server has, by name, with their commits.
    ///
    /// # Errors
    /// git fails.
    pub fn remote_branches(&self) -> anyhow::Result<Vec<(String, String)>> {
        let format = "--format=%(refname:short) %(objectname)";
        let list = self.git(&self.remote, &["for-each-ref", format, "refs/heads/"])?;
        let pair = |line: &str| line.split_once(' ').map(|(name, id)| (name.to_owned(), id.to_owned()));
        Ok(list.lines().filter_map(pair).collect())
    }

    /// The branches that runs have made on the server.
    ///
    /// # Errors
    /// git fails.
    pub fn run_branches(&self) -> anyhow::Result<Vec<(String, String)>> {
        Ok(self.remote_branches()?.into_iter().filter(|(name, _)| name.starts_with("agent/")).collect())
    }

    /// A program with the environment of a person who has the given [`World::credentials`] not set: nothing of this
    /// process's environment but the `PATH`, a home of its own, and the way to the sandbox.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(self.sandbox.environment())
            .stdin(Stdio::null());
        command
    }

    /// The credentials for everything, as the sandbox expects them.
    ///
    /// # Errors
    /// The App's key could not be written.
    pub fn credentials(&self) -> anyhow::Result<Vec<(String, String)>> {
        let key = self.path("app-key.pem");
        let app = self.sandbox.github().app();
        std::fs::write(&key, &app.private_key_pem)?;
        Ok(vec![
            ("CLAUDE_CODE_OAUTH_TOKEN".to_owned(), self.sandbox.model().token()),
            ("GITHUB_APP_ID".to_owned(), app.client_id.clone()),
            ("GITHUB_APP_PRIVATE_KEY_FILE".to_owned(), key.to_string_lossy().into_owned()),
            ("DISCORD_WEBHOOK_URL".to_owned(), self.sandbox.discord().webhook_url_real()),
        ])
    }

    /// `run-publisher.sh` with these arguments and all credentials, in the clone; not yet started.
    ///
    /// # Errors
    /// Something could not be set up.
    pub fn run_publisher(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        build();
        let mut command = self.command(&workspace().join("scripts/run-publisher.sh").to_string_lossy());
        command
            .args(arguments)
            .envs(self.credentials()?)
            .env("PRESSRUN_RUN_DIR", self.run_dir())
            .current_dir(self.clone_path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    /// [`World::run_publisher`], to its end.
    ///
    /// # Errors
    /// It could not be started, or printed something else than JSON.
    pub fn publish(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        Ended::from_output(&self.run_publisher(arguments)?.output()?)
    }

    /// Processes that have to do with this world. A run that has ended has none.
    #[must_use]
    pub fn processes(&self) -> Vec<String> {
        processes_of(self.folder.path())
    }

    /// The ids of [`World::processes`].
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        process_ids_of(self.folder.path())
    }

    /// A named pipe: what a script writes to it, [`heard`] waits for.
    ///
    /// # Errors
    /// `mkfifo` fails.
    pub fn pipe(&self, name: &str) -> anyhow::Result<PathBuf> {
        let pipe = self.path(name);
        let status = self.command("mkfifo").arg(&pipe).status()?;
        ensure!(status.success(), "mkfifo {}", pipe.display());
        Ok(pipe)
    }
}

/// A small disk, mounted at a folder until it is dropped. Mounting takes root, or sudo that asks nothing.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// A disk of so many KiB at this empty folder, which is made where it is missing.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn mount(at: &Path, kib: u32) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        let options = format!("size={kib}k,mode=0777");
        as_root(&["mount", "-t", "tmpfs", "-o", &options, "pressrun-test", &at.to_string_lossy()])?;
        Ok(Self(at.to_owned()))
    }

    /// Makes room on it.
    ///
    /// # Errors
    /// It cannot be mounted anew.
    pub fn grow(&self, kib: u32) -> anyhow::Result<()> {
        as_root(&["mount", "-o", &format!("remount,size={kib}k"), &self.0.to_string_lossy()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also where something has still a file open there.
        if let Err(error) = as_root(&["umount", "--lazy", &self.0.to_string_lossy()]) {
            eprintln!("{error:#}");
        }
    }
}

fn as_root(command: &[&str]) -> anyhow::Result<()> {
    let id = Command::new("id").arg("-u").output()?;
    let sudo: &[&str] = if id.stdout == b"0\n" { &[] } else { &["sudo", "--non-interactive"] };
    let words = [sudo, command].concat();
    let status = Command::new(words[0]).args(&words[1..]).status()?;
    ensure!(status.success(), "{}: it takes root, or sudo that asks nothing", words.join(" "));
    Ok(())
}

/// Waits until someone writes to the named pipe, and gives what was written.
///
/// # Errors
/// Nobody did within two minutes.
pub fn heard(pipe: &Path) -> anyhow::Result<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let from = pipe.to_owned();
    std::thread::spawn(move || sender.send(std::fs::read_to_string(from)));
    let heard = receiver.recv_timeout(Duration::from_secs(120));
    Ok(heard.with_context(|| format!("nothing was written to {}", pipe.display()))??)
}

/// Sends a signal to a process.
///
/// # Errors
/// It is gone.
pub fn send(signal: &str, process: u32) -> anyhow::Result<()> {
    let status = Command::new("kill").args(["-s", signal, "--", &process.to_string()]).status()?;
    ensure!(status.success(), "kill -s {signal} {process}");
    Ok(())
}

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The built binaries first, then what the tester has.
fn search_path() -> OsString {
    let mut folders = vec![binaries()];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(folders).unwrap_or_default()
}

/// Where Cargo puts this workspace's binaries: two folders above the running test.
fn binaries() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(2).unwrap_or(Path::new("/")).to_owned()
}

/// Builds the binaries once, in this process's own profile, for [`World::command`] to find: `cargo test -p e2e` alone would use
/// those of an earlier state.
pub fn build() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--workspace", "--bins", "--profile", profile])
            .current_dir(workspace())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "the workspace's binaries do not build");
    });
}

/// Processes that have to do with this folder: by command line, environment or current directory.
#[must_use]
pub fn processes_of(folder: &Path) -> Vec<String> {
    let line = |process| std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let text = |process| String::from_utf8_lossy(&line(process)).replace('\0', " ");
    process_ids_of(folder).into_iter().map(text).collect()
}

fn process_ids_of(folder: &Path) -> Vec<u32> {
    let mark = folder.as_os_str().as_encoded_bytes();
    let mentions = |text: &[u8]| text.windows(mark.len()).any(|part| part == mark);
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    let processes = entries.filter_map(|entry| {
        let process = entry.ok()?.path();
        let id = process.file_name()?.to_str()?.parse::<u32>().ok()?;
        // Of one that has just ended, nothing can be read.
        let read = |name: &str| std::fs::read(process.join(name)).unwrap_or_default();
        let at = std::fs::read_link(process.join("cwd")).unwrap_or_default();
        (mentions(&read("cmdline")) || mentions(&read("environ")) || at.starts_with(folder)).then_some(id)
    });
    processes.collect()
}

/// The path of an installed program.
///
/// # Errors
/// It is not on the `PATH`.
pub fn find_program(name: &str) -> anyhow::Result<PathBuf> {
    let found =
        std::env::split_paths(&search_path()).map(|folder| folder.join(name)).find(|file| file.is_file());
    match found {
        Some(file) => Ok(file),
        None => bail!("'{name}' is not on the PATH: scripts/setup.sh installs it"),
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp").arg("-R").arg(from).arg(to).status()?;
    ensure!(status.success(), "copying {} to {}", from.display(), to.display());
    Ok(())
}
