//! How many shards a destination needs: from what comes in and how long sending takes.
//!
//! Every ten seconds, with rates smoothed as Prometheus smooths them; a change of less than 30 %
//! is not worth emptying the shards. What is queued is known here, where Prometheus estimates it
//! from timestamps. Not here: the exchange of shards (`feed.rs`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::pause;
use crate::destination::Destination;
use crate::feed::Feed;

/// Between two looks.
const TICK: Duration = Duration::from_secs(10);
/// Weight of the newest tick in a smoothed rate.
const WEIGHT: f64 = 0.2;
/// Changes below this fraction are not made.
const TOLERANCE: f64 = 0.3;
/// Fraction of what is queued that shall be caught up a second.
const CATCH_UP: f64 = 0.05;
/// Fewer shards are not taken while more than this is queued, in seconds of what comes in.
const BEHIND_S: f64 = 10.0;

/// Events since the last tick.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    came: AtomicU64,
    left: AtomicU64,
    dropped: AtomicU64,
    sending_ns: AtomicU64,
}

/// Smoothed events a second.
#[derive(Debug, Clone, Copy, Default)]
struct Smoothed {
    per_s: f64,
    begun: bool,
}

/// All that the number of shards follows from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    came: Smoothed,
    left: Smoothed,
    dropped: Smoothed,
    /// Seconds spent sending, a second.
    sending_s: Smoothed,
}

/// Bounds of the number of shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

// === impl Rates ===

impl Rates {
    /// Samples that were given to the destination.
    pub(crate) fn came(&self, samples: u64) {
        self.came.fetch_add(samples, Ordering::Relaxed);
    }

    /// Samples that were delivered.
    pub(crate) fn left(&self, samples: u64) {
        self.left.fetch_add(samples, Ordering::Relaxed);
    }

    /// Samples that were dropped.
    pub(crate) fn dropped(&self, samples: u64) {
        self.dropped.fetch_add(samples, Ordering::Relaxed);
    }

    /// Time that one block took, with all its tries.
    pub(crate) fn sending(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sending_ns.fetch_add(took, Ordering::Relaxed);
    }

    fn drain(&self) -> [f64; 4] {
        let [came, left, dropped, sending_ns] =
            [&self.came, &self.left, &self.dropped, &self.sending_ns]
                .map(|events| events.swap(0, Ordering::Relaxed) as f64);
        [came, left, dropped, sending_ns / 1e9]
    }
}

// === impl Smoothed ===

impl Smoothed {
    fn tick(&mut self, events: f64) {
        let now = events / TICK.as_secs_f64();
        self.per_s = if self.begun { WEIGHT * now + (1.0 - WEIGHT) * self.per_s } else { now };
        self.begun |= now > 0.0;
    }
}

// === impl Load ===

impl Load {
    /// Takes in the events of one tick.
    pub(crate) fn tick(&mut self, events: [f64; 4]) {
        let [came, left, dropped, sending_s] = events;
        self.came.tick(came);
        self.left.tick(left);
        self.dropped.tick(dropped);
        self.sending_s.tick(sending_s);
    }

    /// How many shards would do, as a fraction; none if nothing was sent yet.
    pub(crate) fn desired(&self, queued: f64) -> Option<f64> {
        if self.left.per_s <= 0.0 {
            return None;
        }
        let kept = self.left.per_s / (self.dropped.per_s + self.left.per_s);
        let per_sample_s = self.sending_s.per_s / self.left.per_s;
        Some(per_sample_s * (self.came.per_s * kept + CATCH_UP * queued))
    }

    /// How many shards to take, having `now`.
    pub(crate) fn shards(&self, queued: f64, now: usize, bounds: Bounds) -> usize {
        let Some(desired) = self.desired(queued).map(f64::ceil) else { return now };
        let (low, high) = (now as f64 * (1.0 - TOLERANCE), now as f64 * (1.0 + TOLERANCE));
        if (low..=high).contains(&desired) {
            return now;
        }
        let shards = (desired as usize).clamp(bounds.min, bounds.max);
        let behind = queued > BEHIND_S * self.came.per_s;
        if shards < now && behind { now } else { shards }
    }
}

/// Looks every ten seconds, while the feed lives. Who needs the most shards decides; one that is in
/// trouble asks for none.
pub(crate) async fn watch(feed: Weak<Feed>) {
    loop {
        let Some(abandoned) = feed.upgrade().map(|found| found.members[0].abandoned.clone()) else {
            return;
        };
        pause(TICK, &abandoned).await;
        let Some(feed) = feed.upgrade().filter(|_| !abandoned.is_cancelled()) else { return };
        let now = feed.shard_count();
        let wanted = feed.members.iter().map(|member| wanted(member, now));
        let Some((shards, member)) = wanted.zip(&feed.members).max_by_key(|(shards, _)| *shards)
        else {
            return;
        };
        let recently = feed.config.queue.batch_deadline * 2;
        if shards != now && member.meters.sends_well(Instant::now(), recently) {
            feed.reshard(shards);
        }
    }
}

/// How many shards a destination should have.
fn wanted(destination: &Destination, now: usize) -> usize {
    let Destination { meters, config, rates, .. } = destination;
    let mut load = rates.lock().unwrap_or_else(PoisonError::into_inner);
    load.tick(meters.rates.drain());
    meters.delivers(load.left.per_s);
    let queued = destination.load().samples as f64;
    meters.want_shards(load.desired(queued).unwrap_or(now as f64));
    let bounds = Bounds { min: config.queue.shards_min, max: config.queue.shards_max };
    load.shards(queued, now, bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: 1, max: 50 };

    /// After many ticks alike.
    fn steady(came: f64, left: f64, sending_s: f64) -> Load {
        let mut load = Load::default();
        (0..50).for_each(|_| load.tick([came, left, 0.0, sending_s].map(|per_s| per_s * 10.0)));
        load
    }

    #[track_caller]
    fn check(load: Load, queued: f64, now: usize, want: usize) {
        assert_eq!(load.shards(queued, now, BOUNDS), want, "{:?}", load.desired(queued));
    }

    #[test]
    fn as_many_shards_as_sending_keeps_busy() {
        check(steady(1000.0, 1000.0, 4.2), 0.0, 1, 5);
        check(steady(1000.0, 1000.0, 0.2), 0.0, 8, 1);
        check(steady(1000.0, 1000.0, 400.0), 0.0, 8, 50);
    }

    #[test]
    fn small_changes_are_not_made() {
        check(steady(1000.0, 1000.0, 11.9), 0.0, 10, 10);
        check(steady(1000.0, 1000.0, 13.5), 0.0, 10, 14);
    }

    #[test]
    fn a_backlog_takes_more_shards_and_never_fewer() {
        check(steady(1000.0, 1000.0, 1.0), 100_000.0, 1, 6);
        check(steady(1000.0, 1000.0, 0.1), 100_000.0, 8, 8);
    }

    #[test]
    fn nothing_is_known_before_something_was_sent() {
        check(steady(1000.0, 0.0, 0.0), 1e6, 3, 3);
    }
}
