use crate::place::{Place, Ran, finished, processes_with, signal, started};
use agent_task::{Outcome, RunRecord};
use sandbox::{Fault, How, Sandbox, Service};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A clone whose origin is on the sandbox's GitHub.
pub(crate) struct Published {
    pub(crate) sandbox: Sandbox,
    pub(crate) place: Place,
    pub(crate) token: String,
    bare: std::path::PathBuf,
}

pub(crate) const REPOSITORY: &str = "octo/blog";

impl Published {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::start().unwrap();
        let bare = sandbox.github().add_repository(REPOSITORY);
        let place = Place::new();
        place.git(["push", "--quiet", bare.to_str().unwrap(), "main"]);
        let token = sandbox.github().mint(REPOSITORY, &[("contents", "write"), ("pull_requests", "write")]);
        Self { sandbox, place, token, bare }
    }

    pub(crate) fn record(&self, script: &str) -> RunRecord {
        self.place.run(&[], script).record()
    }

    pub(crate) fn command(&self, place: &Place) -> Command {
        let mut command = place.program();
        command
            .args(["push", "--repo", REPOSITORY, "--server-url", &self.sandbox.github().server_url()])
            .env("GITHUB_TOKEN", &self.token);
        command
    }

    pub(crate) fn push(&self, record: &RunRecord) -> Ran {
        piped(&mut self.command(&self.place), record)
    }

    pub(crate) fn remote(&self, branch: &str) -> Option<String> {
        self.sandbox.github().branch(REPOSITORY, branch)
    }

    /// Every branch of the remote.
    pub(crate) fn branches(&self) -> Vec<String> {
        let references = self.place.git(["ls-remote", &self.bare()]);
        references.lines().filter_map(|line| Some(line.split_once("refs/")?.1.to_owned())).collect()
    }

    /// Puts the clone's main branch on the remote.
    pub(crate) fn push_main(&self) {
        self.place.git(["push", "--quiet", &self.bare(), "main"]);
    }

    fn bare(&self) -> String {
        self.bare.to_str().unwrap().to_owned()
    }
}

pub(crate) fn piped(command: &mut Command, record: &RunRecord) -> Ran {
    given(command, &serde_json::to_vec(record).unwrap())
}

/// Runs it with this on stdin.
pub(crate) fn given(command: &mut Command, input: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have refused its arguments and gone.
    let _ = child.stdin.take().unwrap().write_all(input);
    Ran::of(child.wait_with_output().unwrap())
}

#[test]
fn the_branch_is_on_the_remote_and_a_second_push_changes_nothing() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let ran = published.push(&record);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let pushed = ran.record();
    let push = pushed.push.clone().unwrap();
    let branch = record.branch.clone().unwrap();
    assert_eq!((push.repository.as_str(), push.operation.as_str()), (REPOSITORY, "created"));
    assert_eq!((&push.branch, Some(&push.head)), (&branch, record.head.as_ref()));
    assert_eq!(published.remote(&branch), record.head);

    let again = published.push(&pushed).record().push.unwrap();
    assert_eq!(again.operation, "unchanged");
    assert_eq!(published.sandbox.github().git_pushes().len(), 1);
    assert_eq!(published.sandbox.violations(), [""; 0]);
}

#[test]
fn an_earlier_push_of_the_run_is_moved_on() {
    let published = Published::new();
    let record = published.record("echo x >new");
    published.push(&record);
    published.place.git(["switch", "--quiet", record.branch.as_deref().unwrap()]);
    published.place.git(["commit", "--quiet", "--allow-empty", "--message=more"]);
    let pushed = published.push(&record).record();
    assert_eq!(pushed.push.unwrap().operation, "updated");
    assert_eq!((pushed.commits, pushed.head), (2, Some(published.place.git(["rev-parse", "HEAD"]))));
}

/// P2
#[test]
fn a_name_that_another_run_has_taken_is_left_to_it() {
    let published = Published::new();
    let other = Place::new();
    other.git(["fetch", "--quiet", &published.bare(), "main"]);
    other.git(["reset", "--quiet", "--hard", "FETCH_HEAD"]);
    let theirs = other.run(&["--branch", "agent/same"], "echo theirs >new").record();
    let first = piped(&mut published.command(&other), &theirs);
    assert_eq!(first.code, Some(0), "{}", first.stderr);

    let ours = published.place.run(&["--branch", "agent/same"], "echo ours >new").record();
    let ran = published.push(&ours);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let branch = ran.record().push.unwrap().branch;
    assert_eq!(branch, format!("agent/same-{}", ours.run.rsplit('-').next().unwrap()));
    assert_eq!(published.remote("agent/same"), theirs.head);
    assert_eq!(published.remote(&branch), ours.head);
    assert_eq!(published.push(&ours).record().push.unwrap().operation, "unchanged");
}

