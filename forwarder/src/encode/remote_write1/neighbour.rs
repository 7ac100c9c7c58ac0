//! The series before the next one: what the two have in common, and where it stands.
//!
//! Not here: writing (`remote_write1.rs`).

use model::PairId;

use crate::encode::repeat::LABELS_MAX;

/// Bytes of a sample before its value, and up to the end of it.
const BEFORE_VALUE: usize = 3;
const AFTER_VALUE: usize = BEFORE_VALUE + 8;

/// The series before, as it stands in the block.
#[derive(Debug)]
pub(super) struct Before {
    ids: [PairId; LABELS_MAX],
    /// Where each label ends, counted from the first one.
    ends: [u32; LABELS_MAX],
    /// How many labels are known.
    len: usize,
    /// Where its tag stands.
    pub(super) start: usize,
    /// Tag and length.
    pub(super) head: Head,
    /// What follows its labels.
    pub(super) ending: Ending,
    /// Where it ends.
    pub(super) end: usize,
    /// Where the next label that is replaced stands.
    next_start: usize,
}

/// A tag and the length of what follows, as the bytes of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) word: u64,
    pub(super) bytes: usize,
}

/// What follows the labels of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing that can be repeated.
    Other,
    /// A sample whose value has these bits.
    Value { bits: u64, timestamp_ms: i64 },
    /// A sample whose value is zero, which is left out.
    Zero { timestamp_ms: i64 },
}

/// What a series has in common with the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    /// Labels at the start.
    pub(super) head: usize,
    /// Labels at the end.
    pub(super) tail: usize,
    /// Bytes of the labels at the start.
    pub(super) head_bytes: usize,
    /// Where the labels at the end start in the series before, counted from its first label.
    pub(super) tail_start: usize,
    /// Bytes of the labels at the end.
    pub(super) tail_bytes: usize,
}

// === impl Before ===

impl Default for Before {
    fn default() -> Before {
        let (ids, ends) = ([PairId(0); LABELS_MAX], [0; LABELS_MAX]);
        let (head, ending) = (Head::default(), Ending::Other);
        Before { ids, ends, len: 0, start: 0, head, ending, end: 0, next_start: 0 }
    }
}

impl Before {
    /// Nothing is known of what ends at `end`.
    pub(super) fn forget(&mut self, end: usize) {
        (self.len, self.start, self.end) = (0, end, end);
        (self.head, self.ending) = (Head::default(), Ending::Other);
    }

    /// Whether anything is known.
    pub(super) fn is_known(&self) -> bool {
        self.head.bytes > 0
    }

    /// Where its first label stands.
    #[inline]
    pub(super) fn labels_start(&self) -> usize {
        self.start + self.head.bytes
    }

    #[inline]
    pub(super) fn shared(&self, ids: &[PairId]) -> Shared {
        let before = &self.ids[..self.len];
        let head = before.iter().zip(ids).take_while(|(one, other)| one == other).count();
        let rest = (before.len() - head).min(ids.len() - head);
        let tail = before.iter().rev().zip(ids.iter().rev()).take(rest);
        let tail = tail.take_while(|(one, other)| one == other).count();
        let tail_start = self.end_of(self.len - tail);
        let tail_bytes = self.end_of(self.len) - tail_start;
        Shared { head, tail, head_bytes: self.end_of(head), tail_start, tail_bytes }
    }

    /// Makes place for the labels of the next series between those at the start and at the end.
    /// Whether there are as many as there were: then each has one [beside it](Before::label).
    #[inline]
    pub(super) fn open(&mut self, shared: &Shared, len: usize) -> bool {
        let (old_tail, new_tail) = (self.len - shared.tail, len - shared.tail);
        if old_tail != new_tail {
            self.ids.copy_within(old_tail..self.len, new_tail);
            self.ends.copy_within(old_tail..self.len, new_tail);
        }
        self.len = len;
        self.next_start = self.labels_start() + shared.head_bytes;
        old_tail == new_tail
    }

    /// A label of this series that the next one will replace, and where it stands. To be asked
    /// from the first to the last, each before it is replaced.
    #[inline]
    pub(super) fn label(&mut self, at: usize) -> (PairId, usize) {
        let start = self.next_start;
        self.next_start = self.labels_start() + self.ends[at] as usize;
        (self.ids[at], start)
    }

    /// Notes a label that differs, and where it ends.
    #[inline]
    pub(super) fn note(&mut self, at: usize, id: PairId, end: usize) {
        (self.ids[at], self.ends[at]) = (id, end as u32);
    }

    /// The labels that differ are noted: moves the ends of those behind them.
    #[inline]
    pub(super) fn close(&mut self, shared: &Shared) {
        let new_tail = self.len - shared.tail;
        let by = (self.end_of(new_tail) as u32).wrapping_sub(shared.tail_start as u32);
        if by != 0 {
            for end in &mut self.ends[new_tail..self.len] {
                *end = end.wrapping_add(by);
            }
        }
    }

    /// Where label `at - 1` ends: where label `at` starts.
    #[inline]
    fn end_of(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] as usize }
    }
}

// === impl Head ===

impl Head {
    /// `tag`, and the length of what follows.
    #[inline]
    pub(super) fn new(tag: u8, length: usize) -> Head {
        let tag = u64::from(tag);
        if length < 0x80 {
            return Head { word: tag | (length as u64) << 8, bytes: 2 };
        }
        let (mut word, mut bytes, mut rest) = (tag, 1, length as u64);
        while rest >= 0x80 {
            word |= (rest & 0x7f | 0x80) << (8 * bytes);
            (rest, bytes) = (rest >> 7, bytes + 1);
        }
        Head { word: word | rest << (8 * bytes), bytes: bytes + 1 }
    }
}

// === impl Ending ===

impl Ending {
    /// Bytes at the start and at the end that are the same in the sample `next`, which is of
    /// `length` bytes.
    #[inline]
    pub(super) fn shared_with(self, next: Ending, length: usize) -> (usize, usize) {
        use Ending::{Other, Value, Zero};
        match (self, next) {
            (Value { bits, timestamp_ms }, Value { bits: other, timestamp_ms: at })
                if timestamp_ms == at =>
            {
                let difference = bits ^ other;
                if difference == 0 {
                    return (length, 0);
                }
                let before = BEFORE_VALUE + difference.trailing_zeros() as usize / 8;
                let behind = length - AFTER_VALUE + difference.leading_zeros() as usize / 8;
                (before, behind)
            }
            (Zero { timestamp_ms }, Zero { timestamp_ms: at }) if timestamp_ms == at => (length, 0),
            // The tag, and the timestamp with its tag.
            (Value { timestamp_ms, .. }, Zero { timestamp_ms: at }) if timestamp_ms == at => {
                (1, length - 2)
            }
            (Zero { timestamp_ms }, Value { timestamp_ms: at, .. }) if timestamp_ms == at => {
                (1, length - AFTER_VALUE)
            }
            (Value { .. } | Zero { .. } | Other, _) => (0, 0),
        }
    }
}
