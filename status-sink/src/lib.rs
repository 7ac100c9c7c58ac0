//! The status center: what each resource of a fleet is doing now.
//!
//! Takes status samples from the router, as any destination does, or by remote write from others
//! who scrape; and updates over HTTP. Answers lists, and tells listeners. In memory alone: the
//! hosts are the durable log.
//!
//! The way of a change: `processor` (batches; `receiver` makes them of remote write) or `api`
//! (requests) → `store` → `event_log` → `notifier` → listeners.

mod api;
pub mod config;
mod event_log;
mod kind;
mod metrics;
mod notifier;
mod object;
mod processor;
mod receiver;
#[cfg(test)]
mod scripted;
mod selector;
mod store;
mod value;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kit::metrics::SelfMetrics;
use kit::{Clock, Shutdown, Stopper};
use model::BatchSink;
use tokio::task::JoinHandle;

use crate::api::Api;
pub use crate::config::{Config, Spec};
use crate::metrics::Metrics;
use crate::processor::Processor;
use crate::receiver::Receiver;
use crate::store::{Center, Reader, Writer};

/// How often is looked at what time has done.
const TICK: Duration = Duration::from_millis(200);

/// What the status center needs from others.
pub struct Parts {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where it registers what it counts.
    pub metrics: SelfMetrics,
    /// Chance, other in every process: versions and object ids are made with it.
    pub instance: u64,
}

/// The running status center.
pub struct StatusSink {
    center: Arc<Center>,
    sink: Arc<Processor>,
    api: Arc<Api>,
    stopper: Stopper,
    /// Taken by whoever stops. A lock for that moment alone.
    ticking: Mutex<Option<JoinHandle<()>>>,
}

// === impl StatusSink ===

impl StatusSink {
    /// Starts on the current tokio runtime. Reads are refused until [`StatusSink::warmed_up`].
    pub fn start(config: Arc<Config>, parts: Parts) -> StatusSink {
        let Parts { clock, metrics, instance } = parts;
        let counters = Metrics::register(&metrics);
        let center = Center::new(Arc::clone(&clock), counters, instance);
        Metrics::observe(&metrics, &center);
        center.apply(&config);
        let sink = Arc::new(Processor::new(Arc::clone(&center)));
        let receiver = Receiver::new(Arc::clone(&center), Arc::clone(&sink));
        Metrics::observe_receiver(&metrics, &receiver);
        let (reader, writer) = (Reader::new(Arc::clone(&center)), Writer::new(Arc::clone(&center)));
        let metrics = Arc::clone(&center.metrics);
        let api = Api::new(reader, writer, clock, metrics, Arc::clone(&receiver), instance);
        let (stopper, shutdown) = Stopper::new();
        let ticking = tokio::spawn(tick(Arc::clone(&center), receiver, shutdown));
        let ticking = Mutex::new(Some(ticking));
        StatusSink { center, sink, api, stopper, ticking }
    }

    /// Where batches go in; the same object for as long as the status center lives.
    pub fn sink(&self) -> Arc<dyn BatchSink> {
        Arc::clone(&self.sink) as Arc<dyn BatchSink>
    }

    /// Everything that a Kubernetes client asks: below `/api`, `/apis`, `/openapi`, and
    /// `/version`, `/healthz`, `/livez`, `/readyz`.
    pub fn routes(&self) -> axum::Router {
        self.api.routes()
    }

    /// Puts another configuration in force. Kinds that stay the same keep their objects, versions
    /// and listeners.
    pub fn apply(&self, config: Arc<Config>) {
        self.center.apply(&config);
    }

    /// Every target has answered or failed once: what is here can be served.
    pub fn warmed_up(&self) {
        self.center.set_warm();
    }

    /// Ends: listeners get what they have not had yet, and a clean end.
    pub async fn stop(&self) {
        self.stopper.stop();
        let ticking = self.ticking.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ticking) = ticking {
            // It ends by itself; that it panicked was logged when it did.
            let _ = ticking.await;
        }
        self.center.end();
    }
}

impl fmt::Debug for StatusSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusSink").field("center", &self.center).finish_non_exhaustive()
    }
}

async fn tick(center: Arc<Center>, receiver: Arc<Receiver>, shutdown: Shutdown) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            _ = interval.tick() => {
                center.change(|state, now| state.tick(now));
                receiver.tick();
            }
        }
    }
}
