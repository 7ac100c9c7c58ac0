//! Remote write 1.0: protobuf `prometheus.WriteRequest`, one `TimeSeries` a sample, compressed with
//! snappy while it is encoded.
//!
//! Neighbours on a page differ in one label, seldom two, and in their value; the timestamp and all
//! else stand in the message before, at a distance that follows from the lengths. So most of a
//! series is a copy that nobody has to search for, and plain bytes are never written.
//! What proto3 leaves out is left out (a zero value, a zero timestamp), so decompressed the bytes
//! are those of a stock encoder.

mod neighbour;

use bytes::Bytes;
use model::{Exemplar, Family, Histogram, PairId};

use self::neighbour::{Before, Ending, Head};
use super::repeat::{LABELS_MAX, Label, merge};
use super::sample_tail::SampleTail;
use super::snappy::{DISTANCE_MAX, Snappy};
use super::wire::{bytes_tag, put_bytes_field, put_double_field, put_message, put_varint_field};
use super::{At, Encode, Series, histogram, put_label};

/// Tag of `WriteRequest.timeseries`.
const TIME_SERIES: u8 = bytes_tag(1);
/// Tag of `TimeSeries.labels` and `Exemplar.labels`.
const LABEL: u8 = bytes_tag(1);
/// Labels whose place in the block is remembered, by a hash of their id. A power of two.
const PLACES: usize = 512;
/// Shorter repetitions are not worth a copy of their own.
const COPY_BYTES_MIN: usize = 4;
/// A label that differs from the one in its place in more bytes is rather found elsewhere.
const DIFFERENCE_MAX: usize = 4;
/// A label with more labels behind it is found again alone.
const REST_LABELS_MAX: usize = 3;
/// Bytes of a sample before its value, which are the same in all samples with a value.
const BEFORE_VALUE: usize = 3;

/// An open `WriteRequest`.
#[derive(Debug)]
pub(crate) struct RemoteWrite1 {
    snappy: Snappy,
    sample: SampleTail,
    before: Before,
    places: Box<[Place; PLACES]>,
    /// The ids of a series with added labels, put together.
    merged: Vec<PairId>,
    scratch: Vec<u8>,
}

/// Where a label stands in the block.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    id: u32,
    /// 0: nothing is known.
    position: u32,
    rest: Rest,
}

/// What follows a label up to the value of the series: where two are equal, the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Rest {
    /// The labels, as far as there are any.
    ids: [u32; REST_LABELS_MAX],
    labels: u8,
    /// Bytes of the sample behind them, which is a part of its first bytes. 0: nothing is known.
    sample_bytes: u8,
}

/// What follows the labels of a series: what it is, and its bytes.
#[derive(Clone, Copy)]
struct Tail<'t> {
    ending: Ending,
    bytes: &'t [u8],
}

// === impl RemoteWrite1 ===

impl Default for RemoteWrite1 {
    fn default() -> RemoteWrite1 {
        RemoteWrite1 {
            snappy: Snappy::default(),
            sample: SampleTail::default(),
            before: Before::default(),
            places: Box::new([Place::default(); PLACES]),
            merged: Vec::new(),
            scratch: Vec::new(),
        }
    }
}

impl RemoteWrite1 {
    pub(super) fn bytes(&self) -> usize {
        self.snappy.bytes()
    }

    /// The block, which is over.
    pub(super) fn finish(&mut self) -> Bytes {
        self.before.forget(0);
        self.places.fill(Place::default());
        self.snappy.finish()
    }

    /// Appends a `TimeSeries` with the labels of `series` and then `tail`.
    #[inline]
    fn put(&mut self, series: &Series<'_>, tail: Tail<'_>) {
        if series.inserted.is_empty() {
            return self.put_ids(series, series.pairs, tail);
        }
        let mut merged = std::mem::take(&mut self.merged);
        merge(series.pairs, series.inserted, &mut merged);
        self.put_ids(series, &merged, tail);
        self.merged = merged;
    }

