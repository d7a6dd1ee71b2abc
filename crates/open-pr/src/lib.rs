//! Finds or opens the pull request of a run.
//!
//! stdin: a run record whose branch is pushed. stdout: the same record with `pullRequest`, also where that failed (then with
//! outcome `pull-request-failed`). stderr: what people should know.
//!
//! ```text
//! $ branch-run push < record.json | GITHUB_TOKEN=… open-pr --label agent
//! {"kind":"RunRecord",…,"pullRequest":{"number":7,"url":"https://github.com/octo/blog/pull/7","state":"open",
//!  "draft":false,"operation":"created"}}
//! ```
//!
//! What it does: looks for the open pull request of the branch, opens one where there is none (a closed one does not
//! count, one that was merged at the run's head does), and believes neither itself nor a status code: the pull request must be open and at the run's head. A run that is
//! run again refreshes title and body of the pull request that it opened, unless a person has changed them.
//!
//! What it never does: open a second one for the same branch; put a text of the agent where it notifies anyone, closes
//! an issue or is taken for markup ([`markdown`]); overwrite what a person wrote; mark a draft as ready (GitHub lets a
//! person do that, or its GraphQL API).

pub mod args;
mod github;
pub mod markdown;
pub mod plan;
pub mod text;

pub use args::Args;

use crate::github::{Opened, Pull, Pulls};
use crate::plan::{Plan, Wanted, plan, short};
use agent_task::{Exit, Outcome, PullRequest, Push, RunRecord, Secret, Stage, names, secret};
use anyhow::Context as _;
use api_client::Client;
use api_client::github::Api;
use api_client::retry::Policy;
use piece::{Fault, input, output};
use redact::Redactor;
use serde::Serialize;
use std::io::Write as _;
use std::time::Duration;

/// How long is waited before the pull request is read again, where it is not yet at the commit that was pushed: GitHub
/// takes a moment to move it.
const SETTLING: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What `--dry-run` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DryRun<'a> {
    kind: &'static str,
    run: &'a str,
    #[serde(flatten)]
    wanted: &'a Wanted,
}

/// Runs the piece.
///
/// # Errors
/// Faults with the exit codes of the contract. All but usage faults come after the record was printed.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let mut record: RunRecord = input::document("a run record", "branch-run push < record.json | open-pr")?;
    let redactor = Redactor::from_env(&["GITHUB_TOKEN"]);
    let result = if args.merged { look(&args, &mut record) } else { deliver(&args, &mut record, &redactor) };
    match result {
        Ok(Printed::Plan) => return Ok(Exit::Done),
        Ok(Printed::Nothing) => {}
        Err(error) if is_usage(&error) => return Err(error),
        Err(error) => {
            let why = format!("{error:#}");
            record.fail(Outcome::PullRequestFailed, Stage::PULL_REQUEST, redactor.redact_text(&why));
            // The failure is what the exit code tells, even if nobody reads the record.
            let _ = output::line(&record);
            return Err(error);
        }
    }
    output::line(&record)?;
    Ok(Exit::Done)
}

/// What stands on stdout already.
enum Printed {
    Nothing,
    Plan,
}

fn is_usage(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Fault>().is_some_and(|fault| fault.exit() == Exit::Usage)
}

/// Sees to it that the pull request is there, and puts it into the record.
fn deliver(args: &Args, record: &mut RunRecord, redactor: &Redactor) -> anyhow::Result<Printed> {
    let shown = redactor.redact_record(record).context("redacting the record")?;
    let repository = args.repo.as_deref().filter(|repository| !repository.is_empty());
    let wanted = match plan(record, &shown, repository, args.draft, &args.labels)? {
        Plan::PassOn(why) => {
            say(&why);
            return Ok(Printed::Nothing);
        }
        Plan::Open(wanted) => wanted,
    };
    if args.dry_run {
        output::pretty(&DryRun { kind: "PullRequestPlan", run: &record.run, wanted: &wanted })?;
        return Ok(Printed::Plan);
    }
    let token = token()?;
    let client = client();
    let api = api(args, &client)?;
    let pulls = Pulls::new(&api, &token, &wanted.repository)?;

    let (pull, operation) = find_or_open(&pulls, &wanted)?;
    let mut note = |pull: &Pull| record.pull_request = Some(told(pull, operation));
    // From here on there is one, and people get its address whatever else fails.
    note(&pull);
    if pull.is_merged() {
        // What a person has taken as it is stays as it is.
        return Ok(Printed::Nothing);
    }
    let pull = if operation == EXISTING { refresh(&pulls, &wanted, &shown, pull)? } else { pull };
    note(&pull);
    if !wanted.labels.is_empty()
        && let Err(error) = pulls.label(pull.number, &wanted.labels)
    {
        say(&format!("warning: {error:#}"));
    }
    let pull = settled(&pulls, &client, args.patience(), &wanted, pull)?;
    note(&pull);
    proved(&pull, &wanted)?;
    Ok(Printed::Nothing)
}

