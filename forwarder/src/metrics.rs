//! What the forwarder counts about itself: Prometheus' names where Prometheus has the metric.
//!
//! One collector reads all destinations when it is asked, so a reload registers nothing. Values of
//! `reason` come from `ledger::Reason`. Not here: the books themselves (`ledger.rs`).

mod collector;
mod intake;
mod log_metrics;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kit::Chain;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

pub(crate) use collector::{DestinationCollector, RouterCollector};
pub(crate) use intake::Intake;

use crate::block::Counts;
use crate::module::SendError;
use crate::resharding::Rates;

/// Upper bounds of `prometheus_remote_storage_sent_batch_duration_seconds`, in seconds.
const SENT_BATCH_BOUNDS_S: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0];

/// What one destination counts besides its ledger.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) rates: Rates,
    pub(crate) metadata: MetadataMeters,
    retried_samples: AtomicU64,
    retried_histograms: AtomicU64,
    retried_exemplars: AtomicU64,
    sent_bytes: AtomicU64,
    /// Seconds that one request took, from sending to answer.
    request_s: Histogram,
    /// 0: none yet.
    highest_taken_ms: AtomicI64,
    highest_sent_ms: AtomicI64,
    /// Shards that would do, as the bits of an `f64`.
    desired_shards: AtomicU64,
    /// Samples delivered a second, as the bits of an `f64`.
    delivered_per_s: AtomicU64,
    delivery: Mutex<Delivery>,
    /// Memory of the stencils of all sources.
    pub(crate) stencil_bytes: Gauge,
}

/// Requests that carry metadata alone; counted in families.
#[derive(Debug, Default)]
pub(crate) struct MetadataMeters {
    delivered: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    sent_bytes: AtomicU64,
}

/// A failure, for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// Milliseconds since the epoch.
    pub unix_ms: i64,
    /// The error with its causes.
    pub message: String,
}

/// How sending goes.
#[derive(Debug, Default)]
struct Delivery {
    last_good: Option<Instant>,
    last_good_unix_ms: Option<i64>,
    last_error: Option<LastError>,
    /// Whether nothing arrived since the last failure. Times do not tell: the clock may be set back.
    is_failing: bool,
    /// The receiver asked for rest, or the backoff did.
    waiting_until: Option<Instant>,
}

// === impl Meters ===

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            rates: Rates::default(),
            metadata: MetadataMeters::default(),
            retried_samples: AtomicU64::new(0),
            retried_histograms: AtomicU64::new(0),
            retried_exemplars: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            request_s: Histogram::new(SENT_BATCH_BOUNDS_S),
            highest_taken_ms: AtomicI64::new(0),
            highest_sent_ms: AtomicI64::new(0),
            desired_shards: AtomicU64::new(0),
            delivered_per_s: AtomicU64::new(0),
            delivery: Mutex::default(),
            stencil_bytes: Gauge::default(),
        }
    }
}

impl Meters {
    /// Samples were given to the destination.
    pub(crate) fn took(&self, samples: u64, timestamp_ms: i64) {
        if samples > 0 {
            self.rates.came(samples);
            self.highest_taken_ms.fetch_max(timestamp_ms, Ordering::Relaxed);
        }
    }

    /// A request was answered, or not.
    pub(crate) fn sent_request(&self, took: Duration, bytes: usize) {
        self.request_s.observe(took.as_secs_f64());
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A block arrived.
    pub(crate) fn delivered(&self, counts: Counts, newest_ms: i64, unix_ms: i64) {
        self.rates.left(counts.total());
        self.highest_sent_ms.fetch_max(newest_ms, Ordering::Relaxed);
        self.delivery(|delivery| {
            delivery.last_good = Some(Instant::now());
            delivery.last_good_unix_ms = Some(unix_ms);
            delivery.is_failing = false;
            delivery.waiting_until = None;
        });
    }

    /// A block will be sent again.
    pub(crate) fn retried(&self, counts: Counts) {
        let Counts { samples, histograms, exemplars } = counts;
        self.retried_samples.fetch_add(samples, Ordering::Relaxed);
        self.retried_histograms.fetch_add(histograms, Ordering::Relaxed);
        self.retried_exemplars.fetch_add(exemplars, Ordering::Relaxed);
    }

    /// A try went wrong.
    pub(crate) fn failed(&self, why: &SendError, unix_ms: i64) {
        let message = Chain(why).to_string();
        self.delivery(|delivery| {
            delivery.last_error = Some(LastError { unix_ms, message });
            delivery.is_failing = true;
        });
    }

    /// Nothing is sent before this moment.
    pub(crate) fn waiting_until(&self, until: Instant) {
        self.delivery(|delivery| delivery.waiting_until = Some(until));
    }

    /// Whether a block arrived within `recently` and no wait is under way: the time to reshard.
    pub(crate) fn sends_well(&self, now: Instant, recently: Duration) -> bool {
        self.delivery(|delivery| {
            let rests = delivery.waiting_until.is_some_and(|until| until > now);
            !rests && delivery.last_good.is_some_and(|good| now - good <= recently)
        })
    }

    /// How many shards would do.
    pub(crate) fn want_shards(&self, shards: f64) {
        self.desired_shards.store(shards.to_bits(), Ordering::Relaxed);
    }

    /// How much is delivered now, smoothed.
    pub(crate) fn delivers(&self, samples_per_s: f64) {
        self.delivered_per_s.store(samples_per_s.to_bits(), Ordering::Relaxed);
    }

    /// Samples delivered a second.
    pub(crate) fn delivered_per_s(&self) -> f64 {
        f64::from_bits(self.delivered_per_s.load(Ordering::Relaxed))
    }

    /// The last failure, and when a block last arrived (milliseconds since the epoch).
    pub(crate) fn history(&self) -> (Option<LastError>, Option<i64>) {
        self.delivery(|delivery| (delivery.last_error.clone(), delivery.last_good_unix_ms))
    }

    /// Whether nothing arrived since the last failure.
    pub(crate) fn is_failing(&self) -> bool {
        self.delivery(|delivery| delivery.is_failing)
    }

    /// What was sent again, all tries counted.
    pub(crate) fn retries(&self) -> Counts {
        Counts {
            samples: self.retried_samples.load(Ordering::Relaxed),
            histograms: self.retried_histograms.load(Ordering::Relaxed),
            exemplars: self.retried_exemplars.load(Ordering::Relaxed),
        }
    }

    /// Bytes sent as samples, as they went over the wire.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    fn delivery<T>(&self, with: impl FnOnce(&mut Delivery) -> T) -> T {
        with(&mut self.delivery.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl MetadataMeters ===

impl MetadataMeters {
    pub(crate) fn delivered(&self, families: u64, bytes: usize) {
        self.delivered.fetch_add(families, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self, families: u64) {
        self.retried.fetch_add(families, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, families: u64) {
        self.failed.fetch_add(families, Ordering::Relaxed);
    }
}
