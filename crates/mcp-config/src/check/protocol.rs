//! The handshake of the Model Context Protocol, whatever carries it: `initialize`, `notifications/initialized`, `tools/list` page
//! after page.

use agent_task::Exit;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The version that is asked for: that of the agent CLI (Claude Code 2.1.330).
pub(crate) const ASKED_FOR: &str = "2025-11-25";

/// The versions that the agent CLI can speak. It drops a server that answers with another.
const SPOKEN: &[&str] = &[ASKED_FOR, "2025-06-18", "2025-03-26", "2024-11-05", "2024-10-07"];

/// A server that goes on giving pages is in a loop.
const PAGES_MAX: usize = 100;

/// Why a server does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Failure {
    /// It does not work, and will not.
    pub(crate) fn dead(text: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, text: text.into() }
    }

    /// It could not be reached, or said that it is busy.
    pub(crate) fn unreachable(text: impl Into<String>) -> Self {
        Self { exit: Exit::Retry, text: text.into() }
    }

    /// It refuses the credentials.
    pub(crate) fn denied(text: impl Into<String>) -> Self {
        Self { exit: Exit::Denied, text: text.into() }
    }
}

/// What is known of a server so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) protocol_version: Option<String>,
    pub(crate) server_info: Option<Value>,
    pub(crate) tools: Vec<String>,
    pub(crate) start: Option<Duration>,
    pub(crate) tools_took: Option<Duration>,
}

/// Carries messages to a server and back.
pub(crate) trait Wire {
    /// Sends the request `message`, whose id is `id`, and waits for the response with that id.
    ///
    /// # Errors
    /// Where there is none in time.
    fn ask(&mut self, id: u64, message: &Value) -> Result<Value, Failure>;

    /// Sends a message that has no answer.
    ///
    /// # Errors
    /// Where it cannot be sent.
    fn tell(&mut self, message: &Value) -> Result<(), Failure>;

    /// The version that both speak from here on.
    fn agreed(&mut self, _version: &str) {}
}

/// Speaks to a server until its tools are known. `found` has what came before a failure. `began` is when it was started.
///
/// # Errors
/// The first thing that went wrong.
pub(crate) fn shake_hands(wire: &mut impl Wire, began: Instant, found: &mut Found) -> Result<(), Failure> {
    let client = json!({"name": "mcp-config", "version": env!("CARGO_PKG_VERSION")});
    let hello = json!({"protocolVersion": ASKED_FOR, "capabilities": {}, "clientInfo": client});
    let answer = ask(wire, 0, "initialize", &hello)?;
    found.start = Some(began.elapsed());
    let version = answer["protocolVersion"]
        .as_str()
        .ok_or_else(|| Failure::dead("it answered initialize without a protocolVersion"))?;
    found.protocol_version = Some(shortened(version));
    found.server_info = answer.get("serverInfo").cloned().map(|info| bounded(&info));
    if !SPOKEN.contains(&version) {
        return Err(Failure::dead(format!(
            "it speaks version {} of the protocol, and the agent CLI speaks {}",
            shortened(version),
            SPOKEN.join(", ")
        )));
    }
    wire.agreed(version);
    let listing = Instant::now();
    wire.tell(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
    if answer["capabilities"].get("tools").is_some() {
        found.tools = tools(wire)?;
    }
    found.tools_took = Some(listing.elapsed());
    if found.tools.is_empty() {
        return Err(Failure::dead("it has no tools"));
    }
    Ok(())
}

fn tools(wire: &mut impl Wire) -> Result<Vec<String>, Failure> {
    let mut tools = Vec::new();
    let mut parameters = json!({});
    for page in 1..=PAGES_MAX {
        let id = u64::try_from(page).unwrap_or(u64::MAX);
        let answer = ask(wire, id, "tools/list", &parameters)?;
        let listed = answer["tools"]
            .as_array()
            .ok_or_else(|| Failure::dead("it answered tools/list without a list of tools"))?;
        for tool in listed {
            let name =
                tool["name"].as_str().ok_or_else(|| Failure::dead("it listed a tool without a name"))?;
            tools.push(shortened(name));
        }
        match &answer["nextCursor"] {
            Value::String(cursor) => parameters = json!({"cursor": cursor}),
            Value::Null => return Ok(tools),
            _ => return Err(Failure::dead("it answered tools/list with a nextCursor that is no text")),
        }
    }
    Err(Failure::dead(format!("it lists tools without an end: {PAGES_MAX} pages were read")))
}

fn ask(wire: &mut impl Wire, id: u64, method: &str, parameters: &Value) -> Result<Value, Failure> {
    let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters});
    let mut answer = wire.ask(id, &message)?;
    if let Some(error) = answer.get("error") {
        let text = error["message"].as_str().unwrap_or("no message");
        return Err(Failure::dead(format!(
            "it answered {method} with error {}: {}",
            error["code"].as_i64().map_or_else(|| "without a code".to_owned(), |code| code.to_string()),
            shortened(text)
        )));
    }
    match answer.get_mut("result").map(Value::take) {
        Some(result @ Value::Object(_)) => Ok(result),
        _ => Err(Failure::dead(format!("its answer to {method} has no result"))),
    }
}

