//! The box: namespaces of its own for network, mounts and processes, that end with their first process.
//!
//! That process waits on a pipe that this process holds. So whatever ends this process, SIGKILL too, ends the box, and the
//! kernel ends what is in it: no process, mount, interface or rule is left.

use crate::image::program;
use anyhow::{Context as _, bail, ensure};
use piece::Fault;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs outside of the box, and outlives this process for as long as the box takes to end: it holds the lock on the state folder and
/// removes the folder when that is wanted.
const AROUND: &str = r#"
exec 9>"$1/lock"
flock --nonblock 9 || exit 75
export CONTROL_GROUP=cluster-$$
unshare --net --mount --pid --fork --kill-child --mount-proc bash -c "$3"
status=$?
# Only now is nothing left in them.
findmnt --raw --noheadings --types cgroup,cgroup2 --output TARGET | while read -r hierarchy; do
    [ ! -d "$hierarchy/$CONTROL_GROUP" ] || find "$hierarchy/$CONTROL_GROUP" -depth -type d -exec rmdir {} +
done
[ "$2" = keep ] || rm -rf -- "$1"
exit $status
"#;

/// [`AROUND`]'s exit code when another box has the state folder.
const LOCKED: i32 = 75;

/// What becomes of the state folder when the box has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Keep,
    Remove,
}

/// The box. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct SealedBox {
    around: Child,
    /// Open for as long as the box is to live.
    lifeline: Option<ChildStdin>,
    init: u32,
    state: PathBuf,
}

impl SealedBox {
    /// A box whose first process is this bash script; it has to print a line when all is set up, and to end when its stdin does.
    pub(crate) fn start(
        state: &Path,
        afterwards: Afterwards,
        script: &str,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let keep = if afterwards == Afterwards::Keep { "keep" } else { "remove" };
        let mut around = Command::new("bash")
            .args(["-c", AROUND, "bash"])
            .arg(state)
            .args([keep, script])
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is for this process alone; the box follows by the pipe.
            .process_group(0)
            .spawn()
            .context("starting the box: bash")?;
        let lifeline = around.stdin.take();
        let stdout = around.stdout.take().context("the box has no stdout")?;
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready).context("waiting for the box")?;
        if ready.is_empty() {
            let mut said = String::new();
            if let Some(mut stderr) = around.stderr.take() {
                stderr.read_to_string(&mut said)?;
            }
            let status = around.wait()?;
            if status.code() == Some(LOCKED) {
                let fault = Fault::failed(format!("another cluster has its state in {}", state.display()));
                return Err(fault.hint("end that one, or name another folder").into());
            }
            let fault = Fault::failed(format!("the box did not start ({status}): {}", said.trim()));
            return Err(fault.hint("it takes root, and util-linux and iproute2").into());
        }
        let unshare = only_child(around.id())?;
        let init = only_child(unshare)?;
        Ok(Self { around, lifeline, init, state: state.to_owned() })
    }

    /// The first process of the box, as seen from outside.
    pub(crate) fn init(&self) -> u32 {
        self.init
    }

    /// The control group, in each hierarchy, for what the node runs. Other boxes have others.
    pub(crate) fn control_group(&self) -> String {
        format!("/cluster-{}", self.around.id())
    }

    /// A command that runs in the box; not yet started.
    pub(crate) fn command(&self, program: &str) -> Command {
        command_in(self.init, program)
    }

    /// The handle of the box's network.
    pub(crate) fn network(&self) -> anyhow::Result<Network> {
        Network::of_process(self.init)
    }

    /// Starts a program in the box that is to run as long as the box does, with its output in the state folder.
    pub(crate) fn start_program(&self, name: &str, arguments: &[String]) -> anyhow::Result<Program> {
        program(name)?;
        let folder = self.state.join("log");
        fs::create_dir_all(&folder)?;
        let log = folder.join(format!("{name}.log"));
        let file = fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("writing {}", log.display()))?;
        let child = self
            .command(name)
            .args(arguments)
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Program { name: name.to_owned(), arguments: arguments.to_owned(), child, log })
    }

    /// Kills a program of the box, and waits until it is gone.
    pub(crate) fn kill(&self, program: &mut Program) -> anyhow::Result<()> {
        // The kernel keeps no more of a name.
        let name = &program.name[..program.name.len().min(15)];
        let killed = self.command("pkill").args(["-KILL", "--exact", name]).status().context("pkill")?;
        ensure!(killed.success(), "{} does not run", program.name);
        program.child.wait()?;
        Ok(())
    }

    /// Starts a program again that has ended.
    pub(crate) fn start_again(&self, program: &mut Program) -> anyhow::Result<()> {
        ensure!(program.child.try_wait()?.is_some(), "{} still runs", program.name);
        *program = self.start_program(&program.name, &program.arguments)?;
        Ok(())
    }
}

impl Drop for SealedBox {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if !matches!(self.around.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // It should be gone. Its first process is killed by the kernel when unshare is.
        let _ = self.around.kill();
        let _ = self.around.wait();
    }
}

/// A program in the box.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    arguments: Vec<String>,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Fails if it has ended, with the last lines that it said.
    pub(crate) fn is_running(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!("{} ended with {status}:\n{}", self.name, self.last_words())
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It is in the box and ends with it; this end of it is waited for, so that no zombie is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Network(File);

impl Network {
    pub(crate) fn of_process(process: u32) -> anyhow::Result<Self> {
        Self::at(Path::new(&format!("/proc/{process}/ns/net")))
    }

    pub(crate) fn at(path: &Path) -> anyhow::Result<Self> {
        Ok(Self(File::open(path).with_context(|| format!("the network {}", path.display()))?))
    }

    /// Moves the calling thread into it. The threads that it starts from then on are in it too; no other is.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .context("entering the box's network")
    }

    /// Runs this in a thread that is in it.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let run = || {
            self.enter()?;
            Ok(work())
        };
        thread::scope(|scope| {
            let joined = scope.spawn(run).join();
            joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// A command that runs in the box with this first process; not yet started.
pub(crate) fn command_in(init: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &init.to_string(), "--mount", "--net", "--pid", "--", program]);
    command.stdin(Stdio::null()).process_group(0);
    command
}

fn only_child(parent: u32) -> anyhow::Result<u32> {
    let list = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(&list).with_context(|| list.clone())?;
    children.trim().parse().with_context(|| format!("one child was expected in {list}, not '{children}'"))
}
