//! The built binary, alone and on a real API server with its controllers: what it did is read back from there.

#![allow(clippy::unwrap_used, clippy::panic)]

/// What needs no cluster: help, completions, arguments, a cluster that is not there.
mod alone;
/// Ten thousand claims.
mod crowd;
/// What is deleted, and what is not.
mod deletion;
/// What the API server refuses.
mod failures;
/// Directories of hostPath mode.
mod host_path;
/// Objects for the tests.
mod objects;
/// Starting the binary.
mod process;
