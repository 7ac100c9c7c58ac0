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
use segment::{Located, Segment};

pub(crate) use former::former_logs;
pub(crate) use keeper::{DiskStats, Keeper, KeeperConfig, Opened, ReadError, Reader, Use};

/// The file that says who has the log open.
const LOCK_FILE: &str = "lock";
/// A segment with nothing left in it is kept to be written to below this size.
const KEPT_BYTES: u64 = 1024 * 1024;

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
    limits: Limits,
    segments: VecDeque<OpenSegment>,
    readers: BTreeMap<String, Cursor>,
    next_sequence: u64,
    /// Samples of every kind ever appended.
    appended: u64,
    /// After a failed sync nobody knows what of the segment is on the disk.
    begin_another: bool,
    /// Whether the last block found no room.
    refused: bool,
    /// Others may read it too, and nobody writes.
    is_former: bool,
    /// Segments of a former log that are of no use to its reader any more.
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
}

#[derive(Debug)]
struct OpenSegment {
    file: Segment,
    records: VecDeque<Located>,
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
    ) -> Result<(Log, Recovery), OpenError> {
        let failed = |source| OpenError::Io { folder: folder.into(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = lock(folder, FlockOperation::NonBlockingLockExclusive)?;
        let (mut log, mut recovery) = Log::load(folder, limits, lock).map_err(failed)?;
        log.free_unknown(known, &mut recovery).map_err(failed)?;
        for name in readers {
            log.add_reader(name, &mut recovery).map_err(failed)?;
        }
        Ok((log, recovery))
    }

    /// The log without readers.
    fn load(folder: &Path, limits: Limits, lock: File) -> io::Result<(Log, Recovery)> {
        let mut recovery = Recovery::default();
        let segments = open_segments(folder, &mut recovery)?;
        let last = segments.iter().flat_map(|segment| segment.records.iter()).next_back();
        let log = Log {
            next_sequence: last.map_or(1, |record| record.header.sequence + 1),
            appended: last.map_or(0, |r| r.header.before + r.header.counts.total()),
            folder: folder.to_path_buf(),
            limits,
            segments,
            readers: BTreeMap::new(),
            begin_another: false,
            refused: false,
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
        self.check_free_space(block.bytes.len() as u64)?;
        let full = |segment: &OpenSegment| segment.file.bytes >= self.limits.segment_bytes;
        if self.begin_another || self.segments.back().is_none_or(full) {
            // One without records has the name that the next one gets.
            let _replaced = self.segments.pop_back_if(|last| last.records.is_empty());
            let created = Segment::create(&self.folder, self.next_sequence);
            let file = created.map_err(|source| self.write_error(source))?;
            self.segments.push_back(OpenSegment { file, records: VecDeque::new() });
            self.begin_another = false;
        }
        let header = Header::of(block, self.next_sequence, self.appended, origin);
        let segment = self.segments.back_mut().expect("a segment was just made sure of");
        match segment.file.append(&header, block) {
            Ok(offset) => segment.records.push_back(Located { header, offset }),
            Err(source) => return Err(self.write_error(source)),
        }
        self.next_sequence += 1;
        self.appended += block.counts.total();
        Ok(header.sequence)
    }

    /// The block of this sequence; `None` if it is gone or damaged.
    ///
    /// # Errors
    /// When reading fails.
    pub(crate) fn read(&self, sequence: u64) -> io::Result<Option<Block>> {
        match self.record_from(sequence) {
            Some((segment, located)) if located.header.sequence == sequence => {
                segment.file.read(&located)
            }
            _ => Ok(None),
        }
    }

    /// The records that `reader` has not acknowledged, in order, and how many samples were held
    /// by records among them that are missing.
    pub(crate) fn waiting(&self, reader: &str) -> (Vec<Waits>, u64) {
        let Some(cursor) = self.readers.get(reader) else { return (Vec::new(), 0) };
        let (mut waiting, mut missing) = (Vec::new(), 0);
        let mut expected = cursor.samples_before;
        let records = self.segments.iter().flat_map(|segment| segment.records.iter());
        for Located { header, .. } in records.filter(|r| r.header.sequence >= cursor.next()) {
            missing += header.before.saturating_sub(expected);
            expected = header.before + header.counts.total();
            if !cursor.is_done(header.sequence) {
                waiting.push(Waits {
                    sequence: header.sequence,
                    origin: header.origin,
                    counts: header.counts,
                    bytes: u64::from(header.payload_bytes),
                    newest_ms: header.newest_ms,
                });
            }
        }
        (waiting, missing)
    }

    /// `reader` is done with these: delivered, or dropped for good. Saved before it returns.
    ///
    /// # Errors
    /// When the place cannot be written: the blocks may come again after a restart.
    pub(crate) fn acknowledge(&mut self, reader: &str, sequences: &[u64]) -> io::Result<()> {
        let Some(cursor) = self.readers.get_mut(reader) else { return Ok(()) };
        sequences.iter().for_each(|sequence| cursor.done(*sequence));
        let next = cursor.next();
        let samples_before = self.samples_before(next);
        if let Some(cursor) = self.readers.get_mut(reader) {
            cursor.samples_before = samples_before;
            cursor.save()?;
        }
        if self.is_former { Ok(()) } else { self.remove_finished() }
    }

    /// Forgets what the caps no longer allow; says what is gone.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(crate) fn trim(&mut self, now_ms: i64) -> io::Result<Option<Forgotten>> {
        let mut forgotten = None;
        if self.is_former {
            self.remove_finished_by_all()?;
        }
        let records = |log: &Log| log.segments.iter().map(|one| one.records.len()).sum::<usize>();
        while self.segments.len() > 1
            && (self.bytes() > self.limits.bytes_max || records(self) > self.limits.records_max)
        {
            forgotten = self.forget_oldest(Reason::QueueFull)?.or(forgotten);
        }
        let oldest_ms = now_ms.saturating_sub(self.limits.age_ms_max);
        let aged = |segment: &OpenSegment| {
            segment.records.iter().all(|record| record.header.newest_ms < oldest_ms)
        };
        while self.segments.len() > 1 && self.segments.front().is_some_and(aged) {
            forgotten = self.forget_oldest(Reason::TooOld)?.or(forgotten);
        }
        Ok(forgotten)
    }

    /// Makes everything so far survive a loss of power.
    ///
    /// # Errors
    /// When the disk refuses; what was appended since the last success may be gone. The next
    /// block begins another segment.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let Log { segments, readers, .. } = self;
        let synced = segments.back().map_or(Ok(()), |segment| segment.file.sync());
        let synced = synced.and_then(|()| readers.values().try_for_each(Cursor::sync));
        self.begin_another |= synced.is_err();
        synced
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file.bytes).sum()
    }

    /// The sequence before which `reader` is done with everything.
    pub(crate) fn place(&self, reader: &str) -> u64 {
        self.readers.get(reader).map_or(0, Cursor::next)
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

    fn add_reader(&mut self, name: &str, recovery: &mut Recovery) -> io::Result<()> {
        let path = self.folder.join(format!("{name}.cursor"));
        let known = path.exists();
        let first = self.segments.iter().flat_map(|segment| segment.records.iter()).next();
        let oldest = first.map_or(self.next_sequence, |record| record.header.sequence);
        let start = if known { oldest } else { self.next_sequence };
        let (mut cursor, starts_anew) = Cursor::open(&path, start)?;
        if starts_anew {
            cursor.samples_before = self.samples_before(start);
            cursor.save()?;
        }
        if starts_anew && known {
            recovery.damaged_cursors.push(name.to_owned());
        }
        // A sequence that was acknowledged is never given again, even if its record was torn off.
        self.next_sequence = self.next_sequence.max(cursor.end());
        self.appended = self.appended.max(cursor.samples_before);
        self.readers.insert(name.to_owned(), cursor);
        Ok(())
    }

    /// Samples that the log held before `sequence`.
    fn samples_before(&self, sequence: u64) -> u64 {
        self.record_from(sequence).map_or(self.appended, |(_, record)| record.header.before)
    }

    /// The first record at or after `sequence`.
    fn record_from(&self, sequence: u64) -> Option<(&OpenSegment, Located)> {
        let ends_before = |segment: &OpenSegment| {
            segment.records.back().is_none_or(|record| record.header.sequence < sequence)
        };
        let segment = self.segments.iter().find(|segment| !ends_before(segment))?;
        let at = segment.records.partition_point(|record| record.header.sequence < sequence);
        segment.records.get(at).map(|record| (segment, *record))
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
                return Ok(());
            }
            let front = self.segments.pop_front().expect("it was just looked at");
            front.file.remove()?;
        }
        Ok(())
    }

    fn forget_oldest(&mut self, reason: Reason) -> io::Result<Option<Forgotten>> {
        let Some(front) = self.segments.pop_front() else { return Ok(None) };
        let Some(last) = front.records.back().copied() else {
            return front.file.remove().map(|()| None);
        };
        let before = last.header.sequence + 1;
        let samples_end = last.header.before + last.header.counts.total();
        for cursor in self.readers.values_mut() {
            cursor.skip_to(before);
            cursor.samples_before = cursor.samples_before.max(samples_end);
            cursor.save()?;
        }
        match self.is_former {
            true => self.passed.push_back(front), // others may want it
            false => front.file.remove()?,
        }
        Ok(Some(Forgotten { before, reason }))
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

fn open_segments(folder: &Path, recovery: &mut Recovery) -> io::Result<VecDeque<OpenSegment>> {
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
        match Segment::open(&path, at + 1 == count) {
            Ok((file, found)) => {
                recovery.damaged_places += found.damaged_places;
                segments.push_back(OpenSegment { file, records: found.records.into() });
            }
            Err(_) => {
                let aside = path.with_extension("segment.unreadable");
                match fs::rename(&path, &aside) {
                    Ok(()) => recovery.foreign_files.push(aside),
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => {} // by another reader
                    Err(failed) => return Err(failed),
                }
            }
        }
    }
    Ok(segments)
}