    #[inline]
    fn put_ids(&mut self, series: &Series<'_>, ids: &[PairId], tail: Tail<'_>) {
        if ids.len() > LABELS_MAX {
            return self.put_plainly(series, ids, tail);
        }
        let shared = self.before.shared(ids);
        let middle = shared.head..ids.len() - shared.tail;
        let mut bytes = shared.head_bytes + shared.tail_bytes + tail.bytes.len();
        for id in &ids[middle.clone()] {
            bytes += label_bytes(framed(series, *id));
        }
        let start = self.snappy.position();
        let head = Head::new(TIME_SERIES, bytes);
        if start - self.before.start + bytes + head.bytes > DISTANCE_MAX {
            return self.put_plainly(series, ids, tail);
        }
        self.put_head(start, head, shared.head_bytes);
        let labels_start = start + head.bytes;
        let is_as_wide = self.before.open(&shared, ids.len());
        let mut done = 0;
        for at in middle.clone() {
            let beside = is_as_wide.then(|| self.before.label(at));
            let beside = beside.map(|(id, start)| (framed(series, id), start));
            let follows = (at + 1 == middle.end).then(|| (&ids[at + 1..], &tail));
            let ahead = shared.tail_bytes + BEFORE_VALUE;
            let is_placed = self.put_label(series, ids[at], beside, follows, ahead);
            done = if is_placed { ahead } else { 0 };
            let end = self.snappy.position() - labels_start - done;
            self.before.note(at, ids[at], end);
        }
        self.before.close(&shared);
        let from = self.before.labels_start() + shared.tail_start;
        self.put_end(from, shared.tail_bytes, done, &tail);
        (self.before.start, self.before.head) = (start, head);
        (self.before.end, self.before.ending) = (self.snappy.position(), tail.ending);
    }

    /// Tag, length, and the labels at the start that are as before.
    #[inline]
    fn put_head(&mut self, start: usize, head: Head, head_bytes: usize) {
        let distance = start - self.before.start;
        let before = self.before.head;
        if before == head {
            return self.snappy.copy(distance, head.bytes + head_bytes);
        }
        if !self.before.is_known() || before.bytes != head.bytes {
            let from = self.before.labels_start();
            self.snappy.literal_word(head.word, head.bytes);
            return self.snappy.copy(start + head.bytes - from, head_bytes);
        }
        let difference = before.word ^ head.word;
        let mut same = 0;
        if self.snappy.ends_with_copy() {
            // A series follows there too: its tag can be had with what is copied already.
            same = 1;
            self.snappy.lengthen_copy(same);
        }
        let unused = 8 - head.bytes;
        let mut behind = difference.leading_zeros() as usize / 8 - unused;
        if head_bytes == 0 {
            behind = 0;
        }
        self.snappy.literal_word(head.word >> (8 * same), head.bytes - same - behind);
        self.snappy.copy(distance, behind + head_bytes);
    }

    /// One label that the series before does not have, or not here; `beside` is what it has and
    /// where that stands. If the label stands in the block with the same behind it (`follows`), that
    /// is put with it: `ahead` bytes more, and true.
    #[inline]
    fn put_label(
        &mut self,
        series: &Series<'_>,
        id: PairId,
        beside: Option<(&[u8], usize)>,
        follows: Option<(&[PairId], &Tail<'_>)>,
        ahead: usize,
    ) -> bool {
        let position = self.snappy.position();
        let framed = framed(series, id);
        let rest = follows.map_or(Rest::default(), |(ids, tail)| Rest::new(ids, tail));
        let place = &mut self.places[(id.0 as usize) % PLACES];
        let known = *place;
        let new_position = u32::try_from(position).unwrap_or(0);
        *place = Place { id: id.0, position: new_position, rest };
        let header = label_bytes(framed) - framed.len();
        let beside = beside.filter(|(other, _)| other.len() == framed.len());
        let (same, from) =
            beside.map_or((0, 0), |(other, from)| (common_prefix(other, framed), from));
        let distance = position - known.position as usize;
        let is_known = known.id == id.0 && known.position > 0 && distance <= DISTANCE_MAX;
        if same >= COPY_BYTES_MIN && (!is_known || framed.len() - same <= DIFFERENCE_MAX) {
            self.snappy.copy(position - from, header + same);
            self.snappy.literal(&framed[same..]);
            return false;
        }
        if !is_known {
            self.put_framed(framed);
            return false;
        }
        let is_all = rest.sample_bytes > 0 && rest == known.rest;
        self.snappy.copy(distance, label_bytes(framed) + if is_all { ahead } else { 0 });
        is_all
    }

    /// The labels at the end that are as before, which stand at `from`, and what follows them;
    /// the first `done` bytes of it all are there already.
    #[inline]
    fn put_end(&mut self, from: usize, label_bytes: usize, done: usize, tail: &Tail<'_>) {
        let (mut same, mut behind) = self.before.ending.shared_with(tail.ending, tail.bytes.len());
        let distance = self.snappy.position() - from - done;
        if same == tail.bytes.len() {
            return self.snappy.copy(distance, label_bytes + same - done);
        }
        if done > 0 {
            same = BEFORE_VALUE;
        } else if label_bytes + same >= COPY_BYTES_MIN {
            self.snappy.copy(distance, label_bytes + same);
        } else {
            same = 0;
        }
        behind = behind.min(tail.bytes.len() - same);
        if behind < COPY_BYTES_MIN {
            behind = 0;
        }
        self.snappy.literal(&tail.bytes[same..tail.bytes.len() - behind]);
        if behind > 0 {
            self.snappy.copy(self.snappy.position() + behind - self.before.end, behind);
        }
    }

    /// A series that has too little to do with the one before, or too many labels.
    fn put_plainly(&mut self, series: &Series<'_>, ids: &[PairId], tail: Tail<'_>) {
        let labels: usize = ids.iter().map(|id| label_bytes(framed(series, *id))).sum();
        let head = Head::new(TIME_SERIES, labels + tail.bytes.len());
        self.snappy.literal_word(head.word, head.bytes);
        for id in ids {
            self.put_framed(framed(series, *id));
        }
        self.snappy.literal(tail.bytes);
        self.before.forget(self.snappy.position());
    }

    fn put_framed(&mut self, framed: &[u8]) {
        let head = Head::new(LABEL, framed.len());
        self.snappy.literal_word(head.word, head.bytes);
        self.snappy.literal(framed);
    }

    /// Appends a `TimeSeries` that ends with what `fill` writes: not a sample.
    fn put_rarer(&mut self, series: &Series<'_>, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        fill(&mut scratch);
        self.put(series, Tail { ending: Ending::Other, bytes: &scratch });
        self.scratch = scratch;
    }
}

impl Encode for RemoteWrite1 {
    #[inline]
    fn sample(&mut self, series: &Series<'_>, value: f64, at: At) {
        let timestamp_ms = at.timestamp_ms;
        if self.sample.timestamp_ms() != timestamp_ms {
            self.sample = SampleTail::new(timestamp_ms);
        }
        let (tail, bytes) = self.sample.of(value);
        let ending = match value.to_bits() {
            0 => Ending::Zero { timestamp_ms },
            bits => Ending::Value { bits, timestamp_ms },
        };
        self.put(series, Tail { ending, bytes: &tail[..bytes] });
    }

