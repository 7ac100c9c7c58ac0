//! What a queue holds, under its lock: entries by number, and the order of each lane.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use model::Moment;

use super::{Found, Inherited, Lane, Number, Order, Origin, Place, Taken};
use crate::block::{Block, Counts};
use crate::ledger::{Ledger, Reason};

/// Numbers below are those of blocks that a restart found on disk: they come before all others.
pub(super) const FIRST_NEW: u64 = 1 << 40;

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entries: BTreeMap<Number, Entry>,
    /// What waits in each lane.
    lanes: BTreeMap<Lane, VecDeque<Number>>,
    /// Entries whose bytes are in memory and that nobody sends.
    idle_in_memory: BTreeSet<Number>,
    /// Entries that are not on disk yet, and when they must be.
    pub(super) unwritten: BTreeMap<Number, Instant>,
    /// Sequences on disk of entries that are no more.
    pub(super) finished: Vec<u64>,
    /// Before which sequence the log forgot everything last, and why: what is taken in after that
    /// may be gone too.
    pub(super) was_forgotten: Option<(u64, Reason)>,
    next_lane: u64,
    next_found: u64,
    pub(super) samples: u64,
    pub(super) bytes: u64,
    pub(super) memory_samples: u64,
    pub(super) memory_bytes: u64,
}

/// One block.
#[derive(Debug)]
pub(super) struct Entry {
    lane: Lane,
    pub(super) sealed: Moment,
    /// How long it had waited before this process.
    pub(super) waited: Duration,
    pub(super) counts: Counts,
    bytes: u64,
    /// None: on disk alone.
    block: Option<Block>,
    pub(super) sequence: Option<u64>,
}

// === impl State ===

impl State {
    pub(super) fn open_lane(&mut self, origin: Origin) -> Lane {
        let lane = Lane { number: self.next_lane, origin };
        self.next_lane += 1;
        self.lanes.insert(lane, VecDeque::new());
        lane
    }

    /// Nobody takes from a lane any more.
    pub(super) fn close_lane(&mut self, lane: Lane) {
        self.lanes.remove(&lane);
    }

    pub(super) fn push(
        &mut self,
        lane: Lane,
        number: Number,
        sealed: Moment,
        block: Block,
        write_by: Option<Instant>,
    ) {
        let (counts, bytes) = (block.counts, block.bytes.len() as u64);
        self.lanes.entry(lane).or_default().push_back(number);
        let (block, sequence, waited) = (Some(block), None, Duration::ZERO);
        let entry = Entry { lane, sealed, waited, counts, bytes, block, sequence };
        self.entries.insert(number, entry);
        self.samples += counts.total();
        self.bytes += bytes;
        self.memory_samples += counts.total();
        self.memory_bytes += bytes;
        self.idle_in_memory.insert(number);
        if let Some(due) = write_by {
            self.unwritten.insert(number, due);
        }
    }

    /// Takes in a block that is on disk alone.
    pub(super) fn take_in(&mut self, lane: Lane, now: Moment, found: &Found) {
        let Found { sequence, counts, bytes, waited } = *found;
        let number = Number(self.next_found);
        self.next_found += 1;
        let (block, sequence, sealed) = (None, Some(sequence), now);
        let entry = Entry { lane, sealed, waited, counts, bytes, block, sequence };
        self.entries.insert(number, entry);
        self.lanes.entry(lane).or_default().push_back(number);
        self.samples += counts.total();
        self.bytes += bytes;
    }

    pub(super) fn bequeath(&mut self) -> Vec<Inherited> {
        let (mut left, mut set, mut last) = (Vec::new(), 0, None);
        for (number, entry) in &self.entries {
            let Some(block) = &entry.block else { continue };
            if block.counts != entry.counts {
                continue;
            }
            // Sets come one after the other, and after those that were inherited.
            let this = (number.0 >= FIRST_NEW, entry.lane.origin.set);
            set += u32::from(last.replace(this).is_some_and(|last| last != this));
            let origin = Origin { set, ..entry.lane.origin };
            let (block, sealed) = (block.clone(), entry.sealed);
            left.push((*number, Inherited { origin, block, sealed }));
        }
        for (number, _) in &left {
            self.remove(*number);
        }
        left.into_iter().map(|(_, block)| block).collect()
    }

    pub(super) fn inherit(&mut self, lane: Lane, inherited: Inherited) {
        let Inherited { block, sealed, .. } = inherited;
        let number = Number(self.next_found);
        self.next_found += 1;
        self.push(lane, number, sealed, block, None);
    }

    pub(super) fn pop(&mut self, lane: Lane, order: Order) -> Option<Taken> {
        let waiting = self.lanes.get_mut(&lane)?;
        let number = match order {
            Order::OldestFirst => waiting.pop_front()?,
            Order::NewestFirst => waiting.pop_back()?,
        };
        self.idle_in_memory.remove(&number);
        let entry = &self.entries[&number];
        let place = match (&entry.block, entry.sequence) {
            (Some(block), _) => Place::Memory(block.clone()),
            (None, sequence) => Place::Disk(sequence.unwrap_or_default()),
        };
        Some(Taken { number, counts: entry.counts, place })
    }

