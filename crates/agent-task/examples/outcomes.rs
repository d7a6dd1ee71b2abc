//! Prints docs/outcomes.md.

use agent_task::Outcome;
use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let head = include_str!("outcomes-head.md");
    write!(std::io::stdout(), "{head}\n{}", Outcome::table())
}
