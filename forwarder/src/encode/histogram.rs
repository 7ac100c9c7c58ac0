//! A native histogram as remote write's `Histogram` message: the same fields in 1.0 and 2.0.

use model::{Histogram, HistogramCounts, ResetHint, Span};

use super::wire::{put_double_field, put_int64, put_message, put_sint, put_varint_field};

/// Schema of histograms with custom bounds, which remote write 1.0 receivers do not know.
pub(crate) const CUSTOM_BOUNDS_SCHEMA: i32 = -53;

/// Appends the fields of `histogram`. `started_ms` (only of 2.0) is 0 if it is not known.
pub(super) fn put(out: &mut Vec<u8>, histogram: &Histogram, timestamp_ms: i64, started_ms: i64) {
    match &histogram.counts {
        HistogramCounts::Integer { count, .. } => put_varint_field(out, 1, *count),
        HistogramCounts::Float { count, .. } => put_double_field(out, 2, *count),
    }
    put_double(out, 3, histogram.sum);
    if histogram.schema != 0 {
        out.push(4 << 3);
        put_sint(out, i64::from(histogram.schema));
    }
    put_double(out, 5, histogram.zero_threshold);
    match &histogram.counts {
        HistogramCounts::Integer { zero_count, negative_deltas, positive_deltas, .. } => {
            put_varint_field(out, 6, *zero_count);
            put_spans(out, 8, &histogram.negative_spans);
            put_deltas(out, 9, negative_deltas);
            put_spans(out, 11, &histogram.positive_spans);
            put_deltas(out, 12, positive_deltas);
        }
        HistogramCounts::Float { zero_count, negative, positive, .. } => {
            put_double_field(out, 7, *zero_count);
            put_spans(out, 8, &histogram.negative_spans);
            put_doubles(out, 10, negative);
            put_spans(out, 11, &histogram.positive_spans);
            put_doubles(out, 13, positive);
        }
    }
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    };
    if hint != 0 {
        put_varint_field(out, 14, hint);
    }
    if timestamp_ms != 0 {
        out.push(15 << 3);
        put_int64(out, timestamp_ms);
    }
    put_doubles(out, 16, &histogram.custom_bounds);
    if started_ms != 0 {
        put_varint_field(out, 17, started_ms as u64);
    }
}

fn put_double(out: &mut Vec<u8>, number: u8, value: f64) {
    if value.to_bits() != 0 {
        put_double_field(out, number, value);
    }
}

fn put_spans(out: &mut Vec<u8>, number: u8, spans: &[Span]) {
    for span in spans {
        put_message(out, number, |out| {
            if span.offset != 0 {
                out.push(1 << 3);
                put_sint(out, i64::from(span.offset));
            }
            if span.length != 0 {
                put_varint_field(out, 2, u64::from(span.length));
            }
        });
    }
}

fn put_deltas(out: &mut Vec<u8>, number: u8, deltas: &[i64]) {
    if !deltas.is_empty() {
        put_message(out, number, |out| deltas.iter().for_each(|delta| put_sint(out, *delta)));
    }
}

fn put_doubles(out: &mut Vec<u8>, number: u8, values: &[f64]) {
    if !values.is_empty() {
        put_message(out, number, |out| {
            values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        });
    }
}
