//! Text that others wrote, made fit for a terminal and a report.

use message_text::{one_line, unjoined};

/// One line of at most `most` bytes: white space is made single, and what a terminal would act on is left out.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    // What does not fit is not looked at, however long it is; white space and escapes shrink.
    let begin: String = text.trim_start().chars().take(4 * most + 1).collect();
    shorten(one_line(&unjoined(&begin)), most)
}

/// Lines of at most `most` bytes in all, without what a terminal would act on.
#[must_use]
pub fn block(text: &str, most: usize) -> String {
    let kept: String = text.trim().chars().take(most + 1).collect();
    shorten(unjoined(&kept).replace('\t', " "), most)
}

fn shorten(mut text: String, most: usize) -> String {
    if text.len() > most {
        let mut end = most.saturating_sub('…'.len_utf8());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P6
    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        assert_eq!(line("a\x1b[2J\x07b\u{9b}c\u{202e}d\u{2066}e\r\n\tf", 100), "abcde f");
        assert_eq!(block("a\x1b]0;x\x07\nb\tc\r\n", 100), "a\nb c");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(line("ääää", 7), "ää…");
        assert_eq!(line("ääää", 8), "ääää");
        assert_eq!(line("", 0), "");
    }
}
