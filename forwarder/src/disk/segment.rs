//! One file of records: appended to at its end, read anywhere, never changed in between.
//!
//! A file begins with twelve bytes that say it is ours and of which format. After a failed write
//! the file is cut back to its last whole record, so that what follows is found again.
//! A log has many segments: one is open only while it is read or written.
//! Not here: which segments there are (`disk.rs`).

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::io::Errno;

use super::record::{HEADER_BYTES, Header, MAGIC};
use crate::block::Block;

/// What a file of ours begins with: eight letters and the format's number.
const PREAMBLE: [u8; 12] = *b"rollcall\x01\0\0\0";
/// What a search for the next record after damage reads at once.
const SEARCH_BYTES: usize = 64 * 1024;
/// What a disk that cannot read a place loses at least, and a system reads at once.
const PAGE_BYTES: u64 = 4096;

/// A segment and what was found in it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// None while nobody reads or writes it.
    file: Option<File>,
    /// Bytes of whole records and the preamble.
    pub(super) bytes: u64,
    /// Whether something was appended that is not [synced](Segment::sync).
    pub(super) is_unsynced: bool,
    /// The disk cannot read all of it: what is appended goes elsewhere.
    pub(super) has_gaps: bool,
}

/// What it means that the disk cannot read a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Perhaps it can in a moment: the log does not open.
    Fails,
    /// It is damage like any other, and costs the records that begin there.
    IsDamage,
}

/// Where a record is, and what it says about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Located {
    pub(super) header: Header,
    pub(super) offset: u64,
}

/// What a look through a file found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: Vec<Located>,
    /// Places where something other than a record lay.
    pub(super) damaged_places: u64,
    /// What was cut off behind the last record.
    pub(super) torn_bytes: u64,
}

/// A look through a file of so many bytes.
struct Look<'f> {
    file: &'f dyn FileExt,
    length: u64,
    unreadable: Unreadable,
    /// Whether some of it could not be read.
    has_gaps: bool,
}

impl Segment {
    /// The name of the segment that begins with `first_sequence`.
    pub(super) fn path(folder: &Path, first_sequence: u64) -> PathBuf {
        folder.join(format!("{first_sequence:020}.segment"))
    }

    /// The first sequence that a file's name says, if it is a segment's.
    pub(super) fn sequence_of(path: &Path) -> Option<u64> {
        let name = path.file_name()?.to_str()?.strip_suffix(".segment")?;
        (name.len() == 20).then(|| name.parse().ok())?
    }

    /// Makes a new, empty segment.
    pub(super) fn create(folder: &Path, first_sequence: u64) -> io::Result<Segment> {
        let path = Segment::path(folder, first_sequence);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all(&PREAMBLE)?;
        File::open(folder)?.sync_all()?;
        let (bytes, is_unsynced, has_gaps) = (PREAMBLE.len() as u64, false, false);
        Ok(Segment { path, file: Some(file), bytes, is_unsynced, has_gaps })
    }

    /// Opens an existing segment and looks through its headers; `None` if it is no segment of this
    /// format. What lies after the last record is cut off when `last` (a write that was torn), else
    /// it counts as damage.
    ///
    /// # Errors
    /// When it cannot be opened, or not be read unless that is damage: it says nothing about what
    /// is in it.
    pub(super) fn open(
        path: &Path,
        last: bool,
        unreadable: Unreadable,
    ) -> io::Result<Option<(Segment, Found)>> {
        let file = match open_file(path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Ok(None),
            opened => opened?,
        };
        let length = file.metadata()?.len();
        let mut look = Look { file: &file, length, unreadable, has_gaps: false };
        let mut preamble = [0; PREAMBLE.len()];
        match look.read(&mut preamble, 0) {
            // Whose first page is bad is ours by its name, and records have marks of their own.
            Ok(()) if preamble == PREAMBLE || look.has_gaps => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => return Ok(None),
        }
        let begins_with_gap = look.has_gaps;
        let (mut found, end) = look.through(last)?;
        found.damaged_places = found.damaged_places.max(u64::from(begins_with_gap));
        let has_gaps = look.has_gaps;
        let bytes = if has_gaps { length } else { end };
        if last && bytes < length {
            file.set_len(bytes)?;
            found.torn_bytes = length - bytes;
        }
        // Who wrote to it last may have ended before it was synced.
        let segment = Segment { path: path.into(), file: None, bytes, is_unsynced: last, has_gaps };
        Ok(Some((segment, found)))
    }

    /// Appends a record with one write. On failure the file is as before.
    pub(super) fn append(&mut self, header: &Header, block: &Block) -> io::Result<u64> {
        let mut record = Vec::with_capacity(HEADER_BYTES + block.bytes.len());
        record.extend_from_slice(&header.to_bytes());
        record.extend_from_slice(&block.bytes);
        let offset = self.bytes;
        let file = self.file()?;
        if let Err(error) = file.write_all_at(&record, offset) {
            file.set_len(offset)?;
            return Err(error);
        }
        self.bytes += record.len() as u64;
        Ok(offset)
    }

