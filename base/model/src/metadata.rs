//! What a target says about its metric families: type, help and unit.

use std::fmt;
use std::sync::Arc;

/// The type of a metric family, as in Prometheus' `model.MetricType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum MetricType {
    /// No `# TYPE` line, or `untyped`.
    #[default]
    Unknown,
    /// Only grows, or starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets.
    Histogram,
    /// Buckets that go up and down.
    GaugeHistogram,
    /// Quantiles worked out by the target.
    Summary,
    /// A constant 1 whose labels are the information.
    Info,
    /// One series a state; the one whose value is 1 holds.
    StateSet,
}

impl MetricType {
    /// Every type, in the order of remote write 2.0's enumeration.
    pub const ALL: [MetricType; 8] = [
        MetricType::Unknown,
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::GaugeHistogram,
        MetricType::Summary,
        MetricType::Info,
        MetricType::StateSet,
    ];

    /// Prometheus' word for it, as its API prints it: `unknown`, `counter`, … `stateset`.
    pub fn name(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
        }
    }

    /// The type that `name` says, if it is one of [`MetricType::name`]'s words.
    pub fn from_name(name: &str) -> Option<MetricType> {
        MetricType::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metric family as its target describes it. Shared between targets that say the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Family {
    /// The family's name, without suffixes such as `_bucket`; in OpenMetrics without `_total`.
    pub name: Arc<str>,
    /// Its type.
    pub kind: MetricType,
    /// Its help text, unescaped; empty if none.
    pub help: Arc<str>,
    /// Its unit; empty if none.
    pub unit: Arc<str>,
}
