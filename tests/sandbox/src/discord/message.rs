//! What Discord accepts as a message: <https://docs.discord.com/developers/resources/message#create-message>.

use serde_json::{Map, Value, json};

/// How a message comes in; the two know different fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Webhook,
    Bot,
}

/// A message that Discord refuses: code, message, and what is wrong with each field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub(super) code: u32,
    pub(super) message: &'static str,
    pub(super) errors: Value,
}

const CONTENT: usize = 2000;
const EMBEDS: usize = 10;
const EMBED_TITLE: usize = 256;
const EMBED_DESCRIPTION: usize = 4096;
const EMBED_FIELDS: usize = 25;
const EMBED_FIELD_NAME: usize = 256;
const EMBED_FIELD_VALUE: usize = 1024;
const EMBED_FOOTER: usize = 2048;
const EMBED_AUTHOR: usize = 256;
/// Titles, descriptions, fields, footers and authors of all embeds together.
const EMBEDS_TOTAL: usize = 6000;
const NONCE: usize = 25;
const USERNAME: usize = 80;

const SUPPRESS_EMBEDS: u64 = 1 << 2;
const SUPPRESS_NOTIFICATIONS: u64 = 1 << 12;

const FIELDS: [&str; 4] = ["content", "embeds", "allowed_mentions", "flags"];
const FIELDS_OF_WEBHOOK: [&str; 5] = ["username", "avatar_url", "tts", "thread_name", "applied_tags"];
const FIELDS_OF_BOT: [&str; 4] = ["nonce", "enforce_nonce", "tts", "message_reference"];
const FIELDS_OF_EMBED: [&str; 9] =
    ["title", "type", "description", "url", "timestamp", "color", "footer", "author", "fields"];
const EMBED_PICTURES: [&str; 2] = ["image", "thumbnail"];

/// The length that Discord counts: UTF-16 code units.
fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The errors of a form, by path: `{"embeds":{"0":{"title":{"_errors":[…]}}}}`.
#[derive(Debug, Default)]
struct Form(Map<String, Value>);

impl Form {
    fn error(&mut self, path: &[&str], code: &str, message: String) {
        let mut at = &mut self.0;
        for step in path {
            let next = at.entry(*step).or_insert_with(|| json!({}));
            let Value::Object(next) = next else { return };
            at = next;
        }
        if let Value::Array(errors) = at.entry("_errors").or_insert_with(|| json!([])) {
            errors.push(json!({"code": code, "message": message}));
        }
    }

    /// A text that may be absent: `None` also where it is no text.
    fn text<'a>(&mut self, of: &'a Map<String, Value>, path: &[&str], most: usize) -> Option<&'a str> {
        match of.get(*path.last()?)? {
            Value::Null => None,
            Value::String(text) => {
                if length(text) > most {
                    let message = format!("Must be {most} or fewer in length.");
                    self.error(path, "BASE_TYPE_MAX_LENGTH", message);
                }
                Some(text)
            }
            other => {
                self.error(
                    path,
                    "STRING_TYPE_CONVERT",
                    format!("Could not interpret \"{other}\" as string."),
                );
                None
            }
        }
    }

    fn required<'a>(&mut self, of: &'a Map<String, Value>, path: &[&str], most: usize) -> Option<&'a str> {
        let present = path.last().is_some_and(|name| of.get(*name).is_some_and(|value| !value.is_null()));
        let text = self.text(of, path, most);
        if !present || text.is_some_and(|text| text.trim().is_empty()) {
            self.error(path, "BASE_TYPE_REQUIRED", "This field is required".to_owned());
        }
        text
    }

    fn url(&mut self, of: &Map<String, Value>, path: &[&str]) {
        let Some(text) = self.text(of, path, 2048) else { return };
        match url::Url::parse(text) {
            Ok(url) if ["http", "https", "attachment"].contains(&url.scheme()) => (),
            Ok(url) => self.error(
                path,
                "URL_TYPE_INVALID_SCHEME",
                format!("Scheme \"{}\" must be one of ('http', 'https').", url.scheme()),
            ),
            Err(_) => self.error(path, "URL_TYPE_INVALID_URL", "Not a well formed URL.".to_owned()),
        }
    }
}

