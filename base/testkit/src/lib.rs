//! Fakes and waits for tests: targets to scrape, receivers that decode what arrives, and real
//! programs started on free loopback ports: rollcall, Prometheus, a node exporter, kubectl.
//!
//! Knows nothing of the product's code, so that it can judge it: the wire formats here are written
//! from the public definitions. Everything panics with a report instead of returning errors, and
//! everything that is started ends when its handle is dropped.

mod config;
mod families;
mod fleet;
mod kubectl;
mod metrics;
mod node_exporter;
mod ports;
mod process;
mod prometheus;
mod push;
mod receiver;
mod reply;
mod rollcall;
mod samples;
mod secure_target;
mod server;
mod target;
mod wait;
mod watcher;
mod wire;

pub use config::{Config, Job, config, job};
pub use families::{
    Bucket, CounterValue, FamilyType, HistogramValue, LabelPair, Metric, MetricFamily, Number,
    PageExemplar, Quantile, Span, SummaryValue,
};
pub use fleet::Fleet;
pub use kubectl::{Kubectl, Printed};
pub use metrics::Metrics;
pub use node_exporter::NodeExporter;
pub use ports::free_address;
pub use process::Process;
pub use prometheus::Prometheus;
pub use push::{Exemplar, Histogram, Metadata, Push, Series, Version};
pub use receiver::FakeReceiver;
pub use reply::Reply;
pub use rollcall::{Launch, Rollcall, Stopped};
pub use samples::{LabelSet, Sample, is_stale, label_set, show};
pub use secure_target::{Asked, SecureTarget};
pub use server::Request;
pub use target::FakeTarget;
pub use wait::{DEADLINE, wait_until};
pub use watcher::{Event, Watcher};