/// P2: whoever comes first at the remote has the name, however the remote tells the others.
#[test]
fn runs_that_push_the_same_name_at_once_each_get_a_branch() {
    let published = Published::new();
    let runs: Vec<_> = (0..6)
        .map(|number| {
            let place = Place::new();
            place.git(["fetch", "--quiet", &published.bare(), "main"]);
            place.git(["reset", "--quiet", "--hard", "FETCH_HEAD"]);
            let record = place.run(&["--branch", "agent/same"], &format!("echo {number} >new")).record();
            (place, record)
        })
        .collect();
    let started = std::sync::Barrier::new(runs.len());
    let branches: BTreeSet<String> = std::thread::scope(|scope| {
        let (published, started) = (&published, &started);
        let pushes: Vec<_> = runs
            .iter()
            .map(|(place, record)| {
                scope.spawn(move || {
                    let mut command = published.command(place);
                    started.wait();
                    let ran = piped(&mut command, record);
                    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
                    let branch = ran.record().push.unwrap().branch;
                    assert_eq!(published.remote(&branch), record.head);
                    branch
                })
            })
            .collect();
        pushes.into_iter().map(|push| push.join().unwrap()).collect()
    });
    assert_eq!(branches.len(), runs.len(), "{branches:?}");
    assert!(branches.contains("agent/same"));
}

#[test]
fn a_base_that_has_moved_on_is_fetched() {
    let published = Published::new();
    let other = Place::new();
    other.git(["fetch", "--quiet", &published.bare(), "main"]);
    other.git(["reset", "--quiet", "--hard", "FETCH_HEAD"]);
    other.git(["commit", "--quiet", "--allow-empty", "--message=elsewhere"]);
    other.git(["push", "--quiet", &published.bare(), "main"]);
    let ran = published.push(&published.record("echo x >new"));
    assert_eq!((ran.code, ran.record().commits), (Some(0), 1), "{}", ran.stderr);
}

#[test]
fn a_shallow_clone_can_be_pushed_from() {
    let published = Published::new();
    published.place.git(["commit", "--quiet", "--allow-empty", "--message=second"]);
    published.place.git(["push", "--quiet", &published.bare(), "main"]);
    let other = Place::new();
    let (url, shallow) = (format!("file://{}", published.bare()), other.path("shallow"));
    other.git(["clone", "--quiet", "--depth=1", &url, shallow.to_str().unwrap()]);
    std::fs::remove_dir_all(other.work()).unwrap();
    std::fs::rename(&shallow, other.work()).unwrap();
    let record = other.run(&[], "echo x >new").record();
    assert_eq!((record.outcome, record.commits), (Outcome::Success, 1), "{:?}", record.error);
    let ran = piped(&mut published.command(&other), &record);
    assert_eq!((ran.code, ran.record().commits), (Some(0), 1), "{}", ran.stderr);
    assert_eq!(published.remote(&record.branch.unwrap()), record.head);
}

#[test]
fn nothing_to_push_is_no_change() {
    let published = Published::new();
    let mut record = published.record("true");
    assert_eq!(record.outcome, Outcome::NoChange);
    record.outcome = Outcome::Success;
    let ran = published.push(&record);
    assert_eq!((ran.code, ran.record().outcome, ran.record().push), (Some(0), Outcome::NoChange, None));
    assert_eq!(published.sandbox.github().git_pushes(), []);
}

/// P9
#[test]
fn a_rule_of_the_repository_is_told_in_its_words() {
    let published = Published::new();
    published.sandbox.github().protect("agent/*", "Cannot create ref due to creations being restricted.");
    let ran = published.push(&published.record("echo x >new"));
    let record = ran.record();
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!((record.outcome, record.stage.unwrap().as_str()), (Outcome::PushRefused, "push"));
    assert!(record.error.unwrap().contains("creations being restricted"), "{}", ran.stderr);
    assert_eq!(record.push, None);
}

/// P9
#[test]
fn a_workflow_needs_a_permission_that_is_named() {
    let published = Published::new();
    let record = published.record("mkdir -p .github/workflows; echo 'on: push' >.github/workflows/ci.yml");
    let ran = published.push(&record);
    assert_eq!((ran.code, ran.record().outcome), (Some(1), Outcome::PushRefused));
    assert!(ran.record().error.unwrap().contains("permission 'workflows'"), "{}", ran.stderr);
}

