//! The one who sends the blocks of one shard, in order, until each is delivered or dropped.
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
use crate::shard::Shard;

/// Tries to read a block from disk before it is given up.
const READS_MAX: u32 = 3;
/// Between two of them.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Sends what one shard seals.
pub(crate) struct Sender {
    pub(crate) destination: Arc<Destination>,
    pub(crate) shard: Arc<Shard>,
    /// Told when the shard gets no more samples.
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
    /// Runs until the shard is finished and its lane is empty, or everything is abandoned.
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
        self.destination.queue.close_lane(self.shard.lane);
    }

    /// The next sealed block; seals the open one when it is old enough.
    async fn next(&self) -> Option<Taken> {
        let Destination { queue, abandoned, config, left, .. } = &*self.destination;
        loop {
            let finishing = self.finish.is_cancelled();
            if abandoned.is_cancelled() || left.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(taken) = queue.pop(self.shard.lane) {
                return Some(taken);
            }
            if finishing {
                return None;
            }
            let due = self.shard.seal_if_older(config.queue.batch_deadline);
            let deadline = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shard.changed.notified() => {}
                () = deadline => {}
                () = self.finish.cancelled() => {}
                () = abandoned.cancelled() => {}
            }
        }
    }

    /// Sends a block until it is delivered or dropped. Whether there is a point in going on.
    async fn send(&self, taken: Taken, compressor: &mut Compressor) -> bool {
        let Destination { queue, ledger, meters, left, .. } = &*self.destination;
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
        match Delivery::new(&self.destination, compressor).run(block).await {
            End::Done => queue.done(number),
            End::Left(counts) if self.destination.is_durable() => {
                left.store(true, Ordering::Relaxed);
                queue.give_back(number, counts);
                return false;
            }
            End::Left(counts) => {
                ledger.lose(Reason::Stopped, counts);
                queue.done(number);
            }
        }
        meters.rates.sending(began.elapsed());
        true
    }

    /// Reads a block that is on disk alone. A disk that refuses is asked a few times.
    async fn read(&self, sequence: u64) -> Result<Block, ReadError> {
        let Destination { keeper, abandoned, .. } = &*self.destination;
        let Some(keeper) = keeper else { return Err(ReadError::Closed) };
        let mut reads = 0;
        loop {
            match keeper.read(sequence).await {
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
