//! Text that Kubernetes hands on as it is.

/// In arguments and variables Kubernetes replaces `$(NAME)`, and takes `$$` for a dollar that begins nothing. With every
/// dollar doubled, what arrives is what was meant; a single one before another character would even break a character of
/// several bytes.
pub(crate) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K3
    #[test]
    fn nothing_is_left_for_kubernetes_to_replace() {
        for (text, escaped) in [
            ("$(HOME)", "$$(HOME)"),
            ("$$(HOME)", "$$$$(HOME)"),
            ("5$", "5$$"),
            ("$é", "$$é"),
            ("`id` \"'\n\\", "`id` \"'\n\\"),
        ] {
            assert_eq!(literal(text), escaped);
        }
    }
}
