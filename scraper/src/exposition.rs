//! What a target answers: the formats, which of them a response is in, and how each is read.
//!
//! A reader of a format turns bytes into lines; what a line means is decided once and remembered
//! (`cache.rs`).

pub(crate) mod negotiate;

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// `text/plain`, versions 0.0.4 and 1.0.0: the same grammar reads both.
    Text,
    /// `application/openmetrics-text`, versions 0.0.1 and 1.0.0.
    OpenMetrics,
    /// `application/vnd.google.protobuf`, delimited `io.prometheus.client.MetricFamily`.
    Protobuf,
}
