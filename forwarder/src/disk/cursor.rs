//! How far one destination has come in a log, so that a restart goes on exactly there.
//!
//! Two slots in one file, written in turn, each with a checksum: a torn write leaves the other
//! slot. Acknowledgements out of order (several shards, receivers of which one is down, the newest
//! first) are kept until the gap before them closes: as ranges in the slot, or, when they are many,
//! as bits in a place behind both slots that belongs to the slot and its checksum.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::FlockOperation;

use super::segment::{Unreadable, is_unreadable, set_aside};

/// Ranges of acknowledgements ahead of a gap that a slot has room for: each shard makes a few. More
/// are written as words of bits.
const RANGES_MAX: usize = 250;
/// Words of 64 sequences that a slot may have beside it: two million sequences, twice as many as a
/// log has records. More are remembered in memory only, and would be sent again after a restart.
const WORDS_MAX: usize = 32 * 1024;
/// Bytes of an entry of either list: the first of a range and one behind its last, or the number of
/// a word and its bits.
const ENTRY_BYTES: usize = 16;
/// Bytes of a slot: generation, next, samples before it, count, the list, checksum.
const SLOT_BYTES: usize = LIST_AT + RANGES_MAX * ENTRY_BYTES + 4;
/// Where in a slot the list begins.
const LIST_AT: usize = 32;
/// Where the words of the first slot are; those of the second follow.
const WORDS_AT: usize = 2 * SLOT_BYTES;
/// Set in the count of a slot whose list is words.
const IS_WORDS: u64 = 1 << 63;
/// Sequences of a word.
const WORD: u64 = u64::BITS as u64;

/// A destination's place.
#[derive(Debug)]
pub(super) struct Cursor {
    file: File,
    generation: u64,
    /// Everything before this sequence is done with.
    next: u64,
    /// Samples of every kind that the log held before `next`.
    pub(super) samples_before: u64,
    /// Samples of records that were missing when the log was opened; not saved.
    pub(super) missing: u64,
    /// Done with, though something before is not.
    ahead: Ahead,
}

/// A set of sequences: those of a word by its number, a bit each. No word is empty.
#[derive(Debug, Default)]
struct Ahead(BTreeMap<u64, u64>);

/// What a slot says.
#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    next: u64,
    samples_before: u64,
    ahead: Ahead,
}

impl Cursor {
    /// Opens the cursor at `path`; a new or wholly damaged one starts at `start`.
    /// Says whether it is one that starts there. A file that the disk does not read is set aside if
    /// that is damage: nobody could write to it.
    pub(super) fn open(
        path: &Path,
        start: u64,
        unreadable: Unreadable,
    ) -> io::Result<(Cursor, bool)> {
        let mut file = open_file(path)?;
        let newest = match newest_slot(&file) {
            Err(error) if unreadable == Unreadable::IsDamage && is_unreadable(&error) => {
                set_aside(path)?;
                file = open_file(path)?;
                None
            }
            newest => newest?,
        };
        let starts_anew = newest.is_none();
        let slot = newest.unwrap_or(Slot { next: start, ..Slot::default() });
        let Slot { generation, next, samples_before, ahead } = slot;
        Ok((Cursor { file, generation, next, samples_before, missing: 0, ahead }, starts_anew))
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
        Ok(newest_slot(&file)?.map_or(0, |slot| slot.next))
    }

    /// Everything before this sequence is done with.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// No sequence from here on was ever done with.
    pub(super) fn end(&self) -> u64 {
        self.ahead.end().unwrap_or(self.next)
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

    /// Writes the place down. After a failure the next try is at the same slot: the other one is
    /// whole.
    pub(super) fn save(&mut self) -> io::Result<()> {
        let generation = self.generation + 1;
        let place = (generation % 2) as usize;
        let ranges = self.ahead.ranges(RANGES_MAX + 1);
        let (count, list) = if ranges.len() <= RANGES_MAX {
            (ranges.len() as u64, bytes_of(ranges.into_iter()))
        } else {
            let words = self.ahead.0.iter().take(WORDS_MAX).map(|(word, bits)| (*word, *bits));
            (IS_WORDS | words.len() as u64, bytes_of(words))
        };
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        for long in [generation, self.next, self.samples_before, count] {
            slot.extend_from_slice(&long.to_le_bytes());
        }
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&slot), &list);
        if count & IS_WORDS == 0 {
            slot.extend_from_slice(&list);
        } else {
            self.file.write_all_at(&list, words_at(place))?;
        }
        slot.extend_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&slot, slot_at(place))?;
        self.generation = generation;
        Ok(())
    }

    /// Makes what was saved survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// From now on it cannot be written.
    #[cfg(test)]
    pub(super) fn refuse(&mut self) {
        self.file = File::open("/dev/null").expect("every system has it");
    }
}

// === impl Ahead ===

impl Ahead {
    fn contains(&self, sequence: u64) -> bool {
        let bits = self.0.get(&(sequence / WORD)).copied().unwrap_or(0);
        bits & (1 << (sequence % WORD)) != 0
    }

