//! What no reader is shown, as a colour or a mark of direction: who drops it brings together what it kept apart.

use memchr::{memchr2_iter, memchr3_iter, memmem};
use message_text::{JOINERS, unjoined};

/// Whether something in the text, or escaped in its JSON, is dropped before it is shown. Hardly a line has it, so this is quick.
pub(crate) fn has_unseen(text: &[u8]) -> bool {
    // No branches, so that the compiler takes many bytes at once.
    let (mut control, mut beyond) = (false, false);
    for &byte in text {
        control |= (byte < b' ') & (byte != b'\t') & (byte != b'\n') & (byte != b'\r') | (byte == 0x7f);
        beyond |= byte >= 0x80;
    }
    control || (beyond && has_unseen_beyond(text)) || has_escaped(text)
}

/// Looks at the first bytes of what is unseen beyond ASCII alone, of which hardly a text has many.
fn has_unseen_beyond(text: &[u8]) -> bool {
    let at = |at: usize| match text[at..] {
        [0xe2, 0x80, last, ..] => matches!(last, 0x8b..=0x8f | 0xa8..=0xae),
        [0xe2, 0x81, last, ..] => last >= 0xa0,
        [0xef, 0xbb, 0xbf, ..] | [0xef, 0xbf, 0xb9..=0xbb, ..] | [0xf3, 0xa0, ..] => true,
        [0xc2, 0x80..=0x9f, ..] | [0xd8, 0x9c, ..] => true,
        _ => false,
    };
    memchr3_iter(0xe2, 0xef, 0xf3, text).any(at) || memchr2_iter(0xc2, 0xd8, text).any(at)
}

fn has_escaped(text: &[u8]) -> bool {
    let unseen = |at: usize| {
        let code = text.get(at + 2..at + 6).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        // Halves of characters make one together.
        code.is_some_and(|code| char::from_u32(code).is_none_or(is_unseen))
    };
    memmem::find_iter(text, br"\u").any(unseen)
        || [br"\b", br"\f"].iter().any(|escape| memmem::find(text, *escape).is_some())
}

/// What is shown of JSON that cannot be read as such.
pub(crate) fn shown_of_broken(text: &str) -> String {
    unjoined(&unescaped(text))
}

/// The text, with the characters in place of their escapes that are unseen.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (length, character) = match escape.as_bytes().get(1) {
            Some(b'u') => {
                let code = escape.get(2..6).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                (6, code.and_then(char::from_u32).filter(|c| is_unseen(*c)))
            }
            Some(b'b' | b'f') => (2, Some('\u{8}')),
            _ => (2, None),
        };
        let mut end = length.min(escape.len());
        while !escape.is_char_boundary(end) {
            end += 1;
        }
        match character {
            Some(character) => out.push(character),
            None => out.push_str(&escape[..end]),
        }
        rest = &escape[end..];
    }
    out.push_str(rest);
    out
}

fn is_unseen(character: char) -> bool {
    JOINERS.contains(&character) || message_text::is_unseen(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P6
    #[test]
    fn the_quick_look_misses_no_character() {
        for character in (0..=u32::from(char::MAX)).filter_map(char::from_u32).filter(|c| is_unseen(*c)) {
            assert!(has_unseen(character.encode_utf8(&mut [0; 4]).as_bytes()), "{character:?}");
        }
        assert!(!has_unseen("a\tb\r\n \u{2014}\u{2026}\u{e9} \\n \\u00e9".as_bytes()));
    }
}
