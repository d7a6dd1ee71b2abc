//! Which tools may be used: from the names that both runtimes' users write (`Read`, `Bash(git *)`, `mcp__playwright`) to
//! opencode's rules, of which the last one that matches a call counts.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// What an agent may do: permissions in the order in which they are looked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules(Vec<(String, Rule)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Action(Action),
    /// By what the call is about, as a command.
    Patterns(Vec<(String, Action)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Deny,
}

/// A tool as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tool {
    name: String,
    pattern: Option<String>,
}

/// What is written that opencode has no rule for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NoRule {
    #[error("opencode has no tool that does what '{0}' does")]
    Tool(String),
    #[error("opencode has no rule like '{0}': only Bash takes a pattern")]
    Pattern(String),
}

/// The tools in a list, whose commas may stand within parentheses too.
pub(crate) fn list(text: &str) -> Vec<Tool> {
    let mut depth = 0_u32;
    let separates = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(separates).map(str::trim).filter(|tool| !tool.is_empty()).map(tool).collect()
}

fn tool(text: &str) -> Tool {
    match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some((name, pattern)) => Tool {
            name: name.trim().to_owned(),
            // An older way to write it.
            pattern: Some(
                pattern.strip_suffix(":*").map_or_else(|| pattern.to_owned(), |p| format!("{p} *")),
            ),
        },
        None => Tool { name: text.to_owned(), pattern: None },
    }
}

/// What opencode calls the tool; writing and editing are one permission.
fn permission(tool: &Tool) -> Result<String, NoRule> {
    let known = match tool.name.as_str() {
        "Agent" | "Task" => "task",
        "Bash" => "bash",
        "Edit" | "MultiEdit" | "Write" => "edit",
        "Glob" => "glob",
        "Grep" => "grep",
        "Read" => "read",
        "Skill" => "skill",
        "TodoWrite" => "todowrite",
        "WebFetch" => "webfetch",
        "WebSearch" => "websearch",
        other => {
            let server = other.strip_prefix("mcp__").ok_or_else(|| NoRule::Tool(other.to_owned()))?;
            return Ok(match server.split_once("__") {
                Some((server, tool)) => format!("{server}_{tool}"),
                None => format!("{server}_*"),
            });
        }
    };
    Ok(known.to_owned())
}

/// The rules for a run that may use `tools`, and nothing else.
pub(crate) fn rules(tools: &[Tool]) -> Result<Rules, NoRule> {
    // Nobody is there to be asked. Where a tool may go is the tool's permission; a call that repeats itself ends with the limits.
    let mut rules = vec![
        ("*".to_owned(), Rule::Action(Action::Deny)),
        ("external_directory".to_owned(), Rule::Action(Action::Allow)),
        ("doom_loop".to_owned(), Rule::Action(Action::Allow)),
    ];
    for tool in tools {
        let name = permission(tool)?;
        let at = rules.iter().position(|(known, _)| *known == name);
        match &tool.pattern {
            Some(pattern) if name == "bash" => {
                let allowed = (pattern.clone(), Action::Allow);
                match at.map(|at| &mut rules[at].1) {
                    Some(Rule::Patterns(patterns)) => patterns.push(allowed),
                    // All of them are allowed already.
                    Some(Rule::Action(_)) => {}
                    None => {
                        rules.push((name, Rule::Patterns(vec![("*".to_owned(), Action::Deny), allowed])));
                    }
                }
            }
            Some(pattern) => return Err(NoRule::Pattern(format!("{}({pattern})", tool.name))),
            None => {
                let rule = (name, Rule::Action(Action::Allow));
                match at {
                    Some(at) => rules[at] = rule,
                    None => rules.push(rule),
                }
            }
        }
    }
    Ok(Rules(rules))
}

/// Of what the run may use, what an agent lists for itself.
pub(crate) fn of_agent(allowed: &[Tool], own: &[Tool]) -> Vec<Tool> {
    let both = |allowed: &Tool, own: &Tool| {
        let within = |wide: &str, narrow: &str| {
            wide.starts_with("mcp__") && narrow.strip_prefix(wide).is_some_and(|rest| rest.starts_with("__"))
        };
        let name = if allowed.name == own.name || within(&own.name, &allowed.name) {
            &allowed.name
        } else if within(&allowed.name, &own.name) {
            &own.name
        } else {
            return None;
        };
        let pattern = match (&allowed.pattern, &own.pattern) {
            (Some(allowed), Some(own)) if allowed != own => return None,
            (allowed, own) => allowed.clone().or_else(|| own.clone()),
        };
        Some(Tool { name: name.clone(), pattern })
    };
    allowed.iter().flat_map(|allowed| own.iter().filter_map(move |own| both(allowed, own))).collect()
}

impl Serialize for Rules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        in_order(&self.0, serializer)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Action(action) => action.serialize(serializer),
            Self::Patterns(patterns) => in_order(patterns, serializer),
        }
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

fn in_order<S: Serializer>(entries: &[(String, impl Serialize)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(entries.len()))?;
    for (name, value) in entries {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(allowed: &str, own: Option<&str>) -> Result<String, NoRule> {
        let allowed = list(allowed);
        let tools = own.map_or_else(|| allowed.clone(), |own| of_agent(&allowed, &list(own)));
        let text = serde_json::to_string(&rules(&tools)?).unwrap();
        let always = r#"{"*":"deny","external_directory":"allow","doom_loop":"allow""#;
        Ok(text.strip_prefix(always).unwrap().trim_start_matches(',').trim_end_matches('}').to_owned())
    }

    /// P4, P12
    #[test]
    fn what_is_allowed_is_opencodes_rules_in_their_order() {
        assert_eq!(
            written("Agent,Read,Write,Edit,mcp__playwright,Bash(git *),Bash($X, (a)),mcp__a__b", None).unwrap(),
            r#""task":"allow","read":"allow","edit":"allow","playwright_*":"allow","bash":{"*":"deny","git *":"allow","$X, (a)":"allow"},"a_b":"allow""#
                .trim_end_matches('}')
        );
        assert_eq!(written("Bash(git *),Bash", None).unwrap(), r#""bash":"allow""#);
        assert_eq!(written("Bash(git:*)", None).unwrap(), r#""bash":{"*":"deny","git *":"allow""#);
        assert_eq!(written("", None).unwrap(), "");
    }

    /// P12
    #[test]
    fn what_there_is_no_rule_for_is_an_error() {
        assert_eq!(written("Read,NotebookEdit", None), Err(NoRule::Tool("NotebookEdit".into())));
        assert_eq!(written("Edit(src/**)", None), Err(NoRule::Pattern("Edit(src/**)".into())));
    }

    /// P4, P12
    #[test]
    fn an_agent_has_what_it_lists_and_the_run_allows() {
        for (allowed, own, expected) in [
            ("Read,Write,Bash(git *)", "Read, Bash", r#""read":"allow","bash":{"*":"deny","git *":"allow""#),
            ("mcp__p", "mcp__p__click, mcp__q", r#""p_click":"allow""#),
            ("mcp__p__click", "mcp__p", r#""p_click":"allow""#),
            ("mcp__p", "mcp__pq__x", ""),
            ("Bash", "Bash(ls *)", r#""bash":{"*":"deny","ls *":"allow""#),
            ("Bash(git *)", "Bash(ls *)", ""),
            ("Read", "", ""),
        ] {
            assert_eq!(written(allowed, Some(own)).unwrap(), expected, "{allowed} and {own}");
        }
    }
}
