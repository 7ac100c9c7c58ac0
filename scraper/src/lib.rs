//! Targets to batches: finds targets, scrapes them, reads what they print, and hands on batches.
//!
//! `Config` → [`Scraper`]. Knows nothing of where batches go: that is behind
//! [`BatchSink`](model::BatchSink). Everything runs on the tokio runtime on which
//! [`Scraper::start`] is called.

mod cache;
pub mod config;
mod context;
mod discovery;
mod exposition;
mod failure_log;
#[cfg(test)]
mod fixtures;
#[doc(hidden)]
pub mod lab;
mod manager;
mod metrics;
mod pool;
mod sample_rules;
mod scrape;
mod scrape_loop;
mod target;
mod view;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt;
use kit::metrics::SelfMetrics;
use kit::{Clock, Stopper};
use model::{BatchSink, Symbols};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::error;

pub use config::{Config, JobConfig};
pub use scrape_loop::Health;
pub use view::{PoolView, RelabelStep, TargetView};

use context::{Context, Foundation};
use manager::{Manager, Snapshots, Start};
use metrics::Metrics;

/// Says what we are compatible with: some exporters and proxies look for `Prometheus`.
const USER_AGENT: &str =
    concat!("Prometheus/3.14.0 (compatible; rollcall/", env!("CARGO_PKG_VERSION"), ")");

/// What the scraper needs from outside.
pub struct Parts {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where it counts.
    pub metrics: SelfMetrics,
    /// Where label pairs are kept.
    pub symbols: Arc<Symbols>,
    /// Where batches go.
    pub sink: Arc<dyn BatchSink>,
}

/// The running scraper.
pub struct Scraper {
    context: Arc<Context>,
    configs: watch::Sender<Arc<Config>>,
    snapshots: Snapshots,
    first_round: TaskTracker,
    failed: watch::Receiver<bool>,
    stopper: Stopper,
}

// === impl Scraper ===

impl Scraper {
    /// Starts to find and scrape the targets of `config`. Must be called on the runtime that the
    /// scraper shall live on; once per `parts.metrics`.
    pub fn start(config: Arc<Config>, parts: Parts) -> Scraper {
        let Parts { clock, metrics, symbols, sink } = parts;
        let (stopper, shutdown) = Stopper::new();
        let metrics = Metrics::register(&metrics);
        let context = Context::new(Foundation { clock, metrics, symbols, sink, shutdown });
        let (configs, configured) = watch::channel(config);
        let snapshots: Snapshots = Arc::new(ArcSwap::default());
        let first_round = TaskTracker::new();
        let manager = Manager::new(Start {
            context: Arc::clone(&context),
            host: kit::host_name(),
            configs: configured,
            snapshots: Arc::clone(&snapshots),
            first_round: first_round.token(),
        });
        first_round.close();
        let (tells, failed) = watch::channel(false);
        context.loops.spawn(telling_of_a_panic(manager.run(), tells));
        Scraper { context, configs, snapshots, first_round, failed, stopper }
    }

    /// Returns when the scraper has hit a bug and scrapes no more; else never. Its process had
    /// better end, and be started again.
    pub async fn failed(&self) {
        let mut failed = self.failed.clone();
        // The other side is gone without having said so: it has stopped as it should.
        if failed.wait_for(|failed| *failed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes another configuration. What is unchanged in it goes on untouched.
    pub fn apply(&self, config: Arc<Config>) {
        self.configs.send_replace(config);
    }

    /// All pools and their targets, as they are now.
    pub fn pools(&self) -> Vec<PoolView> {
        self.snapshots.load().iter().map(|pool| PoolView::new(pool)).collect()
    }

    /// Returns when every provider has answered, or failed, once, and each target that was found
    /// by then was scraped, well or not.
    pub async fn first_round(&self) {
        self.first_round.wait().await;
    }

    /// Stops everything. No batch is sent after this returns, and no stale markers are written.
    pub async fn stop(&self) {
        self.stopper.stop();
        self.context.loops.close();
        self.context.loops.wait().await;
    }
}

/// Runs `owner`; if it panics, `tells` says so.
async fn telling_of_a_panic(owner: impl Future<Output = ()>, tells: watch::Sender<bool>) {
    if AssertUnwindSafe(owner).catch_unwind().await.is_err() {
        error!("scraping hit a bug and has ended");
        tells.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_owner_is_told_and_an_end_is_not() {
        let (tells, failed) = watch::channel(false);
        telling_of_a_panic(async { panic!("a bug") }, tells).await;
        assert!(*failed.borrow());
        let (tells, mut failed) = watch::channel(false);
        telling_of_a_panic(async {}, tells).await;
        assert!(failed.wait_for(|failed| *failed).await.is_err());
    }
}