    /// The block at `located`; `Ok(None)` if its bytes are damaged, or the file is gone.
    pub(super) fn read(&mut self, located: &Located) -> io::Result<Option<Block>> {
        let mut payload = vec![0; located.header.payload_bytes as usize];
        let from = located.offset + HEADER_BYTES as u64;
        let read = self.file().and_then(|file| file.read_exact_at(&mut payload, from));
        match read {
            Ok(()) => Ok(located.header.block(Bytes::from(payload))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes what was appended survive a loss of power.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.is_unsynced {
            self.file()?.sync_data()?;
            self.is_unsynced = false;
        }
        Ok(())
    }

    /// Nobody reads or writes it for now. What is not synced stays open: only so a failure of the
    /// disk is told.
    pub(super) fn close(&mut self) {
        if !self.is_unsynced {
            self.file = None;
        }
    }

    /// Whether the file is still where it was.
    pub(super) fn is_there(&self) -> io::Result<bool> {
        match &self.file {
            Some(file) => is_same(&self.path, file),
            None => self.path.try_exists(),
        }
    }

    /// The first sequence that is surely in no record of the file, whatever cannot be read of it.
    pub(super) fn end(&self, last: Option<&Located>) -> u64 {
        let next = last.map_or(1, |last| last.header.sequence + 1);
        if !self.has_gaps {
            return next;
        }
        let first = Segment::sequence_of(&self.path).unwrap_or_default();
        next.max(first).saturating_add(self.bytes / HEADER_BYTES as u64 + 1)
    }

    /// Deletes the file. One with gaps is set aside: somebody may get more out of it.
    pub(super) fn remove(&self) -> io::Result<()> {
        match self.has_gaps {
            true => set_aside(&self.path).map(drop),
            false => std::fs::remove_file(&self.path),
        }
    }

    fn file(&mut self) -> io::Result<&File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(open_file(&self.path)?)),
        }
    }
}

/// Moves a file out of the way, under a name that nobody here reads; which one.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".unreadable");
    std::fs::rename(path, &name)?;
    Ok(name.into())
}

/// Whether `open` is what lies at `path`. As long as it is open nothing else can look the same.
pub(super) fn is_same(path: &Path, open: &File) -> io::Result<bool> {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if is_missing(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let open = open.metadata()?;
    Ok((found.dev(), found.ino()) == (open.dev(), open.ino()))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Whether the disk, or what the file system has noted about it, is at fault.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| [Errno::IO, Errno::BADMSG, Errno::UCLEAN].contains(&errno))
}

// === impl Look ===

impl Look<'_> {
    /// What is in the file, and where its last record ends.
    fn through(&mut self, last: bool) -> io::Result<(Found, u64)> {
        let mut found = Found::default();
        let (mut offset, mut end) = (PREAMBLE.len() as u64, PREAMBLE.len() as u64);
        while offset < self.length {
            match self.header_at(offset)? {
                Some(header) => {
                    found.records.push(Located { header, offset });
                    offset += header.record_bytes();
                    end = offset;
                }
                None => match self.search(offset + 1)? {
                    Some(next) => {
                        found.damaged_places += 1;
                        offset = next;
                    }
                    None => {
                        found.damaged_places += u64::from(!last || self.has_gaps);
                        break;
                    }
                },
            }
        }
        Ok((found, end))
    }

    /// The header at `offset`, if a whole record begins there.
    fn header_at(&mut self, offset: u64) -> io::Result<Option<Header>> {
        if offset + HEADER_BYTES as u64 > self.length {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.read(&mut bytes, offset)?;
        let header = Header::from_bytes(&bytes);
        Ok(header.filter(|header| offset + header.record_bytes() <= self.length))
    }

    /// The next offset from `from` on at which a whole record begins.
    fn search(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        let mut buffer = vec![0; SEARCH_BYTES];
        while from < self.length {
            let left = self.length - from;
            let take = usize::try_from(left).unwrap_or(SEARCH_BYTES).min(SEARCH_BYTES);
            self.read(&mut buffer[..take], from)?;
            for at in memchr::memmem::find_iter(&buffer[..take], &MAGIC) {
                let offset = from + at as u64;
                if self.header_at(offset)?.is_some() {
                    return Ok(Some(offset));
                }
            }
            let step = take.saturating_sub(MAGIC.len() - 1).max(1);
            from += step as u64;
        }
        Ok(None)
    }

    /// Fills the buffer from `offset` on; with zeros where the file has bytes that are damage.
    fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.file.read_exact_at(buffer, offset) {
            Err(error) if self.unreadable == Unreadable::IsDamage && is_unreadable(&error) => {}
            read => return read,
        }
        let (mut from, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let page_bytes = usize::try_from(PAGE_BYTES - from % PAGE_BYTES).unwrap_or(usize::MAX);
            let (page, others) = rest.split_at_mut(page_bytes.min(rest.len()));
            match self.file.read_exact_at(page, from) {
                Err(error) if is_unreadable(&error) => {
                    page.fill(0);
                    self.has_gaps = true;
                }
                read => read?,
            }
            from += page.len() as u64;
            rest = others;
        }
        Ok(())
    }
}