/// Holds a message, or what an edit changes of one (`edit`), to Discord's limits.
pub(super) fn check(by: By, message: &Map<String, Value>, edit: bool) -> Result<(), Refused> {
    let mut form = Form::default();
    let content = form.text(message, &["content"], CONTENT).unwrap_or_default();
    if by == By::Webhook {
        if let Some(name) = form.text(message, &["username"], USERNAME)
            && ["clyde", "discord"].iter().any(|taken| name.to_lowercase().contains(taken))
        {
            let text = format!("Username cannot contain \"{}\"", name.to_lowercase());
            form.error(&["username"], "USERNAME_INVALID_CONTAINS", text);
        }
        form.url(message, &["avatar_url"]);
    } else if message.get("nonce").is_some_and(Value::is_string) {
        form.text(message, &["nonce"], NONCE);
    }
    let embeds = match message.get("embeds") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(embeds)) => embeds.as_slice(),
        Some(_) => {
            form.error(
                &["embeds"],
                "LIST_TYPE_CONVERT",
                "Only iterables may be used in a ListType".to_owned(),
            );
            &[]
        }
    };
    if embeds.len() > EMBEDS {
        form.error(&["embeds"], "BASE_TYPE_MAX_LENGTH", format!("Must be {EMBEDS} or fewer in length."));
    }
    let total: usize = embeds
        .iter()
        .enumerate()
        .map(|(index, embed)| check_embed(&mut form, &index.to_string(), embed))
        .sum();
    if total > EMBEDS_TOTAL {
        let message = format!("Embed size exceeds maximum size of {EMBEDS_TOTAL}");
        form.error(&["embeds"], "MAX_EMBED_SIZE_EXCEEDED", message);
    }
    if !form.0.is_empty() {
        return Err(Refused { code: 50035, message: "Invalid Form Body", errors: Value::Object(form.0) });
    }
    let changes = |name: &str| message.contains_key(name);
    let says = !content.trim().is_empty() || !embeds.is_empty();
    if !says && (!edit || (changes("content") && changes("embeds"))) {
        return Err(Refused { code: 50006, message: "Cannot send an empty message", errors: Value::Null });
    }
    Ok(())
}

/// How much of the total an embed takes.
fn check_embed(form: &mut Form, index: &str, embed: &Value) -> usize {
    let Value::Object(embed) = embed else {
        let message = "Only dictionaries may be used in a DictType".to_owned();
        form.error(&["embeds", index], "DICT_TYPE_CONVERT", message);
        return 0;
    };
    let at = |name| ["embeds", index, name];
    let mut total = 0;
    let mut count = |text: Option<&str>| total += text.map_or(0, length);
    count(form.text(embed, &at("title"), EMBED_TITLE));
    count(form.text(embed, &at("description"), EMBED_DESCRIPTION));
    form.url(embed, &at("url"));
    if let Some(color) = embed.get("color")
        && !color.is_null()
        && color.as_u64().is_none_or(|color| color > 0xff_ffff)
    {
        let message = "int value should be between 0 and 16777215.".to_owned();
        form.error(&at("color"), "NUMBER_TYPE_MAX", message);
    }
    if let Some(time) = form.text(embed, &at("timestamp"), usize::MAX)
        && time.parse::<jiff::Timestamp>().is_err()
    {
        let message = format!("Could not parse {time}. Should be ISO8601.");
        form.error(&at("timestamp"), "DATE_TIME_TYPE_PARSE", message);
    }
    if let Some(Value::Object(footer)) = embed.get("footer") {
        count(form.required(footer, &["embeds", index, "footer", "text"], EMBED_FOOTER));
    }
    if let Some(Value::Object(author)) = embed.get("author") {
        count(form.required(author, &["embeds", index, "author", "name"], EMBED_AUTHOR));
        form.url(author, &["embeds", index, "author", "url"]);
    }
    for picture in EMBED_PICTURES {
        if let Some(Value::Object(picture_of)) = embed.get(picture) {
            form.url(picture_of, &["embeds", index, picture, "url"]);
        }
    }
    let fields = embed.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if fields.len() > EMBED_FIELDS {
        let message = format!("Must be {EMBED_FIELDS} or fewer in length.");
        form.error(&at("fields"), "BASE_TYPE_MAX_LENGTH", message);
    }
    for (number, field) in fields.iter().enumerate() {
        let number = number.to_string();
        let empty = Map::new();
        let field = field.as_object().unwrap_or(&empty);
        let path = |name| ["embeds", index, "fields", number.as_str(), name];
        count(form.required(field, &path("name"), EMBED_FIELD_NAME));
        count(form.required(field, &path("value"), EMBED_FIELD_VALUE));
    }
    total
}

