//! An agent definition: Markdown with a head of `key: value` lines between two `---`.

/// What its head says, as far as we must know it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The agent's name.
    pub(crate) name: String,
    /// Keys that would run something, if they were heard.
    pub(crate) active: Vec<&'static str>,
}

/// Keys that start programs.
const ACTIVE: [&str; 2] = ["hooks", "mcpServers"];

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
    for line in lines {
        if line == "---" {
            return name.map(|name| Head { name, active });
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        if key == "name" {
            let value = value.trim().trim_matches(['"', '\'']);
            name = Some(value.to_owned()).filter(|name| !name.is_empty());
        }
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
        assert_eq!(head(text), Some(Head { name: "qa".to_owned(), active: vec![] }));
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
