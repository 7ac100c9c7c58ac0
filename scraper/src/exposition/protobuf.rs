//! The protobuf format: `io.prometheus.client.MetricFamily` messages, each after its length.
//!
//! The only format with native histograms. Classic histograms and summaries are taken apart into
//! the series that the text format has, in the order in which Prometheus does it: `_count`,
//! `_sum`, then buckets or quantiles.

mod messages;

use std::borrow::Cow;

use model::{Labels, MetricType, NORMAL_NAN, ResetHint, is_absent, is_stale_marker};
use prost::Message as _;
use prost::encoding::decode_varint;

use super::classic::Classic;
use super::native::{AnyNative, Buckets, Native, NativeError};
use super::{Entries, Entry, EntryValue, Metadata, RawExemplar, Says, SyntaxError, number};
use crate::sample_rules::{Exposed, HistogramRules};
use messages::{BucketSpan, Exemplar, Histogram, LabelPair, Metric, MetricFamily, Timestamp};

/// Reads one page.
#[derive(Debug)]
pub(crate) struct Protobuf<'e, E> {
    entries: &'e mut E,
    rules: HistogramRules,
    key: Vec<u8>,
}

/// One metric of a family while it is taken apart.
struct Series<'m> {
    family: &'m str,
    labels: &'m [LabelPair],
    timestamp_ms: Option<i64>,
    created_ms: Option<i64>,
}

/// Between the parts of a key: no valid text has it.
const KEY_SEPARATOR: u8 = 0xff;

impl<'e, E: Entries> Protobuf<'e, E> {
    /// Will hand samples to `entries`.
    pub(crate) fn new(entries: &'e mut E, rules: HistogramRules) -> Protobuf<'e, E> {
        Protobuf { entries, rules, key: Vec::new() }
    }

    /// Reads all families of a page.
    ///
    /// # Errors
    /// When the page is malformed, or a sample is refused.
    pub(crate) fn read(&mut self, mut page: &[u8]) -> Result<(), E::Fault> {
        while !page.is_empty() {
            let length = decode_varint(&mut page).map_err(|error| malformed(&error))?;
            let length = usize::try_from(length).ok().filter(|length| *length <= page.len());
            let Some(length) = length else {
                return Err(SyntaxError("unexpected EOF".to_owned()).into());
            };
            let (message, rest) = page.split_at(length);
            let family = MetricFamily::decode(message).map_err(|error| malformed(&error))?;
            self.family(&family)?;
            page = rest;
        }
        Ok(())
    }

    fn family(&mut self, family: &MetricFamily) -> Result<(), E::Fault> {
        if family.metric.is_empty() {
            return Ok(());
        }
        let name = family.name.as_str();
        if name.is_empty() {
            return Err(SyntaxError(format!("invalid metric name: {name}")).into());
        }
        let kind = match family.r#type {
            0 => MetricType::Counter,
            1 => MetricType::Gauge,
            2 => MetricType::Summary,
            3 => MetricType::Unknown,
            4 => MetricType::Histogram,
            5 => MetricType::GaugeHistogram,
            other => {
                let text = format!("unknown metric type for metric {name:?}: {other}");
                return Err(SyntaxError(text).into());
            }
        };
        let says = [
            Says::Help(family.help.as_bytes()),
            Says::Unit(family.unit.as_bytes()),
            Says::Type(kind),
        ];
        self.entries.metadata(&says.map(|says| Metadata { family: name.as_bytes(), says }));
        for metric in &family.metric {
            self.metric(name, kind, metric)?;
        }
        Ok(())
    }

