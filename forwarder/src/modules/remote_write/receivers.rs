//! Several URLs of one destination: which is asked next.
//!
//! Where series are divided between them, a block is for one of them and no other is asked. Else one that failed is left alone for a while, unless all have failed. Without load balancing the
//! first that has not failed is asked, so the first of all is returned to by itself.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use model::Moment;

/// A receiver that failed is not asked again before.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// How one of several is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The first; another one while it fails.
    FirstThatWorks,
    /// One after the other.
    InTurn,
    /// The one that the block's series belong to.
    BySeries,
}

/// All URLs.
#[derive(Debug)]
pub(super) struct Receivers {
    urls: Vec<String>,
    /// Until when each is left alone, as the nanoseconds of a moment.
    alone_until: Vec<AtomicU64>,
    choice: Choice,
    turn: AtomicUsize,
}

/// The one to ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receiver<'u> {
    pub(super) at: usize,
    pub(super) url: &'u str,
}

// === impl Receivers ===

impl Receivers {
    pub(super) fn new(urls: Vec<String>, choice: Choice) -> Receivers {
        let alone_until = urls.iter().map(|_| AtomicU64::new(0)).collect();
        Receivers { urls, alone_until, choice, turn: AtomicUsize::new(0) }
    }

    /// The receiver for the next request, which is for this part of the series.
    pub(super) fn choose(&self, part: usize, now: Moment) -> Receiver<'_> {
        let count = self.urls.len();
        let first = match self.choice {
            Choice::FirstThatWorks => 0,
            Choice::InTurn => self.turn.fetch_add(1, Ordering::Relaxed) % count,
            Choice::BySeries => {
                let at = part % count;
                return Receiver { at, url: &self.urls[at] };
            }
        };
        let in_turn = (0..count).map(|at| (first + at) % count);
        let until = |at: &usize| self.alone_until[*at].load(Ordering::Relaxed);
        let well = in_turn.clone().find(|at| until(at) <= now.0);
        // All have failed: the one that failed first may be well again.
        let at = well.or_else(|| in_turn.min_by_key(until)).unwrap_or(0);
        Receiver { at, url: &self.urls[at] }
    }

    /// A receiver did not answer, or not well; it may have asked for so much time.
    pub(super) fn failed(&self, at: usize, now: Moment, asked: Option<Duration>) {
        let alone = asked.unwrap_or_default().max(LEFT_ALONE);
        self.alone_until[at].store(now.after(alone).0, Ordering::Relaxed);
    }

    /// Whether another one than the one that failed can be asked at once.
    pub(super) fn another_is_well(&self, now: Moment) -> bool {
        let well = |until: &AtomicU64| until.load(Ordering::Relaxed) <= now.0;
        self.choice != Choice::BySeries && self.alone_until.iter().any(well)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn the_next_one_is_asked_while_the_first_fails() {
        let receivers = Receivers::new(urls(), Choice::FirstThatWorks);
        let at = |second: u64| Moment(1 + second * 1_000_000_000);
        assert_eq!(receivers.choose(0, at(0)).url, "a");
        receivers.failed(0, at(0), None);
        assert_eq!(receivers.choose(0, at(1)).url, "b");
        receivers.failed(1, at(1), None);
        receivers.failed(2, at(2), None);
        assert_eq!(receivers.choose(0, at(3)).url, "a");
        receivers.failed(0, at(3), None);
        assert_eq!(receivers.choose(0, at(4)).url, "b");
        assert_eq!(receivers.choose(0, at(40)).url, "a");
    }

    #[test]
    fn one_that_asked_for_time_has_it_while_another_is_well() {
        let receivers = Receivers::new(urls(), Choice::FirstThatWorks);
        let at = |second: u64| Moment(1 + second * 1_000_000_000);
        receivers.failed(0, at(0), Some(Duration::from_secs(120)));
        assert!(receivers.another_is_well(at(1)));
        assert_eq!(receivers.choose(0, at(60)).url, "b");
        receivers.failed(1, at(60), None);
        receivers.failed(2, at(60), None);
        assert!(!receivers.another_is_well(at(61)));
        assert_eq!(receivers.choose(0, at(121)).url, "a");
    }

    #[test]
    fn load_is_spread_over_those_that_do_not_fail() {
        let receivers = Receivers::new(urls(), Choice::InTurn);
        receivers.failed(1, Moment(1), None);
        let asked: Vec<&str> = (0..6).map(|_| receivers.choose(0, Moment(2)).url).collect();
        assert_eq!(asked, ["a", "c", "c", "a", "c", "c"]);
    }

    #[test]
    fn what_belongs_to_one_goes_to_no_other() {
        let receivers = Receivers::new(urls(), Choice::BySeries);
        receivers.failed(1, Moment(1), None);
        let asked: Vec<&str> = (0..4).map(|part| receivers.choose(part, Moment(2)).url).collect();
        assert_eq!(asked, ["a", "b", "c", "a"]);
    }
}
