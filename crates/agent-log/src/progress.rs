//! The view on stderr: redrawn on a terminal, else a line for each thing of interest.

mod live;
mod plain;

pub use live::Live;
pub use plain::Plain;

use crate::notice::View;
use std::io::{self, IsTerminal as _};

/// The view that suits stderr: [`Live`] on a terminal, else [`Plain`].
#[must_use]
pub fn auto() -> Box<dyn View + Send> {
    if suits_live() { Box::new(Live::new()) } else { Box::new(Plain::new(io::stderr())) }
}

/// Whether stderr is a terminal on which something can be redrawn.
#[must_use]
pub fn suits_live() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Whether stderr shows colours, and wants them: see <https://no-color.org>.
#[must_use]
pub fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
