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
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if io::stderr().is_terminal() && !is_dumb {
        Box::new(Live::new())
    } else {
        Box::new(Plain::new(io::stderr()))
    }
}

/// Whether stderr shows colours, and wants them: see <https://no-color.org>.
#[must_use]
pub fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
