//! Remote write 2.0 as OTLP metrics.
//!
//! `job` and `instance` become the resource (`service.name`, `service.instance.id`), as the
//! OpenTelemetry specification for Prometheus compatibility says; other labels are attributes.

use std::collections::BTreeMap;

use super::messages::{
    AnyValue, Buckets, Data, Exemplar, ExponentialDataPoint, ExponentialHistogram, ExportRequest,
    Gauge, HistogramDataPoint, KeyValue, Metric, NumberDataPoint, Resource, ResourceMetrics, Scope,
    ScopeMetrics, Sum,
};
use super::{messages, remote_write2 as rw2};

/// OTLP's `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i32 = 2;
/// OTLP's flag of a point without a value.
const NO_RECORDED_VALUE: u32 = 1;
/// Buckets that a span may open at most; more is damage.
const BUCKETS_MAX: u32 = 100_000;
/// Schema of histograms with custom bounds.
const CUSTOM_BOUNDS_SCHEMA: i32 = -53;

/// The request as OTLP, and how many samples have no place there (float histograms).
pub(super) fn export(request: &rw2::Request) -> (ExportRequest, u64) {
    let mut resources: BTreeMap<(String, String), BTreeMap<String, Metric>> = BTreeMap::new();
    let mut not_sent = 0;
    for series in &request.timeseries {
        let mut labels = Labels::of(&request.symbols, &series.labels_refs);
        let name = labels.take("__name__");
        let resource = (labels.take("job"), labels.take("instance"));
        let metrics = resources.entry(resource).or_default();
        for sample in &series.samples {
            let point = number(request, series, &labels, sample);
            let metric = metrics.entry(name.clone());
            let metric = metric.or_insert_with(|| describe(request, series, &name, None));
            put_number(metric, point);
        }
        for histogram in &series.histograms {
            match histogram_data(histogram, &labels) {
                Some(data) => {
                    let key = format!("{name}\0{}", histogram.schema == CUSTOM_BOUNDS_SCHEMA);
                    let metric = metrics.entry(key);
                    metric
                        .and_modify(|metric| append(metric, data.clone()))
                        .or_insert_with(|| describe(request, series, &name, Some(data)));
                }
                None => not_sent += 1,
            }
        }
    }
    let resource_metrics = resources.into_iter().map(resource_metrics).collect();
    (ExportRequest { resource_metrics }, not_sent)
}

/// The labels of one series, by name.
struct Labels<'s>(Vec<(&'s str, &'s str)>);

impl<'s> Labels<'s> {
    fn of(symbols: &'s [String], refs: &[u32]) -> Labels<'s> {
        let symbol = |at: u32| symbols.get(at as usize).map_or("", String::as_str);
        Labels(refs.chunks_exact(2).map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect())
    }

    fn take(&mut self, name: &str) -> String {
        match self.0.iter().position(|(n, _)| *n == name) {
            Some(at) => self.0.remove(at).1.to_owned(),
            None => String::new(),
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        self.0.iter().map(|(name, value)| key_value(name, value)).collect()
    }
}

fn resource_metrics(
    ((job, instance), metrics): ((String, String), BTreeMap<String, Metric>),
) -> ResourceMetrics {
    let named = [("service.name", job), ("service.instance.id", instance)];
    let named = named.iter().filter(|(_, value)| !value.is_empty());
    let attributes = named.map(|(name, value)| key_value(name, value)).collect();
    let scope = Scope { name: "rollcall".into(), version: env!("CARGO_PKG_VERSION").into() };
    let metrics = metrics.into_values().collect();
    ResourceMetrics {
        resource: Some(Resource { attributes }),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics }],
    }
}

