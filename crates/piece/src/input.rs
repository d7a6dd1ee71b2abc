//! stdin: one JSON document, or one a line.

use crate::Fault;
use anyhow::Context as _;
use serde::de::DeserializeOwned;
use std::io::{BufRead, IsTerminal as _, Read, StdinLock};

/// Reads all of stdin as one `what` (as "a run record"). A terminal, nothing at all, or something else is a usage error
/// which shows `example`, a command line that would have worked.
///
/// # Errors
/// Usage faults as above; a read error.
pub fn document<T: DeserializeOwned>(what: &str, example: &str) -> anyhow::Result<T> {
    document_from(stdin(what, example)?, what, example)
}

/// stdin, where `what` is expected.
///
/// # Errors
/// A usage fault where it is a terminal.
pub fn stdin(what: &str, example: &str) -> anyhow::Result<StdinLock<'static>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Fault::usage(format!("expected {what} on stdin, which is a terminal"))
            .hint(format!("as in: {example}"))
            .into());
    }
    Ok(stdin.lock())
}

/// [`document`] from any reader.
///
/// # Errors
/// As [`document`].
pub fn document_from<T: DeserializeOwned>(
    mut reader: impl Read,
    what: &str,
    example: &str,
) -> anyhow::Result<T> {
    let mut text = Vec::new();
    reader.read_to_end(&mut text).context("reading stdin")?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::usage(format!("expected {what} on stdin, which is empty"))
            .hint(format!("as in: {example}"))
            .into());
    }
    serde_json::from_slice(&text)
        .with_context(|| Fault::usage(format!("stdin is not {what}")).hint(format!("as in: {example}")))
}

/// Reads JSON Lines from stdin, or one document spread over lines. Empty lines are passed over; no document at all is a
/// usage error.
///
/// # Errors
/// As [`document`]; the error names the number of the document.
pub fn documents<T: DeserializeOwned>(what: &str, example: &str) -> anyhow::Result<Vec<T>> {
    documents_from(stdin(what, example)?, what, example)
}

/// [`documents`] from any reader.
///
/// # Errors
/// As [`documents`].
pub fn documents_from<T: DeserializeOwned>(
    reader: impl BufRead,
    what: &str,
    example: &str,
) -> anyhow::Result<Vec<T>> {
    let mut found = Vec::new();
    for document in serde_json::Deserializer::from_reader(reader).into_iter::<T>() {
        let number = found.len() + 1;
        found.push(document.with_context(|| {
            Fault::usage(format!("document {number} on stdin is not {what}"))
                .hint(format!("as in: {example}"))
        })?);
    }
    if found.is_empty() {
        return Err(Fault::usage(format!("expected {what} on stdin, which is empty"))
            .hint(format!("as in: {example}"))
            .into());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_task::Exit;

    fn exit(error: &anyhow::Error) -> Exit {
        error.downcast_ref::<Fault>().map_or(Exit::Failed, Fault::exit)
    }

    #[test]
    fn empty_and_wrong_input_are_usage_errors_with_an_example() {
        for bad in ["", " \n", "{", "\"text\""] {
            let error = document_from::<u32>(bad.as_bytes(), "a number", "echo 1 | piece").unwrap_err();
            assert_eq!(exit(&error), Exit::Usage, "{bad:?}");
            let fault = error.downcast_ref::<Fault>().unwrap();
            assert_eq!(fault.hint_text(), Some("as in: echo 1 | piece"));
        }
    }

    #[test]
    fn documents_may_stand_on_lines_or_over_lines() {
        let read = |text: &str| documents_from::<Vec<u32>>(text.as_bytes(), "lists", "x").unwrap();
        assert_eq!(read("[1]\n\n[2]\n"), [vec![1], vec![2]]);
        assert_eq!(read("[\n1\n]"), [vec![1]]);
    }

    #[test]
    fn the_bad_document_is_numbered() {
        let error = documents_from::<u32>("1\n{}\n".as_bytes(), "a number", "x").unwrap_err();
        assert_eq!(error.to_string(), "document 2 on stdin is not a number");
    }
}
