//! The built binary, alone and against the sandbox's Discord. What it did is read back from there.

#![allow(clippy::unwrap_used, clippy::panic)]

/// What needs no network: help, completions, stdin, `--dry-run`.
mod alone;
/// A bot's channel.
mod bot;
/// What Discord refuses, and what breaks.
mod failures;
/// `--once-file`.
mod once;
/// Starting the binary.
mod process;
/// Records, made as another piece makes them.
mod records;
/// The webhook: words, figures, threads, the proxy.
mod webhook;
