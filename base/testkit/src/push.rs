//! One request of remote write, decoded: the same shape for 1.0 and 2.0.

use std::sync::Arc;

use prost::Message as _;
use tokio::time::Instant;

use crate::samples::LabelSet;
use crate::server::Request;
use crate::wire::{Count, Request2, TimeSeries, TimeSeries2, WriteRequest, ZeroCount};

/// One request, decoded.
#[derive(Debug, Clone)]
pub struct Push {
    /// When it had come in whole.
    pub at: Instant,
    /// Method, path, headers; the body is kept as it was sent.
    pub request: Request,
    /// Which of the two it was.
    pub version: Version,
    /// Its series, in order.
    pub series: Vec<Series>,
    /// The metadata of 1.0, which travels apart from the series.
    pub metadata: Vec<Metadata>,
}

/// Of remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.0
    One,
    /// 2.0
    Two,
}

/// One series of a request. A request may have the same one several times.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its labels. Decoding fails if they are not sorted, or if one is there twice.
    pub labels: Arc<LabelSet>,
    /// `(timestamp_ms, value)`, in order.
    pub samples: Vec<(i64, f64)>,
    /// Native histograms.
    pub histograms: Vec<Histogram>,
    /// Exemplars.
    pub exemplars: Vec<Exemplar>,
    /// The metadata of 2.0.
    pub metadata: Option<Metadata>,
    /// The start timestamp in milliseconds of each sample (2.0), 0 where there is none.
    pub starts_ms: Vec<i64>,
}

/// A native histogram, as the wire has it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// −4 … 8, or −53 for custom bounds.
    pub schema: i32,
    /// Whether the counts travelled as floats.
    pub float: bool,
    /// Number of observations.
    pub count: f64,
    /// Sum of observations; compare by bits, it is a stale marker when the series ends.
    pub sum: f64,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// `(offset, length)` of the positive buckets.
    pub positive_spans: Vec<(i32, u32)>,
    /// Positive buckets: deltas if `float` is false, counts otherwise.
    pub positive: Vec<f64>,
    /// `(offset, length)` of the negative buckets.
    pub negative_spans: Vec<(i32, u32)>,
    /// Negative buckets: deltas if `float` is false, counts otherwise.
    pub negative: Vec<f64>,
    /// Bounds for schema −53.
    pub custom_bounds: Vec<f64>,
    /// 0 unknown, 1 yes, 2 no, 3 gauge.
    pub reset_hint: i32,
    /// Milliseconds since the epoch, 0 if there is none (2.0).
    pub start_ms: i64,
}

/// An exemplar.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its own labels.
    pub labels: LabelSet,
    /// The observation.
    pub value: f64,
    /// Milliseconds since the epoch, 0 if there is none.
    pub timestamp_ms: i64,
}

/// What a metric is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The metric family's name; empty in 2.0, where the series says it.
    pub family: String,
    /// The type's number in the protobuf definition.
    pub kind: i32,
    /// Its help text.
    pub help: String,
    /// Its unit.
    pub unit: String,
}

// === impl Push ===

impl Push {
    /// Number of samples, histograms included.
    pub fn n_samples(&self) -> usize {
        self.series.iter().map(|series| series.samples.len() + series.histograms.len()).sum()
    }

    /// What a receiver of 2.0 says when it has written all of it.
    pub(crate) fn confirmation(&self) -> [(&'static str, usize); 3] {
        let sum = |of: fn(&Series) -> usize| self.series.iter().map(of).sum();
        [
            ("X-Prometheus-Remote-Write-Samples-Written", sum(|series| series.samples.len())),
            ("X-Prometheus-Remote-Write-Histograms-Written", sum(|s| s.histograms.len())),
            ("X-Prometheus-Remote-Write-Exemplars-Written", sum(|series| series.exemplars.len())),
        ]
    }
}

/// Decodes a request; the error says what is wrong with it.
pub(crate) fn decode(request: Request, at: Instant) -> Result<Push, String> {
    let content_type = request.header("content-type").unwrap_or_default().to_owned();
    let version = if content_type.contains("io.prometheus.write.v2.Request") {
        Version::Two
    } else if content_type.starts_with("application/x-protobuf") {
        Version::One
    } else {
        return Err(format!("content type {content_type:?}"));
    };
    let bytes = match request.header("content-encoding") {
        Some("snappy") => {
            let mut decoder = snap::raw::Decoder::new();
            decoder.decompress_vec(&request.body).map_err(|error| format!("snappy: {error}"))?
        }
        other => return Err(format!("content encoding {other:?}")),
    };
    let (series, metadata): (Vec<Series>, _) = match version {
        Version::One => {
            let message = WriteRequest::decode(&*bytes).map_err(|error| error.to_string())?;
            let metadata = message.metadata.into_iter().map(|metadata| Metadata {
                family: metadata.metric_family_name,
                kind: metadata.kind,
                help: metadata.help,
                unit: metadata.unit,
            });
            let metadata = metadata.collect();
            let series = message.timeseries.into_iter().map(series_of_1);
            (series.collect::<Result<_, _>>()?, metadata)
        }
        Version::Two => {
            let message = Request2::decode(&*bytes).map_err(|error| error.to_string())?;
            check_symbols(&message.symbols)?;
            let symbols = &message.symbols;
            let series = message.timeseries.into_iter().map(|series| series_of_2(symbols, series));
            (series.collect::<Result<_, _>>()?, Vec::new())
        }
    };
    series.iter().try_for_each(check_series)?;
    Ok(Push { at, request, version, series, metadata })
}

fn check_symbols(symbols: &[String]) -> Result<(), String> {
    if !symbols.first().is_some_and(String::is_empty) {
        return Err("the first symbol is not the empty one".to_owned());
    }
    let mut known = symbols.to_vec();
    known.sort();
    match known.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(format!("the symbol {:?} twice", two[0])),
        None => Ok(()),
    }
}

