//! A run record: the agent's word, read by everything that publishes and tells.

use crate::redactor;
use crate::written::secrets_in;
use agent_task::RunRecord;
use message_text::units;
use notify_discord::message::Message;
use notify_discord::text::{For, text};

/// What GitHub and Discord take at most.
const BODY_MAX: usize = 65_536;
const CONTENT_MAX: usize = 2000;
const EMBEDS_MAX: usize = 6000;

/// A record that can be read can be written and read again; what is pushed for it is a branch of its own; the texts made of it
/// keep their bounds, show no secret, and let nothing act.
pub fn check(data: &[u8]) {
    let Ok(record) = serde_json::from_slice::<RunRecord>(data) else { return };
    let written = serde_json::to_string(&record).expect("a record is JSON");
    let again: RunRecord = serde_json::from_str(&written).expect("a record can be read again");
    assert_eq!(serde_json::to_string(&again).expect("a record is JSON"), written, "it says the same");

    if branch_run::push::check(&record, &["main".to_owned()]).is_ok() {
        assert_eq!(record.base, "main");
        if let Some(branch) = &record.branch {
            let reference = format!("refs/heads/{branch}");
            assert!(branch.starts_with("agent/") && git2::Reference::is_valid_name(&reference), "{branch}");
            let beside = agent_task::names::branch_beside(branch, &record.run);
            assert!(git2::Reference::is_valid_name(&format!("refs/heads/{beside}")), "{beside}");
            // A plus forces a refspec that begins with it; this begins otherwise.
            assert!(!branch.contains([':', '*', '^', '~', ' ']), "{branch} is a refspec");
        }
    }

    let Ok(shown) = redactor().redact_record(&record) else { return };
    let title = open_pr::text::title(&shown);
    let body = open_pr::text::body(&shown);
    assert!(!title.is_empty() && title.chars().count() <= open_pr::text::TITLE_MAX, "{title}");
    assert!(open_pr::text::is_our_title(&title, &shown));
    assert!(body.chars().count() <= BODY_MAX && open_pr::text::is_our_body(&body));

    let discord = [text(&shown, For::Discord), text(&shown, For::Terminal)];
    assert!((1..=CONTENT_MAX).contains(&units(&discord[0])), "{}", discord[0]);
    let live = without_escapes(&discord[0]);
    for acting in ["@everyone", "@here", "<@", "<#", "<:", "](", "**", "||", "`"] {
        assert!(!live.contains(acting), "{acting} acts in {}", discord[0]);
    }
    let message = Message::new(&shown, false);
    for embed in &message.embeds {
        let fields: usize = embed.fields.iter().map(|field| units(field.name) + units(&field.value)).sum();
        let rest = units(&embed.title) + units(&embed.footer.text) + embed.description.map_or(0, units);
        assert!(fields + rest <= EMBEDS_MAX);
        assert!((1..=256).contains(&units(&embed.title)) && embed.fields.len() <= 25);
        assert!(embed.fields.iter().all(|field| (1..=1024).contains(&units(&field.value))));
    }

    let message = serde_json::to_string(&message).expect("a message is JSON");
    for told in [&title, &body, &discord[0], &discord[1], &message] {
        assert_eq!(secrets_in(told.as_bytes()), [""; 0], "{told}");
    }
    for line in [&title, &discord[1]] {
        assert!(!line.chars().any(|c| c.is_control() && c != '\n'), "a terminal would act on it");
    }
    assert!(!title.contains('\n'));
}

/// Markup less what is escaped, and so does not act.
fn without_escapes(text: &str) -> String {
    let mut characters = text.chars();
    let mut live = String::new();
    while let Some(character) = characters.next() {
        if character == '\\' {
            characters.next();
        }
        live.push(character);
    }
    live
}
