//! One run, from the checks to the record.

use crate::args::{Events, Progress, Run};
use crate::cgroup::Group;
use crate::ending::{Observed, conclude, judge};
use crate::environment::{self, LOGIN_KEY, LOGIN_TOKEN};
use crate::events::{self, AgentEvents, Stdout, Text};
use crate::handover::{self, Handed, Handover};
use crate::lock::{Holder, Lock};
use crate::mcp::{self, Needs};
use crate::supervision::{Ending, Limits, Streams, Supervisor};
use crate::workspace::{Authorship, NOBODY, Start, Workspace, first_branch_name};
use crate::{leaks, push, record_file, salvage, supervision};
use agent_log::{Surroundings, View};
use agent_task::{AgentReport, Exit, Outcome, RunRecord, Secret, Stage, names, secret};
use anyhow::Context as _;
use jiff::Timestamp;
use piece::Fault;
use redact::Redactor;
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

/// What is checked and made before anything happens.
struct Plan {
    run: String,
    agent: String,
    base: String,
    prompt: String,
    branch: Option<String>,
    program: PathBuf,
    events: Events,
    needs: Needs,
    author: Option<(String, String)>,
    /// The variable that the command logs in with.
    login_variable: &'static str,
    login: Option<Secret>,
    started_at: Timestamp,
    workspace: Workspace,
}

