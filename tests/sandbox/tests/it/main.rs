//! The sandbox itself, proved with real clients. A module a topic.

#![allow(missing_docs)]

mod client;
mod command;
mod discord;
mod faults;
mod git;
mod github;
mod model;
mod proxy;
