//! `/api/v1/forwarders`: every destination, what it was given and what became of it.
//!
//! Ours: Prometheus has nothing like it. `accepted = delivered + queued + the sum of dropped`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use forwarder::{Counts, DestinationView, DiskView, Reason};
use serde::Serialize;

use super::Admin;
use super::answer::Success;
use super::targets::time_text;

#[derive(Serialize)]
struct Destinations {
    destinations: Vec<Destination>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    name: String,
    module: &'static str,
    endpoint: String,
    /// Whether somebody should look.
    alert: bool,
    accepted: Amount,
    /// The part of `accepted` that a start found on disk.
    recovered: Amount,
    delivered: Amount,
    queued: Amount,
    /// By reason; reasons that never came up are left out.
    dropped: BTreeMap<&'static str, Amount>,
    retried: Amount,
    queued_blocks: u64,
    queued_bytes: u64,
    oldest_queued_seconds: Option<f64>,
    /// Of durable destinations.
    disk: Option<Disk>,
    /// Samples delivered a second, smoothed.
    rate: f64,
    shards: usize,
    sent_bytes: u64,
    last_delivery: Option<String>,
    last_error: Option<LastError>,
}

#[derive(Serialize)]
struct Amount {
    samples: u64,
    histograms: u64,
    exemplars: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Disk {
    bytes: u64,
    cursor: u64,
    unwritten_blocks: u64,
    failing: bool,
    failures: u64,
    damages: u64,
}

#[derive(Serialize)]
struct LastError {
    time: String,
    message: String,
}

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new().route("/api/v1/forwarders", get(forwarders))
}

async fn forwarders(State(admin): State<Arc<Admin>>) -> Success<Destinations> {
    let destinations = admin.forwarder.destinations().into_iter().map(Destination::new);
    Success(Destinations { destinations: destinations.collect() })
}

// === impl Destination ===

impl Destination {
    fn new(view: DestinationView) -> Destination {
        let account = view.account;
        let dropped = Reason::ALL.into_iter().map(|reason| (reason, account.dropped(reason)));
        Destination {
            name: view.name,
            module: view.module,
            endpoint: view.endpoint,
            alert: view.alert,
            accepted: Amount::new(account.accepted),
            recovered: Amount::new(account.recovered),
            delivered: Amount::new(account.delivered),
            queued: Amount::new(account.queued),
            dropped: dropped
                .filter(|(_, counts)| counts.total() > 0)
                .map(|(reason, counts)| (reason.name(), Amount::new(counts)))
                .collect(),
            retried: Amount::new(view.retried),
            queued_blocks: view.queued_blocks,
            queued_bytes: view.queued_bytes,
            oldest_queued_seconds: view.oldest_queued.map(|waited| waited.as_secs_f64()),
            disk: view.disk.map(Disk::new),
            rate: view.samples_per_s,
            shards: view.shards,
            sent_bytes: view.sent_bytes,
            last_delivery: view.last_delivery_ms.map(|ms| time_text(Some(ms))),
            last_error: view.last_error.map(|error| LastError {
                time: time_text(Some(error.unix_ms)),
                message: error.message,
            }),
        }
    }
}

// === impl Disk ===

impl Disk {
    fn new(view: DiskView) -> Disk {
        let DiskView { bytes, cursor, unwritten_blocks, failing, failures, damages } = view;
        Disk { bytes, cursor, unwritten_blocks, failing, failures, damages }
    }
}

// === impl Amount ===

impl Amount {
    fn new(counts: Counts) -> Amount {
        let Counts { samples, histograms, exemplars } = counts;
        Amount { samples, histograms, exemplars }
    }
}
