//! Pages in the protobuf exposition format, from its public definition
//! (`io.prometheus.client.MetricFamily`, delimited).
//!
//! Written apart from the product's reader: what one side has wrong the other does not repeat.

use prost::Message;

use crate::reply::Reply;

/// What the format is called over HTTP.
const CONTENT_TYPE: &str = "application/vnd.google.protobuf; \
     proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// The types of families, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyType {
    /// `COUNTER`
    Counter = 0,
    /// `GAUGE`
    Gauge = 1,
    /// `SUMMARY`
    Summary = 2,
    /// `UNTYPED`
    Untyped = 3,
    /// `HISTOGRAM`
    Histogram = 4,
    /// `GAUGE_HISTOGRAM`
    GaugeHistogram = 5,
}

/// `MetricFamily`
#[derive(Clone, PartialEq, Message)]
pub struct MetricFamily {
    /// Name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Help text.
    #[prost(string, optional, tag = "2")]
    pub help: Option<String>,
    /// A [`FamilyType`].
    #[prost(int32, optional, tag = "3")]
    pub kind: Option<i32>,
    /// Its series.
    #[prost(message, repeated, tag = "4")]
    pub metrics: Vec<Metric>,
}

/// `Metric`
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// Labels.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<LabelPair>,
    /// Of a gauge.
    #[prost(message, optional, tag = "2")]
    pub gauge: Option<Number>,
    /// Of a counter.
    #[prost(message, optional, tag = "3")]
    pub counter: Option<CounterValue>,
    /// Of a summary.
    #[prost(message, optional, tag = "4")]
    pub summary: Option<SummaryValue>,
    /// Of nothing in particular.
    #[prost(message, optional, tag = "5")]
    pub untyped: Option<Number>,
    /// Of a histogram, classic or native or both.
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<HistogramValue>,
    /// Milliseconds since the epoch.
    #[prost(int64, optional, tag = "6")]
    pub timestamp_ms: Option<i64>,
}

/// `LabelPair`
#[derive(Clone, PartialEq, Message)]
pub struct LabelPair {
    /// Name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// `Gauge` and `Untyped`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Number {
    /// The value.
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
}

/// `Counter`
#[derive(Clone, PartialEq, Message)]
pub struct CounterValue {
    /// The value.
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
    /// An exemplar.
    #[prost(message, optional, tag = "2")]
    pub exemplar: Option<PageExemplar>,
}

/// `Exemplar`
#[derive(Clone, PartialEq, Message)]
pub struct PageExemplar {
    /// Labels.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<LabelPair>,
    /// The observation.
    #[prost(double, optional, tag = "2")]
    pub value: Option<f64>,
}

/// `Summary`
#[derive(Clone, PartialEq, Message)]
pub struct SummaryValue {
    /// Number of observations.
    #[prost(uint64, optional, tag = "1")]
    pub count: Option<u64>,
    /// Their sum.
    #[prost(double, optional, tag = "2")]
    pub sum: Option<f64>,
    /// Quantiles.
    #[prost(message, repeated, tag = "3")]
    pub quantiles: Vec<Quantile>,
}

/// `Quantile`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Quantile {
    /// Which.
    #[prost(double, optional, tag = "1")]
    pub quantile: Option<f64>,
    /// Its value.
    #[prost(double, optional, tag = "2")]
    pub value: Option<f64>,
}

/// `Histogram`
#[derive(Clone, PartialEq, Message)]
pub struct HistogramValue {
    /// Number of observations.
    #[prost(uint64, optional, tag = "1")]
    pub count: Option<u64>,
    /// The same, of a histogram of floats.
    #[prost(double, optional, tag = "4")]
    pub count_float: Option<f64>,
    /// Sum of observations.
    #[prost(double, optional, tag = "2")]
    pub sum: Option<f64>,
    /// Classic buckets.
    #[prost(message, repeated, tag = "3")]
    pub buckets: Vec<Bucket>,
    /// Resolution of a native histogram.
    #[prost(sint32, optional, tag = "5")]
    pub schema: Option<i32>,
    /// Width of the zero bucket.
    #[prost(double, optional, tag = "6")]
    pub zero_threshold: Option<f64>,
    /// Observations in the zero bucket.
    #[prost(uint64, optional, tag = "7")]
    pub zero_count: Option<u64>,
    /// The same, of a histogram of floats.
    #[prost(double, optional, tag = "8")]
    pub zero_count_float: Option<f64>,
    /// Where negative buckets are.
    #[prost(message, repeated, tag = "9")]
    pub negative_spans: Vec<Span>,
    /// Differences between their counts.
    #[prost(sint64, repeated, packed = "false", tag = "10")]
    pub negative_deltas: Vec<i64>,
    /// Where positive buckets are.
    #[prost(message, repeated, tag = "12")]
    pub positive_spans: Vec<Span>,
    /// Differences between their counts.
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    pub positive_deltas: Vec<i64>,
    /// Counts, of a histogram of floats.
    #[prost(double, repeated, packed = "false", tag = "14")]
    pub positive_counts: Vec<f64>,
}

/// `Bucket`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Bucket {
    /// Observations up to the bound.
    #[prost(uint64, optional, tag = "1")]
    pub cumulative_count: Option<u64>,
    /// The bound.
    #[prost(double, optional, tag = "2")]
    pub upper_bound: Option<f64>,
}

/// `BucketSpan`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Span {
    /// Buckets between this span and the one before.
    #[prost(sint32, optional, tag = "1")]
    pub offset: Option<i32>,
    /// Its buckets.
    #[prost(uint32, optional, tag = "2")]
    pub length: Option<u32>,
}

// === impl MetricFamily ===

impl MetricFamily {
    /// A family of these series.
    pub fn new(name: &str, kind: FamilyType, metrics: Vec<Metric>) -> MetricFamily {
        MetricFamily {
            name: Some(name.to_owned()),
            help: Some(format!("About {name}.")),
            kind: Some(kind as i32),
            metrics,
        }
    }
}

// === impl Metric ===

impl Metric {
    /// The same with one more label.
    pub fn label(mut self, name: &str, value: &str) -> Metric {
        let (name, value) = (Some(name.to_owned()), Some(value.to_owned()));
        self.labels.push(LabelPair { name, value });
        self
    }
}

// === impl Span ===

impl Span {
    /// `length` buckets, `offset` after the one before.
    pub fn new(offset: i32, length: u32) -> Span {
        Span { offset: Some(offset), length: Some(length) }
    }
}

// === impl Reply ===

impl Reply {
    /// A page of these families in protobuf.
    pub fn families(families: &[MetricFamily]) -> Reply {
        let mut body = Vec::new();
        for family in families {
            body.extend(family.encode_length_delimited_to_vec());
        }
        Reply::page(body).typed(CONTENT_TYPE)
    }
}