/// What a message from a server is to us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The response that is waited for.
    Answer(Value),
    /// A request; this is the response to it.
    Asks(Value),
    /// A notification, or the response to something else.
    Nothing,
    /// No message of the protocol.
    Noise,
}

/// Reads a message, where the response with `id` is waited for.
pub(crate) fn meaning(message: Value, id: u64) -> Meaning {
    if !message.is_object() {
        return Meaning::Noise;
    }
    let has = |field: &str| message.get(field).is_some();
    if has("method") {
        return match message.get("id") {
            Some(asked) if message["method"] == "ping" => {
                Meaning::Asks(json!({"jsonrpc": "2.0", "id": asked, "result": {}}))
            }
            Some(asked) => {
                let error = json!({"code": -32601, "message": "not offered by this client"});
                Meaning::Asks(json!({"jsonrpc": "2.0", "id": asked, "error": error}))
            }
            None => Meaning::Nothing,
        };
    }
    match (has("result") || has("error"), message["id"].as_u64()) {
        (true, Some(answered)) if answered == id => Meaning::Answer(message),
        // An error about a message that the server could not read has no id (JSON-RPC 2.0, section 5).
        (true, None) if has("error") && message["id"].is_null() => Meaning::Answer(message),
        (true, _) => Meaning::Nothing,
        (false, _) => Meaning::Noise,
    }
}

/// The messages in one JSON text: one, or (in 2025-03-26) a batch.
pub(crate) fn messages(text: &[u8]) -> Option<Vec<Value>> {
    match serde_json::from_slice(text).ok()? {
        Value::Array(batch) => Some(batch),
        message => Some(vec![message]),
    }
}

/// A text from a server, fit for one line.
pub(crate) fn shortened(text: &str) -> String {
    const MAX: usize = 200;
    let mut short: String = super::printable(text).chars().take(MAX).collect();
    if text.chars().nth(MAX).is_some() {
        short.push('…');
    }
    short
}

