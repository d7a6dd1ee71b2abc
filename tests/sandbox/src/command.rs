//! The commands `sandbox serve`, a sandbox for a shell, and `sandbox page`, a finished run as a page.
//!
//! `serve`: one line of JSON on stdout says where everything is, when all of it answers. It ends when stdin closes (so that it never
//! outlives the script that started it), or on SIGINT or SIGTERM.

use crate::{Sandbox, Scenario};
use agent_task::Exit;
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use piece::Fault;
use serde_json::{Value, json};
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// Stand-ins on loopback for the model, GitHub with its git server, and Discord, behind a proxy.
#[derive(Debug, Parser)]
#[command(name = "sandbox", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Serve),
    /// Prints a finished run as one HTML page that needs nothing else.
    Page(crate::page::Args),
}

/// Serves a sandbox until stdin closes.
///
/// When everything answers, prints one line of JSON: `environment`, `controlUrl`, `github`, `discord`, `model` and
/// `repositories`. The same is in DIR/sandbox.json, and the environment as shell exports in DIR/environment.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    sandbox serve --dir /tmp/sandbox --repository octo/blog </dev/null | jq .github")]
struct Serve {
    /// Where the CA, the App's key and the repositories go. Kept at the end.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A repository that the App is installed on; may be given several times.
    #[arg(long, value_name = "OWNER/NAME", default_value = "octo/blog")]
    repository: Vec<String>,
    /// What the model is to say (JSON).
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Expect an API key of the model's clients, as opencode has one, and no subscription's token.
    #[arg(long)]
    api_key: bool,
    /// Serve until SIGINT or SIGTERM, whatever stdin does.
    #[arg(long)]
    until_signal: bool,
}

/// Runs the command.
///
/// # Errors
/// A scenario that is none, a directory that cannot be written, no port.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Serve { dir, repository, scenario, api_key, until_signal } = match arguments.command {
        Command::Serve(serve) => serve,
        Command::Page(args) => {
            piece::output::bytes(crate::page::render(&args)?.as_bytes())?;
            return Ok(Exit::Done);
        }
    };
    let scenario = scenario
        .map(|file| {
            Scenario::from_file(&file)
                .with_context(|| Fault::usage(format!("{} is not a scenario", file.display())))
        })
        .transpose()?;
    // Before anything is said to be ready: whoever then ends it finds the handlers in place.
    let signals = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = signals.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);

    let sandbox = Sandbox::start_in(&dir)?;
    for repository in &repository {
        sandbox
            .github()
            .add(repository, true)
            .with_context(|| Fault::usage(format!("cannot add the repository '{repository}'")))?;
    }
    if let Some(scenario) = scenario {
        sandbox.model().load(scenario)?;
    }
    if api_key {
        sandbox.model().expect_api_key();
    }
    let directory = sandbox.shared.directory();
    let key_file = directory.join("app.pem");
    private(&key_file, &sandbox.github().app().private_key_pem)?;
    let description = describe(&sandbox, &key_file);
    private(&directory.join("sandbox.json"), &format!("{description:#}\n"))?;
    private(&directory.join("environment"), &exports(&sandbox.environment()))?;
    piece::output::line(&description)?;

    let (closed, stdin_closed) = tokio::sync::oneshot::channel();
    if !until_signal {
        // Reading stdin cannot be interrupted, so the thread is left to the end of the process.
        std::thread::spawn(move || {
            let mut ignored = [0; 4096];
            let mut stdin = std::io::stdin().lock();
            while matches!(stdin.read(&mut ignored), Ok(1..)) {}
            let _ = closed.send(());
        });
    }
    signals.block_on(async {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            Ok(()) = stdin_closed => (),
        }
    });
    drop(sandbox);
    Ok(Exit::Done)
}

fn describe(sandbox: &Sandbox, key_file: &Path) -> Value {
    let (github, discord) = (sandbox.github(), sandbox.discord());
    let app = github.app();
    let environment: serde_json::Map<String, Value> =
        sandbox.environment().into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    let paths = sandbox.shared.directory().join("repositories");
    let repositories: serde_json::Map<String, Value> = github
        .repositories()
        .into_iter()
        .map(|name| (name.clone(), json!(paths.join(format!("{name}.git")))))
        .collect();
    json!({
        "environment": environment,
        "controlUrl": sandbox.control_url(),
        "proxyUrl": sandbox.proxy_url(),
        "caFile": sandbox.ca_file(),
        "github": {
            "apiUrl": github.api_url(),
            "serverUrl": github.server_url(),
            "appId": app.app_id,
            "clientId": app.client_id,
            "installationId": app.installation_id,
            "slug": app.slug,
            "privateKeyFile": key_file,
        },
        "discord": {
            "webhookUrl": discord.webhook_url_real(),
            "webhookUrlLoopback": discord.webhook_url(),
            "botToken": discord.bot_token(),
            "channelId": discord.channel_id(),
            "apiUrl": discord.api_url(),
        },
        "model": {"token": sandbox.model().token(), "url": sandbox.model().url()},
        "repositories": repositories,
    })
}

/// Writes a file that only its owner can read.
fn private(file: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    let mut opened = open.open(file).with_context(|| format!("writing {}", file.display()))?;
    // One that was there before keeps its mode.
    opened.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    opened.write_all(text.as_bytes()).with_context(|| format!("writing {}", file.display()))
}

/// `export NAME='VALUE'` lines for a POSIX shell.
fn exports(environment: &[(String, String)]) -> String {
    environment
        .iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_survive_a_shell() {
        let value = "it's $HOME; `x` \"y\"\nz";
        let script = format!("{}printf %s \"$X\"", exports(&[("X".to_owned(), value.to_owned())]));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }
}
