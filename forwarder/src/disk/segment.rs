//! One file of records: appended to at its end, read anywhere, never changed in between.
//!
//! A file begins with twelve bytes that say it is ours and of which format. After a failed write
//! the file is cut back to its last whole record, so that what follows is found again.
//! Not here: which segments there are (`disk.rs`).

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::record::{HEADER_BYTES, Header, MAGIC};
use crate::block::Block;

/// What a file of ours begins with: eight letters and the format's number.
const PREAMBLE: [u8; 12] = *b"rollcall\x01\0\0\0";
/// What a search for the next record after damage reads at once.
const SEARCH_BYTES: usize = 64 * 1024;

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    /// Bytes of whole records and the preamble.
    pub(super) bytes: u64,
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
}

/// Why a file is not a segment of this format.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotASegment {
    #[error("read its first bytes")]
    Read(#[from] io::Error),
    #[error("it does not begin as a segment of this version does")]
    Preamble,
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
        Ok(Segment { file, path, bytes: PREAMBLE.len() as u64 })
    }

    /// Opens an existing segment and looks through its headers. What lies after the last record
    /// is cut off when `last` (a write that was torn), else it counts as damage.
    pub(super) fn open(path: &Path, last: bool) -> Result<(Segment, Found), NotASegment> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut preamble = [0; PREAMBLE.len()];
        let whole = file.read_exact_at(&mut preamble, 0);
        if whole.is_err() || preamble != PREAMBLE {
            return Err(NotASegment::Preamble);
        }
        let length = file.metadata()?.len();
        let mut segment = Segment { file, path: path.into(), bytes: PREAMBLE.len() as u64 };
        let found = segment.look_through(length, last)?;
        if last && segment.bytes < length {
            segment.file.set_len(segment.bytes)?;
        }
        Ok((segment, found))
    }

    /// Appends a record with one write. On failure the file is as before.
    pub(super) fn append(&mut self, header: &Header, block: &Block) -> io::Result<u64> {
        let mut record = Vec::with_capacity(HEADER_BYTES + block.bytes.len());
        record.extend_from_slice(&header.to_bytes());
        record.extend_from_slice(&block.bytes);
        let offset = self.bytes;
        if let Err(error) = self.file.write_all_at(&record, offset) {
            self.file.set_len(offset)?;
            return Err(error);
        }
        self.bytes += record.len() as u64;
        Ok(offset)
    }

    /// The block at `located`; `Ok(None)` if its bytes are damaged.
    pub(super) fn read(&self, located: &Located) -> io::Result<Option<Block>> {
        let mut payload = vec![0; located.header.payload_bytes as usize];
        let read = self.file.read_exact_at(&mut payload, located.offset + HEADER_BYTES as u64);
        match read {
            Ok(()) => Ok(located.header.block(Bytes::from(payload))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes what was appended survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Deletes the file.
    pub(super) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    fn look_through(&mut self, length: u64, last: bool) -> io::Result<Found> {
        let mut found = Found::default();
        let mut offset = self.bytes;
        while offset < length {
            match self.header_at(offset, length)? {
                Some(header) => {
                    found.records.push(Located { header, offset });
                    offset += header.record_bytes();
                    self.bytes = offset;
                }
                None => match self.search(offset + 1, length)? {
                    Some(next) => {
                        found.damaged_places += 1;
                        offset = next;
                    }
                    None => {
                        found.damaged_places += u64::from(!last);
                        break;
                    }
                },
            }
        }
        Ok(found)
    }

    /// The header at `offset`, if a whole record begins there.
    fn header_at(&self, offset: u64, length: u64) -> io::Result<Option<Header>> {
        if offset + HEADER_BYTES as u64 > length {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, offset)?;
        let header = Header::from_bytes(&bytes);
        Ok(header.filter(|header| offset + header.record_bytes() <= length))
    }

    /// The next offset from `from` on at which a whole record begins.
    fn search(&self, mut from: u64, length: u64) -> io::Result<Option<u64>> {
        let mut buffer = vec![0; SEARCH_BYTES];
        while from < length {
            let take = usize::try_from(length - from).unwrap_or(SEARCH_BYTES).min(SEARCH_BYTES);
            self.file.read_exact_at(&mut buffer[..take], from)?;
            for at in memchr::memmem::find_iter(&buffer[..take], &MAGIC) {
                let offset = from + at as u64;
                if self.header_at(offset, length)?.is_some() {
                    return Ok(Some(offset));
                }
            }
            let step = take.saturating_sub(MAGIC.len() - 1).max(1);
            from += step as u64;
        }
        Ok(None)
    }
}
