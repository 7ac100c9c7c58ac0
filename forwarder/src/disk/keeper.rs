//! The thread of one log: writes what queues hold, reads it back, and keeps their places.
//!
//! Destinations that are sent the same blocks share a log: a block has the same number in all of
//! their queues, and is written once, for as long as one of them wants it. Numbers are given in
//! the order in which blocks are sealed, so sequences on disk grow with them.
//! What holds: nobody waits for a file but this thread. A disk that is full or refuses leaves
//! blocks in memory; it is asked again every second, counted, and said once.
//! Nothing to do costs nothing: the thread sleeps until somebody wakes it.

mod report;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kit::{Chain, Clock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Limits, Log, OpenError, Recovery, Waits};
use crate::block::{Block, Counts};
use crate::config::Fsync;
use crate::ledger::Ledger;
use crate::queue::{Number, Numbers, Origin, Queue};

/// Between two tries of a disk that refused, two looks at caps, and two looks at a log in use.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks whether a log is still in use: a reload waits for it.
const IN_USE_TICK: Duration = Duration::from_millis(20);
/// A log in use for longer is not a reload's: somebody else has it, and that is a failure.
const IN_USE_PATIENCE: Duration = Duration::from_secs(10);
/// For so long a log that is to be closed is waited for, if blocks are in memory alone.
const LAST_PATIENCE: Duration = Duration::from_secs(15);
/// Blocks written before readers are looked after again.
const BATCH: usize = 64;
/// How long the end may take: what is in memory is written, and everything synced.
const CLOSE_WITHIN: Duration = Duration::from_secs(20);

/// A handle of the thread. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Keeper(Arc<Shared>);

/// What a keeper keeps, and where.
#[derive(Debug, Clone)]
pub(crate) struct KeeperConfig {
    pub(crate) folder: PathBuf,
    pub(crate) used: Use,
    pub(crate) limits: Limits,
    pub(crate) fsync: Fsync,
    /// The names of all places that some destination of the configuration may have.
    pub(crate) known: Arc<BTreeSet<String>>,
    /// The log is not opened before these are told: predecessors write what they have.
    pub(crate) after: Vec<CancellationToken>,
}

/// What is done with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It is written, and read.
    Current,
    /// What was left in it is read, by one destination.
    Former,
}

/// One destination that has a place in the log.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    /// The destination.
    pub(crate) destination: String,
    /// The name of its place.
    pub(crate) name: String,
    pub(crate) queue: Arc<Queue>,
}

/// What the thread is told about the log as soon as it knows.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It can not be opened now. It is tried again.
    Failed,
    /// What waits in it, and how many samples were held by records that are missing.
    Found { waiting: Vec<Waits>, missing: u64 },
}

/// What a log counts.
#[derive(Debug, Default)]
pub(crate) struct DiskStats {
    /// Bytes of all segments.
    pub(crate) bytes: AtomicU64,
    /// Bytes that they may have.
    pub(crate) bytes_max: AtomicU64,
    /// Whether blocks stay in memory because the disk refuses them.
    pub(crate) failing: AtomicBool,
    /// Times that the disk began to refuse.
    pub(crate) failures: AtomicU64,
    /// The sequence of the newest block.
    pub(crate) newest: AtomicU64,
    /// Damage found: places in files, and cursors.
    pub(crate) damages: AtomicU64,
}

/// Why a block could not be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The log forgot it, or its bytes are damaged.
    #[error("read a block from disk: it is damaged or gone")]
    Gone,
    /// The file system refused.
    #[error("read a block from disk")]
    Io(#[from] io::Error),
    /// The thread has ended.
    #[error("read a block from disk: the queue is closed")]
    Closed,
}

#[derive(Default)]
struct Shared {
    /// A lock, because senders and shards leave word; held for a moment.
    inbox: Mutex<Inbox>,
    word: Condvar,
    stats: DiskStats,
    numbers: Numbers,
}

#[derive(Default)]
struct Inbox {
    woken: bool,
    /// When the thread looks by itself; none while it works, or waits for word alone.
    looks_at: Option<Instant>,
    reads: Vec<Read>,
    /// Who wants everything on disk; told whether the disk takes it.
    writes: Vec<oneshot::Sender<bool>>,
    closing: Option<oneshot::Sender<()>>,
    is_closing: bool,
}

struct Read {
    sequence: u64,
    answer: oneshot::Sender<io::Result<Option<Block>>>,
}

/// What the thread owns.
struct Worker {
    /// The destinations, for people.
    name: String,
    config: KeeperConfig,
    readers: Vec<Reader>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    /// Added to the sets of shards of this process: those found are older.
    first_set: u32,
    /// Blocks up to this one are to be on disk.
    write_up_to: Number,
    /// Who wants everything on disk.
    asked: Vec<oneshot::Sender<bool>>,
    /// Set while the disk refuses: when to try again.
    try_again: Option<Instant>,
    unsynced: bool,
    synced: Instant,
    trimmed: Instant,
}

