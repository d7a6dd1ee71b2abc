//! Signals to us, and the processes that servers leave behind.

use super::stdio::Event;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::mpsc::Sender;

/// Makes orphans of our servers come to us, also those that moved to a session of their own.
pub(super) fn adopt_orphans() {
    // Where that is not to be had, the servers' process groups are still ended.
    let _ = set_child_subreaper(Some(getpid()));
}

/// From here on the signals that mean "stop" are caught.
///
/// # Errors
/// Those of the system.
pub(super) fn signals() -> std::io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP])
}

/// Tells every server's thread, and `stopped`, of the first signal.
///
/// # Errors
/// Where no thread can be started.
pub(super) fn forward(
    mut signals: Signals,
    servers: Vec<Sender<Event>>,
    stopped: impl FnOnce(&'static str) + Send + 'static,
) -> std::io::Result<()> {
    let wait = move || {
        let Some(signal) = signals.forever().next() else { return };
        stopped(match signal {
            SIGINT => "SIGINT",
            SIGHUP => "SIGHUP",
            _ => "SIGTERM",
        });
        for server in servers {
            // One that has ended needs no word.
            let _ = server.send(Event::Stop);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

/// Ends and reaps whatever the servers left. Every server itself has been reaped before: what is a child of ours now came to us
/// as an orphan.
pub(super) fn sweep() {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => {
                let children = children();
                for &child in &children {
                    // It may have ended in between.
                    let _ = kill_process(child, Signal::KILL);
                }
                // Killed processes end; without /proc nothing can be killed, and waiting would not end.
                if children.is_empty() || matches!(wait(WaitOptions::empty()), Err(Errno::CHILD)) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// The living children of this process.
fn children() -> Vec<Pid> {
    let ours = getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid: &i32| {
            std::fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_living_child(&stat, ours))
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// Reads proc_pid_stat(5): `PID (NAME) STATE PARENT …`, where the name may hold anything.
fn is_living_child(stat: &[u8], ours: i32) -> bool {
    let Some(end) = stat.iter().rposition(|&byte| byte == b')') else { return false };
    let rest = String::from_utf8_lossy(&stat[end + 1..]);
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next();
    state.is_some_and(|state| state != "Z")
        && fields.next().and_then(|parent| parent.parse().ok()) == Some(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_line_is_read_whatever_its_name() {
        assert!(is_living_child(b"7 (sh) S 5 7 7 0", 5));
        assert!(is_living_child(b"7 (a) Z 9 (b) R 5 7", 5));
        assert!(!is_living_child(b"7 (sh) Z 5 7 7 0", 5));
        assert!(!is_living_child(b"7 (sh) S 6 7 7 0", 5));
        assert!(!is_living_child(b"", 5));
    }
}
