//! Families of every type, as the samples that come out.

use model::{Histogram as Shown, HistogramCounts};
use proptest::prelude::*;

use super::messages::{Bucket, Counter, Quantile, Summary, Value};
use super::*;
use crate::exposition::native::NativeLimits;

/// Writes down what it is handed, one line a sample.
#[derive(Default)]
struct Written {
    lines: Vec<String>,
    keys: Vec<Vec<u8>>,
}

impl Entries for Written {
    type Fault = SyntaxError;

    fn metadata(&mut self, metadata: &[Metadata<'_>]) {
        self.lines.push(format!("{:?}", metadata[2].says));
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), SyntaxError> {
        let labels: Vec<String> =
            entry.exposed.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let value = match entry.value {
            EntryValue::Float(value) => value.to_string(),
            EntryValue::Histogram(native) => shown(
                &native
                    .finish(NativeLimits { buckets: 0, schema: 8 })
                    .map_err(|error| SyntaxError(error.to_string()))?,
            ),
        };
        let mut line = format!("{}{{{}}} {value}", entry.exposed.name, labels.join(","));
        if let Some(ms) = entry.timestamp_ms {
            line += &format!(" @{ms}");
        }
        for exemplar in entry.exemplars {
            line += &format!(" # {} {}", exemplar.labels, exemplar.value);
        }
        if let Some(ms) = entry.created_ms {
            line += &format!(" since {ms}");
        }
        self.lines.push(line);
        self.keys.push(entry.key.to_vec());
        Ok(())
    }
}

fn shown(histogram: &Shown) -> String {
    let spans: Vec<_> =
        histogram.positive_spans.iter().map(|span| (span.offset, span.length)).collect();
    match &histogram.counts {
        HistogramCounts::Integer { count, positive_deltas, .. } => {
            format!("schema {} {count} {spans:?} {positive_deltas:?}", histogram.schema)
        }
        HistogramCounts::Float { count, positive, .. } => {
            format!("schema {} {count:?} {spans:?} {positive:?}", histogram.schema)
        }
    }
}

fn page(families: &[MetricFamily]) -> Vec<u8> {
    families.iter().flat_map(|family| family.encode_length_delimited_to_vec()).collect()
}

#[track_caller]
fn check(rules: HistogramRules, family: MetricFamily, want: &[&str]) {
    let mut written = Written::default();
    let read = Protobuf::new(&mut written, rules).read(&page(&[family]));
    if let Err(error) = read {
        written.lines.push(error.to_string());
    }
    assert_eq!(written.lines[1..], *want);
    let mut keys = written.keys.clone();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), written.keys.len(), "every series has a key of its own");
}

