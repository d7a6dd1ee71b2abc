//! The git server, with the real git on the other side.

use crate::client::{branch, program, run, seed, stdout};
use jiff::SignedDuration;
use sandbox::Sandbox;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const REPOSITORY: &str = "octo/blog";

/// git with this token, by the proxy where `real`, else straight to the twin on loopback.
fn git(sandbox: &Sandbox, home: &Path, token: &str, real: bool) -> Command {
    let mut git = program("git", home);
    let helper = "credential.helper=!f() { echo username=x-access-token; echo \"password=$TOKEN\"; }; f";
    git.args(["-c", "credential.helper=", "-c", helper]).env("TOKEN", token);
    if real {
        git.envs(sandbox.environment());
    }
    git
}

fn url(sandbox: &Sandbox, real: bool) -> String {
    let server = if real { "https://github.com".to_owned() } else { sandbox.github().server_url() };
    format!("{server}/{REPOSITORY}.git")
}

fn stderr(command: &mut Command) -> String {
    let output = run(command);
    assert!(!output.status.success(), "{command:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn git_clones_and_pushes_with_a_token_directly_and_through_the_proxy() {
    for real in [false, true] {
        let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
        let home = home.path();
        let bare = sandbox.github().add_repository(REPOSITORY);
        seed(home, &bare);
        let token = sandbox.github().mint(REPOSITORY, &[("contents", "write")]);
        let url = url(&sandbox, real);
        stdout(git(&sandbox, home, &token, real).args(["clone", "-q", &url, "clone"]));
        let clone = home.join("clone");
        // Larger than git's post buffer, so that it comes in chunks.
        let noise: String =
            (0..400_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
        std::fs::write(clone.join("large"), noise).unwrap();
        stdout(program("git", home).current_dir(&clone).args(["add", "."]));
        stdout(program("git", home).current_dir(&clone).args(["commit", "-qm", "more"]));
        let new = stdout(program("git", home).current_dir(&clone).args(["rev-parse", "HEAD"]));
        stdout(git(&sandbox, home, &token, real).current_dir(&clone).args([
            "push",
            "-q",
            "origin",
            "HEAD:agent/x",
        ]));

        assert_eq!(sandbox.github().branch(REPOSITORY, "agent/x"), Some(new.clone()));
        let pushes = sandbox.github().git_pushes();
        assert_eq!((pushes.len(), pushes[0].repository.as_str()), (1, REPOSITORY));
        let update = &pushes[0].updates[0];
        assert_eq!((update.reference.as_str(), &update.new), ("refs/heads/agent/x", &new));
        assert_eq!((update.old.as_str(), &update.refused, update.forced), (&*"0".repeat(40), &None, false));
        assert_eq!(sandbox.hosts_asked().is_empty(), !real);
        assert_eq!(sandbox.violations(), [""; 0]);
    }
}

#[test]
fn wrong_expired_foreign_and_narrow_tokens_are_refused() {
    let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
    let home = home.path();
    let bare = sandbox.github().add_repository(REPOSITORY);
    sandbox.github().add_repository("octo/other");
    let work = seed(home, &bare);
    let url = url(&sandbox, false);
    let list = |token: &str| stderr(git(&sandbox, home, token, false).args(["ls-remote", &url]));
    assert!(list("ghs_wrong").contains("Authentication failed"));
    let foreign = sandbox.github().mint("octo/other", &[("contents", "write")]);
    assert!(list(&foreign).contains("Repository not found."));
    let blind = sandbox.github().mint(REPOSITORY, &[("pull_requests", "write")]);
    assert!(list(&blind).contains("Repository not found."));

    let reader = sandbox.github().mint(REPOSITORY, &[("contents", "read")]);
    stdout(git(&sandbox, home, &reader, false).args(["ls-remote", &url]));
    let push = stderr(git(&sandbox, home, &reader, false).current_dir(&work).args(["push", &url, "HEAD:x"]));
    assert!(push.contains("Write access to repository not granted.") && push.contains("403"), "{push}");
    sandbox.clock().advance(SignedDuration::from_mins(61));
    assert!(list(&reader).contains("Authentication failed"));
    assert!(sandbox.github().git_pushes().is_empty());

    let nobody = stderr(program("git", home).args(["ls-remote", &url]));
    assert!(nobody.contains("could not read Username"), "{nobody}");
}

#[test]
fn a_push_that_changes_a_workflow_needs_the_permission() {
    let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
    let home = home.path();
    let bare = sandbox.github().add_repository(REPOSITORY);
    let work = seed(home, &bare);
    let workflows = work.join(".github/workflows");
    std::fs::create_dir_all(&workflows).unwrap();
    std::fs::write(workflows.join("ci.yml"), "on: push").unwrap();
    stdout(program("git", home).current_dir(&work).args(["add", "."]));
    stdout(program("git", home).current_dir(&work).args(["commit", "-qm", "ci"]));
    let url = url(&sandbox, false);
    let narrow = sandbox.github().mint(REPOSITORY, &[("contents", "write")]);
    // One ref is refused, the other is not.
    let said = stderr(git(&sandbox, home, &narrow, false).current_dir(&work).args([
        "push",
        &url,
        "HEAD:refs/heads/ci",
        "HEAD~1:refs/heads/plain",
    ]));
    let reason = "refusing to allow a GitHub App to create or update workflow `.github/workflows/ci.yml` without \
                  `workflows` permission";
    assert!(said.contains(&format!("! [remote rejected] HEAD -> ci ({reason})")), "{said}");
    assert_eq!(sandbox.github().branch(REPOSITORY, "ci"), None);
    assert!(sandbox.github().branch(REPOSITORY, "plain").is_some());
    let updates = &sandbox.github().git_pushes()[0].updates;
    let refused: Vec<_> = updates.iter().map(|update| update.refused.as_deref()).collect();
    assert_eq!(refused, [Some(reason), None]);

    let wide = sandbox.github().mint(REPOSITORY, &[("contents", "write"), ("workflows", "write")]);
    stdout(git(&sandbox, home, &wide, false).current_dir(&work).args(["push", "-q", &url, "HEAD:ci"]));
    assert!(sandbox.github().branch(REPOSITORY, "ci").is_some());
}

#[test]
fn a_protected_branch_is_refused_by_rule() {
    let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
    let home = home.path();
    let bare = sandbox.github().add_repository(REPOSITORY);
    let work = seed(home, &bare);
    sandbox.github().protect("release/*", "Changes must be made through a pull request.");
    let token = sandbox.github().mint(REPOSITORY, &[("contents", "write")]);
    let url = url(&sandbox, false);
    let push = |to: &str| {
        let mut git = git(&sandbox, home, &token, false);
        git.current_dir(&work).args(["push", &url, &format!("HEAD:refs/heads/{to}")]);
        git
    };
    let said = stderr(&mut push("release/1"));
    assert!(
        said.contains("remote: error: GH013: Repository rule violations found for refs/heads/release/1.")
    );
    assert!(said.contains("remote: - Changes must be made through a pull request."));
    assert!(said.contains("(push declined due to repository rule violations)"), "{said}");
    stdout(&mut push("agent/1"));
}

#[test]
fn a_forced_push_is_told_from_a_plain_one() {
    let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
    let home = home.path();
    let bare = sandbox.github().add_repository(REPOSITORY);
    let work = seed(home, &bare);
    branch(home, &bare, "x");
    stdout(program("git", home).current_dir(&work).args([
        "commit",
        "-q",
        "--amend",
        "--allow-empty",
        "-m",
        "other",
    ]));
    let token = sandbox.github().mint(REPOSITORY, &[("contents", "write")]);
    let url = url(&sandbox, false);
    stdout(
        git(&sandbox, home, &token, false).current_dir(&work).args(["push", "-q", "--force", &url, "HEAD:x"]),
    );
    assert!(sandbox.github().git_pushes()[0].updates[0].forced);
}
