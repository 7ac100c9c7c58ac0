//! What an agent of Prometheus says of parts that have nothing to do in it: whether it is ready,
//! federation, alerting, and what its pages and its log never have to report here.
//!
//! Dashboards and alerts ask for them; each is true, and most are 0 for ever.

use std::fmt;
use std::sync::Arc;

use kit::metrics::SelfMetrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;

use super::lifecycle::{Readiness, Stage};

/// Counts the requests for federation, all of which fail. Registers the rest.
pub(super) fn register(metrics: &SelfMetrics, readiness: Arc<Readiness>) -> Counter {
    let federation_errors = Counter::default();
    metrics.register(|registry| {
        registry.register(
            "prometheus_web_federation_errors",
            "Requests for federation, all of which fail: an agent keeps no samples",
            federation_errors.clone(),
        );
        registry.register_collector(Box::new(Constants { readiness }));
    });
    federation_errors
}

const GAUGES: &[(&str, &str)] = &[
    (
        "prometheus_notifications_alertmanagers_discovered",
        "Alertmanagers that are known: none, an agent does not alert",
    ),
    ("prometheus_notifications_queue_capacity", "Alerts that may wait: none"),
    ("prometheus_notifications_queue_length", "Alerts that wait: none"),
    (
        "prometheus_api_remote_read_queries",
        "Remote reads under way: none, there is nothing to read",
    ),
];

const COUNTERS: &[(&str, &str)] = &[
    ("prometheus_notifications_dropped", "Alerts that were dropped: none, an agent does not alert"),
    (
        "prometheus_web_federation_warnings",
        "Warnings of federation: none, an agent keeps no samples",
    ),
    (
        "prometheus_target_scrapes_cache_flush_forced",
        "Caches of targets that were flushed: none, a cache is as large as the last page",
    ),
];

#[derive(Debug)]
struct Constants {
    readiness: Arc<Readiness>,
}

impl Collector for Constants {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let is_ready = self.readiness.get() == Stage::Working;
        let ready = ("prometheus_ready", "Whether /-/ready says so", f64::from(u8::from(is_ready)));
        let gauges = GAUGES.iter().map(|(name, help)| (*name, *help, 0.0));
        for (name, help, value) in std::iter::once(ready).chain(gauges) {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        for (name, help) in COUNTERS {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(0_u64).encode(counter)?;
        }
        Ok(())
    }
}
