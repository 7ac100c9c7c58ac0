//! What the scraper counts about itself: Prometheus' names where Prometheus has the metric.
//!
//! One struct for each subject, made and registered in one go; all of them are handles.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kit::metrics::SelfMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub(crate) use discovery::{DiscoveryMetrics, MechanismLabel};
pub(crate) use pool::{JobLabel, PoolMetrics};
pub(crate) use scrape::ScrapeMetrics;

mod discovery;
mod pool;
mod scrape;
mod summary;

/// The buckets of Prometheus' own interval histograms, in seconds.
const BUCKETS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

type Seconds = Gauge<f64, AtomicU64>;
type NoLabels = [(&'static str, &'static str); 0];
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All of them. Clone freely.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) discovery: DiscoveryMetrics,
    pub(crate) pool: PoolMetrics,
    pub(crate) scrape: ScrapeMetrics,
}

/// One scrape interval, as Go prints it (`1m0s`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct IntervalLabel {
    pub(crate) interval: Arc<str>,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything. Once per process.
    pub(crate) fn register(metrics: &SelfMetrics) -> Metrics {
        metrics.register(|to| Metrics {
            discovery: DiscoveryMetrics::register(to),
            pool: PoolMetrics::register(to),
            scrape: ScrapeMetrics::register(to),
        })
    }
}

/// Registers a new counter; `_total` is added to its name.
fn counter(to: &mut Registry, name: &str, help: &str) -> Counter {
    registered(to, name, help, Counter::default())
}

/// Registers `metric`.
fn registered<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register(name, help, metric.clone());
    metric
}

/// Registers new histograms in seconds.
fn histograms<L>(to: &mut Registry, name: &str, help: &str) -> Histograms<L>
where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static,
{
    let make: fn() -> Histogram = || Histogram::new(BUCKETS);
    registered(to, name, help, Family::new_with_constructor(make))
}

// === impl IntervalLabel ===

impl IntervalLabel {
    /// The label of this interval.
    pub(crate) fn new(interval: Duration) -> IntervalLabel {
        IntervalLabel { interval: go_duration(interval).into() }
    }
}

/// A duration as Go prints it: `500ms`, `15s`, `1m0s`, `1h0m0s`.
fn go_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms < 1000 {
        return if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") };
    }
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let seconds = (ms % 60_000) as f64 / 1000.0;
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_printed_as_go_does() {
        let check = |ms: u64, want: &str| assert_eq!(go_duration(Duration::from_millis(ms)), want);
        check(500, "500ms");
        check(1_500, "1.5s");
        check(15_000, "15s");
        check(60_000, "1m0s");
        check(3_661_000, "1h1m1s");
    }

    #[test]
    fn every_metric_is_exposed_under_its_prometheus_name() {
        let own = SelfMetrics::new();
        let metrics = Metrics::register(&own);
        let job = JobLabel { scrape_job: "j".into() };
        metrics.pool.synced(&job, Duration::from_millis(20), 2, 3);
        let interval = IntervalLabel::new(Duration::from_secs(5));
        metrics.scrape.interval(&interval, Duration::from_secs(5));
        let text = own.expose().unwrap();
        for line in [
            "prometheus_target_scrape_pools_total 0",
            "prometheus_target_scrape_pool_sync_total{scrape_job=\"j\"} 1",
            "prometheus_target_sync_failed_total{scrape_job=\"j\"} 2",
            "prometheus_target_scrape_pool_targets{scrape_job=\"j\"} 3",
            "prometheus_target_interval_length_seconds{interval=\"5s\",quantile=\"0.99\"} 5.0",
            "prometheus_target_interval_length_seconds_count{interval=\"5s\"} 1",
            "prometheus_target_scrapes_sample_out_of_order_total 0",
            "prometheus_sd_updates_total{name=\"scrape\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        metrics.pool.forget(&job);
        assert!(!own.expose().unwrap().contains("scrape_job"));
    }
}
