//! The program: stdin to stdout, the report at the end.

use crate::args::{Args, ProgressMode};
use crate::decision::Surroundings;
use crate::notice::View;
use crate::progress::{Live, Plain};
use crate::stream::EventStream;
use crate::summary;
use agent_task::{AgentReport, Exit};
use anyhow::Context as _;
use piece::{Fault, output};
use redact::Redactor;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};

const EXAMPLE: &str = "claude -p … --output-format stream-json --verbose </dev/null | agent-log > run.jsonl";

/// Large enough that a system call is nothing beside what is done with what it brings, small enough for the cache.
const BUFFER: usize = 256 * 1024;

/// Runs the program.
///
/// # Errors
/// Nothing to read is a usage fault; otherwise those of reading and writing.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let names: Vec<&str> = args.redact_env.iter().map(String::as_str).collect();
    let redactor = Redactor::from_env(&names);
    let report = match &args.summary {
        Some(path) if path.as_os_str() != OsStr::new("-") => {
            let file = File::open(path)
                .with_context(|| Fault::usage(format!("cannot read the transcript {}", path.display())))?;
            summarised(&args, &redactor, file)?
        }
        Some(_) => summarised(&args, &redactor, stdin()?)?,
        None => streamed(&args, &redactor, stdin()?)?,
    };
    Ok(if args.exit_code && !report.outcome.is_success() { Exit::Failed } else { Exit::Done })
}

fn stdin() -> anyhow::Result<io::Stdin> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Fault::usage("expected events on stdin, which is a terminal")
            .hint(format!("as in: {EXAMPLE}"))
            .into());
    }
    Ok(stdin)
}

fn streamed(args: &Args, redactor: &Redactor, input: io::Stdin) -> anyhow::Result<AgentReport> {
    let (view, is_live) = view(args);
    let mut events = EventStream::new(redactor, view);
    // Unbuffered: what has come is read in large pieces and written in as large ones.
    let mut stdout = unbuffered(&io::stdout())?;
    let copied =
        copy(&mut events, unbuffered(&input)?, &mut |bytes| output::checked(stdout.write_all(bytes)))?;
    empty_is_wrong(copied, &events)?;
    let mut out = Vec::new();
    let report = events.finish(surroundings(args), &mut out);
    serde_json::to_writer(&mut out, &report).context("writing JSON")?;
    out.push(b'\n');
    output::checked(stdout.write_all(&out))?;
    if is_live {
        // In the place of the figures that were redrawn.
        let _ = io::stderr().write_all(summary::text(&report, crate::progress::has_colours()).as_bytes());
    }
    Ok(report)
}

fn summarised(args: &Args, redactor: &Redactor, input: impl Read) -> anyhow::Result<AgentReport> {
    let mut events = EventStream::new(redactor, ());
    let copied = copy(&mut events, input, &mut |_| Ok(()))?;
    empty_is_wrong(copied, &events)?;
    let mut out = Vec::new();
    events.end(&mut out);
    // A transcript's own report knows more than its events do: how the process ended, which servers were needed.
    let report = match events.observer().recorded() {
        Some(report) => report.clone(),
        None => events.finish(surroundings(args), &mut out),
    };
    if !args.quiet && args.progress != ProgressMode::None {
        // stderr gone is no reason to keep the report back.
        let _ = io::stderr().write_all(summary::text(&report, colours(args.progress)).as_bytes());
    }
    output::line(&report)?;
    Ok(report)
}

/// Reads to the end, and hands on what is complete after every read: nothing waits for what has not come.
fn copy<V: View>(
    events: &mut EventStream<'_, V>,
    mut input: impl Read,
    write: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut out = Vec::with_capacity(BUFFER + 4096);
    let mut read = 0;
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(read),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("reading the events"),
        };
        read += count as u64;
        events.feed(&buffer[..count], &mut out);
        write(&out)?;
        out.clear();
        // One long line must not keep its memory for the rest of the run.
        out.shrink_to(BUFFER * 4);
    }
}

fn empty_is_wrong<V: View>(read: u64, events: &EventStream<'_, V>) -> anyhow::Result<()> {
    if read == 0 || (events.observer().is_untouched() && !events.holds_some()) {
        return Err(Fault::usage("expected events on stdin, which is empty")
            .hint(format!("as in: {EXAMPLE}"))
            .into());
    }
    Ok(())
}

fn surroundings(args: &Args) -> Surroundings<'_> {
    Surroundings { needed_mcp_servers: &args.needs_mcp, ..Surroundings::default() }
}

/// A handle of its own, without the standard library's buffer.
fn unbuffered(stream: &impl std::os::fd::AsFd) -> anyhow::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned().context("opening a standard stream")?))
}

/// The view on stderr that was asked for, and whether it is redrawn.
fn view(args: &Args) -> (Box<dyn View>, bool) {
    let mode = match args.progress {
        _ if args.quiet => ProgressMode::None,
        // A terminal that shows the events has no room for a view that is redrawn.
        ProgressMode::Auto if crate::progress::suits_live() && !io::stdout().is_terminal() => {
            ProgressMode::Live
        }
        ProgressMode::Auto => ProgressMode::Plain,
        asked => asked,
    };
    let view: Box<dyn View> = match mode {
        ProgressMode::Live => Box::new(Live::new()),
        ProgressMode::None => Box::new(()),
        ProgressMode::Plain | ProgressMode::Auto => Box::new(Plain::new(io::stderr())),
    };
    (view, mode == ProgressMode::Live)
}

fn colours(mode: ProgressMode) -> bool {
    mode != ProgressMode::Plain && crate::progress::has_colours()
}
