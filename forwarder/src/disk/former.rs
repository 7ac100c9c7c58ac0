//! Logs that nobody writes to any more: what a destination left behind when it began to share a
//! log with others, or ceased to.
//!
//! Each destination reads such a log for itself, with its own place in it; none waits for another.
//! A segment goes when all places are behind it, and the folder with the last place.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::cursor::Cursor;
use super::{LOCK_FILE, Limits, Log, OpenError, Recovery, Unreadable, lock};

/// What the name of a cursor's file ends in.
const CURSOR: &str = "cursor";

/// The folders below `queues` in which `reader` has a place, but for its own.
///
/// # Errors
/// When the file system does not say: there may be some.
pub(crate) fn former_logs(queues: &Path, reader: &str, own: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(queues) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let cursor = format!("{reader}.{CURSOR}");
    let mut former = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        if folder != own && folder.join(&cursor).is_file() {
            former.push(folder);
        }
    }
    former.sort();
    Ok(former)
}

impl Log {
    /// Opens the log in `folder` for one of its readers, to be read to its end.
    ///
    /// # Errors
    /// When it is still being written to, another one reads for the same destination, or the file
    /// system refuses.
    pub(crate) fn open_former(
        folder: &Path,
        limits: Limits,
        reader: &str,
        known: &BTreeSet<String>,
        unreadable: Unreadable,
    ) -> Result<(Log, Recovery), OpenError> {
        let failed = |source| OpenError::Io { folder: folder.into(), source };
        let lock = lock(folder, FlockOperation::NonBlockingLockShared)?;
        let (mut log, mut recovery) =
            Log::load(folder, limits, lock, unreadable).map_err(failed)?;
        log.is_former = true;
        log.free_unknown(known, &mut recovery).map_err(failed)?;
        log.add_reader(reader, unreadable, &mut recovery).map_err(failed)?;
        let claimed = log.readers.get(reader).map_or(Ok(true), Cursor::claim).map_err(failed)?;
        match claimed {
            true => Ok((log, recovery)),
            false => Err(OpenError::InUse { folder: folder.into() }),
        }
    }

    /// Gives up the places of readers that are no more.
    pub(super) fn free_unknown(
        &self,
        known: &BTreeSet<String>,
        recovery: &mut Recovery,
    ) -> io::Result<()> {
        for (reader, path) in cursors(&self.folder)? {
            if !known.contains(&reader) {
                remove(&path)?;
                recovery.freed_cursors.push(path);
            }
        }
        Ok(())
    }

    /// Removes the segments of a former log that no place is in or before.
    pub(super) fn remove_finished_by_all(&mut self) -> io::Result<()> {
        let mut place = u64::MAX;
        for (reader, path) in cursors(&self.folder)? {
            place = place.min(match self.readers.get(&reader) {
                Some(own) => own.next(),
                None => Cursor::peek(&path)?,
            });
        }
        for segments in [&mut self.passed, &mut self.segments] {
            while let Some(front) = segments.front() {
                // Others may have found more in it.
                if front.file.has_gaps
                    || front.records.back().is_some_and(|record| record.header.sequence >= place)
                {
                    return Ok(());
                }
                found(front.file.remove())?;
                segments.pop_front();
            }
        }
        Ok(())
    }

    /// Ends a former log for its reader, who is done with it: gives up the place, and removes the
    /// folder with the last one.
    pub(super) fn retire(self) -> io::Result<()> {
        for reader in self.readers.keys() {
            remove(&self.folder.join(format!("{reader}.{CURSOR}")))?;
        }
        if !cursors(&self.folder)?.is_empty() {
            return Ok(());
        }
        let Log { folder, segments, passed, .. } = self;
        for segment in passed.into_iter().chain(segments) {
            found(segment.file.remove())?;
        }
        remove(&folder.join(LOCK_FILE))?;
        let _left_if_others_have_files_there = fs::remove_dir(&folder);
        Ok(())
    }
}

/// The places in a log: whose, and the file.
fn cursors(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut cursors = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_cursor = path.extension().is_some_and(|extension| extension == CURSOR);
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_cursor) {
            cursors.push((name.to_owned(), path));
        }
    }
    Ok(cursors)
}

fn remove(path: &Path) -> io::Result<()> {
    found(fs::remove_file(path))
}

/// Others may have removed it just before.
pub(super) fn found(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
