//! The open block of one shard: samples are appended to it until it is full or old enough.
//!
//! What holds: a sealed block goes to every outlet at once, compressed, and has the same number in
//! each of their queues; samples that a sender can see are in the ledger already. What waits is
//! never larger than what is sent.
//! Not here: which samples (`feed/append.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Layout;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::block::{Block, Compression, Compressor, Counts, Encoding, Format};
use crate::encode::{Encoder, Extent};
use crate::queue::{Lane, Numbers, Origin, Queue};

/// A block is sealed at this size even if it has few samples: label values may be long.
const BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One open block and the lanes it goes to.
pub(crate) struct Shard {
    /// One for each destination that is sent the blocks.
    pub(crate) outlets: Vec<Arc<Outlet>>,
    /// Told when a block is begun.
    pub(crate) begun: Arc<Notify>,
    numbers: Numbers,
    samples_max: u64,
    /// A lock, because every source's batches may go to this shard; held for one batch.
    open: Mutex<OpenBlock>,
}

/// One lane of one destination's queue.
pub(crate) struct Outlet {
    pub(crate) queue: Arc<Queue>,
    pub(crate) lane: Lane,
    /// Which of the receivers that have the series between them its blocks are for.
    pub(crate) part: usize,
    /// Told when a block came.
    pub(crate) came: Notify,
}

/// Samples that are not sealed yet.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    pub(crate) encoder: Encoder,
    pub(crate) extent: Extent,
    /// When its first sample came.
    since: Option<Instant>,
    /// Keeps the label pairs alive that the encoder remembers by number.
    layouts: Vec<Arc<Layout>>,
    compressor: Compressor,
}

// === impl Shard ===

impl Shard {
    /// A shard whose blocks are sealed at `samples_max` samples.
    pub(crate) fn new(
        outlets: Vec<Arc<Outlet>>,
        numbers: Numbers,
        begun: Arc<Notify>,
        encoding: Encoding,
        samples_max: u64,
    ) -> Shard {
        let open = Mutex::new(OpenBlock::new(encoding));
        Shard { outlets, begun, numbers, samples_max, open }
    }

    /// The open block, to append to.
    pub(crate) fn open(&self) -> MutexGuard<'_, OpenBlock> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples that may still be appended before the block is full.
    pub(crate) fn room(&self, open: &OpenBlock) -> u64 {
        if open.encoder.bytes() >= BLOCK_BYTES_MAX {
            return 0;
        }
        self.samples_max.saturating_sub(open.extent.counts.total())
    }

    /// Moves the open block to the queues. Its samples must be in the ledger.
    pub(crate) fn seal(&self, open: &mut OpenBlock) {
        if open.extent.counts.is_empty() {
            return;
        }
        let bytes = open.encoder.finish(&mut open.compressor);
        let Extent { counts, oldest_ms, newest_ms } = open.extent;
        let since = open.since.unwrap_or_else(Instant::now).into_std();
        let format = Format { encoding: open.encoder.encoding(), compression: Compression::Snappy };
        let block = Block { format, bytes, counts, oldest_ms, newest_ms };
        open.extent = Extent::EMPTY;
        open.since = None;
        open.layouts.clear();
        self.numbers.give(|number| {
            for outlet in &self.outlets {
                outlet.queue.push(outlet.lane, number, block.clone(), since);
            }
        });
        self.outlets.iter().for_each(|outlet| outlet.came.notify_one());
    }

    /// Seals the open block whatever its size.
    pub(crate) fn flush(&self) {
        let mut open = self.open();
        self.seal(&mut open);
    }

    /// Seals the open block if its first sample came `age` ago; otherwise says when that will be.
    pub(crate) fn seal_if_older(&self, age: Duration) -> Option<Instant> {
        let mut open = self.open();
        let due = open.since? + age;
        if due > Instant::now() {
            return Some(due);
        }
        self.seal(&mut open);
        None
    }

    /// Samples in the open block.
    #[cfg(test)]
    pub(crate) fn open_counts(&self) -> Counts {
        self.open().extent.counts
    }
}

// === impl Outlet ===

impl Outlet {
    /// A new lane of `queue`, for blocks of this origin.
    pub(crate) fn open(queue: &Arc<Queue>, origin: Origin, parts: usize) -> Arc<Outlet> {
        let (queue, lane, came) = (Arc::clone(queue), queue.open_lane(origin), Notify::new());
        Arc::new(Outlet { queue, lane, part: usize::from(origin.shard) % parts, came })
    }
}

// === impl OpenBlock ===

impl OpenBlock {
    fn new(encoding: Encoding) -> OpenBlock {
        OpenBlock {
            encoder: Encoder::new(encoding),
            extent: Extent::EMPTY,
            since: None,
            layouts: Vec::new(),
            compressor: Compressor::default(),
        }
    }

    /// Must be called before samples of `layout` are appended: keeps it until the block is sealed.
    pub(crate) fn hold(&mut self, layout: &Arc<Layout>) {
        let known = self.layouts.last().is_some_and(|last| Arc::ptr_eq(last, layout));
        if !known {
            self.layouts.push(Arc::clone(layout));
        }
    }

    /// Takes `encoding` for the next samples, if the block is still empty.
    pub(crate) fn prefer(&mut self, encoding: Encoding) {
        if self.encoder.encoding() != encoding && self.extent.counts.is_empty() {
            self.encoder = Encoder::new(encoding);
        }
    }

    /// Notes samples that were appended. Whether they are the first ones.
    pub(crate) fn appended(&mut self, counts: Counts, timestamp_ms: i64) -> bool {
        let first = self.since.is_none() && !counts.is_empty();
        if first {
            self.since = Some(Instant::now());
        }
        if !counts.is_empty() {
            self.extent.add(counts, timestamp_ms);
        }
        first
    }
}
