//! Requests of remote write 2.0, and what they are in OTLP.

use super::*;

fn request(kind: i32, names: &[&str], series: rw2::TimeSeries) -> rw2::Request {
    let metadata = Some(rw2::Metadata { kind, help_ref: 0, unit_ref: 0 });
    let symbols = [""].iter().chain(names).map(|text| (*text).to_owned()).collect();
    rw2::Request { symbols, timeseries: vec![rw2::TimeSeries { metadata, ..series }] }
}

fn only_metric(export: &ExportRequest) -> &Metric {
    &export.resource_metrics[0].scope_metrics[0].metrics[0]
}

#[test]
fn a_counter_is_a_cumulative_sum_and_its_job_the_service() {
    let names = ["__name__", "requests_total", "job", "api", "code", "200"];
    let series = rw2::TimeSeries {
        labels_refs: vec![1, 2, 5, 6, 3, 4],
        samples: vec![rw2::Sample { value: 7.0, timestamp_ms: 5, start_ms: 1 }],
        ..Default::default()
    };
    let (export, not_sent) = export(&request(1, &names, series));
    assert_eq!(not_sent, Counts::NONE);
    let attributes = &export.resource_metrics[0].resource.as_ref().unwrap().attributes;
    assert_eq!(*attributes, [key_value("service.name", "api")]);
    let Some(Data::Sum(sum)) = &only_metric(&export).data else { panic!("no sum") };
    assert!(sum.is_monotonic);
    assert_eq!(sum.data_points[0].as_double, Some(7.0));
    assert_eq!(sum.data_points[0].attributes, [key_value("code", "200")]);
    assert_eq!(sum.data_points[0].time_unix_nano, 5_000_000);
}

#[test]
fn a_stale_marker_is_a_point_without_value() {
    let series = rw2::TimeSeries {
        labels_refs: vec![1, 2],
        samples: vec![rw2::Sample { value: model::STALE_MARKER, timestamp_ms: 5, start_ms: 0 }],
        ..Default::default()
    };
    let (export, _) = export(&request(2, &["__name__", "up"], series));
    let Some(Data::Gauge(gauge)) = &only_metric(&export).data else { panic!("no gauge") };
    assert_eq!((gauge.data_points[0].as_double, gauge.data_points[0].flags), (None, 1));
}

/// A counter's sample and its exemplar, as two series, in this order or the other.
fn counter_with_exemplar(sample_first: bool) -> rw2::Request {
    let names = ["__name__", "requests_total", "trace", "abc"];
    let of = |series| rw2::TimeSeries { labels_refs: vec![1, 2], ..series };
    let sample = of(rw2::TimeSeries {
        samples: vec![rw2::Sample { value: 7.0, timestamp_ms: 5, start_ms: 0 }],
        ..Default::default()
    });
    let exemplar = of(rw2::TimeSeries {
        exemplars: vec![rw2::Exemplar { labels_refs: vec![3, 4], value: 0.5, timestamp_ms: 4 }],
        ..Default::default()
    });
    let mut request = request(1, &names, sample);
    request.timeseries.insert(usize::from(sample_first), exemplar);
    request
}

#[test]
fn an_exemplar_goes_with_the_point_of_its_series() {
    for sample_first in [true, false] {
        let (export, not_sent) = export(&counter_with_exemplar(sample_first));
        assert_eq!(not_sent, Counts::NONE);
        let Some(Data::Sum(sum)) = &only_metric(&export).data else { panic!("no sum") };
        let [point] = &sum.data_points[..] else { panic!("{:?}", sum.data_points) };
        let [exemplar] = &point.exemplars[..] else { panic!("{point:?}") };
        assert_eq!((exemplar.as_double, exemplar.time_unix_nano), (Some(0.5), 4_000_000));
        assert_eq!(exemplar.filtered_attributes, [key_value("trace", "abc")]);
    }
}

#[test]
fn an_exemplar_without_a_point_is_counted() {
    let mut request = counter_with_exemplar(true);
    request.timeseries.remove(0);
    let (export, not_sent) = export(&request);
    assert_eq!(export.resource_metrics, []);
    assert_eq!(not_sent, Counts { exemplars: 1, ..Counts::NONE });
}

#[track_caller]
fn check_histogram(histogram: rw2::Histogram, want: Option<(u64, Option<f64>, u32)>) {
    let series = rw2::TimeSeries {
        labels_refs: vec![1, 2],
        histograms: vec![histogram],
        ..Default::default()
    };
    let (export, not_sent) = export(&request(3, &["__name__", "h"], series));
    let Some((count, sum, flags)) = want else {
        assert_eq!(export.resource_metrics, []);
        assert_eq!(not_sent, Counts { histograms: 1, ..Counts::NONE });
        return;
    };
    assert_eq!(not_sent, Counts::NONE);
    let Some(Data::ExponentialHistogram(histogram)) = &only_metric(&export).data else {
        panic!("no histogram")
    };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum, point.flags), (count, sum, flags));
}

#[test]
fn histograms_of_whole_counts_are_sent_and_others_counted() {
    let of = |count, sum| rw2::Histogram { count: Some(count), sum, ..Default::default() };
    check_histogram(of(rw2::Count::Integer(3), 1.5), Some((3, Some(1.5), 0)));
    check_histogram(of(rw2::Count::Float(3.5), 1.5), None);
    check_histogram(of(rw2::Count::Float(0.0), model::STALE_MARKER), Some((0, None, 1)));
}

#[test]
fn spans_become_buckets_without_gaps() {
    let span = |offset, length| rw2::Span { offset, length };
    let counts = dense(&[span(-2, 2), span(1, 1)], &[1, 2, -1]);
    assert_eq!(counts, Some((-2, vec![1, 3, 0, 2])));
    assert_eq!(dense(&[span(0, 2)], &[1]), None);
    assert_eq!(dense(&[], &[]), Some((0, vec![])));
}
