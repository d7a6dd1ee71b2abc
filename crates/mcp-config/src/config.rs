//! The configuration as types, and the rules about its shape. The agent CLI drops what breaks them without a word: a server
//! without its `command`, a `url` without `type`, a field it does not know. Here each is a [`Problem`].

use crate::problem::Problem;
use crate::references::Sink;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The document that the agent CLI reads: `{"mcpServers":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    /// By name: its tools are called `mcp__NAME__TOOL`.
    pub(crate) mcp_servers: BTreeMap<String, Server>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Server {
    /// A program that is started and spoken to over its standard streams.
    Stdio(Stdio),
    /// A server at a URL.
    Remote(Remote),
}

/// A program that is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stdio {
    /// Always `stdio`.
    #[serde(rename = "type")]
    pub(crate) transport: StdioType,
    /// The program.
    pub(crate) command: String,
    /// Its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<String>,
    /// Set on top of the agent's environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: BTreeMap<String, String>,
    /// Every server's.
    #[serde(flatten)]
    pub(crate) tuning: Tuning,
}

/// The only value of [`Stdio::transport`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StdioType {
    /// `stdio`.
    Stdio,
}

/// A server at a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remote {
    /// How it is spoken to.
    #[serde(rename = "type")]
    pub(crate) transport: RemoteType,
    /// Where it is.
    pub(crate) url: String,
    /// Sent with every request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// Every server's.
    #[serde(flatten)]
    pub(crate) tuning: Tuning,
}

/// How a server at a URL is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RemoteType {
    /// Streamable HTTP, of the protocol since 2025-03-26.
    Http,
    /// HTTP with server-sent events, of the protocol 2024-11-05.
    Sse,
}

/// What every server can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tuning {
    /// How long a call of a tool may take, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<u64>,
    /// Keeps the tools in the prompt from the first turn on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) always_load: Option<bool>,
}

/// One text of a server that the agent CLI expands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'c> {
    /// Its field: `command`, `args`, `env`, `url`, `headers`.
    pub(crate) field: &'static str,
    /// Its key or index in that field.
    pub(crate) key: Option<Key<'c>>,
    /// The text.
    pub(crate) text: &'c str,
}

/// Where in a field a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key<'c> {
    /// In a map.
    Name(&'c str),
    /// In a list.
    Index(usize),
}

impl Text<'_> {
    /// `headers.Authorization`, `args[2]`, `url`.
    pub(crate) fn path(&self) -> String {
        match self.key {
            None => self.field.to_owned(),
            Some(Key::Name(name)) => format!("{}.{name}", self.field),
            Some(Key::Index(index)) => format!("{}[{index}]", self.field),
        }
    }
}

impl Server {
    /// Every text of it that is expanded.
    pub(crate) fn texts(&self) -> Vec<Text<'_>> {
        fn entries<'c>(
            field: &'static str,
            map: &'c BTreeMap<String, String>,
        ) -> impl Iterator<Item = Text<'c>> {
            map.iter().map(move |(key, text)| Text { field, key: Some(Key::Name(key)), text })
        }
        match self {
            Self::Stdio(server) => {
                std::iter::once(Text { field: "command", key: None, text: &server.command })
                    .chain(server.args.iter().enumerate().map(|(index, text)| Text {
                        field: "args",
                        key: Some(Key::Index(index)),
                        text,
                    }))
                    .chain(entries("env", &server.env))
                    .collect()
            }
            Self::Remote(server) => std::iter::once(Text { field: "url", key: None, text: &server.url })
                .chain(entries("headers", &server.headers))
                .collect(),
        }
    }

    /// Where its texts go.
    pub(crate) fn sink(&self) -> Sink {
        match self {
            Self::Stdio(_) => Sink::Local,
            Self::Remote(_) => Sink::Remote,
        }
    }
}

/// The configuration in `document`, as far as it has a shape, and what has none.
pub(crate) fn read(document: &Value) -> (Config, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut config = Config::default();
    for (name, server) in entries(document, &mut problems) {
        if let Some(why) = bad_name(name) {
            problems.push(Problem::of(name, "", why));
        }
        let Value::Object(fields) = server else {
            problems.push(Problem::of(name, "", format!("is {}, not an object", kind(server))));
            continue;
        };
        let mut reader = Fields { name, fields, problems: &mut problems };
        if let Some(server) = reader.server() {
            config.mcp_servers.insert(name.clone(), server);
        }
    }
    (config, problems)
}

/// The servers in `document`, by name, whatever they are.
pub(crate) fn entries<'d>(document: &'d Value, problems: &mut Vec<Problem>) -> Vec<(&'d String, &'d Value)> {
    let Value::Object(top) = document else {
        problems.push(Problem::around(
            "",
            format!("it is {}, not an object {{\"mcpServers\":{{…}}}}", kind(document)),
        ));
        return Vec::new();
    };
    for key in top.keys().filter(|key| *key != "mcpServers") {
        problems.push(Problem::around(key, "unknown: mcpServers is the only field"));
    }
    match top.get("mcpServers") {
        Some(Value::Object(servers)) => servers.iter().collect(),
        Some(other) => {
            problems.push(Problem::around("mcpServers", format!("is {}, not an object", kind(other))));
            Vec::new()
        }
        None => {
            problems.push(Problem::around("mcpServers", "missing"));
            Vec::new()
        }
    }
}

/// Why tools cannot be named after a server of this name.
fn bad_name(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() {
        return Some("the name is empty".to_owned());
    }
    if let Some(bad) = name.chars().find(|&c| !allowed(c)) {
        return Some(format!(
            "the name holds {bad:?}: letters, digits, '-' and '_' only, for its tools are called mcp__NAME__TOOL"
        ));
    }
    name.contains("__")
        .then(|| "the name holds '__', which parts the name from the tool in mcp__NAME__TOOL".to_owned())
}

/// What JSON calls it, with an article.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

const EVERY: &[&str] = &["type", "timeout", "alwaysLoad"];
const STDIO: &[&str] = &["command", "args", "env"];
const REMOTE: &[&str] = &["url", "headers"];

/// Reads one server's fields, and notes what is wrong with them.
struct Fields<'a> {
    name: &'a str,
    fields: &'a Map<String, Value>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Fields<'a> {
    fn wrong(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Problem::of(self.name, field, what));
    }

    fn server(&mut self) -> Option<Server> {
        let has = |field: &str| self.fields.contains_key(field);
        let (has_command, has_url) = (has("command"), has("url"));
        let declared = match self.fields.get("type") {
            None => None,
            Some(Value::String(declared)) => Some(declared.as_str()),
            Some(other) => {
                self.wrong("type", format!("is {}, not a string", kind(other)));
                return None;
            }
        };
        let transport = match declared {
            Some("stdio") => None,
            Some("http" | "streamable-http") => Some(RemoteType::Http),
            Some("sse") => Some(RemoteType::Sse),
            Some(other) => {
                self.wrong("type", format!("is {other:?}: one of \"stdio\", \"http\", \"sse\""));
                return None;
            }
            None if has_url && !has_command => {
                self.wrong(
                    "type",
                    "missing: beside a url it must be \"http\" or \"sse\", or the server is dropped",
                );
                Some(RemoteType::Http)
            }
            None => None,
        };
        self.unknown(transport.is_some());
        let tuning = self.tuning();
        match transport {
            None => {
                let command = self.required("command", "the program to start");
                let (args, env) = (self.list("args"), self.map("env"));
                Some(Server::Stdio(Stdio {
                    transport: StdioType::Stdio,
                    command: command?,
                    args,
                    env,
                    tuning,
                }))
            }
            Some(transport) => {
                let url = self.required("url", "where the server is");
                let headers = self.map("headers");
                Some(Server::Remote(Remote { transport, url: url?, headers, tuning }))
            }
        }
    }

    fn unknown(&mut self, remote: bool) {
        let (own, other, others_name) =
            if remote { (REMOTE, STDIO, "stdio") } else { (STDIO, REMOTE, "http or sse") };
        for field in self.fields.keys() {
            let field = field.as_str();
            if own.contains(&field) || EVERY.contains(&field) {
                continue;
            }
            let what = match field {
                _ if other.contains(&field) => format!("belongs to a server of type {others_name}"),
                "oauth" => "needs a person at a browser: give the token in headers, as \"Bearer ${TOKEN}\""
                    .to_owned(),
                "headersHelper" => {
                    "runs a program for the headers: give them in headers, as \"Bearer ${TOKEN}\"".to_owned()
                }
                _ => format!("unknown: the fields are {}, {}", own.join(", "), EVERY.join(", ")),
            };
            self.wrong(field, what);
        }
    }

    fn tuning(&mut self) -> Tuning {
        let timeout = match self.fields.get("timeout") {
            None => None,
            Some(value) => {
                let timeout = value.as_u64().filter(|&timeout| timeout > 0);
                if timeout.is_none() {
                    self.wrong("timeout", "is not a whole number of milliseconds above 0");
                }
                timeout
            }
        };
        let always_load = match self.fields.get("alwaysLoad") {
            None => None,
            Some(Value::Bool(value)) => Some(*value),
            Some(other) => {
                self.wrong("alwaysLoad", format!("is {}, not true or false", kind(other)));
                None
            }
        };
        Tuning { timeout, always_load }
    }

    fn required(&mut self, field: &str, meaning: &str) -> Option<String> {
        let what = match self.fields.get(field) {
            Some(Value::String(text)) if text.contains('\0') => "holds a NUL character".to_owned(),
            Some(Value::String(text)) if !text.trim().is_empty() => return Some(text.clone()),
            Some(Value::String(_)) => format!("is empty: it is {meaning}"),
            Some(other) => format!("is {}, not a string", kind(other)),
            None => format!("missing: it is {meaning}; without it the server is dropped"),
        };
        self.wrong(field, what);
        None
    }

    fn text(&mut self, path: String, value: &Value) -> Option<String> {
        match value {
            Value::String(text) if text.contains('\0') => self.wrong(path, "holds a NUL character"),
            Value::String(text) => return Some(text.clone()),
            other => self.wrong(path, format!("is {}, not a string", kind(other))),
        }
        None
    }

    fn list(&mut self, field: &str) -> Vec<String> {
        let fields: &'a Map<String, Value> = self.fields;
        match fields.get(field) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| self.text(format!("{field}[{index}]"), item))
                .collect(),
            Some(other) => {
                self.wrong(field, format!("is {}, not a list of strings", kind(other)));
                Vec::new()
            }
        }
    }

    fn map(&mut self, field: &str) -> BTreeMap<String, String> {
        let fields: &'a Map<String, Value> = self.fields;
        let entries = match fields.get(field) {
            None => return BTreeMap::new(),
            Some(Value::Object(entries)) => entries,
            Some(other) => {
                self.wrong(field, format!("is {}, not an object of strings", kind(other)));
                return BTreeMap::new();
            }
        };
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let path = format!("{field}.{key}");
            if field == "headers" && http::HeaderName::try_from(key.as_str()).is_err() {
                self.wrong(path.clone(), "is no name for a header");
            }
            if field == "env" && (key.is_empty() || key.contains(['=', '\0'])) {
                self.wrong(path.clone(), "is no name for a variable");
            }
            if let Some(text) = self.text(path.clone(), value) {
                if field == "headers" && text.chars().any(char::is_control) {
                    self.wrong(path, "holds a line break or another control character");
                    continue;
                }
                map.insert(key.clone(), text);
            }
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(server: &Value) -> Vec<String> {
        let (_, problems) = read(&json!({"mcpServers": {"s": server}}));
        let mut told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        told.sort();
        told.into_iter().map(|text| text.replacen("server 's', ", "", 1)).collect()
    }

    /// P4
    #[test]
    fn what_the_agent_cli_drops_in_silence_is_named() {
        for (server, expected) in [
            (json!({"type": "http"}), "field 'url': missing"),
            (json!({"type": "sse"}), "field 'url': missing"),
            (json!({"type": "http", "url": ""}), "field 'url': is empty"),
            (json!({"type": "http", "url": 3}), "field 'url': is a number, not a string"),
            (json!({"url": "https://x/"}), "field 'type': missing"),
            (json!({}), "field 'command': missing"),
            (json!({"type": "stdio"}), "field 'command': missing"),
            (json!({"command": ""}), "field 'command': is empty"),
            (json!({"command": ["x"]}), "field 'command': is a list, not a string"),
            (json!({"command": "x", "args": "y"}), "field 'args': is a string, not a list of strings"),
            (json!({"command": "x", "args": ["y", 2]}), "field 'args[1]': is a number, not a string"),
            (json!({"command": "x", "env": ["A=b"]}), "field 'env': is a list, not an object of strings"),
            (json!({"command": "x", "env": {"A": 1}}), "field 'env.A': is a number, not a string"),
            (json!({"command": "x", "env": {"A=B": "1"}}), "field 'env.A=B': is no name for a variable"),
            (json!({"command": "x", "timeout": 0}), "field 'timeout': is not a whole number"),
            (json!({"command": "x", "timeout": 1.5}), "field 'timeout': is not a whole number"),
            (
                json!({"command": "x", "alwaysLoad": "yes"}),
                "field 'alwaysLoad': is a string, not true or false",
            ),
            (
                json!({"command": "x", "cmd": 1}),
                "field 'cmd': unknown: the fields are command, args, env, type",
            ),
            (
                json!({"command": "x", "url": "https://x"}),
                "field 'url': belongs to a server of type http or sse",
            ),
            (
                json!({"type": "http", "url": "https://x", "args": []}),
                "field 'args': belongs to a server of type stdio",
            ),
            (json!({"type": "http", "url": "https://x", "oauth": {}}), "field 'oauth': needs a person"),
            (
                json!({"type": "http", "url": "https://x", "headers": {"a b": "c"}}),
                "field 'headers.a b': is no name",
            ),
            (
                json!({"type": "http", "url": "https://x", "headers": {"a": "c\nd: e"}}),
                "field 'headers.a': holds a line",
            ),
            (json!({"type": "websocket", "url": "wss://x"}), "field 'type': is \"websocket\": one of"),
            (json!({"type": 1}), "field 'type': is a number, not a string"),
            (json!({"command": "a\0b"}), "field 'command': holds a NUL"),
            (json!(null), "server 's': is null, not an object"),
            (json!([]), "server 's': is a list, not an object"),
        ] {
            let told = told(&server);
            assert_eq!(told.len(), 1, "{server}: {told:?}");
            assert!(told[0].starts_with(expected), "{server}: {told:?}");
        }
    }

    #[test]
    fn names_that_break_the_names_of_tools_are_refused() {
        let told = |name: &str| {
            let (_, problems) = read(&json!({"mcpServers": {name: {"command": "x"}}}));
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for name in ["", "a b", "a.b", "a/b", "é", "a__b"] {
            assert_eq!(told(name).len(), 1, "{name:?}");
        }
        for name in ["a", "a-b", "a_b", "A9", "_"] {
            assert!(told(name).is_empty(), "{name:?}");
        }
    }

    #[test]
    fn the_document_around_the_servers_is_checked_too() {
        let told = |document: Value| read(&document).1.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told(json!({})), ["field 'mcpServers': missing"]);
        assert_eq!(told(json!({"mcpServers": []})), ["field 'mcpServers': is a list, not an object"]);
        assert_eq!(
            told(json!({"mcpservers": {}})),
            ["field 'mcpservers': unknown: mcpServers is the only field", "field 'mcpServers': missing"]
        );
        assert_eq!(told(json!("x")), ["it is a string, not an object {\"mcpServers\":{…}}"]);
        assert!(told(json!({"mcpServers": {}})).is_empty());
    }

    #[test]
    fn what_is_right_is_written_as_it_was_read() {
        let document = json!({"mcpServers": {
            "local": {"type": "stdio", "command": "/bin/x", "args": ["a"], "env": {"T": "${T}"}, "timeout": 5, "alwaysLoad": true},
            "web": {"type": "http", "url": "https://x/", "headers": {"Authorization": "Bearer ${T}"}},
            "old": {"type": "sse", "url": "https://y/"},
        }});
        let (config, problems) = read(&document);
        assert!(problems.is_empty());
        assert_eq!(serde_json::to_value(config).unwrap(), document);
    }
}
