//! Imports in instructions: `@path`, which the agent CLI replaces by the file. What a person has in their own
//! instructions may come from anywhere on the machine; a repository's must not, and in the run's folder the CLI cannot
//! tell one from the other.

/// So many imports are named.
const NAMED: usize = 20;

/// The text with a space behind every `@` that could begin an import, which makes it none and lets the model read what
/// was meant; and the paths that look like files.
pub(crate) fn defused(text: &str) -> (String, Vec<String>) {
    // The CLI reads Markdown, in which a character may be written by its number or its name.
    let mut out = String::with_capacity(text.len() + 16);
    let mut paths = Vec::new();
    let mut rest = text;
    let mut before = None;
    while let Some(character) = rest.chars().next() {
        let written =
            ["&#64;", "&#x40;", "&#X40;", "&commat;"].into_iter().find(|form| rest.starts_with(form));
        let (sign, length) = match written {
            Some(form) => (true, form.len()),
            None => (character == '@', character.len_utf8()),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
        // In an address, as me@example.org, it begins nothing.
        let begins = sign && !before.is_some_and(char::is_alphanumeric);
        if begins && rest.chars().next().is_some_and(|next| !next.is_whitespace()) {
            out.push(' ');
            let path = rest.split_whitespace().next().unwrap_or_default();
            if path.contains(['/', '.']) && paths.len() < NAMED {
                paths.push(path.to_owned());
            }
        }
        before = Some(character);
    }
    (out, paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P3
    #[test]
    fn an_import_is_none_any_more() {
        for (text, expected) in [
            ("@/etc/passwd", "@ /etc/passwd"),
            ("see @~/.ssh/id and", "see @ ~/.ssh/id and"),
            ("**x**@/a (@b/c.md)", "**x**@ /a (@ b/c.md)"),
            ("&#64;/a &commat;/b", "&#64; /a &commat; /b"),
            ("@@/a", "@ @ /a"),
        ] {
            assert_eq!(defused(text).0, expected);
        }
        assert_eq!(defused("@/etc/passwd @docs/a.md @team").1, ["/etc/passwd", "docs/a.md"]);
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in ["", "mail me@example.org", "a @ b", "grüße & 64;", "at the end @"] {
            assert_eq!(defused(text), (text.to_owned(), vec![]), "{text}");
        }
    }
}
