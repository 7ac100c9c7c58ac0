//! One destination: a queue, its shards and their senders, around one module.
//!
//! As a `BatchSink` it appends what it is given to open blocks and returns; everything that waits
//! happens in the senders. What holds: `accepted = delivered + queued + dropped`, see `ledger.rs`;
//! the samples of one series leave in the order in which they came, over resharding too.

mod append;
mod plan;
mod rules;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use kit::Clock;
use model::{Batch, BatchSink, Labels, Memo, Role, Samples, Selection};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use self::append::{Appender, Page, Scatter};
use self::plan::{Form, Plan};
use self::rules::LabelRules;
use crate::block::Counts;
use crate::config::DestinationConfig;
use crate::ledger::{Ledger, Reason};
use crate::metadata::{self, SeenFamilies};
use crate::metrics::Meters;
use crate::module::{BuildError, Module};
use crate::queue::Queue;
use crate::resharding;
use crate::sender::{Before, Sender};
use crate::shard::{BufferPool, Shard};

/// A source with more series than this is spread over shards series by series; a smaller one goes
/// to one shard as a whole, which scatters nothing and compresses better. Decided once a source.
const SERIES_OF_A_LARGE_SOURCE: usize = 10_000;

/// What feeds one module.
pub(crate) struct Destination {
    pub(crate) config: DestinationConfig,
    pub(crate) module: Box<dyn Module>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) meters: Meters,
    pub(crate) families: SeenFamilies,
    pub(crate) clock: Arc<dyn Clock>,
    /// Told when waiting for the queue to empty is over: it is empty, or there was no more time.
    pub(crate) abandoned: CancellationToken,
    rules: LabelRules,
    /// A lock, because every batch goes to shards that resharding exchanges now and then; held for
    /// one batch.
    shards: RwLock<Shards>,
    tasks: Handle,
}

/// The shards that samples go to now. Empty once the destination is stopped.
struct Shards {
    current: Vec<Arc<Shard>>,
    /// Told that no more samples come to these shards.
    finish: CancellationToken,
    /// Their senders, who end when their lanes are empty.
    senders: TaskTracker,
}

/// What a destination remembers about one source.
struct Notes {
    /// Of the source's labels: says which shard a small source goes to.
    hash: u64,
    is_large: Option<bool>,
    page: Option<Planned>,
    report: Option<Planned>,
}

struct Planned {
    plan: Plan,
    scatter: Option<Scatter>,
}

// === impl Destination ===

impl Destination {
    /// Builds the module and starts the senders on `tasks`. `before` is a destination of the same
    /// name that is on its way out: its books are carried on, and nothing is sent before it ended.
    pub(crate) fn start(
        config: DestinationConfig,
        clock: Arc<dyn Clock>,
        tasks: Handle,
        before: Option<&Arc<Destination>>,
    ) -> Result<Arc<Destination>, BuildError> {
        let module = (config.build)(&clock)?;
        let ledger = before.map_or_else(Arc::default, |before| Arc::clone(&before.ledger));
        let queue = Queue::new(config.queue.limits(), Arc::clone(&ledger), Arc::clone(&clock));
        let rules = LabelRules::new(&config.external_labels, &config.relabel);
        let shards = Shards::none();
        let destination = Arc::new(Destination {
            module,
            ledger,
            queue: Arc::new(queue),
            pool: Arc::default(),
            meters: Meters::default(),
            families: SeenFamilies::default(),
            clock,
            abandoned: CancellationToken::new(),
            rules,
            shards: RwLock::new(shards),
            tasks,
            config,
        });
        let before = before.map(|before| Before::Destination(before.abandoned.clone()));
        let shards = destination.config.queue.shards_min;
        let started = destination.shards_of(shards, before);
        *destination.write_shards() = started;
        destination.tasks.spawn(resharding::watch(Arc::downgrade(&destination)));
        if let Some(plan) = destination.config.metadata {
            destination.tasks.spawn(metadata::keep_sending(Arc::downgrade(&destination), plan));
        }
        Ok(destination)
    }

    /// Sends with so many shards from now on. What the shards until now hold is sent first.
    pub(crate) fn reshard(self: &Arc<Destination>, shards: usize) {
        let mut current = self.write_shards();
        if current.current.is_empty() || current.current.len() == shards {
            return;
        }
        info!(
            destination = %self.config.name, from = current.current.len(), to = shards,
            "resharding"
        );
        current.end();
        let before = Before::Shards(current.senders.clone());
        *current = self.shards_of(shards, Some(before));
    }

    /// Takes no more samples, sends what is queued for `deadline` at most, and drops the rest.
    pub(crate) async fn stop(&self, deadline: Duration) {
        let senders = {
            let mut shards = self.write_shards();
            shards.end();
            shards.current.clear();
            shards.senders.clone()
        };
        if tokio::time::timeout(deadline, senders.wait()).await.is_err() {
            self.abandoned.cancel();
            senders.wait().await;
        }
        self.abandoned.cancel();
    }

    /// How many shards send now.
    pub(crate) fn shard_count(&self) -> usize {
        self.read_shards().current.len()
    }

    /// Samples in open blocks.
    #[cfg(test)]
    pub(crate) fn open_counts(&self) -> Counts {
        self.read_shards().current.iter().map(|shard| shard.open_counts()).sum()
    }

