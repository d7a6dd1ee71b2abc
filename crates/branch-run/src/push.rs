//! `push`: publishes the run's branch. The workspace is the agent's to write, so nothing of it is believed:
//!
//! - Its configuration, hooks, filters and attributes are not looked at: git runs in a fresh bare repository with a configuration
//!   and an environment of its own, which allow one protocol to one server with one credential helper.
//! - One reference is read from it, as a plain file, and its objects are borrowed, if they are its own.
//! - The head must have history in common with the remote's base branch, and with the commit that the run began at.
//! - Exactly one reference is pushed, under `agent/`; never over what another run has pushed.
//! - What is pushed is searched for secrets: known values, tokens and private keys. One stops the push.
//! - The record on stdin is the agent's word: it names the branch, within these bounds.
//!
//! What is reported is what the remote says that it has.

use crate::args::{GitCredential, Push as Args};
use crate::ending::signal_name;
use crate::leaks;
use crate::publication::{self, Refusal, Step};
use crate::remote::{self, Helper, Remote, shell_word};
use crate::store::Store;
use agent_task::{Exit, Outcome, PullRequest, Push, RunRecord, Stage, names, secret};
use anyhow::{Context as _, bail};
use git2::Oid;
use piece::Fault;
use redact::Redactor;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use url::{Host, Url};

/// The token's variable; `_FILE` behind it names its file.
const TOKEN: &str = "GITHUB_TOKEN";

/// The server that the token is for, for our own helper.
const SERVER: &str = "PRESSRUN_CREDENTIAL_SERVER";

/// No record is larger.
pub(crate) const RECORD_MAX: u64 = 4 << 20;

/// How often the name of the branch is looked at again, because the remote changed meanwhile.
const ROUNDS: u32 = 4;

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let deadline = (!args.timeout.is_zero()).then(|| Instant::now() + args.timeout);
    let url = repository_url(&args.server_url, &args.repo)?;
    let mut record = record_from_stdin("branch-run push --repo octo/blog <record.json")?;
    check(&record, &args.allow_base)?;
    let Some(branch) = record.branch.clone() else { return print(&record).map(|()| Exit::Done) };
    let helper = helper(&args)?;
    let redactor: &'static Redactor = Box::leak(Box::new(Redactor::from_env(&[TOKEN])));
    let work_tree = args.work_tree.clone().unwrap_or_else(|| PathBuf::from("."));
    let remote = Remote::new(url, helper, redactor, deadline)?;

    remote::catch_signals()?;
    let merged = merged_at(&record).filter(|_| args.unless_merged).map(str::to_owned);
    let said = (record.push.take(), record.pull_request.take());
    leaks::redact_names(&mut record.files, redactor);
    let publication = Publication {
        remote: &remote,
        repository: &args.repo,
        branch: &branch,
        redactor,
        shapes: !args.allow_secret_shapes,
    };
    if merged.is_some() && merged == publication.here(&work_tree).ok().map(|(_, head)| head) {
        record.head = merged;
        (record.push, record.pull_request) = said;
        return print(&record).map(|()| Exit::Done);
    }
    match publication.publish(&mut record, &work_tree) {
        Ok(()) => print(&record).map(|()| Exit::Done),
        Err(error) => {
            let refusal = match error.downcast::<Refused>() {
                _ if remote::interrupted().is_some() => Refusal {
                    outcome: Outcome::Interrupted,
                    exit: Exit::Retry,
                    error: format!(
                        "branch-run got {}",
                        signal_name(remote::interrupted().unwrap_or_default())
                    ),
                    hint: None,
                    stale: false,
                },
                Ok(Refused(refusal)) => refusal,
                // Not git's doing, and not the remote's: the machine's.
                Err(error) => Refusal {
                    outcome: Outcome::PushFailed,
                    exit: Exit::Retry,
                    error: format!("{error:#}"),
                    hint: None,
                    stale: false,
                },
            };
            let error = redactor.redact_text(&refusal.error).into_owned();
            let told = refusal.hint.map_or_else(|| error.clone(), |hint| format!("{error} ({hint})"));
            record.fail(refusal.outcome, Stage::PUSH, told);
            print(&record)?;
            let fault = Fault::new(refusal.exit, format!("pushing {branch}: {error}"));
            Err(refusal.hint.map_or(fault.clone(), |hint| fault.hint(hint)).into())
        }
    }
}

