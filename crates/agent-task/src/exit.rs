//! Exit codes: the same in every piece, and what the Job's `podFailurePolicy` is written against.

/// How a piece ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// The work is done.
    Done = 0,
    /// It failed, and doing the same again would fail again.
    Failed = 1,
    /// It was called wrongly: arguments, input or surroundings. Nothing was begun.
    Usage = 2,
    /// It failed for a reason that passes: network, 429, 5xx, a conflict. Worth a retry.
    Retry = 3,
    /// It is not allowed: credentials are missing or wrong, or a permission is lacking.
    Denied = 4,
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    /// P1
    #[test]
    fn codes_are_the_contract() {
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Retry, Exit::Denied].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4]);
    }
}
