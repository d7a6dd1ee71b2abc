//! Reads the events of an agent CLI (`stream-json`, an object a line) and knows how the run ended.
//!
//! stdin: the events. stdout: the same events with their secrets redacted, each as it comes, then the
//! [report](agent_task::AgentReport) as the last line. stderr: progress for people.
//!
//! ```text
//! $ claude -p "$PROMPT" --output-format stream-json --verbose </dev/null | agent-log > run.jsonl
//! $ agent-log --summary run.jsonl
//! ```
//!
//! It never judges success by one field or an exit code alone (see [`decision`]), never passes on a line that is no event,
//! never holds more than a line in memory, and never lets what an agent wrote act on a terminal.
//!
//! As a library: an [`EventStream`] takes the bytes as they come and gives the redacted lines; at the end it makes the
//! report of what the events, the [ending](Ending) of the process and the configuration say.

pub mod args;
pub mod decision;
mod event;
pub mod notice;
pub mod observer;
pub mod progress;
pub mod run;
pub mod stream;
pub mod summary;
pub mod text;
pub mod verdict;

pub use decision::{Ending, Surroundings};
pub use notice::{Notice, View};
pub use observer::Observer;
pub use stream::EventStream;
