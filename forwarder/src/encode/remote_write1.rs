//! Remote write 1.0: protobuf `prometheus.WriteRequest`, one `TimeSeries` a sample.
//!
//! What proto3 leaves out is left out (a zero value, a zero timestamp), so the bytes are those of
//! a stock encoder.

use model::{Exemplar, Family, Histogram};

use super::repeat::{Label, Repeat};
use super::wire::{
    begin_length, begin_short_length, bytes_tag, end_length, end_short_length, fixed64_tag,
    put_bytes_field, put_double_field, put_int64, put_message, put_varint, put_varint_field,
    varint_tag,
};
use super::{At, Encode, Series, histogram, put_label};

/// Tag of `WriteRequest.timeseries`.
const TIME_SERIES: u8 = bytes_tag(1);
/// Tag of `TimeSeries.labels` and `Exemplar.labels`.
const LABEL: u8 = bytes_tag(1);
/// Tag of `TimeSeries.samples`.
const SAMPLE: u8 = bytes_tag(2);
/// Where a [`SampleTail`]'s value stands.
const TAIL_VALUE: usize = 3;

/// An open `WriteRequest`.
#[derive(Debug, Default)]
pub(crate) struct RemoteWrite1 {
    out: Vec<u8>,
    tail: SampleTail,
    repeat: Repeat,
    /// Whether the last series was shorter than 128 bytes: the next one will be too.
    is_short: bool,
}

/// The `samples` field of a series: the same bytes but for the value, for all samples of one
/// timestamp.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleTail {
    timestamp_ms: i64,
    /// Tag, length, tag of the value, value, tag of the timestamp, timestamp.
    full: [u8; 2 + 9 + 11],
    full_bytes: u8,
    /// The same without a value, for zero.
    zero: [u8; 2 + 11],
    zero_bytes: u8,
}

// === impl RemoteWrite1 ===

impl RemoteWrite1 {
    pub(super) fn bytes(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(&mut self, fresh: Vec<u8>) -> Vec<u8> {
        self.repeat.forget();
        std::mem::replace(&mut self.out, fresh)
    }

    /// Appends a `TimeSeries` with the labels of `series` and what `fill` appends.
    #[inline]
    fn put_series(
        &mut self,
        series: &Series<'_>,
        fill: impl FnOnce(&mut Vec<u8>, &mut SampleTail),
    ) {
        let RemoteWrite1 { out, tail, repeat, is_short } = self;
        out.push(TIME_SERIES);
        let start = if *is_short { begin_short_length(out) } else { begin_length(out) };
        repeat.put(out, series, |out, label| match label {
            Label::Own(id) => put_framed(out, series.table.framed(id)),
            Label::Added(number) => put_framed(out, &series.labels[usize::from(number)].framed),
        });
        fill(out, tail);
        let bytes = out.len() - start;
        let moved = if *is_short { end_short_length(out, start) } else { end_length(out, start) };
        repeat.moved(moved);
        *is_short = bytes < 0x80;
    }
}

impl Encode for RemoteWrite1 {
    #[inline]
    fn sample(&mut self, series: &Series<'_>, value: f64, at: At) {
        self.put_series(series, |out, tail| {
            if tail.timestamp_ms != at.timestamp_ms {
                *tail = SampleTail::new(at.timestamp_ms);
            }
            tail.put(out, value);
        });
    }

    fn histogram(&mut self, series: &Series<'_>, histogram: &Histogram, at: At) {
        self.put_series(series, |out, _| {
            put_message(out, 4, |out| histogram::put(out, histogram, at.timestamp_ms, 0));
        });
    }

    fn exemplar(&mut self, series: &Series<'_>, exemplar: &Exemplar, at: At) {
        self.put_series(series, |out, _| {
            put_message(out, 3, |out| {
                for (name, value) in exemplar.labels.iter() {
                    put_message(out, 1, |out| put_label(out, name, value));
                }
                if exemplar.value.to_bits() != 0 {
                    put_double_field(out, 2, exemplar.value);
                }
                if at.timestamp_ms != 0 {
                    put_varint_field(out, 3, at.timestamp_ms as u64);
                }
            });
        });
    }
}

// === impl SampleTail ===

impl SampleTail {
    pub(super) fn new(timestamp_ms: i64) -> SampleTail {
        let mut stamp = Vec::with_capacity(11);
        if timestamp_ms != 0 {
            stamp.push(varint_tag(2));
            put_int64(&mut stamp, timestamp_ms);
        }
        let (mut full, mut zero) = ([0; 22], [0; 13]);
        full[..TAIL_VALUE].copy_from_slice(&[SAMPLE, 9 + stamp.len() as u8, fixed64_tag(1)]);
        full[TAIL_VALUE + 8..][..stamp.len()].copy_from_slice(&stamp);
        zero[..2].copy_from_slice(&[SAMPLE, stamp.len() as u8]);
        zero[2..][..stamp.len()].copy_from_slice(&stamp);
        let (full_bytes, zero_bytes) = (11 + stamp.len() as u8, 2 + stamp.len() as u8);
        SampleTail { timestamp_ms, full, full_bytes, zero, zero_bytes }
    }

    /// Appends the field with this value. Timestamps of our time have six bytes: for them the
    /// number of bytes to copy is known when this is compiled.
    #[inline]
    pub(super) fn put(&mut self, out: &mut Vec<u8>, value: f64) {
        const USUAL_FULL_BYTES: usize = 18;
        const USUAL_ZERO_BYTES: usize = 9;
        if value.to_bits() == 0 {
            match usize::from(self.zero_bytes) {
                USUAL_ZERO_BYTES => out.extend_from_slice(&self.zero[..USUAL_ZERO_BYTES]),
                bytes => out.extend_from_slice(&self.zero[..bytes]),
            }
            return;
        }
        self.full[TAIL_VALUE..TAIL_VALUE + 8].copy_from_slice(&value.to_le_bytes());
        match usize::from(self.full_bytes) {
            USUAL_FULL_BYTES => out.extend_from_slice(&self.full[..USUAL_FULL_BYTES]),
            bytes => out.extend_from_slice(&self.full[..bytes]),
        }
    }

    pub(super) fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
}

impl Default for SampleTail {
    fn default() -> SampleTail {
        SampleTail::new(0)
    }
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

/// Appends one label whose message is ready.
#[inline]
fn put_framed(out: &mut Vec<u8>, framed: &[u8]) {
    if framed.len() < 0x80 {
        out.extend_from_slice(&[LABEL, framed.len() as u8]);
    } else {
        out.push(LABEL);
        put_varint(out, framed.len() as u64);
    }
    out.extend_from_slice(framed);
}
