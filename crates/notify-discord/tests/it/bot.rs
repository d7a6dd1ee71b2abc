use crate::process::as_bot;
use crate::records::delivered;
use sandbox::{Fault, How, Sandbox, Service};

/// P8
#[test]
fn a_bot_writes_to_its_channel() {
    let sandbox = Sandbox::start().unwrap();
    let ended = as_bot(&sandbox).run(delivered("A post about X").to_string());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let message = &sandbox.discord().messages()[0];
    assert!(message.content.starts_with("Publisher completed: \"A post about X\"\n"));
    assert_eq!(ended.lines()[0]["channelId"], sandbox.discord().channel_id());
    assert_eq!(sandbox.violations(), Vec::<String>::new());
}

#[test]
fn a_bots_thread_is_a_channel_of_its_own() {
    let sandbox = Sandbox::start().unwrap();
    let thread = sandbox.discord().thread_id();
    let ended = as_bot(&sandbox).args(&["--thread-id", &thread]).run(delivered("x").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(sandbox.discord().messages()[0].thread_id, Some(thread));
}

#[test]
fn telling_the_same_ending_again_makes_no_second_message() {
    let sandbox = Sandbox::start().unwrap();
    let record = delivered("x").to_string();
    let ids = [(); 2].map(|()| as_bot(&sandbox).run(&record).lines()[0]["id"].clone());
    assert_eq!(ids[0], ids[1]);
    assert_eq!(sandbox.discord().messages().len(), 1);
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.fail(Fault::next(Service::Discord, How::CutAfter(5)));
    let ended = as_bot(&sandbox).run(delivered("x").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(sandbox.discord().requests().len(), 2);
    assert_eq!(sandbox.discord().messages().len(), 1);
}

#[test]
fn a_wrong_token_is_not_allowed() {
    let sandbox = Sandbox::start().unwrap();
    let ended = as_bot(&sandbox).env("DISCORD_BOT_TOKEN", "s3cret-s3cret").run(delivered("x").to_string());
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("hint: the bot's token is wrong or was reset"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
}
