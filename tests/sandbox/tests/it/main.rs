//! The sandbox itself, proved with real clients. A module a topic.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)] // in the functions around the tests

mod client;
mod command;
mod discord;
mod faults;
mod git;
mod github;
mod model;
mod proxy;
