//! Samples to blocks, for destinations that are sent the same ones.
//!
//! As a `BatchSink` it appends what it is given to open blocks and returns; a block that is sealed
//! goes to the queue of every member. Mostly there is one; durable destinations that differ in
//! nothing that makes up a block have a feed in common, and one log on disk with a place for each.
//! What holds: the members are the same for as long as the feed lives; each has books of its own;
//! the samples of one series leave in the order in which they came, over resharding too.
//! Not here: what becomes of a block (`destination.rs`), and who shares (`config/sharing.rs`).

mod append;
mod folder;
mod plan;
mod rules;
mod scatter;
mod source;
mod thinning;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::future::join_all;
use kit::Clock;
use kit::metrics::Share;
use model::{Batch, BatchSink, Memo, Selection};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::append::{Appender, Page};
use self::plan::Form;
use self::rules::LabelRules;
use self::source::{KnownShapes, Notes, Planned};
use self::thinning::Taken;
use crate::block::{Counts, Encoding};
use crate::config::DestinationConfig;
use crate::destination::{Common, Destination, FormerLogs, Stored};
use crate::disk::{Keeper, KeeperConfig, Use};
use crate::ledger::{Ledger, Reason};
use crate::metadata::SeenFamilies;
use crate::module::{self, BuildError};
use crate::queue::{Numbers, Origin};
use crate::resharding;
use crate::shard::Shard;

pub(crate) use folder::file_name;

/// `best_effort` series are not taken while the queue is fuller than this.
const SHED_ABOVE: f64 = 0.5;

/// Open blocks, and who gets them.
pub(crate) struct Feed {
    pub(crate) members: Vec<Arc<Destination>>,
    /// Their books.
    ledgers: Vec<Arc<Ledger>>,
    /// Of the first member: what makes up a block is the same for all.
    pub(crate) config: DestinationConfig,
    rules: LabelRules,
    /// What the pages told of metrics, if a member sends metadata.
    families: Arc<SeenFamilies>,
    numbers: Numbers,
    /// A lock, because any source may be the first of its kind; held while a stencil is made.
    shapes: Mutex<KnownShapes>,
    /// The thread of their log, if they are durable.
    keeper: Option<Keeper>,
    /// Counts the sets of shards.
    sets: AtomicU32,
    /// A lock, because every batch goes to shards that resharding exchanges now and then; held for
    /// one batch.
    shards: RwLock<Shards>,
    tasks: Handle,
}

/// What a feed is given by the forwarder.
pub(crate) struct Surroundings<'s> {
    pub(crate) clock: &'s Arc<dyn Clock>,
    pub(crate) tasks: &'s Handle,
    /// Where queues on disk are unless the configuration says so.
    pub(crate) storage: &'s Path,
    /// The names of all places in logs that some destination of the configuration may have.
    pub(crate) known: &'s Arc<BTreeSet<String>>,
}

/// The shards that samples go to now. Empty once the feed is stopped.
struct Shards {
    current: Vec<Arc<Shard>>,
    /// Told that no more samples come to these shards.
    finish: CancellationToken,
}

/// The books of all members.
#[derive(Clone, Copy)]
struct Books<'m>(&'m [Arc<Ledger>]);

// === impl Feed ===

