//! What a scrape configuration and a target make of an exposed series: its final labels, or no
//! series at all, or a reason why the whole scrape fails.
//!
//! Order (Prometheus `scrape/scrape.go`): target labels and `honor_labels`, metric relabelling,
//! mandatory and valid names, label limits. Decided once per line, when a line is new.
//! Not here: `sample_limit`, timestamps and staleness (`cache.rs`), which are about samples.

use std::sync::Arc;

use model::{Labels, LabelsBuilder};

/// Everything that decides what becomes of the series of one target's pages.
#[derive(Debug, Clone)]
pub(crate) struct SampleRules {
    /// The target's public labels (no `__…`): every series of the target carries them.
    pub(crate) target_labels: Labels,
    /// A label that the target exposes wins over the target label of the same name.
    pub(crate) honor_labels: bool,
    /// Timestamps that the target exposes are taken.
    pub(crate) honor_timestamps: bool,
    /// Series with timestamps of their own get stale markers too.
    pub(crate) track_timestamps_staleness: bool,
    /// `metric_relabel_configs`.
    pub(crate) relabel: Relabel,
    /// What is too much.
    pub(crate) limits: SampleLimits,
    /// Which metric and label names are valid.
    pub(crate) names: NameScheme,
    /// What to do with histograms.
    pub(crate) histograms: HistogramRules,
    /// `_created` lines are start timestamps, not series (feature flags of Prometheus).
    pub(crate) start_timestamps: bool,
}

/// Changes the labels of a series; false drops it.
#[derive(Clone)]
pub(crate) struct Relabel(Arc<dyn Fn(&mut LabelsBuilder) -> bool + Send + Sync>);

/// Limits of one scrape; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SampleLimits {
    /// Samples after relabelling (`sample_limit`).
    pub(crate) samples: u64,
    /// Labels of a series, `__name__` included (`label_limit`).
    pub(crate) labels: u64,
    /// Bytes of a label name (`label_name_length_limit`).
    pub(crate) label_name_bytes: u64,
    /// Bytes of a label value (`label_value_length_limit`).
    pub(crate) label_value_bytes: u64,
    /// Buckets of a native histogram (`native_histogram_bucket_limit`).
    pub(crate) histogram_buckets: u64,
}

/// The switches of `scrape_configs` about histograms.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct HistogramRules {
    /// Native histograms are read (`scrape_native_histograms`).
    pub(crate) native: bool,
    /// Classic series are read even where there is a native histogram, or one was made of them
    /// (`always_scrape_classic_histograms`).
    pub(crate) always_classic: bool,
    /// Classic histograms become native ones with custom buckets
    /// (`convert_classic_histograms_to_nhcb`).
    pub(crate) classic_to_custom: bool,
    /// Smallest growth factor from bucket to bucket (`native_histogram_min_bucket_factor`);
    /// 0 for any.
    pub(crate) min_bucket_factor: f64,
}

/// Which metric and label names are valid (`metric_name_validation_scheme`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameScheme {
    /// Any UTF-8 that is not empty.
    #[default]
    Utf8,
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*` for metrics, the same without colons for labels.
    Legacy,
}
