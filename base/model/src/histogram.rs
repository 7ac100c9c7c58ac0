//! Native histograms and exemplars: the samples that are more than a number.
//!
//! The shape is that of Prometheus' `model/histogram`: sparse buckets in spans, integer counts as
//! deltas or float counts as they are, custom bounds for schema −53.

use crate::Labels;

/// A native histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// What is known about a counter reset before this sample.
    pub reset_hint: ResetHint,
    /// −4 … 8: exponential; −53: custom bounds ([`Histogram::custom_bounds`]).
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of observations.
    pub sum: f64,
    /// Where the positive buckets are.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets are.
    pub negative_spans: Vec<Span>,
    /// Upper bounds for schema −53, without +Inf; empty otherwise.
    pub custom_bounds: Vec<f64>,
    /// The counts.
    pub counts: HistogramCounts,
}

/// Counts of a histogram: integers, or floats (gauge histograms, recording rules).
#[derive(Debug, Clone, PartialEq)]
pub enum HistogramCounts {
    /// Integer counts; each bucket as the difference from the one before it.
    Integer {
        /// Observations in all.
        count: u64,
        /// Observations in the zero bucket.
        zero_count: u64,
        /// Positive buckets, as deltas.
        positive_deltas: Vec<i64>,
        /// Negative buckets, as deltas.
        negative_deltas: Vec<i64>,
    },
    /// Float counts, each bucket absolute.
    Float {
        /// Observations in all.
        count: f64,
        /// Observations in the zero bucket.
        zero_count: f64,
        /// Positive buckets.
        positive: Vec<f64>,
        /// Negative buckets.
        negative: Vec<f64>,
    },
}

/// What is known about counter resets (remote write's `ResetHint`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Must be found out by comparing.
    #[default]
    Unknown,
    /// There was one.
    Yes,
    /// There was none.
    No,
    /// A gauge: resets mean nothing.
    Gauge,
}

/// A run of consecutive buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Gap to the span before (for the first one: the index of its first bucket).
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// One observation that stands for many, with the labels that lead to its trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its own labels, e.g. `trace_id`.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When, in milliseconds since the epoch; the sample's time if the target does not say.
    pub timestamp_ms: Option<i64>,
}