// === impl Keeper ===

impl Keeper {
    /// Starts the thread for these readers. It tells each once, perhaps after a failure, what it
    /// found.
    pub(crate) fn start(
        &self,
        config: KeeperConfig,
        readers: Vec<Reader>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Vec<mpsc::Receiver<Opened>>> {
        let (tell, told): (Vec<_>, Vec<_>) = readers.iter().map(|_| mpsc::channel(2)).unzip();
        let names: Vec<&str> = readers.iter().map(|reader| &*reader.destination).collect();
        self.0.stats.bytes_max.store(config.limits.bytes_max, Ordering::Relaxed);
        let worker = Worker {
            name: names.join(","),
            config,
            readers,
            clock,
            shared: Arc::clone(&self.0),
            first_set: 0,
            write_up_to: Number(0),
            asked: Vec::new(),
            try_again: None,
            unsynced: false,
            synced: Instant::now(),
            trimmed: Instant::now(),
        };
        let thread = thread::Builder::new().name("queue-on-disk".into());
        thread.spawn(move || worker.run(&tell))?;
        Ok(told)
    }

    /// There may be something to do.
    pub(crate) fn wake(&self) {
        let mut inbox = self.0.inbox();
        if !std::mem::replace(&mut inbox.woken, true) {
            self.0.word.notify_one();
        }
    }

    /// There will be something to write at `due`.
    pub(crate) fn wake_by(&self, due: Instant) {
        if self.0.inbox().looks_at.is_none_or(|at| at > due) {
            self.wake();
        }
    }

    /// Writes everything that waits, before its time. Whether the disk takes it. A log that is not
    /// open yet is believed to.
    pub(crate) async fn write_all(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        {
            let mut inbox = self.0.inbox();
            inbox.writes.retain(|asked| !asked.is_closed()); // while the disk hangs many give up
            inbox.writes.push(answer);
            inbox.woken = true;
            self.0.word.notify_one();
        }
        tokio::time::timeout(CLOSE_WITHIN, answered).await.is_ok_and(|answer| answer == Ok(true))
    }

    /// The block of this sequence.
    pub(crate) async fn read(&self, sequence: u64) -> Result<Block, ReadError> {
        let (answer, answered) = oneshot::channel();
        {
            let mut inbox = self.0.inbox();
            inbox.reads.push(Read { sequence, answer });
            inbox.woken = true;
            self.0.word.notify_one();
        }
        answered.await.map_err(|_| ReadError::Closed)??.ok_or(ReadError::Gone)
    }

    /// Numbers for blocks of queues that are written to this log.
    pub(crate) fn numbers(&self) -> Numbers {
        self.0.numbers.clone()
    }

    /// All readers have come to their ends: writes what is in memory alone, and ends the thread.
    pub(crate) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        {
            let mut inbox = self.0.inbox();
            inbox.closing = Some(answer);
            inbox.is_closing = true;
            inbox.woken = true;
            self.0.word.notify_one();
        }
        if tokio::time::timeout(CLOSE_WITHIN, answered).await.is_err() {
            error!(limit_s = CLOSE_WITHIN.as_secs(), "the disk takes too long: leaving it");
        }
    }

    /// How full the disk may be said to be, from 0 to 1.
    pub(crate) fn fullness(&self) -> f64 {
        let DiskStats { bytes, bytes_max, .. } = &self.0.stats;
        let bytes_max = bytes_max.load(Ordering::Relaxed);
        if bytes_max == 0 { 0.0 } else { bytes.load(Ordering::Relaxed) as f64 / bytes_max as f64 }
    }

    /// What it counts.
    pub(crate) fn stats(&self) -> &DiskStats {
        &self.0.stats
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keeper({:?})", self.0.stats)
    }
}

// === impl Opened ===

impl Opened {
    /// Books what was found as waiting, or as missing.
    pub(crate) fn book(&self, ledger: &Ledger) {
        let Opened::Found { waiting, missing } = self else { return };
        ledger.recover(waiting.iter().map(|one| one.counts).sum());
        ledger.miss(Counts { samples: *missing, ..Counts::default() });
    }
}

