//! The built program against the sandbox's GitHub.

mod edge;
mod git;
mod helper;
mod keys;
mod mint;
mod retries;
mod revoke;
mod world;
