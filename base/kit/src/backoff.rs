//! How long to wait before the next try.

use std::time::Duration;

/// Waits that double from `min` to `max`. [`Backoff::next_jittered`] spreads them, so that many
/// who failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `min`.
    pub fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { min, max, next: min }
    }

    /// The next wait; the one after it is twice as long, `max` at most.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait
    }

    /// The next wait, between half of it and all of it. `chance` is in 0..1.
    pub fn next_jittered(&mut self, chance: f64) -> Duration {
        self.next_wait().mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Starts again from `min`: the try succeeded.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(30), Duration::from_millis(100));
        let waits: Vec<u128> = (0..4).map(|_| backoff.next_wait().as_millis()).collect();
        assert_eq!(waits, [30, 60, 100, 100]);
        backoff.reset();
        assert_eq!(backoff.next_jittered(0.0).as_millis(), 15);
    }
}
