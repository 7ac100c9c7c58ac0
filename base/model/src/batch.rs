//! The samples of one scrape, after metric relabelling: the unit that moves between parts.
//!
//! A batch is lent, never given: the scrape loop reuses its buffers, so a sink reads what it needs
//! before [`BatchSink::accept`](crate::BatchSink::accept) returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::{Layout, LayoutId};
use crate::{Exemplar, Histogram, Labels, Moment};

/// Tells sources apart; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u64);

/// Who prints pages: a scraped target, or a sender of remote write that stands for one.
#[derive(Debug)]
pub struct Source {
    /// Which source this is.
    pub id: SourceId,
    /// Its public labels (`job`, `instance`, …): what every one of its series carries.
    pub labels: Labels,
}

/// What one scrape of one source gave, in good times and bad.
#[derive(Debug)]
pub struct Batch {
    /// Who was scraped.
    pub source: Arc<Source>,
    /// When the request was sent, by our monotonic clock: the time of observation.
    pub sent: Moment,
    /// The scrape's timestamp: that of every sample which has none of its own.
    pub timestamp_ms: i64,
    /// How the scrape went.
    pub outcome: Outcome,
    /// The samples, in the order in which they must be taken: series that vanished (of the
    /// layout before, all values stale markers or absent), then the page, then the report.
    /// Any of them may be missing.
    pub samples: Vec<Samples>,
}

/// How a scrape went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything the source has to say is in the page.
    Complete,
    /// The scrape failed: the page is not known. The first such batch carries stale markers.
    Failed(Arc<str>),
    /// The source is no longer scraped (removed from its pool). Nothing follows.
    Ended,
}

/// What a block of samples is, in the life of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// What the source printed. Its layouts follow each other.
    Page,
    /// What we say about the scrape: `up` and its kin. Same layout each time.
    Report,
}

/// One layout and one value per series of it.
#[derive(Debug)]
pub struct Samples {
    /// What these samples are. Plans made per layout belong to one (source, role).
    pub role: Role,
    /// The series.
    pub layout: Arc<Layout>,
    /// Set in the batch in which `layout` replaces another one of the same role.
    pub carried: Option<Carried>,
    /// `values[i]` belongs to series `i`; [`ABSENT`](crate::ABSENT) where there is none.
    /// Invariant: as long as the layout.
    pub values: Vec<f64>,
    /// Samples with a timestamp of their own, by series; their `values` are absent.
    pub stamped: Vec<Stamped>,
    /// Native histograms `(series, timestamp_ms if its own, histogram)`, by series.
    pub histograms: Vec<(u32, Option<i64>, Histogram)>,
    /// Exemplars `(series, exemplar)`, by series.
    pub exemplars: Vec<(u32, Exemplar)>,
    /// Start timestamps in milliseconds `(series, since)`, by series.
    pub created: Vec<(u32, i64)>,
}

/// A sample with its own timestamp. One series may have several in a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamped {
    /// Index into the layout.
    pub series: u32,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The value; a stale marker if the series ended.
    pub value: f64,
}

/// Where the series of a new layout were in the one before: plans can be carried over.
#[derive(Debug, Clone)]
pub struct Carried {
    /// The layout before.
    pub from: LayoutId,
    /// Per series of the new layout: its index before, or [`NEW_SERIES`](crate::NEW_SERIES).
    pub index: Vec<u32>,
}

// === impl Source ===

impl Source {
    /// A new source with these public labels.
    pub fn new(labels: Labels) -> Arc<Source> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Source { id: SourceId(NEXT.fetch_add(1, Ordering::Relaxed)), labels })
    }
}

// === impl Samples ===

impl Samples {
    /// Samples that have a value each and nothing beside it.
    pub fn plain(role: Role, layout: Arc<Layout>, values: Vec<f64>) -> Samples {
        let (carried, stamped, histograms, exemplars, created) = Default::default();
        Samples { role, layout, carried, values, stamped, histograms, exemplars, created }
    }

    /// Whether there is nothing but `values`: the fast way through every encoder.
    pub fn is_plain(&self) -> bool {
        self.stamped.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty()
    }
}
