//! The page reader for measurements, fuzz targets and tests outside this crate.
//!
//! Not for programs: it changes whenever the inside does.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Labels, Samples, Symbols, is_absent, is_stale_marker};

use crate::cache::{PageCache, PageCounts, Room, ScrapeTimes, Shared};
use crate::exposition::Format;
use crate::sample_rules::{HistogramRules, SampleRules};

/// What targets share.
#[derive(Debug, Clone)]
pub struct Lab {
    shared: Arc<Shared>,
}

/// Reads the pages of one target.
#[derive(Debug)]
pub struct Reader {
    cache: PageCache,
    room: Room,
    out: Vec<Samples>,
    now_ms: i64,
}

/// A format of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFormat {
    /// The text format.
    Text,
    /// OpenMetrics text.
    OpenMetrics,
    /// Delimited protobuf.
    Protobuf,
}

impl Lab {
    /// No pages read yet.
    #[expect(clippy::new_without_default, reason = "a default lab would hide that it interns")]
    pub fn new() -> Lab {
        Lab { shared: Shared::new(Symbols::new()) }
    }

    /// A target with these labels.
    pub fn target(&self, labels: Labels) -> Reader {
        let rules = Arc::new(SampleRules::of_target(labels));
        let cache = PageCache::new(&self.shared, rules);
        Reader { cache, room: Room::default(), out: Vec::new(), now_ms: 1_700_000_000_000 }
    }

    /// A target of whose pages everything is read, and every timestamp ignored.
    fn target_of_everything(&self) -> Reader {
        let mut rules = SampleRules::of_target([("job", "j")].into_iter().collect());
        rules.honor_timestamps = false;
        rules.histograms = HistogramRules { native: true, ..HistogramRules::default() };
        let cache = PageCache::new(&self.shared, Arc::new(rules));
        Reader { cache, room: Room::default(), out: Vec::new(), now_ms: 1_700_000_000_000 }
    }
}

impl Reader {
    /// Reads a page, five seconds after the last one. Says how many samples it had.
    ///
    /// # Errors
    /// Why the page was refused.
    pub fn read(&mut self, page: &[u8], format: PageFormat) -> Result<u64, String> {
        self.now_ms += 5000;
        let times = ScrapeTimes { timestamp_ms: self.now_ms, now_ms: self.now_ms };
        let format = match format {
            PageFormat::Text => Format::Text,
            PageFormat::OpenMetrics => Format::OpenMetrics,
            PageFormat::Protobuf => Format::Protobuf,
        };
        self.room.reclaim(&mut self.out);
        match self.cache.read(page, format, times, &mut self.room, &mut self.out) {
            Ok(PageCounts { scraped, .. }) => Ok(scraped),
            Err(error) => {
                self.cache.end(self.now_ms, &mut self.room, &mut self.out);
                Err(error.to_string())
            }
        }
    }

    /// What the last page gave.
    pub fn samples(&self) -> &[Samples] {
        &self.out
    }

    /// Bytes that this target costs, without what it shares.
    pub fn memory_bytes(&self) -> usize {
        self.cache.memory_bytes()
    }
}

/// Inflates a gzip body as that of an answer. Returns how many bytes the page has.
///
/// # Errors
/// When it is no gzip.
pub fn inflate(body: &[u8]) -> Result<usize, String> {
    crate::scrape::inflate_with(body, u64::MAX, <[u8]>::len).map_err(|error| error.to_string())
}

/// What stands between the pages of one input for a fuzz target.
const PAGE_SEPARATOR: &[u8] = b"\n--\n";

/// The pages in one input for a fuzz target, a few at most.
pub fn split_pages(data: &[u8]) -> Vec<&[u8]> {
    const PAGES_MAX: usize = 8;
    let mut pages = Vec::new();
    let mut rest = data;
    while pages.len() < PAGES_MAX - 1
        && let Some(at) = memchr::memmem::find(rest, PAGE_SEPARATOR)
    {
        // The line break belongs to the page.
        pages.push(&rest[..=at]);
        rest = &rest[at + PAGE_SEPARATOR.len()..];
    }
    pages.push(rest);
    pages
}

/// Reads `pages` one after the other, and each of them as if it were the first; panics if the two
/// differ. For fuzz targets: whatever a target prints, what is remembered must not change what is
/// read.
pub fn check_like_fresh(pages: &[&[u8]], format: PageFormat) {
    let lab = Lab::new();
    let mut cached = lab.target_of_everything();
    for page in pages {
        let mut fresh = lab.target_of_everything();
        let (got, want) = (cached.read(page, format), fresh.read(page, format));
        assert_eq!(got, want, "{:?}", String::from_utf8_lossy(page));
        assert_eq!(cached.content(), fresh.content(), "{:?}", String::from_utf8_lossy(page));
    }
}

impl Reader {
    /// The samples of the last page, without those that end a series.
    fn content(&self) -> BTreeMap<String, Vec<String>> {
        let mut content: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for samples in &self.out {
            let labels = |at: usize| samples.layout.labels(at).to_string();
            for (at, value) in samples.values.iter().enumerate() {
                if !is_absent(*value) && !is_stale_marker(*value) {
                    content.entry(labels(at)).or_default().push(value.to_bits().to_string());
                }
            }
            for stamped in &samples.stamped {
                let entry = content.entry(labels(stamped.series as usize)).or_default();
                entry.push(stamped.value.to_bits().to_string());
            }
            for (at, _, histogram) in &samples.histograms {
                content.entry(labels(*at as usize)).or_default().push(format!("{histogram:?}"));
            }
        }
        content
    }
}
