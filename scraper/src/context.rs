//! What all pools and loops of a scraper have in common.

use std::sync::{Arc, Mutex, PoisonError};

use kit::{Clock, Shutdown};
use model::{BatchSink, Symbols};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
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
    first_pages: FirstPages,
    /// A lock, because a reload may change the external labels; held for a copy.
    seed: Mutex<OffsetSeed>,
}

/// Room for the first round, in which all pages of a fleet are new: nobody is served before that is
/// over, so it may have every core, and not only those of the threads that scrape.
#[derive(Debug)]
struct FirstPages {
    cores: Semaphore,
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
            first_pages: FirstPages::new(),
            seed: Mutex::default(),
        })
    }

    /// Does what is to be done about the first page of a target, beside those of other targets.
    pub(crate) async fn read_first(&self, read: impl FnOnce()) {
        let _core = self.first_pages.cores.acquire().await;
        match Handle::current().runtime_flavor() {
            // Another thread goes on with what this one was to do next.
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(read),
            _ => read(),
        }
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

// === impl FirstPages ===

impl FirstPages {
    fn new() -> FirstPages {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        FirstPages { cores: Semaphore::new(cores) }
    }
}
