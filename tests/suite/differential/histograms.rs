//! The protobuf format: every type of family, native histograms, and pages that are broken.

use testkit::{
    Bucket, CounterValue, FamilyType, HistogramValue, LabelPair, Metric, MetricFamily, Number,
    PageExemplar, Quantile, Reply, Span, SummaryValue,
};

use super::case::{Case, reply};
use super::check;

/// A target that serves these families in protobuf.
fn families(name: &'static str, families: &[MetricFamily]) -> Case {
    reply(name, Reply::families(families)).native()
}

fn gauge(value: f64) -> Metric {
    Metric { gauge: Some(Number { value: Some(value) }), ..Metric::default() }
}

fn counter(value: f64) -> Metric {
    let counter = CounterValue { value: Some(value), exemplar: None };
    Metric { counter: Some(counter), ..Metric::default() }
}

fn histogram(histogram: HistogramValue) -> Metric {
    Metric { histogram: Some(histogram), ..Metric::default() }
}

/// Buckets up to these bounds.
fn classic(buckets: &[(f64, u64)]) -> HistogramValue {
    let bucket = |(bound, count): &(f64, u64)| Bucket {
        cumulative_count: Some(*count),
        upper_bound: Some(*bound),
    };
    HistogramValue {
        count: buckets.last().map(|(_, count)| *count),
        sum: Some(12.5),
        buckets: buckets.iter().map(bucket).collect(),
        ..HistogramValue::default()
    }
}

/// Four buckets in two spans, and one around zero.
fn native(factor: i64) -> HistogramValue {
    HistogramValue {
        count: Some(11 * factor as u64),
        sum: Some(18.4),
        schema: Some(1),
        zero_threshold: Some(0.001),
        zero_count: Some(2 * factor as u64),
        positive_spans: vec![Span::new(0, 2), Span::new(1, 2)],
        positive_deltas: vec![factor, factor, -factor, factor * 4],
        ..HistogramValue::default()
    }
}

fn of_histogram(value: HistogramValue) -> Vec<MetricFamily> {
    vec![MetricFamily::new("h", FamilyType::Histogram, vec![histogram(value)])]
}

#[tokio::test]
async fn families_of_every_type_are_read_from_protobuf() {
    let of_gauge = |metrics| [MetricFamily::new("g", FamilyType::Gauge, metrics)];
    let summary = SummaryValue {
        count: Some(3),
        sum: Some(4.5),
        quantiles: [0.5, 0.99, 1.0]
            .map(|quantile| Quantile { quantile: Some(quantile), value: Some(2.0) })
            .into(),
    };
    let of_summary = |summary| {
        let metric = Metric { summary: Some(summary), ..Metric::default() };
        [MetricFamily::new("s", FamilyType::Summary, vec![metric])]
    };
    let untyped = Metric { untyped: Some(Number { value: Some(5.0) }), ..Metric::default() };
    check(vec![
        families("a gauge in protobuf", &of_gauge(vec![gauge(1.5)])),
        families(
            "a counter in protobuf",
            &[MetricFamily::new("c_total", FamilyType::Counter, vec![counter(7.0)])],
        ),
        families(
            "an untyped metric in protobuf",
            &[MetricFamily::new("u", FamilyType::Untyped, vec![untyped])],
        ),
        families("a summary in protobuf", &of_summary(summary)),
        families(
            "a summary without quantiles",
            &of_summary(SummaryValue { count: Some(1), sum: Some(2.0), quantiles: vec![] }),
        ),
        families(
            "a classic histogram in protobuf",
            &of_histogram(classic(&[(0.5, 1), (1.0, 3), (f64::INFINITY, 4)])),
        ),
        families(
            "a classic histogram without a last bucket",
            &of_histogram(classic(&[(0.5, 1), (1.0, 3)])),
        ),
        families("a classic histogram without buckets", &of_histogram(classic(&[]))),
    ])
    .await;
}

#[tokio::test]
async fn series_of_protobuf_follow_the_rules_of_all_series() {
    let of_gauge = |metrics| [MetricFamily::new("g", FamilyType::Gauge, metrics)];
    let labelled = |name: &str, value: &str| gauge(1.0).label(name, value);
    check(vec![
        families(
            "several series in protobuf",
            &of_gauge(vec![labelled("x", "1"), labelled("x", "2")]),
        ),
        families(
            "a series twice in protobuf",
            &of_gauge(vec![labelled("x", "1"), labelled("x", "1")]),
        ),
        families("a label twice in protobuf", &of_gauge(vec![labelled("x", "1").label("x", "2")])),
        families("an empty label in protobuf", &of_gauge(vec![labelled("x", "")])),
        families(
            "labels out of order in protobuf",
            &of_gauge(vec![labelled("z", "1").label("a", "2")]),
        ),
        families("a conflict in protobuf", &of_gauge(vec![labelled("job", "mine")])),
        families("an honored conflict in protobuf", &of_gauge(vec![labelled("job", "mine")]))
            .job("honor_labels: true"),
        families("not a number in protobuf", &of_gauge(vec![gauge(f64::NAN)])),
        families("minus zero in protobuf", &of_gauge(vec![gauge(-0.0)])),
        families("a family without series", &[MetricFamily::new("g", FamilyType::Gauge, vec![])]),
        families(
            "a family between others",
            &[
                MetricFamily::new("a", FamilyType::Gauge, vec![gauge(1.0)]),
                MetricFamily::new("b", FamilyType::Gauge, vec![]),
                MetricFamily::new("c", FamilyType::Gauge, vec![gauge(3.0)]),
            ],
        ),
        families("a rule over protobuf", &of_gauge(vec![labelled("x", "1"), labelled("x", "2")]))
            .job("metric_relabel_configs: [{source_labels: [x], regex: '2', action: drop}]"),
        families("a limit over protobuf", &of_gauge(vec![labelled("x", "1"), labelled("x", "2")]))
            .job("sample_limit: 1"),
    ])
    .await;
}

