//! An agent definition: Markdown with a head of `key: value` lines between two `---`.

/// What its head says, as far as we must know it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The agent's name.
    pub(crate) name: String,
    /// Keys that would run something, if they were heard.
    pub(crate) active: Vec<&'static str>,
    /// What it is for.
    pub(crate) description: Option<String>,
    /// The tools that it may use, separated by commas; none where it says nothing of them.
    pub(crate) tools: Option<String>,
}

/// Keys that start programs.
const ACTIVE: [&str; 2] = ["hooks", "mcpServers"];

/// What stands below the head.
pub(crate) fn body(text: &str) -> &str {
    let mut begin = 0;
    let mut marks = 0;
    for line in text.split_inclusive('\n') {
        begin += line.len();
        marks += usize::from(line.trim_start_matches('\u{feff}').trim_end() == "---");
        if marks == 2 {
            return text[begin..].trim();
        }
    }
    ""
}

/// Reads the head. None where there is none, or it has no name: the agent CLI does not take that for an agent.
///
/// Only keys at the left margin are looked at. The agent CLI is lenient about the values (a description may hold
/// colons), so a YAML reader would refuse what the CLI takes.
pub(crate) fn head(text: &str) -> Option<Head> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().map(str::trim_end);
    if lines.next()? != "---" {
        return None;
    }
    let mut name = None;
    let mut active = Vec::new();
    let (mut description, mut tools) = (None, None::<String>);
    let mut last = "";
    for line in lines {
        if line == "---" {
            return name.map(|name| Head { name, active, description, tools });
        }
        if let (Some(item), "tools", Some(tools)) = (line.trim_start().strip_prefix("- "), last, &mut tools) {
            // A list, an item a line.
            tools.push_str(&format!("{},", item.trim().trim_matches(['"', '\''])));
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        match key {
            "name" => name = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "description" => description = Some(value.to_owned()).filter(|text| !text.is_empty()),
            "tools" => tools = Some(value.trim_start_matches('[').trim_end_matches(']').to_owned()),
            _ => {}
        }
        last = key;
        active.extend(ACTIVE.into_iter().find(|known| *known == key));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_beside_values_that_are_no_yaml() {
        let text = "---\nname: \"qa\"\ndescription: Use it: always, {now}\ntools: Read, Bash\n---\nYou are the QA.\n";
        let head = head(text).unwrap();
        assert_eq!((head.name.as_str(), head.active.as_slice()), ("qa", [].as_slice()));
        assert_eq!(head.description.as_deref(), Some("Use it: always, {now}"));
        assert_eq!(head.tools.as_deref(), Some("Read, Bash"));
        assert_eq!(body(text), "You are the QA.");
    }

    #[test]
    fn tools_may_be_listed_in_lines() {
        let text = "---\r\nname: qa\r\ntools:\r\n  - Read\r\n  - \"Bash(git *)\"\r\nmodel: x\r\n---\r\n\r\na\r\n---\r\nb\r\n";
        assert_eq!(head(text).unwrap().tools.as_deref(), Some("Read,Bash(git *),"));
        assert_eq!(body(text), "a\r\n---\r\nb");
        assert_eq!(head("---\nname: qa\n---\n").unwrap().tools, None);
        assert_eq!(
            head("---\nname: qa\ntools: [Read, Bash]\n---\n").unwrap().tools.as_deref(),
            Some("Read, Bash")
        );
    }

    /// P3
    #[test]
    fn what_would_run_something_is_noticed() {
        let text = "---\r\nname: qa\r\nhooks:\r\n  Stop: []\r\nmcpServers: {}\r\n---\r\n";
        assert_eq!(head(text).unwrap().active, ["hooks", "mcpServers"]);
    }

    #[test]
    fn text_without_a_closed_head_or_a_name_is_no_agent() {
        for text in [
            "",
            "name: qa",
            "---\nname: qa\n",
            "---\nmodel: x\n---\n",
            "---\n  name: qa\n---\n",
            "---\nname:\n---\n",
        ] {
            assert_eq!(head(text), None, "{text:?}");
        }
    }
}
