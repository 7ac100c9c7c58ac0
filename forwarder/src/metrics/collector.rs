//! All destinations as metrics, read when somebody asks.
//!
//! Destinations of module `remote_write` also speak under Prometheus' names, with Prometheus'
//! labels `remote_name` and `url`; every destination speaks under `rollcall_forward_*`.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::block::Counts;
use crate::destination::Destination;
use crate::ledger::{Account, Reason};
use crate::metrics::intake::Intake;
use crate::metrics::log_metrics;
use crate::modules::REMOTE_WRITE;
use crate::router::Router;
use crate::view::{DestinationView, DiskView};

/// Shows every destination that there is.
#[derive(Debug)]
pub(crate) struct DestinationCollector {
    pub(crate) destinations: Arc<ArcSwap<Vec<Arc<Destination>>>>,
    pub(crate) intake: Intake,
}

/// Shows what the router counts.
#[derive(Debug)]
pub(crate) struct RouterCollector {
    pub(crate) router: Arc<Router>,
}

/// One destination at the moment of asking.
struct Snapshot {
    destination: Arc<Destination>,
    account: Account,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Remote {
    remote_name: String,
    url: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RemoteReason {
    remote_name: String,
    url: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    destination: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamedReason {
    destination: String,
    reason: String,
}

/// A metric with a value per destination: name without `_total`, help, value.
type Row<T> = (&'static str, &'static str, fn(&Snapshot) -> T);
/// The same for each kind of sample: `samples`, `histograms`, `exemplars` fill the `{}`.
type KindRow = (&'static str, &'static str, fn(&Snapshot) -> Counts);

/// One kind of sample and how many of it.
type Kind = (&'static str, fn(Counts) -> u64);

const KINDS: [Kind; 3] = [
    ("samples", |counts| counts.samples),
    ("histograms", |counts| counts.histograms),
    ("exemplars", |counts| counts.exemplars),
];

const REMOTE_KINDS: &[KindRow] = &[
    ("{}", "sent to remote storage.", |now| now.account.delivered + failed(&now.account)),
    ("{}_failed", "which failed on send to remote storage, non-recoverable errors.", |now| {
        failed(&now.account)
    }),
    ("{}_retried", "which failed on send to remote storage but were retried.", |now| {
        now.destination.meters.retries()
    }),
];

const REMOTE_COUNTERS: &[Row<u64>] = &[
    ("enqueue_retries", "Times that enqueue failed: never, it does not wait for room.", |_| 0),
    ("bytes", "The total number of bytes of samples sent by the queue after compression.", |now| {
        now.destination.meters.sent_bytes()
    }),
    ("metadata", "Metadata entries sent to remote storage.", |now| {
        now.destination.meters.metadata.delivered.load(Ordering::Relaxed)
    }),
    ("metadata_failed", "Metadata entries which failed on send to remote storage.", |now| {
        now.destination.meters.metadata.failed.load(Ordering::Relaxed)
    }),
    ("metadata_retried", "Metadata entries which were sent again.", |now| {
        now.destination.meters.metadata.retried.load(Ordering::Relaxed)
    }),
    ("metadata_bytes", "Bytes of metadata sent by the queue after compression.", |now| {
        now.destination.meters.metadata.sent_bytes.load(Ordering::Relaxed)
    }),
];

const REMOTE_GAUGES: &[Row<f64>] = &[
    ("shards", "The number of shards used for parallel sending to the remote storage.", |now| {
        now.destination.shard_count() as f64
    }),
    ("shards_min", "The minimum number of shards that the queue is allowed to run.", |now| {
        now.destination.config.queue.shards_min as f64
    }),
    ("shards_max", "The maximum number of shards that the queue is allowed to run.", |now| {
        now.destination.config.queue.shards_max as f64
    }),
    ("shards_desired", "The number of shards that the rates of samples ask for.", |now| {
        f64::from_bits(now.destination.meters.desired_shards.load(Ordering::Relaxed))
    }),
    ("shard_capacity", "The capacity of each shard, as configured.", |now| {
        now.destination.config.queue.capacity as f64
    }),
    ("max_samples_per_send", "The maximum number of samples to be sent in one request.", |now| {
        now.destination.config.queue.samples_per_block_max as f64
    }),
    ("queue_highest_timestamp_seconds", "The highest timestamp that was enqueued.", |now| {
        seconds(now.destination.meters.highest_taken_ms.load(Ordering::Relaxed))
    }),
    ("queue_highest_sent_timestamp_seconds", "The highest timestamp that was sent.", |now| {
        seconds(now.destination.meters.highest_sent_ms.load(Ordering::Relaxed))
    }),
];

const COUNTERS: &[Row<u64>] = &[
    ("accepted_samples", "Samples of all kinds that the destination was given.", |now| {
        now.account.accepted.total()
    }),
    ("delivered_samples", "Samples of all kinds that the receiver confirmed.", |now| {
        now.account.delivered.total()
    }),
    ("retried_samples", "Samples of all kinds that were sent again, all tries counted.", |now| {
        now.destination.meters.retries().total()
    }),
    ("recovered_samples", "The part of accepted that a start found on disk.", |now| {
        now.account.recovered.total()
    }),
    ("sent_bytes", "Bytes of blocks sent, as their module was given them.", |now| {
        now.destination.meters.sent_bytes()
    }),
];

const GAUGES: &[Row<f64>] = &[
    ("queued_samples", "Samples of all kinds that wait or are being sent.", |now| {
        now.account.queued.total() as f64
    }),
    ("queued_bytes", "Bytes of sealed blocks that wait or are being sent.", |now| {
        now.destination.load().bytes as f64
    }),
    ("queued_memory_bytes", "The part of queued_bytes that is in memory.", |now| {
        now.destination.load().memory_bytes as f64
    }),
    ("stencil_memory_bytes", "Ready bytes of pages that come again and again.", |now| {
        now.destination.meters.stencil_bytes.get() as f64
    }),
    ("oldest_queued_seconds", "Age of the oldest sealed block that waits.", |now| {
        now.destination.load().oldest.map_or(0.0, |waited| waited.as_secs_f64())
    }),
    ("alert", "1 if someone should look at the destination.", |now| {
        f64::from(u8::from(DestinationView::of(&now.destination).alert))
    }),
];

/// Of durable destinations.
const DISK_COUNTERS: &[Row<u64>] = &[
    ("disk_failures", "Times that the disk began to refuse blocks.", |now| {
        disk(now).map_or(0, |disk| disk.failures)
    }),
    (
        "disk_damages",
        "Places where files of the queue on disk were damaged, and folders that vanished.",
        |now| disk(now).map_or(0, |disk| disk.damages),
    ),
];

const DISK_GAUGES: &[Row<f64>] = &[
    ("disk_bytes", "Bytes of the files of the queue on disk.", |now| {
        disk(now).map_or(0.0, |disk| disk.bytes as f64)
    }),
    ("disk_unwritten_blocks", "Blocks in memory that are not on disk yet.", |now| {
        disk(now).map_or(0.0, |disk| disk.unwritten_blocks as f64)
    }),
    ("disk_failing", "1 while the disk refuses blocks, and they wait in memory.", |now| {
        disk(now).map_or(0.0, |disk| f64::from(u8::from(disk.failing)))
    }),
];

fn disk(now: &Snapshot) -> Option<DiskView> {
    DestinationView::of(&now.destination).disk
}

/// What a receiver did not keep and will not be sent again.
fn failed(account: &Account) -> Counts {
    account.dropped(Reason::Refused) + account.dropped(Reason::NotWritten)
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

impl Snapshot {
    fn destination(&self) -> &Destination {
        &self.destination
    }
}

impl Collector for DestinationCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let destinations = self.destinations.load();
        let all: Vec<Snapshot> = destinations
            .iter()
            .map(|destination| Snapshot {
                destination: Arc::clone(destination),
                account: destination.ledger.balance(),
            })
            .collect();
        let remote = || all.iter().filter(|now| now.destination.config.module == REMOTE_WRITE);
        encode_remote(&mut encoder, &|| Box::new(remote()))?;
        let given = |now: &Snapshot| {
            // What a start found on disk came in before.
            (now.destination.config.name.clone(), now.account.accepted - now.account.recovered)
        };
        encode_intake(&mut encoder, self.intake.read(remote().map(given)))?;
        let senders = remote().map(Snapshot::destination);
        log_metrics::encode(&mut encoder, all.iter().map(Snapshot::destination), senders)?;
        encode_ours(&mut encoder, &all)
    }
}

impl Collector for RouterCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let help = "Samples that no route takes while no remote_write takes the rest.";
        let name = "rollcall_forward_unrouted_samples";
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(self.router.unrouted()).encode(metric)
    }
}

type Snapshots<'f, 's> = &'f dyn Fn() -> Box<dyn Iterator<Item = &'s Snapshot> + 's>;

fn encode_remote(
    encoder: &mut DescriptorEncoder<'_>,
    remote: Snapshots<'_, '_>,
) -> Result<(), Error> {
    for (template, help, read) in REMOTE_KINDS {
        for (kind, of) in KINDS {
            let name = format!("prometheus_remote_storage_{}", template.replace("{}", kind));
            let help = format!("Total number of {kind} {help}");
            let values = remote().map(|now| (remote_labels(now), of(read(now))));
            encode_counters(encoder, &name, &help, values)?;
        }
    }
    for (kind, of) in KINDS {
        let name = format!("prometheus_remote_storage_{kind}_dropped");
        let help = format!("Total number of {kind} which were dropped before being sent.");
        let values = remote().flat_map(|now| {
            let before = Reason::ALL.into_iter();
            let before =
                before.filter(|reason| !matches!(reason, Reason::Refused | Reason::NotWritten));
            before.map(move |reason| {
                let Remote { remote_name, url } = remote_labels(now);
                let labels = RemoteReason { remote_name, url, reason: reason.name().to_owned() };
                (labels, of(now.account.dropped(reason)))
            })
        });
        encode_counters(encoder, &name, &help, values)?;
        let name = format!("prometheus_remote_storage_{kind}_pending");
        let help = format!("The number of {kind} pending in the queues shards to be sent.");
        let values = remote().map(|now| (remote_labels(now), of(now.account.queued) as f64));
        encode_gauges(encoder, &name, &help, values)?;
    }
    for (name, help, read) in REMOTE_COUNTERS {
        let name = format!("prometheus_remote_storage_{name}");
        encode_counters(encoder, &name, help, remote().map(|now| (remote_labels(now), read(now))))?;
    }
    for (name, help, read) in REMOTE_GAUGES {
        let name = format!("prometheus_remote_storage_{name}");
        encode_gauges(encoder, &name, help, remote().map(|now| (remote_labels(now), read(now))))?;
    }
    let name = "prometheus_remote_storage_sent_batch_duration_seconds";
    let help = "Duration of send calls to the remote storage.";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for now in remote() {
        let labels = remote_labels(now);
        now.destination.meters.request_s.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// What came in, counted once for all senders.
fn encode_intake(encoder: &mut DescriptorEncoder<'_>, came: Counts) -> Result<(), Error> {
    for (kind, of) in KINDS {
        let name = format!("prometheus_remote_storage_{kind}_in");
        let help = format!("Total number of {kind} in to remote storage, whatever was sent.");
        let metric = encoder.encode_descriptor(&name, &help, None, MetricType::Counter)?;
        ConstCounter::new(of(came)).encode(metric)?;
    }
    Ok(())
}

fn encode_ours(encoder: &mut DescriptorEncoder<'_>, all: &[Snapshot]) -> Result<(), Error> {
    for (name, help, read) in COUNTERS {
        let name = format!("rollcall_forward_{name}");
        encode_counters(encoder, &name, help, all.iter().map(|now| (named(now), read(now))))?;
    }
    let dropped = all.iter().flat_map(|now| {
        Reason::ALL.into_iter().map(move |reason| {
            let Named { destination } = named(now);
            let labels = NamedReason { destination, reason: reason.name().to_owned() };
            (labels, now.account.dropped(reason).total())
        })
    });
    let help = "Samples of all kinds that were dropped, by reason.";
    encode_counters(encoder, "rollcall_forward_dropped_samples", help, dropped)?;
    for (name, help, read) in GAUGES {
        let name = format!("rollcall_forward_{name}");
        encode_gauges(encoder, &name, help, all.iter().map(|now| (named(now), read(now))))?;
    }
    let durable = || all.iter().filter(|now| now.destination.is_durable());
    for (name, help, read) in DISK_COUNTERS {
        let name = format!("rollcall_forward_{name}");
        encode_counters(encoder, &name, help, durable().map(|now| (named(now), read(now))))?;
    }
    for (name, help, read) in DISK_GAUGES {
        let name = format!("rollcall_forward_{name}");
        encode_gauges(encoder, &name, help, durable().map(|now| (named(now), read(now))))?;
    }
    let highest =
        all.iter().map(|now| now.destination.meters.highest_taken_ms.load(Ordering::Relaxed));
    let name = "prometheus_remote_storage_highest_timestamp_in_seconds";
    let help = "Highest timestamp that has come into the remote storage.";
    let gauge = ConstGauge::new(seconds(highest.max().unwrap_or(0)));
    gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

pub(super) fn encode_counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, u64)>,
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

pub(super) fn encode_gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, f64)>,
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn remote_labels(now: &Snapshot) -> Remote {
    let (remote_name, url) =
        (now.destination.config.name.clone(), now.destination.module.endpoint());
    Remote { remote_name, url }
}

fn named(now: &Snapshot) -> Named {
    Named { destination: now.destination.config.name.clone() }
}