pub(crate) fn run(args: Run) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let plan = plan(&args)?;
    let (mut lock, killed) = Lock::take(plan.workspace.git_dir())?;
    if args.dry_run {
        let start = match killed {
            // What lies there is no obstacle: it is committed before the run begins.
            Some(killed) if salvage::is_pending(&plan.workspace, &killed) => killed.start,
            _ => plan.workspace.check(&plan.base)?,
        };
        return show(&args, &plan, &start);
    }
    if let Some(killed) = killed {
        salvage::make_way(&plan.workspace, &killed, args.record.as_deref())?;
        lock.clear();
    }
    let start = plan.workspace.check(&plan.base)?;
    let redactor: &'static Redactor = Box::leak(Box::new(redactor(&plan)));
    let transcript = args.transcript.as_deref().map(events::transcript).transpose()?;
    // One of an earlier run is not this run's; until here it was that run's to be salvaged by.
    args.record.as_deref().map(record_file::remove).transpose()?;
    let reserve = args
        .record
        .as_deref()
        .map(record_file::Reserve::beside)
        .transpose()
        .context(Fault::usage("nothing was begun").hint("make room on that disk"))?;
    let temporary = tempfile::Builder::new()
        .prefix("pressrun-")
        .tempdir()
        .context(Fault::usage("cannot make a folder for temporary files"))?;
    let supervisor = Supervisor::new()?;
    if let Some(parent) = args.die_with_parent {
        supervision::die_with_parent(parent)?;
    }

    let mut record = RunRecord::begun(
        &plan.run,
        &plan.agent,
        redactor.redact_text(&plan.prompt),
        &plan.base,
        plan.started_at,
    );
    record.base_commit = Some(start.commit.to_string());
    let unmade = || {
        Fault::usage("the run's branch could not be made").hint("a branch named 'agent' would be in its way")
    };
    let branch = plan
        .workspace
        .make_branch(&start, &plan.agent, plan.branch.as_deref(), plan.started_at)
        .with_context(unmade)?;
    record.branch = Some(branch.clone());
    // Before HEAD moves: a run that is killed must be known as one.
    let group = Group::make(&plan.run);
    lock.note(&Holder {
        pid: std::process::id(),
        record: record.clone(),
        start: start.clone(),
        record_file: args.record.as_deref().map(std::path::absolute).transpose()?,
        group: group.as_ref().map(|group| group.folder().to_owned()),
        unsettled: args.unsettled,
        alive: SystemTime::now(),
    })
    .context(Fault::usage("nothing was begun"))?;
    let pulse = lock.pulse()?;
    plan.workspace.enter(&branch).with_context(unmade)?;
    say(&format!("run {} on {branch}", plan.run));

    let mut command = Command::new(&plan.program);
    let (name, arguments) = (&args.command[0], &args.command[1..]);
    command
        .arg0(name)
        .args(arguments)
        .current_dir(plan.workspace.root())
        .env_clear()
        .envs(command_environment(&args, &plan, temporary.path()));
    let limits = Limits { timeout: args.timeout, grace: args.grace };
    let (stdin, stdout) = match plan.events {
        Events::StreamJson => {
            let view = view(args.progress);
            let events = AgentEvents::new(redactor, transcript, !args.quiet_events, view);
            if args.prompt_on_stdin {
                let (prompt, servers) = (plan.prompt.clone(), plan.needs.servers.clone());
                let (answers, stdin) = Handover { prompt, servers, limit: args.mcp_timeout }.ends(events);
                (Some(stdin), Stdout::Answers(Box::new(answers)))
            } else {
                (None, Stdout::Events(Box::new(events)))
            }
        }
        Events::Opencode => {
            let view = view(args.progress);
            let events = AgentEvents::new(redactor, transcript, !args.quiet_events, view);
            let stdin = args.prompt_on_stdin.then(|| handover::at_once(plan.prompt.clone()));
            (stdin, Stdout::Events(Box::new(events)))
        }
        Events::None => (None, Stdout::Text(Text::new(redactor, transcript))),
    };
    let stderr = Text::new(redactor, None);
    let ended = supervisor.run(&mut command, group.as_ref(), limits, stdin, stdout, stderr);

    // Whatever else is to come: first the work is made safe.
    let by = Authorship {
        agent: &plan.agent,
        run: &plan.run,
        author: plan.author.as_ref().map(|(name, mail)| (name.as_str(), mail.as_str())),
    };
    let kept = plan.workspace.keep(&start, &branch, by);

    match ended {
        Ok((ending, streams)) => {
            let (handed, report, said) = read_out(streams, ending, &plan.needs.servers);
            if ending.survivors > 0 {
                say(&format!("{} processes of the run could not be ended", ending.survivors));
            }
            let command = Path::new(name).file_name().unwrap_or(name).to_string_lossy();
            let observed = Observed {
                ending,
                report: report.as_ref(),
                handed: handed.as_ref(),
                stderr: &said,
                command: &command,
                timeout: args.timeout,
            };
            judge(&mut record, observed);
            record.report = report;
        }
        Err(error) => {
            let what = format!("{} could not be started: {error}", plan.program.display());
            record.fail(Outcome::AgentFailed, Stage::AGENT, what);
        }
    }
    match kept {
        Ok(kept) => {
            if !args.keep_branch {
                plan.workspace.leave(&start, &kept, &plan.run);
            }
            drop(pulse);
            lock.leave_tree();
            kept.note_in(&mut record);
        }
        Err(error) => {
            let error = redactor.redact_text(&format!("{error:#}")).into_owned();
            plan.workspace.note_uncommitted(&start, &branch, &mut record, error);
        }
    }
    leaks::redact_names(&mut record.files, redactor);
    conclude(&mut record);
    record.ended_at = Some(Timestamp::now());
    record.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    drop(reserve);
    hand_in(&args, &record)?;
    // What could not be committed yet is found by `salvage`, and by the next run.
    if !args.unsettled && !record.uncommitted {
        lock.clear();
    }
    let good = matches!(record.outcome, Outcome::Success | Outcome::NoChange);
    Ok(if args.exit_code && !good { Exit::Failed } else { Exit::Done })
}

