//! `spawn-job` from outside, without a cluster and with the real API server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests that fails fails the test")]

/// The custom resource, as the real API server takes it.
mod api_resource;
/// Jobs on the real API server.
mod api_spawn;
/// One trigger, one Job: whatever is killed, repeated or gone.
mod api_trigger;
/// Runs that do not begin, are at work, or have ended.
mod api_wait;
/// The program: what it reads, refuses and prints.
mod command;
/// What a task becomes.
mod plan;
