//! Every way of sending that the forwarder knows.
//!
//! To add one: write `modules/<name>.rs`, then add its `mod` line and its row here.

mod blackhole;
mod bodies; // shared: blocks as receivers read them
mod exec;
mod file;
mod http;
mod kafka;
mod lines; // shared: lines of JSON read back
mod nats;
mod otlp;
mod packing; // shared: compressions that files name
mod redis;
mod remote_write;
mod secrets; // shared: settings without their secrets
mod stdout;
mod web; // shared: what speaks HTTP

pub(crate) use remote_write::{Choice, RemoteWriteConfig, WireVersion};

use crate::module::ModuleKind;

/// The module of `remote_write` entries.
pub(crate) const REMOTE_WRITE: &str = remote_write::KIND.name;

/// In the order the documentation lists them.
pub const MODULES: &[ModuleKind] = &[
    remote_write::KIND, // Prometheus' protocol, 1.0 and 2.0
    otlp::KIND,         // OpenTelemetry over HTTP or gRPC
    http::KIND,         // any endpoint, in several formats
    kafka::KIND,        // a topic, acknowledged
    nats::KIND,         // JetStream, acknowledged
    redis::KIND,        // a stream, an entry a sample
    file::KIND,         // lines of JSON appended to a file
    exec::KIND,         // lines of JSON into a child process
    stdout::KIND,       // lines of JSON for people
    blackhole::KIND,    // nothing: for measurements
];
