//! Samples into bytes: the port between a destination's plan and the encodings.
//!
//! An encoder appends to buffers that it keeps; in the steady state a sample costs the copying of
//! its labels' ready bytes and no allocation.
//! Not here: how many samples make a block (`shard.rs`).

mod as_json;
mod histogram;
mod json_lines;
mod remote_write1;
mod remote_write2;
mod repeat;
mod rewrite;
mod sample_tail;
mod snappy;
mod split;
#[cfg(test)]
mod tests;
mod wire;

use bytes::Bytes;
use model::{Exemplar, Family, Histogram, Labels, PairId, PairTable};
use smallvec::SmallVec;

pub(crate) use as_json::as_json_lines;
pub(crate) use histogram::CUSTOM_BOUNDS_SCHEMA;
pub(crate) use json_lines::JsonLines;
pub(crate) use remote_write1::{
    RemoteWrite1, Shapes, Stencil, StencilBuilder, StencilCopy, metadata_request,
};
pub(crate) use remote_write2::RemoteWrite2;
pub(crate) use rewrite::{to_remote_write1, without_older_than};
pub(crate) use split::split;

use crate::block::{Compressor, Counts, Encoding};

/// A label that a destination adds to series which lack it (an external label), ready to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddedLabel {
    pub(crate) name: Box<str>,
    pub(crate) value: Box<str>,
    /// Protobuf `Label { 1: name, 2: value }`.
    framed: Box<[u8]>,
}

/// Where among a series' own pairs an added label goes: before pair `before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Insertion {
    pub(crate) before: u16,
    /// Index into [`Series::labels`].
    pub(crate) label: u16,
}

/// The ids of one series' pairs: room for those of most series.
pub(crate) type Pairs = SmallVec<[PairId; 24]>;

/// One series as an encoder sees it.
#[derive(Clone, Copy)]
pub(crate) struct Series<'s> {
    pub(crate) table: &'s PairTable,
    /// Its own pairs, sorted by name.
    pub(crate) pairs: &'s [PairId],
    /// Every label that this destination may add, sorted by name.
    pub(crate) labels: &'s [AddedLabel],
    /// Which of them this series gets, ascending.
    pub(crate) inserted: &'s [Insertion],
    pub(crate) family: &'s Family,
}

/// One label of a [`Series`].
#[derive(Clone, Copy)]
pub(crate) enum SeriesLabel<'s> {
    Interned(PairId),
    Added(&'s AddedLabel),
}

/// When a sample is from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) timestamp_ms: i64,
    /// When its series began to count; 0 if that is not known.
    pub(crate) started_ms: i64,
}

/// Appends samples to one open block.
pub(crate) trait Encode {
    fn sample(&mut self, series: &Series<'_>, value: f64, at: At);
    fn histogram(&mut self, series: &Series<'_>, histogram: &Histogram, at: At);
    fn exemplar(&mut self, series: &Series<'_>, exemplar: &Exemplar, at: At);
}

/// The encoder of one open block.
#[derive(Debug)]
pub(crate) enum Encoder {
    RemoteWrite1(Box<RemoteWrite1>),
    RemoteWrite2(Box<RemoteWrite2>),
    JsonLines(JsonLines),
}

// === impl AddedLabel ===

impl AddedLabel {
    /// Every label of `labels`, in their order.
    pub(crate) fn all(labels: &Labels) -> Box<[AddedLabel]> {
        let labels = labels.iter().map(|(name, value)| {
            let mut framed = Vec::with_capacity(name.len() + value.len() + 4);
            put_label(&mut framed, name, value);
            AddedLabel { name: name.into(), value: value.into(), framed: framed.into() }
        });
        labels.collect()
    }
}

// === impl Series ===

impl<'s> Series<'s> {
    /// Shows every label to `see`, in the order of names.
    #[inline]
    pub(crate) fn each_label(&self, mut see: impl FnMut(SeriesLabel<'s>)) {
        let mut next = 0;
        for insertion in self.inserted {
            let before = usize::from(insertion.before);
            self.pairs[next..before].iter().for_each(|id| see(SeriesLabel::Interned(*id)));
            let label = &self.labels[usize::from(insertion.label)];
            see(SeriesLabel::Added(label));
            next = before;
        }
        self.pairs[next..].iter().for_each(|id| see(SeriesLabel::Interned(*id)));
    }
}

// === impl Encoder ===

impl Encoder {
    /// An encoder with nothing in it yet.
    pub(crate) fn new(encoding: Encoding) -> Encoder {
        match encoding {
            Encoding::RemoteWrite1 => Encoder::RemoteWrite1(Box::default()),
            Encoding::RemoteWrite2 => Encoder::RemoteWrite2(Box::default()),
            Encoding::JsonLines => Encoder::JsonLines(JsonLines::default()),
        }
    }

    /// What it makes.
    pub(crate) fn encoding(&self) -> Encoding {
        match self {
            Encoder::RemoteWrite1(_) => Encoding::RemoteWrite1,
            Encoder::RemoteWrite2(_) => Encoding::RemoteWrite2,
            Encoder::JsonLines(_) => Encoding::JsonLines,
        }
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Encoder::RemoteWrite1(encoder) => encoder.bytes(),
            Encoder::RemoteWrite2(encoder) => encoder.bytes(),
            Encoder::JsonLines(encoder) => encoder.bytes(),
        }
    }

    /// Everything appended so far, as one message in snappy's block format; starts the next one.
    pub(crate) fn finish(&mut self, compressor: &mut Compressor) -> Bytes {
        match self {
            Encoder::RemoteWrite1(encoder) => encoder.finish(),
            Encoder::RemoteWrite2(encoder) => encoder.finish(compressor),
            Encoder::JsonLines(encoder) => encoder.finish(compressor),
        }
    }
}

impl Encoding {
    /// Whether histograms with custom bounds have a place in this encoding.
    pub(crate) fn takes_custom_bounds(self) -> bool {
        self != Encoding::RemoteWrite1
    }
}

/// Which range of samples a block holds, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) counts: Counts,
    pub(crate) oldest_ms: i64,
    pub(crate) newest_ms: i64,
}

// === impl Extent ===

impl Extent {
    /// No sample yet.
    pub(crate) const EMPTY: Extent = Extent {
        counts: Counts { samples: 0, histograms: 0, exemplars: 0 },
        oldest_ms: i64::MAX,
        newest_ms: i64::MIN,
    };

    /// Takes in samples of one timestamp.
    pub(crate) fn add(&mut self, counts: Counts, timestamp_ms: i64) {
        self.counts += counts;
        self.oldest_ms = self.oldest_ms.min(timestamp_ms);
        self.newest_ms = self.newest_ms.max(timestamp_ms);
    }
}

/// Appends the protobuf message `Label { 1: name, 2: value }`, without tag and length.
fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    wire::put_bytes_field(out, 1, name.as_bytes());
    wire::put_bytes_field(out, 2, value.as_bytes());
}
