//! `branch-run` as it is used: the built program, real repositories, commands that are small shell scripts.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

/// Branches: their names, and where they point when the command left HEAD elsewhere.
mod branches;
/// The edges of the program: help, completions, wrong input, broken pipes.
mod edges;
/// How a run ends: exit codes, limits, signals, and what is left of its processes.
mod endings;
/// What the command is given, and what is refused before it runs.
mod surroundings;

/// A workspace that tries to have `push` do its bidding.
mod hostile;
/// Secrets in what would be pushed.
mod leaks;
mod place;
/// `push`, against a real git server behind tokens.
mod pushing;
