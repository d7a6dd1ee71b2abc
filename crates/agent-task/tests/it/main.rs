//! What the rest of the repository says of the contract.

use agent_task::Outcome;

/// P9
#[test]
fn the_docs_list_every_outcome_as_the_code_has_it() {
    let docs = include_str!("../../../../docs/outcomes.md");
    let expected = format!("{}\n{}", include_str!("../../examples/outcomes-head.md"), Outcome::table());
    assert_eq!(docs, expected, "write it again: just docs-outcomes");
}