    fn histogram(&mut self, series: &Series<'_>, histogram: &Histogram, at: At) {
        self.put_rarer(series, |out| {
            put_message(out, 4, |out| histogram::put(out, histogram, at.timestamp_ms, 0));
        });
    }

    fn exemplar(&mut self, series: &Series<'_>, exemplar: &Exemplar, at: At) {
        self.put_rarer(series, |out| put_exemplar(out, exemplar, at.timestamp_ms));
    }
}

// === impl Rest ===

impl Rest {
    #[inline]
    fn new(ids: &[PairId], tail: &Tail<'_>) -> Rest {
        let mut rest = Rest::default();
        if let Ending::Value { .. } = tail.ending
            && ids.len() <= REST_LABELS_MAX
        {
            rest.ids.iter_mut().zip(ids).for_each(|(place, id)| *place = id.0);
            (rest.labels, rest.sample_bytes) = (ids.len() as u8, tail.bytes.len() as u8);
        }
        rest
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

/// Bytes of a label with its tag and length.
#[inline]
fn label_bytes(framed: &[u8]) -> usize {
    let mut bytes = framed.len() + 2;
    let mut rest = framed.len() >> 7;
    while rest > 0 {
        (bytes, rest) = (bytes + 1, rest >> 7);
    }
    bytes
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
    let rest = ones_rest.iter().zip(others_rest);
    same + rest.take_while(|(one, other)| one == other).count()
}

/// A `WriteRequest` that carries metadata alone.
pub(crate) fn metadata_request<'f>(families: impl Iterator<Item = &'f Family>) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        put_message(&mut out, 3, |out| {
            let fields = [(2, &family.name), (4, &family.help), (5, &family.unit)];
            if family.kind as u64 != 0 {
                put_varint_field(out, 1, family.kind as u64);
            }
            for (number, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
                put_bytes_field(out, number, text.as_bytes());
            }
        });
    }
    out
}

/// Appends the `exemplars` field of a series.
fn put_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar, timestamp_ms: i64) {
    put_message(out, 3, |out| {
        for (name, value) in exemplar.labels.iter() {
            put_message(out, 1, |out| put_label(out, name, value));
        }
        if exemplar.value.to_bits() != 0 {
            put_double_field(out, 2, exemplar.value);
        }
        if timestamp_ms != 0 {
            put_varint_field(out, 3, timestamp_ms as u64);
        }
    });
}
