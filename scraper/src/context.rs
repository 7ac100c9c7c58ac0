//! What all pools and loops of a scraper have in common.

use std::sync::{Arc, Mutex, PoisonError};

use kit::{Clock, Shutdown};
use model::{BatchSink, Symbols};
use tokio_util::task::TaskTracker;

use crate::cache;
use crate::metrics::Metrics;
use crate::scrape::Buffers;
use crate::scrape_loop::Sources;
use crate::target::OffsetSeed;

/// Shared by reference; lives as long as the scraper.
pub(crate) struct Context {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) symbols: Arc<Symbols>,
    pub(crate) sink: Arc<dyn BatchSink>,
    pub(crate) caches: Arc<cache::Shared>,
    pub(crate) buffers: Buffers,
    pub(crate) sources: Sources,
    /// Told when the scraper stops. Nothing is sent after that.
    pub(crate) shutdown: Shutdown,
    /// Every loop, so that the scraper can wait for all of them.
    pub(crate) loops: TaskTracker,
    /// A lock, because a reload may change the external labels; held for a copy.
    seed: Mutex<OffsetSeed>,
}

/// What a [`Context`] is made of.
pub(crate) struct Foundation {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) symbols: Arc<Symbols>,
    pub(crate) sink: Arc<dyn BatchSink>,
    pub(crate) shutdown: Shutdown,
}

// === impl Context ===

impl Context {
    pub(crate) fn new(foundation: Foundation) -> Arc<Context> {
        let Foundation { clock, metrics, symbols, sink, shutdown } = foundation;
        Arc::new(Context {
            clock,
            metrics,
            caches: cache::Shared::new(Arc::clone(&symbols)),
            symbols,
            sink,
            buffers: Buffers::default(),
            sources: Sources::default(),
            shutdown,
            loops: TaskTracker::new(),
            seed: Mutex::default(),
        })
    }

    /// What shifts the offsets of all targets.
    pub(crate) fn seed(&self) -> OffsetSeed {
        *self.seed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loops that start from now on take their offset from `seed`.
    pub(crate) fn set_seed(&self, seed: OffsetSeed) {
        *self.seed.lock().unwrap_or_else(PoisonError::into_inner) = seed;
    }
}
