use crate::process::to_webhook;
use crate::records::{delivered, rejected};
use sandbox::{Ended, Fault, How, Sandbox, Service};
use serde_json::Value;

struct Told {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl Told {
    fn new() -> Self {
        Self { sandbox: Sandbox::start().unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    fn tell(&self, record: &Value) -> Ended {
        let file = self.folder.path().join("discord.json");
        let arguments = ["--once-file", file.to_str().unwrap()];
        to_webhook(&self.sandbox).args(&arguments).run(record.to_string())
    }
}

#[test]
fn the_same_record_is_told_once() {
    let told = Told::new();
    let [first, second] = [(); 2].map(|()| told.tell(&delivered("x")).lines()[0].clone());
    assert_eq!([&first["operation"], &second["operation"]], ["created", "existing"]);
    assert_eq!(first["id"], second["id"]);
    assert_eq!(told.sandbox.discord().messages().len(), 1);
}

#[test]
fn a_record_that_says_something_else_changes_the_runs_message() {
    let told = Told::new();
    let mut record = rejected("A post", "no title");
    told.tell(&record);
    record["error"] = "no title; then: no route to host".into();
    let second = told.tell(&record);
    assert_eq!(second.lines()[0]["operation"], "updated");
    let messages = told.sandbox.discord().messages();
    assert_eq!((messages.len(), messages[0].edited), (1, true));
    assert!(messages[0].content.contains("\nError: no title; then: no route to host\n"));
    assert_eq!(told.sandbox.violations(), Vec::<String>::new());
}

#[test]
fn another_run_is_another_message() {
    let told = Told::new();
    told.tell(&delivered("x"));
    told.tell(&rejected("x", "e"));
    assert_eq!(told.tell(&delivered("x")).lines()[0]["operation"], "existing");
    assert_eq!(told.sandbox.discord().messages().len(), 2);
}

#[test]
fn a_message_that_somebody_deleted_is_made_again() {
    let told = Told::new();
    let mut record = delivered("x");
    told.tell(&record);
    told.sandbox.fail(Fault {
        method: Some("PATCH".to_owned()),
        ..Fault::next(
            Service::Discord,
            How::Status {
                code: 404,
                headers: Vec::new(),
                body: r#"{"message":"Unknown Message","code":10008}"#.into(),
            },
        )
    });
    record["pullRequest"]["draft"] = true.into();
    let again = told.tell(&record);
    assert_eq!(again.lines()[0]["operation"], "created", "{}", again.stderr);
    assert_eq!(told.sandbox.discord().messages().len(), 2);
}

#[test]
fn a_file_that_cannot_be_written_is_a_warning_for_the_message_is_out() {
    let told = Told::new();
    let arguments = ["--once-file", "/proc/nowhere/discord.json"];
    let ended = to_webhook(&told.sandbox).args(&arguments).run(delivered("x").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("warning: writing --once-file"), "{}", ended.stderr);
}
