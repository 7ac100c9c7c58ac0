//! How much came in for all `remote_write` together: what was given to the one that was given
//! most, from one reading of the books to the next.
//!
//! Prometheus counts that once and without labels; dashboards compare it with what each sender
//! has sent. Without routes every sender is given the same. It never goes back, whatever a reload
//! takes away.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::block::Counts;

/// The sum so far. A lock, because readers of metrics share it; held for an addition.
#[derive(Debug, Default)]
pub(crate) struct Intake(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    total: Counts,
    /// What each destination had been given at the last reading.
    given: HashMap<String, Counts>,
}

// === impl Intake ===

impl Intake {
    /// The sum, when destinations have been given this much by now.
    pub(super) fn read(&self, now: impl Iterator<Item = (String, Counts)>) -> Counts {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut most, mut given) = (Counts::default(), HashMap::new());
        for (name, counts) in now {
            let before = books.given.get(&name).copied().unwrap_or_default();
            let more = |kind: fn(&Counts) -> u64| match (kind(&before), kind(&counts)) {
                (before, now) if before <= now => now - before,
                (_, now) => now, // it was started again
            };
            most.samples = most.samples.max(more(|counts| counts.samples));
            most.histograms = most.histograms.max(more(|counts| counts.histograms));
            most.exemplars = most.exemplars.max(more(|counts| counts.exemplars));
            given.insert(name, counts);
        }
        books.given = given;
        books.total += most;
        books.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_of_the_same_are_counted_once_and_nothing_is_taken_back() {
        let intake = Intake::default();
        let read = |now: &[(&str, u64)]| {
            let now = now.iter().map(|(name, samples)| {
                ((*name).to_owned(), Counts { samples: *samples, ..Counts::default() })
            });
            intake.read(now).samples
        };
        assert_eq!(read(&[("a", 10), ("b", 10)]), 10);
        assert_eq!(read(&[("a", 15), ("b", 12)]), 15);
        assert_eq!(read(&[("b", 22)]), 25);
        assert_eq!(read(&[]), 25);
        assert_eq!(read(&[("b", 4)]), 29);
    }
}
