use crate::process::{as_bot, to_webhook};
use crate::records::{delivered, rejected};
use jiff::SignedDuration;
use sandbox::{Ended, Fault, How, Piece, Sandbox, Service};
use serde_json::Value;
use std::time::Duration;

struct Told {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl Told {
    fn new() -> Self {
        Self { sandbox: Sandbox::start().unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    fn tell(&self, record: &Value) -> Ended {
        self.tell_by(to_webhook, record)
    }

    fn tell_by(&self, way: fn(&Sandbox) -> Piece, record: &Value) -> Ended {
        self.piece(way).run(record.to_string())
    }

    /// Told by a process that is killed when Discord has the message, and has not answered yet.
    fn tell_and_be_killed(&self, way: fn(&Sandbox) -> Piece, record: &Value) {
        let hold = How::HoldAnswer(Duration::from_secs(600));
        self.sandbox.fail(Fault { method: Some("POST".to_owned()), ..Fault::next(Service::Discord, hold) });
        let has_it = |sandbox: &Sandbox| sandbox.discord().messages().len() == 1;
        let ended = self.piece(way).run_until(record.to_string(), || {
            assert!(self.sandbox.wait_until(Duration::from_secs(60), has_it));
        });
        assert_eq!((ended.code, ended.stdout.as_str()), (None, ""), "it was killed");
    }

    fn piece(&self, way: fn(&Sandbox) -> Piece) -> Piece {
        let file = self.folder.path().join("discord.json");
        way(&self.sandbox).args(&["--once-file", file.to_str().unwrap()])
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
fn what_is_no_memory_is_refused_before_anything_is_sent() {
    let told = Told::new();
    let foreign = told.folder.path().join("notes.txt");
    std::fs::write(&foreign, "eggs").unwrap();
    let pipe = told.folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, why) in [(foreign.as_path(), "not a file of notify-discord"), (&pipe, "it is no file")] {
        let arguments = ["--once-file", path.to_str().unwrap()];
        let ended = to_webhook(&told.sandbox).args(&arguments).run(delivered("x").to_string());
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    }
    assert_eq!(told.sandbox.discord().messages().len(), 0);
    assert_eq!(std::fs::read_to_string(foreign).unwrap(), "eggs");
}

#[test]
fn a_file_that_cannot_be_written_is_a_warning_for_the_message_is_out() {
    let told = Told::new();
    let arguments = ["--once-file", "/proc/nowhere/discord.json"];
    let ended = to_webhook(&told.sandbox).args(&arguments).run(delivered("x").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("warning: writing --once-file"), "{}", ended.stderr);
}

/// P8: it may have been told; a bot looks.
#[test]
fn a_bot_that_was_killed_finds_what_it_had_sent() {
    let told = Told::new();
    let mut record = rejected("A post", "no title");
    told.tell_and_be_killed(as_bot, &record);
    // Discord has long forgotten the nonce, and others have written since.
    told.sandbox.clock().advance(SignedDuration::from_hours(1));
    as_bot(&told.sandbox).run(delivered("x").to_string());
    let again = told.tell_by(as_bot, &record);
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    assert_eq!(again.lines()[0]["operation"], "existing");
    assert_eq!(again.lines()[0]["id"], told.sandbox.discord().messages()[0].id.as_str());
    record["error"] = "no title; then: no route to host".into();
    assert_eq!(told.tell_by(as_bot, &record).lines()[0]["operation"], "updated");
    let messages = told.sandbox.discord().messages();
    assert_eq!((messages.len(), messages[0].edited), (2, true));
    assert_eq!(told.sandbox.violations(), Vec::<String>::new());
}

/// P8: what says something else by now changes what was sent.
#[test]
fn a_bot_that_was_killed_changes_what_it_had_sent() {
    let told = Told::new();
    let mut record = rejected("A post", "no title");
    told.tell_and_be_killed(as_bot, &record);
    record["error"] = "no title; then: no route to host".into();
    assert_eq!(told.tell_by(as_bot, &record).lines()[0]["operation"], "updated");
    let messages = told.sandbox.discord().messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].content.contains("no route to host"));
}

/// P8: where it may not read the channel, Discord knows the nonce for a while.
#[test]
fn a_bot_that_may_not_look_sends_again_and_discord_makes_one_of_it() {
    let told = Told::new();
    told.tell_and_be_killed(as_bot, &delivered("x"));
    let body = r#"{"message":"Missing Access","code":50001}"#.to_owned();
    let refused = How::Status { code: 403, headers: Vec::new(), body };
    told.sandbox.fail(Fault { method: Some("GET".to_owned()), ..Fault::next(Service::Discord, refused) });
    assert_eq!(told.tell_by(as_bot, &delivered("x")).lines()[0]["operation"], "created");
    assert_eq!(told.sandbox.discord().messages().len(), 1);
}

/// P8: it cannot look, so it tells twice rather than never, says so, and is even with itself from there on.
#[test]
fn a_webhook_that_was_killed_sends_again_and_says_so() {
    let told = Told::new();
    told.tell_and_be_killed(to_webhook, &delivered("x"));
    let again = told.tell(&delivered("x"));
    assert_eq!((again.code, &again.lines()[0]["operation"]), (Some(0), &"created".into()));
    assert!(again.stderr.contains("this may be a second one"), "{}", again.stderr);
    let third = told.tell(&delivered("x"));
    assert_eq!((&third.lines()[0]["operation"], third.stderr.as_str()), (&"existing".into(), ""));
    assert_eq!(told.sandbox.discord().messages().len(), 2);
}

/// P8: what Discord refused was not sent, which needs no second thought.
#[test]
fn what_was_refused_is_sent_without_a_warning() {
    let told = Told::new();
    let refused = How::Status { code: 404, headers: Vec::new(), body: r#"{"code":10015}"#.to_owned() };
    told.sandbox.fail(Fault::next(Service::Discord, refused));
    assert_eq!(told.tell(&delivered("x")).code, Some(1));
    let again = told.tell(&delivered("x"));
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
}
