//! What a scrape becomes, in good times and bad: one batch, handed on without waiting.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use model::{Batch, Moment, Outcome, Samples, Selection};
use tracing::{debug, info, warn};

use super::report::Report;
use super::status::{Health, Observation};
use super::{ScrapeLoop, content_type};
use crate::cache::{PageCounts, PageError, Room, ScrapeTimes};
use crate::exposition::Format;
use crate::scrape::{Answer, ScrapeError};
use crate::target::Target;

/// Why a scrape brought no page, and what the report says about it.
pub(super) struct Failure {
    text: Arc<str>,
    counts: PageCounts,
    body_bytes: i64,
}

/// A page that was read.
struct Page {
    counts: PageCounts,
    body_bytes: i64,
}

thread_local! {
    /// What pages are read into: one for each thread that scrapes, not one for each target.
    static ROOM: RefCell<(Room, Vec<Samples>)> = RefCell::default();
}

// === impl Failure ===

impl Failure {
    /// The target is not asked at all.
    pub(super) fn forced(text: Arc<str>) -> Failure {
        Failure { text, counts: PageCounts::default(), body_bytes: 0 }
    }
}

// === impl ScrapeLoop ===

impl ScrapeLoop {
    /// The scrape itself failed; that is what scrape failure logs are for.
    pub(super) fn failed(&self, error: &ScrapeError) -> Failure {
        if matches!(error, ScrapeError::BodyTooLarge) {
            self.context.metrics.scrape.exceeded_body_size_limit.inc();
        }
        let text: Arc<str> = error.text().into();
        let (now_ms, url) = (self.context.clock.unix_ms(), &self.assignment.target.url);
        self.assignment.failure_log.write(now_ms, &text, url);
        let body_bytes = if matches!(error, ScrapeError::BodyTooLarge) { -1 } else { 0 };
        Failure { text, counts: PageCounts::default(), body_bytes }
    }

    /// Reads the answer and sends the batch.
    pub(super) fn hand_on(
        &mut self,
        answer: Result<Answer, Failure>,
        started: Moment,
        timestamp_ms: i64,
    ) {
        ROOM.with_borrow_mut(|(room, samples)| {
            samples.clear(); // of a panic in between
            let sent = answer.as_ref().map_or(started, |answer| answer.sent);
            let page = answer.and_then(|answer| self.read(&answer, timestamp_ms, room, samples));
            if page.is_err() {
                self.memory.cache.end(timestamp_ms, room, samples);
            }
            let duration = self.context.clock.now().since(started);
            samples.push(self.memory.report.samples(&self.report(&page, duration)));
            let failure = page.err().map(|failure| failure.text);
            self.note(failure.clone(), timestamp_ms, duration);
            let outcome = failure.map_or(Outcome::Complete, Outcome::Failed);
            self.send(sent, timestamp_ms, outcome, room, samples);
        });
        self.account();
        self.context.metrics.scrape.finished(self.context.clock.now().since(started));
    }

    /// Says how much memory the target takes.
    fn account(&mut self) {
        let cache = &self.memory.cache;
        let layout = cache.layout().map_or(0, |layout| layout.memory_bytes());
        let [lines, layouts] = &mut self.memory.bytes;
        lines.set(cache.memory_bytes() - layout);
        if layouts.set(layout) {
            let pairs = i64::try_from(self.context.symbols.memory_bytes()).unwrap_or(i64::MAX);
            self.context.metrics.scrape.memory.label_pairs.set(pairs);
        }
    }

    /// The target is scraped no more: ends every series, except those that `stays` names.
    pub(super) fn send_end(&mut self, timestamp_ms: i64, stays: impl FnOnce(&mut Vec<Samples>)) {
        ROOM.with_borrow_mut(|(room, samples)| {
            samples.clear();
            self.memory.cache.end(timestamp_ms, room, samples);
            samples.push(self.memory.report.stale());
            stays(samples);
            let now = self.context.clock.now();
            self.send(now, timestamp_ms, Outcome::Ended, room, samples);
        });
    }

    fn read(
        &mut self,
        answer: &Answer,
        timestamp_ms: i64,
        room: &mut Room,
        samples: &mut Vec<Samples>,
    ) -> Result<Page, Failure> {
        let times = ScrapeTimes { timestamp_ms, now_ms: self.context.clock.unix_ms() };
        let (cache, fallback) = (&mut self.memory.cache, self.assignment.fallback);
        let read = answer.with_page(|page| {
            let body_bytes = i64::try_from(page.len()).unwrap_or(i64::MAX);
            let format = match content_type::format(&answer.content_type, fallback) {
                Ok(format) => format,
                // With nothing to read it does not matter in which format it is.
                Err(_) if page.is_empty() => Format::Text,
                Err(error) => {
                    let text = error.to_string().into();
                    return Err(Failure { text, counts: PageCounts::default(), body_bytes });
                }
            };
            match cache.read(page, format, times, room, samples) {
                Ok(counts) => Ok(Page { counts, body_bytes }),
                Err(PageError { fault, counts }) => {
                    self.context.metrics.scrape.refused(&fault);
                    Err(Failure { text: fault.to_string().into(), counts, body_bytes })
                }
            }
        });
        let page = read.unwrap_or_else(|error| Err(self.failed(&error)));
        let counts = page.as_ref().map_or_else(|failure| failure.counts, |page| page.counts);
        self.context.metrics.scrape.read(&counts);
        page
    }

    fn report(&self, page: &Result<Page, Failure>, duration: Duration) -> Report {
        let (counts, body_bytes) = match page {
            Ok(page) => (page.counts, page.body_bytes),
            Err(failure) => (failure.counts, failure.body_bytes),
        };
        let timeout = self.assignment.target.timeout;
        let sample_limit = self.assignment.rules.limits.samples;
        Report { up: page.is_ok(), duration, counts, timeout, sample_limit, body_bytes }
    }

    /// Tells whoever asks about the target; logs when it begins or ceases to fail.
    fn note(&mut self, failure: Option<Arc<str>>, timestamp_ms: i64, duration: Duration) {
        let Target { url, labels, .. } = &*self.assignment.target;
        let job = labels.get("job").unwrap_or_default();
        match &failure {
            Some(error) if !self.memory.failing => warn!(job, url, %error, "scrape failed"),
            Some(error) => debug!(job, url, %error, "scrape failed again"),
            None if self.memory.failing => info!(job, url, "scrape succeeds again"),
            None => {}
        }
        self.memory.failing = failure.is_some();
        self.status.observe(Observation {
            health: if failure.is_some() { Health::Down } else { Health::Up },
            last_error: failure,
            last_scrape_ms: Some(timestamp_ms),
            last_duration: duration,
            layout: self.memory.cache.layout().cloned(),
        });
    }

    fn send(
        &mut self,
        sent: Moment,
        timestamp_ms: i64,
        outcome: Outcome,
        room: &mut Room,
        samples: &mut Vec<Samples>,
    ) {
        let source = Arc::clone(&self.memory.source);
        let batch = Batch { source, sent, timestamp_ms, outcome, samples: std::mem::take(samples) };
        let count: usize = batch.samples.iter().map(|samples| samples.values.len()).sum();
        self.context.metrics.scrape.samples.inc_by(count as u64);
        const ALL: [Selection; 3] = [Selection::All, Selection::All, Selection::All];
        self.context.sink.accept(&batch, &ALL[..batch.samples.len()], &mut self.memory.memo);
        *samples = batch.samples;
        room.reclaim(samples);
    }
}
