//! What a process has in its memory stays there: its secrets, and what it was handed in its environment.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No core dump of this process or of what it starts, and no look into its memory and environment by others of its user.
///
/// A limit of one byte and not of none: the kernel hands a core to a program (`core_pattern` with a pipe) whatever the limit, but
/// for the limit 1 (core(5), `kernel/coredump.c`). A file cannot be so small.
pub(crate) fn close() {
    let one = Rlimit { current: Some(1), maximum: Some(1) };
    let set = setrlimit(Resource::Core, one);
    if set.is_err() && getrlimit(Resource::Core).current != Some(0) {
        // Not with a maximum of 0, which only root may raise: then there are no files at least.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = setrlimit(Resource::Core, none);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // The kernel takes this value from everyone.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
