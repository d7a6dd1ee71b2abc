//! Text that others wrote, made fit for a terminal and a report.

/// One line of at most `most` bytes: white space is made single, and what a terminal would act on is left out.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    let mut out = String::new();
    // What does not fit is not looked at, however long it is; white space may shrink.
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().take(most).filter(|c| is_printed(*c)));
        if out.len() > most {
            break;
        }
    }
    shorten(out, most)
}

/// Lines of at most `most` bytes in all, without what a terminal would act on.
#[must_use]
pub fn block(text: &str, most: usize) -> String {
    let kept = text.trim().chars().take(most + 1).filter(|c| *c == '\n' || is_printed(*c));
    shorten(kept.collect(), most)
}

/// Neither a control nor a direction mark: those rewrite what stands on the screen, or how it reads.
fn is_printed(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
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
        assert_eq!(line("a\x1b[2J\x07b\u{9b}c\u{202e}d\u{2066}e\r\n\tf", 100), "a[2Jbcde f");
        assert_eq!(block("a\x1b]0;x\x07\nb\r\n", 100), "a]0;x\nb");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(line("ääää", 7), "ää…");
        assert_eq!(line("ääää", 8), "ääää");
        assert_eq!(line("", 0), "");
    }
}
