//! One destination: a queue, and the senders of its lanes, around one module.
//!
//! Everything that waits happens here. What holds: `accepted = delivered + queued + dropped`, see
//! `ledger.rs`; the blocks of a lane leave in the order in which they came, and those of a new set
//! of shards after those of the one before. Receivers that have the series between them do not wait
//! for each other: order is a matter of each part.
//! Not here: where blocks come from (`feed.rs`), and one block's way (`delivery.rs`).

mod backlog;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use kit::Clock;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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

pub(crate) use backlog::{FormerLogs, Stored};

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
    /// Told when a successor may begin: everything is where it finds it.
    pub(crate) ended: CancellationToken,
    /// Told when the destination takes no more samples.
    pub(crate) stopping: CancellationToken,
    /// Whether a block was left on disk at the end: none behind it is sent either.
    pub(crate) left: AtomicBool,
    /// By part. A lock, because resharding exchanges senders; held for that.
    sending: Mutex<Vec<Sending>>,
    /// The one who sends what was found on disk.
    backlog: TaskTracker,
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

/// Who sends to one receiver.
struct Sending {
    senders: TaskTracker,
    /// What the next senders wait for.
    before: Option<Before>,
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
        let sending = (0..config.parts).map(|_| Sending::default()).collect();
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
            ended: CancellationToken::new(),
            stopping: CancellationToken::new(),
            left: AtomicBool::new(false),
            sending: Mutex::new(sending),
            backlog: TaskTracker::new(),
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
        let before = before.map(|before| Before::Ended(before.ended.clone()));
        if let Some(stored) = stored {
            let sent: Vec<_> = (0..self.config.parts).map(|_| CancellationToken::new()).collect();
            if self.keeps_order() {
                for (part, sent) in self.sending().iter_mut().zip(&sent) {
                    part.before = Some(Before::Ended(sent.clone()));
                }
            }
            let backlog = backlog::send(Arc::clone(self), stored, before, sent);
            self.backlog.spawn_on(backlog, &self.tasks);
        } else {
            self.sending().iter_mut().for_each(|part| part.before.clone_from(&before));
        }
        self.backlog.close();
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
        let mut sending = self.sending();
        // In no order the new senders are beside those before.
        let next = |part: &Sending| match self.keeps_order() {
            true => TaskTracker::new(),
            false => part.senders.clone(),
        };
        let next: Vec<TaskTracker> = sending.iter().map(next).collect();
        for (outlet, seals) in lanes {
            let part = outlet.part;
            let (destination, finish) = (Arc::clone(self), finish.clone());
            let before = sending[part].before.clone();
            let sender = Sender { destination, outlet, seals, finish, before };
            next[part].spawn_on(sender.run(), &self.tasks);
        }
        for (part, senders) in sending.iter_mut().zip(next) {
            senders.close();
            if self.keeps_order() {
                part.before = Some(Before::Shards(senders.clone()));
            }
            part.senders = senders;
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

    /// Sends what is queued for `deadline` at most, when nothing more comes. A destination that
    /// [may leave it on disk](Destination::may_leave_queue) does not wait for a receiver that is in
    /// trouble.
    pub(crate) async fn finish(&self, deadline: Duration) {
        self.stopping.cancel();
        let mut senders: Vec<TaskTracker> =
            self.sending().iter().map(|part| part.senders.clone()).collect();
        senders.push(self.backlog.clone());
        let ended = || join_all(senders.iter().map(TaskTracker::wait));
        if tokio::time::timeout(deadline, ended()).await.is_err() {
            self.abandoned.cancel();
            ended().await;
        }
    }

    /// Lets a successor begin: the log, if there is one, is closed.
    pub(crate) fn end(&self) {
        self.shards.store(0, Ordering::Relaxed);
        self.abandoned.cancel();
        self.ended.cancel();
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

    fn sending(&self) -> MutexGuard<'_, Vec<Sending>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
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

// === impl Sending ===

impl Default for Sending {
    fn default() -> Sending {
        Sending { senders: TaskTracker::new(), before: None }
    }
}
