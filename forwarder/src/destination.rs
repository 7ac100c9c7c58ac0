//! One destination: a queue, and the senders of its lanes, around one module.
//!
//! Everything that waits happens here. What holds: `accepted = delivered + queued + dropped`, see
//! `ledger.rs`; the blocks of a lane leave in the order in which they came, and those of a new set
//! of shards after those of the one before. Receivers that have the series between them do not wait
//! for each other: order is a matter of each part.
//! Not here: where blocks come from (`feed.rs`), and one block's way (`delivery.rs`).

mod backlog;
mod estate;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kit::Clock;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::config::DestinationConfig;
use crate::dead_letters::DeadLetters;
use crate::delivery::SearchBudget;
use crate::disk::{Keeper, Reader};
use crate::feed::file_name;
use crate::ledger::Ledger;
use crate::metadata::{self, SeenFamilies};
use crate::metrics::Meters;
use crate::module::Module;
use crate::pace::Pace;
use crate::queue::{Load, Order, Origin, Queue};
use crate::resharding;
use crate::sender::{Before, Sender};
use crate::shard::{Outlet, Shard};

use estate::Estate;

pub(crate) use backlog::{FormerLogs, Stored};

/// Senders that are told to give up do so at once, and logs of former times are closed in less
/// time. Longer than this only a folder takes that cannot be looked at: the end does not wait for it.
const GIVING_UP_WITHIN: Duration = Duration::from_secs(25);

/// How long a block may be under way when a successor waits for what is behind it. What is given up
/// then is sent again.
const HAND_OVER: Duration = Duration::from_secs(1);
/// Between two looks whether everything is on disk.
const HAND_OVER_TICK: Duration = Duration::from_millis(100);

/// What feeds one module.
pub(crate) struct Destination {
    pub(crate) config: DestinationConfig,
    pub(crate) module: Box<dyn Module>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) queue: Arc<Queue>,
    /// What is left of logs that the destination wrote in other company. A lock, because it is
    /// known when the destination begins; held to look.
    former: Mutex<Vec<Arc<Queue>>>,
    pub(crate) dead_letters: Option<DeadLetters>,
    pub(crate) search_budget: SearchBudget,
    pub(crate) pace: Option<Pace>,
    pub(crate) meters: Meters,
    pub(crate) families: Arc<SeenFamilies>,
    /// What the number of shards follows from. A lock, because it is looked at and changed; held
    /// every ten seconds.
    pub(crate) rates: Mutex<resharding::Load>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Told when waiting for the queue to empty is over: it is empty, or there was no more time.
    pub(crate) abandoned: CancellationToken,
    /// What is in memory, for a successor.
    estate: Estate,
    /// Told when the destination has ended whose estate this one takes up.
    predecessor: OnceLock<CancellationToken>,
    /// Told when a successor may begin: everything is where it finds it.
    pub(crate) ended: CancellationToken,
    /// Told when the destination takes no more samples.
    pub(crate) stopping: CancellationToken,
    /// Whether what is queued is left where it is: a block was, and none behind it is sent either,
    /// or a successor takes all of it.
    pub(crate) left: AtomicBool,
    /// By part: what the next senders wait for. A lock, because resharding exchanges senders; held
    /// for that.
    before: Mutex<Vec<Option<Before>>>,
    /// All who send: those of every set of shards, and the one who sends what was found on disk.
    senders: TaskTracker,
    shards: AtomicUsize,
    tasks: Handle,
}

/// What the members of a feed have in common.
pub(crate) struct Common<'f> {
    pub(crate) clock: &'f Arc<dyn Clock>,
    pub(crate) tasks: &'f Handle,
    /// The thread of their log.
    pub(crate) keeper: Option<&'f Keeper>,
    pub(crate) families: &'f Arc<SeenFamilies>,
}

// === impl Destination ===

impl Destination {
    /// A destination that does nothing yet. `before` is one of the same name that is on its way
    /// out: its books are carried on.
    pub(crate) fn new(
        config: DestinationConfig,
        module: Box<dyn Module>,
        common: &Common<'_>,
        before: Option<&Arc<Destination>>,
    ) -> Arc<Destination> {
        let ledger = before.map_or_else(Arc::default, |before| Arc::clone(&before.ledger));
        let queue = queue_of(&config, &ledger, common.keeper, common.clock);
        let delivery = &config.delivery;
        Arc::new(Destination {
            module,
            ledger,
            queue,
            former: Mutex::default(),
            dead_letters: delivery.dead_letter.clone().map(DeadLetters::new),
            search_budget: SearchBudget::default(),
            pace: delivery.samples_per_s_max.map(Pace::new),
            meters: Meters::default(),
            families: Arc::clone(common.families),
            rates: Mutex::default(),
            clock: Arc::clone(common.clock),
            abandoned: CancellationToken::new(),
            estate: Estate::default(),
            predecessor: OnceLock::new(),
            ended: CancellationToken::new(),
            stopping: CancellationToken::new(),
            left: AtomicBool::new(false),
            before: Mutex::new(vec![None; config.parts]),
            senders: TaskTracker::new(),
            shards: AtomicUsize::new(0),
            tasks: common.tasks.clone(),
            config,
        })
    }

