//! The one who sends the blocks of one shard, in order, until each is delivered or dropped.
//!
//! While it waits for a receiver it compresses what queues up behind. Not here: how to send
//! (`modules/`), and what may be queued (`queue.rs`).

use std::sync::Arc;
use std::time::Duration;

use kit::{Backoff, Chain};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::block::{Block, Compressor, Counts, Damaged, Encoding};
use crate::destination::Destination;
use crate::encode::{to_remote_write1, without_older_than};
use crate::ledger::Reason;
use crate::module::{Parcel, SendError, Verdict};
use crate::queue::{Held, Lane};
use crate::shard::Shard;

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
    /// The destination before a reload: told when it has ended.
    Destination(CancellationToken),
}

/// One block's way to its end.
struct Delivery<'s> {
    destination: &'s Destination,
    lane: Lane,
    compressor: &'s mut Compressor,
    attempt: u32,
    backoff: Backoff,
    /// Whether the log knows that the receiver is in trouble.
    complained: bool,
}

/// What comes after a try.
enum Next {
    /// The block is at its end.
    Done,
    /// Another try, after this long.
    Wait(Duration),
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
        while let Some(block) = self.next().await {
            self.send(block, &mut compressor).await;
        }
        self.destination.queue.close_lane(self.shard.lane);
    }

    /// The next sealed block; seals the open one when it is old enough.
    async fn next(&self) -> Option<Block> {
        let Destination { queue, abandoned, config, .. } = &*self.destination;
        loop {
            let finishing = self.finish.is_cancelled();
            if abandoned.is_cancelled() {
                return None;
            }
            if let Some(block) = queue.pop(self.shard.lane) {
                return Some(block);
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

    /// Sends a block until it is delivered or dropped.
    async fn send(&self, block: Block, compressor: &mut Compressor) {
        let held = Held::of(&block);
        let destination = &*self.destination;
        let began = Instant::now();
        let queue = &destination.config.queue;
        let backoff = Backoff::new(queue.backoff_min, queue.backoff_max);
        let lane = self.shard.lane;
        let mut delivery =
            Delivery { destination, lane, compressor, attempt: 0, backoff, complained: false };
        let mut next = Some(block);
        while let Some(block) = next.take() {
            match delivery.attempt(block).await {
                (_, Next::Done) => {}
                (block, Next::Wait(wait)) => {
                    delivery.wait(wait).await;
                    next = Some(block);
                }
            }
        }
        destination.queue.done(&held);
        destination.meters.rates.sending(began.elapsed());
    }
}

// === impl Before ===

impl Before {
    async fn ended(&self) {
        match self {
            Before::Shards(senders) => senders.wait().await,
            Before::Destination(ended) => ended.cancelled().await,
        }
    }
}

// === impl Delivery ===

impl Delivery<'_> {
    /// One try. Gives the block back for the next one.
    async fn attempt(&mut self, block: Block) -> (Block, Next) {
        let Destination { ledger, module, abandoned, pool, .. } = self.destination;
        let counts = block.counts;
        if abandoned.is_cancelled() {
            ledger.lose(Reason::Stopped, counts);
            return (block, Next::Done);
        }
        let block = match self.prepare(block) {
            Ok(block) => block,
            Err(damaged) => {
                error!(
                    destination = %self.destination.config.name, error = %Chain(&damaged),
                    "dropping a damaged block"
                );
                return (self.lost(counts, Reason::Damaged), Next::Done);
            }
        };
        if block.counts.is_empty() {
            return (block, Next::Done);
        }
        let parcel = Parcel {
            bytes: block.bytes.clone(),
            format: block.format,
            counts: block.counts,
            families: 0,
            attempt: self.attempt,
        };
        let began = Instant::now();
        let verdict = tokio::select! {
            verdict = module.send(&parcel) => verdict,
            () = abandoned.cancelled() => {
                ledger.lose(Reason::Stopped, block.counts);
                return (block, Next::Done);
            }
        };
        drop(parcel);
        self.destination.meters.sent_request(began.elapsed(), block.bytes.len());
        let next = self.judge(&block, verdict);
        if matches!(next, Next::Done) {
            pool.give(block.bytes.clone());
        }
        (block, next)
    }

    /// Waits, and compresses meanwhile what is queued.
    async fn wait(&mut self, wait: Duration) {
        let Destination { queue, module, abandoned, .. } = self.destination;
        let until = Instant::now() + wait;
        let compression = module.format().compression;
        while Instant::now() < until && queue.compress_one(self.lane, compression, self.compressor)
        {
            tokio::task::yield_now().await;
        }
        tokio::select! {
            () = sleep_until(until) => {}
            () = abandoned.cancelled() => {}
        }
    }

    /// Brings a block into the form the module wants, without samples that are too old by now.
    /// What is left out is booked.
    fn prepare(&mut self, block: Block) -> Result<Block, Damaged> {
        let Destination { config, module, clock, pool, .. } = self.destination;
        let mut block = block;
        if let Some(limit) = config.queue.sample_age_limit {
            let limit_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
            let before = block.counts;
            block = without_older_than(block, clock.unix_ms().saturating_sub(limit_ms))?;
            self.book_lost(before - block.counts, Reason::TooOld);
        }
        let wanted = module.format();
        let encoding = block.format.encoding;
        if encoding != wanted.encoding && encoding == Encoding::RemoteWrite2 {
            let before = block.counts;
            block = to_remote_write1(&block)?;
            self.book_lost(before - block.counts, Reason::CustomBounds);
        }
        let plain = block.bytes.clone();
        let block = self.compressor.pack(block, wanted.compression);
        pool.give(plain);
        Ok(block)
    }

    /// Books what a try led to.
    fn judge(&mut self, block: &Block, verdict: Verdict) -> Next {
        let Destination { ledger, meters, config, .. } = self.destination;
        let name = &config.name;
        match verdict {
            Verdict::Delivered { not_written } => {
                let not_written = Counts {
                    samples: not_written.samples.min(block.counts.samples),
                    histograms: not_written.histograms.min(block.counts.histograms),
                    exemplars: not_written.exemplars.min(block.counts.exemplars),
                };
                let written = block.counts - not_written;
                ledger.deliver(written);
                meters.delivered(written, block.newest_ms, self.destination.clock.unix_ms());
                if !not_written.is_empty() {
                    self.book_lost(not_written, Reason::NotWritten);
                    let lost = not_written.total();
                    error!(destination = %name, lost, "the receiver did not keep all of a block");
                }
                if self.complained {
                    info!(destination = %name, attempts = self.attempt + 1, "sending again");
                }
                Next::Done
            }
            Verdict::Retry { after, why } => {
                self.complain(&why);
                meters.retried(block.counts);
                let wait = self.backoff.next_wait();
                meters.waiting_until(Instant::now() + after.unwrap_or(wait));
                self.attempt += 1;
                Next::Wait(after.unwrap_or(wait))
            }
            Verdict::Refused { why } => {
                meters.failed(&why, self.destination.clock.unix_ms());
                self.book_lost(block.counts, Reason::Refused);
                error!(
                    destination = %name, samples = block.counts.total(), error = %Chain(&why),
                    "dropping a block that the receiver refused"
                );
                Next::Done
            }
            Verdict::OtherFormat { why } => {
                warn!(destination = %name, error = %Chain(&why), "changing the format");
                meters.retried(block.counts);
                self.attempt += 1;
                Next::Wait(Duration::ZERO)
            }
        }
    }

    /// Says once per block that the receiver is in trouble.
    fn complain(&mut self, why: &SendError) {
        let Destination { meters, config, clock, .. } = self.destination;
        meters.failed(why, clock.unix_ms());
        if !std::mem::replace(&mut self.complained, true) {
            warn!(destination = %config.name, error = %Chain(why), "sending failed, trying again");
        }
    }

    fn book_lost(&self, counts: Counts, reason: Reason) {
        if !counts.is_empty() {
            self.destination.ledger.lose(reason, counts);
            self.destination.meters.rates.dropped(counts.total());
        }
    }

    /// Books a block as lost and gives an empty one in its place.
    fn lost(&self, counts: Counts, reason: Reason) -> Block {
        self.book_lost(counts, reason);
        let format = self.destination.module.format();
        let (bytes, counts) = Default::default();
        Block { format, bytes, counts, oldest_ms: 0, newest_ms: 0 }
    }
}

/// Waits that are not about a block: between two rounds of metadata.
pub(crate) async fn pause(wait: Duration, abandoned: &CancellationToken) {
    tokio::select! {
        () = sleep(wait) => {}
        () = abandoned.cancelled() => {}
    }
}
