//! A control group of the run's own, where this process may make one (cgroup v2, as root or where it is delegated). Of a run that was
//! killed itself it still holds every process, also one that has left the process tree and cleared its environment, and the kernel
//! ends them all at one word.

use std::fs;
use std::path::{Path, PathBuf};

/// The group, by its folder. Removed when dropped, if nothing is left in it.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
}

impl Group {
    /// Makes the run's group beneath our own; none where that cannot be, as in a container whose groups are read-only.
    pub(crate) fn make(run: &str) -> Option<Self> {
        let folder = own()?.join(name(run));
        fs::create_dir(&folder).ok()?;
        let group = Self { folder };
        // Since Linux 5.14.
        group.folder.join("cgroup.kill").exists().then_some(group)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Does `start` inside of the group, so that what it starts is in it, and comes back.
    pub(crate) fn inside<T>(&self, start: impl FnOnce() -> T) -> T {
        // 0 is who writes it. Where we may not enter, the group stays empty.
        let enter = |folder: &Path| fs::write(folder.join("cgroup.procs"), "0");
        let entered = enter(&self.folder).is_ok();
        let started = start();
        if entered && let Some(own) = self.folder.parent() {
            // Else its end would be ours: but it is only ended by others, once we are gone.
            let _ = enter(own);
        }
        started
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // With something in it, it cannot go.
        let _ = fs::remove_dir(&self.folder);
    }
}

fn name(run: &str) -> String {
    format!("pressrun-{run}")
}

/// Kills what is in the group of a run. The folder is what the run's note says, which the command could write to: no other group than
/// that of a run is ended.
pub(crate) fn kill(folder: &Path, run: &str) {
    if folder.file_name().is_some_and(|found| *found == *name(run)) && !run.contains('/') {
        // Of what is gone already, nothing is left to kill.
        let _ = fs::write(folder.join("cgroup.kill"), "1");
    }
}

/// Removes it once it is empty.
pub(crate) fn remove(folder: &Path) {
    // As long as the kernel is at it, it stays; it costs next to nothing.
    let _ = fs::remove_dir(folder);
}

/// The folder of this process's own group.
fn own() -> Option<PathBuf> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    folder_of(&group, &fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// Out of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn folder_of(group: &str, mounts: &str) -> Option<PathBuf> {
    let group = group.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (root, at) = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then_some(())?;
        let mut fields = mount.split(' ').skip(3);
        Some((fields.next()?, fields.next()?))
    })?;
    let beneath = Path::new(group).strip_prefix(root).ok()?;
    Some(Path::new(at).join(beneath))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_among_the_mounts() {
        let hybrid = "30 25 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      31 25 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found =
            |group: &str, mounts: &str| folder_of(group, mounts).map(|folder| folder.display().to_string());
        assert_eq!(found("8:pids:/\n0::/a/b\n", hybrid).as_deref(), Some("/sys/fs/cgroup/unified/a/b"));
        let bound = "31 25 0:27 /pod /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(found("0::/pod/x\n", bound).as_deref(), Some("/sys/fs/cgroup/x"));
        assert_eq!(found("0::/other\n", bound), None, "it cannot be seen from here");
        assert_eq!(found("8:pids:/\n", hybrid), None);
    }
}
