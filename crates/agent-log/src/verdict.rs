//! What an agent says of the work.

use crate::text;
use agent_task::record::Verdict;

/// The last line `VERDICT: PASS` or `VERDICT: FAIL: why` of a text. Markdown around it does no harm.
#[must_use]
pub fn in_text(text: &str) -> Option<Verdict> {
    text.lines().rev().find_map(in_line)
}

fn in_line(line: &str) -> Option<Verdict> {
    let is_decoration = |c: char| c.is_whitespace() || matches!(c, '*' | '_' | '`' | '#' | '>' | '-');
    let line = line.trim_matches(is_decoration);
    let (word, rest) = line.split_at_checked("VERDICT".len())?;
    if !word.eq_ignore_ascii_case("VERDICT") {
        return None;
    }
    let rest = rest.trim_start_matches(is_decoration).strip_prefix(':')?.trim_start_matches(is_decoration);
    let (word, reason) = rest.split_at_checked(4)?;
    let pass = if word.eq_ignore_ascii_case("PASS") {
        true
    } else if word.eq_ignore_ascii_case("FAIL") {
        false
    } else {
        return None;
    };
    // PASSING is another word.
    if reason.starts_with(|c: char| c.is_alphanumeric() && !reason.to_ascii_uppercase().starts_with("ED")) {
        return None;
    }
    let reason = reason.strip_prefix("ED").or_else(|| reason.strip_prefix("ed")).unwrap_or(reason);
    let reason = reason.trim_matches(|c: char| is_decoration(c) || matches!(c, ':' | '.' | '—' | '–'));
    Some(Verdict { pass, reason: Some(text::line(reason, 500)).filter(|reason| !reason.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_verdict_counts() {
        let found = |text: &str| in_text(text).map(|verdict| (verdict.pass, verdict.reason));
        assert_eq!(found("ok\nVERDICT: PASS\n"), Some((true, None)));
        assert_eq!(
            found("VERDICT: PASS\nVERDICT: FAIL: 404 on /a: b"),
            Some((false, Some("404 on /a: b".into())))
        );
        assert_eq!(found("**VERDICT: FAIL** — no title\nagentId: 1"), Some((false, Some("no title".into()))));
        assert_eq!(found("- Verdict: passed."), Some((true, None)));
        for none in ["", "the VERDICT: PASS", "VERDICT:", "VERDICT: PASSING", "VERDICT PASS", "VERDICT: äß"]
        {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
