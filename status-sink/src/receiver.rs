//! Fed by others: what senders of remote write say becomes batches, as if we had scraped.
//!
//! Who reports is told by the labels `job` and `instance`; each such target is a reporter with a
//! lock of its own, so that one sender's message does not wait for another's.
//! What the samples mean, and in which order of time, is the processor's, as for a scrape.
//! Not here: HTTP (`api/receive.rs`).

mod page;
mod reporter;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use model::{Family, Labels, Moment, Role, Symbols};
use rapidhash::fast::RandomState;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use self::page::SeriesKey;
use self::reporter::{Desk, Item, Reporter, Tally};
pub(crate) use self::wire::{Message, Version, WireError};
use crate::metrics::Metrics;
use crate::processor::{Processor, Rules};
use crate::store::Center;

/// Targets that senders tell of. When it bites: their samples are refused and counted.
pub(crate) const REPORTERS_MAX: usize = 100_000;

/// Series that kinds read, over all reporters; about 150 bytes each.
pub(crate) const SERIES_MAX: i64 = 10_000_000;

/// How often is looked at what time has done to reporters.
const TICK: Duration = Duration::from_secs(1);

/// How often labels that no series has any more are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// Takes messages of remote write.
#[derive(Debug)]
pub(crate) struct Receiver {
    center: Arc<Center>,
    sink: Arc<Processor>,
    symbols: Arc<Symbols>,
    family: Arc<Family>,
    /// By job and instance. A lock for a look; reporters have locks of their own.
    reporters: Mutex<Reporters>,
    n_series: AtomicI64,
    ticked: AtomicU64,
    swept: AtomicU64,
}

type Reporters = HashMap<Box<str>, Arc<Mutex<Reporter>>, RandomState>;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Taken {
    /// Samples that can never be taken, however often they are sent.
    pub(crate) n_refused: usize,
    /// Why the first of them cannot.
    pub(crate) why: Option<&'static str>,
}

/// What a message says of one target.
struct Share<'m, 'b> {
    job: &'b str,
    instance: &'b str,
    items: Vec<Item<'m, 'b>>,
}

// === impl Receiver ===

impl Receiver {
    /// Nobody has said anything yet.
    pub(crate) fn new(center: Arc<Center>, sink: Arc<Processor>) -> Arc<Receiver> {
        let (symbols, family) = (Symbols::new(), Arc::new(Family::default()));
        let (reporters, n_series, ticked, swept) = Default::default();
        Arc::new(Receiver { center, sink, symbols, family, reporters, n_series, ticked, swept })
    }

    /// Whether there is a kind that could take anything.
    pub(crate) fn is_open(&self) -> bool {
        !self.center.shelf().kinds.0.is_empty()
    }

    /// Takes a message: when this returns, everyone can see what it says.
    pub(crate) fn take(&self, message: &Message<'_>) -> Taken {
        let rules = Arc::clone(&self.center.shelf().rules);
        let mut taken = Taken::default();
        if let Some((n, why)) = message.invalid {
            taken.refuse(n, why);
        }
        let mut tally = Tally::default();
        for share in shares(message, &rules) {
            let Some(reporter) = self.reporter(share.job, share.instance) else {
                let n = share.items.iter().map(|item| item.samples.len()).sum();
                taken.refuse(n, "there are too many targets already");
                continue;
            };
            let mut reporter = reporter.lock().unwrap_or_else(PoisonError::into_inner);
            let of_share = reporter.take(&share.items, &self.desk());
            self.n_series.fetch_add(of_share.series, Ordering::Relaxed);
            tally.add(of_share);
        }
        taken.refuse(tally.ahead as usize, "a timestamp is too far in the future");
        taken.refuse(tally.no_room as usize, "there are too many series already");
        self.count(message, &tally, &taken);
        taken
    }

    /// Looks at what time has done. To be called some times a second.
    pub(crate) fn tick(&self) {
        let now = self.center.clock.now();
        if !is_due(&self.ticked, now, TICK) {
            return;
        }
        let reporters: Vec<_> = {
            let known = self.reporters.lock().unwrap_or_else(PoisonError::into_inner);
            known.iter().map(|(name, reporter)| (name.clone(), Arc::clone(reporter))).collect()
        };
        for (name, reporter) in reporters {
            let mut reporter = reporter.lock().unwrap_or_else(PoisonError::into_inner);
            if !reporter.tick(&self.desk()) {
                self.n_series.fetch_sub(reporter.len() as i64, Ordering::Relaxed);
                let mut known = self.reporters.lock().unwrap_or_else(PoisonError::into_inner);
                known.remove(&name);
            }
        }
        if is_due(&self.swept, now, SWEEP) {
            self.symbols.sweep();
        }
    }

