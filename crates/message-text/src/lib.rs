//! Text of agents and people, made fit for a message that others read.
//!
//! A pull request and a chat message take text that nobody has looked at: a prompt, an agent's last words, an error with
//! colour codes in it. Here it is made [printable](printable()), put on [one line](one_line), and brought
//! [within a limit](shorten_middle). What a message's markup would make of it is the concern of whoever writes that markup.
//!
//! All lengths are in UTF-16 code units, which is how Discord counts; a text is never longer in characters.

pub mod figures;
mod printable;
mod shorten;

pub use printable::{JOINERS, is_unseen, one_line, printable, unjoined};
pub use shorten::{fit, shorten_end, shorten_middle};

/// The length of `text` in UTF-16 code units.
#[must_use]
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
