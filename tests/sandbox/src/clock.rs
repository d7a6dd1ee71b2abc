//! The servers' time.

use jiff::{SignedDuration, Timestamp};
use std::sync::{Mutex, PoisonError};

/// The system's time plus what it was advanced by. Tokens expire and signatures are judged by it.
#[derive(Debug, Default)]
pub struct Clock {
    ahead: Mutex<SignedDuration>,
}

impl Clock {
    /// The servers' time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock forward, or back by a negative duration.
    pub fn advance(&self, by: SignedDuration) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}
