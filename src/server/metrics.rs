//! What the HTTP server counts about itself.

use kit::metrics::SelfMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Counters of connections.
#[derive(Debug, Clone)]
pub(crate) struct ServerMetrics {
    /// Connections accepted.
    pub(super) accepted: Counter,
    /// Connections ended.
    pub(super) closed: Counter,
    /// Times that a listener found all connections taken.
    pub(super) full: Counter,
    /// Connections cut because the peer read nothing any more.
    pub(super) cut: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener_name: &'static str,
}

// === impl ServerMetrics ===

impl ServerMetrics {
    /// Registers them, under the names that Prometheus has for them.
    pub(crate) fn register(metrics: &SelfMetrics) -> ServerMetrics {
        let accepted: Family<Listener, Counter> = Family::default();
        let closed: Family<Listener, Counter> = Family::default();
        let (full, cut) = (Counter::default(), Counter::default());
        metrics.register(|registry| {
            registry.register(
                "net_conntrack_listener_conn_accepted",
                "Connections that the web server accepted",
                accepted.clone(),
            );
            registry.register(
                "net_conntrack_listener_conn_closed",
                "Connections to the web server that ended",
                closed.clone(),
            );
            registry.register(
                "rollcall_web_connections_full",
                "Times that a new connection had to wait because of --web.max-connections",
                full.clone(),
            );
            registry.register(
                "rollcall_web_connections_cut",
                "Connections that were cut because the other side read nothing for 30 s",
                cut.clone(),
            );
        });
        let http = Listener { listener_name: "http" };
        let accepted = accepted.get_or_create(&http).clone();
        let closed = closed.get_or_create(&http).clone();
        ServerMetrics { accepted, closed, full, cut }
    }
}
