//! What a scrape configuration and a target make of an exposed series: its final labels, or no
//! series at all, or a reason why the whole scrape fails.
//!
//! Order (Prometheus `scrape/scrape.go`): target labels and `honor_labels`, metric relabelling,
//! mandatory and valid names, label limits. Decided once per line, when a line is new.
//! Not here: `sample_limit`, timestamps and staleness (`cache.rs`), which are about samples.

use std::borrow::Cow;
use std::sync::Arc;

use model::{Labels, LabelsBuilder, NameScheme, Rule, relabel};
use smallvec::SmallVec;

use crate::exposition::Format;

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
    pub(crate) relabel: Arc<[Rule]>,
    /// What is too much.
    pub(crate) limits: SampleLimits,
    /// Which metric and label names are valid.
    pub(crate) names: NameScheme,
    /// What to do with histograms.
    pub(crate) histograms: HistogramRules,
    /// `_created` lines are start timestamps, not series (feature flags of Prometheus).
    pub(crate) start_timestamps: bool,
}

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

/// A series as its target exposes it: unescaped, `le` and `quantile` in canonical form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exposed<'l> {
    /// The metric name; may be empty.
    pub(crate) name: &'l str,
    /// The labels in the order of the page; names may repeat, values may be empty.
    pub(crate) labels: &'l [(Cow<'l, str>, Cow<'l, str>)],
}

/// Why a series makes its whole scrape fail, in Prometheus' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleFault {
    /// Relabelling took the name away, or there never was one.
    #[error("missing metric name (__name__ label)")]
    NoName,
    /// A metric name or a label name is not valid.
    #[error("invalid metric name or label names: {0}")]
    InvalidName(String),
    /// The target exposes a label twice.
    #[error("label name \"{0}\" is not unique: invalid sample")]
    RepeatedLabel(String),
    /// `label_limit`
    #[error("label_limit exceeded ({0})")]
    TooManyLabels(String),
    /// `label_name_length_limit`
    #[error("label_name_length_limit exceeded ({0})")]
    NameTooLong(String),
    /// `label_value_length_limit`
    #[error("label_value_length_limit exceeded ({0})")]
    ValueTooLong(String),
}

/// Characters of a name that a message shows.
const SHOWN_CHARS: usize = 50;

const METRIC_NAME: &str = "__name__";

// === impl SampleRules ===

impl SampleRules {
    /// Prometheus' defaults, for a target with these public labels.
    pub(crate) fn of_target(target_labels: Labels) -> SampleRules {
        SampleRules {
            target_labels,
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            relabel: Arc::new([]),
            limits: SampleLimits::default(),
            names: NameScheme::default(),
            histograms: HistogramRules::default(),
            start_timestamps: false,
        }
    }

    /// Whether a sample of such a page can be more than a line of it.
    pub(crate) fn reads_by_entry(&self, format: Format) -> bool {
        match format {
            Format::Protobuf => true,
            Format::Text => self.histograms.classic_to_custom,
            Format::OpenMetrics => self.histograms.classic_to_custom || self.start_timestamps,
        }
    }

    /// What becomes of an exposed series: its final labels, or none if it is dropped.
    ///
    /// # Errors
    /// When the whole scrape must fail because of it.
    pub(crate) fn decide(&self, exposed: Exposed<'_>) -> Result<Option<Labels>, RuleFault> {
        let mut labels = LabelsBuilder::default();
        labels.set(METRIC_NAME, if exposed.empties(METRIC_NAME) { "" } else { exposed.name });
        let mut repeated: SmallVec<[(&str, &str); 2]> = SmallVec::new();
        for (name, value) in exposed.labels {
            if exposed.has(name) > 1 {
                if exposed.empties(name) {
                    continue;
                }
                if !repeated.iter().any(|(known, _)| known == name) {
                    repeated.push((name, exposed.first(name)));
                }
            }
            if labels.get(name).is_empty() {
                labels.set(&**name, &**value);
            }
        }
        if self.honor_labels {
            self.add_missing(&exposed, &mut labels);
        } else {
            self.add_renaming(&mut labels);
        }
        if !relabel(&self.relabel, &mut labels) || labels.is_empty() {
            return Ok(None);
        }
        let labels = labels.build();
        self.check_names(&labels)?;
        self.limits.check(&labels)?;
        // A repeated label that a rule or the target has overwritten is repeated no more.
        match repeated.iter().find(|(name, value)| labels.get(name) == Some(value)) {
            Some((name, _)) => Err(RuleFault::RepeatedLabel((*name).to_owned())),
            None => Ok(Some(labels)),
        }
    }