    fn insert(&mut self, sequence: u64) {
        *self.0.entry(sequence / WORD).or_default() |= 1 << (sequence % WORD);
    }

    /// All from `first` to before `end`.
    fn insert_range(&mut self, first: u64, end: u64) {
        let mut at = first;
        while at < end {
            let word_ends = (at / WORD + 1) * WORD;
            let many = end.min(word_ends) - at;
            let bits = u64::MAX >> (WORD - many) << (at % WORD);
            *self.0.entry(at / WORD).or_default() |= bits;
            at += many;
        }
    }

    /// One behind the last.
    fn end(&self) -> Option<u64> {
        let (word, bits) = self.0.last_key_value()?;
        Some((word + 1) * WORD - u64::from(bits.leading_zeros()))
    }

    /// The first ranges of it, `at_most` so many: first to one behind the last.
    fn ranges(&self, at_most: usize) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (word, bits) in &self.0 {
            let (mut at, mut bits) = (word * WORD, *bits);
            while bits != 0 {
                let zeros = bits.trailing_zeros();
                let ones = (bits >> zeros).trailing_ones();
                let first = at + u64::from(zeros);
                let end = first + u64::from(ones);
                if let Some((_, last)) = ranges.last_mut().filter(|(_, last)| *last == first) {
                    *last = end;
                } else if ranges.len() == at_most {
                    return ranges;
                } else {
                    ranges.push((first, end));
                }
                bits = bits.checked_shr(zeros + ones).unwrap_or(0);
                at = end;
            }
        }
        ranges
    }

    /// Forgets everything before `sequence` and what follows it without a gap; says where the next
    /// gap is.
    fn take_up_to(&mut self, mut sequence: u64) -> u64 {
        while let Some(mut first) = self.0.first_entry() {
            let word = *first.key();
            if word < sequence / WORD {
                first.remove();
                continue;
            }
            if word > sequence / WORD {
                break;
            }
            sequence += u64::from((*first.get() >> (sequence % WORD)).trailing_ones());
            if sequence / WORD == word {
                *first.get_mut() &= u64::MAX << (sequence % WORD);
                if *first.get() == 0 {
                    first.remove();
                }
                break;
            }
        }
        sequence
    }
}

// === the file ===

fn slot_at(place: usize) -> u64 {
    (place * SLOT_BYTES) as u64
}

fn words_at(place: usize) -> u64 {
    (WORDS_AT + place * WORDS_MAX * ENTRY_BYTES) as u64
}

fn bytes_of(list: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    list.flat_map(|(first, second)| [first.to_le_bytes(), second.to_le_bytes()]).flatten().collect()
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn newest_slot(file: &File) -> io::Result<Option<Slot>> {
    let slots = [read_slot(file, 0)?, read_slot(file, 1)?];
    Ok(slots.into_iter().flatten().max_by_key(|slot| slot.generation))
}

fn read_slot(file: &File, place: usize) -> io::Result<Option<Slot>> {
    let slot = read_up_to(file, slot_at(place), SLOT_BYTES)?;
    let Some(count) = long_at(&slot, LIST_AT - 8) else { return Ok(None) };
    let words = match usize::try_from(count ^ IS_WORDS) {
        Ok(words) if words <= WORDS_MAX => read_up_to(file, words_at(place), words * ENTRY_BYTES)?,
        _ => Vec::new(),
    };
    Ok(parse_slot(&slot, &words))
}

fn read_up_to(file: &File, from: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let (mut read, mut length) = (vec![0; bytes], 0);
    while length < bytes {
        match file.read_at(&mut read[length..], from + length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    read.truncate(length);
    Ok(read)
}

fn long_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// What a slot says, if it is whole; `words` is what lies beside it.
fn parse_slot(slot: &[u8], words: &[u8]) -> Option<Slot> {
    let long = |at: usize| long_at(slot, at);
    let count = long(24)?;
    let is_words = count & IS_WORDS != 0;
    let bytes = usize::try_from(count & !IS_WORDS).ok()?.checked_mul(ENTRY_BYTES)?;
    let (list, checksum_at) = match is_words {
        true => (words.get(..bytes)?, LIST_AT),
        false => (slot.get(LIST_AT..LIST_AT.checked_add(bytes)?)?, LIST_AT + bytes),
    };
    let checksum = slot.get(checksum_at..checksum_at + 4)?.try_into().ok()?;
    let counted = crc32c::crc32c_append(crc32c::crc32c(&slot[..LIST_AT]), list);
    if counted != u32::from_le_bytes(checksum) {
        return None;
    }
    let mut ahead = Ahead::default();
    for entry in list.chunks_exact(ENTRY_BYTES) {
        match (long_at(entry, 0)?, long_at(entry, 8)?) {
            (word, bits) if is_words => drop(ahead.0.insert(word, bits)),
            (first, end) => ahead.insert_range(first, end),
        }
    }
    let (generation, next, samples_before) = (long(0)?, long(8)?, long(16)?);
    Some(Slot { generation, next, samples_before, ahead })
}
