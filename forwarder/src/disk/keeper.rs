//! The thread of one log: writes what queues hold, reads it back, and keeps their places.
//!
//! Destinations that are sent the same blocks share a log: a block has the same number in all of
//! their queues, and is written once, for as long as one of them wants it. Numbers are given in
//! the order in which blocks are sealed, so sequences on disk grow with them.
//! What holds: nobody waits for a file but this thread. A disk that is full or refuses leaves
//! blocks in memory; it is asked again every second, counted, and said once.
//! Nothing to do costs nothing: the thread sleeps until somebody wakes it. When it has ended, or
//! failed, nobody waits for it.
//! Not here: what the thread does (`keeper/worker.rs`).

mod report;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kit::Clock;
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{Limits, Waits};
use crate::block::Block;
use crate::config::Fsync;
use crate::ledger::Ledger;
use crate::queue::{Numbers, Queue};
use worker::Worker;

/// Between two tries to read from a log that cannot be read for a reason that says nothing of it.
const READ_TICK: Duration = Duration::from_secs(1);
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
    /// Damage found: places in files, cursors, and logs that vanished.
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
    /// Whom the thread waits for.
    after: OnceLock<Vec<CancellationToken>>,
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
    /// Nobody hears any more what is asked.
    has_ended: bool,
}

struct Read {
    sequence: u64,
    answer: oneshot::Sender<io::Result<Option<Block>>>,
}

/// The end of the thread, however it comes: nobody is left waiting.
struct End(Arc<Shared>);

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
        let _started_once = self.0.after.set(config.after.clone());
        let worker = Worker::new(names.join(","), config, readers, clock, Arc::clone(&self.0));
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
            if inbox.has_ended {
                return false;
            }
            inbox.writes.retain(|asked| !asked.is_closed()); // while the disk hangs many give up
            inbox.writes.push(answer);
            inbox.woken = true;
            self.0.word.notify_one();
        }
        tokio::time::timeout(CLOSE_WITHIN, answered).await.is_ok_and(|answer| answer == Ok(true))
    }

    /// The block of this sequence. Waits while the machine has no file to spare for it.
    pub(crate) async fn read(&self, sequence: u64) -> Result<Block, ReadError> {
        loop {
            match self.read_now(sequence).await {
                Err(ReadError::Io(error)) if is_passing(&error) => sleep(READ_TICK).await,
                read => return read,
            }
        }
    }

    async fn read_now(&self, sequence: u64) -> Result<Block, ReadError> {
        let (answer, answered) = oneshot::channel();
        {
            let mut inbox = self.0.inbox();
            if inbox.has_ended {
                return Err(ReadError::Closed);
            }
            inbox.reads.push(Read { sequence, answer });
            inbox.woken = true;
            self.0.word.notify_one();
        }
        answered.await.map_err(|_| ReadError::Closed)??.ok_or(ReadError::Gone)
    }

    /// Predecessors that have not ended yet. A successor waits for them too: this thread may be told
    /// to end while they still have the log.
    pub(crate) fn waits_for(&self) -> Vec<CancellationToken> {
        let after = self.0.after.get().into_iter().flatten();
        after.filter(|ended| !ended.is_cancelled()).cloned().collect()
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
            if inbox.has_ended {
                return;
            }
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
        ledger.miss(*missing);
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

/// Whether the block may be there all the same: the process has too many files open, or the log is
/// not open just now.
fn is_passing(error: &io::Error) -> bool {
    let too_many = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.kind() == io::ErrorKind::ResourceBusy
        || error.raw_os_error().is_some_and(|error| too_many.contains(&error))
}

// === impl End ===

impl Drop for End {
    fn drop(&mut self) {
        let Shared { stats, .. } = &*self.0;
        if thread::panicking() {
            stats.failures.fetch_add(1, Ordering::Relaxed);
            stats.failing.store(true, Ordering::Relaxed);
            error!("the thread of a queue on disk failed: nothing is written or read any more");
        }
        let mut inbox = self.0.inbox();
        inbox.has_ended = true;
        inbox.reads.clear();
        inbox.writes.clear();
        let _nobody_may_wait = inbox.closing.take().map(|answer| answer.send(()));
    }
}
