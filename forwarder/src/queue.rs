//! The queue of one destination: sealed blocks that wait, a lane a shard.
//!
//! What holds: within a lane blocks leave in the order in which they came, or the newest first if
//! the destination wants that; what is in memory stays within the limits. A block whose bytes are
//! on disk too gives up its place in memory first; one that is in memory alone is dropped, the
//! oldest first, and counted.
//! Not here: blocks that still grow (`shard.rs`), sending (`sender.rs`), files (`disk.rs`).

mod state;
#[cfg(test)]
mod tests;

use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kit::Clock;
use model::Moment;

use crate::block::{Block, Counts};
use crate::disk::Keeper;
use crate::ledger::{Ledger, Reason};
use state::{Entry, State};

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Samples of all kinds in memory.
    pub(crate) samples_max: u64,
    /// Bytes of blocks in memory.
    pub(crate) bytes_max: u64,
    /// Above so many bytes in memory a block that is on disk is kept there alone.
    pub(crate) spill_bytes: u64,
    /// A block is to be on disk so long after its first sample came, if it still waits then.
    pub(crate) unwritten_for: Duration,
}

/// A queue on disk writes without delay while more than this part of what memory may hold waits.
const HURRY_ABOVE: f64 = 0.25;

/// Which block of a lane leaves first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Order {
    /// Series keep their order.
    #[default]
    OldestFirst,
    /// A backlog does not delay what is fresh.
    NewestFirst,
}

/// One shard's place in the queue. It says itself whose blocks it holds: those that come when
/// nobody sends them any more are still of that shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    number: u64,
    origin: Origin,
}

/// Whose blocks a lane holds, for a restart: shards of an older set send before those of a newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Origin {
    /// Counts the sets of shards.
    pub(crate) set: u32,
    /// The shard in its set.
    pub(crate) shard: u16,
}

/// Tells blocks of a queue apart; grows in the order in which they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(pub(crate) u64);

/// Gives numbers to blocks. Queues that share a log share it too.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(Arc<Mutex<u64>>);

/// Sealed blocks. Shared by the shards of a destination.
pub(crate) struct Queue {
    /// A lock, because shards push and senders pop; held to move a block.
    state: Mutex<State>,
    limits: Limits,
    order: Order,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    /// Writes blocks to disk, if the destination is durable.
    keeper: Option<Keeper>,
    /// The sequence on disk before which everything is delivered or dropped.
    place: AtomicU64,
    /// Samples that were lost at the end.
    stopped: AtomicU64,
}

/// What the queue holds just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// Sealed blocks, with those being sent.
    pub(crate) blocks: u64,
    /// Their samples of all kinds.
    pub(crate) samples: u64,
    /// Their bytes, wherever they are.
    pub(crate) bytes: u64,
    /// The bytes of those that are in memory.
    pub(crate) memory_bytes: u64,
    /// For how long the oldest has waited.
    pub(crate) oldest: Option<Duration>,
}

/// A block on its way out. It counts as held until [`Queue::done`].
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) number: Number,
    pub(crate) counts: Counts,
    pub(crate) place: Place,
}

/// Where a block's bytes are.
#[derive(Debug)]
pub(crate) enum Place {
    /// Here.
    Memory(Block),
    /// On disk alone, under this sequence of the log.
    Disk(u64),
}

/// A block that a restart found on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) sequence: u64,
    pub(crate) counts: Counts,
    pub(crate) bytes: u64,
    /// How long it had waited already.
    pub(crate) waited: Duration,
}

/// A block that waited in memory when its destination ended.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) origin: Origin,
    block: Block,
    sealed: Moment,
}

// === impl Numbers ===

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers(Arc::new(Mutex::new(state::FIRST_NEW)))
    }
}

impl Numbers {
    /// Gives the next number to a block, and hands it to `push` before anyone gets another.
    pub(crate) fn give(&self, push: impl FnOnce(Number)) {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = Number(*next);
        *next += 1;
        push(number);
    }