/// What Discord lets pass, and a message that tells people about a run must not do.
pub(super) fn violations(by: By, message: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    let own: &[&str] = match by {
        By::Webhook => &FIELDS_OF_WEBHOOK,
        By::Bot => &FIELDS_OF_BOT,
    };
    for name in message.keys() {
        if !FIELDS.contains(&name.as_str()) && !own.contains(&name.as_str()) {
            found.push(format!("a message has the field {name}, which {by:?} messages do not know"));
        }
    }
    let embeds = message.get("embeds").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for name in embeds.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if !FIELDS_OF_EMBED.contains(&name.as_str()) && !EMBED_PICTURES.contains(&name.as_str()) {
            found.push(format!("an embed has the field {name}, which embeds do not know"));
        }
    }
    match message.get("allowed_mentions") {
        None => found.push("a message could ping: it has no allowed_mentions".to_owned()),
        Some(mentions) => {
            let none = |name: &str| mentions.get(name).and_then(Value::as_array).is_none_or(Vec::is_empty);
            let silent = mentions.get("parse").is_some_and(Value::is_array)
                && ["parse", "users", "roles"].into_iter().all(none)
                && mentions.get("replied_user") != Some(&Value::Bool(true));
            if !silent {
                found.push(format!("a message could ping: allowed_mentions is {mentions}"));
            }
        }
    }
    if message.get("tts") == Some(&Value::Bool(true)) {
        found.push("a message is read aloud: tts is true".to_owned());
    }
    let flags = message.get("flags").and_then(Value::as_u64).unwrap_or_default();
    if flags & !(SUPPRESS_EMBEDS | SUPPRESS_NOTIFICATIONS) != 0 {
        found.push(format!("a message has flags {flags}, which cannot be set"));
    }
    if flags & SUPPRESS_EMBEDS != 0 && !embeds.is_empty() {
        found.push("a message hides its own embeds: flags has SUPPRESS_EMBEDS (4)".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("{value} is no object") };
        object
    }

    fn errors(message: Value) -> Value {
        check(By::Webhook, &object(message), false).unwrap_err().errors
    }

    fn too_long(most: usize) -> Value {
        json!({"_errors": [{
            "code": "BASE_TYPE_MAX_LENGTH", "message": format!("Must be {most} or fewer in length."),
        }]})
    }

    #[test]
    fn every_limit_counts_utf16_units_and_is_met_exactly() {
        // U+1F600 is one character, two UTF-16 units and four bytes.
        let text = |units: usize| "\u{1F600}".repeat(units / 2) + if units % 2 == 1 { "x" } else { "" };
        type Case = (usize, fn(String) -> Value, &'static [&'static str]);
        let cases: [Case; 8] = [
            (CONTENT, |text| json!({"content": text}), &["content"]),
            (USERNAME, |text| json!({"content": "a", "username": text}), &["username"]),
            (EMBED_TITLE, |text| json!({"embeds": [{"title": text}]}), &["embeds", "0", "title"]),
            (
                EMBED_DESCRIPTION,
                |text| json!({"embeds": [{"description": text}]}),
                &["embeds", "0", "description"],
            ),
            (
                EMBED_FIELD_NAME,
                |text| json!({"embeds": [{"fields": [{"name": text, "value": "a"}]}]}),
                &["embeds", "0", "fields", "0", "name"],
            ),
            (
                EMBED_FIELD_VALUE,
                |text| json!({"embeds": [{"fields": [{"name": "a", "value": text}]}]}),
                &["embeds", "0", "fields", "0", "value"],
            ),
            (
                EMBED_FOOTER,
                |text| json!({"embeds": [{"footer": {"text": text}}]}),
                &["embeds", "0", "footer", "text"],
            ),
            (
                EMBED_AUTHOR,
                |text| json!({"embeds": [{"author": {"name": text}}]}),
                &["embeds", "0", "author", "name"],
            ),
        ];
        for (most, message, path) in cases {
            assert_eq!(check(By::Webhook, &object(message(text(most))), false), Ok(()), "{path:?}");
            let found = errors(message(text(most + 1)));
            let at = path.iter().fold(&found, |at, step| &at[*step]);
            assert_eq!(*at, too_long(most), "{path:?}");
        }
    }

    #[test]
    fn embeds_and_their_fields_are_counted() {
        let embeds = |count: usize| json!({"embeds": vec![json!({"title": "a"}); count]});
        assert_eq!(check(By::Bot, &object(embeds(10)), false), Ok(()));
        assert_eq!(errors(embeds(11))["embeds"], too_long(10));
        let fields =
            |count: usize| json!({"embeds": [{"fields": vec![json!({"name": "a", "value": "b"}); count]}]});
        assert_eq!(check(By::Bot, &object(fields(25)), false), Ok(()));
        assert_eq!(errors(fields(26))["embeds"]["0"]["fields"], too_long(25));
        let whole = |last: usize| {
            json!({"embeds": [{"description": "a".repeat(3000)}, {"description": "a".repeat(2900),
                "footer": {"text": "a".repeat(last)}}]})
        };
        assert_eq!(check(By::Bot, &object(whole(100)), false), Ok(()));
        assert_eq!(errors(whole(101))["embeds"]["_errors"][0]["code"], "MAX_EMBED_SIZE_EXCEEDED");
    }

    #[test]
    fn a_form_that_is_wrong_in_several_places_says_all_of_them() {
        let found = errors(json!({"content": 1, "embeds": [{
            "url": "ftp://a", "color": 0x100_0000, "timestamp": "today", "fields": [{"name": " "}],
        }]}));
        assert_eq!(found["content"]["_errors"][0]["code"], "STRING_TYPE_CONVERT");
        let embed = &found["embeds"]["0"];
        assert_eq!(embed["url"]["_errors"][0]["code"], "URL_TYPE_INVALID_SCHEME");
        assert_eq!(embed["color"]["_errors"][0]["code"], "NUMBER_TYPE_MAX");
        assert_eq!(embed["timestamp"]["_errors"][0]["code"], "DATE_TIME_TYPE_PARSE");
        for name in ["name", "value"] {
            assert_eq!(embed["fields"]["0"][name]["_errors"][0]["code"], "BASE_TYPE_REQUIRED");
        }
    }

    #[test]
    fn a_message_says_something() {
        for message in [json!({}), json!({"content": " \n"}), json!({"content": "", "embeds": []})] {
            assert_eq!(check(By::Bot, &object(message), false).unwrap_err().code, 50006);
        }
        assert_eq!(check(By::Bot, &object(json!({"embeds": []})), true), Ok(()));
    }

    #[test]
    fn what_could_ping_or_hides_itself_is_a_violation() {
        let silent = json!({"parse": []});
        assert!(violations(By::Bot, &object(json!({"content": "a", "allowed_mentions": silent}))).is_empty());
        for (message, said) in [
            (json!({"content": "a"}), "no allowed_mentions"),
            (json!({"content": "a", "allowed_mentions": {}}), "could ping"),
            (json!({"content": "a", "allowed_mentions": {"parse": ["everyone"]}}), "could ping"),
            (json!({"content": "a", "allowed_mentions": {"parse": [], "users": ["1"]}}), "could ping"),
            (json!({"embeds": [{"title": "a"}], "allowed_mentions": silent, "flags": 4}), "its own embeds"),
            (json!({"embeds": [{"titel": "a"}], "allowed_mentions": silent}), "field titel"),
            (json!({"content": "a", "nonce": "1", "allowed_mentions": silent}), "field nonce"),
        ] {
            let found = violations(By::Webhook, &object(message));
            assert!(found.len() == 1 && found[0].contains(said), "{said}: {found:?}");
        }
    }
}
