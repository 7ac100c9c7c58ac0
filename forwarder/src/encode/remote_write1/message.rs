//! A series as it stands on the wire, up to its value; and which of its bytes the one before it
//! has too.
//!
//! Neighbours on a page differ in one label, seldom two, and in their value; all else is a copy
//! from a distance that follows from lengths. Nothing is searched for: labels are compared by id,
//! and bytes only where two labels in one place differ.
//! Not here: writing (`remote_write1.rs`).

use model::PairId;

use crate::encode::Series;
use crate::encode::repeat::{LABELS_MAX, Label};
use crate::encode::snappy::{COPY_BYTES_MIN, DISTANCE_MAX, Snappy};
use crate::encode::wire::bytes_tag;

/// Tag of `WriteRequest.timeseries`.
const TIME_SERIES: u8 = bytes_tag(1);
/// Tag of `TimeSeries.labels`.
const LABEL: u8 = bytes_tag(1);
/// A longer message has no copies: they reach back to the start of the message before at most.
const REPEATABLE_BYTES_MAX: usize = DISTANCE_MAX / 2 - 8;

/// The bytes of a series: the end of the sample before it (its timestamp, which is the last thing
/// of a sample), tag and length, labels, and what follows them up to a value.
#[derive(Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
    /// Bytes of the timestamp of the sample before.
    lead: usize,
    /// Where the first label stands.
    labels_start: usize,
    ids: Vec<PairId>,
    /// Where each label ends.
    ends: Vec<u32>,
    /// Bytes of the value that follows, which are not here.
    value_bytes: usize,
}

/// What follows the labels of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending<'e> {
    /// What is known.
    pub(super) bytes: &'e [u8],
    /// Bytes of a value behind them: 8 or 0.
    pub(super) value_bytes: usize,
    /// Bytes of a timestamp behind that, which the next message begins with.
    pub(super) stamp_bytes: usize,
}

/// Collects which bytes of a message are copies.
struct Writer<'w> {
    out: &'w mut Snappy,
    bytes: &'w [u8],
    /// Bytes of the message that are written.
    written: usize,
    /// Where the copy begins that may still get longer, and its distance; else the same as `at`.
    copied_from: usize,
    distance: usize,
    /// Bytes of the message that are decided.
    at: usize,
}

// === impl Message ===

impl Message {
    /// Nothing is known of what stands in the block before.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
        self.ids.clear();
        self.ends.clear();
        (self.lead, self.labels_start, self.value_bytes) = (0, 0, 0);
    }

    /// Becomes the series with these labels, after a sample whose timestamp is still to be
    /// written.
    pub(super) fn set(
        &mut self,
        stamp: &[u8],
        series: &Series<'_>,
        ids: &[PairId],
        ending: Ending<'_>,
    ) {
        self.forget();
        self.lead = stamp.len();
        self.value_bytes = ending.value_bytes;
        self.bytes.extend_from_slice(stamp);
        let labels: usize = ids.iter().map(|id| field_bytes(framed(series, *id).len())).sum();
        let length = labels + ending.bytes.len() + ending.value_bytes + ending.stamp_bytes;
        self.put_head(TIME_SERIES, length);
        self.labels_start = self.bytes.len();
        for id in ids {
            let framed = framed(series, *id);
            self.put_head(LABEL, framed.len());
            self.bytes.extend_from_slice(framed);
            self.ends.push(self.bytes.len() as u32);
        }
        self.ids.extend_from_slice(ids);
        self.bytes.extend_from_slice(ending.bytes);
    }

    /// Plain bytes, with those of the value.
    pub(super) fn plain_bytes(&self) -> usize {
        self.bytes.len() + self.value_bytes
    }

    /// Whether it may consist of copies of `before`, its first bytes among them. If not, all of it
    /// is new.
    pub(super) fn repeats(&self, before: &Message) -> bool {
        let is_short = |message: &Message| {
            message.ids.len() <= LABELS_MAX && message.bytes.len() <= REPEATABLE_BYTES_MAX
        };
        !before.bytes.is_empty() && is_short(before) && is_short(self)
    }

    /// Writes the message and then `value`. `before` is the one that stands right before it in
    /// the block; if it is empty, nothing of it is used.
    pub(super) fn write(&self, before: &Message, value: &[u8], out: &mut Snappy) {
        debug_assert_eq!(value.len(), self.value_bytes);
        let mut writer = Writer::new(out, &self.bytes);
        if self.repeats(before) {
            self.repeat(before, &mut writer);
        }
        writer.finish(value);
    }

    fn repeat(&self, before: &Message, writer: &mut Writer<'_>) {
        let span = before.plain_bytes();
        // What stands at `this` may be a copy of what stands at `other` in the message before.
        let distance = |this: usize, other: usize| span + this - other;
        if self.lead == before.lead {
            writer.align(0..self.lead, &before.bytes[..before.lead], distance(0, 0));
        } else {
            writer.pass(self.lead);
        }
        let (this, other) = (self.lead..self.labels_start, before.lead..before.labels_start);
        let away = distance(this.start, other.start);
        writer.align(this, &before.bytes[other], away);
        let (ours, theirs) = (self.ids.len(), before.ids.len());
        let head = common(self.ids.iter().zip(&before.ids));
        let rest = ours.min(theirs) - head;
        let tail = common(self.ids.iter().rev().zip(before.ids.iter().rev()).take(rest));
        let away = distance(self.labels_start, before.labels_start);
        writer.copy(self.end_of(head) - self.labels_start, away);
        for at in head..ours - tail {
            let label = self.end_of(at)..self.end_of(at + 1);
            if ours == theirs {
                let other = before.end_of(at)..before.end_of(at + 1);
                let away = distance(label.start, other.start);
                writer.align_label(label, &before.bytes[other], away);
            } else {
                writer.pass(label.len());
            }
        }
        let (this, other) = (self.end_of(ours - tail), before.end_of(theirs - tail));
        writer.copy(self.end_of(ours) - this, distance(this, other));
        let (this, other) = (self.end_of(ours), before.end_of(theirs));
        let away = distance(this, other);
        writer.align(this..self.bytes.len(), &before.bytes[other..], away);
    }

    /// Where label `at` starts.
    #[inline]
    fn end_of(&self, at: usize) -> usize {
        if at == 0 { self.labels_start } else { self.ends[at - 1] as usize }
    }

    fn put_head(&mut self, tag: u8, length: usize) {
        self.bytes.push(tag);
        let mut rest = length;
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }
}

