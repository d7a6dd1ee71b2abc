//! Programs that a check starts: bounded in time, ended with all that they started in their process group, also by a signal to us.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a program gets between TERM and KILL.
const GRACE: Duration = Duration::from_secs(3);

/// No program that is started here has more to say.
const OUTPUT_MAX: u64 = 8 << 20;

/// Whether we were asked to end. The first signal does not end this process: what it has started must go first. The second does.
#[derive(Debug)]
pub(crate) struct Stop(OwnedFd);

impl Stop {
    /// From here on signals are caught.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn listen() -> io::Result<Self> {
        let (came, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self(came))
    }

    /// Whether a signal came.
    pub(crate) fn came(&self) -> bool {
        wait_for([Some(&self.0), None], Some(Instant::now()))[0]
    }
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Ended {
    /// What it said on stderr.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

/// Why a program came to no end of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// It is not there, or cannot be started.
    #[error("it cannot be started: {0}")]
    NotStarted(#[source] io::Error),
    /// Its time was up.
    #[error("it did not end in time")]
    Late,
    /// We got a signal.
    #[error("stopped by a signal")]
    Stopped,
}

/// Runs `command` in a process group of its own; at its end nothing of the group is left. stdin is nothing unless the command
/// has one.
///
/// # Errors
/// [`Broken`].
pub(crate) fn run(command: &mut Command, deadline: Instant, stop: &Stop) -> Result<Ended, Broken> {
    let mut child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Broken::NotStarted)?;
    let pid = Pid::from_child(&child);
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let ended = match ended(pid) {
        Ok(ended) => ended,
        Err(error) => {
            // That it could not be followed is what is told.
            let _ = end(&mut child, pid);
            return Err(Broken::NotStarted(error));
        }
    };
    let [has_ended, stopped] = wait_for([Some(&ended), Some(&stop.0)], Some(deadline));
    if !has_ended {
        // Ended in between: then nobody is there.
        let _ = kill_process_group(pid, Signal::TERM);
        wait_for([Some(&ended), None], Some(Instant::now() + GRACE));
    }
    let status = end(&mut child, pid);
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    match (has_ended, stopped) {
        (true, _) => Ok(Ended { status: status.map_err(Broken::NotStarted)?, stdout, stderr }),
        (false, true) => Err(Broken::Stopped),
        (false, false) => Err(Broken::Late),
    }
}

/// Kills what is left of the group, whose number is ours until its leader is reaped, and reaps the leader.
fn end(child: &mut Child, pid: Pid) -> io::Result<ExitStatus> {
    let _ = kill_process_group(pid, Signal::KILL);
    child.wait()
}

/// A descriptor that becomes readable when the process has ended, which stays to be reaped.
fn ended(pid: Pid) -> io::Result<OwnedFd> {
    let (ended, running) = pipe_with(PipeFlags::CLOEXEC)?;
    std::thread::Builder::new().name("waiter".into()).spawn(move || {
        let wait = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        while matches!(wait(), Err(Errno::INTR)) {}
        drop(running);
    })?;
    Ok(ended)
}

fn read(output: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(output) = output {
            // A broken pipe is an end like any other.
            let _ = output.take(OUTPUT_MAX).read_to_end(&mut text);
        }
        text
    })
}

/// Blocks until one of the descriptors is readable or closed, and tells which.
fn wait_for(descriptors: [Option<&OwnedFd>; 2], until: Option<Instant>) -> [bool; 2] {
    loop {
        let mut polled: Vec<PollFd<'_>> = descriptors
            .iter()
            .flatten()
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN))
            .collect();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, left.as_ref()) {
            Err(Errno::INTR) => {}
            Err(_) => return [false; 2],
            Ok(_) => {
                let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
                return descriptors.map(|asked| asked.is_some() && ready.next().unwrap_or(false));
            }
        }
    }
}
