//! The built program against the sandbox's GitHub.

#![allow(clippy::unwrap_used)] // in the functions around the tests

mod edge;
mod git;
mod helper;
mod keys;
mod mint;
mod retries;
mod revoke;
mod world;
