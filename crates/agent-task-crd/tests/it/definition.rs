//! The definition that is printed.

use std::path::Path;
use std::process::{Command, Stdio};

fn printed() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_agent-task")).arg("crd").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// K1, I2
#[test]
fn the_charts_copy_is_what_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/pressrun/crds/agenttasks.yaml");
    let copy = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(copy == printed(), "run: agent-task crd >charts/pressrun/crds/agenttasks.yaml");
}

/// K1
#[test]
fn it_is_namespaced_with_short_name_and_status() {
    let definition: serde_json::Value = serde_saphyr::from_str(&printed()).unwrap();
    assert_eq!(definition["metadata"]["name"], "agenttasks.agents.kyle.pericak.com");
    assert_eq!(definition["spec"]["scope"], "Namespaced");
    assert_eq!(definition["spec"]["names"]["shortNames"], serde_json::json!(["at"]));
    let version = &definition["spec"]["versions"][0];
    assert_eq!(version["name"], "v1alpha1");
    assert_eq!(version["subresources"]["status"], serde_json::json!({}));
}

/// K1
#[test]
fn completions_are_for_every_shell_and_a_reader_that_went_away_is_no_failure() {
    let program = || Command::new(env!("CARGO_BIN_EXE_agent-task"));
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = program().args(["--completions", shell]).output().unwrap();
        assert!(
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains("brief"),
            "{shell}"
        );
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = program().arg("crd").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""));
}
