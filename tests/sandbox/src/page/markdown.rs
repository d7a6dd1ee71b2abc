//! Markdown from strangers as HTML that can do nothing.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

/// The text as HTML: raw HTML is shown as text, pictures are their descriptions, links go to http(s) only.
pub(super) fn html(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut dropped_links = 0_usize;
    let events = Parser::new_ext(text, options).filter_map(|event| match event {
        // GitHub does not show a comment.
        Event::Html(raw) | Event::InlineHtml(raw) if raw.trim_start().starts_with("<!--") => None,
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link { ref dest_url, .. }) if !is_web(dest_url) => {
            dropped_links += 1;
            None
        }
        Event::End(TagEnd::Link) if dropped_links > 0 => {
            dropped_links -= 1;
            None
        }
        other => Some(other),
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

fn is_web(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::html;

    #[test]
    fn links_that_are_not_the_webs_are_text() {
        assert_eq!(
            html("[a](javascript:b) [c](https://example.org)"),
            "<p>a <a href=\"https://example.org\">c</a></p>\n"
        );
    }

    #[test]
    fn raw_html_is_shown_and_a_comment_is_not() {
        assert_eq!(
            html("a <b onclick=c>d</b> <!-- e -->").trim_end(),
            "<p>a &lt;b onclick=c&gt;d&lt;/b&gt; </p>"
        );
    }

    #[test]
    fn tables_are_tables() {
        assert!(html("| a | b |\n|---|---|\n| c | d |").contains("<td>c</td>"));
    }
}
