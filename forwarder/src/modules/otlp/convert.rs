//! Remote write 2.0 as OTLP metrics.
//!
//! `job` and `instance` become the resource (`service.name`, `service.instance.id`), as the
//! OpenTelemetry specification for Prometheus compatibility says; other labels are attributes.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};

use super::messages::{
    AnyValue, Buckets, Data, Exemplar, ExponentialDataPoint, ExponentialHistogram, ExportRequest,
    Gauge, HistogramDataPoint, KeyValue, Metric, NumberDataPoint, Resource, ResourceMetrics, Scope,
    ScopeMetrics, Sum,
};
use super::{messages, remote_write2 as rw2};
use crate::block::Counts;

/// OTLP's `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i32 = 2;
/// OTLP's flag of a point without a value.
const NO_RECORDED_VALUE: u32 = 1;
/// Buckets that a span may open at most; more is damage.
const BUCKETS_MAX: u32 = 100_000;
/// Schema of histograms with custom bounds.
const CUSTOM_BOUNDS_SCHEMA: i32 = -53;

/// The request as OTLP, and what has no place there: float histograms, and exemplars without a
/// point of their series in the request.
pub(super) fn export(request: &rw2::Request) -> (ExportRequest, Counts) {
    let mut resources: BTreeMap<(String, String), BTreeMap<String, Metric>> = BTreeMap::new();
    let mut exemplars = Exemplars::of(request);
    let mut not_sent = Counts { exemplars: exemplars.without_point, ..Counts::NONE };
    for (place, series) in request.timeseries.iter().enumerate() {
        let mut labels = Labels::of(&request.symbols, &series.labels_refs);
        let name = labels.take("__name__");
        let resource = (labels.take("job"), labels.take("instance"));
        let metrics = resources.entry(resource).or_default();
        let mut exemplars = exemplars.take(place, &request.symbols);
        for sample in &series.samples {
            let point = number(&labels, sample, std::mem::take(&mut exemplars));
            let metric = metrics.entry(name.clone());
            let metric = metric.or_insert_with(|| describe(request, series, &name, None));
            put_number(metric, point);
        }
        for histogram in &series.histograms {
            let exemplars = std::mem::take(&mut exemplars);
            let n_exemplars = exemplars.len() as u64;
            let Some(data) = histogram_data(histogram, &labels, exemplars) else {
                not_sent.histograms += 1;
                not_sent.exemplars += n_exemplars;
                continue;
            };
            let key = format!("{name}\0{}", histogram.schema == CUSTOM_BOUNDS_SCHEMA);
            match metrics.entry(key) {
                Entry::Occupied(mut metric) => append(metric.get_mut(), data),
                Entry::Vacant(vacant) => {
                    vacant.insert(describe(request, series, &name, Some(data)));
                }
            }
        }
    }
    let resources = resources.into_iter().filter(|(_, metrics)| !metrics.is_empty());
    let resource_metrics = resources.map(resource_metrics).collect();
    (ExportRequest { resource_metrics }, not_sent)
}

/// Exemplars by the place in the request of the point that they go with. Blocks have them as
/// series of their own, behind that point.
#[derive(Default)]
struct Exemplars<'r> {
    by_place: HashMap<usize, Vec<&'r rw2::Exemplar>>,
    without_point: u64,
}

impl<'r> Exemplars<'r> {
    fn of(request: &'r rw2::Request) -> Exemplars<'r> {
        let mut found = Exemplars::default();
        if request.timeseries.iter().all(|series| series.exemplars.is_empty()) {
            return found;
        }
        let (mut points, mut early) = (HashMap::new(), Vec::new());
        for (place, series) in request.timeseries.iter().enumerate() {
            let refs = series.labels_refs.as_slice();
            if !(series.samples.is_empty() && series.histograms.is_empty()) {
                points.insert(refs, place);
            }
            match points.get(refs) {
                Some(place) => found.put(*place, series),
                None => early.push(series),
            }
        }
        // The block before ends between a point and these: they go with a later one.
        for series in early {
            match points.get(series.labels_refs.as_slice()) {
                Some(place) => found.put(*place, series),
                None => found.without_point += series.exemplars.len() as u64,
            }
        }
        found
    }

    fn put(&mut self, place: usize, series: &'r rw2::TimeSeries) {
        if !series.exemplars.is_empty() {
            self.by_place.entry(place).or_default().extend(&series.exemplars);
        }
    }

    fn take(&mut self, place: usize, symbols: &[String]) -> Vec<Exemplar> {
        let theirs = self.by_place.remove(&place).unwrap_or_default();
        let exemplar = |exemplar: &rw2::Exemplar| Exemplar {
            time_unix_nano: nanos(exemplar.timestamp_ms),
            as_double: Some(exemplar.value),
            filtered_attributes: Labels::of(symbols, &exemplar.labels_refs).attributes(),
        };
        theirs.into_iter().map(exemplar).collect()
    }
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

fn number(labels: &Labels<'_>, sample: &rw2::Sample, exemplars: Vec<Exemplar>) -> NumberDataPoint {
    let stale = model::is_stale_marker(sample.value);
    NumberDataPoint {
        start_time_unix_nano: nanos(sample.start_ms),
        time_unix_nano: nanos(sample.timestamp_ms),
        as_double: (!stale).then_some(sample.value),
        exemplars,
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
fn histogram_data(
    histogram: &rw2::Histogram,
    labels: &Labels<'_>,
    exemplars: Vec<Exemplar>,
) -> Option<Data> {
    let stale = model::is_stale_marker(histogram.sum);
    let count = match histogram.count {
        Some(rw2::Count::Integer(count)) => count,
        _ if stale => 0,
        Some(rw2::Count::Float(_)) | None => return None,
    };
    let attributes = labels.attributes();
    let (start, time) = (nanos(histogram.start_ms), nanos(histogram.timestamp_ms));
    let sum = (!stale).then_some(histogram.sum);
    let flags = if stale { NO_RECORDED_VALUE } else { 0 };
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
            exemplars,
            attributes,
            flags,
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
        flags,
        exemplars,
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
mod tests;
