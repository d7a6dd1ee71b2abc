//! `tools`: the programs that a run starts are on the PATH, in versions that it was tested with.

use crate::check::Finding;
use crate::context::Context;
use crate::program::{self, Broken, Ended};
use agent_home::{Runtime, opencode};
use anyhow::Context as _;
use piece::Fault;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// What `scripts/setup.sh` installs: the one place where these versions stand.
const PINS: &str = include_str!("../../../tools/package.json");

/// Which version is wanted.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// The one that is pinned for this npm package; another may do.
    Pinned(&'static str),
    /// This one or later: an earlier one does not do.
    AtLeast([u64; 2]),
    /// Ours: the pieces are made for each other.
    Ours,
    /// Any.
    Any,
}

/// A program.
struct Tool {
    name: &'static str,
    /// Other names that it goes by.
    also: &'static [&'static str],
    /// Names another program in its place.
    variable: Option<&'static str>,
    /// The runtime that it is; what is none is for every run.
    runtime: Option<Runtime>,
    wanted: Wanted,
    /// Whether a run can do without it: the MCP servers say whether this one can.
    optional: bool,
}

const fn tool(name: &'static str, wanted: Wanted) -> Tool {
    Tool { name, also: &[], variable: None, runtime: None, wanted, optional: false }
}

const fn agent_cli(runtime: Runtime, package: &'static str) -> Tool {
    Tool { runtime: Some(runtime), ..tool(runtime.program(), Wanted::Pinned(package)) }
}

const TOOLS: &[Tool] = &[
    // GIT_CONFIG_GLOBAL, by which a push is kept away from other configuration, is of 2.32.
    tool("git", Wanted::AtLeast([2, 32])),
    agent_cli(Runtime::Claude, "@anthropic-ai/claude-code"),
    agent_cli(Runtime::Opencode, "opencode-linux-x64-baseline"),
    tool("jq", Wanted::Any),
    Tool {
        name: "playwright-mcp",
        also: &[],
        variable: Some("PRESSRUN_PLAYWRIGHT_MCP"),
        runtime: None,
        wanted: Wanted::Pinned("@playwright/mcp"),
        optional: true,
    },
    Tool {
        name: "chromium",
        also: &["chromium-browser", "google-chrome-stable", "google-chrome"],
        variable: Some("PRESSRUN_BROWSER"),
        runtime: None,
        wanted: Wanted::Any,
        optional: true,
    },
    tool("agent-home", Wanted::Ours),
    tool("mcp-config", Wanted::Ours),
    tool("branch-run", Wanted::Ours),
    tool("mint-gh-token", Wanted::Ours),
    tool("open-pr", Wanted::Ours),
    tool("notify-discord", Wanted::Ours),
];

/// Whether it is one of ours.
fn is_piece(name: &str) -> bool {
    TOOLS.iter().any(|tool| tool.name == name && matches!(tool.wanted, Wanted::Ours))
}

/// What is to be said of a program.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Good(String),
    Doubtful(String),
    Wrong(String),
}

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let folder = tempfile::Builder::new().prefix("preflight-").tempdir().context("making a folder")?;
    let folder = folder.path();
    let needed = |tool: &&Tool| tool.runtime.is_none_or(|runtime| runtime == context.runtime);
    // A program's start may take half a second; none waits for another.
    let said: Vec<Said> = std::thread::scope(|scope| {
        let ask = |tool| scope.spawn(move || ask(tool, context, folder));
        let asked: Vec<_> = TOOLS.iter().filter(needed).map(ask).collect();
        let broken = || Said::Wrong("a program could not be asked for its version".to_owned());
        asked.into_iter().map(|asked| asked.join().unwrap_or_else(|_| broken())).collect()
    });
    settle(said)
}

