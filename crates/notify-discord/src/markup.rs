//! Discord's markup, and texts in which it does nothing.

/// Stands after a character that would make the next ones act. It has no width.
const BREAK: char = '\u{200b}';

/// `text`, which stands on one line behind some of ours, so that Discord shows it as it is: no emphasis, code, spoilers,
/// links, mentions or custom emoji. Where nothing would act, nothing is changed: `max_turns` keeps its underscore.
#[must_use]
pub fn escape(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut escaped = String::with_capacity(text.len());
    for (at, &character) in characters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| characters.get(at)).copied();
        let rest = &characters[at + 1..];
        let next = rest.first().copied();
        let beside = |same| before == Some(same) || next == Some(same);
        let acts = match character {
            '*' | '`' => true,
            // Followed by a letter it is no escape of Discord's; at the end it would escape what we write behind it.
            '\\' => next.is_none_or(|next| !next.is_ascii_alphanumeric() && !next.is_whitespace()),
            '_' => !(is_word(before) && is_word(next)),
            '~' | '|' => beside(character),
            // Mentions, emoji, times, commands, links.
            '<' => next.is_some_and(|next| !next.is_whitespace()),
            // A masked link: the text in front of the bracket would hide where it goes.
            ']' => next == Some('('),
            // A link, and the preview that Discord fetches for it.
            ':' => rest.starts_with(&['/', '/']),
            _ => false,
        };
        if acts {
            escaped.push('\\');
        }
        escaped.push(character);
        if character == '@' && (before == Some('<') || is_everyone(rest)) {
            escaped.push(BREAK);
        }
    }
    escaped
}

fn is_word(character: Option<char>) -> bool {
    character.is_some_and(char::is_alphanumeric)
}

fn is_everyone(rest: &[char]) -> bool {
    ["everyone", "here"].iter().any(|name| {
        rest.len() >= name.len() && rest.iter().zip(name.chars()).all(|(a, b)| a.eq_ignore_ascii_case(&b))
    })
}

/// Whether `text` is the address of a web page and nothing else, so that it may stand in a message as a link.
#[must_use]
pub fn is_link(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'+,;=%".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_act_is_escaped() {
        for (text, expected) in [
            ("**bold** and `code`", r"\*\*bold\*\* and \`code\`"),
            ("_it_ a__b__c", r"\_it\_ a\_\_b\_\_c"),
            ("~~gone~~ ||spoiler||", r"\~\~gone\~\~ \|\|spoiler\|\|"),
            ("[click](https://evil.example)", r"[click\](https\://evil.example)"),
            ("see <https://x.example>", r"see \<https\://x.example>"),
            ("@everyone @here @Everyone", "@\u{200b}everyone @\u{200b}here @\u{200b}Everyone"),
            ("<@123> <#4> <:a:5> <t:6>", "\\<@\u{200b}123> \\<#4> \\<:a:5> \\<t:6>"),
            (r"\*", r"\\\*"),
            (r"at the end \", r"at the end \\"),
        ] {
            assert_eq!(escape(text), expected);
        }
    }

    #[test]
    fn what_would_not_act_is_left_alone() {
        for text in [
            "remote: error: max_turns (20) reached, 1 < 2 | 3 ~4",
            "me@example.com",
            "[rejected] main -> main (fetch first)",
            r"C:\temp",
            "a post: \"Why #1?\" - because",
        ] {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn a_link_is_an_address_and_nothing_else() {
        assert!(is_link("https://github.com/octo/blog/pull/7"));
        for bad in ["https://", "https://a b", "javascript:x", "https://a)<b", "https://a\n", ""] {
            assert!(!is_link(bad), "{bad}");
        }
    }

    /// `text` as Discord reads it, where all that is left of its markup are escapes (of punctuation alone): each
    /// character, and whether it is escaped, and so does nothing.
    fn read(text: &str) -> Vec<(char, bool)> {
        let mut read = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let escaped = |next: &char| !next.is_ascii_alphanumeric() && !next.is_whitespace();
            match characters.next_if(|next| character == '\\' && escaped(next)) {
                Some(next) => read.push((next, true)),
                None => read.push((character, false)),
            }
        }
        read
    }

    /// What Discord shows for `text`.
    fn shown(text: &str) -> String {
        read(text).into_iter().map(|(character, _)| character).filter(|&c| c != BREAK).collect()
    }

    proptest! {
        #[test]
        fn escaped_text_reads_as_it_was_written(text in "[a1 *_~|`\\\\<>@#:/()\\[\\]]{0,30}|@everyone|<@1>|\\PC*") {
            prop_assume!(!text.contains(BREAK));
            prop_assert_eq!(shown(&escape(&text)), text);
        }

        #[test]
        fn no_mention_and_no_link_is_left(text in "([<@:/\\\\ ]|everyone|here|https|://|1){0,12}") {
            let escaped = escape(&text);
            let acts: String = read(&escaped).into_iter().map(|(c, escaped)| if escaped { '.' } else { c }).collect();
            for acting in ["@everyone", "@here", "<@1", "://"] {
                prop_assert!(!acts.contains(acting), "{}", escaped);
            }
        }
    }
}
