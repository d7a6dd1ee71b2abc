//! Where the run's branch must point once the command has ended. The command may have left HEAD anywhere.

/// What is known of the commit that HEAD and the work tree stand at (with what was left uncommitted), and of the run's
/// branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// HEAD is the run's branch.
    pub(crate) on_branch: bool,
    /// The branch's tip is HEAD's commit or an ancestor of it. Also where the branch is gone.
    pub(crate) holds_branch: bool,
    /// HEAD's commit is the branch's tip or an ancestor of it.
    pub(crate) held_by_branch: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// The branch moves to HEAD's commit, and HEAD to the branch.
    Advance,
    /// The branch has everything already.
    Stay,
    /// Each has what the other has not: HEAD's commit is kept under a name of its own beside the branch.
    Beside,
}

/// Decides it: no commit may become unreachable.
pub(crate) fn settle(facts: Facts) -> Settlement {
    match facts {
        Facts { on_branch: true, .. } | Facts { holds_branch: true, .. } => Settlement::Advance,
        Facts { held_by_branch: true, .. } => Settlement::Stay,
        _ => Settlement::Beside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P2
    #[test]
    fn the_branch_follows_the_work_and_loses_none() {
        let at = |on_branch, holds_branch, held_by_branch| {
            settle(Facts { on_branch, holds_branch, held_by_branch })
        };
        assert_eq!(at(true, true, true), Settlement::Advance, "the usual case");
        assert_eq!(
            at(false, true, false),
            Settlement::Advance,
            "commits on a detached HEAD or another branch"
        );
        assert_eq!(at(false, false, true), Settlement::Stay, "gone back to the base");
        assert_eq!(at(false, false, false), Settlement::Beside, "both have commits of their own");
    }
}
