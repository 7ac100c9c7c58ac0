//! The thread of one log: writes what the queue holds, reads it back, and keeps the place.
//!
//! What holds: nobody waits for a file but this thread. A disk that is full or refuses leaves
//! blocks in memory; it is asked again every second, counted, and said once.
//! Nothing to do costs nothing: the thread sleeps until somebody wakes it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kit::{Chain, Clock};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::{Limits, Log, OpenError, Recovery, Waits};
use crate::block::{Block, Counts};
use crate::config::Fsync;
use crate::ledger::Ledger;
use crate::queue::{Origin, Queue};

/// Between two tries of a disk that refused, two looks at caps, and two looks at a log in use.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks whether a log is still in use: a reload waits for it.
const IN_USE_TICK: Duration = Duration::from_millis(20);
/// A log in use for longer is not a reload's: somebody else has it, and that is a failure.
const IN_USE_PATIENCE: Duration = Duration::from_secs(10);
/// Blocks written before readers are looked after again.
const BATCH: usize = 64;
/// How long the end may take: what is in memory is written, and everything synced.
const CLOSE_WITHIN: Duration = Duration::from_secs(20);

/// A handle of the thread. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Keeper(Arc<Shared>);

/// What a keeper keeps, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeeperConfig {
    pub(crate) folder: PathBuf,
    /// The name of the destination's place in the log.
    pub(crate) reader: String,
    pub(crate) limits: Limits,
    pub(crate) fsync: Fsync,
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
    /// The sequence before which everything is delivered or dropped.
    pub(crate) place: AtomicU64,
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
}

#[derive(Default)]
struct Inbox {
    woken: bool,
    reads: Vec<Read>,
    closing: Option<oneshot::Sender<()>>,
    is_closing: bool,
}

struct Read {
    sequence: u64,
    answer: oneshot::Sender<io::Result<Option<Block>>>,
}

/// What the thread owns.
struct Worker {
    name: String,
    config: KeeperConfig,
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    /// Added to the sets of shards of this process: those found are older.
    first_set: u32,
    /// Set while the disk refuses: when to try again.
    try_again: Option<Instant>,
    unsynced: bool,
    synced: Instant,
    trimmed: Instant,
}

// === impl Keeper ===

impl Keeper {
    /// Starts the thread for this queue. It tells once, perhaps after a failure, what it found.
    pub(crate) fn start(
        &self,
        name: &str,
        config: KeeperConfig,
        queue: Arc<Queue>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<mpsc::Receiver<Opened>> {
        let (tell, told) = mpsc::channel(2);
        self.0.stats.bytes_max.store(config.limits.bytes_max, Ordering::Relaxed);
        let worker = Worker {
            name: name.to_owned(),
            config,
            queue,
            clock,
            shared: Arc::clone(&self.0),
            first_set: 0,
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

    /// Writes what is in memory alone, and ends the thread.
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
        while !inbox.woken {
            inbox = match at_most {
                None => self.word.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(at_most) => {
                    let waited = self.word.wait_timeout(inbox, at_most);
                    let (inbox, ended) = waited.unwrap_or_else(PoisonError::into_inner);
                    if ended.timed_out() {
                        return take_reads(inbox);
                    }
                    inbox
                }
            };
        }
        inbox.woken = false;
        take_reads(inbox)
    }
}

fn take_reads(mut inbox: MutexGuard<'_, Inbox>) -> Vec<Read> {
    std::mem::take(&mut inbox.reads)
}

// === impl Worker ===

impl Worker {
    fn run(mut self, tell: &mpsc::Sender<Opened>) {
        let mut log = self.open(tell);
        if let Some(log) = &mut log {
            self.first_set = log.newest_set().map_or(0, |newest| newest.wrapping_add(1));
            self.keep(log);
        }
        let left = self.queue.leave();
        if left > 0 {
            info!(destination = %self.name, samples = left, "left on disk for the next start");
        }
        drop(log); // only now a successor may open it, and count what was left
        let closing = self.shared.inbox().closing.take();
        let _nobody_may_wait = closing.map(|answer| answer.send(()));
    }

    /// Opens the log, however often that fails; `None` if the end comes first.
    fn open(&mut self, tell: &mpsc::Sender<Opened>) -> Option<Log> {
        let KeeperConfig { folder, reader, limits, .. } = self.config.clone();
        let (mut told, began) = (false, Instant::now());
        loop {
            let pause = match Log::open(&folder, limits.clone(), &[&reader]) {
                Ok((log, recovery)) => {
                    let (waiting, missing) = log.waiting(&reader);
                    self.report(&recovery, waiting.len(), missing);
                    let _nobody_may_wait = tell.try_send(Opened::Found { waiting, missing });
                    self.works();
                    return Some(log);
                }
                Err(OpenError::InUse { .. }) if began.elapsed() < IN_USE_PATIENCE => IN_USE_TICK,
                Err(failed) => {
                    self.failed(&failed);
                    if !std::mem::replace(&mut told, true) {
                        let _nobody_may_wait = tell.try_send(Opened::Failed);
                    }
                    TICK
                }
            };
            if self.shared.inbox().is_closing {
                return None;
            }
            drop(self.shared.wait(Some(pause)));
        }
    }

    fn keep(&mut self, log: &mut Log) {
        loop {
            // Asked first: what is queued when the end is announced is written after that.
            let closing = self.shared.inbox().is_closing;
            let more = self.write(log);
            let syncs = self.unsynced && self.config.fsync != Fsync::Never;
            let busy = self.try_again.is_some() || syncs || self.queue.load().blocks > 0;
            let at_most = if more { Some(Duration::ZERO) } else { busy.then_some(TICK) };
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

    /// Writes some of what is not written. Whether there is more, and the disk takes it.
    fn write(&mut self, log: &mut Log) -> bool {
        let closing = self.shared.inbox().is_closing;
        if self.try_again.is_some_and(|at| Instant::now() < at && !closing) {
            return false;
        }
        for _ in 0..BATCH {
            let Some((number, block, origin)) = self.queue.next_unwritten() else {
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
                    self.queue.written(number, sequence);
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

    fn acknowledge(&mut self, log: &mut Log) {
        let finished = self.queue.take_finished();
        if !finished.is_empty() || self.try_again.is_some() {
            let acknowledged = log.acknowledge(&self.config.reader, &finished);
            self.unsynced = true;
            if let Err(failed) = acknowledged {
                self.failed(&failed); // in memory it is noted: the next one writes it too
            }
        }
        self.shared.stats.place.store(log.place(&self.config.reader), Ordering::Relaxed);
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
            Ok(Some(forgotten)) => self.queue.forgotten(forgotten.before, forgotten.reason),
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

    fn report(&self, recovery: &Recovery, blocks: usize, missing: u64) {
        let Recovery { damaged_places, foreign_files, damaged_cursors } = recovery;
        let (destination, folder) = (&self.name, self.config.folder.display());
        if blocks > 0 {
            info!(%destination, %folder, blocks, "going on with what waited on disk");
        }
        let damages = damaged_places + damaged_cursors.len() as u64;
        self.shared.stats.damages.fetch_add(damages, Ordering::Relaxed);
        if damages > 0 || missing > 0 {
            error!(
                %destination, %folder, damaged_places, missing_samples = missing,
                damaged_cursors = damaged_cursors.len(), "the queue on disk was damaged"
            );
        }
        for file in foreign_files {
            warn!(%destination, file = %file.display(), "not a file of this queue: left alone");
        }
    }
}
