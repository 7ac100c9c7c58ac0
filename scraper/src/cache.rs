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
//!         cache.end(now_ms, &mut room, &mut batch.samples); // stale markers, if any are due
//!     }
//! }
//! sink.accept(&batch, …);
//! room.reclaim(&mut batch.samples);                        // keeps the memory for the next page
//! ```
//! What is pushed, in this order: the series that vanished (previous layout, stale markers, else
//! absent), if there are any; then the page. An empty body is a good page without samples: its
//! series end, and the page is the old layout with nothing but stale markers (nothing at all is
//! pushed if there was nothing to end).
//!
//! What must hold: the samples are the same as if every page were read for the first time.

mod entries;
mod families;
mod follow;
mod gather;
mod identity;
mod latest_exemplars;
mod lines;
mod plan;
mod rebuild;
mod seen;
mod settle;

use std::collections::HashSet;
use std::sync::Arc;

use model::{ABSENT, Carried, Layout, NEW_SERIES, STALE_MARKER, Samples, Symbols, is_absent};

use crate::exposition::by_line::ByLine;
use crate::exposition::native::NativeError;
use crate::exposition::openmetrics::OpenMetrics;
use crate::exposition::protobuf::Protobuf;
use crate::exposition::text::Text;
use crate::exposition::{Format, Grammar, SyntaxError};
use crate::sample_rules::{RuleFault, SampleRules};
use families::Families;
use follow::Expected;
use gather::Gathered;
use latest_exemplars::LatestExemplars;
use lines::{LineHash, Lines};
use rebuild::{Rebuild, Rebuilt, Refused, Task};
use seen::{Seen, Survivors};
use settle::{Before, Living, Stamps, WITH_PAGE};

pub(crate) use gather::Room;

/// What all page caches of the process share. One instance.
#[derive(Debug)]
pub(crate) struct Shared {
    symbols: Arc<Symbols>,
    families: Families,
    hash: LineHash,
}

/// What the lines of one target's page mean.
#[derive(Debug)]
pub(crate) struct PageCache {
    shared: Arc<Shared>,
    rules: Arc<SampleRules>,
    /// The format of the last good page.
    format: Option<Format>,
    lines: Lines,
    layout: Option<Arc<Layout>>,
    /// Series at the end of the layout that no line gives: refused pages had them.
    strays: usize,
    living: Living,
    stamps: Stamps,
    exemplars: LatestExemplars,
    /// The timestamp of the last good page.
    page_ms: i64,
    /// What a page of exactly these lines counts.
    counts: PageCounts,
    /// Lines that failed scrapes since the last good one have counted as added series.
    counted_before: HashSet<u64>,
    /// What a page that was just refused had said.
    seen: Seen,
}

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
    /// Dropped: the line was in the page before (`…_sample_duplicate_timestamp_total`).
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
    /// It is not what its format asks for.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A native histogram of it is none.
    #[error(transparent)]
    Histogram(NativeError),
    /// A series of it cannot be taken; the label limits are counted in
    /// `prometheus_target_scrape_pool_exceeded_label_limits_total`.
    #[error(transparent)]
    Rule(#[from] RuleFault),
    /// Counted in `prometheus_target_scrapes_exceeded_sample_limit_total`.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// Counted in `prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total`.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
}

/// Lines of failed scrapes that are remembered, beside twice as many as the last good page had.
const COUNTED_BEFORE_MIN: usize = 1000;

// === impl Shared ===

impl Shared {
    /// Caches that intern into `symbols`.
    pub(crate) fn new(symbols: Arc<Symbols>) -> Arc<Shared> {
        let (families, hash) = (Families::default(), LineHash::random());
        Arc::new(Shared { symbols, families, hash })
    }
}

// === impl PageCache ===

impl PageCache {
    /// Knows no line yet.
    pub(crate) fn new(shared: &Arc<Shared>, rules: Arc<SampleRules>) -> PageCache {
        let (format, lines, layout, strays, living, stamps) = Default::default();
        let (exemplars, page_ms, counts, counted_before, seen) = Default::default();
        let shared = Arc::clone(shared);
        PageCache {
            shared,
            rules,
            format,
            lines,
            layout,
            strays,
            living,
            stamps,
            exemplars,
            page_ms,
            counts,
            counted_before,
            seen,
        }
    }

    /// Goes on with rules in which nothing but `sample_limit` differs. Other rules need a cache
    /// of their own: what is remembered was decided by the old ones.
    pub(crate) fn set_rules(&mut self, rules: Arc<SampleRules>) {
        self.rules = rules;
    }

