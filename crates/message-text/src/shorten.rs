//! Texts within a limit.
//!
//! An error's cause stands at its end and what failed at its beginning, so that a text is shortened in its middle. The cut
//! is between characters as people see them (grapheme clusters): a flag or a letter with its accents is kept or left out.

use crate::units;
use std::borrow::Cow;
use unicode_segmentation::UnicodeSegmentation as _;

/// Stands where something was left out. One UTF-16 unit.
const ELLIPSIS: &str = "…";

/// `text` if it has at most `limit` UTF-16 units, else its beginning and its end around `" … "`, or around `…` where
/// the limit is small. Never longer than `limit`.
#[must_use]
pub fn shorten_middle(text: &str, limit: usize) -> Cow<'_, str> {
    if fits(text, limit) {
        return Cow::Borrowed(text);
    }
    let gap = if limit >= 16 { " … " } else { ELLIPSIS };
    let Some(room) = limit.checked_sub(units(gap)) else {
        return Cow::Borrowed("");
    };
    // The end tells more: it gets the odd unit and what the beginning had no use for.
    let beginning = leading(text, room / 2);
    let end = trailing(&text[beginning.len()..], room - units(beginning));
    Cow::Owned(format!("{}{gap}{}", beginning.trim_end(), end.trim_start()))
}

/// `text` if it has at most `limit` UTF-16 units, else its beginning, cut after a word, and `…`. A word that is longer than
/// half the limit is cut inside. Never longer than `limit`.
#[must_use]
pub fn shorten_end(text: &str, limit: usize) -> Cow<'_, str> {
    if fits(text, limit) {
        return Cow::Borrowed(text);
    }
    let Some(room) = limit.checked_sub(units(ELLIPSIS)) else {
        return Cow::Borrowed("");
    };
    let beginning = leading(text, room);
    let in_word = text[beginning.len()..].chars().next().is_some_and(|next| !next.is_whitespace());
    let cut = if in_word { beginning.rfind(char::is_whitespace).unwrap_or(0) } else { beginning.len() };
    let kept = if units(&beginning[..cut]) * 2 < room { beginning } else { &beginning[..cut] };
    let kept = kept.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ':' | '.' | '-'));
    Cow::Owned(format!("{kept}{ELLIPSIS}"))
}

/// `shorten(text)` escaped, where what counts is the length of the escaped text: shortens as far as it takes. The cut is
/// made before escaping, and so never separates an escape from what it escapes.
pub fn fit(
    text: &str,
    limit: usize,
    shorten: impl for<'a> Fn(&'a str, usize) -> Cow<'a, str>,
    escape: impl Fn(&str) -> String,
) -> String {
    let mut room = limit;
    loop {
        let escaped = escape(&shorten(text, room));
        let length = units(&escaped);
        if length <= limit {
            return escaped;
        }
        if room == 0 {
            // Even nothing is escaped to more than the limit.
            return String::new();
        }
        // Text that doubles in escaping converges in a few steps when the excess is halved.
        room = room.saturating_sub(((length - limit) / 2).max(1));
    }
}

fn fits(text: &str, limit: usize) -> bool {
    // No text has more units than bytes: most are settled without counting.
    text.len() <= limit || text.encode_utf16().nth(limit).is_none()
}

fn leading(text: &str, limit: usize) -> &str {
    &text[..taken(text.graphemes(true), limit)]
}

fn trailing(text: &str, limit: usize) -> &str {
    &text[text.len() - taken(text.graphemes(true).rev(), limit)..]
}

/// How many bytes of `graphemes` fit into `limit` units.
fn taken<'a>(graphemes: impl Iterator<Item = &'a str>, limit: usize) -> usize {
    let (mut used, mut bytes) = (0, 0);
    for grapheme in graphemes {
        used += units(grapheme);
        if used > limit {
            break;
        }
        bytes += grapheme.len();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    #[test]
    fn beginning_and_end_are_kept() {
        let short = shorten_middle("git push: remote: a very long story: no route to host", 40);
        assert_eq!(short, "git push: remote: … y: no route to host");
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert!(matches!(shorten_middle("🇫🇷", 4), Cow::Borrowed("🇫🇷")));
        assert!(matches!(shorten_end("a b.", 4), Cow::Borrowed("a b.")));
    }

    #[test]
    fn a_character_that_people_see_as_one_is_never_cut() {
        // A family of four is one grapheme of eleven units.
        let family = "👨‍👩‍👧‍👦";
        assert_eq!(shorten_middle(&family.repeat(3), 22), format!(" … {family}"));
        assert_eq!(shorten_middle(family, 10), "…");
        assert_eq!(shorten_end("e\u{301}e\u{301}e\u{301}", 4), "e\u{301}…");
    }

    #[test]
    fn the_end_is_cut_after_a_word() {
        assert_eq!(shorten_end("write a post about lighthouses", 20), "write a post about…");
        assert_eq!(shorten_end("write a post, about lighthouses", 14), "write a post…");
        assert_eq!(shorten_end("Donaudampfschifffahrt", 8), "Donauda…");
    }

    #[test]
    fn an_escape_is_never_cut() {
        let escape = |text: &str| text.replace('*', "\\*");
        let fitted = fit(&"*".repeat(50), 21, shorten_middle, escape);
        assert!(units(&fitted) <= 21 && units(&fitted) >= 17, "{fitted}");
        assert_eq!(fitted.matches('*').count(), fitted.matches("\\*").count());
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[a-z é👨‍👩‍👧🇫🇷\u{301}\n*]{0,60}"]
    }

    proptest! {
        #[test]
        fn never_longer_than_the_limit_and_unchanged_where_it_fits(text in texts(), limit in 0_usize..80) {
            for short in [shorten_middle(&text, limit), shorten_end(&text, limit)] {
                prop_assert!(units(&short) <= limit);
                if units(&text) <= limit {
                    prop_assert_eq!(short.as_ref(), text.as_str());
                }
            }
        }

        #[test]
        fn what_is_kept_is_whole_graphemes_of_the_text(text in texts(), limit in any::<Index>()) {
            let text = text.replace('…', "_");
            let Some(more @ 1..) = units(&text).checked_sub(1) else { return Ok(()) };
            let limit = 1 + limit.index(more);
            let short = shorten_middle(&text, limit).into_owned();
            let (beginning, end) = short.split_once('…').unwrap();
            let (beginning, end) = (beginning.trim(), end.trim());
            prop_assert!(text.trim_start().starts_with(beginning) || text.starts_with(beginning));
            prop_assert!(text.trim_end().ends_with(end));
            let bounds: Vec<usize> =
                text.grapheme_indices(true).map(|(at, _)| at).chain([text.len()]).collect();
            let start = text.len() - text.trim_start().len();
            prop_assert!(beginning.is_empty() || bounds.contains(&(start + beginning.len())));
        }

        #[test]
        fn fitted_text_fits(text in texts(), limit in 0_usize..80) {
            let escape = |text: &str| text.replace('*', "\\*").replace('a', "&#97;");
            prop_assert!(units(&fit(&text, limit, shorten_middle, escape)) <= limit);
        }
    }
}
