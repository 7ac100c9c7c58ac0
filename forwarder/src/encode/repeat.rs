//! Labels that a series has in common with the one before it, copied in two pieces.
//!
//! Neighbours on a page differ in one label, seldom two: what stands before and behind it is the
//! same bytes again. Finding that out costs a comparison of a few ids; encoding the labels one by
//! one costs a look-up and a copy each.
//! What holds: the bytes copied are those the encoder wrote for the same ids in the same block.

use model::PairId;

use super::{Insertion, Series};

/// A series with more labels is encoded label by label.
pub(super) const LABELS_MAX: usize = 32;
/// Ids from here on stand for the labels that a destination adds; the table never gets so far.
const ADDED: u32 = u32::MAX - u16::MAX as u32;

/// Where the labels of the last series stand in the buffer.
#[derive(Debug)]
pub(super) struct Repeat {
    ids: [PairId; LABELS_MAX],
    /// Where each label ends, counted from `start`.
    ends: [u32; LABELS_MAX],
    len: usize,
    /// Where the first label stands.
    start: usize,
    /// The ids of a series with added labels, put together.
    merged: Vec<PairId>,
}

/// A label by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// One of the series' own.
    Own(PairId),
    /// The label of this number that the destination adds.
    Added(u16),
}

impl Default for Repeat {
    fn default() -> Repeat {
        let (ids, ends) = ([PairId(0); LABELS_MAX], [0; LABELS_MAX]);
        Repeat { ids, ends, len: 0, start: 0, merged: Vec::new() }
    }
}

impl Repeat {
    /// Forgets the last series: its bytes are no longer in the buffer.
    pub(super) fn forget(&mut self) {
        self.len = 0;
    }

    /// The bytes of the last series were moved so that its first label stands at `start`.
    pub(super) fn moved(&mut self, start: usize) {
        self.start = start;
    }

    /// Appends the labels of `series`; `one` encodes a single label.
    #[inline]
    pub(super) fn put(
        &mut self,
        out: &mut Vec<u8>,
        series: &Series<'_>,
        mut one: impl FnMut(&mut Vec<u8>, Label),
    ) {
        if series.inserted.is_empty() {
            return self.put_ids(out, series.pairs, &mut one);
        }
        let mut merged = std::mem::take(&mut self.merged);
        merge(series.pairs, series.inserted, &mut merged);
        self.put_ids(out, &merged, &mut one);
        self.merged = merged;
    }

    #[inline]
    fn put_ids(
        &mut self,
        out: &mut Vec<u8>,
        ids: &[PairId],
        one: &mut impl FnMut(&mut Vec<u8>, Label),
    ) {
        let start = out.len();
        if ids.len() > LABELS_MAX {
            ids.iter().for_each(|id| one(out, Label::of(*id)));
            return self.forget();
        }
        let before = &self.ids[..self.len];
        let head = before.iter().zip(ids).take_while(|(one, other)| one == other).count();
        let rest = (before.len() - head).min(ids.len() - head);
        let tail = before.iter().rev().zip(ids.iter().rev()).take(rest);
        let tail = tail.take_while(|(one, other)| one == other).count();
        if head > 0 {
            let end = self.ends[head - 1] as usize;
            out.extend_from_within(self.start..self.start + end);
        }
        let (old_tail, new_tail) = (self.len - tail, ids.len() - tail);
        let (tail_start, tail_end) = (self.end(old_tail), self.end(self.len));
        self.ids.copy_within(old_tail..self.len, new_tail);
        self.ends.copy_within(old_tail..self.len, new_tail);
        for (at, id) in ids.iter().enumerate().take(new_tail).skip(head) {
            one(out, Label::of(*id));
            self.ids[at] = *id;
            self.ends[at] = (out.len() - start) as u32;
        }
        if tail > 0 {
            let by = ((out.len() - start) as u32).wrapping_sub(tail_start as u32);
            out.extend_from_within(self.start + tail_start..self.start + tail_end);
            for end in &mut self.ends[new_tail..ids.len()] {
                *end = end.wrapping_add(by);
            }
        }
        (self.len, self.start) = (ids.len(), start);
    }

    /// Where label `at - 1` ends: where label `at` starts.
    fn end(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] as usize }
    }
}

impl Label {
    pub(super) fn of(id: PairId) -> Label {
        match id.0.checked_sub(ADDED) {
            Some(number) => Label::Added(number as u16),
            None => Label::Own(id),
        }
    }
}

/// The ids of a series with the labels that the destination adds to it.
pub(super) fn merge(pairs: &[PairId], inserted: &[Insertion], merged: &mut Vec<PairId>) {
    merged.clear();
    let mut next = 0;
    for insertion in inserted {
        let before = usize::from(insertion.before);
        merged.extend_from_slice(&pairs[next..before]);
        merged.push(PairId(ADDED + u32::from(insertion.label)));
        next = before;
    }
    merged.extend_from_slice(&pairs[next..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_bytes_are_those_of_label_by_label(
            all in proptest::collection::vec(proptest::collection::vec(0..5_u32, 0..36), 0..30),
            moves in any::<bool>(),
        ) {
            let mut repeat = Repeat::default();
            let (mut got, mut want) = (Vec::new(), Vec::new());
            let put_one = |out: &mut Vec<u8>, label: Label| match label {
                Label::Own(id) => out.extend(std::iter::repeat_n(id.0 as u8, id.0 as usize * 3)),
                Label::Added(_) => {}
            };
            for ids in &all {
                let ids: Vec<PairId> = ids.iter().map(|id| PairId(*id)).collect();
                repeat.put_ids(&mut got, &ids, &mut |out, label| put_one(out, label));
                ids.iter().for_each(|id| put_one(&mut want, Label::of(*id)));
                prop_assert_eq!(&got, &want);
                if moves && ids.len() <= LABELS_MAX {
                    let bytes: u32 = ids.iter().map(|id| id.0 * 3).sum();
                    let start = got.len() - bytes as usize;
                    got.insert(start, 77);
                    want.insert(start, 77);
                    repeat.moved(start + 1);
                }
            }
        }
    }
}