#[test]
fn a_wrong_token_a_narrow_one_and_none_at_all_are_not_allowed() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let read = published.sandbox.github().mint(REPOSITORY, &[("contents", "read")]);
    for token in ["ghs_wrong0000000000000000000000000000000000", &read] {
        let ran = piped(published.command(&published.place).env("GITHUB_TOKEN", token), &record);
        assert_eq!((ran.code, ran.record().outcome), (Some(4), Outcome::PushRefused), "{}", ran.stderr);
        assert!(!ran.stderr.contains(token));
    }
    let ran = piped(published.command(&published.place).env_remove("GITHUB_TOKEN"), &record);
    assert_eq!(ran.code, Some(4));
    assert!(ran.stderr.contains("hint: set GITHUB_TOKEN"));
}

#[test]
fn a_server_that_breaks_is_worth_a_retry() {
    let published = Published::new();
    let record = published.record("echo x >new");
    for how in [How::Disconnect, How::Status { code: 502, headers: Vec::new(), body: String::new() }] {
        published.sandbox.fail(Fault::next(Service::Git, how));
        let ran = published.push(&record);
        assert_eq!((ran.code, ran.record().outcome), (Some(3), Outcome::PushFailed), "{}", ran.stderr);
        assert_eq!(published.push(&record).code, Some(0), "the same again works");
    }
}

#[test]
fn an_answer_that_was_cut_off_is_found_out_by_asking_again() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let path_prefix = format!("/{REPOSITORY}.git/git-receive-pack");
    published.sandbox.fail(Fault { path_prefix, ..Fault::next(Service::Git, How::CutAfter(0)) });
    let ran = published.push(&record);
    assert_eq!(published.remote(record.branch.as_deref().unwrap()), record.head, "the push had been taken");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.record().push.unwrap().operation, "created");
}

/// P10
#[test]
fn a_credential_helper_is_asked_when_the_token_is_needed() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let helper = published.place.path("helper");
    std::fs::write(
        &helper,
        format!(
            "[ $1 = get ] || exit 0; echo username=x-access-token; echo password={}; echo \"$HOME\" >&2",
            published.token
        ),
    )
    .unwrap();
    let mut command = published.command(&published.place);
    command.env_remove("GITHUB_TOKEN").args(["--credential-helper", &format!("sh {}", helper.display())]);
    let ran = piped(&mut command, &record);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains(published.place.path("home").to_str().unwrap()), "it has our home");
    assert!(!ran.stderr.contains(&published.token));
}

#[test]
fn the_token_is_seen_by_git_and_nobody_else() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let file = published.place.path("token");
    std::fs::write(&file, &published.token).unwrap();
    let log = published.place.path("calls");
    std::fs::create_dir(published.place.path("bin")).unwrap();
    // Before each call of git, everything that anyone could read is written down: arguments, and all files beside it.
    let git = published.place.path("bin/git");
    let real = String::from_utf8(Command::new("sh").args(["-c", "command -v git"]).output().unwrap().stdout)
        .unwrap();
    std::fs::write(
        &git,
        format!("#!/bin/sh\n{{ echo \"$@\"; env; cat ./push.git/config; cat /proc/*/cmdline | tr '\\0' ' '; }} >>{} 2>&1\nexec {} \"$@\"\n", log.display(), real.trim()),
    )
    .unwrap();
    Command::new("chmod").args(["+x", git.to_str().unwrap()]).status().unwrap();
    let path = format!("{}:{}", published.place.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = published.command(&published.place);
    command.env_remove("GITHUB_TOKEN").env("GITHUB_TOKEN_FILE", &file).env("PATH", path);
    let ran = piped(&mut command, &record);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let seen = std::fs::read_to_string(log).unwrap();
    assert!(seen.contains("push --porcelain"), "git was seen");
    let config = std::fs::read_to_string(published.place.work().join(".git/config")).unwrap();
    for text in [&seen, &ran.stdout, &ran.stderr, &config] {
        assert!(!text.contains(&published.token));
    }
}

#[test]
fn the_real_name_is_reached_through_the_proxy_and_no_other() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let mut command = published.place.program();
    command
        .args(["push", "--repo", REPOSITORY])
        .env("GITHUB_TOKEN", &published.token)
        .envs(published.sandbox.environment());
    let ran = piped(&mut command, &record);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(published.remote(&record.branch.unwrap()), record.head);
    let hosts = published.sandbox.hosts_asked();
    assert!(!hosts.is_empty() && hosts.iter().all(|host| host == "github.com:443"), "{hosts:?}");
}

