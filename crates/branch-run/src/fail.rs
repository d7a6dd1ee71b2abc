//! Notes a failure: in the record on stdin, or in one that is made here because the run never came to making one. And explains one.

use crate::args::{Explain, Fail};
use crate::run::entropy;
use crate::{push, record_file};
use agent_task::{Exit, RunRecord, names};
use anyhow::Context as _;
use jiff::Timestamp;
use piece::Fault;
use redact::Redactor;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// So much of an error file's end is read.
const END: u64 = 16 * 1024;

/// So many bytes of it stand in the record.
const ERROR_MAX: usize = 2000;

pub(crate) fn run(args: Fail) -> anyhow::Result<Exit> {
    let redactor = Redactor::from_env(&[]);
    let error = match (&args.error, &args.error_file) {
        (Some(error), _) => error.clone(),
        (None, Some(path)) => end_of(path)?,
        (None, None) => String::new(),
    };
    let error = shortened(&redactor.redact_text(error.trim()));
    let mut record = match &args.agent {
        None => push::record_from_stdin(
            "branch-run fail --stage push --outcome push-failed --error 'why' <record.json",
        )?,
        Some(agent) => {
            names::check_agent(agent).map_err(|error| Fault::usage(error.to_string()))?;
            let now = Timestamp::now();
            let run = match &args.run {
                Some(run) => run.clone(),
                None => names::run_id(agent, now, entropy()?),
            };
            let prompt = args.prompt.clone().unwrap_or_default();
            let mut record = RunRecord::begun(run, agent, redactor.redact_text(&prompt), &args.base, now);
            record.ended_at = Some(now);
            record
        }
    };
    let error = if error.is_empty() { args.outcome.meaning().to_owned() } else { error };
    record.fail(args.outcome, &args.stage, error);
    record.unfinished = record.commits > 0;
    let written = args.record.as_deref().map_or(Ok(()), |path| record_file::write(path, &record));
    piece::output::line(&record)?;
    written.map(|()| Exit::Done)
}

pub(crate) fn explain(args: &Explain) -> anyhow::Result<Exit> {
    let mut record =
        push::record_from_stdin("branch-run explain --reason 'the node was drained' <record.json")?;
    record.explain(&shortened(&Redactor::from_env(&[]).redact_text(args.reason.trim())));
    piece::output::line(&record)?;
    Ok(Exit::Done)
}

fn end_of(path: &Path) -> anyhow::Result<String> {
    let reading = || Fault::usage(format!("cannot read the error from {}", path.display()));
    let mut file = std::fs::File::open(path).with_context(reading)?;
    let length = file.metadata().with_context(reading)?.len();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))
        .and_then(|_| file.take(END).read_to_end(&mut bytes))
        .with_context(reading)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of it: what went wrong last stands there.
fn shortened(text: &str) -> String {
    if text.len() <= ERROR_MAX {
        return text.to_owned();
    }
    let start =
        (text.len() - ERROR_MAX..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    format!("…{}", &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_keeps_its_end_and_its_characters() {
        let short = shortened(&format!("{}end", "é".repeat(3000)));
        assert!(short.starts_with("…é") && short.ends_with("end"));
        assert!(short.len() <= ERROR_MAX + "…".len());
        assert_eq!(shortened("x"), "x");
    }
}
