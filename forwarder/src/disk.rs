//! A log of blocks on disk, written once, with a place of its own for every reader.
//!
//! What holds: a block that `append` has taken can be read until every reader has acknowledged
//! it, also after a restart, unless a cap made the log forget it; what was acknowledged does not
//! wait any more. Damage costs the damaged records only: they are skipped and counted, with the
//! samples they held. Segments go when every reader is done with them.
//! A log to which nobody writes any more may be read by several at once, each for itself
//! (`former.rs`).
//! Blocking: everything here does file I/O. Not here: when (`keeper.rs`), and which block is next
//! (`queue.rs`).

mod cursor;
mod former;
mod keeper;
mod place;
mod record;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::block::{Block, Counts};
use crate::ledger::Reason;
use crate::queue::Origin;
use cursor::Cursor;
use record::Header;
use segment::{Located, Segment, is_same, is_unreadable, set_aside};

pub(crate) use former::former_logs;
pub(crate) use keeper::{DiskStats, Keeper, KeeperConfig, Opened, ReadError, Reader, Use};
pub(crate) use segment::Unreadable;

/// The file that says who has the log open.
const LOCK_FILE: &str = "lock";
/// A segment with nothing left in it is kept to be written to below this size.
const KEPT_BYTES: u64 = 1024 * 1024;
/// Where blocks may get too old, a segment is written for this part of that time: blocks go with
/// the last of their segment.
const SEGMENTS_AN_AGE: i64 = 8;

/// How a log keeps itself within bounds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limits {
    /// Bytes of a segment.
    pub(crate) segment_bytes: u64,
    /// Bytes of all segments together; the oldest segment goes when it is passed.
    pub(crate) bytes_max: u64,
    /// Records of all segments together: each takes about 100 bytes of memory.
    pub(crate) records_max: usize,
    /// Blocks whose newest sample is older than this many milliseconds are not sent any more.
    pub(crate) age_ms_max: i64,
    /// Bytes of the file system that must stay free.
    pub(crate) free_bytes_min: u64,
}

/// A log and its readers. One owner; nobody else may have the folder's log open.
#[derive(Debug)]
pub(crate) struct Log {
    folder: PathBuf,
    /// The folder, open: another one may take its place.
    home: File,
    limits: Limits,
    segments: VecDeque<OpenSegment>,
    readers: BTreeMap<String, Cursor>,
    next_sequence: u64,
    /// Samples of every kind ever appended.
    appended: u64,
    /// The last segment gets no more: it is old, or nobody knows what of it is on the disk.
    begin_another: bool,
    /// When blocks of the last segment were first looked at.
    began_ms: Option<i64>,
    /// Whether the last block found no room.
    refused: bool,
    /// Whether somebody asks for syncs.
    syncs: bool,
    /// What is gone and nobody has been told of yet.
    forgotten: Option<Forgotten>,
    /// Others may read it too, and nobody writes.
    is_former: bool,
    /// Segments that are of no use any more, and are there still: in a former log others may want
    /// them, else they could not be removed.
    passed: VecDeque<OpenSegment>,
    /// Holds the lock.
    _lock: File,
}

/// A record that waits for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    pub(crate) sequence: u64,
    pub(crate) origin: Origin,
    pub(crate) counts: Counts,
    pub(crate) bytes: u64,
    pub(crate) newest_ms: i64,
}

/// Everything before a sequence is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) before: u64,
    /// [`Reason::QueueFull`] or [`Reason::TooOld`].
    pub(crate) reason: Reason,
}

/// What opening a log found.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// Places where files were damaged.
    pub(crate) damaged_places: u64,
    /// Bytes of a record that was not written whole, or not made safe before power was lost.
    pub(crate) torn_bytes: u64,
    /// Files in the folder that are not ours. Segments of another version are among them, moved
    /// aside under a name that ends in `.unreadable`.
    pub(crate) foreign_files: Vec<PathBuf>,
    /// Readers whose place was damaged: they start with the oldest record.
    pub(crate) damaged_cursors: Vec<String>,
    /// Places of readers that are no more; what waited for them is free to go.
    pub(crate) freed_cursors: Vec<PathBuf>,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process, or the destination's predecessor, has it open.
    #[error("open the queue in {folder}: it is in use")]
    InUse { folder: PathBuf },
    /// The file system refused.
    #[error("open the queue in {folder}")]
    Io { folder: PathBuf, source: io::Error },
}

/// Why a block could not be appended. Nothing was kept of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Writing would leave less free space than must stay.
    #[error("keep {min_bytes} bytes of the disk free: {free_bytes} are left")]
    NoSpace { free_bytes: u64, min_bytes: u64 },
    /// The file system refused.
    #[error("append to {path}")]
    Write { path: PathBuf, source: io::Error },
    /// The log must be opened anew.
    #[error("append to {path}: what was there is gone")]
    Vanished { path: PathBuf },
}

