//! Time and chance, so that a test decides both.

use jiff::Timestamp;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

/// What the client needs of the world besides the network.
pub trait Clock: Send + Sync {
    /// The time of day, which the servers' headers are compared with.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment, on a clock that never jumps.
    fn uptime(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration);
    /// A number from 0 to 1 (excluded) that nobody can foresee, which spreads retries.
    fn chance(&self) -> f64;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn chance(&self) -> f64 {
        // Every `RandomState` is keyed afresh; 32 bits of its hash are chance enough.
        let bits = RandomState::new().build_hasher().finish() >> 32;
        f64::from(u32::try_from(bits).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
    }
}
