//! The built binary, against real and misbehaving servers.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod edge;
mod http_server;
mod machine;
mod remote;
mod stdio;
mod write;