    /// Reads one page and pushes its samples to `out`.
    ///
    /// # Errors
    /// When the whole page is refused. Then nothing was pushed and nothing is forgotten:
    /// [`PageCache::end`] must follow.
    pub(crate) fn read(
        &mut self,
        body: &[u8],
        format: Format,
        times: ScrapeTimes,
        room: &mut Room,
        out: &mut Vec<Samples>,
    ) -> Result<PageCounts, PageError> {
        if body.is_empty() {
            self.end(times.timestamp_ms, room, out);
            return Ok(PageCounts::default());
        }
        let by_entry = self.rules.reads_by_entry(format);
        match format {
            Format::Text if !by_entry => self.read_lines::<Text>(body, format, times, room, out),
            Format::OpenMetrics if !by_entry => {
                self.read_lines::<OpenMetrics>(body, format, times, room, out)
            }
            _ => self.read_entries(body, format, times, room, out),
        }
    }

    /// The scrape failed, or the target is scraped no more: pushes the last page's layout with a
    /// stale marker for every series that has not ended yet, but for those that a page which was
    /// just refused has named, and for those with samples that are later than `timestamp_ms`.
    /// Pushes nothing if there is none.
    pub(crate) fn end(&mut self, timestamp_ms: i64, room: &mut Room, out: &mut Vec<Samples>) {
        let seen = std::mem::take(&mut self.seen);
        if let Some(layout) = self.layout.as_ref().filter(|_| self.living != Living::None) {
            let mut gathered = room.take_absent(layout.len());
            let mut any = false;
            for (at, value) in (0..).zip(gathered.values.iter_mut()) {
                let late = self.stamps.get(at as usize).is_some_and(|stamp| *stamp >= timestamp_ms);
                if self.living.has(at) && !seen.has(at) && !late {
                    *value = STALE_MARKER;
                    any = true;
                }
            }
            if any {
                out.push(gathered.into_samples(Arc::clone(layout), None));
            } else {
                room.give(gathered);
            }
        }
        let symbols = &self.shared.symbols;
        let survivors = seen.survivors(symbols, self.layout.take(), self.strays);
        Survivors { layout: self.layout, strays: self.strays, living: self.living } = survivors;
        if !self.stamps.is_empty() {
            let len = self.layout.as_ref().map_or(0, |layout| layout.len());
            self.stamps.truncate(len - self.strays);
            self.stamps.resize(len, WITH_PAGE);
        }
    }

    /// The layout of the last good page.
    pub(crate) fn layout(&self) -> Option<&Arc<Layout>> {
        self.layout.as_ref()
    }

    /// Bytes of memory, layout included, without what other targets share.
    pub(crate) fn memory_bytes(&self) -> usize {
        let layout = self.layout.as_ref().map_or(0, |layout| layout.memory_bytes());
        let rare = self.stamps.capacity() * 8
            + self.counted_before.capacity() * 9
            + self.exemplars.memory_bytes();
        size_of::<PageCache>() + layout + self.lines.memory_bytes() + rare
    }

    fn read_lines<G: Grammar>(
        &mut self,
        page: &[u8],
        format: Format,
        times: ScrapeTimes,
        room: &mut Room,
        out: &mut Vec<Samples>,
    ) -> Result<PageCounts, PageError> {
        let mut gathered = room.take();
        let mut followed = None;
        if self.format == Some(format) && self.strays == 0 {
            let expected = Expected {
                hash: &self.shared.hash,
                lines: &self.lines,
                series: self.layout.as_ref().map_or(0, |layout| layout.len()),
                honor_timestamps: self.rules.honor_timestamps,
                scrape_ms: times.timestamp_ms,
            };
            let got = expected.follow::<G>(page, &mut gathered);
            if got.complete && !self.is_over_limit(&gathered) {
                return Ok(self.take_same_lines(gathered, times, out));
            }
            followed = Some(got);
        }
        let mut rebuild = Rebuild::new(self.task(times), gathered);
        let read = rebuild.read_lines::<G>(page, followed);
        let read = rebuild.conclude(read);
        self.take(read, format, times, room, out)
    }

    /// A page in which a sample is more than a line.
    fn read_entries(
        &mut self,
        page: &[u8],
        format: Format,
        times: ScrapeTimes,
        room: &mut Room,
        out: &mut Vec<Samples>,
    ) -> Result<PageCounts, PageError> {
        let mut rebuild = Rebuild::new(self.task(times), room.take());
        let histograms = self.rules.histograms;
        let starts = self.rules.start_timestamps;
        let read = match format {
            Format::Protobuf => Protobuf::new(&mut rebuild, histograms).read(page),
            Format::Text => ByLine::new(&mut rebuild, histograms, false).read::<Text>(page),
            Format::OpenMetrics => {
                ByLine::new(&mut rebuild, histograms, starts).read::<OpenMetrics>(page)
            }
        };
        let read = read.and_then(|()| rebuild.check_limits());
        let read = rebuild.conclude(read);
        self.take(read, format, times, room, out)
    }

