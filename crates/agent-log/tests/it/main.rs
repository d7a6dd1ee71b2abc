//! The program and the library, from the outside.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::panic)]

/// The built binary: streams, options, exit codes.
mod binary;
/// Every ending of the agent CLI, over transcripts that the real one wrote.
mod endings;
/// The same for opencode.
mod opencode;
/// Whatever comes, however it is cut.
mod robustness;

use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.jsonl"))
}

fn transcript(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap()
}
