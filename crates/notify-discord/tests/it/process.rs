use sandbox::Sandbox;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The binary with nothing in its environment but what is added.
pub(crate) struct Notify {
    command: Command,
    _home: tempfile::TempDir,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// stdout, a JSON document a line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self::program(env!("CARGO_BIN_EXE_notify-discord"))
    }

    /// `sh -c script`, which finds the binary on its PATH.
    pub(crate) fn shell(script: &str) -> Self {
        Self::program("/bin/sh").args(&["-c", script])
    }

    fn program(program: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_notify-discord")).parent().unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", binaries.display()))
            .env("HOME", home.path());
        Self { command, _home: home }
    }

    /// To the sandbox's webhook.
    pub(crate) fn webhook(sandbox: &Sandbox) -> Self {
        Self::new().env("DISCORD_WEBHOOK_URL", &sandbox.discord().webhook_url())
    }

    /// To the sandbox's channel, as its bot.
    pub(crate) fn bot(sandbox: &Sandbox) -> Self {
        let discord = sandbox.discord();
        Self::new()
            .env("DISCORD_API_URL", &discord.api_url())
            .env("DISCORD_BOT_TOKEN", &discord.bot_token())
            .env("DISCORD_CHANNEL_ID", &discord.channel_id())
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it with this on stdin.
    pub(crate) fn run(mut self, stdin: impl AsRef<[u8]>) -> Ended {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        // It may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_ref());
        Ended::of(child.wait_with_output().unwrap())
    }

    /// Runs it with nobody reading its stdout.
    pub(crate) fn run_unread(mut self, stdin: &str) -> Ended {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        Ended::of(child.wait_with_output().unwrap())
    }
}

impl Ended {
    fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
