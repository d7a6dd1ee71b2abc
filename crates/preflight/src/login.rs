//! `login`: the agent CLI logs in, in the environment that the run would give it, and answers.

use crate::check::Finding;
use crate::context::Context;
use crate::program::{self, Broken};
use agent_home::{Found, Opencode, Runtime, opencode};
use agent_log::{Ending, EventStream, Surroundings};
use agent_task::{AgentReport, Exit, Outcome, secret};
use anyhow::Context as _;
use branch_run::environment::{self, LOGIN_KEY, LOGIN_TOKEN};
use message_text::figures::{count, dollars};
use piece::Fault;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

const AGENT: &str = "preflight";
const SYSTEM_PROMPT: &str = "You check a login. Answer with the one word OK.";
const PROMPT: &str = "Answer OK.";

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let (variable, hint) = match context.runtime {
        Runtime::Claude => (LOGIN_TOKEN, "create a token with `claude setup-token`, and set it"),
        Runtime::Opencode => (LOGIN_KEY, "create a key at the model's provider, and set it"),
    };
    let login = secret::from_env(variable)
        .map_err(|error| Fault::denied(error.to_string()).hint("correct the variable or the file"))?
        .ok_or_else(|| Fault::denied(format!("{variable} is not set")).hint(hint))?;
    let folder = tempfile::Builder::new().prefix("preflight-").tempdir().context("making a folder")?;
    let inherited = environment::inherited(std::env::vars_os(), &BTreeSet::new());
    let mut made = inherited;
    let set = environment::Set {
        run: "preflight",
        pid: std::process::id(),
        temporary: folder.path().as_os_str(),
        identity: None,
        login: Some((variable, login.expose())),
    };
    set.put_into(&mut made);
    let program = context.runtime.program();
    let mut command = Command::new(program);
    command.current_dir(folder.path()).env_clear().envs(made).stdin(Stdio::null());
    match context.runtime {
        Runtime::Claude => ask_claude(&mut command, context.model.as_deref(), folder.path()),
        Runtime::Opencode => ask_opencode(&mut command, context.model.as_deref(), folder.path())?,
    }
    let ended =
        program::run(&mut command, context.deadline(), &context.stop).map_err(|broken| match broken {
            Broken::NotStarted(error) => Fault::failed(format!("{program} cannot be started: {error}"))
                .hint("scripts/setup.sh installs it: put it on the PATH"),
            Broken::Late => Fault::retry(format!("{program} has not answered in time"))
                .hint("look at the network and the proxy, or raise --timeout"),
            Broken::Stopped => Fault::failed("stopped by a signal"),
        })?;
    let mut events = EventStream::new(&context.redactor, ());
    let mut passed_on = Vec::new();
    events.feed(&ended.stdout, &mut passed_on);
    events.end(&mut passed_on);
    let said = context.redactor.redact_text(&ended.said()).into_owned();
    let surroundings =
        Surroundings { ending: Ending::from(ended.status), stderr: &said, needed_mcp_servers: &[] };
    settle(&events.finish(surroundings, &mut passed_on))
}

fn ask_claude(command: &mut Command, model: Option<&str>, folder: &Path) {
    command
        .args(["-p", PROMPT, "--system-prompt", SYSTEM_PROMPT, "--max-turns", "1", "--tools", ""])
        .args(["--setting-sources", "user", "--strict-mcp-config", "--permission-mode", "dontAsk"])
        .args(["--no-session-persistence", "--output-format", "stream-json", "--verbose"])
        // A configuration of its own: neither a stored login nor settings of the person's take part.
        .env("CLAUDE_CONFIG_DIR", folder.join("claude"))
        // An overloaded API would be asked for minutes.
        .env("CLAUDE_CODE_MAX_RETRIES", "1");
    if let Some(model) = model {
        command.args(["--model", model]);
    }
}

/// Called as a run calls it, with a configuration that a run could have.
fn ask_opencode(command: &mut Command, model: Option<&str>, folder: &Path) -> anyhow::Result<()> {
    let definition = format!("---\nname: {AGENT}\n---\n{SYSTEM_PROMPT}\n");
    let mut found = Found { agents: [(AGENT.to_owned(), definition)].into(), ..Found::default() };
    let mut asked = Opencode { max_turns: Some(1), max_retries: Some(1), ..Opencode::default() };
    if let Some(model) = model {
        model.clone_into(&mut asked.model);
    }
    let prompt = folder.join("prompt");
    fs::write(&prompt, PROMPT).context("writing the question")?;
    command
        .args(["run", "--format", "json", "--agent", AGENT, "--title", AGENT])
        .args(["--print-logs", "--log-level", "ERROR"])
        .envs(opencode::make(&folder.join("opencode"), AGENT, &mut found, &asked)?)
        .stdin(File::open(prompt).context("reading the question")?);
    Ok(())
}

fn settle(report: &AgentReport) -> anyhow::Result<Finding> {
    let outcome = report.outcome;
    if outcome == Outcome::Success {
        let tokens = report.tokens;
        let model = report.model.as_deref().unwrap_or("the model");
        let detail = format!(
            "logged in, {model} answered ({} tokens, {})",
            count(tokens.input + tokens.output + tokens.cache_read + tokens.cache_write),
            dollars(report.cost_usd)
        );
        return Ok(Finding::Good(detail));
    }
    let exit = match outcome {
        Outcome::LoginFailed => Exit::Denied,
        Outcome::UsageLimit | Outcome::ApiUnavailable | Outcome::NetworkError => Exit::Retry,
        _ => Exit::Failed,
    };
    let mut text = outcome.meaning().to_owned();
    if let Some(error) = &report.error {
        text.push_str(&format!(": {error}"));
    }
    if let Some(at) = report.resets_at {
        text.push_str(&format!(" (until {at})"));
    }
    let remedy = match outcome {
        // There is no transcript to read. That is how opencode ends where it has no address for a provider.
        Outcome::NoResult | Outcome::AgentFailed => {
            Some("check the model's name, for opencode its provider too")
        }
        _ => outcome.remedy(),
    };
    let fault = Fault::new(exit, text);
    Err(remedy.map_or(fault.clone(), |remedy| fault.hint(remedy)).into())
}
