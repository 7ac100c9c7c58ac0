//! A destination as people see it: plain data for `/api/v1/forwarders`.

use std::time::Duration;

use crate::destination::Destination;
use crate::ledger::Account;
use crate::metrics::LastError;
use crate::{Counts, Reason};

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
    /// Whether someone should look: samples wait although the last try failed, or were lost to
    /// a full queue or a refusal.
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
        let lost = [Reason::QueueFull, Reason::Refused, Reason::NotWritten, Reason::Damaged];
        let has_lost = lost.into_iter().any(|reason| !account.dropped(reason).is_empty());
        DestinationView {
            name: config.name.clone(),
            module: config.module,
            endpoint: module.endpoint(),
            account,
            retried: meters.retries(),
            queued_blocks: load.blocks,
            queued_bytes: load.bytes,
            oldest_queued: load.oldest.map(|oldest| clock.now().since(oldest)),
            shards: destination.shard_count(),
            sent_bytes: meters.sent_bytes(),
            last_error,
            last_delivery_ms,
            alert: failing || has_lost,
        }
    }
}