    /// The number that is given next: blocks with smaller ones are in every queue by now.
    pub(crate) fn next(&self) -> Number {
        Number(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Load ===

impl Add for Load {
    type Output = Load;

    fn add(self, other: Load) -> Load {
        Load {
            blocks: self.blocks + other.blocks,
            samples: self.samples + other.samples,
            bytes: self.bytes + other.bytes,
            memory_bytes: self.memory_bytes + other.memory_bytes,
            oldest: self.oldest.max(other.oldest),
        }
    }
}

// === impl Queue ===

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({:?})", self.load())
    }
}

impl Queue {
    /// An empty queue without lanes.
    pub(crate) fn new(
        limits: Limits,
        order: Order,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        keeper: Option<Keeper>,
    ) -> Queue {
        let (state, place, stopped) = Default::default();
        Queue { state, limits, order, ledger, clock, keeper, place, stopped }
    }

    /// A new lane.
    pub(crate) fn open_lane(&self, origin: Origin) -> Lane {
        self.state().open_lane(origin)
    }

    /// Nobody takes from a lane any more. What still waits in it stays for [`Queue::leave`].
    pub(crate) fn close_lane(&self, lane: Lane) {
        self.state().close_lane(lane);
    }

    /// Appends a block, whose first sample came at `since`, and makes room while the limits are
    /// passed. Numbers must grow.
    pub(crate) fn push(&self, lane: Lane, number: Number, block: Block, since: Instant) {
        // A time that can not be told is so far away that it does not matter.
        let due = since.checked_add(self.limits.unwritten_for);
        let hurries = {
            let mut state = self.state();
            let sealed = self.clock.now();
            state.push(lane, number, sealed, block, due.filter(|_| self.keeper.is_some()));
            self.keep_limits(&mut state);
            self.hurries(&state)
        };
        match (&self.keeper, due) {
            (Some(keeper), Some(due)) if !hurries => keeper.wake_by(due),
            (Some(keeper), _) => keeper.wake(),
            (None, _) => {}
        }
    }

    /// Takes the block of a lane that is to leave first.
    pub(crate) fn pop(&self, lane: Lane) -> Option<Taken> {
        self.state().pop(lane, self.order)
    }

    /// A block that was taken is no longer held: delivered, or dropped.
    pub(crate) fn done(&self, number: Number) {
        let on_disk = self.state().done(number);
        if let Some(keeper) = self.keeper.as_ref().filter(|_| on_disk) {
            keeper.wake();
        }
    }

    /// So much of a block that was taken was not sent, and waits on.
    pub(crate) fn give_back(&self, number: Number, counts: Counts) {
        self.state().give_back(number, counts);
    }

    /// Takes in what a restart found on disk, in its order, each block for its lane.
    pub(crate) fn take_in(&self, found: impl Iterator<Item = (Lane, Found)>) {
        let (mut state, now) = (self.state(), self.clock.now());
        found.for_each(|(lane, one)| state.take_in(lane, now, &one));
        if let Some((before, reason)) = state.was_forgotten {
            state.forgotten(before, reason, &self.ledger); // since it was found
        }
    }

    /// Who reads and writes the log, if there is one.
    pub(crate) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Everything in the log before this sequence is done with.
    pub(crate) fn came_to(&self, place: u64) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// The sequence on disk before which everything is done with.
    pub(crate) fn place(&self) -> u64 {
        self.place.load(Ordering::Relaxed)
    }

    /// The last block that is to be on disk now, with all before it.
    pub(crate) fn due_up_to(&self, now: Instant) -> Option<Number> {
        let state = self.state();
        let mut unwritten = state.unwritten.iter().rev();
        let hurries = self.hurries(&state);
        unwritten.find(|(_, due)| hurries || **due <= now).map(|(number, _)| *number)
    }

    /// When the next block is to be on disk.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.state().unwritten.values().min().copied()
    }

    /// The next block that is not on disk yet.
    pub(crate) fn next_unwritten(&self) -> Option<(Number, Block, Origin)> {
        self.state().next_unwritten()
    }

    /// A block is on disk now. Says whether it is still wanted there: it may be delivered already.
    pub(crate) fn written(&self, number: Number, sequence: u64) {
        let mut state = self.state();
        state.written(number, sequence);
        if state.memory_bytes > self.limits.spill_bytes {
            state.spill(number);
        }
    }

