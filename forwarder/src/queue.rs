//! The bounded queue of one destination: sealed blocks that wait, a lane a shard.
//!
//! What holds: within a lane blocks leave in the order in which they came; all lanes together stay
//! within the limits by dropping the oldest block of all, which the ledger counts.
//! Not here: blocks that still grow (`shard.rs`), waiting and sending (`sender.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kit::Clock;
use model::Moment;

use crate::block::{Block, Compression, Compressor};
use crate::ledger::{Ledger, Reason};

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Samples of all kinds.
    pub(crate) samples_max: u64,
    /// Bytes of blocks as they wait.
    pub(crate) bytes_max: u64,
    /// Samples of one lane that wait as they are; beyond them blocks wait compressed.
    pub(crate) plain_samples_max: u64,
}

/// One shard's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane(u64);

/// Sealed blocks. Shared by the shards of a destination.
pub(crate) struct Queue {
    /// A lock, because shards push and senders pop; held to move a block.
    state: Mutex<State>,
    limits: Limits,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
}

/// What the queue holds just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// Sealed blocks, with those being sent.
    pub(crate) blocks: u64,
    /// Their samples of all kinds.
    pub(crate) samples: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// When the oldest that waits was sealed.
    pub(crate) oldest: Option<Moment>,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<Lane, VecDeque<Waiting>>,
    next_lane: u64,
    next_number: u64,
    blocks: u64,
    samples: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    /// In the order of sealing, over all lanes.
    number: u64,
    sealed: Moment,
    block: Block,
}

// === impl Queue ===

