//! What a request for a message says, held to the API's rules: <https://platform.claude.com/docs/en/api/messages>.

use serde::Deserialize;
use serde_json::Value;

/// A request that keeps the rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) streaming: bool,
    /// The system prompt.
    pub(super) system: String,
    /// The names of the tools that the model may call.
    pub(super) tools: Vec<String>,
    /// Whether the answer is to be JSON of a given schema.
    pub(super) wants_json: bool,
    /// How many messages the model wrote in this conversation.
    pub(super) turns: usize,
    /// What the user asked first, without what the client adds.
    pub(super) task: String,
    /// The results of the calls in the model's last message, in the order of the calls; a line feed between two.
    pub(super) results: String,
}

#[derive(Deserialize)]
struct Body {
    model: String,
    #[serde(default)]
    max_tokens: Option<u64>,
    messages: Vec<Message>,
    #[serde(default)]
    system: Option<Content>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    output_config: Value,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Message {
    role: Role,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
    /// In the middle of a conversation: instructions of the client.
    System,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    tool_use_id: Option<String>,
    #[serde(default)]
    content: Option<Content>,
}

impl Content {
    fn blocks(&self) -> &[Block] {
        match self {
            Self::Text(_) => &[],
            Self::Blocks(blocks) => blocks,
        }
    }

    /// All texts, with a line feed between two.
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Blocks(blocks) => {
                blocks.iter().filter_map(|block| block.text.as_deref()).collect::<Vec<_>>().join("\n")
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Blocks(blocks) => blocks.is_empty(),
        }
    }

    /// The text of the result of one call.
    fn result(&self, id: &str) -> Option<String> {
        let result = self.blocks().iter().find(|block| block.tool_use_id.as_deref() == Some(id))?;
        Some(result.content.as_ref().map(Self::text).unwrap_or_default())
    }

    fn ids(&self, kind: &str) -> Vec<&str> {
        let of_kind = self.blocks().iter().filter(|block| block.kind == kind);
        of_kind.filter_map(|block| block.id.as_deref().or(block.tool_use_id.as_deref())).collect()
    }
}

/// Reads a request's body. `answers` is whether a message is wanted, or only the number of tokens.
///
/// # Errors
/// What the API would say.
pub(super) fn read(body: &[u8], answers: bool) -> Result<Asked, String> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not what it should be: {error}"))?;
    if body.model.is_empty() {
        return Err("model: String should have at least 1 character".to_owned());
    }
    match body.max_tokens {
        None if answers => return Err("max_tokens: Field required".to_owned()),
        Some(0) => return Err("max_tokens: Input should be greater than or equal to 1".to_owned()),
        _ => (),
    }
    if let Some(index) = body.messages.iter().position(|message| message.content.is_empty()) {
        return Err(format!("messages.{index}: all messages must have non-empty content"));
    }
    let said: Vec<(usize, &Message)> =
        body.messages.iter().enumerate().filter(|(_, message)| message.role != Role::System).collect();
    let Some((_, first)) = said.first() else {
        return Err("messages: at least one message is required".to_owned());
    };
    if first.role != Role::User {
        return Err("messages: first message must use the \"user\" role".to_owned());
    }
    let results = calls_are_answered(&said)?;
    Ok(Asked {
        streaming: body.stream,
        system: body.system.as_ref().map(Content::text).unwrap_or_default(),
        tools: body.tools.into_iter().map(|tool| tool.name).collect(),
        wants_json: body.output_config.get("format").is_some_and(|format| !format.is_null()),
        turns: said.iter().filter(|(_, message)| message.role == Role::Assistant).count(),
        task: task(&first.content),
        results,
        model: body.model,
    })
}

