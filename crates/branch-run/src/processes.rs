//! The processes that the command has started, wherever they went. As the subreaper of them all, we inherit every one
//! whose parent ends, so all are beneath us in the process tree whatever group or session they moved to.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often is looked for the remains of a killed run, and how long what was killed gets to be gone.
const ROUNDS: usize = 100;
const ROUND: Duration = Duration::from_millis(20);

/// Makes this process the one that orphans come to.
pub(crate) fn adopt_orphans() -> std::io::Result<()> {
    // Any process id but 0 switches it on: the kernel looks no further.
    Ok(rustix::process::set_child_subreaper(Some(getpid()))?)
}

/// One line of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    /// In clock ticks since boot: with the pid it names a process for good.
    started: u64,
    zombie: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(line: &[u8]) -> Option<Stat> {
    // The second field is the name in parentheses, and may hold anything, parentheses too.
    let after_name = line.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&line[after_name..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22 of proc_pid_stat(5); parent was field 4.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { parent, started, zombie: state == "Z" })
}

/// Sends `signal` to every process beneath this one, and tells how many that were.
pub(crate) fn signal_all(signal: Signal) -> usize {
    descendants().into_iter().filter(|&(pid, started)| send(pid, started, signal)).count()
}

/// Pid and start of every living process beneath this one.
pub(crate) fn descendants() -> Vec<(i32, u64)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let all: BTreeMap<i32, Stat> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    beneath(getpid().as_raw_nonzero().get(), &all)
}

/// Kills what is left of a run that was killed itself: every process that has its id in the environment it began with. What one of
/// them starts while the others are looked for is found the next time.
pub(crate) fn kill_remains(run: &str) -> usize {
    let entry = format!("PRESSRUN_RUN_ID={run}");
    let mut killed = BTreeSet::new();
    for _ in 0..ROUNDS {
        let found = kill_those_with(&entry);
        if found.is_empty() {
            break;
        }
        killed.extend(found);
        std::thread::sleep(ROUND);
    }
    killed.len()
}

/// Kills every process that has `entry` in its environment, and tells which.
fn kill_those_with(entry: &str) -> Vec<(i32, u64)> {
    let own = getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|process| process.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| Some((pid, stat(pid)?.started)))
        .filter(|(pid, _)| {
            // What belongs to someone else cannot be read, and is not ours to end.
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|found| found == entry.as_bytes())
        })
        .filter(|&(pid, started)| send(pid, started, Signal::KILL))
        .collect()
}

fn beneath(root: i32, all: &BTreeMap<i32, Stat>) -> Vec<(i32, u64)> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (&pid, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
            parents.push(pid);
            if !stat.zombie {
                found.push((pid, stat.started));
            }
        }
    }
    found
}

fn send(pid: i32, started: u64, signal: Signal) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    let same = || stat(pid.as_raw_nonzero().get()).is_some_and(|stat| stat.started == started);
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The descriptor holds on to one process: if it is the one we saw now, the signal cannot meet another.
        Ok(process) => same() && pidfd_send_signal(process, signal).is_ok(),
        Err(Errno::NOSYS | Errno::PERM) => same() && kill_process(pid, signal).is_ok(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line = b"42 (a) S 1 (b) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10";
        assert_eq!(parse(line), Some(Stat { parent: 7, started: 987_654, zombie: false }));
        assert_eq!(parse(b"42 (x"), None);
    }

    #[test]
    fn the_whole_tree_is_found_without_its_zombies() {
        let process = |parent, zombie| Stat { parent, started: 1, zombie };
        let all = BTreeMap::from([
            (1, process(0, false)),
            (10, process(1, false)),
            (11, process(10, false)),
            (12, process(11, true)),
            (13, process(12, false)),
            (20, process(1, false)),
        ]);
        let mut found: Vec<_> = beneath(10, &all).into_iter().map(|(pid, _)| pid).collect();
        found.sort_unstable();
        assert_eq!(found, [11, 13]);
    }
}
