//! The built binary, alone and against the sandbox's GitHub. What it did is read back from there.

#![allow(clippy::unwrap_used, clippy::panic)]

/// What needs no network: help, completions, stdin, `--dry-run`, records with nothing to open.
mod alone;
/// What GitHub refuses, and what breaks.
mod failures;
/// A repository with a run's branch in it.
mod hub;
/// Finding, opening, refreshing, labelling.
mod opening;
/// Starting the binary.
mod process;
