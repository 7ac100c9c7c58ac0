//! How fast one destination may send: turns handed out so that a rate is kept.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Samples a second, over all shards of a destination.
#[derive(Debug)]
pub(crate) struct Pace {
    samples_per_s: u64,
    /// When the next block may go. A lock, because shards ask at the same time; held for a moment.
    next: Mutex<Instant>,
}

// === impl Pace ===

impl Pace {
    pub(crate) fn new(samples_per_s: u64) -> Pace {
        Pace { samples_per_s: samples_per_s.max(1), next: Mutex::new(Instant::now()) }
    }

    /// When a block of so many samples may be sent.
    pub(crate) fn turn_of(&self, samples: u64) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(Instant::now());
        *next = turn + Duration::from_secs_f64(samples as f64 / self.samples_per_s as f64);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_waits_for_as_long_as_those_before_it_take() {
        let pace = Pace::new(1000);
        let (first, second, third) = (pace.turn_of(500), pace.turn_of(2000), pace.turn_of(1));
        assert_eq!((second - first).as_millis(), 500);
        assert_eq!((third - first).as_millis(), 2500);
    }
}
