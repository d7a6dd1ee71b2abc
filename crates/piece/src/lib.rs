//! What every piece does at its edge, written once.
//!
//! A piece's `main.rs` is `piece::main(its_crate::run)`: arguments are parsed, `--completions SHELL` is answered, an
//! error is printed with its causes and its hint, and the exit code is the [contract's](agent_task::exit::Exit). A reader that went
//! away (a broken pipe) is no failure: `mcp-config … | head -1` is quiet.

pub mod duration;
mod fault;
pub mod input;
mod memory;
pub mod output;

pub use fault::Fault;

use agent_task::Exit;
use clap::{Arg, Parser, value_parser};
use clap_complete::Shell;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs a piece: parses its arguments, calls `run`, reports an error and gives the exit code.
pub fn main<A: Parser>(run: impl FnOnce(A) -> anyhow::Result<Exit>) -> ExitCode {
    memory::close();
    if let Some(shell) = asked_for_completions(std::env::args_os().skip(1)) {
        return completions::<A>(&shell);
    }
    // Shown in the help beside the piece's own options; answered above, before required arguments are asked for.
    let command = A::command().arg(
        Arg::new("completions")
            .long("completions")
            .value_name("SHELL")
            .value_parser(value_parser!(Shell))
            .exclusive(true)
            .help("Print completions for this shell, to be sourced by it"),
    );
    let arguments = A::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match run(arguments) {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            let (text, exit) = explain(&error);
            // stderr gone too: the exit code still tells.
            let _ = writeln!(std::io::stderr(), "{}: {text}", A::command().get_name());
            exit.into()
        }
    }
}

fn asked_for_completions(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Option<String> {
    let first = arguments.next()?.into_string().ok()?;
    match first.strip_prefix("--completions") {
        Some("") => Some(arguments.next().and_then(|shell| shell.into_string().ok()).unwrap_or_default()),
        Some(rest) => rest.strip_prefix('=').map(str::to_owned),
        None => None,
    }
}

fn completions<A: Parser>(shell: &str) -> ExitCode {
    let mut command = A::command();
    let name = command.get_name().to_owned();
    match shell.parse::<Shell>() {
        Ok(shell) => {
            clap_complete::generate(shell, &mut command, name, &mut std::io::stdout());
            Exit::Done.into()
        }
        Err(_) => {
            let _ = writeln!(
                std::io::stderr(),
                "{name}: no completions for '{shell}'\nhint: one of bash, elvish, fish, powershell, zsh"
            );
            Exit::Usage.into()
        }
    }
}

/// The error chain on one line, then the hint; and the exit code. Both are the outermost [`Fault`]'s: it knows most of
/// what was meant. An error without one failed for good.
fn explain(error: &anyhow::Error) -> (String, Exit) {
    // Finds a fault that was put around a cause as context too, which walking the chain would not.
    let fault = error.downcast_ref::<Fault>();
    let mut text = format!("{error:#}");
    if let Some(hint) = fault.and_then(Fault::hint_text) {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    (text, fault.map_or(Exit::Failed, Fault::exit))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.is::<output::BrokenPipe>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_outermost_fault_gives_exit_code_and_hint() {
        let inner: anyhow::Result<()> = Err(Fault::retry("502 from the server").hint("try again").into());
        let (text, exit) = explain(&inner.context("asking").unwrap_err());
        assert_eq!((text.as_str(), exit), ("asking: 502 from the server\nhint: try again", Exit::Retry));

        let inner: anyhow::Result<()> = Err(Fault::retry("401 from the server").into());
        let outer = inner.context(Fault::denied("the token was refused").hint("make a new one"));
        let (text, exit) = explain(&outer.context("pushing").unwrap_err());
        let expected = "pushing: the token was refused: 401 from the server\nhint: make a new one";
        assert_eq!((text.as_str(), exit), (expected, Exit::Denied));
    }

    #[test]
    fn a_broken_pipe_is_seen_below_its_context() {
        let error = output::checked::<()>(Err(std::io::ErrorKind::BrokenPipe.into())).unwrap_err();
        assert!(is_broken_pipe(&error.context("printing the report")));
    }

    #[test]
    fn an_error_without_a_fault_failed_for_good() {
        assert_eq!(explain(&anyhow::anyhow!("disk on fire")), ("disk on fire".to_owned(), Exit::Failed));
    }
}
