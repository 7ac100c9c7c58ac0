//! What is counted about pools and their targets.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::summary::Summary;
use super::{Histograms, IntervalLabel, counter, histograms, registered};

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct JobLabel {
    pub(crate) scrape_job: Arc<str>,
}

/// Of pools. Clone freely.
#[derive(Debug, Clone)]
pub(crate) struct PoolMetrics {
    pub(crate) started: Counter,
    pub(crate) exceeded_target_limit: Counter,
    target_limit: Family<JobLabel, Gauge>,
    targets: Family<JobLabel, Gauge>,
    syncs: Family<JobLabel, Counter>,
    sync_failed: Family<JobLabel, Counter>,
    sync_length: Summary<JobLabel>,
    sync_length_histogram: Histograms<JobLabel>,
    reloads: Counter,
    reload_length: Summary<IntervalLabel>,
}

// === impl PoolMetrics ===

impl PoolMetrics {
    pub(super) fn register(to: &mut Registry) -> PoolMetrics {
        // They cannot fail here; dashboards ask for them all the same.
        let failed = "prometheus_target_scrape_pools_failed";
        counter(to, failed, "Scrape pools that could not be started");
        let failed = "prometheus_target_scrape_pool_reloads_failed";
        counter(to, failed, "Scrape pools that could not take a new configuration");
        PoolMetrics {
            started: counter(to, "prometheus_target_scrape_pools", "Scrape pools started"),
            exceeded_target_limit: counter(
                to,
                "prometheus_target_scrape_pool_exceeded_target_limit",
                "Times a pool had more targets than target_limit",
            ),
            target_limit: registered(
                to,
                "prometheus_target_scrape_pool_target_limit",
                "The target_limit of the pool",
                Family::default(),
            ),
            targets: registered(
                to,
                "prometheus_target_scrape_pool_targets",
                "Targets of the pool",
                Family::default(),
            ),
            syncs: registered(
                to,
                "prometheus_target_scrape_pool_sync",
                "Times the pool was brought in line with discovery",
                Family::default(),
            ),
            sync_failed: registered(
                to,
                "prometheus_target_sync_failed",
                "Targets that could not be made of what discovery found",
                Family::default(),
            ),
            sync_length: Summary::register(to, "prometheus_target_sync_length_seconds"),
            sync_length_histogram: histograms(
                to,
                "prometheus_target_sync_length_histogram_seconds",
                "Time to bring a pool in line with discovery",
            ),
            reloads: counter(
                to,
                "prometheus_target_scrape_pool_reloads",
                "Scrape pools given a new configuration",
            ),
            reload_length: Summary::register(to, "prometheus_target_reload_length_seconds"),
        }
    }

    /// The pool's `target_limit`.
    pub(crate) fn target_limit(&self, job: &JobLabel, limit: u64) {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.target_limit.get_or_create(job).set(limit);
    }

    /// A pool was brought in line with discovery.
    pub(crate) fn synced(&self, job: &JobLabel, took: Duration, failed: u64, targets: usize) {
        self.syncs.get_or_create(job).inc();
        self.sync_failed.get_or_create(job).inc_by(failed);
        self.targets.get_or_create(job).set(targets as i64);
        self.sync_length.observe(job, took);
        self.sync_length_histogram.get_or_create(job).observe(took.as_secs_f64());
    }

    /// A pool took a new configuration.
    pub(crate) fn reloaded(&self, interval: &IntervalLabel, took: Duration) {
        self.reloads.inc();
        self.reload_length.observe(interval, took);
    }

    /// The job is gone.
    pub(crate) fn forget(&self, job: &JobLabel) {
        self.target_limit.remove(job);
        self.targets.remove(job);
        self.syncs.remove(job);
        self.sync_failed.remove(job);
        self.sync_length.forget(job);
        self.sync_length_histogram.remove(job);
    }
}
