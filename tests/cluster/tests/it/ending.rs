use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `cluster up` in this folder, ready.
struct Up {
    child: Child,
    description: Value,
}

impl Up {
    fn in_folder(folder: &Path, options: &[&str]) -> Self {
        let mut child = command(folder).args(options).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Ok(description) = serde_json::from_str(&line) else {
            let output = child.wait_with_output().unwrap();
            panic!("{line}{}", String::from_utf8_lossy(&output.stderr))
        };
        Self { child, description }
    }

    fn init(&self) -> String {
        self.description["init"].to_string()
    }

    fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
    command.args(["up", "--dir"]).arg(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Command lines of processes that mention the folder.
fn processes(folder: &Path) -> Vec<String> {
    let mark = folder.to_string_lossy();
    let entries = std::fs::read_dir("/proc").unwrap();
    let lines = entries.filter_map(|entry| {
        let command = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).replace('\0', " "))
    });
    lines.filter(|line| line.contains(&*mark)).collect()
}

fn interfaces() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Nothing of the cluster in this folder is left, or will be in a moment.
fn assert_gone(folder: &Path, init: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left = processes(folder);
        if left.is_empty() && !Path::new("/proc").join(init).exists() {
            break;
        }
        assert!(Instant::now() < deadline, "still there: {left:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&*folder.to_string_lossy()), "{mounts}");
}

#[test]
fn it_ends_when_stdin_closes_when_told_to_and_when_killed_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let before = interfaces();

    let mut up = Up::in_folder(folder.path(), &[]);
    let running = processes(folder.path());
    for program in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        assert!(running.iter().any(|line| line.contains(program)), "no {program}: {running:#?}");
    }
    assert_eq!(interfaces(), before);

    // One folder is one cluster's.
    let second = command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another cluster has its state in") && said.contains("hint:"), "{said}");

    drop(up.child.stdin.take());
    assert!(up.child.wait().unwrap().success());
    assert_gone(folder.path(), &up.init());

    // Begun again in the folder of the one before.
    let mut up = Up::in_folder(folder.path(), &[]);
    up.signal("TERM");
    assert!(up.child.wait().unwrap().success());
    assert_gone(folder.path(), &up.init());

    let mut up = Up::in_folder(folder.path(), &[]);
    up.signal("KILL");
    up.child.wait().unwrap();
    assert_gone(folder.path(), &up.init());
    assert_eq!(interfaces(), before);
}

/// Folders of the control group of a cluster's pods.
fn control_groups(state: &Path) -> Vec<PathBuf> {
    let settings: Value =
        serde_json::from_slice(&std::fs::read(state.join("kubelet.json")).unwrap()).unwrap();
    let name = settings["cgroupRoot"].as_str().unwrap().trim_start_matches('/');
    let below = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path().join(name));
    below.chain([Path::new("/sys/fs/cgroup").join(name)]).filter(|group| group.exists()).collect()
}

#[test]
fn a_node_with_a_running_pod_leaves_nothing_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let before = interfaces();
    let mut up = Up::in_folder(folder.path(), &["--node"]);
    assert_eq!(interfaces(), before);
    assert!(!control_groups(folder.path()).is_empty());
    // The DNS server's pod.
    let running = processes(Path::new("/etc/coredns/Corefile"));
    assert!(running.iter().any(|line| line.starts_with("/coredns")), "{running:#?}");
    up.signal("KILL");
    up.child.wait().unwrap();
    assert_gone(folder.path(), &up.init());
    assert_eq!(interfaces(), before);
    let deadline = Instant::now() + Duration::from_secs(30);
    while let left @ [_, ..] = &*control_groups(folder.path()) {
        assert!(Instant::now() < deadline, "{left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_missing_program_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    // What the box itself takes, and nothing of what runs in it.
    for program in ["bash", "flock", "unshare", "nsenter", "mount", "ip", "cat", "kubectl"] {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap();
        let target = String::from_utf8(found.stdout).unwrap();
        std::os::unix::fs::symlink(target.trim_end(), empty.path().join(program)).unwrap();
    }
    let mut child = command(folder.path()).env("PATH", empty.path()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("'etcd' is not on the PATH") && said.contains("setup.sh cluster"), "{said}");
    assert_eq!(processes(folder.path()), Vec::<String>::new());
}
