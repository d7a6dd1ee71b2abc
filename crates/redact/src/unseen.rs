//! What no reader is shown, as a colour or a mark of direction: who drops it brings together what it kept apart.

use memchr::memchr_iter;

/// Whether something in the text, or escaped in its JSON, is dropped before it is shown.
pub(crate) fn has_unseen(text: &[u8]) -> bool {
    let odd = |byte: &u8| !(b' '..0x7f).contains(byte) && !matches!(byte, b'\t' | b'\n' | b'\r');
    let raw = text.iter().fold(false, |found, byte| found | odd(byte))
        && String::from_utf8_lossy(text).chars().any(is_unseen);
    raw || memchr_iter(b'\\', text).any(|at| matches!(text.get(at + 1), Some(b'u' | b'b' | b'f')))
}

/// The text as it is shown.
pub(crate) fn shown(text: &str) -> String {
    message_text::printable(text).replace(['\u{200c}', '\u{200d}'], "")
}

/// The text of JSON that cannot be read as such, less what is unseen and escaped in it.
pub(crate) fn unescaped(text: &str) -> String {
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
    if character.is_ascii() {
        return character.is_control() && !matches!(character, '\t' | '\n' | '\r');
    }
    matches!(character, '\u{200c}' | '\u{200d}')
        || message_text::printable(character.encode_utf8(&mut [0; 4])).is_empty()
}