fn print(record: &RunRecord) -> anyhow::Result<()> {
    piece::output::line(record)
}

/// The commit at which a merged pull request has taken the branch, as the record says.
fn merged_at(record: &RunRecord) -> Option<&str> {
    let merged = record.pull_request.as_ref().is_some_and(|pull| pull.state == PullRequest::MERGED);
    record.push.as_ref().filter(|_| merged).map(|push| push.head.as_str())
}

/// A failure with its place in the record.
#[derive(Debug)]
struct Refused(Refusal);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.error)
    }
}

impl std::error::Error for Refused {}

fn invalid(error: impl Into<String>) -> anyhow::Error {
    Refused(Refusal {
        outcome: Outcome::WorkspaceInvalid,
        exit: Exit::Failed,
        error: error.into(),
        hint: None,
        stale: false,
    })
    .into()
}

struct Publication<'a> {
    remote: &'a Remote,
    repository: &'a str,
    branch: &'a str,
    redactor: &'a Redactor,
    /// Whether what only looks like a secret stops the push too.
    shapes: bool,
}

impl Publication<'_> {
    /// The workspace, and where the branch is in it.
    fn here(&self, work_tree: &Path) -> anyhow::Result<(Store, String)> {
        let store = Store::find(work_tree).map_err(|error| invalid(format!("{error:#}")))?;
        let tip = store.tip(self.branch).map_err(|error| invalid(format!("{error:#}")))?;
        let Some(head) = tip else {
            return Err(invalid(format!("there is no branch {} in the workspace", self.branch)));
        };
        Ok((store, head))
    }

    fn publish(&self, record: &mut RunRecord, work_tree: &Path) -> anyhow::Result<()> {
        let (store, head) = self.here(work_tree)?;
        let shallow = store.shallow().map_err(|error| invalid(format!("{error:#}")))?;
        self.remote.lay_out(&store.objects(), shallow.as_deref(), &head)?;
        // What was recorded may be older: an earlier push, or work that was saved later.
        record.head = Some(head.clone());

        let base = format!("refs/heads/{}", record.base);
        let mut name = self.branch.to_owned();
        let mut rejected = None;
        let mut searched = None;
        for _ in 0..ROUNDS {
            let reference = format!("refs/heads/{name}");
            let tips = self.remote.tips([base.as_str(), reference.as_str()])?;
            let [base_tip, branch_tip] =
                tips.map_err(|answer| Refused(publication::refusal(&answer.stdout, &answer.stderr)))?;
            let Some(base_tip) = base_tip else {
                return Err(invalid(format!("the remote has no branch {}", record.base)));
            };
            let history = self.history(&base, &base_tip, &head, record.base_commit.as_deref())?;
            record.commits = history.own()?;
            if record.commits == 0 {
                if record.outcome.is_success() {
                    record.outcome = Outcome::NoChange;
                }
                return Ok(());
            }
            let found = match &branch_tip {
                None => publication::Remote::Absent,
                Some(tip) if *tip == head => publication::Remote::Same,
                Some(tip) if history.is_own(tip)? => publication::Remote::Earlier,
                Some(_) => publication::Remote::Foreign,
            };
            match publication::step(found) {
                Step::Done => {
                    record.push = Some(self.pushed(&name, &head, "unchanged"));
                    return Ok(());
                }
                Step::Push(operation) => {
                    // The base tells what is new; it may change between two rounds.
                    if searched.as_ref() != Some(&base_tip) {
                        self.search(&head, &base_tip)?;
                        searched = Some(base_tip);
                    }
                    let answer = self.remote.push(&head, &name, branch_tip.as_deref().unwrap_or_default())?;
                    if answer.success && publication::is_taken(&answer.stdout) {
                        record.push = Some(self.pushed(&name, &head, operation));
                        return Ok(());
                    }
                    // An answer that was lost or that belies itself: what counts is what the remote has.
                    let has = self.tip(&reference);
                    if matches!(&has, Ok(Some(tip)) if *tip == head) {
                        record.push = Some(self.pushed(&name, &head, operation));
                        return Ok(());
                    }
                    if answer.success {
                        let has = has?.unwrap_or_else(|| "nothing".to_owned());
                        bail!("the remote took the push, and has {has} at {reference}");
                    }
                    let refusal = publication::refusal(&answer.stdout, &answer.stderr);
                    // Another run's push came between, whatever words the remote has for it.
                    let moved = matches!(&has, Ok(tip) if *tip != branch_tip);
                    if !refusal.stale && !moved {
                        return Err(Refused(refusal).into());
                    }
                    rejected = Some(refusal);
                }
                Step::Rename if name == self.branch => name = names::branch_beside(self.branch, &record.run),
                Step::Rename => break,
            }
        }
        Err(Refused(rejected.unwrap_or_else(|| Refusal {
            outcome: Outcome::PushRefused,
            exit: Exit::Failed,
            error: format!("the remote has other work in {} and in {name}", self.branch),
            hint: None,
            stale: false,
        }))
        .into())
    }

    /// Refuses to push a secret.
    fn search(&self, head: &str, base: &str) -> anyhow::Result<()> {
        let leaks = leaks::search(self.remote, self.redactor, [self.branch, head, base], self.shapes)?;
        if leaks.told.is_empty() {
            return Ok(());
        }
        Err(Refused(Refusal {
            outcome: Outcome::SecretInDiff,
            exit: Exit::Failed,
            error: format!("a secret would be published: {}", leaks.told.join("; ")),
            hint: Some(if leaks.known {
                "take it out of every commit of the branch, and rotate it: the agent has had it"
            } else {
                "take it out of every commit of the branch; what is a sample is pushed with --allow-secret-shapes"
            }),
            stale: false,
        })
        .into())
    }

    fn pushed(&self, branch: &str, head: &str, operation: &str) -> Push {
        Push {
            repository: self.repository.to_owned(),
            branch: branch.to_owned(),
            head: head.to_owned(),
            operation: operation.to_owned(),
        }
    }

    /// What the remote has there.
    fn tip(&self, reference: &str) -> anyhow::Result<Option<String>> {
        let tips = self.remote.tips([reference])?;
        let [tip] = tips.map_err(|answer| Refused(publication::refusal(&answer.stdout, &answer.stderr)))?;
        Ok(tip)
    }

    fn history(
        &self,
        base: &str,
        base_tip: &str,
        head: &str,
        began_at: Option<&str>,
    ) -> anyhow::Result<History<'_>> {
        let id = |text: &str| Oid::from_str(text).map_err(|_| invalid(format!("'{text}' is no commit")));
        let (base_tip, head) = (id(base_tip)?, id(head)?);
        if self.remote.repository()?.find_commit(base_tip).is_err() {
            // The base has moved on since the clone.
            let answer = self.remote.fetch(base)?;
            if !answer.success {
                return Err(Refused(publication::refusal(&answer.stdout, &answer.stderr)).into());
            }
        }
        if self.remote.repository()?.find_commit(head).is_err() {
            return Err(invalid(format!("the branch's commit {head} is not in the workspace")));
        }
        let history = History { remote: self.remote, base_tip: base_tip.to_string(), head: head.to_string() };
        if !history.is_related()? {
            return Err(invalid("the branch has no history in common with the remote's base branch"));
        }
        if let Some(began_at) = began_at {
            let began_at = id(began_at)?.to_string();
            if !history.descends(&history.head, &began_at)? {
                return Err(invalid(format!(
                    "the branch does not descend from {began_at}, where the run began"
                )));
            }
        }
        Ok(history)
    }
}