fn settle(said: Vec<Said>) -> anyhow::Result<Finding> {
    let (mut good, mut doubtful, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for said in said {
        match said {
            Said::Good(text) => good.push(text),
            Said::Doubtful(text) => doubtful.push(text),
            Said::Wrong(text) => wrong.push(text),
        }
    }
    let remedy = "scripts/setup.sh installs the tools, `cargo build` the pieces: put both on the PATH";
    if !wrong.is_empty() {
        wrong.append(&mut doubtful);
        return Err(Fault::failed(wrong.join("\n")).hint(remedy).into());
    }
    if !doubtful.is_empty() {
        return Ok(Finding::Warning { detail: doubtful.join("\n"), remedy: remedy.to_owned() });
    }
    // The pieces stand for themselves, all in one version.
    let [pieces, others] = [true, false].map(|piece| -> Vec<String> {
        good.iter().filter(|text| is_piece(text) == piece).cloned().collect()
    });
    Ok(Finding::Good(format!(
        "{}; pieces {}: {}",
        others.join(", "),
        env!("CARGO_PKG_VERSION"),
        pieces.join(", ")
    )))
}

fn ask(tool: &Tool, context: &Context, folder: &Path) -> Said {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let version_of = |program: &OsStr| {
        let mut command = Command::new(program);
        command.arg("--version").stdin(Stdio::null());
        if tool.runtime == Some(Runtime::Opencode) {
            // It makes its folders even then.
            command.envs(opencode::environment(folder));
        }
        program::run(&mut command, context.deadline(), &context.stop)
    };
    let answer = match tool.variable.and_then(set) {
        Some(program) => version_of(&program),
        None => {
            let first = version_of(tool.name.as_ref());
            tool.also.iter().fold(
                first,
                |answer, name| if is_absent(&answer) { version_of(name.as_ref()) } else { answer },
            )
        }
    };
    match answer {
        Ok(ended) if ended.status.success() => {
            judge(tool, version(&String::from_utf8_lossy(&ended.stdout)).as_deref())
        }
        Ok(ended) => Said::Wrong(format!("{} --version failed ({})", tool.name, ended.status)),
        answer if is_absent(&answer) => {
            if tool.optional {
                Said::Doubtful(format!("{} is not on the PATH: agents with a browser need it", tool.name))
            } else {
                Said::Wrong(format!("{} is not on the PATH", tool.name))
            }
        }
        Err(broken) => Said::Wrong(format!("{}: {broken}", tool.name)),
    }
}

fn is_absent(answer: &Result<Ended, Broken>) -> bool {
    matches!(answer, Err(Broken::NotStarted(error)) if error.kind() == std::io::ErrorKind::NotFound)
}

fn judge(tool: &Tool, version: Option<&str>) -> Said {
    let name = tool.name;
    let Some(version) = version else {
        return Said::Doubtful(format!("{name} does not tell its version"));
    };
    let differs = |wanted: &str| {
        if version == wanted {
            Said::Good(format!("{name} {version}"))
        } else {
            Said::Doubtful(format!("{name} is version {version}, and {wanted} is expected"))
        }
    };
    match tool.wanted {
        Wanted::Pinned(package) => differs(&pin(package)),
        // Their versions are all the same: the names are enough.
        Wanted::Ours if version == env!("CARGO_PKG_VERSION") => Said::Good(name.to_owned()),
        Wanted::Ours => differs(env!("CARGO_PKG_VERSION")),
        Wanted::AtLeast(least) if numbers(version) < Some(least) => Said::Wrong(format!(
            "{name} is version {version}, and {}.{} or later is needed",
            least[0], least[1]
        )),
        Wanted::AtLeast(_) | Wanted::Any => Said::Good(format!("{name} {version}")),
    }
}

/// The version that is pinned for an npm package.
fn pin(package: &str) -> String {
    let pins: serde_json::Value = serde_json::from_str(PINS).unwrap_or_default();
    let pin =
        ["dependencies", "optionalDependencies"].into_iter().find_map(|list| pins[list][package].as_str());
    pin.unwrap_or_default().to_owned()
}

/// The version in what a program prints: the first word that is one, as in `git version 2.39.5` or `jq-1.6`.
fn version(text: &str) -> Option<String> {
    text.split_whitespace()
        .map(|word| word.trim_start_matches(|c: char| !c.is_ascii_digit()))
        .find(|word| numbers(word).is_some())
        .map(str::to_owned)
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Option<[u64; 2]> {
    let mut parts = version.split('.');
    let mut next = || {
        let part = parts.next()?;
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    };
    Some([next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_print() {
        for (text, expected) in [
            ("git version 2.39.5\n", Some("2.39.5")),
            ("2.1.330 (Claude Code)", Some("2.1.330")),
            ("Version 0.0.83", Some("0.0.83")),
            ("jq-1.6", Some("1.6")),
            ("Chromium 156.0.8078.79 built on Debian GNU/Linux 12 (bookworm)", Some("156.0.8078.79")),
            ("git version 2.50.1 (Apple Git-155)", Some("2.50.1")),
            ("no version", None),
            ("", None),
        ] {
            assert_eq!(version(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_pins_are_known() {
        for tool in TOOLS {
            if let Wanted::Pinned(package) = tool.wanted {
                assert!(numbers(&pin(package)).is_some(), "{package}");
            }
        }
    }

    #[test]
    fn an_old_git_is_wrong_and_another_claude_is_a_warning() {
        let [git, claude, jq, ..] = TOOLS else { panic!("there are more") };
        assert_eq!(judge(git, Some("2.39.5")), Said::Good("git 2.39.5".into()));
        assert!(matches!(judge(git, Some("2.4.11")), Said::Wrong(_)), "2.4 is before 2.32");
        assert!(matches!(judge(claude, Some("9.0.0")), Said::Doubtful(_)));
        assert!(matches!(judge(jq, None), Said::Doubtful(_)));
        assert!(settle(vec![Said::Wrong("x".into()), Said::Doubtful("y".into())]).is_err());
        assert!(matches!(settle(vec![Said::Doubtful("y".into())]), Ok(Finding::Warning { .. })));
    }
}
