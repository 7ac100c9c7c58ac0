//! Our bytes, read by a decoder that nobody here wrote (prost), are exactly what went in.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Exemplar, Family, Histogram, HistogramCounts, Labels, Layout, LayoutBuilder, MetricType,
    ResetHint, STALE_MARKER, Span, Symbols,
};
use proptest::prelude::*;
use prost::{Message, Oneof};
use serde_json::value::RawValue;

use super::*;
use crate::block::{Block, Compression, Compressor, Format};

#[derive(Clone, PartialEq, Message)]
struct Request1 {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series1>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Metadata1>,
}

#[derive(Clone, PartialEq, Message)]
struct Series1 {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label1>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar1>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<HistogramMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct Label1 {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    started: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar1 {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label1>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata1 {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

#[derive(Clone, PartialEq, Message)]
struct Request2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    series: Vec<Series2>,
}

#[derive(Clone, PartialEq, Message)]
struct Series2 {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<HistogramMessage>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<Exemplar2>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata2>,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar2 {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata2 {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help: u32,
    #[prost(uint32, tag = "4")]
    unit: u32,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramMessage {
    #[prost(oneof = "Count", tags = "1, 2")]
    count: Option<Count>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_bounds: Vec<f64>,
    #[prost(int64, tag = "17")]
    started: i64,
}

#[derive(Clone, PartialEq, Oneof)]
enum Count {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, PartialEq, Oneof)]
enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, PartialEq, Message)]
struct SpanMessage {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// One sample of any kind, as it goes in and as it comes out.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    labels: Vec<(String, String)>,
    what: What,
    timestamp_ms: i64,
    started_ms: i64,
    /// Type, help, unit; only 2.0 carries it.
    metadata: Option<(i32, String, String)>,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    /// The bits: a NaN must be equal to itself.
    Value(u64),
    Histogram(Box<HistogramMessage>),
    Exemplar(Vec<(String, String)>, u64),
}

/// What goes in: labels of the series, labels that the destination adds, and one sample.
#[derive(Debug, Clone)]
struct Input {
    labels: BTreeMap<String, String>,
    kind: MetricType,
    help: String,
    sample: Given,
    at: (i64, i64),
}

#[derive(Debug, Clone)]
enum Given {
    Value(f64),
    Histogram(Histogram),
    Exemplar(Exemplar),
}

fn added() -> Box<[AddedLabel]> {
    AddedLabel::all(&[("cluster", "c1"), ("zone", "é")].into_iter().collect())
}

/// Encodes the inputs, each as a series of its own.
fn encode(encoding: Encoding, inputs: &[Input]) -> Block {
    let mut encoder = Encoder::new(encoding);
    let extent = match &mut encoder {
        Encoder::RemoteWrite1(encoder) => put_all(&mut **encoder, inputs),
        Encoder::RemoteWrite2(encoder) => put_all(&mut **encoder, inputs),
        Encoder::JsonLines(encoder) => put_all(encoder, inputs),
    };
    let format = Format { encoding, compression: Compression::Snappy };
    let bytes = encoder.finish(&mut Compressor::default());
    let Extent { counts, oldest_ms, newest_ms } = extent;
    Block { format, bytes, counts, oldest_ms, newest_ms }
}

/// Puts the inputs into an encoder, external labels inserted where they are missing.
fn put_all(encoder: &mut dyn Encode, inputs: &[Input]) -> Extent {
    let symbols = Symbols::new();
    let layout = layout(&symbols, inputs);
    let added = added();
    let table = symbols.read();
    let mut extent = Extent::EMPTY;
    for (at, input) in inputs.iter().enumerate() {
        let pairs = layout.pairs(at).collect::<Pairs>();
        let inserted: Vec<Insertion> = added
            .iter()
            .enumerate()
            .filter(|(_, label)| !input.labels.contains_key(&*label.name))
            .map(|(label, added)| {
                let before = pairs.partition_point(|id| table.name(*id) < &*added.name) as u16;
                Insertion { before, label: label as u16 }
            })
            .collect();
        let family = layout.family(at);
        let (table, pairs, labels, inserted) = (&*table, &*pairs, &*added, &*inserted);
        let series = Series { table, pairs, labels, inserted, family };
        let stamp = At { timestamp_ms: input.at.0, started_ms: input.at.1 };
        let mut counts = Counts::default();
        match &input.sample {
            Given::Value(value) => {
                encoder.sample(&series, *value, stamp);
                counts.samples = 1;
            }
            Given::Histogram(histogram) => {
                encoder.histogram(&series, histogram, stamp);
                counts.histograms = 1;
            }
            Given::Exemplar(exemplar) => {
                encoder.exemplar(&series, exemplar, stamp);
                counts.exemplars = 1;
            }
        }
        extent.add(counts, stamp.timestamp_ms);
    }
    extent
}

fn layout(symbols: &Arc<Symbols>, inputs: &[Input]) -> Arc<Layout> {
    let mut builder = LayoutBuilder::new(symbols);
    for input in inputs {
        let Input { kind, help, .. } = input;
        let family = Family { kind: *kind, help: help.as_str().into(), ..Family::default() };
        let labels = input.labels.iter().map(|(name, value)| (&**name, &**value));
        builder.push(labels, &Arc::new(family));
    }
    builder.build()
}

/// What an input must come out as.
fn wanted(input: &Input, encoding: Encoding) -> Item {
    let mut labels = input.labels.clone();
    for label in added() {
        labels.entry(label.name.into()).or_insert_with(|| label.value.into());
    }
    let started_ms = if encoding == Encoding::RemoteWrite2 { input.at.1 } else { 0 };
    let is_exemplar = matches!(input.sample, Given::Exemplar(_));
    let what = match &input.sample {
        Given::Value(value) => What::Value(value.to_bits()),
        Given::Histogram(histogram) => {
            What::Histogram(Box::new(message(histogram, input.at.0, started_ms)))
        }
        Given::Exemplar(exemplar) => {
            let labels = exemplar.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            What::Exemplar(labels.collect(), exemplar.value.to_bits())
        }
    };
    let said = input.kind != MetricType::Unknown || !input.help.is_empty();
    let metadata = (encoding == Encoding::RemoteWrite2 && said)
        .then(|| (input.kind as i32, input.help.clone(), String::new()));
    Item {
        labels: labels.into_iter().collect(),
        what,
        timestamp_ms: input.at.0,
        started_ms: if is_exemplar { 0 } else { started_ms },
        metadata,
    }
}

fn message(histogram: &Histogram, timestamp: i64, started: i64) -> HistogramMessage {
    let spans = |spans: &[Span]| {
        let spans =
            spans.iter().map(|span| SpanMessage { offset: span.offset, length: span.length });
        spans.collect()
    };
    let mut message = HistogramMessage {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        negative_spans: spans(&histogram.negative_spans),
        positive_spans: spans(&histogram.positive_spans),
        reset_hint: histogram.reset_hint as i32,
        timestamp,
        custom_bounds: histogram.custom_bounds.clone(),
        started,
        ..HistogramMessage::default()
    };
    match histogram.counts.clone() {
        HistogramCounts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            message.count = Some(Count::Integer(count));
            message.zero_count = Some(ZeroCount::Integer(zero_count));
            (message.positive_deltas, message.negative_deltas) = (positive_deltas, negative_deltas);
        }
        HistogramCounts::Float { count, zero_count, positive, negative } => {
            message.count = Some(Count::Float(count));
            message.zero_count = Some(ZeroCount::Float(zero_count));
            (message.positive_counts, message.negative_counts) = (positive, negative);
        }
    }
    message
}

fn decode(block: &Block) -> Vec<Item> {
    let plain = block.plain_bytes().unwrap();
    match block.format.encoding {
        Encoding::RemoteWrite1 => decode1(&plain),
        Encoding::RemoteWrite2 => decode2(&plain),
        Encoding::JsonLines => panic!("not protobuf"),
    }
}

fn decode1(bytes: &[u8]) -> Vec<Item> {
    let pairs = |labels: Vec<Label1>| -> Vec<(String, String)> {
        labels.into_iter().map(|label| (label.name, label.value)).collect()
    };
    let request = Request1::decode(bytes).unwrap();
    let items = request.series.into_iter().map(|series| {
        let (what, timestamp_ms) = match (series.samples.first(), series.histograms.first()) {
            (Some(sample), None) => (What::Value(sample.value.to_bits()), sample.timestamp),
            (None, Some(found)) => (What::Histogram(Box::new(found.clone())), found.timestamp),
            _ => {
                let found = series.exemplars[0].clone();
                (What::Exemplar(pairs(found.labels), found.value.to_bits()), found.timestamp)
            }
        };
        Item { labels: pairs(series.labels), what, timestamp_ms, started_ms: 0, metadata: None }
    });
    items.collect()
}

fn decode2(bytes: &[u8]) -> Vec<Item> {
    let request = Request2::decode(bytes).unwrap();
    assert_eq!(request.symbols[0], "");
    let unique: std::collections::HashSet<&String> = request.symbols.iter().collect();
    assert_eq!(unique.len(), request.symbols.len());
    let text = |at: u32| request.symbols[at as usize].clone();
    let pairs = |refs: &[u32]| -> Vec<(String, String)> {
        refs.chunks(2).map(|pair| (text(pair[0]), text(pair[1]))).collect()
    };
    let items = request.series.iter().map(|series| {
        let (what, timestamp_ms, started_ms) =
            match (series.samples.first(), series.histograms.first()) {
                (Some(sample), None) => {
                    (What::Value(sample.value.to_bits()), sample.timestamp, sample.started)
                }
                (None, Some(found)) => {
                    (What::Histogram(Box::new(found.clone())), found.timestamp, found.started)
                }
                _ => {
                    let found = &series.exemplars[0];
                    let what = What::Exemplar(pairs(&found.labels), found.value.to_bits());
                    (what, found.timestamp, 0)
                }
            };
        let metadata = series.metadata.as_ref();
        let metadata = metadata.map(|found| (found.kind, text(found.help), text(found.unit)));
        Item { labels: pairs(&series.labels), what, timestamp_ms, started_ms, metadata }
    });
    items.collect()
}

// === what proptest makes ===

fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop_oneof!["[a-c_]{1,3}", Just("cluster".to_owned()), "zone", "ü{1,60}"];
    let value = prop_oneof![8 => ".{1,20}", 1 => "x{120,140}", 1 => "y{16300,16400}"];
    proptest::collection::btree_map(name, value, 0..6)
}

fn any_value() -> impl Strategy<Value = f64> {
    let special = [0.0, -0.0, STALE_MARKER, f64::INFINITY, model::NORMAL_NAN];
    prop_oneof![any::<f64>(), proptest::sample::select(special.to_vec())]
}

/// NaNs have no equal: bits are compared for plain values only.
fn number() -> impl Strategy<Value = f64> {
    -1e9..1e9
}

fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    let span = (-1000..1000_i32, 0..100_u32).prop_map(|(offset, length)| Span { offset, length });
    proptest::collection::vec(span, 0..4)
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    use proptest::collection::vec;
    let integer = (any::<u64>(), any::<u64>(), vec(any::<i64>(), 0..9), vec(any::<i64>(), 0..9));
    let integer = integer.prop_map(|(count, zero_count, positive_deltas, negative_deltas)| {
        HistogramCounts::Integer { count, zero_count, positive_deltas, negative_deltas }
    });
    let float = (number(), number(), vec(number(), 0..9), vec(number(), 0..9));
    let float = float.prop_map(|(count, zero_count, positive, negative)| HistogramCounts::Float {
        count,
        zero_count,
        positive,
        negative,
    });
    let hints = [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge];
    let schema = prop_oneof![4 => -4..9_i32, 1 => Just(CUSTOM_BOUNDS_SCHEMA)];
    let head = (proptest::sample::select(hints.to_vec()), schema, number(), number());
    let spans = (any_spans(), any_spans(), vec(number(), 0..5));
    (head, spans, prop_oneof![integer, float]).prop_map(|(head, spans, counts)| Histogram {
        reset_hint: head.0,
        schema: head.1,
        zero_threshold: head.2,
        sum: head.3,
        positive_spans: spans.0,
        negative_spans: spans.1,
        custom_bounds: spans.2,
        counts,
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    let exemplar = (any_labels(), any_value(), any::<Option<i64>>());
    let exemplar = exemplar.prop_map(|(labels, value, timestamp_ms)| Exemplar {
        labels: labels.into_iter().collect::<Labels>(),
        value,
        timestamp_ms,
    });
    let sample = prop_oneof![
        4 => any_value().prop_map(Given::Value),
        1 => any_histogram().prop_map(Given::Histogram),
        1 => exemplar.prop_map(Given::Exemplar),
    ];
    let at = prop_oneof![
        8 => (Just(1_700_000_000_000), Just(0)),
        1 => (any::<i64>(), any::<i64>()),
    ];
    let kind = proptest::sample::select(MetricType::ALL.to_vec());
    (any_labels(), kind, "[a-b]{0,2}", sample, at)
        .prop_map(|(labels, kind, help, sample, at)| Input { labels, kind, help, sample, at })
}

/// A series as a page has many, each much like the one before.
fn any_neighbour() -> impl Strategy<Value = Input> {
    let cpu = prop_oneof![0..12_u32, 98..102_u32, 65_530..65_540_u32];
    let mode = proptest::sample::select(vec!["idle", "iowait", "user", "a longer text than that"]);
    let value = prop_oneof![Just(0.0), Just(1.0), (0..100_u32).prop_map(f64::from), any::<f64>()];
    let at = prop_oneof![Just(1_700_000_000_000), Just(1_700_000_000_001), Just(5)];
    (cpu, mode, 0..3, value, at).prop_map(|(cpu, mode, device, value, at)| {
        let mut labels = vec![("__name__", format!("node_{}", cpu % 3)), ("mode", mode.to_owned())];
        labels.extend([("cpu", cpu.to_string()), ("instance", "127.1.0.1:9100".to_owned())]);
        labels.extend([("rack", format!("r{}", cpu / 50 % 2)), ("zone", "z".to_owned())]);
        if device > 0 {
            labels.push(("device", format!("eth{device}")));
        }
        let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let (kind, help, sample) = (MetricType::Gauge, String::new(), Given::Value(value));
        Input { labels, kind, help, sample, at: (at, 0) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_sample_comes_out_as_it_went_in(
        inputs in proptest::collection::vec(prop_oneof![any_input(), any_neighbour()], 0..40),
    ) {
        for encoding in [Encoding::RemoteWrite1, Encoding::RemoteWrite2] {
            let wanted: Vec<Item> = inputs.iter().map(|input| wanted(input, encoding)).collect();
            prop_assert_eq!(decode(&encode(encoding, &inputs)), wanted);
        }
    }

    #[test]
    fn a_block_of_2_0_becomes_one_of_1_0_with_the_same_samples(
        inputs in proptest::collection::vec(any_input(), 0..20),
    ) {
        let block = to_remote_write1(&encode(Encoding::RemoteWrite2, &inputs)).unwrap();
        let without_custom_bounds = |input: &&Input| match &input.sample {
            Given::Histogram(histogram) => histogram.schema != CUSTOM_BOUNDS_SCHEMA,
            _ => true,
        };
        let kept = inputs.iter().filter(without_custom_bounds);
        let wanted: Vec<Item> = kept.map(|input| wanted(input, Encoding::RemoteWrite1)).collect();
        prop_assert_eq!(block.counts.total(), wanted.len() as u64);
        prop_assert_eq!(decode(&block), wanted);
    }

    #[test]
    fn only_samples_that_are_too_old_are_left_out(
        inputs in proptest::collection::vec(any_input(), 0..20),
        oldest_ms in 1_600_000_000_000..1_800_000_000_000_i64,
    ) {
        for encoding in [Encoding::RemoteWrite1, Encoding::RemoteWrite2] {
            let young = without_older_than(encode(encoding, &inputs), oldest_ms).unwrap();
            let kept = inputs.iter().filter(|input| input.at.0 >= oldest_ms);
            let wanted: Vec<Item> = kept.map(|input| wanted(input, encoding)).collect();
            prop_assert_eq!(young.counts.total(), wanted.len() as u64);
            if wanted.is_empty() {
                continue; // and nothing is sent
            }
            prop_assert_eq!(decode(&young), wanted);
        }
    }

    #[test]
    fn lines_are_json_with_the_labels_and_the_value(
        inputs in proptest::collection::vec(any_input(), 0..20),
    ) {
        let block = encode(Encoding::JsonLines, &inputs);
        let text = String::from_utf8(block.plain_bytes().unwrap().to_vec()).unwrap();
        prop_assert_eq!(text.split_terminator('\n').count(), inputs.len());
        for (line, input) in text.split_terminator('\n').zip(&inputs) {
            let line: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).unwrap();
            let got: BTreeMap<String, String> =
                serde_json::from_str(line["labels"].get()).unwrap();
            let wanted = wanted(input, Encoding::JsonLines).labels;
            prop_assert_eq!(got.into_iter().collect::<Vec<_>>(), wanted);
            prop_assert_eq!(line["timestamp"].get(), input.at.0.to_string());
            if let Given::Value(value) = input.sample && value.is_finite() {
                let got: f64 = line["value"].get().parse().unwrap();
                prop_assert_eq!(got.to_bits(), value.to_bits());
            }
        }
    }
}

#[test]
fn an_encoder_begins_the_next_block_with_nothing_of_the_last() {
    let labels = BTreeMap::from([("__name__".to_owned(), "up".to_owned())]);
    let (kind, help, sample) = (MetricType::Gauge, "up or not".to_owned(), Given::Value(1.0));
    let input = Input { labels, kind, help, sample, at: (1_700_000_000_000, 0) };
    let symbols = Symbols::new();
    let layout = layout(&symbols, std::slice::from_ref(&input));
    let (mut encoder, mut compressor) = (RemoteWrite2::default(), Compressor::default());
    let mut blocks = Vec::new();
    for _ in 0..2 {
        let table = symbols.read();
        let (pairs, family) = (layout.pairs(0).collect::<Pairs>(), layout.family(0));
        let series = Series { table: &table, pairs: &pairs, labels: &[], inserted: &[], family };
        encoder.sample(&series, 1.0, At { timestamp_ms: 5, started_ms: 0 });
        blocks.push(encoder.finish(&mut compressor));
    }
    assert_eq!(blocks[0], blocks[1]);
    let plain = snap::raw::Decoder::new().decompress_vec(&blocks[1]).unwrap();
    assert_eq!(decode2(&plain).len(), 1);
}

#[test]
fn metadata_of_families_is_a_request_of_its_own() {
    let cpu = Family {
        name: "cpu_seconds".into(),
        kind: MetricType::Counter,
        help: "Time.".into(),
        unit: "seconds".into(),
    };
    let request = Request1::decode(&*metadata_request([&cpu].into_iter())).unwrap();
    let (family, help, unit) = ("cpu_seconds".into(), "Time.".into(), "seconds".into());
    assert_eq!(request.metadata, [Metadata1 { kind: 1, family, help, unit }]);
    assert!(request.series.is_empty());
}