/// A segment that cannot be opened now.
#[derive(Debug, thiserror::Error)]
#[error("open {path}")]
struct Unopened {
    path: PathBuf,
    source: io::Error,
}

/// What is known of a log that vanished.
#[derive(Debug)]
pub(crate) struct Vanished {
    home: File,
    next_sequence: u64,
}

#[derive(Debug)]
struct OpenSegment {
    file: Segment,
    records: VecDeque<Located>,
}

// === impl OpenError ===

impl OpenError {
    /// Whether the disk does not read what is there.
    pub(crate) fn is_unreadable(&self) -> bool {
        let OpenError::Io { source, .. } = self else { return false };
        let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<Unopened>());
        is_unreadable(inner.map_or(source, |unopened| &unopened.source))
    }
}

// === impl Log ===

impl Log {
    /// Opens the log in `folder` (made if missing) for these readers, to be written to. A reader
    /// that was never there before starts with what is appended from now on; the places of others
    /// that are not `known` any more are given up.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or somebody else has the log open.
    pub(crate) fn open(
        folder: &Path,
        limits: Limits,
        readers: &[&str],
        known: &BTreeSet<String>,
        unreadable: Unreadable,
    ) -> Result<(Log, Recovery), OpenError> {
        let failed = |source| OpenError::Io { folder: folder.into(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = lock(folder, FlockOperation::NonBlockingLockExclusive)?;
        let (mut log, mut recovery) =
            Log::load(folder, limits, lock, unreadable).map_err(failed)?;
        log.free_unknown(known, &mut recovery).map_err(failed)?;
        for name in readers {
            log.add_reader(name, unreadable, &mut recovery).map_err(failed)?;
        }
        Ok((log, recovery))
    }

    /// The log without readers.
    fn load(
        folder: &Path,
        limits: Limits,
        lock: File,
        unreadable: Unreadable,
    ) -> io::Result<(Log, Recovery)> {
        let mut recovery = Recovery::default();
        let segments = open_segments(folder, unreadable, &mut recovery)?;
        let end = segments.iter().map(|one| one.file.end(one.records.back())).max();
        let last = segments.iter().flat_map(|segment| segment.records.iter()).next_back();
        let log = Log {
            next_sequence: end.unwrap_or(1),
            appended: last.map_or(0, |r| r.header.before + r.header.counts.total()),
            folder: folder.to_path_buf(),
            home: File::open(folder)?,
            limits,
            segments,
            readers: BTreeMap::new(),
            begin_another: false,
            began_ms: None,
            refused: false,
            syncs: true,
            forgotten: None,
            is_former: false,
            passed: VecDeque::new(),
            _lock: lock,
        };
        Ok((log, recovery))
    }

    /// Appends a block for every reader; returns its sequence.
    ///
    /// # Errors
    /// When the disk is full or refuses; the log stays as it was and may be tried again.
    pub(crate) fn append(&mut self, block: &Block, origin: Origin) -> Result<u64, AppendError> {
        let appended = self.try_append(block, origin);
        self.refused = appended.is_err();
        appended
    }

    fn try_append(&mut self, block: &Block, origin: Origin) -> Result<u64, AppendError> {
        self.check_is_there()?;
        self.check_free_space(block.bytes.len() as u64)?;
        let full = |segment: &OpenSegment| {
            segment.file.has_gaps || segment.file.bytes >= self.limits.segment_bytes
        };
        if self.begin_another || self.segments.back().is_none_or(full) {
            // One without records has the name that the next one gets.
            let is_empty = |last: &mut OpenSegment| last.records.is_empty() && !last.file.has_gaps;
            let _replaced = self.segments.pop_back_if(is_empty);
            let created = Segment::create(&self.folder, self.next_sequence);
            let file = created.map_err(|source| self.write_error(source))?;
            self.segments.push_back(OpenSegment { file, records: VecDeque::new() });
            (self.begin_another, self.began_ms) = (false, None);
            self.close_all_but(None);
        }
        let header = Header::of(block, self.next_sequence, self.appended, origin);
        let segment = self.segments.back_mut().expect("a segment was just made sure of");
        match segment.file.append(&header, block) {
            Ok(offset) => segment.records.push_back(Located { header, offset }),
            Err(source) => return Err(self.write_error(source)),
        }
        segment.file.is_unsynced = self.syncs;
        self.next_sequence += 1;
        self.appended += block.counts.total();
        Ok(header.sequence)
    }

    /// The block of this sequence; `None` if it is gone or damaged.
    ///
    /// # Errors
    /// When reading fails.
    pub(crate) fn read(&mut self, sequence: u64) -> io::Result<Option<Block>> {
        match self.record_from(sequence) {
            Some((at, located)) if located.header.sequence == sequence => {
                self.close_all_but(Some(at));
                self.segments[at].file.read(&located)
            }
            _ => Ok(None),
        }
    }

    /// Whether there is a record of this sequence.
    pub(crate) fn has(&self, sequence: u64) -> bool {
        self.record_from(sequence).is_some_and(|(_, found)| found.header.sequence == sequence)
    }

    /// Forgets what the caps no longer allow; [`Log::take_forgotten`] says what is gone.
    ///
    /// # Errors
    /// When a file cannot be removed, or a place not be written. It is tried again the next time.
    pub(crate) fn trim(&mut self, now_ms: i64) -> io::Result<()> {
        let mut trimmed = self.remove_passed();
        let records = |log: &Log| log.segments.iter().map(|one| one.records.len()).sum::<usize>();
        while self.segments.len() > 1
            && (self.bytes() > self.limits.bytes_max || records(self) > self.limits.records_max)
        {
            trimmed = trimmed.and(self.forget_oldest(Reason::QueueFull));
        }
        let oldest_ms = now_ms.saturating_sub(self.limits.age_ms_max);
        let aged = |segment: &OpenSegment| {
            segment.records.iter().all(|record| record.header.newest_ms < oldest_ms)
        };
        // The last one may be empty: it is to be written to.
        while self.segments.front().is_some_and(aged)
            && (self.segments.len() > 1 || !self.segments[0].records.is_empty())
        {
            trimmed = trimmed.and(self.forget_oldest(Reason::TooOld));
        }
        if self.segments.back().is_some_and(|last| !last.records.is_empty()) {
            // Clocks may be set back.
            let began_ms = self.began_ms.map_or(now_ms, |began_ms| began_ms.min(now_ms));
            self.began_ms = Some(began_ms);
            let age_ms = now_ms.saturating_sub(began_ms);
            self.begin_another |= age_ms >= self.limits.age_ms_max / SEGMENTS_AN_AGE;
        }
        trimmed
    }

    /// What is gone that was not told yet.
    pub(crate) fn take_forgotten(&mut self) -> Option<Forgotten> {
        self.forgotten.take()
    }

    /// Makes everything so far survive a loss of power.
    ///
    /// # Errors
    /// When the disk refuses; what was appended since the last success may be gone. The next
    /// block begins another segment.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let Log { segments, readers, .. } = self;
        let synced = segments.iter_mut().try_for_each(|segment| segment.file.sync());
        let synced = synced.and_then(|()| readers.values().try_for_each(Cursor::sync));
        if synced.is_err() {
            // The system takes for written what it could not write: asking again says nothing.
            segments.iter_mut().for_each(|segment| segment.file.is_unsynced = false);
            self.begin_another = true;
        }
        self.close_all_but(None);
        synced
    }

    /// Nobody will ask for a sync.
    pub(crate) fn never_syncs(&mut self) {
        self.syncs = false;
    }

    /// Ends a log that vanished: what its successor must know.
    pub(crate) fn vanish(self) -> Vanished {
        Vanished { home: self.home, next_sequence: self.next_sequence }
    }

    /// Goes on from one that vanished: no sequence of it is given again. Whether it is the same
    /// log, of which only a part is gone.
    ///
    /// # Errors
    /// When the file system does not say.
    pub(crate) fn follow(&mut self, vanished: &Vanished) -> io::Result<bool> {
        self.next_sequence = self.next_sequence.max(vanished.next_sequence);
        is_same(&self.folder, &vanished.home)
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file.bytes).sum()
    }

