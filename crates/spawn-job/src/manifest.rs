//! Tasks as they stand on stdin: YAML with several documents, JSON, JSON Lines, or the list that `kubectl get -o json` prints.

use agent_task::labels;
use agent_task_crd::{AgentTask, check};
use kube::{Resource as _, ResourceExt as _};
use serde_json::Value;

/// A document that is no task, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Which one, as `document 2 (AgentTask news)`.
    pub place: String,
    /// Everything that is wrong with it, fields by their path.
    pub why: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// Reads all tasks, in order; each that is wrong is told of. Where the text is neither YAML nor JSON, nothing behind the place is read.
#[must_use]
pub fn read(text: &str) -> Vec<Result<AgentTask, Wrong>> {
    let mut tasks = Vec::new();
    for (at, document) in documents(text).into_iter().enumerate() {
        let place = format!("document {}", at + 1);
        match document.map(items) {
            Err(why) => tasks.push(Err(Wrong { place, why })),
            Ok(Ok(items)) => {
                let several = items.len() > 1;
                for (at, item) in items.into_iter().enumerate() {
                    let place = if several { format!("{place}, item {}", at + 1) } else { place.clone() };
                    tasks.push(task(&place, item));
                }
            }
            Ok(Err(document)) => tasks.push(task(&place, document)),
        }
    }
    tasks
}

/// All documents up to the first that cannot be read, which is the last then.
fn documents(text: &str) -> Vec<Result<Value, String>> {
    let mut found = Vec::new();
    let mut bytes = text.as_bytes();
    let read: Box<dyn Iterator<Item = Result<Value, String>>> = if text.trim_start().starts_with('{') {
        let documents = serde_json::Deserializer::from_str(text).into_iter();
        Box::new(documents.map(|document| document.map_err(|error| format!("is no JSON: {error}"))))
    } else {
        let documents = serde_saphyr::read(&mut bytes);
        Box::new(documents.map(|document| document.map_err(|error| format!("is no YAML: {error}"))))
    };
    for document in read {
        let ends = document.is_err();
        found.extend(Some(document).filter(|document| *document != Ok(Value::Null)));
        if ends {
            break;
        }
    }
    found
}

/// The items of a list, as `kubectl get -o json` prints several objects.
fn items(mut document: Value) -> Result<Vec<Value>, Value> {
    let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match document.get_mut("items") {
        Some(Value::Array(items)) if is_list => Ok(std::mem::take(items)),
        _ => Err(document),
    }
}

fn task(place: &str, document: Value) -> Result<AgentTask, Wrong> {
    let kind = document["kind"].as_str().unwrap_or_default().to_owned();
    let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let place = match (kind.as_str(), name.as_str()) {
        ("", _) => place.to_owned(),
        (kind, "") => format!("{place} ({kind})"),
        (kind, name) => format!("{place} ({kind} {name})"),
    };
    let wrong = |why: String| Wrong { place: place.clone(), why };
    let version = AgentTask::api_version(&());
    if document["apiVersion"] != *version || kind != AgentTask::kind(&()) {
        return Err(wrong(format!("is no AgentTask of {version}: apiVersion and kind say otherwise")));
    }
    if name.is_empty() {
        return Err(wrong("metadata.name: is missing".to_owned()));
    }
    const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let unknown =
        document.as_object().and_then(|fields| fields.keys().find(|key| !KNOWN.contains(&key.as_str())));
    if let Some(unknown) = unknown {
        return Err(wrong(format!("unknown field `{unknown}`")));
    }
    let task: AgentTask =
        serde_path_to_error::deserialize(document).map_err(|error| wrong(error.to_string()))?;
    let problems = check::problems(&task.spec);
    if !problems.is_empty() {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(wrong(all.join("; ")));
    }
    Ok(task)
}

/// What set the task's run off: said by whoever watches for it in an annotation, else the trigger's kind.
#[must_use]
pub fn trigger(task: &AgentTask) -> String {
    let annotated = task.annotations().get(labels::TRIGGER).cloned();
    annotated.unwrap_or_else(|| task.spec.trigger.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "apiVersion: agents.kyle.pericak.com/v1alpha1\nkind: AgentTask\nmetadata: {name: news}\n\
        spec: {agent: journalist, prompt: The news}\n";

    fn names(text: &str) -> Vec<String> {
        read(text).into_iter().map(|task| task.unwrap().name_any()).collect()
    }

    fn refusal(text: &str) -> String {
        read(text).into_iter().find_map(Result::err).unwrap().to_string()
    }

    /// K1, K15
    #[test]
    fn yaml_json_lines_and_lists_are_read() {
        let two = format!("---\n{ONE}---\n{}", ONE.replace("news", "olds"));
        assert_eq!(names(ONE), ["news"]);
        assert_eq!(names(&two), ["news", "olds"]);
        let json: Value = serde_saphyr::from_str(ONE).unwrap();
        assert_eq!(names(&json.to_string()), ["news"]);
        assert_eq!(names(&serde_json::to_string_pretty(&json).unwrap()), ["news"]);
        assert_eq!(names(&format!("{json}\n{json}\n")), ["news", "news"]);
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [json, json]});
        assert_eq!(names(&list.to_string()), ["news", "news"]);
        assert!(names("").is_empty());
        assert!(names("# nothing\n---\n").is_empty());
    }

    /// K1, K15
    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let bad = |from: &str, to: &str| refusal(&format!("---\n{ONE}---\n{}", ONE.replace(from, to)));
        assert_eq!(
            bad("prompt:", "promt:").split(", expected").next(),
            Some("document 2 (AgentTask news): spec.promt: unknown field `promt`")
        );
        assert!(
            bad("The news}", "[x]}").starts_with("document 2 (AgentTask news): spec.prompt: invalid type")
        );
        assert!(bad("journalist", "Journalist").contains("spec.agent: may hold lower-case letters"));
        assert!(bad("spec:", "sepc:").contains("unknown field `sepc`"));
        assert!(bad("name: news", "nmae: news").ends_with("metadata.name: is missing"));
        assert!(bad("v1alpha1", "v2").contains("is no AgentTask of agents.kyle.pericak.com/v1alpha1"));
        assert!(bad("spec: {", "spec: {{").starts_with("document 2: is no YAML"));
        assert!(refusal("{\"kind\":").starts_with("document 1: is no JSON"));
        assert!(refusal("just text").starts_with("document 1: is no AgentTask"));
    }

    /// K11
    #[test]
    fn the_trigger_is_an_annotation_or_its_kind() {
        let task = |text: &str| read(text).remove(0).unwrap();
        assert_eq!(trigger(&task(ONE)), "manual");
        let annotated = "metadata: {name: news, annotations: {agents.kyle.pericak.com/trigger: delivery 7}}";
        assert_eq!(trigger(&task(&ONE.replace("metadata: {name: news}", annotated))), "delivery 7");
    }
}