    /// Number of targets that senders tell of.
    pub(crate) fn n_reporters(&self) -> usize {
        self.reporters.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The target of this job and instance; none if there may be no more.
    fn reporter(&self, job: &str, instance: &str) -> Option<Arc<Mutex<Reporter>>> {
        let name = format!("{job}\0{instance}");
        let mut known = self.reporters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reporter) = known.get(name.as_str()) {
            return Some(Arc::clone(reporter));
        }
        if known.len() >= REPORTERS_MAX {
            return None;
        }
        let labels: Labels = [("job", job), ("instance", instance)].into_iter().collect();
        let reporter = Arc::new(Mutex::new(Reporter::new(labels, self.center.clock.now())));
        known.insert(name.into(), Arc::clone(&reporter));
        Some(reporter)
    }

    fn desk(&self) -> Desk<'_> {
        let free = SERIES_MAX - self.n_series.load(Ordering::Relaxed);
        Desk {
            now: self.center.clock.now(),
            unix_ms: self.center.clock.unix_ms(),
            symbols: &self.symbols,
            family: &self.family,
            sink: &self.sink,
            series_free: usize::try_from(free).unwrap_or(0),
        }
    }

    fn count(&self, message: &Message<'_>, tally: &Tally, taken: &Taken) {
        let metrics: &Metrics = &self.center.metrics;
        metrics.received_samples.inc_by(message.n_samples() as u64);
        metrics.old_samples.inc_by(tally.old);
        metrics.refused_samples.inc_by(taken.n_refused as u64);
    }
}

/// The series of a message by target. Of a target of which a message has no series that a kind
/// reads, one is kept: it tells that the target answered.
fn shares<'m, 'b>(message: &'m Message<'b>, rules: &Rules) -> Vec<Share<'m, 'b>> {
    let mut places: HashMap<(&'b str, &'b str), usize, RandomState> = HashMap::default();
    let mut shares: Vec<Share<'m, 'b>> = Vec::new();
    for series in message.series() {
        let label = |name: &str| {
            let found = series.labels.binary_search_by_key(&name, |(name, _)| name);
            found.map_or("", |at| series.labels[at].1)
        };
        let (metric, job, instance) = (label("__name__"), label("job"), label("instance"));
        let at = *places.entry((job, instance)).or_insert_with(|| {
            shares.push(Share { job, instance, items: Vec::new() });
            shares.len() - 1
        });
        let is_up = metric == "up";
        let is_read = rules.reads(metric);
        let role = if is_up || is_report(metric) { Role::Report } else { Role::Page };
        let tells_nothing_more = |it: &Item<'_, '_>| {
            !it.is_read && !it.is_up && it.role == role && it.samples == series.samples
        };
        let items = &mut shares[at].items;
        if !is_read && !is_up && items.iter().rev().take(8).any(tells_nothing_more) {
            continue;
        }
        let key = if is_read { key_of(series.labels) } else { 0 };
        let item =
            Item { key, labels: series.labels, samples: series.samples, role, is_up, is_read };
        items.push(item);
    }
    shares
}

/// Whether a metric is one that a scraper reports about its scrape.
fn is_report(metric: &str) -> bool {
    const REPORT: [&str; 7] = [
        "scrape_body_size_bytes",
        "scrape_duration_seconds",
        "scrape_sample_limit",
        "scrape_samples_post_metric_relabeling",
        "scrape_samples_scraped",
        "scrape_series_added",
        "scrape_timeout_seconds",
    ];
    REPORT.binary_search(&metric).is_ok()
}

/// What identifies a series of these sorted labels, whichever message it came in.
fn key_of(labels: &[(&str, &str)]) -> SeriesKey {
    static SEEDS: [RapidSecrets; 2] = [RapidSecrets::seed(1), RapidSecrets::seed(2)];
    const ODD: u128 = 0x2545_F491_4F6C_DD1D_9E37_79B9_7F4A_7C15;
    let mut key: SeriesKey = labels.len() as u128;
    for (name, value) in labels {
        for text in [name, value] {
            let half = |seed| u128::from(rapidhash_v3_seeded(text.as_bytes(), seed));
            key = (key.rotate_left(23) ^ half(&SEEDS[0]) << 64 ^ half(&SEEDS[1])).wrapping_mul(ODD);
        }
    }
    key
}

/// Whether `every` has passed since it was due last; then it is due again after `every`.
fn is_due(last: &AtomicU64, now: Moment, every: Duration) -> bool {
    let before = last.load(Ordering::Relaxed);
    let due = now.since(Moment(before)) >= every;
    due && last.compare_exchange(before, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

// === impl Taken ===

impl Taken {
    fn refuse(&mut self, n: usize, why: &'static str) {
        if n > 0 {
            self.n_refused += n;
            self.why.get_or_insert(why);
        }
    }
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, other: Tally) {
        self.old += other.old;
        self.ahead += other.ahead;
        self.no_room += other.no_room;
        self.series += other.series;
    }
}
