//! Summaries, which the metrics library has not: quantiles of what was seen lately.
//!
//! Exposed as the series that Prometheus' own summaries have (`quantile` label, `_sum`, `_count`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// The quantiles that Prometheus' own summaries have.
const QUANTILES: [(f64, &str); 5] =
    [(0.01, "0.01"), (0.05, "0.05"), (0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

/// Observations that quantiles are taken of, per label set.
const WINDOW: usize = 512;

/// A summary in seconds for each label set. Clone freely.
pub(super) struct Summary<L> {
    name: &'static str,
    /// A lock, because many loops observe; held for one write, or a copy when exposed.
    windows: Arc<Mutex<HashMap<L, Window>>>,
}

/// What one label set has seen.
#[derive(Debug, Clone, Default)]
struct Window {
    latest: Vec<f32>,
    next: usize,
    count: u64,
    sum: f64,
}

/// Labels of one quantile.
struct WithQuantile<'l, L>(&'l L, &'static str);

// === impl Summary ===

impl<L> Clone for Summary<L> {
    fn clone(&self) -> Self {
        Summary { name: self.name, windows: Arc::clone(&self.windows) }
    }
}

impl<L> fmt::Debug for Summary<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<L: Clone + Eq + Hash> Summary<L> {
    /// A new summary; `name` ends with its unit.
    pub(super) fn register(to: &mut Registry, name: &'static str) -> Summary<L>
    where
        L: EncodeLabelSet + Send + Sync + 'static,
    {
        let summary = Summary { name, windows: Arc::default() };
        to.register_collector(Box::new(summary.clone()));
        summary
    }

    pub(super) fn observe(&self, labels: &L, took: Duration) {
        let mut windows = self.lock();
        match windows.get_mut(labels) {
            Some(window) => window.observe(took.as_secs_f64()),
            None => windows.entry(labels.clone()).or_default().observe(took.as_secs_f64()),
        }
    }

    pub(super) fn forget(&self, labels: &L) {
        self.lock().remove(labels);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<L, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Collector for Summary<L>
where
    L: EncodeLabelSet + Clone + Eq + Hash + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let windows: Vec<(L, Window)> =
            self.lock().iter().map(|(labels, window)| (labels.clone(), window.clone())).collect();
        let help = "Durations in seconds";
        let mut family = encoder.encode_descriptor(self.name, help, None, MetricType::Unknown)?;
        for (labels, window) in &windows {
            for (text, value) in window.quantiles() {
                family.encode_family(&WithQuantile(labels, text))?.encode_gauge(&value)?;
            }
        }
        for (suffix, of) in [("sum", Window::sum as fn(&Window) -> f64), ("count", Window::count)] {
            let name = format!("{}_{suffix}", self.name);
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Unknown)?;
            for (labels, window) in &windows {
                family.encode_family(labels)?.encode_gauge(&of(window))?;
            }
        }
        Ok(())
    }
}

// === impl Window ===

impl Window {
    fn observe(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        match self.latest.get_mut(self.next) {
            Some(oldest) => *oldest = seconds as f32,
            None => self.latest.push(seconds as f32),
        }
        self.next = (self.next + 1) % WINDOW;
    }

    fn quantiles(&self) -> BTreeMap<&'static str, f64> {
        let mut sorted = self.latest.clone();
        sorted.sort_by(f32::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = |share: f64| sorted.get((share * last as f64).round() as usize);
        let of = |(share, text)| (text, at(share).map_or(f64::NAN, |seconds| f64::from(*seconds)));
        QUANTILES.into_iter().map(of).collect()
    }

    fn sum(&self) -> f64 {
        self.sum
    }

    fn count(&self) -> f64 {
        self.count as f64
    }
}

// === impl WithQuantile ===

impl<L: EncodeLabelSet> EncodeLabelSet for WithQuantile<'_, L> {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> Result<(), fmt::Error> {
        self.0.encode(encoder)?;
        EncodeLabel::encode(&("quantile", self.1), encoder.encode_label())
    }
}
