//! How far one destination has come in a log, so that a restart goes on exactly there.
//!
//! Two slots in one file, written in turn, each with a checksum: a torn write leaves the other
//! slot. Acknowledgements out of order (several shards, the newest first) are kept as ranges until
//! the gap before them closes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::FlockOperation;

/// Ranges of acknowledgements ahead of a gap that a slot has room for; more are remembered in
/// memory only and would be sent again after a restart. Each shard makes one, and shards are 50 by
/// default, so this is never reached.
const RANGES_MAX: usize = 250;
/// Bytes of a slot: generation, next, samples before it, count, the list, checksum.
const SLOT_BYTES: usize = LIST_AT + RANGES_MAX * 16 + 4;
/// Where in a slot the list begins.
const LIST_AT: usize = 32;

/// A destination's place.
#[derive(Debug)]
pub(super) struct Cursor {
    file: File,
    generation: u64,
    /// Everything before this sequence is done with.
    next: u64,
    /// Samples of every kind that the log held before `next`.
    pub(super) samples_before: u64,
    /// Done with, though something before is not.
    ahead: Ranges,
}

/// Sequences as ranges that do not touch: first to one behind the last.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, u64>);

/// What a slot says.
#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    next: u64,
    samples_before: u64,
    ahead: Ranges,
}

impl Cursor {
    /// Opens the cursor at `path`; a new or wholly damaged one starts at `start`.
    /// Says whether it is one that starts there.
    pub(super) fn open(path: &Path, start: u64) -> io::Result<(Cursor, bool)> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let slots = [read_slot(&file, 0)?, read_slot(&file, 1)?];
        let newest = slots.into_iter().flatten().max_by_key(|slot| slot.generation);
        let starts_anew = newest.is_none();
        let slot = newest.unwrap_or(Slot { next: start, ..Slot::default() });
        let Slot { generation, next, samples_before, ahead } = slot;
        Ok((Cursor { file, generation, next, samples_before, ahead }, starts_anew))
    }

    /// Makes it this reader's alone, for as long as it lives. Whether nobody else had it.
    pub(super) fn claim(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The place that the cursor at `path` says now; 0 if it is damaged.
    pub(super) fn peek(path: &Path) -> io::Result<u64> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(u64::MAX),
            Err(error) => return Err(error),
        };
        let slots = [read_slot(&file, 0)?, read_slot(&file, 1)?];
        let newest = slots.into_iter().flatten().max_by_key(|slot| slot.generation);
        Ok(newest.map_or(0, |slot| slot.next))
    }

    /// Everything before this sequence is done with.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// No sequence from here on was ever done with.
    pub(super) fn end(&self) -> u64 {
        self.ahead.0.last_key_value().map_or(self.next, |(_, end)| *end)
    }

    /// Whether `sequence` is done with.
    pub(super) fn is_done(&self, sequence: u64) -> bool {
        sequence < self.next || self.ahead.contains(sequence)
    }

    /// Notes in memory that `sequence` is done with; [`Cursor::save`] makes it last.
    pub(super) fn done(&mut self, sequence: u64) {
        if sequence >= self.next {
            self.ahead.insert(sequence);
        }
        self.next = self.ahead.take_up_to(self.next);
    }

    /// Notes that everything before `sequence` is done with or gone.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.next = self.ahead.take_up_to(self.next.max(sequence));
    }

    /// Writes the place down.
    pub(super) fn save(&mut self) -> io::Result<()> {
        self.generation += 1;
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        slot.extend_from_slice(&self.generation.to_le_bytes());
        slot.extend_from_slice(&self.next.to_le_bytes());
        slot.extend_from_slice(&self.samples_before.to_le_bytes());
        let ahead = self.ahead.0.len().min(RANGES_MAX) as u64;
        slot.extend_from_slice(&ahead.to_le_bytes());
        for (first, end) in self.ahead.0.iter().take(RANGES_MAX) {
            slot.extend_from_slice(&first.to_le_bytes());
            slot.extend_from_slice(&end.to_le_bytes());
        }
        slot.extend_from_slice(&crc32c::crc32c(&slot).to_le_bytes());
        let place = self.generation % 2;
        self.file.write_all_at(&slot, place * SLOT_BYTES as u64)
    }

    /// Makes what was saved survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

// === impl Ranges ===

