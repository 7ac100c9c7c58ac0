//! What was received, as tests speak of it: label sets, samples, and words for both.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A label set, sorted by name.
pub type LabelSet = BTreeMap<String, String>;

/// The NaN by which a series ends (Prometheus: `model/value/value.go`).
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// One received sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its series.
    pub labels: Arc<LabelSet>,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its value; compare NaNs by [`f64::to_bits`].
    pub value: f64,
}

/// Whether `value` ends its series.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// A value in words that tell the NaNs apart.
pub fn show(value: f64) -> String {
    match value {
        _ if is_stale(value) => "stale".to_owned(),
        _ if value.is_nan() && value.to_bits() == 0x7ff8_0000_0000_0001 => "NaN".to_owned(),
        _ if value.is_nan() => format!("NaN({:#x})", value.to_bits()),
        _ => value.to_string(),
    }
}

/// The label set of these pairs.
pub fn label_set(pairs: &[(&str, &str)]) -> LabelSet {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Whether `labels` has all these pairs.
pub(crate) fn has(labels: &LabelSet, pairs: &[(&str, &str)]) -> bool {
    pairs.iter().all(|(name, value)| labels.get(*name).is_some_and(|found| found == value))
}