impl Feed {
    /// Builds the modules and starts the senders. A member that goes by the name of a destination
    /// in `running` carries on its books, and sends nothing before that one has ended.
    pub(crate) fn start(
        configs: &[DestinationConfig],
        running: &[Arc<Destination>],
        around: &Surroundings<'_>,
    ) -> Result<Arc<Feed>, BuildError> {
        let config = configs[0].clone();
        let keeper = config.delivery.disk.as_ref().map(|_| Keeper::default());
        let families = Arc::new(SeenFamilies::default());
        let Surroundings { clock, tasks, .. } = *around;
        let common = Common { clock, tasks, keeper: keeper.as_ref(), families: &families };
        let before = |name: &str| running.iter().find(|running| running.config.name == name);
        let members = configs.iter().map(|config| {
            let module = (config.build)(clock)?;
            Ok(Destination::new(config.clone(), module, &common, before(&config.name)))
        });
        let members = members.collect::<Result<Vec<_>, BuildError>>()?;
        let mut stored = match &keeper {
            Some(keeper) => {
                let before = configs.iter().filter_map(|config| before(&config.name));
                let ended = before.flat_map(|before| {
                    let earlier = before.queue.keeper().map(Keeper::waits_for).unwrap_or_default();
                    earlier.into_iter().chain([before.ended.clone()])
                });
                let after = ended.collect();
                open_log(&members, keeper, &config, after, around)?
            }
            None => Vec::new(),
        }
        .into_iter();
        for member in &members {
            member.begin(stored.next(), before(&member.config.name));
        }
        let best_effort = config.delivery.best_effort.clone();
        let feed = Arc::new(Feed {
            ledgers: members.iter().map(|member| Arc::clone(&member.ledger)).collect(),
            members,
            rules: LabelRules::new(&config.external_labels, &config.relabel, best_effort),
            families,
            shapes: Mutex::default(),
            numbers: keeper.as_ref().map(Keeper::numbers).unwrap_or_default(),
            keeper,
            sets: AtomicU32::new(0),
            shards: RwLock::new(Shards::none()),
            tasks: tasks.clone(),
            config,
        });
        *feed.write_shards() = feed.shards_of(feed.whole(feed.config.queue.shards_min));
        tasks.spawn(resharding::watch(Arc::downgrade(&feed)));
        Ok(feed)
    }

    /// Whether a feed for these would be the same as this one.
    pub(crate) fn is_for(&self, configs: &[DestinationConfig]) -> bool {
        let mut pairs = self.members.iter().zip(configs);
        self.members.len() == configs.len()
            && pairs.all(|(member, config)| member.config.is_same(config))
    }

    /// Sends with so many shards from now on. What the shards until now hold is sent first.
    pub(crate) fn reshard(&self, shards: usize) {
        let shards = self.whole(shards);
        let mut current = self.write_shards();
        if current.current.is_empty() || current.current.len() == shards {
            return;
        }
        let from = current.current.len();
        info!(destination = %self.names(), from, to = shards, "resharding");
        current.end();
        *current = self.shards_of(shards);
    }

    /// How many shards there are now.
    pub(crate) fn shard_count(&self) -> usize {
        self.read_shards().current.len()
    }

    /// Takes no more samples; its members send what is queued for `deadline` at most, and drop the
    /// rest, or leave it on disk.
    pub(crate) async fn stop(&self, deadline: Duration) {
        {
            // Before anybody is told to stop: what is open now is sent as all else is.
            let mut shards = self.write_shards();
            shards.end();
            shards.current.clear();
        }
        join_all(self.members.iter().map(|member| member.finish(deadline))).await;
        if let Some(keeper) = &self.keeper {
            keeper.close().await;
        }
        // Who takes over begins when the module of the one before is at its end, too.
        join_all(self.members.iter().map(|member| module::end(&*member.module))).await;
        self.members.iter().for_each(|member| member.end());
    }

