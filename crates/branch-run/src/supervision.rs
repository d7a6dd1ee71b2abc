//! From the command's start to the end of the last process that it started: time limit, signals, orphans.
//!
//! Three threads feed one channel (signals, ended children) or a sink each (the two outputs); nothing polls. The phases:
//! running → asked to end (TERM to all, with a grace period) → being killed (KILL to all until none is left).

use crate::cgroup::Group;
use crate::processes;
use anyhow::Context as _;
use piece::Fault;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What processes that outlive the command itself get between TERM and KILL: they have nothing left to hand in.
const GRACE_AFTER_END: Duration = Duration::from_secs(1);

/// A killed process is gone at once, unless the kernel holds it (a dead disk). Then the work is worth more than the wait.
const KILLING_LIMIT: Duration = Duration::from_secs(5);

/// How long after a KILL the tree is looked at again, where no process's end has been a reason before.
const KILLING_STEP: Duration = Duration::from_millis(50);

/// Why the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// By itself.
    Itself,
    /// The time limit.
    TimeLimit,
    /// We got this signal.
    Signal(i32),
    /// What writes to its stdin.
    Stopper,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) cause: Cause,
    /// The exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Processes that could not be ended.
    pub(crate) survivors: usize,
}

impl From<Ending> for agent_log::Ending {
    fn from(ending: Ending) -> Self {
        match (ending.code, ending.signal) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

/// How long the command may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// None where it is zero.
    pub(crate) timeout: Duration,
    pub(crate) grace: Duration,
}

enum Event {
    Signal(i32),
    Stop,
    Ended(i32, WaitStatus),
    /// No child is left, so nothing beneath us.
    NoneLeft,
}

/// Listens for signals from the moment it is made: from then on, none ends this process.
pub(crate) struct Supervisor {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
}

impl Supervisor {
    /// Begins to listen, and to adopt orphans.
    pub(crate) fn new() -> anyhow::Result<Self> {
        processes::adopt_orphans().context("becoming the parent of orphaned processes")?;
        let (sender, receiver) = channel();
        let mut wanted = vec![SIGTERM, SIGINT];
        // nohup has made us deaf to it on purpose.
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        let mut signals = Signals::new(wanted).context("listening for signals")?;
        let to = sender.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in &mut signals {
                    if to.send(Event::Signal(signal)).is_err() {
                        // Nobody supervises any more; what is under way (a commit) must not be cut off.
                        continue;
                    }
                }
            })
            .context("starting a thread")?;
        Ok(Self { sender, receiver })
    }

    /// Starts `command` in a process group of its own, and hands its outputs to the sinks until all that it started has ended. Its
    /// stdin is empty, or written to by `stdin` in a thread of its own.
    pub(crate) fn run<T: Send + 'static, O: Sink, E: Sink>(
        self,
        command: &mut Command,
        group: Option<&Group>,
        limits: Limits,
        stdin: Option<Writer<T>>,
        stdout: O,
        stderr: E,
    ) -> io::Result<(Ending, Streams<T, O, E>)> {
        use std::os::unix::process::CommandExt as _;
        let began = Instant::now();
        command
            .process_group(0)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = match group {
            Some(group) => group.inside(|| command.spawn())?,
            None => command.spawn()?,
        };
        let stdin = stdin.map(|write| (write, Stopper(self.sender.clone())));
        let streams = Streams::follow(&mut child, stdin, stdout, stderr)?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        reap(self.sender)?;
        let deadline = (!limits.timeout.is_zero()).then(|| began + limits.timeout);
        let ending = attend(&self.receiver, pid, deadline, limits.grace);
        Ok((ending, streams))
    }
}

/// What writes to the command's stdin.
pub(crate) type Writer<T> = Box<dyn FnOnce(ChildStdin, Stopper) -> T + Send>;

/// Ends the command, as a signal would.
pub(crate) struct Stopper(Sender<Event>);

impl Stopper {
    pub(crate) fn stop(&self) {
        // Nobody supervises any more where the command has ended.
        let _ = self.0.send(Event::Stop);
    }
}

/// Has the kernel send SIGTERM to this process when its parent, which must be the process `parent`, ends.
pub(crate) fn die_with_parent(parent: i32) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .context("asking to be told of the parent's end")?;
    // It may have ended before it was asked for.
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if now != parent {
        return Err(Fault::usage(format!("process {parent} is not the parent, or has ended")).into());
    }
    Ok(())
}

enum Phase {
    Running,
    Asked,
    Killing { give_up: Instant },
}

