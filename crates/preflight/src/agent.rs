//! `agent`: the agent is defined, as the run would find it.

use crate::check::Finding;
use crate::context::Context;
use std::path::PathBuf;

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let root = context.root()?;
    let found = agent_home::find(&context.agent, root, user_agents().as_deref())?;
    let others: Vec<&str> =
        found.agents.keys().map(String::as_str).filter(|name| *name != context.agent).collect();
    let mut detail = format!("'{}' is defined", context.agent);
    if !others.is_empty() {
        detail.push_str(&format!(", beside {}", others.join(", ")));
    }
    for ignored in &found.ignored {
        detail.push_str(&format!("\nnot heard: {ignored}"));
    }
    Ok(Finding::Good(detail))
}

/// Where the person's own agents are, by the rule of `run-publisher.sh`.
fn user_agents() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("CLAUDE_CONFIG_DIR").or_else(|| Some(set("HOME")?.join(".claude")))?;
    Some(home.join("agents"))
}
