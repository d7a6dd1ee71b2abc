//! The agent CLI's events as what a reader follows: who was at work, what was said, which tool was called with what result.

use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;

const DETAIL_MAX: usize = 4_000;

/// What one agent did until another one was at work.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Act {
    pub(super) agent: String,
    pub(super) steps: Vec<Step>,
}

/// A thing said, or a tool call.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Step {
    Text { text: String },
    Call { tool: String, what: String, input: String, result: String, failed: bool },
}

/// The events, in order. Lines that are none are passed over.
pub(super) fn acts(transcript: &str, main_agent: &str) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    // Of each call: the name of the agent that it started, and where its result belongs.
    let mut started: HashMap<String, String> = HashMap::new();
    let mut open: HashMap<String, (usize, usize)> = HashMap::new();
    for event in transcript.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let agent = match event["parent_tool_use_id"].as_str() {
            Some(call) => started.get(call).cloned().unwrap_or_else(|| "subagent".to_owned()),
            None => main_agent.to_owned(),
        };
        let contents = event["message"]["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        for content in contents {
            match (event["type"].as_str(), content["type"].as_str()) {
                (Some("assistant"), Some("text")) => {
                    let text = content["text"].as_str().unwrap_or_default().trim().to_owned();
                    if !text.is_empty() {
                        act(&mut acts, &agent).steps.push(Step::Text { text });
                    }
                }
                (Some("assistant"), Some("tool_use")) => {
                    let (id, tool, input) = (text(&content["id"]), text(&content["name"]), &content["input"]);
                    if let Some(name) = input["subagent_type"].as_str() {
                        started.insert(id.clone(), name.to_owned());
                    }
                    let step = Step::Call {
                        what: what(input),
                        tool: tool.strip_prefix("mcp__playwright__").unwrap_or(&tool).to_owned(),
                        input: shortened(&serde_json::to_string_pretty(input).unwrap_or_default()),
                        result: String::new(),
                        failed: false,
                    };
                    let act = act(&mut acts, &agent);
                    act.steps.push(step);
                    let last = act.steps.len() - 1;
                    open.insert(id, (acts.len() - 1, last));
                }
                (Some("user"), Some("tool_result")) => {
                    let place = open.remove(&text(&content["tool_use_id"]));
                    if let Some(Step::Call { result, failed, .. }) =
                        place.and_then(|(act, step)| acts.get_mut(act)?.steps.get_mut(step))
                    {
                        *result = shortened(&result_text(&content["content"]));
                        *failed = content["is_error"] == true;
                    }
                }
                _ => (),
            }
        }
    }
    acts
}

fn act<'a>(acts: &'a mut Vec<Act>, agent: &str) -> &'a mut Act {
    if acts.last().is_none_or(|last| last.agent != agent) {
        acts.push(Act { agent: agent.to_owned(), steps: Vec::new() });
    }
    let last = acts.len() - 1;
    &mut acts[last]
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The one part of a call's input that says what it is about.
fn what(input: &Value) -> String {
    let known = ["command", "file_path", "url", "filename", "pattern", "query", "description", "path"];
    if let Some(name) = input["subagent_type"].as_str() {
        return format!("{name}: {}", input["description"].as_str().unwrap_or_default());
    }
    let part = known.iter().find_map(|key| input[key].as_str()).unwrap_or_default();
    part.lines().next().unwrap_or_default().to_owned()
}

/// A result is a text, or parts of which the texts count.
fn result_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<_> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(DETAIL_MAX) {
        Some((end, _)) => format!("{}\n… cut here", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_subagents_work_stands_between_its_callers_and_has_its_results() {
        let events = [
            json!({"type": "system", "subtype": "init"}),
            json!({"type": "assistant", "message": {"content": [{"type": "text", "text": "Now the page."},
                {"type": "tool_use", "id": "a", "name": "Agent",
                 "input": {"subagent_type": "qa", "description": "Look at the page", "prompt": "…"}}]}}),
            json!({"type": "assistant", "parent_tool_use_id": "a", "message": {"content": [
                {"type": "tool_use", "id": "b", "name": "mcp__playwright__browser_navigate", "input": {"url": "http://127.0.0.1:1/"}}]}}),
            json!({"type": "user", "parent_tool_use_id": "a", "message": {"content": [
                {"type": "tool_result", "tool_use_id": "b", "is_error": true, "content": [{"type": "text", "text": "404"}]}]}}),
            json!({"type": "user", "message": {"content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "VERDICT: FAIL: no page"}]}}),
            json!({"type": "result"}),
        ];
        let lines: Vec<_> = events.iter().map(Value::to_string).collect();
        let acts = acts(&format!("{}\nno event\n", lines.join("\n")), "publisher");
        let agents: Vec<_> = acts.iter().map(|act| act.agent.as_str()).collect();
        assert_eq!(agents, ["publisher", "qa"]);
        assert!(matches!(&acts[0].steps[1], Step::Call { what, result, failed: false, .. }
            if what == "qa: Look at the page" && result == "VERDICT: FAIL: no page"));
        assert!(matches!(&acts[1].steps[0], Step::Call { tool, what, result, failed: true, .. }
            if tool == "browser_navigate" && what == "http://127.0.0.1:1/" && result == "404"));
    }

    #[test]
    fn a_long_result_is_cut_between_characters() {
        assert!(shortened(&"ü".repeat(DETAIL_MAX + 1)).ends_with("ü\n… cut here"));
    }
}
