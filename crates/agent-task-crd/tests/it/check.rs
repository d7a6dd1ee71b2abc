//! What is taken and refused without an API server. `tests/cases` has the manifests; the same ones go to a real server.

use agent_task_crd::{AgentTaskSpec, check};

#[path = "../cases/mod.rs"]
mod cases;

fn refusal(spec: serde_json::Value) -> Option<String> {
    match serde_path_to_error::deserialize::<_, AgentTaskSpec>(spec) {
        Ok(spec) => {
            let problems = check::problems(&spec);
            (!problems.is_empty()).then(|| problems.iter().map(|problem| format!("{problem}\n")).collect())
        }
        Err(error) => Some(format!("spec.{error}")),
    }
}

/// K1
#[test]
fn older_manifests_and_every_field_are_taken() {
    for (name, spec) in cases::good() {
        assert_eq!(refusal(spec), None, "{name}");
    }
}

/// K1
#[test]
fn what_is_wrong_is_named() {
    for (field, spec) in cases::bad() {
        let refusal = refusal(spec).unwrap_or_else(|| panic!("{field} was taken"));
        assert!(refusal.contains(field), "{field}: {refusal}");
    }
}
