//! When a target's turn is, and which timestamp its samples get.

use std::time::Duration;

use kit::Clock;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::target::{OffsetSeed, Target};

/// A scrape that is at most this late gets the timestamp of its turn (a hundredth of the interval,
/// if that is less). Even distances compress better.
const TOLERANCE: Duration = Duration::from_millis(2);

/// The turns of one target.
pub(super) struct Turns {
    interval: Duration,
    ticks: Interval,
    /// One scrape before the first turn.
    at_once: bool,
    /// Ideal time of the latest turn, in milliseconds since the epoch.
    aligned_ms: Option<i64>,
}

impl Turns {
    /// The first turn hangs on the wall clock, the others follow it at even distances.
    pub(super) fn new(
        target: &Target,
        seed: OffsetSeed,
        at_once: bool,
        clock: &dyn Clock,
    ) -> Turns {
        let interval = target.interval;
        let wait = target.identity.wait(interval, seed, clock.unix_ms());
        let mut ticks = tokio::time::interval_at(Instant::now() + wait, interval);
        // One turn that was missed comes at once, further ones do not come at all.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Turns { interval, ticks, at_once, aligned_ms: None }
    }

    /// Returns at the next turn. Safe to drop and to ask again.
    pub(super) async fn next(&mut self) {
        if self.at_once {
            return;
        }
        self.ticks.tick().await;
    }

    /// The timestamp of the scrape whose turn has just come, at `now_ms`.
    pub(super) fn timestamp_ms(&mut self, now_ms: i64) -> i64 {
        if std::mem::take(&mut self.at_once) {
            return now_ms;
        }
        let (timestamp_ms, aligned_ms) = align(self.aligned_ms, now_ms, self.interval);
        self.aligned_ms = Some(aligned_ms);
        timestamp_ms
    }
}

/// The timestamp for a scrape at `now_ms`, and the ideal time of its turn.
fn align(aligned_ms: Option<i64>, now_ms: i64, interval: Duration) -> (i64, i64) {
    let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let tolerance_ms = TOLERANCE.min(interval / 100).as_millis() as i64;
    let Some(aligned_ms) = aligned_ms else { return (now_ms, now_ms) };
    let turns = (now_ms - aligned_ms).div_euclid(interval_ms);
    // A turn can come a little early by the wall clock.
    let early = now_ms - aligned_ms + tolerance_ms;
    if turns < 0 && early < 0 {
        return (now_ms, now_ms); // the wall clock was set back
    }
    let aligned_ms = aligned_ms + turns.max(0) * interval_ms;
    let next_ms = aligned_ms + interval_ms;
    if next_ms - now_ms <= tolerance_ms {
        return (next_ms, next_ms);
    }
    let late = now_ms - aligned_ms <= tolerance_ms;
    (if late { aligned_ms } else { now_ms }, aligned_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scrapes at these times (the first is the first turn), with these timestamps.
    #[track_caller]
    fn check(interval: u64, scrapes: &[(i64, i64)]) {
        let mut aligned = None;
        for (now_ms, want_ms) in scrapes {
            let (got_ms, next) = align(aligned, *now_ms, Duration::from_millis(interval));
            assert_eq!(got_ms, *want_ms, "at {now_ms}");
            aligned = Some(next);
        }
    }

    #[test]
    fn a_scrape_that_is_hardly_late_has_the_time_of_its_turn() {
        check(1000, &[(5000, 5000), (6001, 6000), (7002, 7000), (8003, 8003), (9002, 9000)]);
        check(1000, &[(5000, 5000), (5999, 6000), (6998, 7000)]);
    }

    #[test]
    fn the_tolerance_is_a_hundredth_of_a_short_interval() {
        check(100, &[(5000, 5000), (5101, 5100), (5202, 5202), (5301, 5300)]);
    }

    #[test]
    fn missed_turns_are_left_out() {
        check(1000, &[(5000, 5000), (8001, 8000), (9500, 9500), (10_001, 10_000)]);
    }

    #[test]
    fn a_wall_clock_that_jumps_sets_new_turns() {
        check(1000, &[(5000, 5000), (1000, 1000), (2001, 2000)]);
        check(1000, &[(5000, 5000), (3_600_500, 3_600_500), (3_601_500, 3_601_500)]);
    }
}
