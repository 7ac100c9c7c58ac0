//! Pages of protobuf: the same life of series, and native histograms.

use prost::Message as _;

use super::*;
use crate::sample_rules::{HistogramRules, SampleLimits};

/// A family with one metric a value, told apart by the label `n`.
#[derive(Clone, PartialEq, prost::Message)]
struct Family {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Gauge>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Native>,
    #[prost(int64, tag = "6")]
    timestamp_ms: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Gauge {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Native {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(message, repeated, tag = "12")]
    spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    deltas: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

fn gauges(values: &[(&str, f64)]) -> Vec<u8> {
    let metrics = values.iter().map(|(n, value)| Metric {
        labels: vec![Pair { name: "n".into(), value: (*n).to_owned() }],
        gauge: Some(Gauge { value: *value }),
        ..Metric::default()
    });
    let family = Family { name: "g".into(), kind: 1, metrics: metrics.collect() };
    family.encode_length_delimited_to_vec()
}

fn histogram(buckets: u32) -> Vec<u8> {
    let deltas = (0..buckets).map(|at| i64::from(at == 0)).collect();
    let spans = vec![Span { offset: 0, length: buckets }];
    let native = Native { count: buckets.into(), schema: 2, spans, deltas };
    let metric = Metric { histogram: Some(native), ..Metric::default() };
    let family = Family { name: "h".into(), kind: 4, metrics: vec![metric] };
    family.encode_length_delimited_to_vec()
}

fn page(change: impl FnOnce(&mut SampleRules)) -> Page {
    let mut rules = SampleRules::of_target(Labels::default());
    rules.histograms = HistogramRules { native: true, ..HistogramRules::default() };
    change(&mut rules);
    let mut page = Page::new(rules);
    page.format = Format::Protobuf;
    page
}

#[test]
fn series_keep_their_layout_and_end_when_they_are_gone() {
    let mut page = page(|_| {});
    page.read(&gauges(&[("a", 1.0), ("b", 2.0)])).unwrap();
    let layout = page.cache.layout().unwrap().id();
    for body in [gauges(&[("a", 3.0), ("b", f64::NAN)]), gauges(&[("b", 4.0), ("a", 5.0)])] {
        assert_eq!(page.read(&body).unwrap().series_added, 0);
        assert_eq!(page.cache.layout().unwrap().id(), layout);
    }
    page.check_said(&[r#"{__name__="g", n="a"} 5"#, r#"{__name__="g", n="b"} 4"#]);
    let counts = page.read(&gauges(&[("b", 6.0), ("b", 7.0), ("c", 8.0)])).unwrap();
    page.check_said(&[
        r#"{__name__="g", n="a"} stale"#,
        r#"{__name__="g", n="b"} 6"#,
        r#"{__name__="g", n="c"} 8"#,
    ]);
    assert_eq!((counts.scraped, counts.series_added, counts.duplicates), (3, 1, 1));
    assert_eq!(page.cache.layout().unwrap().family(0).kind.name(), "gauge");
}

#[test]
fn a_native_histogram_lives_and_ends_as_a_series_does() {
    let mut page = page(|_| {});
    for _ in 0..2 {
        page.read(&histogram(3)).unwrap();
        let samples = &page.out[0];
        let (series, own_ms, histogram) = &samples.histograms[0];
        assert_eq!((*series, *own_ms, histogram.schema), (0, None, 2));
        assert!(is_absent(samples.values[0]));
    }
    page.read(&gauges(&[("a", 1.0)])).unwrap();
    page.check_said(&[r#"{__name__="g", n="a"} 1"#, r#"{__name__="h"} stale"#]);
}

#[test]
fn buckets_are_merged_up_to_the_limit_and_refused_beyond_it() {
    let mut merged = page(|rules| {
        rules.limits = SampleLimits { histogram_buckets: 3, ..SampleLimits::default() };
    });
    merged.read(&histogram(4)).unwrap();
    assert_eq!(merged.out[0].histograms[0].2.schema, 1);
    let mut factor = page(|rules| rules.histograms.min_bucket_factor = 2.0);
    factor.read(&histogram(4)).unwrap();
    assert_eq!(factor.out[0].histograms[0].2.schema, 0);
    let mut refused = page(|rules| {
        rules.limits = SampleLimits { histogram_buckets: 1, ..SampleLimits::default() };
    });
    let mut wide = histogram(2000);
    wide.extend(gauges(&[("a", 1.0)]));
    let counts = refused.check_refused(&wide, "histogram bucket limit exceeded");
    assert_eq!((counts.scraped, counts.kept, counts.series_added), (2, 2, 0));
}

#[test]
fn a_text_page_after_a_protobuf_page_is_the_same_series() {
    let mut page = page(|_| {});
    page.read(&gauges(&[("a", 1.0), ("b", 2.0)])).unwrap();
    page.format = Format::Text;
    page.check(
        "# TYPE g gauge\ng{n=\"a\"} 3\n",
        &[r#"{__name__="g", n="a"} 3"#, r#"{__name__="g", n="b"} stale"#],
    );
    page.format = Format::OpenMetrics;
    page.check("# TYPE g gauge\ng{n=\"a\"} 4\n# EOF\n", &[r#"{__name__="g", n="a"} 4"#]);
}

/// A text page whose classic histograms become native ones.
fn converting(always_classic: bool) -> Page {
    let mut page = page(|rules| {
        rules.histograms.classic_to_custom = true;
        rules.histograms.always_classic = always_classic;
    });
    page.format = Format::Text;
    page
}

const CLASSIC: &str = "# TYPE h histogram\n\
    h_bucket{x=\"1\",le=\"1\"} 2\nh_bucket{x=\"1\",le=\"+Inf\"} 5\nh_sum{x=\"1\"} 7\n\
    h_count{x=\"1\"} 5\nh_bucket{x=\"2\",le=\"1\"} 3\nh_count{x=\"2\"} 3\n\
    # TYPE g gauge\ng_bucket{le=\"1\"} 1\n";

#[test]
fn the_lines_of_a_classic_histogram_become_one_sample() {
    let mut page = converting(false);
    for added in [3, 0] {
        let counts = page.counts(CLASSIC);
        assert_eq!((counts.scraped, counts.series_added), (3, added));
        page.check_said(&[r#"{__name__="g_bucket", le="1"} 1"#]);
        let samples = &page.out[0];
        let shown: Vec<_> = samples
            .histograms
            .iter()
            .map(|(series, _, histogram)| {
                let labels = samples.layout.labels(*series as usize);
                format!("{labels} {} {:?}", histogram.sum, histogram.custom_bounds)
            })
            .collect();
        let want = [r#"{__name__="h", x="1"} 7 [1.0]"#, r#"{__name__="h", x="2"} 0 [1.0]"#];
        assert_eq!(shown, want);
    }
    page.check(
        "g_bucket{le=\"1\"} 1\n",
        &[
            r#"{__name__="g_bucket", le="1"} 1"#,
            r#"{__name__="h", x="1"} stale"#,
            r#"{__name__="h", x="2"} stale"#,
        ],
    );
}

#[test]
fn classic_series_stay_beside_it_if_they_are_wanted() {
    let mut page = converting(true);
    assert_eq!(page.counts(CLASSIC).scraped, 9);
    assert_eq!(page.out[0].histograms.len(), 2);
    assert_eq!(page.said().len(), 7);
    assert_eq!(page.counts("# TYPE h histogram\nh_bucket{le=\"x\"} 1\nh_other 2\n").scraped, 2);
}

#[test]
fn created_lines_are_start_timestamps_if_these_are_wanted() {
    let body = "# TYPE c counter\nc_total{x=\"1\"} 3\nc_created{x=\"1\"} 1.5\nc_total{x=\"2\"} 4\n\
        # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_created 2\n\
        # TYPE g gauge\ng_created 9\n# EOF\n";
    let mut page = page(|rules| rules.start_timestamps = true);
    page.format = Format::OpenMetrics;
    page.check(
        body,
        &[
            r#"{__name__="c_total", x="1"} 3"#,
            r#"{__name__="c_total", x="2"} 4"#,
            r#"{__name__="g_created"} 9"#,
            r#"{__name__="h_bucket", le="1.0"} 1"#,
            r#"{__name__="h_sum"} 1"#,
        ],
    );
    assert_eq!(page.out[0].created, [(0, 1500), (2, 2000), (3, 2000)]);
    let mut plain = Page::plain();
    plain.format = Format::OpenMetrics;
    assert_eq!(plain.counts(body).scraped, 7);
    assert!(plain.out[0].created.is_empty());
}

#[test]
fn an_exemplar_that_is_shown_again_is_passed_on_once() {
    let mut page = Page::plain();
    page.format = Format::OpenMetrics;
    let body = |trace: &str, extra: &str| {
        format!("{extra}a_total 1 # {{trace=\"{trace}\"}} 0.5\nb 1 # {{trace=\"b\"}} 1\n# EOF\n")
    };
    let a = |trace: &str| format!(r##"{{__name__="a_total"}} 1 # {{trace="{trace}"}} 0.5"##);
    let b = r##"{__name__="b"} 1 # {trace="b"} 1"##;
    let (plain_a, plain_b) = (r#"{__name__="a_total"} 1"#, r#"{__name__="b"} 1"#);
    page.check(&body("x", ""), &[&a("x"), b]);
    page.check(&body("x", ""), &[plain_a, plain_b]);
    page.check(&body("y", ""), &[&a("y"), plain_b]);
    page.check(&body("y", "_first 1\n"), &[r#"{__name__="_first"} 1"#, plain_a, plain_b]);
}
