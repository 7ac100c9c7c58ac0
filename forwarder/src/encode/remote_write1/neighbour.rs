//! The series before the next one: what the two have in common, and where it stands.
//!
//! Not here: writing (`remote_write1.rs`).

use model::PairId;

use crate::encode::repeat::LABELS_MAX;

/// Bytes before a series' labels, at most: a tag and a length.
pub(super) const HEAD_BYTES_MAX: usize = 11;

/// The series before, as it stands in the block.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) ids: [PairId; LABELS_MAX],
    /// Where each label ends, counted from the first one.
    ends: [u32; LABELS_MAX],
    /// How many labels are known.
    pub(super) len: usize,
    /// Where its tag stands.
    pub(super) start: usize,
    /// Tag and length.
    pub(super) head: Short<HEAD_BYTES_MAX>,
    /// What follows its labels, if it is a sample.
    pub(super) tail: Short<22>,
    /// Where it ends.
    pub(super) end: usize,
}

/// A few bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Short<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

/// What a series has in common with the one before.
pub(super) struct Shared {
    /// Labels at the start.
    pub(super) head: usize,
    /// Labels at the end.
    pub(super) tail: usize,
}

// === impl Before ===

impl Default for Before {
    fn default() -> Before {
        let (ids, ends) = ([PairId(0); LABELS_MAX], [0; LABELS_MAX]);
        let (head, tail) = (Short::of(&[]), Short::of(&[]));
        Before { ids, ends, len: 0, start: 0, head, tail, end: 0 }
    }
}

impl Before {
    /// Nothing is known of what ends at `end`.
    pub(super) fn forget(&mut self, end: usize) {
        (self.len, self.start, self.end) = (0, end, end);
        (self.head, self.tail) = (Short::of(&[]), Short::of(&[]));
    }

    #[inline]
    pub(super) fn shared(&self, ids: &[PairId]) -> Shared {
        let before = &self.ids[..self.len];
        let head = before.iter().zip(ids).take_while(|(one, other)| one == other).count();
        let rest = (before.len() - head).min(ids.len() - head);
        let tail = before.iter().rev().zip(ids.iter().rev()).take(rest);
        Shared { head, tail: tail.take_while(|(one, other)| one == other).count() }
    }

    /// Where label `at - 1` ends: where label `at` starts.
    #[inline]
    pub(super) fn end_of(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] as usize }
    }

    /// Takes the labels of the next series.
    #[inline]
    pub(super) fn become_series(
        &mut self,
        shared: &Shared,
        ids: &[PairId],
        bytes_of: impl Fn(PairId) -> usize,
    ) {
        let (old_tail, new_tail) = (self.len - shared.tail, ids.len() - shared.tail);
        let old_start = self.end_of(old_tail) as u32;
        let mut end = self.end_of(shared.head) as u32;
        self.ids.copy_within(old_tail..self.len, new_tail);
        self.ends.copy_within(old_tail..self.len, new_tail);
        let middle = ids.iter().enumerate().take(new_tail).skip(shared.head);
        for (at, id) in middle {
            end += bytes_of(*id) as u32;
            (self.ids[at], self.ends[at]) = (*id, end);
        }
        let by = end.wrapping_sub(old_start);
        for end in &mut self.ends[new_tail..ids.len()] {
            *end = end.wrapping_add(by);
        }
        self.len = ids.len();
    }
}

// === impl Short ===

impl<const N: usize> Short<N> {
    /// `bytes`, or nothing if they are too many.
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Short<N> {
        let mut short = Short { bytes: [0; N], len: 0 };
        if let Some(place) = short.bytes.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            short.len = bytes.len() as u8;
        }
        short
    }

    /// A tag, and the length of what follows.
    #[inline]
    pub(super) fn head(tag: u8, bytes: usize) -> Short<N> {
        let mut head = Short { bytes: [tag; N], len: 1 };
        head.push_varint(bytes);
        head
    }

    #[inline]
    fn push_varint(&mut self, mut n: usize) {
        while n >= 0x80 {
            self.bytes[self.len()] = n as u8 | 0x80;
            (n, self.len) = (n >> 7, self.len + 1);
        }
        self.bytes[self.len()] = n as u8;
        self.len += 1;
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }
}

/// Bytes at the start that are the same.
#[inline]
pub(super) fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let (mut ones, mut others) = (one.chunks_exact(8), other.chunks_exact(8));
    let mut same = 0;
    for (one, other) in (&mut ones).zip(&mut others) {
        let difference = word(one) ^ word(other);
        if difference != 0 {
            return same + difference.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    same + one[same..].iter().zip(&other[same..]).take_while(|(one, other)| one == other).count()
}

/// Bytes at the end that are the same.
#[inline]
pub(super) fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    let (mut ones, mut others) = (one.rchunks_exact(8), other.rchunks_exact(8));
    let mut same = 0;
    for (one, other) in (&mut ones).zip(&mut others) {
        let difference = word(one) ^ word(other);
        if difference != 0 {
            return same + difference.leading_zeros() as usize / 8;
        }
        same += 8;
    }
    let (one, other) = (&one[..one.len() - same], &other[..other.len() - same]);
    let rest = one.iter().rev().zip(other.iter().rev());
    same + rest.take_while(|(one, other)| one == other).count()
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("chunks have eight bytes"))
}
