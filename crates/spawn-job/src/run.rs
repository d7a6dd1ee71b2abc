//! The program: stdin to reports.

use crate::args::{Args, DryRun, Stage};
use crate::ending::Ended;
use crate::manifest;
use crate::plan::{self, Plan};
use crate::report::{self, Outcome, Report};
use crate::settings::Settings;
use crate::{cluster, ending, follow, memory};
use agent_task::{Exit, Phase};
use agent_task_crd::AgentTask;
use anyhow::Context as _;
use cluster_client::fault;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::batch::v1::Job;
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use piece::{Fault, output};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{IsTerminal as _, Read as _, Write as _};

const EXAMPLE: &str = "spawn-job <task.yaml";

/// Where tasks are that name no namespace.
const NAMESPACE: &str = "ai-agents";

/// So many tasks are made at once: the API server answers several as fast as one.
const AT_ONCE: usize = 16;

/// So many runs are waited for at once: each takes two connections.
const WAITED_FOR: usize = 256;

/// Runs the program.
///
/// # Errors
/// Usage faults, where nothing was made; failures of single tasks are in their reports.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    match args.stage {
        Stage::All => {
            if args.run.is_some() {
                return Err(Fault::usage("--run goes with --stage publish").into());
            }
            let tasks = tasks()?;
            runtime.block_on(spawn(args, tasks))
        }
        Stage::Publish => runtime.block_on(salvage(args)),
    }
}

/// The tasks on stdin: all of them are right, or nothing is made.
fn tasks() -> anyhow::Result<Vec<AgentTask>> {
    let mut stdin = std::io::stdin();
    let expected = |what: &str| {
        Fault::usage(format!("expected AgentTasks on stdin, which is {what}"))
            .hint(format!("as in: {EXAMPLE}"))
    };
    if stdin.is_terminal() {
        return Err(expected("a terminal").into());
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).context(Fault::usage("stdin is no text"))?;
    let read = manifest::read(&text);
    if read.is_empty() {
        return Err(expected("empty").into());
    }
    let wrong: Vec<_> = read.iter().filter_map(|read| read.as_ref().err()).collect();
    if wrong.is_empty() {
        return Ok(read.into_iter().flatten().collect());
    }
    let places: Vec<&str> = wrong.iter().map(|wrong| wrong.place.as_str()).collect();
    let why_not = format!("nothing was made, because of {}", places.join(", "));
    for read in &read {
        output::line(&match read {
            Ok(task) => Report::nothing(&task.name_any(), why_not.clone()),
            Err(wrong) => Report::nothing(&wrong.place, wrong.why.clone()),
        })?;
    }
    let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    Err(Fault::usage(format!("nothing was made: {}", all.join("\n  ")))
        .hint("kubectl explain agenttask.spec shows every field")
        .into())
}

async fn spawn(args: Args, tasks: Vec<AgentTask>) -> anyhow::Result<Exit> {
    if args.follow && tasks.len() != 1 {
        return Err(Fault::usage(format!("--follow shows one run, and there are {} tasks", tasks.len()))
            .hint("--wait waits for several")
            .into());
    }
    for task in &tasks {
        if let (Some(asked), Some(own)) = (&args.namespace, task.namespace())
            && *asked != own
        {
            return Err(
                Fault::usage(format!("the task {} is in {own}, not in {asked}", task.name_any())).into()
            );
        }
    }
    let default = args.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
    let client = match args.dry_run {
        Some(DryRun::Client) if args.config.is_some() => None,
        _ => Some(cluster_client::connect(Some(&default)).await?),
    };
    let client = client.as_ref();
    let mut settings = BTreeMap::new();
    for task in &tasks {
        if let Entry::Vacant(entry) = settings.entry(task.namespace().unwrap_or_else(|| default.clone())) {
            let read = self::settings(&args, client, entry.key()).await?;
            entry.insert(read);
        }
    }
    let plans = tasks.iter().map(|task| {
        let namespace = task.namespace().unwrap_or_else(|| default.clone());
        let trigger = args.trigger.clone().unwrap_or_else(|| manifest::trigger(task));
        (task, plan::plan(task, &settings[&namespace], &namespace, &trigger))
    });
    let args = &args;
    let made = stream::iter(plans)
        .map(async |(task, plan)| match plan {
            Ok(plan) => {
                let report = one(args, client, &plan).await;
                (Some(plan), report)
            }
            Err(plan::Impossible(why)) => (None, Report::nothing(&task.name_any(), why)),
        })
        .buffered(AT_ONCE);
    let mut ended = match client.filter(|_| args.wait || args.follow) {
        None => made.map(|(_, report)| report).boxed_local(),
        Some(client) => {
            // All are made before one is waited for: a run may take hours.
            let made: Vec<_> = made.collect().await;
            stream::iter(made)
                .map(async |(plan, report)| match plan {
                    Some(plan) if plan.run.is_some() && report.exit == Exit::Done => {
                        ended(args, client, &plan, report).await
                    }
                    _ => report,
                })
                .buffer_unordered(WAITED_FOR)
                .boxed_local()
        }
    };
    let mut reports = Vec::new();
    while let Some(report) = ended.next().await {
        tell(&report)?;
        reports.push(Report { objects: Vec::new(), ..report });
    }
    Ok(report::exit(&reports))
}

