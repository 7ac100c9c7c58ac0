//! Remote write 1.0: protobuf `prometheus.WriteRequest`, one `TimeSeries` a sample, compressed with
//! snappy while it is encoded.
//!
//! A series is written as what it has in common with the one before, and plain bytes never exist.
//! How that looks does not depend on values: every value is eight bytes, zero as well (which a
//! decoder takes as it takes one that is left out). So the bytes between two values can be kept
//! ready in a [`Stencil`], and a sample of a page like the last one costs the copying of a few bytes
//! and of its value.

mod message;
mod shapes;
mod stencil;

use bytes::Bytes;
use model::{Exemplar, Family, Histogram, PairId};

use self::message::{Ending, Message};
pub(crate) use self::shapes::Shapes;
pub(crate) use self::stencil::{Stencil, StencilBuilder, StencilCopy};
use super::repeat::merge;
use super::snappy::Snappy;
use super::wire::{
    bytes_tag, fixed64_tag, put_bytes_field, put_double_field, put_int64, put_message,
    put_varint_field, varint_tag,
};
use super::{At, Encode, Series, histogram, put_label};

/// Bytes of a sample before its value: tag, length, tag of the value.
const BEFORE_VALUE: usize = 3;
/// Bytes of a timestamp of our time, with its tag. Others are never in a stencil.
const STAMP_BYTES: usize = 7;

/// An open `WriteRequest`.
#[derive(Debug, Default)]
pub(crate) struct RemoteWrite1 {
    snappy: Snappy,
    /// The last series, as it stands in the block.
    before: Message,
    /// Room for the next one.
    next: Message,
    stamp: Stamp,
    /// The timestamp that ends the last sample is not written yet: it is, for the most part, a
    /// copy that the next series begins with.
    is_stamp_due: bool,
    /// The ids of a series with added labels, put together.
    merged: Vec<PairId>,
    scratch: Vec<u8>,
}

/// A timestamp: the end of every sample of a page.
#[derive(Debug)]
struct Stamp {
    timestamp_ms: i64,
    /// Tag and number; empty for zero.
    bytes: Vec<u8>,
    /// What a sample with this timestamp begins with.
    head: [u8; BEFORE_VALUE],
}

// === impl RemoteWrite1 ===

impl RemoteWrite1 {
    pub(super) fn bytes(&self) -> usize {
        self.snappy.bytes()
    }

    /// The block, which is over.
    pub(super) fn finish(&mut self) -> Bytes {
        self.end_sample();
        self.snappy.finish()
    }

    /// Appends values of neighbouring series, the first of which is `first` in the order of the
    /// stencil, until it meets one that is absent or not in the stencil. Returns how many. The
    /// series before the first one and the one before that must be the last two in the block, with
    /// the same timestamp.
    pub(crate) fn stencilled(&mut self, stencil: &Stencil, first: usize, values: &[f64]) -> usize {
        let count = stencil.put(first, values, &mut self.snappy);
        if count > 0 {
            self.before.forget();
        }
        count
    }

    /// Whether the next sample may be taken from a stencil, if the two samples before are of the
    /// series before it.
    pub(crate) fn has_usual_stamp(&self) -> bool {
        self.is_stamp_due && self.stamp.bytes.len() == STAMP_BYTES
    }

    /// Appends a series that ends with `ending` and `value`.
    #[inline]
    fn put(&mut self, series: &Series<'_>, ending: Ending<'_>, value: &[u8]) {
        let mut merged = std::mem::take(&mut self.merged);
        let ids = all_ids(series, &mut merged);
        let stamp: &[u8] = if self.is_stamp_due { &self.stamp.bytes } else { &[] };
        self.next.set(stamp, series, ids, ending);
        self.next.write(&self.before, value, &mut self.snappy);
        std::mem::swap(&mut self.next, &mut self.before);
        self.is_stamp_due = ending.stamp_bytes > 0;
        self.merged = merged;
    }

    /// Appends a `TimeSeries` that ends with what `fill` writes: not a sample.
    fn put_rarer(&mut self, series: &Series<'_>, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        fill(&mut scratch);
        self.put(series, Ending { bytes: &scratch, value_bytes: 0, stamp_bytes: 0 }, &[]);
        self.scratch = scratch;
    }

    /// Writes the timestamp that is due.
    fn end_sample(&mut self) {
        if self.is_stamp_due {
            self.snappy.literal(&self.stamp.bytes, &[]);
        }
        self.is_stamp_due = false;
        self.before.forget();
    }
}

impl Encode for RemoteWrite1 {
    #[inline]
    fn sample(&mut self, series: &Series<'_>, value: f64, at: At) {
        if self.stamp.timestamp_ms != at.timestamp_ms {
            self.end_sample();
            self.stamp = Stamp::new(at.timestamp_ms);
        }
        let stamp_bytes = self.stamp.bytes.len();
        let head = self.stamp.head;
        let ending = Ending { bytes: &head, value_bytes: 8, stamp_bytes };
        self.put(series, ending, &value.to_le_bytes());
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

// === impl Stamp ===

impl Stamp {
    fn new(timestamp_ms: i64) -> Stamp {
        let mut bytes = Vec::with_capacity(11);
        if timestamp_ms != 0 {
            bytes.push(varint_tag(2));
            put_int64(&mut bytes, timestamp_ms);
        }
        let head = [bytes_tag(2), 9 + bytes.len() as u8, fixed64_tag(1)];
        Stamp { timestamp_ms, bytes, head }
    }
}

impl Default for Stamp {
    fn default() -> Stamp {
        Stamp::new(0)
    }
}

/// The ids of all labels of a series, those added by the destination included.
fn all_ids<'a>(series: &'a Series<'_>, merged: &'a mut Vec<PairId>) -> &'a [PairId] {
    if series.inserted.is_empty() {
        return series.pairs;
    }
    merge(series.pairs, series.inserted, merged);
    merged
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