// === impl Shared ===

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for word, for `at_most` if that is given. What was asked to be read.
    fn wait(&self, at_most: Option<Duration>) -> Vec<Read> {
        let mut inbox = self.inbox();
        let until = at_most.map(|at_most| Instant::now() + at_most);
        inbox.looks_at = until;
        while !inbox.woken {
            inbox = match until {
                None => self.word.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.word.wait_timeout(inbox, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        (inbox.woken, inbox.looks_at) = (false, None);
        std::mem::take(&mut inbox.reads)
    }
}

// === impl Worker ===

impl Worker {
    fn run(mut self, tell: &[mpsc::Sender<Opened>]) {
        let mut log = self.open(tell);
        if let Some(log) = &mut log {
            self.first_set = log.newest_set().map_or(0, |newest| newest.wrapping_add(1));
            self.keep(log);
        }
        for Reader { destination, queue, .. } in &self.readers {
            let left = queue.leave();
            if left > 0 {
                info!(%destination, samples = left, "left on disk for the next start");
            }
        }
        match log {
            Some(log) if self.is_done_with(&log) => self.retire(log),
            log => drop(log), // only now a successor may open it, and count what was left
        }
        if self.config.used == Use::Former {
            self.shared.stats.bytes.store(0, Ordering::Relaxed);
            self.shared.stats.failing.store(false, Ordering::Relaxed);
        }
        self.shared.inbox().writes.clear();
        let closing = self.shared.inbox().closing.take();
        let _nobody_may_wait = closing.map(|answer| answer.send(()));
    }

    /// Whether nothing waits in a former log: a queue may be empty because nobody has looked yet.
    fn is_done_with(&self, log: &Log) -> bool {
        let waits = |reader: &Reader| !log.waiting(&reader.name).0.is_empty();
        self.config.used == Use::Former && !self.readers.iter().any(waits)
    }

    /// Ends a former log with which its reader is done.
    fn retire(&self, log: Log) {
        let folder = self.config.folder.display();
        match log.retire() {
            Ok(()) => info!(destination = %self.name, %folder, "done with a log of former times"),
            Err(error) => warn!(
                destination = %self.name, %folder, error = %Chain(&error),
                "a log that is done with can not be removed"
            ),
        }
    }

    /// Opens the log, however often that fails; `None` if the end comes first.
    fn open(&mut self, tell: &[mpsc::Sender<Opened>]) -> Option<Log> {
        let (mut told, began, mut closing) = (false, Instant::now(), None::<Instant>);
        loop {
            let pause = match self.try_open() {
                Ok((log, recovery)) => {
                    self.report(&recovery);
                    for (reader, tell) in self.readers.iter().zip(tell) {
                        let (waiting, missing) = log.waiting(&reader.name);
                        self.report_waiting(reader, waiting.len(), missing);
                        let _nobody_may_wait = tell.try_send(Opened::Found { waiting, missing });
                    }
                    self.works();
                    return Some(log);
                }
                Err(OpenError::InUse { .. })
                    if began.elapsed() < IN_USE_PATIENCE || closing.is_some() =>
                {
                    IN_USE_TICK
                }
                Err(failed) => {
                    self.failed(&failed);
                    if !std::mem::replace(&mut told, true) {
                        for tell in tell {
                            let _nobody_may_wait = tell.try_send(Opened::Failed);
                        }
                    }
                    TICK
                }
            };
            if self.shared.inbox().is_closing {
                let since = closing.get_or_insert_with(Instant::now);
                let unwritten = self.readers.iter().any(|reader| reader.queue.unwritten() > 0);
                if pause != IN_USE_TICK || !unwritten || since.elapsed() > LAST_PATIENCE {
                    return None;
                }
            }
            drop(self.shared.wait(Some(pause)));
            self.hear_asked();
            self.answer_asked();
        }
    }

    fn try_open(&self) -> Result<(Log, Recovery), OpenError> {
        let KeeperConfig { folder, used, limits, known, after, .. } = &self.config;
        if !after.iter().all(CancellationToken::is_cancelled) {
            return Err(OpenError::InUse { folder: folder.clone() });
        }
        let names: Vec<&str> = self.readers.iter().map(|reader| &*reader.name).collect();
        match used {
            Use::Current => Log::open(folder, limits.clone(), &names, known),
            Use::Former => Log::open_former(folder, limits.clone(), names[0], known),
        }
    }

    fn keep(&mut self, log: &mut Log) {
        loop {
            // Asked first: what is queued when the end is announced is written after that.
            let closing = self.shared.inbox().is_closing;
            self.hear_asked();
            let more = self.write(log);
            if !more {
                self.answer_asked();
            }
            let syncs = self.unsynced && self.config.fsync != Fsync::Never;
            let mut queues = self.readers.iter().map(|reader| &reader.queue);
            let waits = queues.any(|queue| queue.load().blocks > 0);
            let busy = syncs || waits;
            let at_most = match self.until_due() {
                _ if more => Some(Duration::ZERO),
                _ if self.try_again.is_some() => Some(TICK),
                due if busy => Some(due.map_or(TICK, |due| due.min(TICK))),
                due => due,
            };
            if closing && !more {
                self.acknowledge(log);
                self.sync(log);
                return;
            }
            for read in self.shared.wait(at_most) {
                let _nobody_may_wait = read.answer.send(log.read(read.sequence));
            }
            self.acknowledge(log);
            self.trim(log);
            if self.unsynced && self.config.fsync.is_due(self.synced.elapsed()) {
                self.sync(log);
            }
        }
    }

    fn hear_asked(&mut self) {
        self.asked.append(&mut self.shared.inbox().writes);
    }

    fn answer_asked(&mut self) {
        let takes = !self.shared.stats.failing.load(Ordering::Relaxed);
        for answer in self.asked.drain(..) {
            let _nobody_may_wait = answer.send(takes);
        }
    }

    /// Writes some of what is not written. Whether there is more, and the disk takes it.
    fn write(&mut self, log: &mut Log) -> bool {
        let closing = self.shared.inbox().is_closing;
        if self.try_again.is_some_and(|at| Instant::now() < at && !closing) {
            return false;
        }
        let now = Instant::now();
        let due = self.readers.iter().filter_map(|reader| reader.queue.due_up_to(now)).max();
        // A disk that refuses is asked for whatever there is.
        let wants_all = closing || !self.asked.is_empty() || self.try_again.is_some();
        let all = wants_all.then_some(Number(u64::MAX));
        self.write_up_to = due.max(all).map_or(self.write_up_to, |due| due.max(self.write_up_to));
        for _ in 0..BATCH {
            let Some((number, block, origin)) = self.next_unwritten() else {
                self.works();
                return false;
            };
            let origin = Origin { set: self.first_set.wrapping_add(origin.set), ..origin };
            match log.append(&block, origin) {
                Ok(sequence) => {
                    self.unsynced = true;
                    if self.config.fsync == Fsync::Always {
                        self.sync(log);
                    }
                    for reader in &self.readers {
                        reader.queue.written(number, sequence);
                    }
                    self.works();
                }
                Err(failed) => {
                    self.failed(&failed);
                    return false;
                }
            }
        }
        self.shared.stats.bytes.store(log.bytes(), Ordering::Relaxed);
        true
    }

    /// How long until a block is to be written that is not due yet.
    fn until_due(&self) -> Option<Duration> {
        let due = self.readers.iter().filter_map(|reader| reader.queue.next_due()).min();
        due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// The block that is to be written next: the oldest of those that any queue wants to be on
    /// disk by now. One that is just being given to the queues waits until all have it.
    fn next_unwritten(&self) -> Option<(Number, Block, Origin)> {
        let given = self.shared.numbers.next();
        let next = self.readers.iter().filter_map(|reader| reader.queue.next_unwritten());
        next.filter(|(number, ..)| *number < given && *number <= self.write_up_to)
            .min_by_key(|(number, ..)| *number)
    }

    fn acknowledge(&mut self, log: &mut Log) {
        let mut refused = None;
        for Reader { name, queue, .. } in &self.readers {
            let finished = queue.take_finished();
            if !finished.is_empty() || self.try_again.is_some() {
                let acknowledged = log.acknowledge(name, &finished);
                self.unsynced = true;
                refused = acknowledged.err().or(refused);
            }
            queue.came_to(log.place(name));
        }
        if let Some(failed) = refused {
            self.failed(&failed); // in memory it is noted: the next one writes it too
        }
        self.shared.stats.newest.store(log.newest(), Ordering::Relaxed);
    }

    fn trim(&mut self, log: &mut Log) {
        let bytes = log.bytes();
        self.shared.stats.bytes.store(bytes, Ordering::Relaxed);
        if bytes <= self.config.limits.bytes_max && self.trimmed.elapsed() < TICK {
            return;
        }
        self.trimmed = Instant::now();
        match log.trim(self.clock.unix_ms()) {
            Ok(Some(forgotten)) => {
                let queues = self.readers.iter().map(|reader| &reader.queue);
                queues.for_each(|queue| queue.forgotten(forgotten.before, forgotten.reason));
            }
            Ok(None) => {}
            Err(failed) => self.failed(&failed),
        }
    }

    fn sync(&mut self, log: &mut Log) {
        self.synced = Instant::now();
        self.unsynced = false;
        if self.config.fsync != Fsync::Never
            && let Err(failed) = log.sync()
        {
            self.failed(&failed);
        }
    }

    /// The disk refused: said when it begins.
    fn failed(&mut self, why: &(dyn std::error::Error + 'static)) {
        self.try_again = Some(Instant::now() + TICK);
        if !self.shared.stats.failing.swap(true, Ordering::Relaxed) {
            self.shared.stats.failures.fetch_add(1, Ordering::Relaxed);
            warn!(
                destination = %self.name, error = %Chain(why),
                "the disk refuses: blocks wait in memory"
            );
        }
    }

    fn works(&mut self) {
        self.try_again = None;
        if self.shared.stats.failing.swap(false, Ordering::Relaxed) {
            info!(destination = %self.name, "the disk takes blocks again");
        }
    }
}