/// Of what a server says about itself: name, title and version.
fn bounded(info: &Value) -> Value {
    let known = ["name", "title", "version"];
    known
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), shortened(info.get(field)?.as_str()?).into())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with what it was given, and notes what it was told.
    struct Script {
        answers: Vec<Value>,
        heard: Vec<Value>,
    }

    impl Wire for Script {
        fn ask(&mut self, id: u64, message: &Value) -> Result<Value, Failure> {
            self.heard.push(message.clone());
            assert_eq!(message["id"], id);
            if self.answers.is_empty() {
                return Err(Failure::dead("nothing more"));
            }
            Ok(self.answers.remove(0))
        }

        fn tell(&mut self, message: &Value) -> Result<(), Failure> {
            self.heard.push(message.clone());
            Ok(())
        }
    }

    fn hello() -> Value {
        json!({"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "n", "secret": 1}}})
    }

    fn shaken(answers: Vec<Value>) -> (Result<(), String>, Found, Vec<Value>) {
        let mut script = Script { answers, heard: Vec::new() };
        let mut found = Found::default();
        let result = shake_hands(&mut script, Instant::now(), &mut found).map_err(|failure| failure.text);
        (result, found, script.heard)
    }

    /// P4
    #[test]
    fn every_page_of_tools_is_read() {
        let (result, found, heard) = shaken(vec![
            hello(),
            json!({"result": {"tools": [{"name": "a"}], "nextCursor": "2"}}),
            json!({"result": {"tools": [{"name": "b"}]}}),
        ]);
        assert_eq!(result, Ok(()));
        assert_eq!(found.tools, ["a", "b"]);
        assert_eq!(found.protocol_version.as_deref(), Some("2025-06-18"));
        assert_eq!(found.server_info, Some(json!({"name": "n"})));
        let methods: Vec<&str> = heard.iter().map(|message| message["method"].as_str().unwrap()).collect();
        assert_eq!(methods, ["initialize", "notifications/initialized", "tools/list", "tools/list"]);
        assert_eq!(heard[3]["params"]["cursor"], "2");
    }

    #[test]
    fn an_answer_that_the_cli_could_not_use_is_a_failure() {
        let other = json!({"result": {"protocolVersion": "1999-01-01", "capabilities": {"tools": {}}}});
        let nothing = json!({"result": {"protocolVersion": ASKED_FOR, "capabilities": {}}});
        let refused = json!({"error": {"code": -32603, "message": "no\nbrowser"}});
        for (answers, expected) in [
            (
                vec![other],
                "it speaks version 1999-01-01 of the protocol, and the agent CLI speaks 2025-11-25",
            ),
            (vec![nothing], "it has no tools"),
            (vec![refused], "it answered initialize with error -32603: no\u{fffd}browser"),
            (vec![json!({"result": 1})], "its answer to initialize has no result"),
            (vec![json!({"result": {}})], "it answered initialize without a protocolVersion"),
            (vec![hello(), json!({"result": {}})], "it answered tools/list without a list of tools"),
            (vec![hello(), json!({"result": {"tools": [{}]}})], "it listed a tool without a name"),
            (
                vec![hello(), json!({"result": {"tools": [], "nextCursor": 1}})],
                "it answered tools/list with a nextCursor",
            ),
        ] {
            let (result, ..) = shaken(answers);
            let text = result.unwrap_err();
            assert!(text.starts_with(expected), "{text}");
        }
    }

    #[test]
    fn a_list_without_an_end_is_given_up() {
        let mut answers = vec![hello()];
        answers
            .extend((0..200).map(|_| json!({"result": {"tools": [{"name": "a"}], "nextCursor": "again"}})));
        assert!(shaken(answers).0.unwrap_err().starts_with("it lists tools without an end"));
    }

    #[test]
    fn messages_are_told_apart() {
        let answer = json!({"id": 3, "result": {}});
        assert_eq!(meaning(answer.clone(), 3), Meaning::Answer(answer));
        assert_eq!(meaning(json!({"id": 4, "result": {}}), 3), Meaning::Nothing);
        assert_eq!(meaning(json!({"method": "notifications/message"}), 3), Meaning::Nothing);
        assert_eq!(
            meaning(json!({"id": "x", "method": "ping"}), 3),
            Meaning::Asks(json!({"jsonrpc": "2.0", "id": "x", "result": {}}))
        );
        assert!(matches!(meaning(json!({"id": 3, "method": "roots/list"}), 3), Meaning::Asks(_)));
        assert!(matches!(meaning(json!({"id": null, "error": {"code": -32700}}), 3), Meaning::Answer(_)));
        for noise in [json!("text"), json!({"level": "info"}), json!(1)] {
            assert_eq!(meaning(noise, 3), Meaning::Noise);
        }
    }
}
