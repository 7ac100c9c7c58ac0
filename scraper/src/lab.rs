//! The page reader for measurements, fuzz targets and tests outside this crate.
//!
//! Not for programs: it changes whenever the inside does.

use std::sync::Arc;

use model::{Labels, Samples, Symbols};

use crate::cache::{PageCache, PageCounts, Room, ScrapeTimes, Shared};
use crate::exposition::Format;
use crate::sample_rules::SampleRules;

/// What targets share.
#[derive(Debug, Clone)]
pub struct Lab {
    symbols: Arc<Symbols>,
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
        let symbols = Symbols::new();
        Lab { shared: Shared::new(Arc::clone(&symbols)), symbols }
    }

    /// A target with these labels.
    pub fn target(&self, labels: Labels) -> Reader {
        let rules = Arc::new(SampleRules::of_target(labels));
        let cache = PageCache::new(&self.shared, rules);
        Reader { cache, room: Room::default(), out: Vec::new(), now_ms: 1_700_000_000_000 }
    }

    /// Bytes of interned label pairs.
    pub fn symbol_bytes(&self) -> usize {
        self.symbols.memory_bytes()
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
            Err(error) => Err(error.to_string()),
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

    /// Bytes of the layout alone.
    pub fn layout_bytes(&self) -> usize {
        self.cache.layout().map_or(0, |layout| layout.memory_bytes())
    }
}
