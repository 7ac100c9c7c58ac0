//! What the lines of one target's page mean, remembered: a line is parsed once in its life.
//!
//! How a scrape uses it:
//! ```text
//! let mut cache = PageCache::new(&shared, rules);          // one per target
//! let mut room = Room::default();                          // one per worker, or per target
//! match cache.read(body, format, times, &mut room, &mut batch.samples) {
//!     Ok(counts) => …                                      // 0–2 `Samples` were pushed
//!     Err(error) => {                                      // nothing was pushed
//!         error.counts; error.to_string();                 // for the report
//!         cache.end(&mut room, &mut batch.samples);        // stale markers, if any are due
//!     }
//! }
//! sink.accept(&batch, …);
//! room.reclaim(&mut batch.samples);                        // keeps the memory for the next page
//! ```
//! What is pushed, in this order: the series that vanished (previous layout, stale markers, else
//! absent), if there are any; then the page. An empty body is a good page without samples: its
//! series end, and the page is the old layout with nothing but stale markers (nothing at all is
//! pushed if there was nothing to end).

use std::sync::Arc;

use model::{Layout, Samples, Symbols};

use crate::exposition::Format;
use crate::sample_rules::SampleRules;

/// What all page caches of the process share. One instance.
#[derive(Debug)]
pub(crate) struct Shared {
    symbols: Arc<Symbols>,
}

/// What the lines of one target's page mean.
#[derive(Debug)]
pub(crate) struct PageCache;

/// The times of a scrape, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScrapeTimes {
    /// The timestamp of the scrape: that of every sample without its own.
    pub(crate) timestamp_ms: i64,
    /// Now: samples more than ten minutes ahead of it are dropped.
    pub(crate) now_ms: i64,
}

/// What was in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PageCounts {
    /// Samples in the page (`scrape_samples_scraped`).
    pub(crate) scraped: u64,
    /// Samples left by relabelling (`scrape_samples_post_metric_relabeling`).
    pub(crate) kept: u64,
    /// Series that the page before did not have (`scrape_series_added`).
    pub(crate) series_added: u64,
    /// Dropped: the series was in the page before (`…_sample_duplicate_timestamp_total`).
    pub(crate) duplicates: u64,
    /// Dropped: not newer than the last sample of its series (`…_sample_out_of_order_total`).
    pub(crate) out_of_order: u64,
    /// Dropped: more than ten minutes in the future (`…_sample_out_of_bounds_total`).
    pub(crate) out_of_bounds: u64,
}

/// Why a page was not taken, and what had been counted by then.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub(crate) struct PageError {
    /// The reason, in Prometheus' words where it has them.
    pub(crate) fault: PageFault,
    /// What the report says about the page.
    pub(crate) counts: PageCounts,
}

/// Why a page was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageFault {
    /// Counted in `prometheus_target_scrapes_exceeded_sample_limit_total`.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// Counted in `prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total`.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
}

/// Memory that pages are read into, kept from one page to the next.
#[derive(Debug, Default)]
pub(crate) struct Room {
    spare: Vec<Samples>,
}

impl Shared {
    /// Caches that intern into `symbols`.
    pub(crate) fn new(symbols: Arc<Symbols>) -> Arc<Shared> {
        Arc::new(Shared { symbols })
    }
}

impl PageCache {
    /// Knows no line yet.
    pub(crate) fn new(shared: &Arc<Shared>, rules: Arc<SampleRules>) -> PageCache {
        todo!()
    }

    /// Goes on with other rules. What is remembered stays if only `sample_limit` differs, as in
    /// Prometheus; otherwise every line is decided again, without a stale marker for series that
    /// stay the same.
    pub(crate) fn set_rules(&mut self, rules: Arc<SampleRules>) {
        todo!()
    }

    /// Reads one page and pushes its samples to `out`.
    ///
    /// # Errors
    /// When the whole page is refused. Then nothing was pushed and nothing is forgotten.
    pub(crate) fn read(
        &mut self,
        body: &[u8],
        format: Format,
        times: ScrapeTimes,
        room: &mut Room,
        out: &mut Vec<Samples>,
    ) -> Result<PageCounts, PageError> {
        todo!()
    }

    /// The scrape failed, or the target is scraped no more: pushes the last page's layout with a
    /// stale marker for every series that has not ended yet. Pushes nothing if there is none.
    pub(crate) fn end(&mut self, room: &mut Room, out: &mut Vec<Samples>) {
        todo!()
    }

    /// The layout of the last good page.
    pub(crate) fn layout(&self) -> Option<&Arc<Layout>> {
        todo!()
    }

    /// Bytes of memory, layout included, without what other targets share.
    pub(crate) fn memory_bytes(&self) -> usize {
        todo!()
    }
}

impl Room {
    /// Takes back the samples of a batch that everyone has read.
    pub(crate) fn reclaim(&mut self, samples: &mut Vec<Samples>) {
        todo!()
    }
}