/// The branch's history beside the remote's base. Asked of git and not of libgit2, which goes beyond the end of a shallow
/// history.
struct History<'a> {
    remote: &'a Remote,
    base_tip: String,
    head: String,
}

impl History<'_> {
    fn is_related(&self) -> anyhow::Result<bool> {
        Ok(self.remote.git(&["merge-base", &self.head, &self.base_tip])?.success)
    }

    fn descends(&self, commit: &str, from: &str) -> anyhow::Result<bool> {
        Ok(self.remote.git(&["merge-base", "--is-ancestor", from, commit])?.success)
    }

    /// How many commits the branch has, and the base has not.
    fn own(&self) -> anyhow::Result<u64> {
        let not_base = format!("^{}", self.base_tip);
        let answer = self.remote.git(&["rev-list", "--count", &self.head, &not_base])?;
        answer.stdout.trim().parse().map_err(|_| invalid("the branch's history cannot be read"))
    }

    /// Whether a commit is one of those.
    fn is_own(&self, commit: &str) -> anyhow::Result<bool> {
        let known = match Oid::from_str(commit) {
            Ok(commit) => self.remote.repository()?.find_commit(commit).is_ok(),
            Err(_) => false,
        };
        Ok(known && self.descends(&self.head, commit)? && !self.descends(&self.base_tip, commit)?)
    }
}