/// Every call of a message is answered in the very next one, once, and nothing else is; the results of the last one.
fn calls_are_answered(said: &[(usize, &Message)]) -> Result<String, String> {
    let mut called: Vec<&str> = Vec::new();
    let mut results = Vec::new();
    for (index, message) in said {
        match message.role {
            Role::User => {
                let answered = message.content.ids("tool_result");
                for id in &answered {
                    if !called.contains(id) {
                        return Err(format!(
                            "messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each \
                             `tool_result` block must have a corresponding `tool_use` block in the previous message."
                        ));
                    }
                    if answered.iter().filter(|other| *other == id).count() > 1 {
                        return Err(format!(
                            "messages.{index}: each tool_use must have a single result. Found multiple \
                             `tool_result` blocks with id: {id}"
                        ));
                    }
                }
                if !answered.is_empty() {
                    // A client gives the results as they came in.
                    results = called.iter().filter_map(|id| message.content.result(id)).collect();
                }
                called.retain(|id| !answered.contains(id));
                unanswered(*index, &called)?;
            }
            Role::Assistant => {
                unanswered(*index, &called)?;
                results = Vec::new();
                called = message.content.ids("tool_use");
            }
            Role::System => (),
        }
    }
    match said.last() {
        Some((index, message)) if message.role == Role::Assistant => {
            unanswered(*index, &called)?;
            Err("This model does not support assistant message prefill. The conversation must end with a user \
                 message."
                .to_owned())
        }
        _ => Ok(results.join("\n")),
    }
}

fn unanswered(index: usize, called: &[&str]) -> Result<(), String> {
    if called.is_empty() {
        return Ok(());
    }
    Err(format!(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each \
         `tool_use` block must have a corresponding `tool_result` block in the next message.",
        called.join(", ")
    ))
}

/// What the user wrote: the agent CLI puts blocks of its own before it.
fn task(first: &Content) -> String {
    match first {
        Content::Text(text) => text.clone(),
        Content::Blocks(blocks) => {
            let texts = blocks.iter().filter_map(|block| block.text.as_deref());
            let mut own = texts.filter(|text| !text.trim_start().starts_with("<system-reminder>"));
            own.next_back().unwrap_or_default().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_messages(messages: &Value) -> Result<Asked, String> {
        let body = json!({"model": "m", "max_tokens": 10, "messages": messages});
        read(body.to_string().as_bytes(), true)
    }

    fn call(ids: &[&str]) -> Value {
        let calls: Vec<_> =
            ids.iter().map(|id| json!({"type": "tool_use", "id": id, "name": "Bash", "input": {}})).collect();
        json!({"role": "assistant", "content": calls})
    }

    fn result(ids: &[&str]) -> Value {
        let results: Vec<_> = ids
            .iter()
            .map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": format!("of {id}")}))
            .collect();
        json!({"role": "user", "content": results})
    }

    #[test]
    fn a_conversation_is_read() {
        let user = json!({"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>be good</system-reminder>"},
            {"type": "text", "text": "write"},
        ]});
        let system = json!({"role": "system", "content": "tools changed"});
        let asked = read_messages(&json!([
            user,
            system,
            call(&["a"]),
            result(&["a"]),
            call(&["b", "c"]),
            result(&["c", "b"]),
            system
        ]))
        .unwrap();
        assert_eq!((asked.turns, asked.task.as_str()), (2, "write"));
        assert_eq!(asked.results, "of b\nof c");
    }

    #[test]
    fn a_call_without_its_result_is_refused_and_so_is_a_result_without_its_call() {
        let user = json!({"role": "user", "content": "write"});
        for (messages, said) in [
            (json!([user, call(&["a"]), user]), "`tool_use` ids were found without `tool_result` blocks"),
            (json!([user, call(&["a", "b"]), result(&["a"])]), "immediately after: b."),
            (json!([user, call(&["a"]), call(&["b"]), result(&["b"])]), "immediately after: a."),
            (json!([user, call(&["a"])]), "immediately after: a."),
            (json!([user, result(&["a"])]), "unexpected `tool_use_id`"),
            (json!([user, call(&["a"]), result(&["a", "a"])]), "a single result"),
            (json!([user, {"role": "assistant", "content": "hm"}]), "prefill"),
            (json!([{"role": "assistant", "content": "hm"}, user]), "first message"),
            (json!([{"role": "user", "content": ""}]), "non-empty"),
            (json!([]), "at least one message"),
            (json!([{"role": "tool", "content": "hm"}]), "unknown variant `tool`"),
        ] {
            let error = read_messages(&messages).unwrap_err();
            assert!(error.contains(said), "{messages}: {error}");
        }
    }
}