    /// `honor_labels: true`: an exposed label wins, even an empty one.
    fn add_missing(&self, exposed: &Exposed<'_>, labels: &mut LabelsBuilder) {
        for (name, value) in self.target_labels.iter() {
            if exposed.has(name) == 0 {
                labels.set(name, value);
            }
        }
    }

    /// `honor_labels: false`: an exposed label gives way, and is kept as `exported_…`.
    fn add_renaming(&self, labels: &mut LabelsBuilder) {
        let mut conflicts: SmallVec<[(&str, String); 4]> = SmallVec::new();
        for (name, value) in self.target_labels.iter() {
            let existing = labels.get(name);
            if !existing.is_empty() {
                conflicts.push((name, existing.to_owned()));
            }
            labels.set(name, value);
        }
        conflicts.sort_by_key(|(name, _)| name.len());
        for (name, value) in conflicts {
            let mut free = format!("exported_{name}");
            while !labels.get(&free).is_empty() {
                free.insert_str(0, "exported_");
            }
            labels.set(free, value);
        }
    }

    fn check_names(&self, labels: &Labels) -> Result<(), RuleFault> {
        let metric = labels.get(METRIC_NAME).ok_or(RuleFault::NoName)?;
        let others = labels.iter().map(|(name, _)| name).filter(|name| *name != METRIC_NAME);
        let valid = self.names.is_metric_name(metric)
            && others.into_iter().all(|name| self.names.is_label_name(name));
        if valid { Ok(()) } else { Err(RuleFault::InvalidName(labels.to_string())) }
    }
}

// === impl SampleLimits ===

impl SampleLimits {
    fn check(&self, labels: &Labels) -> Result<(), RuleFault> {
        let metric = || shortened(labels.get(METRIC_NAME).unwrap_or_default());
        let count = labels.len() as u64;
        if self.labels > 0 && count > self.labels {
            return Err(RuleFault::TooManyLabels(format!(
                "metric: {}, number of labels: {count}, limit: {}",
                metric(),
                self.labels
            )));
        }
        for (name, value) in labels.iter() {
            let (name_bytes, value_bytes) = (name.len() as u64, value.len() as u64);
            if self.label_name_bytes > 0 && name_bytes > self.label_name_bytes {
                return Err(RuleFault::NameTooLong(format!(
                    "metric: {}, label name: {}, length: {name_bytes}, limit: {}",
                    metric(),
                    shortened(name),
                    self.label_name_bytes
                )));
            }
            if self.label_value_bytes > 0 && value_bytes > self.label_value_bytes {
                return Err(RuleFault::ValueTooLong(format!(
                    "metric: {}, label name: {}, value: {:?}, length: {value_bytes}, limit: {}",
                    metric(),
                    shortened(name),
                    shortened(value),
                    self.label_value_bytes
                )));
            }
        }
        Ok(())
    }
}

// === impl Exposed ===

impl<'l> Exposed<'l> {
    /// How often the target names the label, `__name__` included.
    fn has(&self, name: &str) -> usize {
        let named = usize::from(name == METRIC_NAME);
        named + self.labels.iter().filter(|(label, _)| label == name).count()
    }

    /// Whether the target names the label without a value: then it has none, whatever else the
    /// target says of it (Prometheus' label builder deletes it by name).
    fn empties(&self, name: &str) -> bool {
        self.labels.iter().any(|(label, value)| label == name && value.is_empty())
    }

    /// The first value of a label that the target names.
    fn first(&self, name: &str) -> &'l str {
        if name == METRIC_NAME {
            return self.name;
        }
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map_or("", |(_, value)| value)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests;