/// `https://SERVER/owner/name.git`; plain HTTP only to this machine.
fn repository_url(server: &str, repository: &str) -> anyhow::Result<Url> {
    let (owner, name) = names::owner_and_name(repository).map_err(|error| Fault::usage(error.to_string()))?;
    let wrong =
        || Fault::usage(format!("'{server}' is no server's address")).hint("write it as https://github.com");
    let server = Url::parse(server).with_context(wrong)?;
    let loopback = match server.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(wrong().into()),
    };
    match server.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err(Fault::usage("a token goes over https alone").hint("write https://").into()),
        _ => return Err(wrong().into()),
    }
    if !server.username().is_empty()
        || server.password().is_some()
        || server.query().is_some()
        || server.fragment().is_some()
    {
        return Err(wrong().into());
    }
    let name = name.strip_suffix(".git").unwrap_or(name);
    let path = format!("{}/{owner}/{name}.git", server.path().trim_end_matches('/'));
    server.join(&path).with_context(wrong)
}

fn helper(args: &Args) -> anyhow::Result<Helper> {
    let mut environment = Vec::new();
    let mut take =
        |name: &str| environment.extend(std::env::var_os(name).map(|value| (OsString::from(name), value)));
    if let Some(command) = &args.credential_helper {
        // git has another home; the helper keeps its cache in ours.
        for name in ["XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
            take(name);
        }
        let helpers = |name: &str| name.starts_with("GITHUB_") || name.starts_with("GH_");
        environment.extend(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(helpers)));
        let home =
            std::env::var("HOME").map(|home| format!("HOME={} ", shell_word(&home))).unwrap_or_default();
        return Ok(Helper { command: format!("!{home}{command}"), environment });
    }
    let token = secret::from_env(TOKEN).map_err(|error| Fault::denied(error.to_string()))?;
    if token.is_none() {
        return Err(Fault::denied("there is no token to push with")
            .hint("set GITHUB_TOKEN or GITHUB_TOKEN_FILE, or give --credential-helper 'mint-gh-token git-credential'")
            .into());
    }
    take(TOKEN);
    take(&format!("{TOKEN}_FILE"));
    environment.push((SERVER.into(), args.server_url.clone().into()));
    let ourselves = std::env::current_exe().context("finding this program")?;
    let ourselves = ourselves.to_str().context("the path of this program is not UTF-8")?;
    Ok(Helper { command: format!("!{} git-credential", shell_word(ourselves)), environment })
}