/// What the command said: its report, where it prints events, and the end of its stderr or else of its text.
fn read_out(
    streams: Streams<Handed, Stdout, Text>,
    ending: Ending,
    servers: &[String],
) -> (Option<Handed>, Option<AgentReport>, String) {
    let (stdin, stdout, stderr) = streams.finish();
    let said = stderr.map(Text::finish).unwrap_or_default();
    let report = |events: AgentEvents| {
        let surroundings = Surroundings { ending: ending.into(), stderr: &said, needed_mcp_servers: servers };
        Some(events.finish(surroundings))
    };
    let report = match stdout {
        Some(Stdout::Events(events)) => report(*events),
        Some(Stdout::Answers(answers)) => report(answers.into_sink()),
        Some(Stdout::Text(text)) => {
            let text = text.finish();
            return (None, None, if said.trim().is_empty() { text } else { said });
        }
        None => None,
    };
    // With the answers gone there is nothing left that it could wait for.
    let handed = stdin.and_then(|stdin| stdin.join().ok());
    (handed, report, said)
}

fn view(progress: Progress) -> Box<dyn View + Send> {
    match progress {
        Progress::Auto => agent_log::progress::auto(),
        Progress::Live => Box::new(agent_log::progress::Live::new()),
        Progress::Plain => Box::new(agent_log::progress::Plain::new(std::io::stderr())),
        Progress::None => Box::new(()),
    }
}

/// To the file first: it is what the next stage reads.
fn hand_in(args: &Run, record: &RunRecord) -> anyhow::Result<()> {
    let written = args.record.as_deref().map_or(Ok(()), |path| record_file::write(path, record));
    let printed = piece::output::line(record);
    say(&summary(record));
    written.and(printed)
}

pub(crate) fn summary(record: &RunRecord) -> String {
    let mut text = format!("{}: {}", record.outcome, record.outcome.meaning());
    if let (Some(stage), Some(error)) = (&record.stage, &record.error) {
        text = format!("{} in stage {stage}: {error}", record.outcome);
    }
    if let (Some(branch), 1..) = (&record.branch, record.commits) {
        text.push_str(&format!(" ({} commits, {} files on {branch})", record.commits, record.files_changed));
    }
    text
}

fn plan(args: &Run) -> anyhow::Result<Plan> {
    names::check_agent(&args.agent).map_err(|error| Fault::usage(error.to_string()))?;
    push::check_base(&args.base)?;
    if let Some(branch) = &args.branch {
        push::check_branch(branch, &args.base)?;
    }
    let here = std::env::current_dir().context(Fault::usage("the current directory is gone"))?;
    let workspace = Workspace::find(&here)?;
    for path in [&args.transcript, &args.record].into_iter().flatten() {
        check_output(path, &workspace)?;
    }
    let name = args.command.first().ok_or_else(|| Fault::usage("there is no command"))?;
    let program = find_program(name, &here, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
        Fault::usage(format!("there is no command '{}'", name.display())).hint("install it, or set PATH")
    })?;
    let needs = args.mcp_config.as_deref().map(mcp::read).transpose()?.unwrap_or_default();
    environment::check_asked(needs.variables.iter().chain(&args.pass_env).map(String::as_str))
        .map_err(|error| Fault::usage(error.to_string()))?;
    let prompt = match &args.prompt_file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| Fault::usage(format!("cannot read the prompt from {}", path.display())))?,
        None => args.prompt.clone().unwrap_or_default(),
    };
    let started_at = Timestamp::now();
    let run = match &args.run {
        Some(run) => {
            push::check_run(run)?;
            run.clone()
        }
        None => names::run_id(&args.agent, started_at, entropy()?),
    };
    let prints = match Path::new(name).file_name().and_then(OsStr::to_str) {
        Some("claude") => Events::StreamJson,
        Some("opencode") => Events::Opencode,
        _ => Events::None,
    };
    let events = args.events.unwrap_or(prints);
    let login_variable = if events == Events::Opencode { LOGIN_KEY } else { LOGIN_TOKEN };
    Ok(Plan {
        run,
        agent: args.agent.clone(),
        base: args.base.clone(),
        prompt,
        branch: args.branch.clone(),
        program,
        events,
        needs,
        author: args.author.as_deref().map(name_and_mail).transpose()?,
        login_variable,
        login: secret::from_env(login_variable).map_err(|error| Fault::usage(format!("{error}")))?,
        started_at,
        workspace,
    })
}