    fn metric(&mut self, family: &str, kind: MetricType, metric: &Metric) -> Result<(), E::Fault> {
        let timestamp_ms = Some(metric.timestamp_ms).filter(|ms| *ms != 0);
        let created = match kind {
            MetricType::Counter => metric.counter.as_ref().and_then(|it| it.start_timestamp),
            MetricType::Summary => metric.summary.as_ref().and_then(|it| it.start_timestamp),
            MetricType::Histogram | MetricType::GaugeHistogram => {
                metric.histogram.as_ref().and_then(|it| it.start_timestamp)
            }
            _ => None,
        };
        let created_ms = created.map(Timestamp::milliseconds);
        let series = Series { family, labels: &metric.label, timestamp_ms, created_ms };
        match kind {
            MetricType::Counter => {
                let counter = metric.counter.clone().unwrap_or_default();
                let exemplars = counter.exemplar.iter().filter_map(exemplar).collect();
                self.float(&series, "", None, counter.value, exemplars)
            }
            MetricType::Gauge => {
                let value = metric.gauge.as_ref().map_or(0.0, |gauge| gauge.value);
                self.float(&series, "", None, value, Vec::new())
            }
            MetricType::Summary => self.summary(&series, metric),
            MetricType::Histogram | MetricType::GaugeHistogram => {
                let histogram = metric.histogram.clone().unwrap_or_default();
                self.histogram(&series, &histogram, kind == MetricType::GaugeHistogram)
            }
            MetricType::Unknown | MetricType::Info | MetricType::StateSet => {
                let value = metric.untyped.as_ref().map_or(0.0, |untyped| untyped.value);
                self.float(&series, "", None, value, Vec::new())
            }
        }
    }

    fn summary(&mut self, series: &Series<'_>, metric: &Metric) -> Result<(), E::Fault> {
        let summary = metric.summary.clone().unwrap_or_default();
        self.float(series, "_count", None, summary.sample_count as f64, Vec::new())?;
        self.float(series, "_sum", None, summary.sample_sum, Vec::new())?;
        for quantile in &summary.quantile {
            let label = ("quantile", number::format_float(quantile.quantile));
            self.float(series, "", Some(label), quantile.value, Vec::new())?;
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        series: &Series<'_>,
        histogram: &Histogram,
        is_gauge: bool,
    ) -> Result<(), E::Fault> {
        let HistogramRules { native, always_classic, classic_to_custom, .. } = self.rules;
        let reset_hint = if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown };
        if native && histogram.is_native() {
            let value = native_histogram(histogram, reset_hint)
                .map_err(|error| SyntaxError(format!("histogram {:?}: {error}", series.family)))?;
            self.native(series, histogram, value)?;
            if always_classic && !histogram.bucket.is_empty() {
                self.classic(series, histogram)?;
            }
            return Ok(());
        }
        if !classic_to_custom || always_classic {
            self.classic(series, histogram)?;
        }
        if classic_to_custom {
            let mut classic = Classic::default();
            classic.count(histogram.count());
            classic.sum(histogram.sample_sum);
            for bucket in &histogram.bucket {
                classic.bucket(bucket.upper_bound, bucket.count());
            }
            let value =
                classic.convert(reset_hint).map_err(|error| SyntaxError(error.to_string()))?;
            self.native(series, histogram, value)?;
        }
        Ok(())
    }

    /// The series that a text page has of a histogram.
    fn classic(&mut self, series: &Series<'_>, histogram: &Histogram) -> Result<(), E::Fault> {
        self.float(series, "_count", None, histogram.count(), Vec::new())?;
        self.float(series, "_sum", None, histogram.sample_sum, Vec::new())?;
        let mut ended = false;
        for bucket in histogram.bucket.iter() {
            let exemplars = bucket.exemplar.iter().filter_map(exemplar).collect();
            let label = ("le", number::format_float(bucket.upper_bound));
            self.float(series, "_bucket", Some(label), bucket.count(), exemplars)?;
            ended = bucket.upper_bound == f64::INFINITY;
            if ended {
                break;
            }
        }
        if !ended {
            let label = ("le", "+Inf".to_owned());
            self.float(series, "_bucket", Some(label), histogram.count(), Vec::new())?;
        }
        Ok(())
    }

    /// A native histogram, with those exemplars that have a timestamp.
    fn native(
        &mut self,
        series: &Series<'_>,
        histogram: &Histogram,
        value: AnyNative,
    ) -> Result<(), E::Fault> {
        let own = histogram.exemplars.iter();
        let of_buckets = histogram.bucket.iter().filter_map(|bucket| bucket.exemplar.as_ref());
        let exemplars: Vec<RawExemplar> = match histogram.exemplars.is_empty() {
            false => own.filter_map(exemplar).collect(),
            true => of_buckets.filter_map(exemplar).collect(),
        };
        let stamped = exemplars.into_iter().filter(|exemplar| exemplar.timestamp_ms.is_some());
        self.entry(series, "", None, EntryValue::Histogram(Box::new(value)), stamped.collect())
    }

