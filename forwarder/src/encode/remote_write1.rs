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

use self::neighbour::{Before, HEAD_BYTES_MAX, Short, common_prefix, common_suffix};
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
/// A label that differs from the one before it in more bytes is looked for elsewhere.
const DIFFERENCE_MAX: usize = 4;
/// An open, compressed `WriteRequest`.
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
    fn put(&mut self, series: &Series<'_>, tail: &[u8]) {
        if series.inserted.is_empty() {
            return self.put_ids(series, series.pairs, tail);
        }
        let mut merged = std::mem::take(&mut self.merged);
        merge(series.pairs, series.inserted, &mut merged);
        self.put_ids(series, &merged, tail);
        self.merged = merged;
    }

    #[inline]
    fn put_ids(&mut self, series: &Series<'_>, ids: &[PairId], tail: &[u8]) {
        if ids.len() > LABELS_MAX {
            return self.put_plainly(series, ids, tail);
        }
        let shared = self.before.shared(ids);
        let middle = shared.head..ids.len() - shared.tail;
        let middle_bytes: usize =
            ids[middle.clone()].iter().map(|id| label_bytes(framed(series, *id))).sum();
        let head_bytes = self.before.end_of(shared.head);
        let tail_start = self.before.end_of(self.before.len - shared.tail);
        let tail_bytes = self.before.end_of(self.before.len) - tail_start;
        let bytes = head_bytes + middle_bytes + tail_bytes + tail.len();
        let start = self.snappy.position();
        if start - self.before.start + bytes > DISTANCE_MAX - HEAD_BYTES_MAX {
            return self.put_plainly(series, ids, tail);
        }
        let head = Short::head(TIME_SERIES, bytes);
        self.put_head(start, &head, head_bytes);
        for at in middle.clone() {
            let beside = (at == shared.head && shared.head + shared.tail < self.before.len)
                .then(|| self.before.ids[at]);
            self.put_label(series, ids[at], beside, start + head.len());
        }
        let labels_start = self.before.start + self.before.head.len();
        self.put_end(labels_start + tail_start, tail_bytes, tail);
        self.before.become_series(&shared, ids, |id| label_bytes(framed(series, id)));
        (self.before.start, self.before.head) = (start, head);
        self.before.end = self.snappy.position();
        self.before.tail = Short::of(tail);
    }

    /// Tag, length, and the labels at the start that are as before.
    #[inline]
    fn put_head(&mut self, start: usize, head: &Short<HEAD_BYTES_MAX>, head_bytes: usize) {
        let before = &self.before;
        let distance = start - before.start;
        if before.len > 0 && before.head.as_slice() == head.as_slice() && distance <= DISTANCE_MAX {
            return self.snappy.copy(distance, head.len() + head_bytes);
        }
        let from = before.start + before.head.len();
        self.snappy.literal(head.as_slice());
        self.snappy.copy(start + head.len() - from, head_bytes);
    }

    /// One label that the series before does not have, or not here; `beside` is what it has.
    #[inline]
    fn put_label(
        &mut self,
        series: &Series<'_>,
        id: PairId,
        beside: Option<PairId>,
        labels_start: usize,
    ) {
        let position = self.snappy.position();
        let framed_bytes = framed(series, id);
        let place = &mut self.places[(id.0 as usize) % PLACES];
        let known = (place.id == id.0 && place.position > 0).then_some(place.position as usize);
        *place = Place { id: id.0, position: u32::try_from(position).unwrap_or(0) };
        if let Some(other) = beside.map(|other| framed(series, other))
            && other.len() == framed_bytes.len()
        {
            let same = common_prefix(other, framed_bytes);
            if same >= COPY_BYTES_MIN && framed_bytes.len() - same <= DIFFERENCE_MAX {
                let before = &self.before;
                let distance = labels_start - before.start - before.head.len();
                let header = label_bytes(framed_bytes) - framed_bytes.len();
                self.snappy.copy(distance, header + same);
                return self.snappy.literal(&framed_bytes[same..]);
            }
        }
        match known.map(|known| position - known) {
            Some(distance) if distance <= DISTANCE_MAX => {
                self.snappy.copy(distance, label_bytes(framed_bytes));
            }
            _ => self.put_framed(framed_bytes),
        }
    }

    /// The labels at the end that are as before, which stand at `from`, and what follows them.
    #[inline]
    fn put_end(&mut self, from: usize, label_bytes: usize, tail: &[u8]) {
        let old = self.before.tail.as_slice();
        let mut same = common_prefix(old, tail);
        let most = old.len().min(tail.len()) - same;
        let mut behind = common_suffix(old, tail).min(most);
        if label_bytes == 0 && same < COPY_BYTES_MIN {
            same = 0;
        }
        if behind < COPY_BYTES_MIN {
            behind = 0;
        }
        if label_bytes + same > 0 {
            self.snappy.copy(self.snappy.position() - from, label_bytes + same);
        }
        self.snappy.literal(&tail[same..tail.len() - behind]);
        if behind > 0 {
            self.snappy.copy(self.snappy.position() + behind - self.before.end, behind);
        }
    }

    /// A series of many labels, without looking at others.
    fn put_plainly(&mut self, series: &Series<'_>, ids: &[PairId], tail: &[u8]) {
        let labels: usize = ids.iter().map(|id| label_bytes(framed(series, *id))).sum();
        self.snappy
            .literal(Short::<HEAD_BYTES_MAX>::head(TIME_SERIES, labels + tail.len()).as_slice());
        for id in ids {
            self.put_framed(framed(series, *id));
        }
        self.snappy.literal(tail);
        self.before.forget(self.snappy.position());
    }

    fn put_framed(&mut self, framed: &[u8]) {
        self.snappy.literal(Short::<HEAD_BYTES_MAX>::head(LABEL, framed.len()).as_slice());
        self.snappy.literal(framed);
    }

    /// Appends a `TimeSeries` that ends with what `fill` writes: not a sample.
    fn put_rarer(&mut self, series: &Series<'_>, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        fill(&mut scratch);
        self.put(series, &scratch);
        self.scratch = scratch;
    }
}

impl Encode for RemoteWrite1 {
    #[inline]
    fn sample(&mut self, series: &Series<'_>, value: f64, at: At) {
        if self.sample.timestamp_ms() != at.timestamp_ms {
            self.sample = SampleTail::new(at.timestamp_ms);
        }
        let (tail, bytes) = self.sample.of(value);
        self.put(series, &tail[..bytes]);
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
