//! The contract between the pieces.
//!
//! Every piece is a program of its own: what one prints, another reads. This library is what they agree on and
//! nothing else: the [records](record), the [outcomes](outcome::Outcome) a run can end with, the
//! [exit codes](exit::Exit), the [names] that are derived from a run, the [labels] of what it is in a cluster, and the one
//! type that holds a [secret](secret::Secret).
//!
//! A reader ignores fields it does not know, so that pieces of different versions can be piped together.

pub mod brief;
pub mod exit;
pub mod labels;
pub mod names;
pub mod outcome;
pub mod phase;
pub mod record;
pub mod secret;

pub use exit::Exit;
pub use outcome::{Outcome, Stage};
pub use phase::Phase;
pub use record::{AgentReport, PullRequest, Push, RunRecord};
pub use secret::Secret;