    /// A queue for what the destination left in a log of former times.
    fn former_queue(&self, keeper: &Keeper) -> Arc<Queue> {
        let queue = queue_of(&self.config, &self.ledger, Some(keeper), &self.clock);
        self.former().push(Arc::clone(&queue));
        queue
    }

    /// As one who has a place in the log of this queue.
    pub(crate) fn reader(&self, queue: &Arc<Queue>) -> Reader {
        let (destination, name) = (self.config.name.clone(), file_name(&self.config.name));
        Reader { destination, name, queue: Arc::clone(queue) }
    }

    /// Starts what runs beside the senders of shards. Nothing is sent before `before` has ended,
    /// and, to keep the order, before what is stored.
    pub(crate) fn begin(
        self: &Arc<Destination>,
        stored: Option<(Stored, FormerLogs)>,
        before: Option<&Arc<Self>>,
    ) {
        let former = before;
        let ended = before.map(|before| before.ended.clone());
        let before = ended.clone().map(Before::Ended);
        if let Some(former) = former.filter(|former| self.config.takes_over_from(&former.config)) {
            former.estate.await_it();
            let sent = CancellationToken::new();
            let first = if self.keeps_order() { &sent } else { &former.ended };
            self.before().fill(Some(Before::Ended(first.clone())));
            let sending = estate::send(Arc::clone(self), Arc::clone(former), sent);
            self.senders.spawn_on(sending, &self.tasks);
            self.predecessor.get_or_init(|| former.ended.clone());
            self.tasks.spawn(Arc::clone(self).give_up_disk_of(former.ended.clone()));
        } else if let Some(stored) = stored {
            let sent: Vec<_> = (0..self.config.parts).map(|_| CancellationToken::new()).collect();
            if self.keeps_order() {
                let sent = sent.iter().map(|sent| Some(Before::Ended(sent.clone())));
                *self.before() = sent.collect();
            }
            let backlog = backlog::send(Arc::clone(self), stored, before, sent);
            self.senders.spawn_on(backlog, &self.tasks);
        } else {
            self.before().fill(before);
            if let Some(ended) = ended {
                self.tasks.spawn(Arc::clone(self).give_up_disk_of(ended));
            }
        }
        if let Some(plan) = self.config.metadata {
            self.tasks.spawn(metadata::keep_sending(Arc::downgrade(self), plan));
        }
    }

    /// A new lane for blocks of this origin.
    pub(crate) fn outlet(&self, queue: &Arc<Queue>, origin: Origin) -> Arc<Outlet> {
        Outlet::open(queue, origin, self.config.parts)
    }

    /// Starts senders for a new set of shards; beside each outlet the shard that its sender seals.
    /// `finish` is told when nothing more comes to them.
    pub(crate) fn send_from(
        self: &Arc<Destination>,
        lanes: Vec<(Arc<Outlet>, Option<Arc<Shard>>)>,
        finish: &CancellationToken,
    ) {
        self.shards.store(lanes.len(), Ordering::Relaxed);
        let mut before = self.before();
        let sets: Vec<TaskTracker> = before.iter().map(|_| TaskTracker::new()).collect();
        for (outlet, seals) in lanes {
            let part = outlet.part;
            let (destination, finish) = (Arc::clone(self), finish.clone());
            let sender =
                Sender { destination, outlet, seals, finish, before: before[part].clone() };
            let sending = sets[part].track_future(sender.run());
            self.senders.spawn_on(sending, &self.tasks);
        }
        for set in &sets {
            set.close();
        }
        // In no order the next senders are beside these.
        if self.keeps_order() {
            *before = sets.into_iter().map(|set| Some(Before::Shards(set))).collect();
        }
    }

    /// Whether nothing of a series may overtake what came before.
    pub(crate) fn keeps_order(&self) -> bool {
        self.config.delivery.order == Order::OldestFirst
    }