    /// The members' names, for people.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.members.iter().map(|member| &*member.config.name).collect();
        names.join(",")
    }

    /// Samples in open blocks.
    #[cfg(test)]
    pub(crate) fn open_counts(&self) -> Counts {
        self.read_shards().current.iter().map(|shard| shard.open_counts()).sum()
    }

    /// So many shards, or a few more, that each receiver of the series has as many.
    fn whole(&self, shards: usize) -> usize {
        shards.next_multiple_of(self.config.parts)
    }

    fn shards_of(&self, count: usize) -> Shards {
        let set = self.sets.fetch_add(1, Ordering::Relaxed);
        let samples_max = self.config.queue.samples_per_block_max;
        let (encoding, is_durable) = (self.encoding(), self.config.delivery.disk.is_some());
        let shared_begun = Arc::new(Notify::new());
        let shards = (0..count).map(|at| {
            let origin = Origin { set, shard: u16::try_from(at).unwrap_or(u16::MAX) };
            let outlets = self.members.iter().map(|member| member.outlet(&member.queue, origin));
            let begun = match is_durable {
                true => Arc::clone(&shared_begun),
                false => Arc::default(),
            };
            let numbers = self.numbers.clone();
            Arc::new(Shard::new(outlets.collect(), numbers, begun, encoding, samples_max))
        });
        let (current, finish) = (shards.collect::<Vec<_>>(), CancellationToken::new());
        for (at, member) in self.members.iter().enumerate() {
            let outlet = |shard: &Arc<Shard>| Arc::clone(&shard.outlets[at]);
            let lanes = current.iter().map(|shard| {
                // A durable block does not wait for a sender to be sealed.
                (outlet(shard), (!is_durable).then(|| Arc::clone(shard)))
            });
            member.send_from(lanes.collect(), &finish);
        }
        if let Some(disk) = &self.config.delivery.disk {
            let age = disk.write_interval.min(self.config.queue.batch_deadline);
            let sealing = keep_sealing(current.clone(), shared_begun, finish.clone(), age);
            self.tasks.spawn(sealing);
        }
        Shards { current, finish }
    }

    /// What the next blocks should be: what the receivers turned out to know, if they agree.
    fn encoding(&self) -> Encoding {
        let of = |member: &Arc<Destination>| member.module.format().encoding;
        let first = of(&self.members[0]);
        let agree = self.members[1..].iter().all(|member| of(member) == first);
        if agree { first } else { self.config.encoding }
    }

    /// Books what is not taken, and what never needs to be sent.
    fn drop(&self, dropped: &[(Reason, Counts)]) {
        self.books().accept(Counts::default(), dropped);
        let total: Counts = dropped.iter().map(|(_, counts)| *counts).sum();
        self.members.iter().for_each(|member| member.meters.rates.dropped(total.total()));
    }

    fn books(&self) -> Books<'_> {
        Books(&self.ledgers)
    }

    fn shapes(&self) -> MutexGuard<'_, KnownShapes> {
        self.shapes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room in the count of memory for stencils. What members have in common is told of the first.
    fn stencil_share(&self) -> Share {
        Share::of(&self.members[0].meters.stencil_bytes)
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
            self.drop(&reasons);
        }
        let encoding = self.encoding();
        let append = |shard: &Shard, chosen: Option<&[u32]>| {
            let mut appender = Appender::new(shard, encoding, self.books());
            match chosen {
                Some(chosen) => appender.some_of(page, chosen),
                None => appender.page(page),
            }
            appender.appended()
        };
        let (hash, is_scattered) = notes;
        let appended = match shards {
            [] => {
                let stopped = page.count(|run| run.form != Form::Dropped && !page.sheds(run));
                self.books().accept(Counts::default(), &[(Reason::Stopped, stopped)]);
                stopped
            }
            [shard] => append(shard, None),
            _ if !is_scattered => append(&shards[(hash % shards.len() as u64) as usize], None),
            _ => {
                let scatter = planned.scatter.as_ref().expect("made for a source that is spread");
                let shards = shards.iter().enumerate();
                shards.map(|(at, shard)| append(shard, Some(scatter.of_shard(at)))).sum()
            }
        };
        (appended + not_taken).total()
    }

    /// Books what `less` has not of a page.
    fn leave_out(&self, page: &Page<'_>, less: &Page<'_>) -> u64 {
        let count = |page: &Page<'_>| page.count(|run| run.form != Form::Dropped);
        let same = count(page) - count(less);
        self.drop(&[(Reason::Unchanged, same)]);
        // Series that are dropped anyway are counted with what is left of the page.
        let dropped = |page: &Page<'_>| page.count(|run| run.form == Form::Dropped);
        let not_seen = dropped(page) - dropped(less);
        self.drop(&[(Reason::DroppedSeries, not_seen)]);
        (same + not_seen).total()
    }

    /// Books a page that comes before its time.
    fn thin_out(&self, page: &Page<'_>) -> u64 {
        let dropped = page.count(|run| run.form == Form::Dropped);
        let thinned = page.count(|run| run.form != Form::Dropped);
        self.drop(&[(Reason::DroppedSeries, dropped), (Reason::MinInterval, thinned)]);
        (dropped + thinned).total()
    }
}