fn tell(report: &Report) -> anyhow::Result<()> {
    if let Some(error) = &report.error {
        // stderr gone: the report tells.
        let _ = writeln!(std::io::stderr(), "spawn-job: {}: {error}", report.task);
        if let Some(hint) = &report.hint {
            let _ = writeln!(std::io::stderr(), "hint: {hint}");
        }
    }
    if report.result == Outcome::Ended {
        let run = report.run.as_deref().unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "spawn-job: {}: the run {run} has been, and its Job is gone; another run takes another --trigger",
            report.task
        );
    }
    output::line(report)
}

async fn one(args: &Args, client: Option<&Client>, plan: &Plan) -> Report {
    let Some(client) = client.filter(|_| args.dry_run != Some(DryRun::Client)) else {
        return Report { objects: plan.objects.clone(), ..Report::of(plan, Outcome::Planned) };
    };
    let dry_run = args.dry_run.is_some();
    match cluster::make(client, plan, dry_run).await {
        Ok((_, objects)) if dry_run => Report { objects, ..Report::of(plan, Outcome::Planned) },
        Ok((outcome, _)) => Report::of(plan, outcome),
        Err(error) => Report::of(plan, Outcome::Failed).failed(&error),
    }
}

async fn ended(args: &Args, client: &Client, plan: &Plan, report: Report) -> Report {
    if report.result == Outcome::Ended {
        return gone(client, plan, report).await;
    }
    match follow::until_ended(client, plan, args.wait_timeout, args.follow).await {
        Ok(Ended { record, error, exit }) => {
            let result = if exit == Exit::Done { report.result } else { Outcome::Failed };
            Report { record, error, exit, result, ..report }
        }
        Err(error) => report.failed(&error),
    }
}

/// How a run ended whose Job is gone.
async fn gone(client: &Client, plan: &Plan, report: Report) -> Report {
    let how = match memory::ending(client, plan).await {
        Ok(Some(Phase::Succeeded)) => return report,
        Ok(Some(_)) => "it failed",
        Ok(None) => "how it ended is not known",
        Err(error) => return report.failed(&error),
    };
    report.failed(
        &Fault::failed(format!("the run {} has ended, and its Job is gone: {how}", plan.job))
            .hint("its branch and its pull request tell more; another run takes another --trigger")
            .into(),
    )
}

async fn settings(args: &Args, client: Option<&Client>, namespace: &str) -> anyhow::Result<Settings> {
    let (origin, yaml) = match (&args.config, client) {
        (Some(file), _) => {
            let origin = file.display().to_string();
            let yaml = std::fs::read_to_string(file)
                .with_context(|| Fault::usage(format!("cannot read the settings from {origin}")))?;
            (origin, yaml)
        }
        (None, Some(client)) => (
            format!("the ConfigMap {} in {namespace}", cluster::SETTINGS),
            cluster::settings(client, namespace).await?,
        ),
        (None, None) => return Err(Fault::usage("there are no settings").hint("give --config FILE").into()),
    };
    Settings::read(&yaml).map_err(|why| {
        Fault::usage(format!("the settings are wrong, {origin}: {why}"))
            .hint("the least is: image: REGISTRY/IMAGE:TAG")
            .into()
    })
}

async fn salvage(args: Args) -> anyhow::Result<Exit> {
    let run = args.run.clone().unwrap_or_default();
    let namespace = args.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
    let client = cluster_client::connect(Some(&namespace)).await?;
    let settings = settings(&args, Some(&client), &namespace).await?;
    let claim = cluster::claim_of(&client, &namespace, &run).await?;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let job = jobs.get_opt(&run).await.map_err(|error| fault(error, &format!("reading the Job {run}")))?;
    let pods = cluster::pods_of(&client, &namespace, &run).await?;
    if let Some(why) = ending::still_at_work(job.as_ref(), &pods) {
        let hint = format!(
            "wait for its end; or end it, which deletes its pod and keeps its volume: kubectl -n {namespace} delete job {run}"
        );
        return Err(Fault::retry(format!("the run {run} is not over: {why}")).hint(hint).into());
    }
    let reason = args.reason.clone().or_else(|| ending::why_it_was_killed(job.as_ref(), &pods));
    let reason = reason.as_deref().unwrap_or("the run was killed");
    let plan = plan::salvage(&run, &claim, &settings, &namespace, reason);
    let report = match args.dry_run {
        Some(DryRun::Client) => {
            Report { objects: plan.objects.clone(), ..Report::of(&plan, Outcome::Planned) }
        }
        dry_run => match cluster::make(&client, &plan, dry_run.is_some()).await {
            Ok((_, objects)) if dry_run.is_some() => {
                Report { objects, ..Report::of(&plan, Outcome::Planned) }
            }
            Ok((outcome, _)) if args.wait || args.follow => {
                ended(&args, &client, &plan, Report::of(&plan, outcome)).await
            }
            Ok((outcome, _)) => Report::of(&plan, outcome),
            Err(error) => Report::of(&plan, Outcome::Failed).failed(&error),
        },
    };
    tell(&report)?;
    Ok(report.exit)
}