/// P9
#[test]
fn a_signal_ends_the_push_with_a_record() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let mut command = with_hanging_git(&published, &record, "sleep 86407");
    let run = started(&mut command, "ready");
    signal(&run.0, "TERM");
    let ran = finished(run);
    assert_eq!((ran.code, ran.record().outcome), (Some(3), Outcome::Interrupted), "{}", ran.stderr);
    assert_eq!(ran.record().error.as_deref(), Some("branch-run got SIGTERM"));
    assert_eq!(processes_with("sleep 86407"), [""; 0]);
}

#[test]
fn a_push_that_takes_too_long_is_worth_a_retry() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let mut command = with_hanging_git(&published, &record, "sleep 86408");
    let ran = Ran::of(command.args(["--timeout", "200ms"]).output().unwrap());
    assert_eq!((ran.code, ran.record().outcome), (Some(3), Outcome::PushFailed), "{}", ran.stderr);
    assert!(ran.record().error.unwrap().contains("time limit"));
    assert_eq!(processes_with("sleep 86408"), [""; 0]);
}

/// P2: what the remote had when it was looked at is what it must have still.
#[test]
fn a_push_that_comes_between_is_not_overwritten() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let branch = record.branch.as_deref().unwrap();
    let (bare, bin) = (published.bare(), published.place.path("bin"));
    let theirs = published.place.git(["commit-tree", "-m", "theirs", "-p", "main", "main^{tree}"]);
    published.place.git(["push", "--quiet", &bare, &format!("{theirs}:refs/heads/theirs")]);
    std::fs::create_dir(&bin).unwrap();
    let done = published.place.path("between");
    let script = format!(
        "#!/bin/sh\nPATH=${{PATH#*:}}\ncase \"$*\" in *'push --porcelain'*) [ -e {done} ] || \
         {{ touch {done}; git --git-dir {bare} update-ref refs/heads/{branch} {theirs}; }};; esac\nexec git \"$@\"\n",
        done = done.display(),
    );
    std::fs::write(bin.join("git"), script).unwrap();
    Command::new("chmod").arg("+x").arg(bin.join("git")).status().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let ran = piped(published.command(&published.place).env("PATH", path), &record);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(done.exists());
    assert_eq!(published.remote(branch), Some(theirs));
    let push = ran.record().push.unwrap();
    assert_ne!(push.branch, branch);
    assert_eq!(published.remote(&push.branch), record.head);
}

/// The push, with a git that says "ready" and then does this.
fn with_hanging_git(published: &Published, record: &RunRecord, script: &str) -> Command {
    let bin = published.place.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("git"), format!("#!/bin/sh\necho ready >&2\n{script}\n")).unwrap();
    Command::new("chmod").arg("+x").arg(bin.join("git")).status().unwrap();
    let input = published.place.path("record.json");
    std::fs::write(&input, serde_json::to_vec(record).unwrap()).unwrap();
    let mut command = published.command(&published.place);
    command
        .stdin(std::fs::File::open(input).unwrap())
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    command
}

/// P1: an agent's word that its branch is merged counts for nothing; that of `open-pr --merged` does, as long as the branch is there.
#[test]
fn what_is_merged_is_not_pushed_again() {
    let published = Published::new();
    let mut record = published.record("echo x >new");
    let branch = record.branch.clone().unwrap();
    let (repository, head) = (REPOSITORY.to_owned(), record.head.clone().unwrap());
    let operation = "unchanged".to_owned();
    record.push = Some(agent_task::Push { repository, branch: branch.clone(), head, operation });
    record.pull_request = Some(agent_task::PullRequest {
        number: 1,
        url: "https://github.com/octo/blog/pull/1".to_owned(),
        state: "merged".to_owned(),
        draft: false,
        operation: "existing".to_owned(),
    });
    let unless_merged = || {
        let mut command = published.command(&published.place);
        command.arg("--unless-merged");
        piped(&mut command, &record)
    };
    let ran = unless_merged();
    assert_eq!((ran.code, ran.record()), (Some(0), record.clone()), "{}", ran.stderr);
    assert_eq!(published.remote(&branch), None);

    // The branch has moved on since.
    published.place.git(["switch", "--quiet", &branch]);
    published.place.git(["commit", "--quiet", "--allow-empty", "--message=more"]);
    let moved = unless_merged().record();
    assert_eq!((moved.push.unwrap().operation.as_str(), moved.pull_request), ("created", None));

    let believed = published.push(&record).record();
    assert_eq!((believed.push.unwrap().operation.as_str(), believed.pull_request), ("unchanged", None));
}