impl BatchSink for Feed {
    fn accept(&self, batch: &Batch, selected: &[Selection], memo: &mut Memo) {
        if selected.iter().all(|selection| matches!(selection, Selection::None)) {
            return;
        }
        let shards = self.read_shards();
        let notes = memo.get_or_insert_with(|| Notes::new(&batch.source.labels));
        let delivery = &self.config.delivery;
        let too_soon = notes.thinning.is_too_soon(batch, delivery.min_interval);
        // Who has series of best effort is the only member.
        let sheds =
            !delivery.best_effort.is_empty() && self.members[0].queue.pressure() > SHED_ABOVE;
        let mut came = 0;
        for (samples, selection) in batch.samples.iter().zip(selected) {
            if matches!(selection, Selection::None) {
                continue;
            }
            let is_scattered = self.config.parts > 1 || notes.is_large(samples);
            let (hash, count) = (notes.hash, shards.current.len());
            let scatter_over = (is_scattered && count > 1).then_some((count, self.config.parts));
            let too_soon = too_soon && !thinning::only_ends_series(samples);
            let max_interval = delivery.max_interval.filter(|_| !too_soon);
            let (planned, taken) = notes.planned(samples, selection, self, scatter_over);
            let page = Page {
                samples,
                plan: &planned.plan,
                external: self.rules.external(),
                timestamp_ms: batch.timestamp_ms,
                wants: self.config.wants,
                sheds,
                stencil: planned.stencil.as_ref().map(|(stencil, _)| stencil),
            };
            let to = (hash, is_scattered);
            let changed = max_interval.and_then(|span| Taken::changed(taken, &page, span));
            came += match changed {
                _ if too_soon => self.thin_out(&page),
                None => self.take(&page, planned, to, &shards.current),
                Some(changed) => {
                    let less = Page { samples: &changed, ..page };
                    self.leave_out(&page, &less) + self.take(&less, planned, to, &shards.current)
                }
            };
        }
        self.members.iter().for_each(|member| member.meters.took(came, batch.timestamp_ms));
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feed({})", self.names())
    }
}

/// Starts the thread of the log that the members write. What each of them left in others is looked
/// for when its predecessor has ended.
fn open_log(
    members: &[Arc<Destination>],
    keeper: &Keeper,
    config: &DestinationConfig,
    after: Vec<CancellationToken>,
    around: &Surroundings<'_>,
) -> Result<Vec<(Stored, FormerLogs)>, BuildError> {
    let disk = config.delivery.disk.as_ref().expect("there is a keeper for it");
    let names = members.iter().map(|member| &*member.config.name);
    let config = KeeperConfig {
        folder: folder::of_log(disk, names, around.storage),
        used: Use::Current,
        limits: disk.limits.clone(),
        fsync: disk.fsync,
        known: Arc::clone(around.known),
        after,
    };
    let readers = members.iter().map(|member| member.reader(&member.queue)).collect();
    let told = keeper.start(config.clone(), readers, Arc::clone(around.clock));
    let told = told.map_err(|source| BuildError {
        what: "the thread of the queue on disk".to_owned(),
        source: Box::new(source),
    })?;
    let stored = members.iter().zip(told).map(|(member, told)| {
        let former =
            FormerLogs { queues: folder::of_queues(around.storage), config: config.clone() };
        (Stored::current(&member.queue, told), former)
    });
    Ok(stored.collect())
}

/// Seals blocks that are so old, while samples may come.
async fn keep_sealing(
    shards: Vec<Arc<Shard>>,
    begun: Arc<Notify>,
    finish: CancellationToken,
    age: Duration,
) {
    let mut due: Option<Instant> = None;
    loop {
        // One that is begun while another is open is due later than that.
        let next = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => begun.notified().await,
            }
        };
        tokio::select! {
            () = next => {}
            () = finish.cancelled() => return,
        }
        due = shards.iter().filter_map(|shard| shard.seal_if_older(age)).min();
    }
}

// === impl Shards ===

impl Shards {
    fn none() -> Shards {
        Shards { current: Vec::new(), finish: CancellationToken::new() }
    }

    /// Seals what is open and lets the senders end when they have sent it.
    fn end(&mut self) {
        self.current.iter().for_each(|shard| shard.flush());
        self.finish.cancel();
    }
}

// === impl Books ===

impl Books<'_> {
    /// Books what a batch brought: `queued` of it waits now, `dropped` does not.
    fn accept(self, queued: Counts, dropped: &[(Reason, Counts)]) {
        self.0.iter().for_each(|ledger| ledger.accept(queued, dropped));
    }
}