    fn float(
        &mut self,
        series: &Series<'_>,
        suffix: &str,
        label: Option<(&str, String)>,
        value: f64,
        exemplars: Vec<RawExemplar>,
    ) -> Result<(), E::Fault> {
        // What is not a number stays as it came, but nobody can forge what only we may say.
        let forged = is_stale_marker(value) || is_absent(value);
        let value = if forged { NORMAL_NAN } else { value };
        self.entry(series, suffix, label, EntryValue::Float(value), exemplars)
    }

    fn entry(
        &mut self,
        series: &Series<'_>,
        suffix: &str,
        label: Option<(&str, String)>,
        value: EntryValue,
        exemplars: Vec<RawExemplar>,
    ) -> Result<(), E::Fault> {
        let name = format!("{}{suffix}", series.family);
        let mut labels: Vec<(Cow<'_, str>, Cow<'_, str>)> = series
            .labels
            .iter()
            .map(|label| (label.name.as_str().into(), label.value.as_str().into()))
            .collect();
        labels.extend(label.map(|(name, value)| (name.into(), value.into())));
        labels.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.key.clear();
        self.key.extend_from_slice(name.as_bytes());
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            self.key.push(KEY_SEPARATOR);
            self.key.extend_from_slice(text.as_bytes());
        }
        let Series { timestamp_ms, created_ms, .. } = *series;
        self.entries.entry(Entry {
            key: &self.key,
            exposed: Exposed { name: &name, labels: &labels },
            value,
            timestamp_ms,
            exemplars,
            created_ms,
        })
    }
}

/// The native part of a histogram.
fn native_histogram(
    histogram: &Histogram,
    reset_hint: ResetHint,
) -> Result<AnyNative, NativeError> {
    fn spans(spans: &[BucketSpan]) -> impl Iterator<Item = (i32, u32)> + '_ {
        spans.iter().map(|span| (span.offset, span.length))
    }
    let Histogram { schema, zero_threshold, sample_sum: sum, .. } = *histogram;
    let (positive_span, negative_span) = (&histogram.positive_span, &histogram.negative_span);
    if histogram.is_float() {
        let side = |name, span: &[BucketSpan], counts: &[f64]| {
            let mut buckets = Buckets::from_spans(name, spans(span), counts)?;
            buckets.compact();
            Ok::<_, NativeError>(buckets)
        };
        return Ok(AnyNative::Float(Native {
            reset_hint,
            schema,
            zero_threshold,
            zero_count: histogram.zero_count_float,
            count: histogram.sample_count_float,
            sum,
            positive: side("positive", positive_span, &histogram.positive_count)?,
            negative: side("negative", negative_span, &histogram.negative_count)?,
            custom_bounds: Vec::new(),
        }));
    }
    let side = |name, span: &[BucketSpan], deltas: &[i64]| {
        let mut count = 0_i64;
        let counts = deltas.iter().map(|delta| {
            count = count.wrapping_add(*delta);
            count
        });
        let mut buckets = Buckets::from_spans(name, spans(span), &counts.collect::<Vec<_>>())?;
        buckets.compact();
        Ok::<_, NativeError>(buckets)
    };
    Ok(AnyNative::Integer(Native {
        reset_hint,
        schema,
        zero_threshold,
        zero_count: histogram.zero_count as i64,
        count: histogram.sample_count as i64,
        sum,
        positive: side("positive", positive_span, &histogram.positive_delta)?,
        negative: side("negative", negative_span, &histogram.negative_delta)?,
        custom_bounds: Vec::new(),
    }))
}

/// An exemplar, unless it is one that Prometheus drops.
fn exemplar(exemplar: &Exemplar) -> Option<RawExemplar> {
    let pairs = exemplar.label.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    let labels: Labels = super::exemplar_labels(pairs)?;
    let timestamp_ms = exemplar.timestamp.map(Timestamp::milliseconds);
    Some(RawExemplar { labels, value: exemplar.value, timestamp_ms })
}

fn malformed(error: &prost::DecodeError) -> SyntaxError {
    SyntaxError(format!("proto: {error}"))
}

#[cfg(test)]
mod tests;
