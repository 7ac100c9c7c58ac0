//! One destination: a queue, its shards and their senders, around one module.
//!
//! As a `BatchSink` it appends what it is given to open blocks and returns; everything that waits
//! happens in the senders. What holds: `accepted = delivered + queued + dropped`, see `ledger.rs`;
//! the samples of one series leave in the order in which they came, over resharding too.

mod append;
mod backlog;
mod plan;
mod rules;
mod thinning;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use kit::Clock;
use kit::metrics::Share;
use model::{Batch, BatchSink, Labels, Memo, Role, Samples, Selection};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use self::append::{Appender, Page, Scatter, stencil};
use self::plan::{Form, Plan};
use self::rules::LabelRules;
use self::thinning::Thinning;
use crate::block::{Counts, Encoding};
use crate::config::DestinationConfig;
use crate::dead_letters::DeadLetters;
use crate::delivery::SearchBudget;
use crate::disk::{Keeper, KeeperConfig};
use crate::encode::Stencil;
use crate::ledger::{Ledger, Reason};
use crate::metadata::{self, SeenFamilies};
use crate::metrics::Meters;
use crate::module::{BuildError, Module};
use crate::pace::Pace;
use crate::queue::{Order, Origin, Queue};
use crate::resharding;
use crate::sender::{Before, Sender};
use crate::shard::Shard;

/// A source with more series than this is spread over shards series by series; a smaller one goes
/// to one shard as a whole, which scatters nothing and compresses better. Decided once a source.
const SERIES_OF_A_LARGE_SOURCE: usize = 10_000;
/// A stencil is made for a page that came so often as it is: making it costs about as much as three
/// pages without one.
const USES_BEFORE_STENCIL: u8 = 2;
/// Where queues on disk are in the daemon's folder.
const QUEUES_FOLDER: &str = "queues";
/// `best_effort` series are not taken while the queue is fuller than this.
const SHED_ABOVE: f64 = 0.5;

/// What feeds one module.
pub(crate) struct Destination {
    pub(crate) config: DestinationConfig,
    pub(crate) module: Box<dyn Module>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) queue: Arc<Queue>,
    /// Of a durable destination.
    pub(crate) keeper: Option<Keeper>,
    pub(crate) dead_letters: Option<DeadLetters>,
    pub(crate) search_budget: SearchBudget,
    pub(crate) pace: Option<Pace>,
    pub(crate) meters: Meters,
    pub(crate) families: SeenFamilies,
    pub(crate) clock: Arc<dyn Clock>,
    /// Told when waiting for the queue to empty is over: it is empty, or there was no more time.
    pub(crate) abandoned: CancellationToken,
    /// Told when the destination takes no more samples.
    pub(crate) stopping: CancellationToken,
    /// Whether a block was left on disk at the end: none behind it is sent either.
    pub(crate) left: AtomicBool,
    rules: LabelRules,
    /// Counts the sets of shards.
    sets: AtomicU32,
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
    thinning: Thinning,
    page: Option<Planned>,
    report: Option<Planned>,
}

struct Planned {
    plan: Plan,
    scatter: Option<Scatter>,
    /// Made when the plan is used for the [third](USES_BEFORE_STENCIL) time: pages that change each
    /// time have none.
    stencil: Option<(Stencil, Share)>,
    /// How often it was used, as far as that matters.
    uses: u8,
}

// === impl Destination ===