    fn shards_of(self: &Arc<Destination>, count: usize, before: Option<Before>) -> Shards {
        let mut shards = Shards::none();
        let samples_max = self.config.queue.samples_per_block_max;
        for _ in 0..count {
            let (queue, pool) = (Arc::clone(&self.queue), Arc::clone(&self.pool));
            let encoding = self.module.format().encoding;
            let shard = Arc::new(Shard::new(queue, pool, encoding, samples_max));
            let sender = Sender {
                destination: Arc::clone(self),
                shard: Arc::clone(&shard),
                finish: shards.finish.clone(),
                before: before.clone(),
            };
            shards.senders.spawn_on(sender.run(), &self.tasks);
            shards.current.push(shard);
        }
        shards.senders.close();
        shards
    }

    fn read_shards(&self) -> RwLockReadGuard<'_, Shards> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_shards(&self) -> RwLockWriteGuard<'_, Shards> {
        self.shards.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books and appends the samples of one page. Returns how many there were.
    fn take(
        &self,
        page: &Page<'_>,
        planned: &Planned,
        notes: (u64, bool),
        shards: &[Arc<Shard>],
    ) -> u64 {
        let dropped = page.count(|form| form == Form::Dropped);
        if !dropped.is_empty() {
            self.ledger.accept(Counts::default(), &[(Reason::DroppedSeries, dropped)]);
            self.meters.rates.dropped(dropped.total());
        }
        let encoding = self.module.format().encoding;
        let append = |shard: &Shard, chosen: Option<&[u32]>| {
            let mut appender = Appender::new(shard, encoding, &self.ledger);
            match chosen {
                Some(chosen) => appender.some_of(page, chosen),
                None => appender.page(page),
            }
            appender.appended()
        };
        let (hash, is_large) = notes;
        let appended = match shards {
            [] => {
                let stopped = page.count(|form| form != Form::Dropped);
                self.ledger.accept(Counts::default(), &[(Reason::Stopped, stopped)]);
                stopped
            }
            [shard] => append(shard, None),
            _ if !is_large => append(&shards[(hash % shards.len() as u64) as usize], None),
            _ => {
                let scatter = planned.scatter.as_ref().expect("made for a large source");
                let shards = shards.iter().enumerate();
                shards.map(|(at, shard)| append(shard, Some(scatter.of_shard(at)))).sum()
            }
        };
        (appended + dropped).total()
    }
}

impl BatchSink for Destination {
    fn accept(&self, batch: &Batch, selected: &[Selection], memo: &mut Memo) {
        if selected.iter().all(|selection| matches!(selection, Selection::None)) {
            return;
        }
        let shards = self.read_shards();
        let notes = memo.get_or_insert_with(|| Notes::new(&batch.source.labels));
        let mut came = 0;
        for (samples, selection) in batch.samples.iter().zip(selected) {
            if matches!(selection, Selection::None) {
                continue;
            }
            let is_large = notes.is_large(samples.layout.len());
            let hash = notes.hash;
            let scatter_over = (is_large && shards.current.len() > 1).then(|| shards.current.len());
            let planned = notes.planned(samples, selection, self, scatter_over);
            let page = Page {
                samples,
                plan: &planned.plan,
                external: self.rules.external(),
                timestamp_ms: batch.timestamp_ms,
                wants: self.config.wants,
            };
            came += self.take(&page, planned, (hash, is_large), &shards.current);
        }
        self.meters.took(came, batch.timestamp_ms);
    }
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Destination({})", self.config.name)
    }
}

// === impl Shards ===

impl Shards {
    fn none() -> Shards {
        let (current, finish, senders) = (Vec::new(), CancellationToken::new(), TaskTracker::new());
        Shards { current, finish, senders }
    }

    /// Seals what is open and lets the senders end when they have sent it.
    fn end(&mut self) {
        self.current.iter().for_each(|shard| shard.flush());
        self.finish.cancel();
    }
}

// === impl Notes ===

impl Notes {
    fn new(labels: &Labels) -> Notes {
        let mut hash = 0_u64;
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            hash = hash.rotate_left(21) ^ rapidhash::v3::rapidhash_v3(text.as_bytes());
        }
        Notes { hash, is_large: None, page: None, report: None }
    }

    /// Whether the source is spread series by series: decided by its first page.
    fn is_large(&mut self, series: usize) -> bool {
        *self.is_large.get_or_insert(series > SERIES_OF_A_LARGE_SOURCE)
    }

    /// The plan for these samples: the one that is known, or a new one.
    fn planned(
        &mut self,
        samples: &Samples,
        selection: &Selection,
        destination: &Destination,
        scatter_over: Option<usize>,
    ) -> &Planned {
        let slot = match samples.role {
            Role::Page => &mut self.page,
            Role::Report => &mut self.report,
        };
        let layout = &samples.layout;
        let known = slot.take();
        let mut planned = match known {
            Some(known) if known.plan.is_for(layout.id(), selection) => known,
            known => {
                let before = known.as_ref().map(|known| &known.plan);
                let plan = Plan::make(samples, selection, &destination.rules, before);
                if samples.role == Role::Page && destination.config.metadata.is_some() {
                    destination.families.see(layout, selection);
                }
                Planned { plan, scatter: None }
            }
        };
        let scattered = planned.scatter.as_ref().map(Scatter::shards);
        if scattered != scatter_over {
            planned.scatter = scatter_over.map(|shards| Scatter::new(layout, shards));
        }
        slot.insert(planned)
    }
}
