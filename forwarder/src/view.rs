//! A destination as people see it: plain data for `/api/v1/forwarders`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::Counts;
use crate::destination::Destination;
use crate::disk::Keeper;
use crate::ledger::Account;
use crate::metrics::LastError;

/// Samples that wait longer than this are worth an alert.
const LATE: Duration = Duration::from_secs(60);

/// A destination just now.
#[derive(Debug, Clone)]
pub struct DestinationView {
    /// Its name in routes and metrics.
    pub name: String,
    /// Its module.
    pub module: &'static str,
    /// Where it sends to, without secrets.
    pub endpoint: String,
    /// Where all its samples went; balanced.
    pub account: Account,
    /// Samples that were sent again, all tries counted.
    pub retried: Counts,
    /// Sealed blocks that wait or are being sent.
    pub queued_blocks: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// How long the oldest of them has waited.
    pub oldest_queued: Option<Duration>,
    /// Senders at work.
    pub shards: usize,
    /// Bytes sent so far.
    pub sent_bytes: u64,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// When a block last arrived, in milliseconds since the epoch.
    pub last_delivery_ms: Option<i64>,
    /// Samples delivered a second, smoothed over a minute or so.
    pub samples_per_s: f64,
    /// The queue on disk, if the destination is durable.
    pub disk: Option<DiskView>,
    /// Whether someone should look: nothing arrived since the last failure, samples have waited
    /// for more than a minute, or the disk refuses a durable queue.
    pub alert: bool,
}

/// A queue on disk just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskView {
    /// Bytes of its files.
    pub bytes: u64,
    /// The place of the destination: every block before this one is done with.
    pub cursor: u64,
    /// Blocks in memory that are not on disk yet.
    pub unwritten_blocks: u64,
    /// Whether the disk refuses: then blocks wait in memory.
    pub failing: bool,
    /// Times that it began to refuse.
    pub failures: u64,
    /// Places where files were found damaged.
    pub damages: u64,
}

// === impl DestinationView ===

impl DestinationView {
    pub(crate) fn of(destination: &Destination) -> DestinationView {
        let Destination { config, module, ledger, meters, .. } = destination;
        let account = ledger.balance();
        let load = destination.load();
        let (last_error, last_delivery_ms) = meters.history();
        let is_late = load.oldest.is_some_and(|waited| waited > LATE);
        let disk = DiskView::of(destination);
        let disk_fails = disk.as_ref().is_some_and(|disk| disk.failing);
        DestinationView {
            name: config.name.clone(),
            module: config.module,
            endpoint: module.endpoint(),
            account,
            retried: meters.retries(),
            queued_blocks: load.blocks,
            queued_bytes: load.bytes,
            oldest_queued: load.oldest,
            shards: destination.shard_count(),
            sent_bytes: meters.sent_bytes(),
            last_error,
            last_delivery_ms,
            samples_per_s: meters.delivered_per_s(),
            disk,
            alert: meters.is_failing() || is_late || disk_fails,
        }
    }
}

// === impl DiskView ===

impl DiskView {
    fn of(destination: &Destination) -> Option<DiskView> {
        let keepers = destination.keepers();
        let all = || keepers.iter().map(Keeper::stats);
        (!keepers.is_empty()).then(|| DiskView {
            bytes: all().map(|stats| stats.bytes.load(Ordering::Relaxed)).sum(),
            cursor: destination.queue.place(),
            unwritten_blocks: destination.queue.unwritten(),
            failing: all().any(|stats| stats.failing.load(Ordering::Relaxed)),
            failures: all().map(|stats| stats.failures.load(Ordering::Relaxed)).sum(),
            damages: all().map(|stats| stats.damages.load(Ordering::Relaxed)).sum(),
        })
    }
}