impl Destination {
    /// Builds the module and starts the senders on `tasks`. `before` is a destination of the same
    /// name that is on its way out: its books are carried on, and nothing is sent before it ended.
    /// Queues on disk are in `storage` unless the configuration says where.
    pub(crate) fn start(
        config: DestinationConfig,
        clock: Arc<dyn Clock>,
        tasks: Handle,
        before: Option<&Arc<Destination>>,
        storage: &Path,
    ) -> Result<Arc<Destination>, BuildError> {
        let module = (config.build)(&clock)?;
        let ledger = before.map_or_else(Arc::default, |before| Arc::clone(&before.ledger));
        let disk = config.delivery.disk.as_ref();
        let keeper = disk.map(|_| Keeper::default());
        let limits = config.queue.limits(disk.map_or(u64::MAX, |disk| disk.memory_bytes));
        let delivery = &config.delivery;
        let (shared, clock_of) = (Arc::clone(&ledger), Arc::clone(&clock));
        let queue = Queue::new(limits, delivery.order, shared, clock_of, keeper.clone());
        let best_effort = delivery.best_effort.clone();
        let rules = LabelRules::new(&config.external_labels, &config.relabel, best_effort);
        let destination = Arc::new(Destination {
            module,
            ledger,
            queue: Arc::new(queue),
            keeper,
            dead_letters: delivery.dead_letter.clone().map(DeadLetters::new),
            search_budget: SearchBudget::default(),
            pace: delivery.samples_per_s_max.map(Pace::new),
            meters: Meters::default(),
            families: SeenFamilies::default(),
            clock,
            abandoned: CancellationToken::new(),
            stopping: CancellationToken::new(),
            left: AtomicBool::new(false),
            rules,
            sets: AtomicU32::new(0),
            shards: RwLock::new(Shards::none()),
            tasks,
            config,
        });
        let before = before.map(|before| Before::Ended(before.abandoned.clone()));
        destination.begin(before, storage)?;
        Ok(destination)
    }

    /// Starts what runs beside `accept`.
    fn begin(
        self: &Arc<Destination>,
        before: Option<Before>,
        storage: &Path,
    ) -> Result<(), BuildError> {
        let shards = self.config.queue.shards_min;
        let started = match &self.keeper {
            None => self.shards_of(shards, before, TaskTracker::new()),
            Some(keeper) => {
                let told = self.open_log(keeper, storage)?;
                let sent = CancellationToken::new();
                let backlog = backlog::send(Arc::clone(self), told, before, sent.clone());
                let before = self.keeps_order().then_some(Before::Ended(sent));
                let started = self.shards_of(shards, before, TaskTracker::new());
                started.senders.spawn_on(backlog, &self.tasks);
                started
            }
        };
        *self.write_shards() = started;
        self.tasks.spawn(resharding::watch(Arc::downgrade(self)));
        if let Some(plan) = self.config.metadata {
            self.tasks.spawn(metadata::keep_sending(Arc::downgrade(self), plan));
        }
        Ok(())
    }

    fn open_log(&self, keeper: &Keeper, storage: &Path) -> Result<backlog::Told, BuildError> {
        let disk = self.config.delivery.disk.as_ref().expect("there is a keeper for it");
        let reader = file_name(&self.config.name);
        let folder =
            disk.folder.clone().unwrap_or_else(|| storage.join(QUEUES_FOLDER).join(&reader));
        let (limits, fsync) = (disk.limits.clone(), disk.fsync);
        let config = KeeperConfig { folder, reader, limits, fsync };
        let (queue, clock) = (Arc::clone(&self.queue), Arc::clone(&self.clock));
        keeper.start(&self.config.name, config, queue, clock).map_err(|source| BuildError {
            what: "the thread of the queue on disk".to_owned(),
            source: Box::new(source),
        })
    }

    /// Whether nothing of a series may overtake what came before.
    pub(crate) fn keeps_order(&self) -> bool {
        self.config.delivery.order == Order::OldestFirst
    }

    /// Whether what is queued outlives the process.
    pub(crate) fn is_durable(&self) -> bool {
        self.keeper.is_some()
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
        let senders = current.senders.clone();
        *current = match self.keeps_order() {
            true => self.shards_of(shards, Some(Before::Shards(senders)), TaskTracker::new()),
            false => self.shards_of(shards, None, senders), // they end side by side
        };
    }

