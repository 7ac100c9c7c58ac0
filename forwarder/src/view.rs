//! A destination as people see it: plain data for `/api/v1/forwarders`.

use std::time::Duration;

use crate::Counts;
use crate::destination::Destination;
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
    /// Whether someone should look: nothing arrived since the last failure, or samples have
    /// waited for more than a minute.
    pub alert: bool,
}

// === impl DestinationView ===

impl DestinationView {
    pub(crate) fn of(destination: &Destination) -> DestinationView {
        let Destination { config, module, ledger, queue, meters, clock, .. } = destination;
        let account = ledger.balance();
        let load = queue.load();
        let (last_error, last_delivery_ms) = meters.history();
        let failing = last_error.as_ref().is_some_and(|error| {
            last_delivery_ms.is_none_or(|delivered| delivered < error.unix_ms)
        });
        let oldest_queued = load.oldest.map(|oldest| clock.now().since(oldest));
        let is_late = oldest_queued.is_some_and(|waited| waited > LATE);
        DestinationView {
            name: config.name.clone(),
            module: config.module,
            endpoint: module.endpoint(),
            account,
            retried: meters.retries(),
            queued_blocks: load.blocks,
            queued_bytes: load.bytes,
            oldest_queued,
            shards: destination.shard_count(),
            sent_bytes: meters.sent_bytes(),
            last_error,
            last_delivery_ms,
            alert: failing || is_late,
        }
    }
}
