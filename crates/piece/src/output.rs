//! stdout: JSON, one document or one a line.

use anyhow::Context as _;
use serde::Serialize;
use std::io::Write;

/// The reader of stdout went away. Not a failure: [`crate::main`] ends with 0.
#[derive(Debug)]
pub struct BrokenPipe;

impl std::fmt::Display for BrokenPipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the reader of stdout went away")
    }
}

impl std::error::Error for BrokenPipe {}

/// Prints `document` as one line of JSON on stdout.
///
/// # Errors
/// [`BrokenPipe`] where nobody reads, else the write error.
pub fn line(document: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(document).context("writing JSON")?;
    text.push(b'\n');
    bytes(&text)
}

/// Prints `document` over several lines, for a person to read.
///
/// # Errors
/// As [`line()`].
pub fn pretty(document: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(document).context("writing JSON")?;
    text.push(b'\n');
    bytes(&text)
}

/// Prints `text` as it is.
///
/// # Errors
/// As [`line()`].
pub fn bytes(text: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    checked(stdout.write_all(text).and_then(|()| stdout.flush()))
}

/// Makes of a write to stdout what [`crate::main`] understands: a broken pipe is [`BrokenPipe`].
///
/// # Errors
/// Those of the write.
pub fn checked<T>(written: std::io::Result<T>) -> anyhow::Result<T> {
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => anyhow::Error::new(BrokenPipe),
        _ => anyhow::Error::new(error).context("writing to stdout"),
    })
}
