//! End to end: what a person sees who runs `run-publisher.sh`, by the module.

/// Runs that deliver, and running again.
mod deliver;
/// The dev server that a QA subagent looks at.
mod dev_server;
/// Runs that fail, and what they leave.
mod endings;
/// How a run ended, held against what was expected.
mod expected;
/// A repository that fights back, and what is seen of a run from outside.
mod hostile;
/// Runs that are killed at random moments.
mod kills;
/// The other runtime.
mod opencode;
/// What stops a run before anything happens.
mod refusals;
/// The repository that fights back, whatever it is filled with.
mod repository;
/// What the model says, in few words.
mod scripted;
/// The stages by themselves, as the containers of a pod run them.
mod stages;