/// What the run writes must not land in what it commits.
fn check_output(path: &Path, workspace: &Workspace) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder
        .canonicalize()
        .with_context(|| Fault::usage(format!("there is no folder {}", folder.display())))?;
    let path =
        folder.join(path.file_name().ok_or_else(|| Fault::usage(format!("{} is no file", path.display())))?);
    if workspace.would_commit(&path) {
        return Err(Fault::usage(format!("{} is in the work tree, and would be committed", path.display()))
            .hint("give a path outside of the repository, or one that it ignores")
            .into());
    }
    Ok(())
}

fn find_program(name: &OsStr, here: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if Path::new(name).components().count() > 1 || name.as_encoded_bytes().contains(&b'/') {
        return Some(here.join(name)).filter(runs);
    }
    // The command runs elsewhere: a relative entry of PATH would mean another folder there.
    std::env::split_paths(path?)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(runs)
}

fn name_and_mail(author: &str) -> anyhow::Result<(String, String)> {
    let wrong =
        || Fault::usage(format!("'{author}' is no author")).hint("write it as 'Name <mail@example.org>'");
    let (name, rest) = author.split_once('<').ok_or_else(wrong)?;
    let mail = rest.strip_suffix('>').ok_or_else(wrong)?;
    let (name, mail) = (name.trim(), mail.trim());
    let valid = |text: &str| !text.is_empty() && !text.contains(['<', '>', '\n', '\0']);
    if !valid(name) || !valid(mail) {
        return Err(wrong().into());
    }
    Ok((name.to_owned(), mail.to_owned()))
}

/// What keeps runs of the same second apart.
pub(crate) fn entropy() -> anyhow::Result<[u8; 3]> {
    let mut bytes = [0; 3];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(bytes)
}

fn command_environment(args: &Run, plan: &Plan, temporary: &Path) -> BTreeMap<OsString, OsString> {
    let asked = plan.needs.variables.iter().chain(&args.pass_env).cloned().collect();
    let mut made = environment::inherited(std::env::vars_os(), &asked);
    let given = plan.author.as_ref().map(|(name, mail)| (name.as_str(), mail.as_str()));
    let named = made.contains_key(OsStr::new("GIT_AUTHOR_NAME"));
    environment::Set {
        run: &plan.run,
        pid: std::process::id(),
        temporary: temporary.as_os_str(),
        identity: given.or_else(|| (!named && !plan.workspace.has_identity()).then_some(NOBODY)),
        login: plan.login.as_ref().map(|login| (plan.login_variable, login.expose())),
    }
    .put_into(&mut made);
    made
}

fn redactor(plan: &Plan) -> Redactor {
    let names: Vec<&str> =
        [plan.login_variable].into_iter().chain(plan.needs.variables.iter().map(String::as_str)).collect();
    Redactor::from_env(&names)
}

fn show(args: &Run, plan: &Plan, start: &Start) -> anyhow::Result<Exit> {
    let environment = command_environment(args, plan, Path::new(""));
    let text = |text: &OsStr| text.to_string_lossy().into_owned();
    piece::output::line(&json!({
        "kind": "RunPlan",
        "run": plan.run,
        "agent": plan.agent,
        "branch": first_branch_name(&plan.agent, plan.branch.as_deref(), plan.started_at),
        "base": plan.base,
        "baseCommit": start.commit.to_string(),
        "workTree": plan.workspace.root(),
        "command": args.command.iter().map(|part| text(part)).collect::<Vec<_>>(),
        "program": plan.program,
        "mcpServers": plan.needs.servers,
        // Names alone: among the values are secrets.
        "environment": environment.keys().map(|name| text(name)).collect::<Vec<_>>(),
        "timeoutSeconds": args.timeout.as_secs(),
    }))?;
    Ok(Exit::Done)
}

pub(crate) fn say(text: &str) {
    // stderr gone: the record tells.
    let _ = writeln!(std::io::stderr(), "branch-run: {text}");
}
