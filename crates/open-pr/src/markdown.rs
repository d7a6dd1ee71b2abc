//! Markdown in which an agent's text is shown and does nothing.
//!
//! Everything here is put into code, which GitHub takes neither HTML nor links nor mentions from. That alone is not enough:
//! a squash merge can make a commit message of a title and a body, where code is text like any other. So what would
//! notify a person or close an issue is broken as well, by a space of no width.

use message_text::{fit, one_line, printable, shorten_middle};

/// Stands after a character that would make the next ones act. It has no width.
const BREAK: char = '\u{200b}';

/// `text` without mentions (`@name`) and references (`#1`, `GH-1`, `…/issues/1`): a space of no width takes them apart.
#[must_use]
pub fn defang(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut before = None;
    while let Some(character) = characters.next() {
        safe.push(character);
        let acts = match (character, characters.peek()) {
            // Within a word it is an e-mail address.
            ('@', Some(next)) => {
                next.is_ascii_alphanumeric() && !before.is_some_and(|c: char| c.is_alphanumeric() || c == '_')
            }
            ('#', Some(next)) => next.is_ascii_digit(),
            ('-', Some(next)) => next.is_ascii_digit() && ends_with(&safe, "gh-"),
            ('/', Some(next)) => {
                next.is_ascii_digit()
                    && ["/issues/", "/pull/", "/discussions/"].iter().any(|part| ends_with(&safe, part))
            }
            _ => false,
        };
        if acts {
            safe.push(BREAK);
        }
        before = Some(character);
    }
    safe
}

fn ends_with(text: &str, ascii: &str) -> bool {
    let (text, ascii) = (text.as_bytes(), ascii.as_bytes());
    text.len() >= ascii.len() && text[text.len() - ascii.len()..].eq_ignore_ascii_case(ascii)
}

/// `text` as a code span on one line, of at most `limit` UTF-16 units with its marks. A dash where there is no text.
#[must_use]
pub fn code(text: &str, limit: usize) -> String {
    fit(&one_line(text), limit, shorten_middle, |text| span(&defang(text)))
}

/// [`code`] for the cell of a table, which a `|` would end.
#[must_use]
pub fn cell(text: &str, limit: usize) -> String {
    // A backslash before the pipe would be taken for the escape's own.
    let escape = |text: &str| span(&defang(text)).replace("\\|", "\\¦").replace('|', "\\|");
    fit(&one_line(text), limit, shorten_middle, escape)
}

fn span(text: &str) -> String {
    if text.is_empty() {
        return "–".to_owned();
    }
    let text = blunt(text, 3);
    let marks = "`".repeat(longest_run(&text) + 1);
    // The one space at each end is Markdown's own, and not shown.
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{marks}{pad}{text}{pad}{marks}")
}

/// `text` as a block of code, of at most `limit` UTF-16 units without its marks.
#[must_use]
pub fn block(text: &str, limit: usize) -> String {
    let text = defang(printable(text).trim_matches('\n'));
    let text = blunt(&shorten_middle(&text, limit), 16);
    let marks = "`".repeat(longest_run(&text).max(2) + 1);
    format!("{marks}text\n{text}\n{marks}\n")
}

/// Makes quotes of the backticks of a `text` in which more than `limit` follow each other, so that the marks around it stay
/// short.
fn blunt(text: &str, limit: usize) -> String {
    if longest_run(text) > limit { text.replace('`', "'") } else { text.to_owned() }
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mentions_and_references_are_taken_apart() {
        let acting = "Fixes #12, closes GH-3 and octo/blog#4; cc @octo-cat https://github.com/o/r/issues/5";
        let safe = defang(acting);
        assert_eq!(
            safe,
            "Fixes #\u{200b}12, closes GH-\u{200b}3 and octo/blog#\u{200b}4; cc @\u{200b}octo-cat \
             https://github.com/o/r/issues/\u{200b}5"
        );
        assert_eq!(safe.replace(BREAK, ""), acting, "it reads as before");
    }

    #[test]
    fn addresses_and_headings_stay_whole() {
        for harmless in ["mail me@example.com", "# Heading", "a # b", "C#", "page-1", "@ noon", "v1/2"] {
            assert_eq!(defang(harmless), harmless);
        }
    }

    #[test]
    fn a_block_cannot_be_broken_out_of() {
        let shown = block("a\n```\n<img src=x>\n````\nb", 1000);
        assert_eq!(shown, "`````text\na\n```\n<img src=x>\n````\nb\n`````\n");
    }

    #[test]
    fn a_span_cannot_be_broken_out_of() {
        assert_eq!(code("a `b` ``c", 100), "```a `b` ``c```");
        assert_eq!(code("`", 100), "`` ` ``");
        assert_eq!(code("a\n\nb", 100), "`a b`");
        assert_eq!(code("````x", 100), "`''''x`");
        assert_eq!(code(" ", 100), "–");
    }

    #[test]
    fn a_cell_cannot_be_broken_out_of() {
        assert_eq!(cell("a|b", 100), "`a\\|b`");
        assert_eq!(cell("a\\|b", 100), "`a\\¦b`");
    }

    proptest! {
        #[test]
        fn marks_are_longer_than_every_run_inside(text in "[`a \n|\\\\]{0,80}", limit in 1_usize..60) {
            let shown = block(&text, limit);
            let marks = shown.bytes().take_while(|b| *b == b'`').count();
            let inside = &shown[marks..shown.len() - marks - 1];
            prop_assert!(marks >= 3 && marks > longest_run(inside), "{}", shown);
            let shown = code(&text, limit);
            if let Some(inside) = shown.strip_prefix('`') {
                let marks = 1 + inside.bytes().take_while(|b| *b == b'`').count();
                prop_assert!(marks > longest_run(&shown[marks..shown.len() - marks]), "{}", shown);
            }
            prop_assert!(message_text::units(&shown) <= limit.max(1));
            let shown = cell(&text, limit);
            prop_assert!(!shown.replace("\\|", "").contains('|'));
            prop_assert!(message_text::units(&shown) <= limit.max(1));
        }
    }
}