    /// The sequence of the newest block that was ever written; 0 if there was none.
    pub(crate) fn newest(&self) -> u64 {
        self.next_sequence - 1
    }

    /// The newest set of shards that any record is of.
    pub(crate) fn newest_set(&self) -> Option<u32> {
        let records = self.segments.iter().flat_map(|segment| segment.records.iter());
        records.map(|record| record.header.origin.set).max()
    }

    /// The first record at or after `sequence`, and the number of its segment.
    fn record_from(&self, sequence: u64) -> Option<(usize, Located)> {
        let reaches = |segment: &OpenSegment| {
            segment.records.back().is_some_and(|record| record.header.sequence >= sequence)
        };
        let at = self.segments.iter().position(reaches)?;
        let records = &self.segments[at].records;
        let first = records.partition_point(|record| record.header.sequence < sequence);
        records.get(first).map(|record| (at, *record))
    }

    /// Closes all segments but this one, and the one that is written.
    fn close_all_but(&mut self, read: Option<usize>) {
        let last = self.segments.len().saturating_sub(1);
        for (at, segment) in self.segments.iter_mut().enumerate() {
            if at != last && Some(at) != read {
                segment.file.close();
            }
        }
    }

    /// Removes the segments that every reader is done with; the one being written only when it is
    /// worth the while, or while the disk has no room for more.
    fn remove_finished(&mut self) -> io::Result<()> {
        while let Some(front) = self.segments.front() {
            let last = front.records.back().map_or(0, |record| record.header.sequence);
            let done = self.readers.values().all(|cursor| cursor.next() > last);
            let kept = self.segments.len() == 1
                && front.file.bytes < KEPT_BYTES
                && (!self.refused || front.records.is_empty());
            if !done || kept {
                break;
            }
            self.passed.extend(self.segments.pop_front());
        }
        self.remove_passed()
    }

