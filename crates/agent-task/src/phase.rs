//! How far a task has come, as its status in the cluster says it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The status' `phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// It waits to run; the status' message says for what.
    Pending,
    /// It waits for the time that its schedule names.
    Scheduled,
    /// Its Job is at work.
    Running,
    /// It waits until the subscription's usage limit resets, without a pod.
    Parked,
    /// Its run ended well.
    Succeeded,
    /// Its run ended otherwise.
    Failed,
}

impl Phase {
    /// Every phase, in the order of the declaration.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Scheduled, Self::Running, Self::Parked, Self::Succeeded, Self::Failed];

    /// Whether no run is to come from this trigger.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K1
    #[test]
    fn phases_are_named_as_ever() {
        let names =
            [Phase::Pending, Phase::Running, Phase::Succeeded, Phase::Failed].map(|phase| phase.to_string());
        assert_eq!(names, ["Pending", "Running", "Succeeded", "Failed"]);
        assert!(Phase::Failed.is_final() && !Phase::Parked.is_final());
    }
}
