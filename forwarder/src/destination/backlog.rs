//! What a durable destination found on disk when it started: sent before anything that came since.
//! (Unless the destination wants the newest first: then beside it.)
//!
//! The shards that wrote it are there again, set after set: within a set they send side by side,
//! and a set begins when the one before it has ended. So every series keeps its order. Where
//! receivers have the series between them, that holds for each of them, and none waits for another.
//! A destination that shared a log with others before, or shares one only now, has more than one:
//! numbers of sets grow over all of them, so the oldest set goes first, wherever it is.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use kit::Chain;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::Destination;
use crate::disk::{Keeper, KeeperConfig, Opened, Use, Waits, former_logs};
use crate::feed::file_name;
use crate::queue::{Found, Origin, Queue};
use crate::sender::{Before, Sender};
use crate::shard::Outlet;

/// A log in which the destination has a place.
pub(crate) struct Stored {
    queue: Arc<Queue>,
    /// What the log's thread says.
    told: mpsc::Receiver<Opened>,
    /// Nobody writes to it any more.
    is_former: bool,
}

/// Where logs are that the destination may have written in other company.
pub(crate) struct FormerLogs {
    /// The folder of their folders.
    pub(crate) queues: PathBuf,
    /// Of the log that it writes now.
    pub(crate) config: KeeperConfig,
}

/// Sets with a smaller number are of before sets were numbered by the clock: logs counted for
/// themselves.
const NUMBERED_BY_CLOCK: u32 = 1_000_000_000;

/// Outlets for what a set of shards has left in a log. Sets that began in the same second, in
/// different logs, are told apart by the time of their samples.
pub(super) struct Set {
    /// Of one whose number tells nothing beyond its log: when that log began.
    log_ms: i64,
    number: u32,
    newest_ms: i64,
    pub(super) outlets: Vec<Arc<Outlet>>,
}

/// Sends what is on disk when `before` has ended, and then tells `sent`, by part. A log that
/// cannot be opened does not hold up what comes; what it is found to have later is sent beside it.
pub(crate) async fn send(
    destination: Arc<Destination>,
    (current, former): (Stored, FormerLogs),
    before: Option<Before>,
    sent: Vec<CancellationToken>,
) {
    let abandoned = destination.abandoned.clone();
    if let Some(before) = before {
        tokio::select! {
            () = before.ended() => {}
            () = abandoned.cancelled() => {}
        }
    }
    let (mut found, mut failed, mut done) = (Vec::new(), Vec::new(), Vec::new());
    // Only now everything is where the one before has left it.
    for mut log in former.open(&destination).into_iter().chain([current]) {
        let opened = tokio::select! {
            opened = log.told.recv() => opened.map(|opened| log.latest(opened)),
            () = abandoned.cancelled() => None,
        };
        if let Some(opened) = &opened {
            opened.book(&destination.ledger);
        }
        match opened {
            Some(Opened::Found { waiting, .. }) => found.push((log, waiting)),
            Some(Opened::Failed) => failed.push(log),
            None => {
                // What came since stays behind what is on disk.
                destination.left.store(true, Ordering::Relaxed);
                done.push(log);
            }
        }
    }
    // When all are open, what was left and is in none of them is nowhere.
    let closed = AtomicUsize::new(failed.len() + done.len());
    if closed.load(Ordering::Relaxed) == 0 {
        destination.ledger.give_up_left();
    }
    let sets = found.iter().flat_map(|(log, waiting)| log.take_in(&destination, waiting));
    let mut sets: Vec<Set> = sets.collect();
    sets.sort_by_key(|set| (set.log_ms, set.number, set.newest_ms));
    let parts = sent.iter().enumerate().map(|(part, sent)| {
        let (destination, sets) = (&destination, &sets);
        async move {
            send_part(destination, sets, part).await;
            sent.cancel();
        }
    });
    join_all(parts).await;
    done.extend(found.into_iter().map(|(log, _)| log));
    join_all(done.iter().filter_map(Stored::close)).await;
    join_all(failed.into_iter().map(|log| send_later(&destination, log, &closed))).await;
}

/// Sends what is in a log that could not be opened at first, as so many are still `closed`.
async fn send_later(destination: &Arc<Destination>, mut log: Stored, closed: &AtomicUsize) {
    let opened = tokio::select! {
        opened = log.told.recv() => opened,
        () = destination.stopping.cancelled() => None,
    };
    if let Some(opened) = opened {
        opened.book(&destination.ledger);
        if let Opened::Found { waiting, .. } = opened {
            if closed.fetch_sub(1, Ordering::Relaxed) == 1 {
                destination.ledger.give_up_left();
            }
            let sets = log.take_in(destination, &waiting);
            let parts = 0..destination.config.parts;
            join_all(parts.map(|part| send_part(destination, &sets, part))).await;
        }
    }
    if let Some(closed) = log.close() {
        closed.await;
    }
}

/// Sends what is for one receiver.
pub(super) async fn send_part(destination: &Arc<Destination>, sets: &[Set], part: usize) {
    let mut sets: Vec<&Set> = sets.iter().collect();
    if !destination.keeps_order() {
        sets.reverse();
    }
    for Set { outlets, .. } in sets {
        let (senders, finish) = (TaskTracker::new(), CancellationToken::new());
        finish.cancel(); // nothing more comes to these
        for outlet in outlets.iter().filter(|outlet| outlet.part == part) {
            let (destination, outlet) = (Arc::clone(destination), Arc::clone(outlet));
            let (finish, seals, before) = (finish.clone(), None, None);
            senders.spawn(Sender { destination, outlet, seals, finish, before }.run());
        }
        senders.close();
        senders.wait().await;
    }
}

