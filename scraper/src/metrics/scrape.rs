//! What is counted about scrapes.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::summary::Summary;
use super::{BUCKETS, Histograms, IntervalLabel, counter, histograms, registered};
use crate::cache::{PageCounts, PageFault};
use crate::sample_rules::RuleFault;

/// Of scrapes. Clone freely.
#[derive(Debug, Clone)]
pub(crate) struct ScrapeMetrics {
    /// Scrapes refused because of `body_size_limit`.
    pub(crate) exceeded_body_size_limit: Counter,
    /// Samples handed on, stale markers and reports included.
    pub(crate) samples: Counter,
    /// Scrape loops that hit a bug of ours and were started again.
    pub(crate) loop_panics: Counter,
    /// Lines for scrape failure logs that found no room in the queue.
    pub(crate) failure_log_dropped: Counter,
    /// Memory of what is remembered of pages.
    pub(crate) memory: MemoryMetrics,
    exceeded_sample_limit: Counter,
    exceeded_label_limits: Counter,
    exceeded_bucket_limit: Counter,
    duplicate_timestamp: Counter,
    out_of_order: Counter,
    out_of_bounds: Counter,
    interval_length: Summary<IntervalLabel>,
    interval_length_histogram: Histograms<IntervalLabel>,
    duration: Histogram,
}

/// Bytes of what is remembered of pages, by what it is for. Clone freely.
#[derive(Debug, Clone)]
pub(crate) struct MemoryMetrics {
    /// What the lines of each target mean.
    pub(crate) lines: Gauge,
    /// The series of each target.
    pub(crate) layouts: Gauge,
    /// Label pairs, which all targets share; as of the last time that a target's series changed.
    pub(crate) label_pairs: Gauge,
}

/// What memory is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PurposeLabel {
    purpose: &'static str,
}

// === impl ScrapeMetrics ===

impl ScrapeMetrics {
    pub(super) fn register(to: &mut Registry) -> ScrapeMetrics {
        let scrapes = |to: &mut Registry, name: &str, help: &str| {
            counter(to, &format!("prometheus_target_scrapes_{name}"), help)
        };
        let exceeded = |to: &mut Registry, limit: &str| {
            let help = format!("Scrapes refused because of {limit}");
            scrapes(to, &format!("exceeded_{limit}"), &help)
        };
        let dropped = |to: &mut Registry, why: &str, help: &str| {
            scrapes(to, &format!("sample_{why}"), &format!("Samples dropped: {help}"))
        };
        ScrapeMetrics {
            exceeded_body_size_limit: exceeded(to, "body_size_limit"),
            exceeded_sample_limit: exceeded(to, "sample_limit"),
            exceeded_bucket_limit: exceeded(to, "native_histogram_bucket_limit"),
            exceeded_label_limits: counter(
                to,
                "prometheus_target_scrape_pool_exceeded_label_limits",
                "Scrapes refused because of label limits",
            ),
            duplicate_timestamp: dropped(to, "duplicate_timestamp", "their series came twice"),
            out_of_order: dropped(to, "out_of_order", "not newer than the last of their series"),
            out_of_bounds: dropped(to, "out_of_bounds", "too far in the future"),
            samples: counter(
                to,
                "rollcall_scrape_samples",
                "Samples handed on, stale markers and reports included",
            ),
            loop_panics: counter(
                to,
                "rollcall_scrape_loop_panics",
                "Scrape loops that hit a bug and were started again",
            ),
            failure_log_dropped: counter(
                to,
                "rollcall_scrape_failure_log_dropped_lines",
                "Lines for scrape failure logs that found no room in the queue",
            ),
            memory: MemoryMetrics::register(to),
            interval_length: Summary::register(to, "prometheus_target_interval_length_seconds"),
            interval_length_histogram: histograms(
                to,
                "prometheus_target_interval_length_histogram_seconds",
                "Time between scrapes of a target",
            ),
            duration: registered(
                to,
                "prometheus_target_scrape_duration_seconds",
                "Time from the start of a scrape until its samples were handed on",
                Histogram::new(BUCKETS),
            ),
        }
    }

    /// A page was read, or refused with these counts.
    pub(crate) fn read(&self, counts: &PageCounts) {
        self.duplicate_timestamp.inc_by(counts.duplicates);
        self.out_of_order.inc_by(counts.out_of_order);
        self.out_of_bounds.inc_by(counts.out_of_bounds);
    }

    /// A page was refused.
    pub(crate) fn refused(&self, fault: &PageFault) {
        let counter = match fault {
            PageFault::SampleLimit => &self.exceeded_sample_limit,
            PageFault::BucketLimit => &self.exceeded_bucket_limit,
            PageFault::Rule(
                RuleFault::TooManyLabels { .. }
                | RuleFault::NameTooLong { .. }
                | RuleFault::ValueTooLong { .. },
            ) => &self.exceeded_label_limits,
            PageFault::Rule(_) | PageFault::Syntax(_) | PageFault::Histogram(_) => return,
        };
        counter.inc();
    }

    /// A target was scraped `since` after its last scrape began.
    pub(crate) fn interval(&self, interval: &IntervalLabel, since: Duration) {
        self.interval_length.observe(interval, since);
        self.interval_length_histogram.get_or_create(interval).observe(since.as_secs_f64());
    }

    /// A scrape is over.
    pub(crate) fn finished(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
    }
}

// === impl MemoryMetrics ===

impl MemoryMetrics {
    fn register(to: &mut Registry) -> MemoryMetrics {
        let family: Family<PurposeLabel, Gauge> = registered(
            to,
            "rollcall_scrape_memory_bytes",
            "Memory of what is remembered of pages",
            Family::default(),
        );
        let of = |purpose| family.get_or_create(&PurposeLabel { purpose }).clone();
        MemoryMetrics { lines: of("lines"), layouts: of("layouts"), label_pairs: of("label_pairs") }
    }
}