fn attend(events: &Receiver<Event>, child: i32, deadline: Option<Instant>, grace: Duration) -> Ending {
    let mut ending = Ending { cause: Cause::Itself, code: None, signal: None, survivors: 0 };
    let mut phase = Phase::Running;
    let mut deadline = deadline;
    let kill = || {
        processes::signal_all(Signal::KILL);
        (Phase::Killing { give_up: Instant::now() + KILLING_LIMIT }, Some(Instant::now() + KILLING_STEP))
    };
    let ask = |grace| {
        processes::signal_all(Signal::TERM);
        // A stopped process does not see TERM before it goes on.
        processes::signal_all(Signal::CONT);
        (Phase::Asked, Some(Instant::now() + grace))
    };
    loop {
        let event = match deadline {
            Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match (event, &phase) {
            (Ok(Event::NoneLeft) | Err(RecvTimeoutError::Disconnected), _) => {
                return Ending { survivors: 0, ..ending };
            }
            (Ok(Event::Ended(pid, status)), _) if pid == child => {
                ending.code = status.exit_status();
                ending.signal = status.terminating_signal();
                match phase {
                    Phase::Running => (phase, deadline) = ask(grace.min(GRACE_AFTER_END)),
                    // What it had still begun while it was ending.
                    Phase::Asked => {
                        processes::signal_all(Signal::TERM);
                    }
                    Phase::Killing { .. } => {
                        processes::signal_all(Signal::KILL);
                    }
                }
            }
            (Ok(Event::Ended(..)), Phase::Killing { .. }) => {
                processes::signal_all(Signal::KILL);
            }
            (Ok(Event::Ended(..)), _) => {}
            (Ok(Event::Signal(signal)), Phase::Running) => {
                ending.cause = Cause::Signal(signal);
                (phase, deadline) = ask(grace);
            }
            (Ok(Event::Stop), Phase::Running) => {
                ending.cause = Cause::Stopper;
                (phase, deadline) = ask(grace);
            }
            (Ok(Event::Stop), _) => {}
            (Err(RecvTimeoutError::Timeout), Phase::Running) => {
                ending.cause = Cause::TimeLimit;
                (phase, deadline) = ask(grace);
            }
            (Ok(Event::Signal(_)) | Err(RecvTimeoutError::Timeout), Phase::Asked) => {
                (phase, deadline) = kill();
            }
            (Ok(Event::Signal(_)), Phase::Killing { .. }) => {}
            (Err(RecvTimeoutError::Timeout), Phase::Killing { give_up }) => {
                ending.survivors = processes::signal_all(Signal::KILL);
                if Instant::now() >= *give_up {
                    return ending;
                }
                deadline = Some(Instant::now() + KILLING_STEP);
            }
        }
    }
}

/// Waits for every child, adopted ones included, and reports each.
fn reap(to: Sender<Event>) -> io::Result<()> {
    std::thread::Builder::new()
        .name("reaper".into())
        .spawn(move || {
            loop {
                let event = match rustix::process::wait(WaitOptions::empty()) {
                    Ok(Some((pid, status))) => Event::Ended(pid.as_raw_nonzero().get(), status),
                    Ok(None) | Err(Errno::INTR) => continue,
                    Err(_) => Event::NoneLeft,
                };
                let last = matches!(event, Event::NoneLeft);
                if to.send(event).is_err() || last {
                    return;
                }
            }
        })
        .map(drop)
}

fn is_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Where an output goes.
pub(crate) trait Sink: Send + 'static {
    /// Takes the next piece.
    fn take(&mut self, piece: &[u8]);
}

/// The command's streams, being written and read.
pub(crate) struct Streams<T, O, E> {
    stdin: Option<JoinHandle<T>>,
    stdout: JoinHandle<O>,
    stderr: JoinHandle<E>,
    /// Closed to tell the readers that nobody writes any more.
    stop: OwnedFd,
}

impl<T: Send + 'static, O: Sink, E: Sink> Streams<T, O, E> {
    fn follow(
        child: &mut Child,
        stdin: Option<(Writer<T>, Stopper)>,
        stdout: O,
        stderr: E,
    ) -> io::Result<Self> {
        let missing = || io::Error::other("the command has no such stream");
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let stopped_too = stopped.try_clone()?;
        let stdin = match stdin {
            Some((write, stopper)) => {
                let to = child.stdin.take().ok_or_else(missing)?;
                Some(std::thread::Builder::new().name("stdin".into()).spawn(move || write(to, stopper))?)
            }
            None => None,
        };
        Ok(Self {
            stdin,
            stdout: reader("stdout", child.stdout.take().ok_or_else(missing)?.into(), stopped, stdout)?,
            stderr: reader("stderr", child.stderr.take().ok_or_else(missing)?.into(), stopped_too, stderr)?,
            stop,
        })
    }

    /// Waits until all that was written has been through the sinks, and gives them back; none for one that panicked. An
    /// output that something holds open which is not beneath us, and so was not ended, is left behind. What writes to stdin is
    /// not waited for.
    pub(crate) fn finish(self) -> (Option<JoinHandle<T>>, Option<O>, Option<E>) {
        drop(self.stop);
        (self.stdin, self.stdout.join().ok(), self.stderr.join().ok())
    }
}

fn reader<S: Sink>(name: &str, from: OwnedFd, stopped: OwnedFd, mut sink: S) -> io::Result<JoinHandle<S>> {
    rustix::io::ioctl_fionbio(&from, true)?;
    std::thread::Builder::new().name(name.into()).spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match rustix::io::read(&from, &mut buffer[..]) {
                Ok(0) => return sink,
                Ok(length) => sink.take(&buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if wait_for_more(&from, &stopped) => {}
                Err(_) => return sink,
            }
        }
    })
}

/// Blocks until there is something to read or nobody left to write; false where there will be no more.
fn wait_for_more(from: &OwnedFd, stopped: &OwnedFd) -> bool {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return !fds[0].revents().is_empty(),
        }
    }
}