impl Queue {
    /// An empty queue without lanes.
    pub(crate) fn new(limits: Limits, ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Queue {
        Queue { state: Mutex::default(), limits, ledger, clock }
    }

    /// A new lane.
    pub(crate) fn open_lane(&self) -> Lane {
        let mut state = self.state();
        let lane = Lane(state.next_lane);
        state.next_lane += 1;
        state.lanes.insert(lane, VecDeque::new());
        lane
    }

    /// Removes a lane; what still waits in it is dropped as stopped.
    pub(crate) fn close_lane(&self, lane: Lane) {
        let mut state = self.state();
        let left = state.lanes.remove(&lane).unwrap_or_default();
        for waiting in left {
            state.forget(&waiting.block);
            self.ledger.lose(Reason::Stopped, waiting.block.counts);
        }
    }

    /// Appends a block, and drops the oldest ones while the limits are passed. Returns how many
    /// blocks were dropped.
    pub(crate) fn push(&self, lane: Lane, block: Block) -> usize {
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        state.blocks += 1;
        state.samples += block.counts.total();
        state.bytes += block.bytes.len() as u64;
        let sealed = self.clock.now();
        state.lanes.entry(lane).or_default().push_back(Waiting { number, sealed, block });
        let mut dropped = 0;
        while state.samples > self.limits.samples_max || state.bytes > self.limits.bytes_max {
            let Some(oldest) = state.take_oldest() else { break };
            state.forget(&oldest);
            self.ledger.lose(Reason::QueueFull, oldest.counts);
            dropped += 1;
        }
        dropped
    }

    /// Takes the first block of a lane. It counts as held until [`Queue::done`].
    pub(crate) fn pop(&self, lane: Lane) -> Option<Block> {
        let waiting = self.state().lanes.get_mut(&lane)?.pop_front()?;
        Some(waiting.block)
    }

    /// A block that was taken is no longer held: delivered, or dropped.
    pub(crate) fn done(&self, block: &Held) {
        let mut state = self.state();
        state.blocks -= 1;
        state.samples -= block.samples;
        state.bytes -= block.bytes;
    }

    /// Compresses one block of the lane that waits beyond the plain samples. Whether there was
    /// one. The lock is not held meanwhile.
    pub(crate) fn compress_one(
        &self,
        lane: Lane,
        compression: Compression,
        compressor: &mut Compressor,
    ) -> bool {
        if compression == Compression::None {
            return false;
        }
        let found = {
            let state = self.state();
            state.lanes.get(&lane).and_then(|lane| beyond_plain(lane, &self.limits))
        };
        let Some((number, block)) = found else { return false };
        let plain_bytes = block.bytes.len() as u64;
        let block = compressor.pack(block, compression);
        let mut state = self.state();
        let bytes = block.bytes.len() as u64;
        let lane = state.lanes.get_mut(&lane).into_iter().flatten();
        let Some(waiting) = lane.into_iter().find(|waiting| waiting.number == number) else {
            return true;
        };
        waiting.block = block;
        state.bytes = state.bytes - plain_bytes + bytes;
        true
    }

    /// What is held.
    pub(crate) fn load(&self) -> Load {
        let state = self.state();
        let fronts = state.lanes.values().filter_map(VecDeque::front);
        let oldest = fronts.map(|waiting| waiting.sealed).min();
        Load { blocks: state.blocks, samples: state.samples, bytes: state.bytes, oldest }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a block weighed when it was taken from the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    samples: u64,
    bytes: u64,
}

impl Held {
    /// The weight of a block just taken.
    pub(crate) fn of(block: &Block) -> Held {
        Held { samples: block.counts.total(), bytes: block.bytes.len() as u64 }
    }
}

// === impl State ===

impl State {
    /// The block that was sealed first of all that wait.
    fn take_oldest(&mut self) -> Option<Block> {
        let fronts = self.lanes.values_mut().filter(|lane| !lane.is_empty());
        let lane = fronts.min_by_key(|lane| lane.front().map(|waiting| waiting.number))?;
        lane.pop_front().map(|waiting| waiting.block)
    }

    fn forget(&mut self, block: &Block) {
        self.blocks -= 1;
        self.samples -= block.counts.total();
        self.bytes -= block.bytes.len() as u64;
    }
}

/// The first block that is not compressed behind the samples that may wait plain.
fn beyond_plain(lane: &VecDeque<Waiting>, limits: &Limits) -> Option<(u64, Block)> {
    let mut samples = 0;
    for waiting in lane {
        let plain = waiting.block.format.compression == Compression::None;
        if plain && samples >= limits.plain_samples_max {
            return Some((waiting.number, waiting.block.clone()));
        }
        samples += waiting.block.counts.total();
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kit::ManualClock;

    use super::*;
    use crate::block::{Counts, Encoding, Format};

    fn block(name: u8, samples: u64) -> Block {
        let format = Format { encoding: Encoding::RemoteWrite1, compression: Compression::None };
        let bytes = Bytes::from(vec![name; 100]);
        let counts = Counts { samples, ..Counts::default() };
        Block { format, bytes, counts, oldest_ms: 0, newest_ms: 0 }
    }

    fn queue(samples_max: u64, bytes_max: u64) -> (Queue, Arc<Ledger>) {
        let ledger = Arc::new(Ledger::default());
        let limits = Limits { samples_max, bytes_max, plain_samples_max: 20 };
        (Queue::new(limits, Arc::clone(&ledger), ManualClock::at(0)), ledger)
    }

    fn push(queue: &Queue, ledger: &Ledger, lane: Lane, block: Block) {
        ledger.accept(block.counts, &[]);
        queue.push(lane, block);
    }

    #[test]
    fn the_oldest_block_of_all_lanes_is_dropped_first_and_counted() {
        let (queue, ledger) = queue(30, u64::MAX);
        let (one, two) = (queue.open_lane(), queue.open_lane());
        push(&queue, &ledger, two, block(1, 10));
        push(&queue, &ledger, one, block(2, 10));
        push(&queue, &ledger, two, block(3, 10));
        push(&queue, &ledger, one, block(4, 15));
        assert_eq!(ledger.balance().dropped(Reason::QueueFull).samples, 20);
        assert_eq!(queue.pop(one).unwrap().bytes[0], 4);
        assert_eq!(queue.pop(two).unwrap().bytes[0], 3);
        assert!(queue.pop(two).is_none());
    }

    #[test]
    fn a_block_being_sent_still_weighs_and_is_not_dropped() {
        let (queue, ledger) = queue(u64::MAX, 250);
        let lane = queue.open_lane();
        push(&queue, &ledger, lane, block(1, 1));
        let sending = queue.pop(lane).unwrap();
        for name in 2..5 {
            push(&queue, &ledger, lane, block(name, 1));
        }
        assert_eq!(ledger.balance().dropped(Reason::QueueFull).samples, 2);
        assert_eq!(queue.load().blocks, 2);
        queue.done(&Held::of(&sending));
        assert_eq!(queue.load().bytes, 100);
        assert_eq!(queue.pop(lane).unwrap().bytes[0], 4);
    }

    #[test]
    fn blocks_beyond_the_plain_ones_are_compressed_in_their_places() {
        let (queue, ledger) = queue(u64::MAX, u64::MAX);
        let lane = queue.open_lane();
        (1..=5).for_each(|name| push(&queue, &ledger, lane, block(name, 10)));
        let mut compressor = Compressor::default();
        while queue.compress_one(lane, Compression::Snappy, &mut compressor) {}
        let blocks: Vec<Block> = std::iter::from_fn(|| queue.pop(lane)).collect();
        let packed = blocks.iter().map(|block| block.format.compression == Compression::Snappy);
        assert_eq!(packed.collect::<Vec<_>>(), [false, false, true, true, true]);
        let names = blocks.iter().map(|block| block.plain_bytes().unwrap()[0]);
        assert_eq!(names.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        blocks.iter().for_each(|block| queue.done(&Held::of(block)));
        assert_eq!(queue.load(), Load::default());
    }

    #[test]
    fn a_closed_lane_counts_what_it_held_as_stopped() {
        let (queue, ledger) = queue(u64::MAX, u64::MAX);
        let lane = queue.open_lane();
        push(&queue, &ledger, lane, block(1, 7));
        queue.close_lane(lane);
        assert_eq!(ledger.balance().dropped(Reason::Stopped).samples, 7);
        assert_eq!(queue.load(), Load::default());
    }
}