fn describe(
    request: &rw2::Request,
    series: &rw2::TimeSeries,
    name: &str,
    data: Option<Data>,
) -> Metric {
    let metadata = series.metadata.unwrap_or_default();
    let text = |at: u32| request.symbols.get(at as usize).cloned().unwrap_or_default();
    let counts = match metadata.kind {
        1 => true,
        3 | 5 => ["_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end)),
        _ => false,
    };
    let number = || match counts {
        true => Data::Sum(Sum {
            data_points: Vec::new(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        false => Data::Gauge(Gauge::default()),
    };
    Metric {
        name: name.to_owned(),
        description: text(metadata.help_ref),
        unit: text(metadata.unit_ref),
        data: Some(data.unwrap_or_else(number)),
    }
}

fn number(
    request: &rw2::Request,
    series: &rw2::TimeSeries,
    labels: &Labels<'_>,
    sample: &rw2::Sample,
) -> NumberDataPoint {
    let stale = model::is_stale_marker(sample.value);
    let exemplar = |exemplar: &rw2::Exemplar| Exemplar {
        time_unix_nano: nanos(exemplar.timestamp_ms),
        as_double: Some(exemplar.value),
        filtered_attributes: Labels::of(&request.symbols, &exemplar.labels_refs).attributes(),
    };
    NumberDataPoint {
        start_time_unix_nano: nanos(sample.start_ms),
        time_unix_nano: nanos(sample.timestamp_ms),
        as_double: (!stale).then_some(sample.value),
        exemplars: series.exemplars.iter().map(exemplar).collect(),
        attributes: labels.attributes(),
        flags: if stale { NO_RECORDED_VALUE } else { 0 },
    }
}

fn put_number(metric: &mut Metric, point: NumberDataPoint) {
    match &mut metric.data {
        Some(Data::Sum(sum)) => sum.data_points.push(point),
        Some(Data::Gauge(gauge)) => gauge.data_points.push(point),
        Some(Data::Histogram(_) | Data::ExponentialHistogram(_)) | None => {}
    }
}

fn append(metric: &mut Metric, data: Data) {
    match (&mut metric.data, data) {
        (Some(Data::Histogram(known)), Data::Histogram(more)) => {
            known.data_points.extend(more.data_points);
        }
        (Some(Data::ExponentialHistogram(known)), Data::ExponentialHistogram(more)) => {
            known.data_points.extend(more.data_points);
        }
        _ => {}
    }
}

/// A native histogram with integer counts; float counts have no place in OTLP.
fn histogram_data(histogram: &rw2::Histogram, labels: &Labels<'_>) -> Option<Data> {
    let Some(rw2::Count::Integer(count)) = histogram.count else { return None };
    let attributes = labels.attributes();
    let (start, time) = (nanos(histogram.start_ms), nanos(histogram.timestamp_ms));
    let sum = Some(histogram.sum);
    if histogram.schema == CUSTOM_BOUNDS_SCHEMA {
        let (offset, counts) = dense(&histogram.positive_spans, &histogram.positive_deltas)?;
        let mut bucket_counts = vec![0; usize::try_from(offset).ok()?];
        bucket_counts.extend(counts);
        bucket_counts.resize(histogram.custom_bounds.len() + 1, 0);
        let point = HistogramDataPoint {
            start_time_unix_nano: start,
            time_unix_nano: time,
            count,
            sum,
            bucket_counts,
            explicit_bounds: histogram.custom_bounds.clone(),
            attributes,
        };
        return Some(Data::Histogram(messages::Histogram {
            data_points: vec![point],
            aggregation_temporality: CUMULATIVE,
        }));
    }
    // Prometheus' bucket i ends where OTLP's bucket i − 1 does.
    let buckets = |spans: &[rw2::Span], deltas: &[i64]| {
        let (offset, bucket_counts) = dense(spans, deltas)?;
        Some(Buckets { offset: offset - 1, bucket_counts })
    };
    let point = ExponentialDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: time,
        count,
        sum,
        scale: histogram.schema,
        zero_count: histogram.zero_count,
        positive: Some(buckets(&histogram.positive_spans, &histogram.positive_deltas)?),
        negative: Some(buckets(&histogram.negative_spans, &histogram.negative_deltas)?),
        zero_threshold: histogram.zero_threshold,
    };
    Some(Data::ExponentialHistogram(ExponentialHistogram {
        data_points: vec![point],
        aggregation_temporality: CUMULATIVE,
    }))
}

/// Buckets without gaps, and the index of the first. `None` if spans and counts do not fit.
fn dense(spans: &[rw2::Span], deltas: &[i64]) -> Option<(i32, Vec<u64>)> {
    let first = spans.first().map_or(0, |span| span.offset);
    let (mut counts, mut deltas, mut count) = (Vec::new(), deltas.iter(), 0_i64);
    for (at, span) in spans.iter().enumerate() {
        let gap = if at == 0 { 0 } else { u32::try_from(span.offset).ok()? };
        if gap.max(span.length) > BUCKETS_MAX || counts.len() > BUCKETS_MAX as usize {
            return None;
        }
        counts.resize(counts.len() + gap as usize, 0);
        for _ in 0..span.length {
            count += deltas.next()?;
            counts.push(u64::try_from(count).ok()?);
        }
    }
    Some((first, counts))
}

fn key_value(name: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { string_value: Some(value.to_owned()) });
    KeyValue { key: name.to_owned(), value }
}

fn nanos(timestamp_ms: i64) -> u64 {
    u64::try_from(timestamp_ms).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(not_sent, 0);
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

    #[test]
    fn spans_become_buckets_without_gaps() {
        let span = |offset, length| rw2::Span { offset, length };
        let counts = dense(&[span(-2, 2), span(1, 1)], &[1, 2, -1]);
        assert_eq!(counts, Some((-2, vec![1, 3, 0, 2])));
        assert_eq!(dense(&[span(0, 2)], &[1]), None);
        assert_eq!(dense(&[], &[]), Some((0, vec![])));
    }
}