    /// Removes the segments that are of no use any more.
    fn remove_passed(&mut self) -> io::Result<()> {
        if self.is_former {
            return self.remove_finished_by_all();
        }
        while let Some(front) = self.passed.front() {
            former::found(front.file.remove())?;
            self.passed.pop_front();
        }
        Ok(())
    }

    fn forget_oldest(&mut self, reason: Reason) -> io::Result<()> {
        let Some(front) = self.segments.pop_front() else { return Ok(()) };
        let last = front.records.back().copied();
        self.passed.push_back(front);
        let mut saved = Ok(());
        if let Some(last) = last {
            let before = last.header.sequence + 1;
            self.forgotten = Some(Forgotten { before, reason });
            let mut readers = std::mem::take(&mut self.readers);
            for cursor in readers.values_mut() {
                cursor.skip_to(before);
                cursor.samples_before = self.samples_before(cursor.next());
                saved = saved.and(cursor.save());
            }
            self.readers = readers;
        }
        saved.and(self.remove_passed())
    }

    /// Whether the folder and the segment that is written are where they were: what is written to
    /// files that were removed is nowhere.
    fn check_is_there(&self) -> Result<(), AppendError> {
        let home = is_same(&self.folder, &self.home);
        let last = || self.segments.back().map_or(Ok(true), |last| last.file.is_there());
        match home.and_then(|home| Ok(home && last()?)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(AppendError::Vanished { path: self.folder.clone() }),
            Err(source) => Err(self.write_error(source)),
        }
    }

    fn check_free_space(&self, bytes: u64) -> Result<(), AppendError> {
        let min_bytes = self.limits.free_bytes_min;
        let stat = rustix::fs::statvfs(&self.folder);
        let stat = stat.map_err(|error| self.write_error(error.into()))?;
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free_bytes < min_bytes.saturating_add(bytes) {
            return Err(AppendError::NoSpace { free_bytes, min_bytes });
        }
        Ok(())
    }

    fn write_error(&self, source: io::Error) -> AppendError {
        AppendError::Write { path: self.folder.clone(), source }
    }
}

/// Makes sure that nobody else has the log open, or that nobody writes, for as long as the file
/// lives.
fn lock(folder: &Path, how: FlockOperation) -> Result<File, OpenError> {
    let failed = |source| OpenError::Io { folder: folder.into(), source };
    let path = folder.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(failed)?;
    match rustix::fs::flock(&file, how) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { folder: folder.into() }),
        Err(error) => Err(failed(error.into())),
    }
}

fn open_segments(
    folder: &Path,
    unreadable: Unreadable,
    recovery: &mut Recovery,
) -> io::Result<VecDeque<OpenSegment>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_ours = path.extension().is_some_and(|extension| extension == "cursor")
            || path.file_name().is_some_and(|name| name == LOCK_FILE);
        match Segment::sequence_of(&path) {
            Some(sequence) => paths.push((sequence, path)),
            None if is_ours => {}
            None => recovery.foreign_files.push(path),
        }
    }
    paths.sort();
    let count = paths.len();
    let mut segments = VecDeque::new();
    for (at, (_, path)) in paths.into_iter().enumerate() {
        match Segment::open(&path, at + 1 == count, unreadable) {
            Ok(Some((file, found))) => {
                recovery.damaged_places += found.damaged_places;
                recovery.torn_bytes += found.torn_bytes;
                segments.push_back(OpenSegment { file, records: found.records.into() });
            }
            Ok(None) => {
                match set_aside(&path) {
                    Ok(aside) => recovery.foreign_files.push(aside),
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => {} // by another reader
                    Err(failed) => return Err(failed),
                }
            }
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {} // by another reader
            // It may be readable in a moment, and what waits in it is sent then.
            Err(failed) => {
                let kind = failed.kind();
                return Err(io::Error::new(kind, Unopened { path, source: failed }));
            }
        }
    }
    Ok(segments)
}
