//! Whether a run could begin here: what `branch-run` looks at before it does anything, for programs that say so beforehand.

use crate::push;
use crate::workspace::Workspace;
use std::path::Path;

/// A work tree that a run could begin in. Nothing of it is changed.
#[derive(Debug)]
pub struct Checkout(Workspace);

/// What a run would begin at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// HEAD's commit, in full.
    pub commit: String,
    /// HEAD's branch; none where it is detached.
    pub branch: Option<String>,
}

impl Checkout {
    /// The work tree that `start` is in.
    ///
    /// # Errors
    /// A usage fault where it is in none.
    pub fn find(start: &Path) -> anyhow::Result<Self> {
        Workspace::find(start).map(Self)
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.0.root()
    }

    /// The URL of the remote `origin`, as it is configured.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        self.0.origin()
    }

    /// Checks that a run for `base` may begin: the branch is there, HEAD has a commit, nothing is in progress, and
    /// nothing is uncommitted.
    ///
    /// # Errors
    /// A usage fault with what to do.
    pub fn check(&self, base: &str) -> anyhow::Result<Ready> {
        push::check_base(base)?;
        let start = self.0.check(base)?;
        let branch = start.branch().map(str::to_owned);
        Ok(Ready { commit: start.commit.to_string(), branch })
    }
}
