//! What the thread of a log does: opens it, writes, reads back, keeps places and caps, and ends.
//!
//! What holds: a block counts as written only when it is as safe as the configuration wants it. A
//! log that vanished under it is opened anew, with what is there by then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kit::{Chain, Clock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{End, KeeperConfig, Opened, Reader, Shared, Use};
use crate::block::Block;
use crate::config::Fsync;
use crate::disk::{AppendError, Log, OpenError, Recovery, Unreadable};
use crate::queue::{Number, Origin};

/// Between two tries of a disk that refused, two looks at caps, and two looks at a log in use.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks whether a log is still in use: a reload waits for it.
const IN_USE_TICK: Duration = Duration::from_millis(20);
/// A log that is in use for longer, when all predecessors have ended, is somebody else's, and that
/// is a failure. Tests wait for it.
pub(super) const IN_USE_PATIENCE: Duration =
    Duration::from_millis(if cfg!(test) { 500 } else { 10_000 });
/// What a disk cannot read for so long is damage: a controller may have been reset, or a cable be
/// loose. Tests wait for it.
const UNREADABLE_PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 60_000 });
/// For so long a log that is to be closed is waited for, if blocks are in memory alone.
const LAST_PATIENCE: Duration = Duration::from_secs(15);
/// Blocks written before readers are looked after again.
const BATCH: usize = 64;

/// What the thread owns.
pub(super) struct Worker {
    /// The destinations, for people.
    pub(super) name: String,
    pub(super) config: KeeperConfig,
    pub(super) readers: Vec<Reader>,
    pub(super) shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// Added to the sets of shards of this process: those of former ones, in any log, are older.
    first_set: u32,
    /// Who wants everything on disk.
    asked: Vec<oneshot::Sender<bool>>,
    /// Set while the disk refuses: when to try again.
    try_again: Option<Instant>,
    /// The log is not where it was.
    vanished: bool,
    /// The first sequence that may be of this process, if another log took the place of ours.
    own_from: u64,
    unsynced: bool,
    synced: Instant,
    trimmed: Instant,
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(
        name: String,
        config: KeeperConfig,
        readers: Vec<Reader>,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
    ) -> Worker {
        Worker {
            name,
            config,
            readers,
            shared,
            clock,
            first_set: 0,
            asked: Vec::new(),
            try_again: None,
            vanished: false,
            own_from: 0,
            unsynced: false,
            synced: Instant::now(),
            trimmed: Instant::now(),
        }
    }

