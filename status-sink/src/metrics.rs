//! What the status center counts about itself.

use std::fmt;
use std::sync::{Arc, Weak};

use http::{Method, StatusCode};
use kit::metrics::SelfMetrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::event_log::Cause;
use crate::receiver::Receiver;
use crate::store::Center;

/// Counters of the status center.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By [`Cause`]: events are many.
    events: [Counter; Cause::ALL.len()],
    /// Objects that were refused because there were too many of their kind.
    pub(crate) refused_objects: Counter,
    /// Series of which no object came, for want of a name.
    pub(crate) unnamed_series: Counter,
    /// Batches that were taken.
    pub(crate) batches: Counter,
    /// Of those, the ones that said nothing new.
    pub(crate) quiet_batches: Counter,
    requests: Family<RequestLabel, Counter>,
    /// Watches that were refused because there were too many.
    pub(crate) refused_watches: Counter,
    /// Bulk updates that were refused because there were too many at a time.
    pub(crate) refused_bulks: Counter,
    /// Samples that came by remote write.
    pub(crate) received_samples: Counter,
    /// Of those, the ones that were older than what is known.
    pub(crate) old_samples: Counter,
    /// Of those, the ones that can never be taken.
    pub(crate) refused_samples: Counter,
    refused_writes: Family<ReasonLabel, Counter>,
}

/// What is counted by looking.
struct Sight(Weak<Center>);

/// As [`Sight`].
struct ReceiverSight(Weak<Receiver>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    method: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

struct KindLabel {
    kind: String,
}

// === impl Metrics ===

impl Metrics {
    /// Counters that everyone can see.
    pub(crate) fn register(metrics: &SelfMetrics) -> Arc<Metrics> {
        let events = Family::<CauseLabel, Counter>::default();
        let this = Metrics {
            events: Cause::ALL
                .map(|cause| events.get_or_create(&CauseLabel { cause: cause.word() }).clone()),
            refused_objects: Counter::default(),
            unnamed_series: Counter::default(),
            batches: Counter::default(),
            quiet_batches: Counter::default(),
            requests: Family::default(),
            refused_watches: Counter::default(),
            refused_bulks: Counter::default(),
            received_samples: Counter::default(),
            old_samples: Counter::default(),
            refused_samples: Counter::default(),
            refused_writes: Family::default(),
        };
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("rollcall_status");
            registry.register("events", "Changes of objects, by who caused them", events);
            registry.register(
                "refused_objects",
                "Objects that were not made because there were too many of their kind",
                this.refused_objects.clone(),
            );
            let help = "Series that a kind reads and whose labels give no name of 1 to 253 bytes, \
                        when they begin";
            registry.register("unnamed_series", help, this.unnamed_series.clone());
            registry.register("batches", "Batches that were taken", this.batches.clone());
            registry.register(
                "quiet_batches",
                "Batches that were taken and said nothing new",
                this.quiet_batches.clone(),
            );
            let help = "Requests to the API that were answered; a watch when it begins";
            registry.register("requests", help, this.requests.clone());
            let help = "Watches that were refused because there were too many";
            registry.register("refused_watches", help, this.refused_watches.clone());
            let help = "Bulk updates that were refused because there were too many at a time";
            registry.register("refused_bulks", help, this.refused_bulks.clone());
            let help = "Samples that came by remote write";
            registry.register("received_samples", help, this.received_samples.clone());
            let help = "Received samples that were older than what was known";
            registry.register("received_old_samples", help, this.old_samples.clone());
            let help = "Received samples that can never be taken";
            registry.register("received_refused_samples", help, this.refused_samples.clone());
            let help = "Messages of remote write of which nothing was taken, by why";
            registry.register("refused_writes", help, this.refused_writes.clone());
        });
        Arc::new(this)
    }

    /// A message of remote write was refused as a whole.
    pub(crate) fn refused_write(&self, reason: &'static str) {
        self.refused_writes.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Lets everyone see how much the status center holds.
    pub(crate) fn observe(metrics: &SelfMetrics, center: &Arc<Center>) {
        let sight = Box::new(Sight(Arc::downgrade(center)));
        metrics.register(|registry| registry.register_collector(sight));
    }

    /// Lets everyone see for how many targets others write.
    pub(crate) fn observe_receiver(metrics: &SelfMetrics, receiver: &Arc<Receiver>) {
        let sight = Box::new(ReceiverSight(Arc::downgrade(receiver)));
        metrics.register(|registry| registry.register_collector(sight));
    }

    /// A request has been answered.
    pub(crate) fn request(&self, method: &Method, code: StatusCode) {
        const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        let known = METHODS.into_iter().find(|known| *known == method.as_str());
        let label = RequestLabel { method: known.unwrap_or("other"), code: code.as_u16() };
        self.requests.get_or_create(&label).inc();
    }

    /// An event has happened.
    pub(crate) fn event(&self, cause: Cause) {
        self.events[cause as usize].inc();
    }
}

// === impl Sight ===

impl Collector for Sight {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(center) = self.0.upgrade() else { return Ok(()) };
        let (kinds, sources) = center.look(|state| {
            let kinds = state.kinds().map(|(_, store)| {
                let label = KindLabel { kind: store.kind.name().to_owned() };
                (label, store.table.len(), store.hub.n_events())
            });
            (kinds.collect::<Vec<_>>(), state.sources.len())
        });
        let mut gauge = |name: &str, help: &str, values: &[(Option<&KindLabel>, usize)]| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (label, n) in values {
                let value = ConstGauge::new(i64::try_from(*n).unwrap_or(i64::MAX));
                let labels: Vec<(&str, &str)> =
                    label.iter().map(|label| ("kind", label.kind.as_str())).collect();
                value.encode(family.encode_family(&labels)?)?;
            }
            Ok::<(), fmt::Error>(())
        };
        let objects: Vec<_> = kinds.iter().map(|(label, n, _)| (Some(label), *n)).collect();
        gauge("rollcall_status_objects", "Objects, by kind", &objects)?;
        let events: Vec<_> = kinds.iter().map(|(label, _, n)| (Some(label), *n)).collect();
        gauge("rollcall_status_kept_events", "Events that are kept, by kind", &events)?;
        gauge("rollcall_status_sources", "Sources that report", &[(None, sources)])?;
        let open = center.listeners.open();
        gauge("rollcall_status_watches", "Open watches", &[(None, open)])?;
        let help = "Watches that were told to list again because they were too slow";
        let gone = encoder.encode_descriptor(
            "rollcall_status_watch_gone",
            help,
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(center.listeners.gone() as u64).encode(gone)
    }
}

// === impl ReceiverSight ===

impl Collector for ReceiverSight {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(receiver) = self.0.upgrade() else { return Ok(()) };
        let (name, help) = ("rollcall_status_remote_targets", "Targets that remote write tells of");
        let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(receiver.n_reporters()).unwrap_or(i64::MAX)).encode(gauge)
    }
}

impl fmt::Debug for ReceiverSight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiverSight")
    }
}

impl fmt::Debug for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sight")
    }
}