fn family(name: &str, kind: i32, metric: Metric) -> MetricFamily {
    MetricFamily { name: name.into(), r#type: kind, metric: vec![metric], ..Default::default() }
}

fn label(name: &str, value: &str) -> LabelPair {
    LabelPair { name: name.into(), value: value.into() }
}

fn traced(trace: &str, seconds: Option<i64>) -> Option<Exemplar> {
    let timestamp = seconds.map(|seconds| Timestamp { seconds, nanos: 5_000_000 });
    Some(Exemplar { label: vec![label("trace", trace)], value: 0.5, timestamp })
}

fn bucket(upper_bound: f64, cumulative_count: u64) -> Bucket {
    Bucket { upper_bound, cumulative_count, ..Bucket::default() }
}

fn histogram(histogram: Histogram) -> MetricFamily {
    family("h", 4, Metric { histogram: Some(histogram), ..Metric::default() })
}

#[test]
fn counters_gauges_and_untyped_are_one_sample_each() {
    let counter = Counter {
        value: 3.0,
        exemplar: traced("x", Some(9)),
        start_timestamp: Some(Timestamp { seconds: 7, nanos: 8_999_999 }),
    };
    let metric = Metric { counter: Some(counter), timestamp_ms: 42, ..Metric::default() };
    check(
        HistogramRules::default(),
        family("c_total", 0, metric),
        &[r#"c_total{} 3 @42 # {trace="x"} 0.5 since 7008"#],
    );
    let metric = Metric {
        label: vec![label("b", "2"), label("a", "1")],
        gauge: Some(Value { value: -1.5 }),
        ..Metric::default()
    };
    check(HistogramRules::default(), family("g", 1, metric), &["g{a=1,b=2} -1.5"]);
    check(HistogramRules::default(), family("u", 3, Metric::default()), &["u{} 0"]);
}

#[test]
fn a_summary_is_count_sum_and_quantiles() {
    let summary = Summary {
        sample_count: 5,
        sample_sum: 1.5,
        quantile: vec![
            Quantile { quantile: 0.5, value: 1.0 },
            Quantile { quantile: 1.0, value: 2.0 },
        ],
        start_timestamp: None,
    };
    let metric = Metric { summary: Some(summary), ..Metric::default() };
    check(
        HistogramRules::default(),
        family("s", 2, metric),
        &["s_count{} 5", "s_sum{} 1.5", "s{quantile=0.5} 1", "s{quantile=1.0} 2"],
    );
}

#[test]
fn a_classic_histogram_gets_the_infinite_bucket_that_it_lacks() {
    let mut with_exemplar = bucket(1.0, 2);
    with_exemplar.exemplar = traced("x", None);
    let classic = Histogram {
        sample_count: 5,
        sample_sum: 9.0,
        bucket: vec![with_exemplar, bucket(2.5, 3)],
        ..Histogram::default()
    };
    let series = [
        "h_count{} 5",
        "h_sum{} 9",
        r#"h_bucket{le=1.0} 2 # {trace="x"} 0.5"#,
        "h_bucket{le=2.5} 3",
        "h_bucket{le=+Inf} 5",
    ];
    check(HistogramRules::default(), histogram(classic.clone()), &series);
    let to_custom = HistogramRules { classic_to_custom: true, ..HistogramRules::default() };
    let native = "h{} schema -53 5 [(0, 3)] [2, -1, 1]";
    check(to_custom, histogram(classic.clone()), &[native]);
    let both = HistogramRules { always_classic: true, ..to_custom };
    let all: Vec<&str> = series.into_iter().chain([native]).collect();
    check(both, histogram(classic), &all);
}

#[test]
fn a_native_histogram_is_one_sample_if_native_ones_are_wanted() {
    let native = Histogram {
        sample_count: 6,
        sample_sum: 9.0,
        schema: 3,
        zero_count: 1,
        positive_span: vec![
            BucketSpan { offset: 2, length: 2 },
            BucketSpan { offset: 1, length: 1 },
        ],
        positive_delta: vec![1, 1, -1],
        exemplars: vec![traced("x", Some(1)), traced("y", None)].into_iter().flatten().collect(),
        bucket: vec![bucket(f64::INFINITY, 6)],
        ..Histogram::default()
    };
    let mut native = native;
    native.sample_count = 5;
    let classic = ["h_count{} 5", "h_sum{} 9", "h_bucket{le=+Inf} 6"];
    check(HistogramRules::default(), histogram(native.clone()), &classic);
    let wanted = HistogramRules { native: true, ..HistogramRules::default() };
    let sample = r#"h{} schema 3 5 [(2, 2), (1, 1)] [1, 1, -1] # {trace="x"} 0.5"#;
    check(wanted, histogram(native.clone()), &[sample]);
    let both = HistogramRules { always_classic: true, ..wanted };
    let all: Vec<&str> = [sample].into_iter().chain(classic).collect();
    check(both, histogram(native.clone()), &all);
    native.positive_delta.pop();
    check(
        wanted,
        histogram(native),
        &["histogram \"h\": positive side: spans require 3 buckets, have 2"],
    );
}

#[test]
fn float_counts_make_a_float_histogram() {
    let native = Histogram {
        sample_count_float: 2.5,
        schema: -1,
        positive_span: vec![BucketSpan { offset: 0, length: 2 }],
        positive_count: vec![0.5, 2.0],
        ..Histogram::default()
    };
    let wanted = HistogramRules { native: true, ..HistogramRules::default() };
    check(wanted, histogram(native), &["h{} schema -1 2.5 [(0, 2)] [0.5, 2.0]"]);
}

#[test]
fn malformed_pages_are_refused() {
    let read = |page: &[u8]| {
        let mut written = Written::default();
        let read = Protobuf::new(&mut written, HistogramRules::default()).read(page);
        read.err().map(|error| error.to_string())
    };
    let good = page(&[family("a", 1, Metric::default())]);
    assert_eq!(read(&good), None);
    assert_eq!(read(&good[..good.len() - 1]).as_deref(), Some("unexpected EOF"));
    let unknown = page(&[family("a", 9, Metric::default())]);
    assert_eq!(read(&unknown).as_deref(), Some("unknown metric type for metric \"a\": 9"));
    let nameless = page(&[family("", 1, Metric::default())]);
    assert_eq!(read(&nameless).as_deref(), Some("invalid metric name: "));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(page in prop::collection::vec(any::<u8>(), 0..300)) {
        let rules = HistogramRules { native: true, classic_to_custom: true, ..Default::default() };
        let _ = Protobuf::new(&mut Written::default(), rules).read(&page);
    }
}