impl Ranges {
    fn contains(&self, sequence: u64) -> bool {
        self.0.range(..=sequence).next_back().is_some_and(|(_, end)| sequence < *end)
    }

    fn insert(&mut self, sequence: u64) {
        if self.contains(sequence) {
            return;
        }
        let before = self.0.range(..sequence).next_back().map(|(first, end)| (*first, *end));
        let first = match before {
            Some((first, end)) if end == sequence => first,
            _ => sequence,
        };
        let end = self.0.remove(&(sequence + 1)).unwrap_or(sequence + 1);
        self.0.insert(first, end);
    }

    /// Forgets everything before `sequence` and what follows it without a gap; says where the next
    /// gap is.
    fn take_up_to(&mut self, mut sequence: u64) -> u64 {
        while let Some((first, end)) = self.0.first_key_value().map(|(first, end)| (*first, *end)) {
            if first > sequence {
                break;
            }
            self.0.pop_first();
            sequence = sequence.max(end);
        }
        sequence
    }
}

fn read_slot(file: &File, place: u64) -> io::Result<Option<Slot>> {
    let mut bytes = vec![0; SLOT_BYTES];
    let mut length = 0;
    while length < SLOT_BYTES {
        let at = place * SLOT_BYTES as u64 + length as u64;
        match file.read_at(&mut bytes[length..], at)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(parse_slot(&bytes[..length]))
}

fn parse_slot(bytes: &[u8]) -> Option<Slot> {
    let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let ahead = usize::try_from(long(24)?).ok().filter(|ahead| *ahead <= RANGES_MAX)?;
    let end = LIST_AT + ahead * 16;
    let crc = u32::from_le_bytes(bytes.get(end..end + 4)?.try_into().ok()?);
    if crc32c::crc32c(&bytes[..end]) != crc {
        return None;
    }
    let range = |at: usize| Some((long(LIST_AT + at * 16)?, long(LIST_AT + at * 16 + 8)?));
    let ahead: Option<BTreeMap<u64, u64>> = (0..ahead).map(range).collect();
    let (generation, next, samples_before) = (long(0)?, long(8)?, long(16)?);
    Some(Slot { generation, next, samples_before, ahead: Ranges(ahead?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_goes_on_where_it_was_and_skips_what_was_done_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("central.cursor");
        let (mut cursor, _) = Cursor::open(&path, 10).unwrap();
        for sequence in [10, 12, 13] {
            cursor.done(sequence);
        }
        cursor.save().unwrap();
        drop(cursor);
        let (mut cursor, starts_anew) = Cursor::open(&path, 99).unwrap();
        assert!(!starts_anew);
        assert_eq!(cursor.next(), 11);
        assert!(cursor.is_done(12) && !cursor.is_done(11));
        cursor.done(11);
        assert_eq!(cursor.next(), 14);
    }

    #[test]
    fn thousands_acknowledged_from_the_end_take_the_room_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("central.cursor");
        let (mut cursor, _) = Cursor::open(&path, 1).unwrap();
        (11..=10_000).rev().for_each(|sequence| cursor.done(sequence));
        [5, 7, 6, 6, 10].into_iter().for_each(|sequence| cursor.done(sequence));
        cursor.save().unwrap();
        drop(cursor);
        let (mut cursor, _) = Cursor::open(&path, 1).unwrap();
        let open: Vec<u64> = (1..10_005).filter(|sequence| !cursor.is_done(*sequence)).collect();
        assert_eq!(open, [1, 2, 3, 4, 8, 9, 10_001, 10_002, 10_003, 10_004]);
        assert_eq!((cursor.next(), cursor.end()), (1, 10_001));
        cursor.skip_to(6);
        assert_eq!(cursor.next(), 8);
        [8, 9].into_iter().for_each(|sequence| cursor.done(sequence));
        assert_eq!((cursor.next(), cursor.end()), (10_001, 10_001));
    }

    #[test]
    fn a_damaged_slot_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("central.cursor");
        let (mut cursor, _) = Cursor::open(&path, 1).unwrap();
        cursor.done(1);
        cursor.save().unwrap();
        cursor.done(2);
        cursor.save().unwrap();
        let second_slot = (cursor.generation % 2) * SLOT_BYTES as u64;
        cursor.file.write_all_at(&[0xFF; 9], second_slot + 4).unwrap();
        drop(cursor);
        assert_eq!(Cursor::open(&path, 1).unwrap().0.next(), 2);
    }
}