    fn task(&self, times: ScrapeTimes) -> Task<'_> {
        Task {
            shared: &self.shared,
            rules: &self.rules,
            scrape_ms: times.timestamp_ms,
            old_lines: &self.lines,
            old_layout: self.layout.as_ref(),
            counted_before: &self.counted_before,
        }
    }

    /// Takes in a page that was read anew.
    fn take(
        &mut self,
        read: Result<Rebuilt, Box<Refused>>,
        format: Format,
        times: ScrapeTimes,
        room: &mut Room,
        out: &mut Vec<Samples>,
    ) -> Result<PageCounts, PageError> {
        match read {
            Ok(rebuilt) => {
                self.format = Some(format);
                Ok(self.take_new_lines(rebuilt, times, room, out))
            }
            Err(refused) => {
                let Refused { error, counted, seen, gathered } = *refused;
                room.give(gathered);
                self.seen = seen;
                self.remember_counted(&counted);
                Err(error)
            }
        }
    }

    /// Whether a page with the lines of the one before has too many samples.
    fn is_over_limit(&self, gathered: &Gathered) -> bool {
        let limit = self.rules.limits.samples;
        limit > 0 && self.counts.kept - gathered.duplicates > limit
    }

    /// The page has the lines of the one before.
    fn take_same_lines(
        &mut self,
        mut gathered: Gathered,
        times: ScrapeTimes,
        out: &mut Vec<Samples>,
    ) -> PageCounts {
        let mut counts = PageCounts { duplicates: gathered.duplicates, ..self.counts };
        self.settle(&mut gathered, None, times, &mut counts);
        let layout = self.layout.as_ref().expect("lines that are known have a layout");
        out.push(gathered.into_samples(Arc::clone(layout), None));
        counts
    }

    /// The page has other lines than the one before.
    fn take_new_lines(
        &mut self,
        rebuilt: Rebuilt,
        times: ScrapeTimes,
        room: &mut Room,
        out: &mut Vec<Samples>,
    ) -> PageCounts {
        let Rebuilt { lines, layout, carried, mut gathered, mut counts } = rebuilt;
        self.counts = PageCounts { series_added: 0, duplicates: 0, ..counts };
        counts.duplicates = gathered.duplicates;
        if let Some(carried) = &carried {
            self.push_vanished(carried, times, room, out);
        }
        self.settle(&mut gathered, carried.as_ref(), times, &mut counts);
        (self.lines, self.strays) = (lines, 0);
        self.layout = Some(Arc::clone(&layout));
        out.push(gathered.into_samples(layout, carried));
        counts
    }

    fn settle(
        &mut self,
        gathered: &mut Gathered,
        carried: Option<&Carried>,
        times: ScrapeTimes,
        counts: &mut PageCounts,
    ) {
        let track = self.rules.track_timestamps_staleness;
        let (living, stamps, page_ms) = (&self.living, &self.stamps, self.page_ms);
        let is_first = self.layout.is_none();
        let before = Before { living, stamps, page_ms, is_first, carried };
        (self.living, self.stamps) = before.settle(gathered, times, track, counts);
        self.exemplars.keep_new(&mut gathered.exemplars, carried);
        self.page_ms = times.timestamp_ms;
        if !self.counted_before.is_empty() {
            self.counted_before = HashSet::new();
        }
    }

    /// Stale markers for the living series that the new layout does not have.
    fn push_vanished(
        &self,
        carried: &Carried,
        times: ScrapeTimes,
        room: &mut Room,
        out: &mut Vec<Samples>,
    ) {
        let Some(layout) = self.layout.as_ref().filter(|_| self.living != Living::None) else {
            return;
        };
        let mut gathered = room.take_absent(layout.len());
        gathered.values.fill(STALE_MARKER);
        for old in carried.index.iter().filter(|old| **old != NEW_SERIES) {
            gathered.values[*old as usize] = ABSENT;
        }
        let mut any = false;
        for (at, value) in gathered.values.iter_mut().enumerate() {
            let late = self.stamps.get(at).is_some_and(|stamp| *stamp >= times.timestamp_ms);
            if late || !self.living.has(at as u32) {
                *value = ABSENT;
            }
            any |= !is_absent(*value);
        }
        if any {
            out.push(gathered.into_samples(Arc::clone(layout), None));
        } else {
            room.give(gathered);
        }
    }

    /// What a refused page has counted as added is not counted again.
    fn remember_counted(&mut self, counted: &[u64]) {
        let most = 2 * self.lines.len() + COUNTED_BEFORE_MIN;
        let room = most.saturating_sub(self.counted_before.len());
        self.counted_before.extend(counted.iter().take(room));
    }
}

#[cfg(test)]
mod tests;
