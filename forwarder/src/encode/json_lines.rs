//! Newline-delimited JSON: one object a sample, for files and everything that reads lines.
//!
//! `{"labels":{"__name__":"up",…},"value":1,"timestamp":1700000000000}`. JSON has no word for
//! some floats: they are the strings `"NaN"`, `"+Inf"` and `"-Inf"`; a stale marker is `null`.
//! A histogram has `histogram` in place of `value`, an exemplar `exemplar`.

use bytes::Bytes;
use model::{Exemplar, Histogram, HistogramCounts, Span, is_stale_marker};
use serde_json::json;

use super::{At, Encode, Series, SeriesLabel};
use crate::block::Compressor;

/// Open lines.
#[derive(Debug, Default)]
pub(crate) struct JsonLines {
    out: Vec<u8>,
}

// === impl JsonLines ===

impl JsonLines {
    pub(super) fn bytes(&self) -> usize {
        self.out.len()
    }

    /// The block, which is over.
    pub(super) fn finish(&mut self, compressor: &mut Compressor) -> Bytes {
        let block = compressor.compress(&self.out);
        self.out.clear();
        block
    }

    fn begin(&mut self, series: &Series<'_>) {
        let out = &mut self.out;
        out.extend_from_slice(b"{\"labels\":{");
        let mut first = true;
        series.each_label(|label| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            let (name, value) = match label {
                SeriesLabel::Interned(id) => series.table.get(id),
                SeriesLabel::Added(label) => (&*label.name, &*label.value),
            };
            put_pair(out, name, value);
        });
        out.push(b'}');
    }

    fn end(&mut self, at: At) {
        let out = &mut self.out;
        out.extend_from_slice(b",\"timestamp\":");
        out.extend_from_slice(itoa::Buffer::new().format(at.timestamp_ms).as_bytes());
        if at.started_ms != 0 {
            out.extend_from_slice(b",\"started\":");
            out.extend_from_slice(itoa::Buffer::new().format(at.started_ms).as_bytes());
        }
        out.extend_from_slice(b"}\n");
    }
}

impl Encode for JsonLines {
    fn sample(&mut self, series: &Series<'_>, value: f64, at: At) {
        self.begin(series);
        self.out.extend_from_slice(b",\"value\":");
        if is_stale_marker(value) {
            self.out.extend_from_slice(b"null");
        } else {
            put_number(&mut self.out, value);
        }
        self.end(at);
    }

    fn histogram(&mut self, series: &Series<'_>, histogram: &Histogram, at: At) {
        self.begin(series);
        self.out.extend_from_slice(b",\"histogram\":");
        put_histogram(&mut self.out, histogram);
        self.end(at);
    }

    fn exemplar(&mut self, series: &Series<'_>, exemplar: &Exemplar, at: At) {
        self.begin(series);
        let out = &mut self.out;
        out.extend_from_slice(b",\"exemplar\":{\"labels\":{");
        for (at, (name, value)) in exemplar.labels.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            put_pair(out, name, value);
        }
        out.extend_from_slice(b"},\"value\":");
        put_number(out, exemplar.value);
        out.push(b'}');
        self.end(at);
    }
}

fn put_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    put_text(out, name);
    out.push(b':');
    put_text(out, value);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a str is JSON, and a Vec takes every write");
}

fn put_number(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        out.extend_from_slice(if value > 0.0 { b"\"+Inf\"" } else { b"\"-Inf\"" });
    }
}

/// Rare, so by way of a value. Counts of integer histograms are deltas, as on every wire.
fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    let (count, zero_count, positive, negative) = match &histogram.counts {
        HistogramCounts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            (json!(count), json!(zero_count), json!(positive_deltas), json!(negative_deltas))
        }
        HistogramCounts::Float { count, zero_count, positive, negative } => {
            (json!(count), json!(zero_count), json!(positive), json!(negative))
        }
    };
    let value = json!({
        "schema": histogram.schema,
        "integer": matches!(histogram.counts, HistogramCounts::Integer { .. }),
        "count": count,
        "sum": histogram.sum,
        "zero_threshold": histogram.zero_threshold,
        "zero_count": zero_count,
        "positive_spans": spans(&histogram.positive_spans),
        "positive": positive,
        "negative_spans": spans(&histogram.negative_spans),
        "negative": negative,
        "custom_bounds": histogram.custom_bounds,
    });
    serde_json::to_writer(out, &value).expect("a value is JSON, and a Vec takes every write");
}

fn spans(spans: &[Span]) -> Vec<(i32, u32)> {
    spans.iter().map(|span| (span.offset, span.length)).collect()
}
