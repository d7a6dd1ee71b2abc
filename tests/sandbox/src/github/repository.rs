//! A bare repository, as the server keeps it.

use crate::shared::Shared;
use anyhow::{Context as _, bail};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The branch that a new repository begins with.
pub(super) const DEFAULT_BRANCH: &str = "main";

const HOOKS: [(&str, &str); 2] =
    [("pre-receive", include_str!("hooks/pre-receive.sh")), ("update", include_str!("hooks/update.sh"))];

/// Makes an empty one.
pub(super) fn create(path: &Path) -> anyhow::Result<()> {
    let mut init = std::process::Command::new("git");
    init.env_clear().envs(environment(path)).args(["init", "--quiet", "--bare", "--template="]);
    init.arg(format!("--initial-branch={DEFAULT_BRANCH}")).arg(path);
    let output = init.output().context("running git")?;
    if !output.status.success() {
        bail!("git init: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let config = path.join("config");
    let mut text = std::fs::read_to_string(&config)?;
    // A ref stays a file, which is how they are read; and what GitHub allows beyond git's defaults.
    text.push_str("[gc]\n\tauto = 0\n[receive]\n\tautogc = false\n[http]\n\treceivepack = true\n");
    text.push_str("[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n");
    std::fs::write(&config, text)?;
    let hooks = path.join("hooks");
    std::fs::create_dir_all(&hooks)?;
    for (name, text) in HOOKS {
        let hook = hooks.join(name);
        std::fs::write(&hook, text)?;
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// What every git process of the server gets, and nothing else.
pub(super) fn environment(home: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut environment = vec![
        ("HOME", home.to_owned()),
        ("LC_ALL", "C".into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
        // The repositories may be another user's, as where a directory is mounted into a container.
        ("GIT_CONFIG_COUNT", "1".into()),
        ("GIT_CONFIG_KEY_0", "safe.directory".into()),
        ("GIT_CONFIG_VALUE_0", "*".into()),
    ];
    if let Some(path) = std::env::var_os("PATH") {
        environment.push(("PATH", path.into()));
    }
    environment
}

/// Where a branch is.
pub(super) fn branch(repository: &Path, branch: &str) -> Option<String> {
    let plain = branch.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain {
        return None;
    }
    let name = format!("refs/heads/{branch}");
    let loose = std::fs::read_to_string(repository.join(&name)).ok();
    loose.map(|text| text.trim().to_owned()).or_else(|| {
        let packed = std::fs::read_to_string(repository.join("packed-refs")).ok()?;
        packed.lines().find_map(|line| line.strip_suffix(&name)?.strip_suffix(' ').map(str::to_owned))
    })
}

/// How many commits `head` has that `base` has not.
pub(super) async fn commits_between(
    shared: &Shared,
    repository: &Path,
    base: &str,
    head: &str,
) -> anyhow::Result<u64> {
    let range = format!("{base}..{head}");
    let text = git(shared, repository, &["rev-list", "--count", &range, "--"]).await?;
    text.trim().parse().with_context(|| format!("git rev-list --count {range}"))
}

/// Whether moving a ref from `old` to `new` loses commits.
pub(super) async fn is_forced(shared: &Shared, repository: &Path, old: &str, new: &str) -> bool {
    let nothing = |id: &str| id.bytes().all(|digit| digit == b'0');
    if nothing(old) || nothing(new) {
        return false;
    }
    git(shared, repository, &["merge-base", "--is-ancestor", old, new]).await.is_err()
}

async fn git(shared: &Shared, repository: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    // Held until the process is gone, so that the sandbox does not stop before.
    let running = shared.stopping();
    let mut command = tokio::process::Command::new("git");
    command.env_clear().envs(environment(repository)).arg("-C").arg(repository.as_os_str());
    let output = command.args(arguments.iter().map(OsStr::new)).kill_on_drop(true).output().await?;
    drop(running);
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
