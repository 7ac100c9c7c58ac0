//! What is counted about discovery.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::summary::Summary;
use super::{Histograms, NoLabels, Seconds, counter, histograms, registered};

/// One mechanism in one job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MechanismLabel {
    pub(crate) mechanism: &'static str,
    pub(crate) config: Arc<str>,
}

/// The targets of one job, as discovery sees them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DiscoveredLabel {
    name: &'static str,
    config: Arc<str>,
}

/// The one discovery manager that scraping has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ManagerLabel {
    name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabel {
    filename: String,
}

const MANAGER: ManagerLabel = ManagerLabel { name: "scrape" };

/// Of discovery. Clone freely.
#[derive(Debug, Clone)]
pub(crate) struct DiscoveryMetrics {
    pub(crate) file_read_errors: Counter,
    pub(crate) file_watcher_errors: Counter,
    pub(crate) http_failures: Counter,
    pub(crate) dns_lookups: Counter,
    pub(crate) dns_lookup_failures: Counter,
    pub(crate) consul_failures: Counter,
    pub(crate) nomad_failures: Counter,
    pub(crate) kubernetes_failures: Counter,
    pub(crate) kubernetes_events: Counter,
    consul_duration: Summary<NoLabels>,
    discovered_targets: Family<DiscoveredLabel, Gauge>,
    received_updates: Family<ManagerLabel, Counter>,
    sent_updates: Family<ManagerLabel, Counter>,
    delayed_updates: Family<ManagerLabel, Counter>,
    refresh_failures: Family<MechanismLabel, Counter>,
    refresh_duration: Summary<MechanismLabel>,
    refresh_duration_histogram: Histograms<MechanismLabel>,
    file_mtime: Family<FileLabel, Seconds>,
    file_scan: Summary<NoLabels>,
}

// === impl DiscoveryMetrics ===

impl DiscoveryMetrics {
    pub(super) fn register(to: &mut Registry) -> DiscoveryMetrics {
        let of_sd = |to: &mut Registry, name: &str, help: &str| {
            counter(to, &format!("prometheus_sd_{name}"), help)
        };
        let updates = |to: &mut Registry, name: &str, help: &str| {
            let family = Family::<ManagerLabel, Counter>::default();
            drop(family.get_or_create(&MANAGER));
            registered(to, &format!("prometheus_sd_{name}"), help, family)
        };
        let failed = Family::<ManagerLabel, Gauge>::default();
        failed.get_or_create(&MANAGER).set(0); // a section that is wrong is a bad configuration
        let help = "Discovery sections that could not be started";
        registered(to, "prometheus_sd_failed_configs", help, failed);
        DiscoveryMetrics {
            file_read_errors: of_sd(to, "file_read_errors", "Target files that cannot be used"),
            file_watcher_errors: of_sd(to, "file_watcher_errors", "Folders that failed a watch"),
            http_failures: of_sd(to, "http_failures", "Failures of HTTP discovery"),
            dns_lookups: of_sd(to, "dns_lookups", "Names asked for by DNS discovery"),
            dns_lookup_failures: of_sd(to, "dns_lookup_failures", "Names whose servers failed"),
            consul_failures: of_sd(to, "consul_rpc_failures", "Failures of Consul discovery"),
            nomad_failures: of_sd(to, "nomad_failures", "Failures of Nomad discovery"),
            kubernetes_failures: of_sd(
                to,
                "kubernetes_failures",
                "Failures of Kubernetes discovery",
            ),
            kubernetes_events: counter(
                to,
                "rollcall_discovery_kubernetes_events",
                "Changes of objects that Kubernetes told us",
            ),
            consul_duration: Summary::register(to, "prometheus_sd_consul_rpc_duration_seconds"),
            discovered_targets: registered(
                to,
                "prometheus_sd_discovered_targets",
                "Targets discovered, before relabelling",
                Family::default(),
            ),
            received_updates: updates(to, "received_updates", "Answers of providers"),
            sent_updates: updates(to, "updates", "Times answers were applied to pools"),
            delayed_updates: updates(to, "updates_delayed", "Answers that had to wait"),
            refresh_failures: registered(
                to,
                "prometheus_sd_refresh_failures",
                "Failures of polled discovery",
                Family::default(),
            ),
            refresh_duration: Summary::register(to, "prometheus_sd_refresh_duration_seconds"),
            refresh_duration_histogram: histograms(
                to,
                "prometheus_sd_refresh_duration_histogram_seconds",
                "Time of one poll of discovery",
            ),
            file_mtime: registered(
                to,
                "prometheus_sd_file_mtime_seconds",
                "When the target file was changed, as of its last reading",
                Family::default(),
            ),
            file_scan: Summary::register(to, "prometheus_sd_file_scan_duration_seconds"),
        }
    }

    /// A polled provider has answered or failed.
    pub(crate) fn refreshed(&self, label: &MechanismLabel, took: Duration, failed: bool) {
        self.refresh_failures.get_or_create(label).inc_by(u64::from(failed));
        self.refresh_duration.observe(label, took);
        self.refresh_duration_histogram.get_or_create(label).observe(took.as_secs_f64());
    }

    /// The provider is gone.
    pub(crate) fn forget_provider(&self, label: &MechanismLabel) {
        self.refresh_failures.remove(label);
        self.refresh_duration.forget(label);
        self.refresh_duration_histogram.remove(label);
    }

    /// A provider had news.
    pub(crate) fn received(&self) {
        self.received_updates.get_or_create(&MANAGER).inc();
    }

    /// News wait for their turn.
    pub(crate) fn delayed(&self) {
        self.delayed_updates.get_or_create(&MANAGER).inc();
    }

    /// News were applied to the pools.
    pub(crate) fn sent(&self) {
        self.sent_updates.get_or_create(&MANAGER).inc();
    }

    /// The targets of a job, before relabelling.
    pub(crate) fn discovered(&self, job: &Arc<str>, targets: usize) {
        let label = DiscoveredLabel { name: MANAGER.name, config: Arc::clone(job) };
        self.discovered_targets.get_or_create(&label).set(targets as i64);
    }

    /// The job is gone.
    pub(crate) fn forget_job(&self, job: &Arc<str>) {
        let label = DiscoveredLabel { name: MANAGER.name, config: Arc::clone(job) };
        self.discovered_targets.remove(&label);
    }

    /// A target file was read.
    pub(crate) fn file_read(&self, path: &Path, changed: SystemTime) {
        let filename = path.to_string_lossy().into_owned();
        let seconds = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.file_mtime.get_or_create(&FileLabel { filename }).set(seconds);
    }

    /// A target file is no longer there.
    pub(crate) fn file_gone(&self, path: &Path) {
        self.file_mtime.remove(&FileLabel { filename: path.to_string_lossy().into_owned() });
    }

    /// Consul has answered a question, or failed to.
    pub(crate) fn consul_asked(&self, took: Duration) {
        self.consul_duration.observe(&[], took);
    }

    /// All target files of a section were read.
    pub(crate) fn file_scan(&self, took: Duration) {
        self.file_scan.observe(&[], took);
    }
}