#[tokio::test]
async fn native_histograms_travel_whole() {
    let both =
        HistogramValue { buckets: classic(&[(1.0, 3), (f64::INFINITY, 12)]).buckets, ..native(1) };
    let negative = HistogramValue {
        count: Some(16),
        negative_spans: vec![Span::new(-2, 1), Span::new(3, 1)],
        negative_deltas: vec![2, 1],
        ..native(1)
    };
    let only_zero = HistogramValue {
        count: Some(2),
        positive_spans: vec![],
        positive_deltas: vec![],
        ..native(1)
    };
    let next = || Reply::families(&of_histogram(native(2)));
    let none = || Reply::families(&[MetricFamily::new("g", FamilyType::Gauge, vec![gauge(1.0)])]);
    let two = vec![histogram(native(1)).label("x", "1"), histogram(native(3)).label("x", "2")];
    check(vec![
        families("a native histogram", &of_histogram(native(1))),
        families("a native histogram beside a classic one", &of_histogram(both)),
        families("negative buckets", &of_histogram(negative)),
        families("a zero bucket alone", &of_histogram(only_zero)),
        families("two native histograms", &[MetricFamily::new("h", FamilyType::Histogram, two)]),
        families("a native histogram that grows", &of_histogram(native(1))).then_reply(next()),
        families("a native histogram that vanishes", &of_histogram(native(1)))
            .then_reply(none())
            .then_reply(none()),
        families("a native histogram that comes back", &of_histogram(native(1)))
            .then_reply(none())
            .then_reply(next()),
        families("a native histogram of a target that fails", &of_histogram(native(1)))
            .then_reply(Reply::status(500))
            .then_reply(next()),
        families("a native histogram that becomes classic", &of_histogram(native(1)))
            .then_reply(Reply::families(&of_histogram(classic(&[(1.0, 3), (f64::INFINITY, 12)]))))
            .then_reply(next()),
        families("a native histogram that is dropped", &of_histogram(native(1)))
            .job("metric_relabel_configs: [{source_labels: [__name__], regex: h, action: drop}]"),
        families("a native histogram that is renamed", &of_histogram(native(1)))
            .job("metric_relabel_configs: [{source_labels: [__name__], target_label: was}]"),
        families("protobuf, then text", &of_histogram(native(1))).then("h 3\n").then_reply(next()),
    ])
    .await;
}

#[tokio::test]
async fn exemplars_travel_with_their_series() {
    let exemplar = |value: f64| PageExemplar {
        labels: vec![LabelPair { name: Some("id".into()), value: Some("7".into()) }],
        value: Some(value),
    };
    let of_counter = |value: f64, exemplar| {
        let counter = CounterValue { value: Some(value), exemplar: Some(exemplar) };
        let metric = Metric { counter: Some(counter), ..Metric::default() };
        Reply::families(&[MetricFamily::new("c_total", FamilyType::Counter, vec![metric])])
    };
    let open_metrics = |text: &str| {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Reply::page(format!("{text}# EOF\n")).typed(content_type)
    };
    let counting =
        |n: u32, more: &str| open_metrics(&format!("# TYPE a counter\na_total {n}{more}\n"));
    check(vec![
        reply("an exemplar in protobuf", of_counter(1.0, exemplar(0.5))).native(),
        reply("an exemplar that stays", of_counter(1.0, exemplar(0.5)))
            .then_reply(of_counter(2.0, exemplar(0.5)))
            .native(),
        reply("an exemplar that changes", of_counter(1.0, exemplar(0.5)))
            .then_reply(of_counter(2.0, exemplar(0.7)))
            .native(),
        reply("an exemplar in OpenMetrics", counting(1, " # {id=\"7\"} 0.5")).native(),
        reply("an exemplar that goes and comes", counting(1, " # {id=\"7\"} 0.5"))
            .then_reply(counting(2, ""))
            .then_reply(counting(3, " # {id=\"7\"} 0.5"))
            .native(),
        reply("an exemplar of another series", counting(1, " # {id=\"7\"} 0.5"))
            .then_reply(open_metrics("# TYPE b counter\nb_total 1 # {id=\"7\"} 0.5\n"))
            .native(),
    ])
    .await;
}

#[tokio::test]
async fn a_broken_page_of_protobuf_fails_the_scrape() {
    let good = || {
        Reply::families(&[
            MetricFamily::new("a", FamilyType::Gauge, vec![gauge(1.0)]),
            MetricFamily::new("b", FamilyType::Gauge, vec![gauge(2.0)]),
        ])
    };
    let between =
        |name, odd: Reply| reply(name, good()).then_reply(odd).then_reply(good()).native();
    let bytes = |bytes: &'static [u8]| good().body(bytes);
    check(vec![
        between("an empty page of protobuf", bytes(b"")),
        between("a family that is cut off", bytes(b"\x20\x0a\x01a")),
        between("a length without a family", bytes(b"\x05")),
        between(
            "a length that is too long",
            bytes(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ),
        between("text that says it is protobuf", bytes(b"a 1\nb 2\n")),
        between("a good family, then a bad one", good().appended(Reply::page(&b"\x09\x0a"[..]))),
    ])
    .await;
}