    /// Whether what is queued outlives the process.
    pub(crate) fn is_durable(&self) -> bool {
        self.queue.keeper().is_some()
    }

    /// Makes sure that a successor can go on from the disk with what is queued. It can not while
    /// the disk refuses it: then blocks are in memory alone, and leave with the process as any
    /// others do.
    pub(crate) async fn may_leave_queue(&self) -> bool {
        match self.queue.keeper() {
            Some(keeper) => keeper.write_all().await,
            None => false,
        }
    }

    /// When it has stopped: leaves what is queued to a successor that takes it up. From the disk, as
    /// soon as all of it is there: no block is begun any more. From memory, what a receiver that is
    /// well has not taken by then.
    pub(crate) async fn hand_over(&self) {
        let left = async {
            self.stopping.cancelled().await;
            if self.is_durable() {
                // The disk refuses it, or the one before still has the log.
                while !self.may_leave_queue().await {
                    sleep(HAND_OVER_TICK).await;
                }
                self.left.store(true, Ordering::Relaxed);
            } else if let Some(predecessor) = self.predecessor.get() {
                // What it leaves goes through our hands.
                predecessor.cancelled().await;
            }
            sleep(HAND_OVER).await;
            self.abandoned.cancel();
        };
        tokio::select! {
            () = left => {}
            () = self.ended.cancelled() => {}
        }
    }

    /// Sends what is queued for `deadline` at most, when nothing more comes. A destination that
    /// [may leave it on disk](Destination::may_leave_queue) does not wait for a receiver that is in
    /// trouble.
    pub(crate) async fn finish(&self, deadline: Duration) {
        self.stopping.cancel();
        self.senders.close();
        tokio::select! {
            () = self.senders.wait() => return,
            () = self.abandoned.cancelled() => {}
            () = sleep(deadline) => {}
        }
        self.abandoned.cancel();
        if timeout(GIVING_UP_WITHIN, self.senders.wait()).await.is_err() {
            let (destination, senders) = (&self.config.name, self.senders.len());
            error!(%destination, senders, "senders that do not come back are left");
        }
    }

    /// Books what is still queued, and lets a successor begin: the log, if there is one, is closed.
    pub(crate) fn end(&self) {
        self.shards.store(0, Ordering::Relaxed);
        self.abandoned.cancel();
        self.estate.leave(|| self.queue.bequeath());
        let former = self.former().clone();
        let lost = former.iter().chain([&self.queue]).map(|queue| {
            queue.leave(); // the log's thread has done so, unless it hangs
            queue.stopped()
        });
        let lost: u64 = lost.sum();
        if lost > 0 {
            let destination = &self.config.name;
            error!(%destination, lost, "samples were still queued at the end");
        }
        self.ended.cancel();
    }

    /// A destination in memory finds nothing of what the one before has left on disk.
    async fn give_up_disk_of(self: Arc<Destination>, before: CancellationToken) {
        tokio::select! {
            () = before.cancelled() => {}
            () = self.ended.cancelled() => return, // whoever comes then may find it
        }
        let lost = self.ledger.give_up_left().total();
        if lost > 0 {
            let destination = &self.config.name;
            warn!(%destination, lost, "samples stay on disk: the queue is in memory now");
        }
    }

    /// How many shards send now.
    pub(crate) fn shard_count(&self) -> usize {
        self.shards.load(Ordering::Relaxed)
    }

    /// What is held, wherever it is.
    pub(crate) fn load(&self) -> Load {
        let former = self.former();
        former.iter().map(|queue| queue.load()).fold(self.queue.load(), |all, one| all + one)
    }

    /// The threads of the logs that the destination has a place in.
    pub(crate) fn keepers(&self) -> Vec<Keeper> {
        let queues = self.former().iter().filter_map(|queue| queue.keeper().cloned()).collect();
        let queues: Vec<Keeper> = queues;
        self.queue.keeper().cloned().into_iter().chain(queues).collect()
    }

    fn former(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn before(&self) -> MutexGuard<'_, Vec<Option<Before>>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn queue_of(
    config: &DestinationConfig,
    ledger: &Arc<Ledger>,
    keeper: Option<&Keeper>,
    clock: &Arc<dyn Clock>,
) -> Arc<Queue> {
    let disk = config.delivery.disk.as_ref();
    let limits = config.queue.limits(disk);
    let (ledger, clock) = (Arc::clone(ledger), Arc::clone(clock));
    Arc::new(Queue::new(limits, config.delivery.order, ledger, clock, keeper.cloned()))
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Destination({})", self.config.name)
    }
}
