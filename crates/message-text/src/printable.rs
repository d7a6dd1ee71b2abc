//! What is left of a text when nothing in it can act on a terminal, or show it in an order in which it was not written.

/// Drops terminal escape sequences, control characters except line feed and tab, and the characters that change the
/// direction of writing (with which a text reads differently from what it is) or that nobody sees. Every kind of line end becomes `\n`.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_escape_sequence(&mut characters),
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => shown.push('\n'),
            '\n' | '\t' => shown.push(character),
            _ if is_unseen(character) => {}
            _ => shown.push(character),
        }
    }
    shown
}

/// [`printable`] without what joins characters, too: what is left of a text where columns are counted.
#[must_use]
pub fn unjoined(text: &str) -> String {
    printable(text).replace(JOINERS, "")
}

/// Needed by scripts and by emoji, and seen by nobody.
pub const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// [`printable`] on one line: runs of white space become one space, and there is none at either end.
#[must_use]
pub fn one_line(text: &str) -> String {
    let printable = printable(text);
    let mut line = String::with_capacity(printable.len());
    for word in printable.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Skips what follows ESC: a control sequence up to its final byte (`[31m`), an operating system command up to BEL or
/// ESC `\`, or one character.
fn skip_escape_sequence(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.peek() {
        Some('[') => {
            characters.next();
            while characters.next_if(|&c| matches!(c, ' '..='?')).is_some() {}
            characters.next_if(|&c| matches!(c, '@'..='~'));
        }
        Some(']') => {
            while let Some(character) = characters.next_if(|&c| c != '\n') {
                if character == '\u{7}' || (character == '\u{1b}' && characters.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        Some(&character) if !character.is_whitespace() => {
            characters.next();
        }
        _ => {}
    }
}

/// What [`printable`] drops wherever it stands: control characters, the explicit directional formatting characters of Unicode Annex 9,
/// the byte order mark, and what is shown as nothing at all, tags among it. What joins characters is needed by scripts and by emoji.
#[must_use]
pub fn is_unseen(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        '\u{61c}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        _ => character.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn colours_titles_and_bells_are_dropped() {
        assert_eq!(printable("\u{1b}[1;31merror\u{1b}[0m: \u{7}no\u{0}"), "error: no");
        assert_eq!(printable("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b"), "ab");
    }

    #[test]
    fn every_line_end_becomes_a_line_feed() {
        assert_eq!(printable("a\r\nb\rc\u{2028}d\ne\tf"), "a\nb\nc\nd\ne\tf");
    }

    #[test]
    fn a_text_is_shown_in_the_order_in_which_it_was_written() {
        assert_eq!(printable("a\u{202e}txt.exe\u{2066}b"), "atxt.exeb");
    }

    #[test]
    fn one_line_has_single_spaces() {
        assert_eq!(one_line("  a post\n\n about\tX \u{1b}[0m "), "a post about X");
        assert_eq!(one_line(" \n"), "");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            prop_assert_eq!(printable(&shown), shown.clone(), "a second time changes nothing");
            prop_assert!(!one_line(&text).contains('\n'));
        }
    }
}