    pub(super) fn run(mut self, tell: &[mpsc::Sender<Opened>]) {
        let _whatever_happens = End(Arc::clone(&self.shared));
        let mut log = self.open(tell);
        if log.is_some() {
            self.works();
        }
        while let Some(mut open) = log.take() {
            let is_last = self.shared.inbox().is_closing;
            self.keep(&mut open);
            if !self.vanished || is_last {
                log = Some(open);
                break;
            }
            log = self.reopen(open);
        }
        for Reader { destination, queue, .. } in &self.readers {
            let left = queue.leave();
            if left > 0 {
                info!(%destination, samples = left, "left on disk");
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
        let (mut told, mut began, mut closing) = (false, Instant::now(), None::<Instant>);
        let mut failing = None::<Instant>;
        loop {
            if !self.is_after_all() {
                began = Instant::now(); // they take the time that they are given
            }
            let gives_up = failing.is_some_and(|since| since.elapsed() > UNREADABLE_PATIENCE);
            let unreadable = if gives_up { Unreadable::IsDamage } else { Unreadable::Fails };
            let pause = match self.try_open(unreadable) {
                Ok((log, recovery)) => {
                    self.report(&recovery);
                    for (reader, tell) in self.readers.iter().zip(tell) {
                        let (waiting, missing) = log.waiting(&reader.name);
                        self.report_waiting(reader, waiting.len(), missing);
                        let _nobody_may_wait = tell.try_send(Opened::Found { waiting, missing });
                    }
                    self.first_set = self.first_set.max(self.next_set(&log));
                    self.unsynced = true; // the one before may not have come to it
                    return Some(log);
                }
                Err(OpenError::InUse { .. })
                    if began.elapsed() < IN_USE_PATIENCE || closing.is_some() =>
                {
                    IN_USE_TICK
                }
                Err(failed) => {
                    self.failed(&failed);
                    let since = failing.filter(|_| failed.is_unreadable());
                    failing = failed.is_unreadable().then(|| since.unwrap_or_else(Instant::now));
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
            for read in self.shared.wait(Some(pause)) {
                let not_open = Err(io::ErrorKind::ResourceBusy.into());
                let _nobody_may_wait = read.answer.send(not_open);
            }
            // Nobody may leave what is in memory alone: who holds the log may hold it for long.
            self.hear_asked();
            let unwritten = self.readers.iter().any(|reader| reader.queue.unwritten() > 0);
            self.answer_asked(!unwritten);
        }
    }

    fn try_open(&self, unreadable: Unreadable) -> Result<(Log, Recovery), OpenError> {
        let KeeperConfig { folder, used, limits, known, fsync, .. } = &self.config;
        if !self.is_after_all() {
            return Err(OpenError::InUse { folder: folder.clone() });
        }
        let names: Vec<&str> = self.readers.iter().map(|reader| &*reader.name).collect();
        let (mut log, recovery) = match used {
            Use::Current => Log::open(folder, limits.clone(), &names, known, unreadable)?,
            Use::Former => Log::open_former(folder, limits.clone(), names[0], known, unreadable)?,
        };
        if *fsync == Fsync::Never {
            log.never_syncs();
        }
        Ok((log, recovery))
    }

    /// Whether all predecessors have ended.
    fn is_after_all(&self) -> bool {
        self.config.after.iter().all(CancellationToken::is_cancelled)
    }

    /// The first set of shards that is newer than all others. It grows with the clock too, so that
    /// sets in different logs of a destination tell which are older.
    fn next_set(&self, log: &Log) -> u32 {
        let by_clock = u32::try_from(self.clock.unix_ms() / 1000).unwrap_or(0);
        log.newest_set().map_or(0, |newest| newest.wrapping_add(1)).max(by_clock)
    }

    /// Goes on with what is there when the log is not where it was: what was on disk alone is lost,
    /// what is in memory is written again. Another log that is there now is written on, and read
    /// by the next start.
    fn reopen(&mut self, log: Log) -> Option<Log> {
        self.vanished = false;
        let vanished = log.vanish();
        let mut log = self.open(&[])?;
        let is_same = match log.follow(&vanished) {
            Ok(is_same) => is_same,
            Err(failed) => {
                self.failed(&failed);
                false
            }
        };
        if !is_same {
            self.own_from = log.newest() + 1;
            let waiting = self.readers.iter().map(|reader| log.waiting(&reader.name).0.len());
            self.report_foreign(waiting.max().unwrap_or(0));
        }
        let is_there = |sequence| is_same && log.has(sequence);
        let queues = self.readers.iter().map(|reader| &reader.queue);
        let lost = queues.map(|queue| queue.look_for(is_there)).sum();
        self.report_vanished(lost);
        Some(log)
    }

    /// Until the end comes, or the log vanishes.
    fn keep(&mut self, log: &mut Log) {
        loop {
            // Asked first: what is queued when the end is announced is written after that.
            let closing = self.shared.inbox().is_closing;
            self.hear_asked();
            let more = self.write(log);
            if self.vanished {
                return;
            }
            if !more {
                let takes = !self.shared.stats.failing.load(Ordering::Relaxed);
                self.answer_asked(takes);
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
                // Before that are another log's blocks.
                let is_ours = read.sequence >= self.own_from;
                let found = if is_ours { log.read(read.sequence) } else { Ok(None) };
                let _nobody_may_wait = read.answer.send(found);
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

    fn answer_asked(&mut self, all_is_written: bool) {
        for answer in self.asked.drain(..) {
            let _nobody_may_wait = answer.send(all_is_written);
        }
    }

    /// Writes some of what is not written. Whether there is more, and the disk takes it.
    fn write(&mut self, log: &mut Log) -> bool {
        let closing = self.shared.inbox().is_closing;
        let now = Instant::now();
        if self.try_again.is_some_and(|at| now < at && !closing) {
            return false;
        }
        let due = self.readers.iter().filter_map(|reader| reader.queue.due_up_to(now)).max();
        // A disk that refuses is asked for whatever there is.
        let wants_all = closing || !self.asked.is_empty() || self.try_again.is_some();
        let up_to = if wants_all { Some(Number(u64::MAX)) } else { due };
        for _ in 0..BATCH {
            let Some((number, block, origin)) = self.next_unwritten(up_to) else {
                self.ask_again(log);
                return false;
            };
            if !self.write_one(log, number, &block, origin) {
                return false;
            }
        }
        self.shared.stats.bytes.store(log.bytes(), Ordering::Relaxed);
        true
    }

    /// Whether the disk has taken it.
    fn write_one(&mut self, log: &mut Log, number: Number, block: &Block, origin: Origin) -> bool {
        let origin = Origin { set: self.first_set.wrapping_add(origin.set), ..origin };
        let sequence = match log.append(block, origin) {
            Ok(sequence) => sequence,
            Err(failed) => {
                self.vanished = matches!(failed, AppendError::Vanished { .. });
                self.failed(&failed);
                return false;
            }
        };
        self.unsynced = true;
        if self.config.fsync == Fsync::Always && !self.sync(log) {
            // Nobody knows whether it is there. It will be written again, elsewhere.
            for reader in &self.readers {
                let _the_disk_is_known_to_refuse = log.acknowledge(&reader.name, &[sequence]);
            }
            return false;
        }
        for reader in &self.readers {
            reader.queue.written(number, sequence);
        }
        self.works();
        true
    }

    /// Nothing is to be written: places are, if the disk refused something, to see whether it still
    /// does.
    fn ask_again(&mut self, log: &mut Log) {
        if self.try_again.is_none() {
            return;
        }
        let mut readers = self.readers.iter();
        match readers.try_for_each(|reader| log.acknowledge(&reader.name, &[])) {
            Ok(()) if self.sync(log) => self.works(),
            Ok(()) => {}
            Err(failed) => self.failed(&failed),
        }
    }

    /// How long until a block is to be written that is not due yet.
    fn until_due(&self) -> Option<Duration> {
        let due = self.readers.iter().filter_map(|reader| reader.queue.next_due()).min();
        due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// The block that is to be written next: the oldest of those that any queue wants to be on
    /// disk by now. One that is just being given to the queues waits until all have it.
    fn next_unwritten(&self, up_to: Option<Number>) -> Option<(Number, Block, Origin)> {
        let given = self.shared.numbers.next();
        let next = self.readers.iter().filter_map(|reader| reader.queue.next_unwritten());
        next.filter(|(number, ..)| *number < given && Some(*number) <= up_to)
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
        let trimmed = log.trim(self.clock.unix_ms());
        if let Some(forgotten) = log.take_forgotten() {
            let queues = self.readers.iter().map(|reader| &reader.queue);
            queues.for_each(|queue| queue.forgotten(forgotten.before, forgotten.reason));
        }
        if let Err(failed) = trimmed {
            self.failed(&failed);
        }
    }

    /// Makes what was written survive a loss of power, if that is wanted. Whether the disk has.
    fn sync(&mut self, log: &mut Log) -> bool {
        self.synced = Instant::now();
        self.unsynced = false;
        if self.config.fsync == Fsync::Never {
            return true;
        }
        let synced = log.sync();
        synced.inspect_err(|failed| self.failed(failed)).is_ok()
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