fn check_series(series: &Series) -> Result<(), String> {
    if !series.labels.contains_key("__name__") {
        return Err(format!("a series without a name: {series:?}"));
    }
    if !series.samples.is_empty() && !series.histograms.is_empty() {
        return Err(format!("samples and histograms in one series: {series:?}"));
    }
    if !series.samples.windows(2).all(|two| two[0].0 <= two[1].0) {
        return Err(format!("samples out of order: {series:?}"));
    }
    Ok(())
}

fn series_of_1(series: TimeSeries) -> Result<Series, String> {
    let pairs = |labels: Vec<crate::wire::Label>| {
        labels.into_iter().map(|label| (label.name, label.value)).collect::<Vec<_>>()
    };
    let exemplars = series.exemplars.into_iter().map(|exemplar| Exemplar {
        labels: pairs(exemplar.labels).into_iter().collect(),
        value: exemplar.value,
        timestamp_ms: exemplar.timestamp_ms,
    });
    Ok(Series {
        exemplars: exemplars.collect(),
        labels: Arc::new(sorted(pairs(series.labels))?),
        samples: series.samples.iter().map(|s| (s.timestamp_ms, s.value)).collect(),
        starts_ms: series.samples.iter().map(|s| s.start_timestamp_ms).collect(),
        histograms: series.histograms.into_iter().map(histogram).collect(),
        metadata: None,
    })
}

fn series_of_2(symbols: &[String], series: TimeSeries2) -> Result<Series, String> {
    let exemplars = series.exemplars.iter().map(|exemplar| {
        Ok(Exemplar {
            labels: pairs_of(symbols, &exemplar.labels_refs)?.into_iter().collect(),
            value: exemplar.value,
            timestamp_ms: exemplar.timestamp_ms,
        })
    });
    let metadata = match series.metadata {
        Some(metadata) => Some(Metadata {
            family: String::new(),
            kind: metadata.kind,
            help: symbol(symbols, metadata.help_ref)?,
            unit: symbol(symbols, metadata.unit_ref)?,
        }),
        None => None,
    };
    if series.created_timestamp_ms != 0 {
        return Err("a created timestamp in the field that 2.0 no longer has".to_owned());
    }
    Ok(Series {
        exemplars: exemplars.collect::<Result<_, String>>()?,
        labels: Arc::new(sorted(pairs_of(symbols, &series.labels_refs)?)?),
        samples: series.samples.iter().map(|s| (s.timestamp_ms, s.value)).collect(),
        starts_ms: series.samples.iter().map(|s| s.start_timestamp_ms).collect(),
        histograms: series.histograms.into_iter().map(histogram).collect(),
        metadata,
    })
}

fn symbol(symbols: &[String], at: u32) -> Result<String, String> {
    symbols.get(at as usize).cloned().ok_or_else(|| format!("symbol {at} of {}", symbols.len()))
}

fn pairs_of(symbols: &[String], refs: &[u32]) -> Result<Vec<(String, String)>, String> {
    if !refs.len().is_multiple_of(2) {
        return Err(format!("{} label references", refs.len()));
    }
    refs.chunks(2).map(|pair| Ok((symbol(symbols, pair[0])?, symbol(symbols, pair[1])?))).collect()
}

/// The specification asks for label names that are sorted and unique, and values that say
/// something.
fn sorted(pairs: Vec<(String, String)>) -> Result<LabelSet, String> {
    if !pairs.windows(2).all(|two| two[0].0 < two[1].0) {
        return Err(format!("labels not sorted, or not unique: {pairs:?}"));
    }
    if pairs.iter().any(|(name, value)| name.is_empty() || value.is_empty()) {
        return Err(format!("an empty label name or value: {pairs:?}"));
    }
    Ok(pairs.into_iter().collect())
}

fn histogram(histogram: crate::wire::Histogram) -> Histogram {
    let (float, count) = match histogram.count {
        Some(Count::Float(count)) => (true, count),
        Some(Count::Int(count)) => (false, count as f64),
        None => (false, 0.0),
    };
    let zero_count = match histogram.zero_count {
        Some(ZeroCount::Float(count)) => count,
        Some(ZeroCount::Int(count)) => count as f64,
        None => 0.0,
    };
    let buckets = |deltas: Vec<i64>, counts: Vec<f64>| {
        if float { counts } else { deltas.into_iter().map(|delta| delta as f64).collect() }
    };
    let spans = |spans: Vec<crate::wire::BucketSpan>| {
        spans.into_iter().map(|span| (span.offset, span.length)).collect()
    };
    Histogram {
        timestamp_ms: histogram.timestamp_ms,
        schema: histogram.schema,
        float,
        count,
        sum: histogram.sum,
        zero_threshold: histogram.zero_threshold,
        zero_count,
        positive_spans: spans(histogram.positive_spans),
        positive: buckets(histogram.positive_deltas, histogram.positive_counts),
        negative_spans: spans(histogram.negative_spans),
        negative: buckets(histogram.negative_deltas, histogram.negative_counts),
        custom_bounds: histogram.custom_values,
        reset_hint: histogram.reset_hint,
        start_ms: histogram.start_timestamp_ms,
    }
}