// === impl Set ===

impl Set {
    /// One that is in no log.
    pub(super) fn of_this_process(number: u32) -> Set {
        Set { log_ms: i64::MAX, number, newest_ms: 0, outlets: Vec::new() }
    }
}

// === impl FormerLogs ===

impl FormerLogs {
    /// Starts the threads of those in which there is a place of the destination.
    fn open(self, destination: &Destination) -> Vec<Stored> {
        let FormerLogs { queues, config } = self;
        let reader = file_name(&destination.config.name);
        let left = |failed: &io::Error| {
            error!(
                destination = %destination.config.name, error = %Chain(failed),
                "what is left in a log of former times waits for the next start"
            );
        };
        let former = former_logs(&queues, &reader, &config.folder);
        let former = former.inspect_err(left).unwrap_or_default();
        let mut stored = Vec::new();
        for folder in former {
            let keeper = Keeper::default();
            let queue = destination.former_queue(&keeper);
            let config = KeeperConfig { folder, used: Use::Former, ..config.clone() };
            let readers = vec![destination.reader(&queue)];
            match keeper.start(config, readers, Arc::clone(&destination.clock)) {
                Ok(told) => {
                    stored.extend(told.into_iter().map(|told| Stored::former(&queue, told)))
                }
                Err(failed) => left(&failed),
            }
        }
        stored
    }
}

// === impl Stored ===

impl Stored {
    /// The log that the destination writes.
    pub(crate) fn current(queue: &Arc<Queue>, told: mpsc::Receiver<Opened>) -> Stored {
        Stored { queue: Arc::clone(queue), told, is_former: false }
    }

    /// One that it has written.
    fn former(queue: &Arc<Queue>, told: mpsc::Receiver<Opened>) -> Stored {
        Stored { queue: Arc::clone(queue), told, is_former: true }
    }

    /// What the log's thread said last, if it has said more than this.
    fn latest(&mut self, mut opened: Opened) -> Opened {
        while let Ok(later) = self.told.try_recv() {
            opened = later;
        }
        opened
    }

    /// Takes what waits into the queue: all of it before any is sent, so that numbers grow as
    /// sequences do.
    fn take_in(&self, destination: &Destination, waiting: &[Waits]) -> Vec<Set> {
        let mut outlets: BTreeMap<Origin, Arc<Outlet>> = BTreeMap::new();
        for one in waiting {
            let outlet = || destination.outlet(&self.queue, one.origin);
            outlets.entry(one.origin).or_insert_with(outlet);
        }
        let now_ms = destination.clock.unix_ms();
        self.queue.take_in(waiting.iter().map(|one| {
            let Waits { sequence, origin, counts, bytes, newest_ms } = *one;
            let waited_ms = u64::try_from(now_ms.saturating_sub(newest_ms)).unwrap_or(0);
            let waited = Duration::from_millis(waited_ms);
            (outlets[&origin].lane, Found { sequence, counts, bytes, waited })
        }));
        let first_ms = waiting.first().map_or(0, |one| one.newest_ms);
        let mut sets: BTreeMap<u32, Set> = BTreeMap::new();
        for one in waiting {
            let (number, newest_ms) = (one.origin.set, one.newest_ms);
            let log_ms = if number < NUMBERED_BY_CLOCK { first_ms } else { i64::MAX };
            let set = || Set { log_ms, number, newest_ms, outlets: Vec::new() };
            sets.entry(number).or_insert_with(set);
        }
        for (origin, outlet) in outlets {
            sets.entry(origin.set).and_modify(|set| set.outlets.push(outlet));
        }
        sets.into_values().collect()
    }

    /// The end of a log that nobody writes to any more.
    fn close(&self) -> Option<impl Future<Output = ()>> {
        let keeper = self.queue.keeper().filter(|_| self.is_former).cloned()?;
        Some(async move { keeper.close().await })
    }
}

#[cfg(test)]
mod tests {
    use kit::ManualClock;

    use super::*;
    use crate::queue::{Limits, Order};

    #[tokio::test]
    async fn a_log_that_could_be_opened_in_the_end_is_not_passed_over() {
        let (samples_max, unwritten_for) = (u64::MAX, Duration::ZERO);
        let (bytes_max, spill_bytes) = (u64::MAX, u64::MAX);
        let limits = Limits { samples_max, bytes_max, spill_bytes, unwritten_for };
        let (order, clock) = (Order::OldestFirst, ManualClock::at(0));
        let queue = Arc::new(Queue::new(limits, order, Arc::default(), clock, None));
        let (tell, told) = mpsc::channel(2);
        let mut log = Stored::current(&queue, told);
        tell.try_send(Opened::Failed).unwrap();
        tell.try_send(Opened::Found { waiting: Vec::new(), missing: 0 }).unwrap();
        let opened = log.told.recv().await.map(|opened| log.latest(opened));
        assert!(matches!(opened, Some(Opened::Found { .. })), "{opened:?}");
    }
}