/// Answers git: the token, for its server alone. Called by git, by way of the configuration made in [`crate::remote`].
pub(crate) fn answer_git(args: &GitCredential) -> anyhow::Result<Exit> {
    if args.operation != "get" {
        return Ok(Exit::Done);
    }
    let mut question = String::new();
    std::io::stdin().take(64 * 1024).read_to_string(&mut question).context("reading git's question")?;
    let asked = |key: &str| question.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let server = std::env::var(SERVER).unwrap_or_default();
    let server = Url::parse(&server).context(Fault::usage("this is for git to call"))?;
    let host = match (server.host_str(), server.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    if asked("protocol") != Some(server.scheme()) || asked("host") != Some(host.as_str()) {
        return Ok(Exit::Done);
    }
    let token = secret::from_env(TOKEN).map_err(|error| Fault::denied(error.to_string()))?;
    let token = token.ok_or_else(|| Fault::denied("there is no token"))?;
    piece::output::bytes(format!("username=x-access-token\npassword={}\n", token.expose()).as_bytes())?;
    Ok(Exit::Done)
}

/// Reads the record on stdin, which must not be larger than any record is.
pub(crate) fn record_from_stdin(example: &str) -> anyhow::Result<RunRecord> {
    let stdin = piece::input::stdin("a run record", example)?;
    piece::input::document_from(stdin.take(RECORD_MAX), "a run record", example)
}

/// Checks what a record names, for it is the agent's word: its branch, if it has one, its base (one of `allowed`, if there are
/// any) and its run.
///
/// # Errors
/// A usage fault.
pub fn check(record: &RunRecord, allowed: &[String]) -> anyhow::Result<()> {
    check_base(&record.base)?;
    check_run(&record.run)?;
    if !allowed.is_empty() && !allowed.contains(&record.base) {
        return Err(Fault::usage(format!("the record's base '{}' is not allowed", record.base)).into());
    }
    record.branch.as_deref().map_or(Ok(()), |branch| check_branch(branch, &record.base))
}

/// Checks a base branch's name: git would take it.
///
/// # Errors
/// A usage fault.
pub fn check_base(base: &str) -> anyhow::Result<()> {
    if names_a_branch(base) {
        Ok(())
    } else {
        Err(Fault::usage(format!("'{base}' is no branch's name")).into())
    }
}

/// The run's branch: beneath `agent/`, and not the base.
pub(crate) fn check_branch(branch: &str, base: &str) -> anyhow::Result<()> {
    if !names_a_branch(branch) || !branch.starts_with("agent/") {
        return Err(Fault::usage(format!("'{branch}' is no name for a run's branch"))
            .hint("it begins with agent/, as agent/publisher-1790635538")
            .into());
    }
    if branch == base {
        return Err(Fault::usage(format!("'{branch}' is the base branch")).into());
    }
    Ok(())
}

/// A run's id: part of a branch's name, where that is taken.
pub(crate) fn check_run(run: &str) -> anyhow::Result<()> {
    let valid = !run.is_empty()
        && run.len() <= 100
        && run.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !run.ends_with('-');
    if valid {
        Ok(())
    } else {
        Err(Fault::usage(format!("'{run}' is no run's id"))
            .hint("letters, digits and hyphens, at most 100")
            .into())
    }
}

fn names_a_branch(name: &str) -> bool {
    name.len() <= 200
        && !name.starts_with('-')
        && name != "HEAD"
        && name.bytes().all(|b| b.is_ascii_graphic())
        && git2::Reference::is_valid_name(&format!("refs/heads/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_https_or_stays_on_this_machine() {
        let url = |server: &str| repository_url(server, "octo/blog").map(|url| url.to_string());
        assert_eq!(url("https://github.com").unwrap(), "https://github.com/octo/blog.git");
        assert_eq!(url("https://ghe.example/git/").unwrap(), "https://ghe.example/git/octo/blog.git");
        assert_eq!(url("http://127.0.0.1:81").unwrap(), "http://127.0.0.1:81/octo/blog.git");
        for bad in [
            "http://github.com",
            "ssh://github.com",
            "file:///x",
            "https://me:x@github.com",
            "github.com",
            "ext::sh",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    /// P2
    #[test]
    fn only_a_branch_beneath_agent_is_a_target() {
        assert!(check_branch("agent/publisher-1", "main").is_ok());
        let bad = [
            "main",
            "agent",
            "agent/",
            "agent/../main",
            "agent/a b",
            "agent/x:main",
            "refs/heads/main",
            "agent/x.lock",
            "agent/é",
            "-x",
        ];
        for bad in bad {
            assert!(check_branch(bad, "main").is_err(), "{bad}");
        }
        assert!(check_branch("agent/main", "agent/main").is_err());
    }

    #[test]
    fn a_run_id_is_safe_in_a_branch_name() {
        assert!(check_run("publisher-1790635538-3fa9c1").is_ok());
        for bad in ["", "a/b", "a b", "x-", "é", &"x".repeat(101)] {
            assert!(check_run(bad).is_err(), "{bad}");
        }
    }
}