    /// Takes no more samples, sends what is queued for `deadline` at most, and drops the rest, or
    /// leaves it on disk. A durable destination does not wait for a receiver that is in trouble.
    pub(crate) async fn stop(&self, deadline: Duration) {
        self.stopping.cancel();
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
        if let Some(keeper) = &self.keeper {
            keeper.close().await;
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

    fn shards_of(
        self: &Arc<Destination>,
        count: usize,
        before: Option<Before>,
        senders: TaskTracker,
    ) -> Shards {
        let mut shards = Shards { senders, ..Shards::none() };
        let set = self.sets.fetch_add(1, Ordering::Relaxed);
        for at in 0..count {
            let shard = u16::try_from(at).unwrap_or(u16::MAX);
            let shard = self.shard_of(Origin { set, shard });
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

    fn shard_of(&self, origin: Origin) -> Arc<Shard> {
        let encoding = self.module.format().encoding;
        let samples_max = self.config.queue.samples_per_block_max;
        Arc::new(Shard::new(Arc::clone(&self.queue), origin, encoding, samples_max))
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
        let dropped = page.count(|run| run.form == Form::Dropped);
        let shed = page.count(|run| run.form != Form::Dropped && page.sheds(run));
        let not_taken = dropped + shed;
        if !not_taken.is_empty() {
            let reasons = [(Reason::DroppedSeries, dropped), (Reason::Shed, shed)];
            self.ledger.accept(Counts::default(), &reasons);
            self.meters.rates.dropped(not_taken.total());
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
                let stopped = page.count(|run| run.form != Form::Dropped && !page.sheds(run));
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
        (appended + not_taken).total()
    }

    /// Books a page that comes before its time.
    fn thin_out(&self, page: &Page<'_>) -> u64 {
        let dropped = page.count(|run| run.form == Form::Dropped);
        let thinned = page.count(|run| run.form != Form::Dropped);
        let reasons = [(Reason::DroppedSeries, dropped), (Reason::MinInterval, thinned)];
        self.ledger.accept(Counts::default(), &reasons);
        self.meters.rates.dropped((dropped + thinned).total());
        (dropped + thinned).total()
    }
}

impl BatchSink for Destination {
    fn accept(&self, batch: &Batch, selected: &[Selection], memo: &mut Memo) {
        if selected.iter().all(|selection| matches!(selection, Selection::None)) {
            return;
        }
        let shards = self.read_shards();
        let notes = memo.get_or_insert_with(|| Notes::new(&batch.source.labels));
        let delivery = &self.config.delivery;
        let too_soon = notes.thinning.is_too_soon(batch, delivery.min_interval);
        let sheds = !delivery.best_effort.is_empty() && self.queue.pressure() > SHED_ABOVE;
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
                sheds,
                stencil: planned.stencil.as_ref().map(|(stencil, _)| stencil),
            };
            came += match too_soon && !thinning::only_ends_series(samples) {
                true => self.thin_out(&page),
                false => self.take(&page, planned, (hash, is_large), &shards.current),
            };
        }
        self.meters.took(came, batch.timestamp_ms);
    }
}

/// A name as a file's name: what is not a letter, a digit, `-` or `_` is written as its bytes.
fn file_name(name: &str) -> String {
    let mut file = String::new();
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => file.push(char::from(byte)),
            _ => file.push_str(&format!("%{byte:02X}")),
        }
    }
    file
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
        let (page, report) = (None, None);
        Notes { hash, is_large: None, thinning: Thinning::default(), page, report }
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
            Some(mut known) if known.plan.is_for(layout.id(), selection) => {
                known.follow(samples, destination, scatter_over);
                known
            }
            known => {
                let before = known.as_ref().map(|known| &known.plan);
                let plan = Plan::make(samples, selection, &destination.rules, before);
                if samples.role == Role::Page && destination.config.metadata.is_some() {
                    destination.families.see(layout, selection);
                }
                Planned { plan, scatter: None, stencil: None, uses: 1 }
            }
        };
        let scattered = planned.scatter.as_ref().map(Scatter::shards);
        if scattered != scatter_over {
            planned.scatter = scatter_over.map(|shards| Scatter::new(layout, shards));
        }
        slot.insert(planned)
    }
}

// === impl Planned ===

impl Planned {
    /// Makes a stencil for the page that came again, and forgets it where it is of no use.
    fn follow(
        &mut self,
        samples: &Samples,
        destination: &Destination,
        scatter_over: Option<usize>,
    ) {
        let is_useful = samples.role == Role::Page
            && destination.module.format().encoding == Encoding::RemoteWrite1
            && scatter_over.is_none();
        if !is_useful {
            (self.stencil, self.uses) = (None, 0);
        } else if self.uses < USES_BEFORE_STENCIL {
            self.uses += 1;
        } else if self.uses == USES_BEFORE_STENCIL {
            self.uses += 1;
            let stencil = stencil(samples, &self.plan, destination.rules.external());
            self.stencil = stencil.map(|stencil| {
                let mut share = Share::of(&destination.meters.stencil_bytes);
                share.set(stencil.memory_bytes());
                (stencil, share)
            });
        }
    }
}
