//! The schema's rules once more, for a manifest that no API server has seen.

use crate::spec::{AgentTaskSpec, PROMPT_MAX, TIMEOUT_MAX, Trigger};
use crate::tools::{AllowedTools, TOOL_MAX, TOOLS_MAX};
use agent_task::{labels, names};

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as `spec.prompt`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.why)
    }
}

/// Everything that is wrong with the spec; empty where the API server would take it.
#[must_use]
pub fn problems(spec: &AgentTaskSpec) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut need = |right: bool, field: &str, why: &str| {
        if !right {
            found.push(Problem { field: format!("spec.{field}"), why: why.to_owned() });
        }
    };

    if let Err(error) = names::check_agent(&spec.agent) {
        need(false, "agent", error.why);
    }
    need(!spec.prompt.trim().is_empty(), "prompt", "is blank");
    need(spec.prompt.len() <= PROMPT_MAX, "prompt", "is longer than 64 KiB");
    need(!spec.prompt.contains('\0'), "prompt", "has a NUL in it");

    let schedule = spec.schedule.as_deref().filter(|schedule| !schedule.is_empty());
    let scheduled = spec.trigger == Trigger::Scheduled;
    need(!scheduled || schedule.is_some(), "schedule", "a scheduled task needs one, as '0 8 * * *'");
    need(schedule.is_none_or(is_schedule), "schedule", "is none: five fields as '0 8 * * *', or as @daily");
    need(scheduled || schedule.is_none(), "trigger", "a schedule needs trigger: scheduled");
    let zone = spec.time_zone.as_deref().unwrap_or("Etc/UTC");
    need(
        text(zone, 64, "_+/-") && zone.starts_with(|c: char| c.is_ascii_alphabetic()),
        "timeZone",
        "is no time zone, as America/Toronto",
    );

    for (field, branch) in [("branch", &spec.branch), ("base", &spec.base)] {
        need(
            branch.as_deref().is_none_or(|branch| branch.is_empty() || is_branch(branch)),
            field,
            "is no branch that git would take",
        );
    }
    let repository = spec.repository.as_deref().unwrap_or("owner/name");
    need(
        names::owner_and_name(repository).is_ok() && repository.len() <= 140,
        "repository",
        "is not of the form owner/name",
    );
    let model = spec.model.as_deref().unwrap_or("default");
    need(
        text(model, 100, "._:/@[]-") && model.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "model",
        "is no model's name",
    );

    let in_range =
        |number: Option<u32>, least, most| number.is_none_or(|number| (least..=most).contains(&number));
    need(in_range(spec.max_turns, 1, 10_000), "maxTurns", "must be from 1 to 10000");
    need(in_range(spec.timeout_seconds, 60, TIMEOUT_MAX), "timeoutSeconds", "must be from 60 to 86400");
    need(
        spec.max_budget_usd.is_none_or(|usd| (0.01..=100_000.0).contains(&usd)),
        "maxBudgetUsd",
        "must be from 0.01 to 100000",
    );

    let tools = spec.allowed_tools.as_ref().map(AllowedTools::patterns).unwrap_or_default();
    need(
        tools.len() <= TOOLS_MAX && tools.iter().all(|tool| tool.len() <= TOOL_MAX),
        "allowedTools",
        "has more than 256 patterns, or one of more than 512 characters",
    );
    need(
        spec.mcp_servers.as_ref().is_none_or(|servers| servers.len() <= 32),
        "mcpServers",
        "has more than 32 servers",
    );

    let storage_class = spec.workspace.as_ref().and_then(|workspace| workspace.storage_class.as_ref());
    for (field, name) in [
        ("runtimeClassName", spec.runtime_class_name.as_ref()),
        ("priority", spec.priority.as_ref()),
        ("workspace.storageClass", storage_class),
    ] {
        need(name.is_none_or(|name| is_object_name(name)), field, "is no name of an object");
    }
    let sizes = spec.resources.iter().flat_map(|resources| [&resources.requests, &resources.limits]);
    need(sizes.into_iter().all(|amounts| amounts.len() <= 16), "resources", "has more than 16 amounts");

    let reserved = [labels::DOMAIN, labels::MANAGED_BY];
    need(
        spec.labels.len() <= 32
            && spec.labels.iter().all(|(name, value)| {
                !reserved.iter().any(|reserved| name.starts_with(reserved)) && is_label_value(value)
            }),
        "labels",
        "has a name that is not free to set, a value that is none, or more than 32 entries",
    );
    found
}

/// ASCII letters, digits and `others`, so many at most.
fn text(text: &str, most: usize, others: &str) -> bool {
    !text.is_empty()
        && text.len() <= most
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn is_schedule(text: &str) -> bool {
    const NAMED: [&str; 7] =
        ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    let fields = || text.split_whitespace();
    NAMED.contains(&text)
        || (text.len() <= 100 && text.trim() == text && fields().count() == 5 && !text.contains('='))
}

fn is_branch(name: &str) -> bool {
    text(name, 200, "_.+#@/-")
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && !["..", "//", "/.", "@{"].iter().any(|part| name.contains(part))
        && !["/", ".", ".lock"].iter().any(|end| name.ends_with(end))
        && name != "HEAD"
}

fn is_object_name(name: &str) -> bool {
    text(name, 253, ".-") && !name.bytes().any(|b| b.is_ascii_uppercase()) && edges_are_alphanumeric(name)
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || (text(value, 63, "_.-") && edges_are_alphanumeric(value))
}

fn edges_are_alphanumeric(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    name.starts_with(edge) && name.ends_with(edge)
}
