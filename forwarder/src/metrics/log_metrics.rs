//! What dashboards ask of Prometheus' write-ahead log, answered by the logs of durable queues.
//!
//! A block of a log counts as a segment; without a durable queue there is none, and all is 0.

use std::fmt::Error;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::collector::{encode_counters, encode_gauges};
use crate::destination::Destination;
use crate::disk::DiskStats;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Consumer {
    consumer: String,
}

/// Writes them: of all logs together, and of those of `senders`.
pub(super) fn encode<'d>(
    encoder: &mut DescriptorEncoder<'_>,
    all: impl Iterator<Item = &'d Destination>,
    senders: impl Iterator<Item = &'d Destination> + Clone,
) -> Result<(), Error> {
    let mut each: Vec<&DiskStats> = Vec::new();
    for log in all.filter_map(stats) {
        // One that is shared counts once.
        if !each.iter().any(|known| std::ptr::eq(*known, log)) {
            each.push(log);
        }
    }
    let logs = || each.iter();
    let newest = logs().map(|log| log.newest.load(Ordering::Relaxed)).max();
    let bytes: u64 = logs().map(|log| log.bytes.load(Ordering::Relaxed)).sum();
    let failures: u64 = logs().map(|log| log.failures.load(Ordering::Relaxed)).sum();
    let gauges = [
        (
            "prometheus_tsdb_wal_segment_current",
            "The newest block in the log of any durable queue.",
            newest.unwrap_or(0) as f64,
        ),
        (
            "prometheus_tsdb_wal_storage_size_bytes",
            "Bytes of the logs of all durable queues.",
            bytes as f64,
        ),
    ];
    for (name, help, value) in gauges {
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    let name = "prometheus_tsdb_wal_writes_failed";
    let help = "Times that the disk began to refuse blocks of durable queues.";
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(failures).encode(metric)?;

    let labels = |sender: &Destination| Consumer { consumer: sender.config.name.clone() };
    let name = "prometheus_wal_watcher_current_segment";
    let help = "The first block in the log of a durable queue that is not sent yet.";
    let places = senders.clone().map(|sender| (labels(sender), sender.queue.place() as f64));
    encode_gauges(encoder, name, help, places)?;
    let name = "prometheus_wal_watcher_record_decode_failures";
    let help = "Places where the log of a durable queue was damaged.";
    let damages = senders.map(|sender| {
        let damages = stats(sender).map_or(0, |log| log.damages.load(Ordering::Relaxed));
        (labels(sender), damages)
    });
    encode_counters(encoder, name, help, damages)
}

fn stats(destination: &Destination) -> Option<&DiskStats> {
    destination.queue.keeper().map(|keeper| keeper.stats())
}
