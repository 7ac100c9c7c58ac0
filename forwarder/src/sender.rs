//! The one who sends the blocks of one lane, in order, until each is delivered or dropped.
//!
//! Not here: one block's way (`delivery.rs`), how to send (`modules/`), and what may be queued
//! (`queue.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kit::Chain;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::block::{Block, Compressor};
use crate::delivery::{Delivery, End, pause};
use crate::destination::Destination;
use crate::disk::ReadError;
use crate::ledger::Reason;
use crate::queue::{Place, Taken};
use crate::shard::{Outlet, Shard};

/// Tries to read a block from disk before it is given up.
const READS_MAX: u32 = 3;
/// Between two of them.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Sends what comes to one outlet.
pub(crate) struct Sender {
    pub(crate) destination: Arc<Destination>,
    pub(crate) outlet: Arc<Outlet>,
    /// Whose open block is to be sealed when it is old and nothing else waits.
    pub(crate) seals: Option<Arc<Shard>>,
    /// Told when the outlet gets no more blocks.
    pub(crate) finish: CancellationToken,
    /// Nothing is sent before these have ended.
    pub(crate) before: Option<Before>,
}

/// Who had the same series before, and may still have samples of them.
#[derive(Debug, Clone)]
pub(crate) enum Before {
    /// The senders before a resharding.
    Shards(TaskTracker),
    /// The destination before a reload, or what a start found on disk: told when that has ended.
    Ended(CancellationToken),
}

// === impl Sender ===

impl Sender {
    /// Runs until nothing more comes and the lane is empty, or everything is abandoned.
    pub(crate) async fn run(self) {
        let mut compressor = Compressor::default();
        if let Some(before) = &self.before {
            tokio::select! {
                () = before.ended() => {}
                () = self.destination.abandoned.cancelled() => {}
            }
        }
        while let Some(taken) = self.next().await {
            if !self.send(taken, &mut compressor).await {
                break;
            }
        }
        self.outlet.queue.close_lane(self.outlet.lane);
    }

    /// The next sealed block; seals the open one when it is old enough.
    async fn next(&self) -> Option<Taken> {
        let Destination { abandoned, config, left, .. } = &*self.destination;
        let Outlet { queue, lane, came, .. } = &*self.outlet;
        loop {
            let finishing = self.finish.is_cancelled();
            if abandoned.is_cancelled() || left.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(taken) = queue.pop(*lane) {
                return Some(taken);
            }
            if finishing {
                return None;
            }
            let open = self.seals.as_ref();
            let due = open.and_then(|open| open.seal_if_older(config.queue.batch_deadline));
            let deadline = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let begun = async {
                match open {
                    Some(open) => open.begun.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = came.notified() => {}
                () = begun => {}
                () = deadline => {}
                () = self.finish.cancelled() => {}
                () = abandoned.cancelled() => {}
            }
        }
    }

    /// Sends a block until it is delivered or dropped. Whether there is a point in going on.
    async fn send(&self, taken: Taken, compressor: &mut Compressor) -> bool {
        let Destination { ledger, meters, left, .. } = &*self.destination;
        let Outlet { queue, part, .. } = &*self.outlet;
        let Taken { number, counts, place } = taken;
        let block = match place {
            Place::Memory(block) => block,
            Place::Disk(sequence) => match self.read(sequence).await {
                Ok(block) => block,
                Err(ReadError::Closed) => {
                    queue.give_back(number, counts);
                    return false;
                }
                Err(damaged) => {
                    error!(
                        destination = %self.destination.config.name, error = %Chain(&damaged),
                        lost = counts.total(), "dropping a block"
                    );
                    ledger.lose(Reason::Damaged, counts);
                    queue.done(number);
                    return true;
                }
            },
        };
        let began = Instant::now();
        let paced = match Delivery::new(&self.destination, *part, compressor).run(block).await {
            End::Done { paced } => {
                queue.done(number);
                paced
            }
            End::Left(counts) => {
                left.store(true, Ordering::Relaxed);
                queue.give_back(number, counts);
                return false;
            }
        };
        meters.rates.sending(began.elapsed().saturating_sub(paced));
        true
    }

    /// Reads a block that is on disk alone. A disk that refuses is asked a few times; one that
    /// hangs, until everything is abandoned.
    async fn read(&self, sequence: u64) -> Result<Block, ReadError> {
        let Destination { abandoned, .. } = &*self.destination;
        let Some(keeper) = self.outlet.queue.keeper() else { return Err(ReadError::Closed) };
        let mut reads = 0;
        loop {
            let read = tokio::select! {
                read = keeper.read(sequence) => read,
                () = abandoned.cancelled() => return Err(ReadError::Closed),
            };
            match read {
                Err(ReadError::Io(_)) if reads < READS_MAX && !abandoned.is_cancelled() => {
                    reads += 1;
                    pause(READ_PAUSE, abandoned).await;
                }
                read => return read,
            }
        }
    }
}

// === impl Before ===

impl Before {
    /// Waits until they have.
    pub(crate) async fn ended(&self) {
        match self {
            Before::Shards(senders) => senders.wait().await,
            Before::Ended(ended) => ended.cancelled().await,
        }
    }
}