/// Notes in the record whether the run's branch is merged as it is. Where GitHub does not say, it is taken for not merged.
fn look(args: &Args, record: &mut RunRecord) -> anyhow::Result<Printed> {
    (record.push, record.pull_request) = (None, None);
    let (Some(branch), Some(head)) = (&record.branch, &record.head) else { return Ok(Printed::Nothing) };
    let repository = args.repo.as_deref().unwrap_or_default();
    let (token, client) = (token()?, client());
    let api = api(args, &client)?;
    let pulls = Pulls::new(&api, &token, repository)?;
    let (owner, _) = names::owner_and_name(repository)?;
    // By the name that it has here, or where that was taken, by the one that it got there.
    for branch in [branch.clone(), names::branch_beside(branch, &record.run)] {
        match pulls.find(owner, &branch, &record.base, head) {
            Ok(Some(pull)) if pull.is_merged() => {
                let (repository, head) = (repository.to_owned(), head.clone());
                let operation = "unchanged".to_owned();
                record.push = Some(Push { repository, branch, head, operation });
                record.pull_request = Some(told(&pull, EXISTING));
                break;
            }
            Ok(_) => {}
            Err(error) => {
                say(&format!("warning: whether {branch} is merged is not known: {error:#}"));
                break;
            }
        }
    }
    Ok(Printed::Nothing)
}

fn client() -> Client {
    Client::new("open-pr", env!("CARGO_PKG_VERSION"))
}

fn api<'a>(args: &Args, client: &'a Client) -> anyhow::Result<Api<'a>> {
    Ok(Api::new(client, args.api_url())?.with_policy(Policy::github().within(args.patience())))
}

const CREATED: &str = "created";
const EXISTING: &str = "existing";

fn find_or_open(pulls: &Pulls<'_>, wanted: &Wanted) -> anyhow::Result<(Pull, &'static str)> {
    let find = || pulls.find(wanted.head_owner(), &wanted.branch, &wanted.base, &wanted.head);
    if let Some(pull) = find()? {
        return Ok((pull, EXISTING));
    }
    let opened = match pulls.open(wanted, wanted.draft)? {
        Opened::NoDrafts => {
            say("warning: this repository has no drafts: opened ready for review");
            pulls.open(wanted, false)?
        }
        opened => opened,
    };
    match opened {
        Opened::Created(pull) => Ok((*pull, CREATED)),
        // Somebody else opened it since we looked; or we did, and the answer was lost.
        Opened::Exists | Opened::NoDrafts => match find()? {
            Some(pull) => Ok((pull, EXISTING)),
            None => {
                Err(Fault::retry("GitHub has a pull request for the branch already, but shows none").into())
            }
        },
    }
}

/// Brings title and body up to date where they are ours; says what it leaves alone.
fn refresh(pulls: &Pulls<'_>, wanted: &Wanted, shown: &RunRecord, pull: Pull) -> anyhow::Result<Pull> {
    let body = pull.body.as_deref().unwrap_or_default();
    let title =
        (pull.title != wanted.title && text::is_our_title(&pull.title, shown)).then_some(&*wanted.title);
    let body =
        (body.trim_end() != wanted.body.trim_end() && text::is_our_body(body)).then_some(&*wanted.body);
    let pull =
        if title.is_some() || body.is_some() { pulls.refresh(pull.number, title, body)? } else { pull };
    if pull.draft && !wanted.draft {
        say(&format!("{} stays a draft: mark it as ready for review on its page", pull.html_url));
    }
    Ok(pull)
}

/// Reads it again until it is at the commit that was pushed.
fn settled(
    pulls: &Pulls<'_>,
    client: &Client,
    patience: Duration,
    wanted: &Wanted,
    mut pull: Pull,
) -> anyhow::Result<Pull> {
    for wait in SETTLING {
        if pull.head.sha == wanted.head || wait > patience {
            break;
        }
        client.clock().sleep(wait);
        pull = pulls.read(pull.number)?;
    }
    Ok(pull)
}

/// The claim, proved by what GitHub says.
fn proved(pull: &Pull, wanted: &Wanted) -> Result<(), Fault> {
    if pull.state != "open" {
        return Err(Fault::retry(format!("{} is {}, not open", pull.html_url, pull.state)));
    }
    if pull.head.sha != wanted.head {
        return Err(Fault::retry(format!(
            "{} is at {}, not at the run's head {}",
            pull.html_url,
            short(&pull.head.sha),
            short(&wanted.head)
        ))
        .hint("somebody else pushed to the branch, or GitHub lags behind: run the publish stage again"));
    }
    Ok(())
}

fn told(pull: &Pull, operation: &str) -> PullRequest {
    PullRequest {
        number: pull.number,
        url: pull.html_url.clone(),
        state: if pull.is_merged() { PullRequest::MERGED.to_owned() } else { pull.state.clone() },
        draft: pull.draft,
        operation: operation.to_owned(),
    }
}

fn token() -> anyhow::Result<Secret> {
    secret::from_env("GITHUB_TOKEN").context(Fault::usage("reading GITHUB_TOKEN"))?.ok_or_else(|| {
        Fault::denied("GITHUB_TOKEN is not set")
            .hint("export GITHUB_TOKEN=$(mint-gh-token --repo owner/name --format token)")
            .into()
    })
}

fn say(line: &str) {
    // Nobody on stderr is no failure.
    let _ = writeln!(std::io::stderr(), "open-pr: {line}");
}