    /// Sequences that need not be on disk any more, since the last time.
    pub(crate) fn take_finished(&self) -> Vec<u64> {
        std::mem::take(&mut self.state().finished)
    }

    /// Everything on disk before this sequence is gone, by a cap: what of it waits is dropped, also
    /// from memory. The cap is on what waits, and the next start would not find it.
    pub(crate) fn forgotten(&self, before: u64, reason: Reason) {
        self.state().forgotten(before, reason, &self.ledger);
    }

    /// The log vanished, and of its sequences these are there: what is in memory is to be written
    /// again, the rest is dropped as damaged. How many samples are.
    pub(crate) fn look_for(&self, is_there: impl Fn(u64) -> bool) -> u64 {
        self.state().look_for(is_there, &self.ledger)
    }

    /// The end, when nobody sends any more: what is on disk is left there, the rest is dropped as
    /// stopped. How many samples are left.
    pub(crate) fn leave(&self) -> u64 {
        let mut state = self.state();
        let mut left = 0;
        for (_, entry) in std::mem::take(&mut state.entries) {
            if entry.sequence.is_some() {
                self.ledger.leave(entry.counts);
                left += entry.counts.total();
            } else {
                self.ledger.lose(Reason::Stopped, entry.counts);
                self.stopped.fetch_add(entry.counts.total(), Ordering::Relaxed);
            }
        }
        *state = State::default();
        left
    }

    /// At the end, when nobody sends any more: takes the blocks that wait, in their order, for
    /// somebody who goes on with them. What is left of a block that was cut stays.
    pub(crate) fn bequeath(&self) -> Vec<Inherited> {
        self.state().bequeath()
    }

    /// Takes in what another queue has [left](Queue::bequeath), in its order, each block for its
    /// lane, and makes room while the limits are passed.
    pub(crate) fn inherit(&self, blocks: impl Iterator<Item = (Lane, Inherited)>) {
        let mut state = self.state();
        blocks.for_each(|(lane, block)| state.inherit(lane, block));
        self.keep_limits(&mut state);
    }

    /// Samples that were lost at the [end](Queue::leave).
    pub(crate) fn stopped(&self) -> u64 {
        self.stopped.load(Ordering::Relaxed)
    }

    /// How full the queue is, from 0 to 1: its memory, or the disk if that is fuller.
    pub(crate) fn pressure(&self) -> f64 {
        let state = self.state();
        let of = |part: u64, all: u64| part as f64 / all.max(1) as f64;
        let samples = of(state.memory_samples, self.limits.samples_max);
        let on_disk = self.keeper.as_ref().map_or(0.0, Keeper::fullness);
        samples.max(of(state.memory_bytes, self.limits.bytes_max)).max(on_disk)
    }

    /// What is held.
    pub(crate) fn load(&self) -> Load {
        let state = self.state();
        let age = |entry: &Entry| self.clock.now().since(entry.sealed) + entry.waited;
        Load {
            blocks: state.entries.len() as u64,
            samples: state.samples,
            bytes: state.bytes,
            memory_bytes: state.memory_bytes,
            oldest: state.entries.values().next().map(age),
        }
    }

    /// Blocks that are not on disk though the destination is durable.
    pub(crate) fn unwritten(&self) -> u64 {
        self.state().unwritten.len() as u64
    }

    fn keep_limits(&self, state: &mut State) {
        let Limits { samples_max, bytes_max, .. } = self.limits;
        while state.memory_samples > samples_max || state.memory_bytes > bytes_max {
            if !state.free_oldest(&self.ledger) {
                break;
            }
        }
    }

    /// Whether so much is in memory that it may not wait for its time to be written.
    fn hurries(&self, state: &State) -> bool {
        let Limits { samples_max, bytes_max, spill_bytes, .. } = self.limits;
        let above = |part: u64, all: u64| part as f64 > all as f64 * HURRY_ABOVE;
        above(state.memory_samples, samples_max)
            || above(state.memory_bytes, bytes_max.min(spill_bytes))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