    /// Forgets an entry that was taken. Whether the log has something to forget too.
    pub(super) fn done(&mut self, number: Number) -> bool {
        let Some(entry) = self.remove(number) else { return false };
        self.finished.extend(entry.sequence);
        entry.sequence.is_some()
    }

    pub(super) fn give_back(&mut self, number: Number, counts: Counts) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let sent = entry.counts.total() - counts.total();
        self.samples -= sent;
        if entry.block.is_some() {
            self.memory_samples -= sent;
        }
        entry.counts = counts;
        if entry.block.is_some() {
            self.idle_in_memory.insert(number);
        }
        if let Some(waiting) = self.lanes.get_mut(&entry.lane) {
            let at = waiting.partition_point(|other| *other < number);
            waiting.insert(at, number);
        }
    }

    pub(super) fn next_unwritten(&self) -> Option<(Number, Block, Origin)> {
        let number = *self.unwritten.first_key_value()?.0;
        let entry = self.entries.get(&number)?;
        Some((number, entry.block.clone()?, entry.lane.origin))
    }

    pub(super) fn written(&mut self, number: Number, sequence: u64) {
        self.unwritten.remove(&number);
        match self.entries.get_mut(&number) {
            Some(entry) => entry.sequence = Some(sequence),
            None => self.finished.push(sequence), // delivered meanwhile
        }
    }

    /// Keeps a block on disk alone, if it is there and nobody sends it.
    pub(super) fn spill(&mut self, number: Number) -> bool {
        let Some(entry) = self.entries.get_mut(&number) else { return false };
        if entry.sequence.is_none() || !self.idle_in_memory.remove(&number) {
            return false;
        }
        entry.block = None;
        self.memory_samples -= entry.counts.total();
        self.memory_bytes -= entry.bytes;
        true
    }

    /// Makes room in memory: by the oldest block that nobody sends. Whether there was one.
    pub(super) fn free_oldest(&mut self, ledger: &Ledger) -> bool {
        let Some(oldest) = self.idle_in_memory.first().copied() else { return false };
        if !self.spill(oldest) {
            self.drop_entry(oldest, Reason::QueueFull, ledger);
        }
        true
    }

    /// Drops an entry that nobody sends.
    pub(super) fn drop_entry(&mut self, number: Number, reason: Reason, ledger: &Ledger) {
        let Some(entry) = self.remove(number) else { return };
        self.finished.extend(entry.sequence);
        if let Some(waiting) = self.lanes.get_mut(&entry.lane)
            && let Ok(at) = waiting.binary_search(&number)
        {
            waiting.remove(at);
        }
        ledger.lose(reason, entry.counts);
    }

    pub(super) fn forgotten(&mut self, before: u64, reason: Reason, ledger: &Ledger) {
        self.was_forgotten = Some((before, reason));
        // Sequences grow with numbers; what the log forgot before, and is on its way, has none.
        let older = |entry: &Entry| entry.sequence.is_none_or(|sequence| sequence < before);
        let older = self.entries.iter().take_while(|(_, entry)| older(entry));
        let gone = older.filter(|(_, entry)| entry.sequence.is_some());
        let gone: Vec<Number> = gone.map(|(number, _)| *number).collect();
        for number in gone {
            // What is on its way may arrive.
            if self.is_waiting(number) {
                self.drop_entry(number, reason, ledger);
            } else if let Some(entry) = self.entries.get_mut(&number)
                && entry.block.is_some()
            {
                entry.sequence = None;
            }
        }
    }

    pub(super) fn look_for(&mut self, is_there: impl Fn(u64) -> bool, ledger: &Ledger) -> u64 {
        self.finished.retain(|sequence| is_there(*sequence));
        let is_gone = |entry: &Entry| entry.sequence.is_some_and(|sequence| !is_there(sequence));
        let gone = self.entries.iter().filter(|(_, entry)| is_gone(entry));
        let gone: Vec<Number> = gone.map(|(number, _)| *number).collect();
        let mut lost = 0;
        for number in gone {
            let waits = self.is_waiting(number);
            let Some(entry) = self.entries.get_mut(&number) else { continue };
            entry.sequence = None;
            if entry.block.is_some() {
                self.unwritten.insert(number, Instant::now());
            } else if waits {
                lost += entry.counts.total();
                self.drop_entry(number, Reason::Damaged, ledger);
            }
        }
        lost
    }

    fn is_waiting(&self, number: Number) -> bool {
        let lane = self.entries.get(&number).and_then(|entry| self.lanes.get(&entry.lane));
        lane.is_some_and(|waiting| waiting.binary_search(&number).is_ok())
    }

    fn remove(&mut self, number: Number) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.idle_in_memory.remove(&number);
        self.unwritten.remove(&number);
        self.samples -= entry.counts.total();
        self.bytes -= entry.bytes;
        if entry.block.is_some() {
            self.memory_samples -= entry.counts.total();
            self.memory_bytes -= entry.bytes;
        }
        Some(entry)
    }
}