// === impl Writer ===

impl<'w> Writer<'w> {
    fn new(out: &'w mut Snappy, bytes: &'w [u8]) -> Writer<'w> {
        Writer { out, bytes, written: 0, copied_from: 0, distance: 0, at: 0 }
    }

    /// The next `bytes` bytes stand `distance` back.
    #[inline]
    fn copy(&mut self, bytes: usize, distance: usize) {
        if bytes == 0 {
            return;
        }
        if self.distance != distance {
            self.end_copy();
            self.distance = distance;
        }
        self.at += bytes;
    }

    /// The next `bytes` bytes are new.
    #[inline]
    fn pass(&mut self, bytes: usize) {
        if bytes > 0 {
            self.end_copy();
            self.at += bytes;
            self.copied_from = self.at;
        }
    }

    /// The bytes `these` may be like `others`, which stand `distance` back: copies what is the
    /// same at their start and, if they are as long, at their end.
    #[inline]
    fn align(&mut self, these: std::ops::Range<usize>, others: &[u8], distance: usize) {
        let bytes = &self.bytes[these];
        let head = common_prefix(bytes, others);
        self.copy(head, distance);
        let mut tail = 0;
        if bytes.len() == others.len() {
            tail = common(bytes[head..].iter().rev().zip(others[head..].iter().rev()));
        }
        self.pass(bytes.len() - head - tail);
        self.copy(tail, distance);
    }

    /// As [`Writer::align`], for two labels. If they are not equally long, their names, which stand
    /// between two lengths that differ, are still in the same place.
    #[inline]
    fn align_label(&mut self, these: std::ops::Range<usize>, others: &[u8], distance: usize) {
        let label = &self.bytes[these.clone()];
        match (value_start(label), value_start(others)) {
            (Some(start), Some(other)) if label.len() != others.len() && start == other => {
                let value = these.start + start;
                self.align(these.start..value, &others[..start], distance);
                self.align(value..these.end, &others[start..], distance);
            }
            _ => self.align(these, others, distance),
        }
    }

    /// Writes what is new before the copy that ends here, and the copy, if it is worth it.
    fn end_copy(&mut self) {
        let bytes = self.at - self.copied_from;
        if bytes >= COPY_BYTES_MIN {
            self.out.literal(&self.bytes[self.written..self.copied_from], &[]);
            self.out.copy(self.distance, bytes);
            self.written = self.at;
        }
        (self.copied_from, self.distance) = (self.at, 0);
    }

    fn finish(mut self, value: &[u8]) {
        self.end_copy();
        self.out.literal(&self.bytes[self.written..], value);
    }
}

/// The message of a label.
#[inline]
fn framed<'s>(series: &Series<'s>, id: PairId) -> &'s [u8] {
    match Label::of(id) {
        Label::Own(id) => series.table.framed(id),
        Label::Added(number) => &series.labels[usize::from(number)].framed,
    }
}

/// Bytes of a field with a tag of one byte and so long a content.
#[inline]
fn field_bytes(length: usize) -> usize {
    let mut bytes = length + 2;
    let mut rest = length >> 7;
    while rest > 0 {
        (bytes, rest) = (bytes + 1, rest >> 7);
    }
    bytes
}

/// Where the value of a label starts, behind its name and tag; none if a length in front of it has
/// more than one byte.
#[inline]
fn value_start(label: &[u8]) -> Option<usize> {
    let (whole, name) = (*label.get(1)?, *label.get(3)?);
    (whole < 0x80 && name < 0x80).then_some(5 + usize::from(name))
}

/// How many are the same from the start on.
#[inline]
fn common<'a, T: PartialEq + 'a>(pairs: impl Iterator<Item = (&'a T, &'a T)>) -> usize {
    pairs.take_while(|(one, other)| one == other).count()
}

/// Bytes at the start that are the same. Labels in one place often differ at their end only: words
/// are compared.
#[inline]
fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let (ones, ones_rest) = one.as_chunks::<8>();
    let (others, others_rest) = other.as_chunks::<8>();
    let mut same = 0;
    for (one, other) in ones.iter().zip(others) {
        let difference = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if difference != 0 {
            return same + difference.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    if ones.len() == others.len() {
        same += common(ones_rest.iter().zip(others_rest));
    } else {
        let (one, other) = (&one[same..], &other[same..]);
        same += common(one.iter().zip(other));
    }
    same
}
