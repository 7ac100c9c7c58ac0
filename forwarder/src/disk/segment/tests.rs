//! What a disk with bad sectors costs.

use bytes::Bytes;

use super::*;
use crate::block::{Compression, Counts, Encoding, Format};
use crate::queue::Origin;

/// A file of which some pages cannot be read.
struct BadPages {
    bytes: Vec<u8>,
    bad: Vec<u64>,
}

impl BadPages {
    fn has_bad(&self, from: u64, to: u64) -> bool {
        (from / PAGE_BYTES..=(to - 1) / PAGE_BYTES).any(|page| self.bad.contains(&page))
    }
}

impl FileExt for BadPages {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.has_bad(offset, offset + buffer.len() as u64) {
            return Err(Errno::IO.into());
        }
        let rest = &self.bytes[offset as usize..];
        let take = rest.len().min(buffer.len());
        buffer[..take].copy_from_slice(&rest[..take]);
        Ok(take)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[test]
fn a_bad_sector_costs_the_records_that_begin_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut segment = Segment::create(folder.path(), 1).unwrap();
    let mut offsets = Vec::new();
    for sequence in 1..=1000 {
        let block = Block {
            format: Format { encoding: Encoding::JsonLines, compression: Compression::None },
            bytes: Bytes::from(vec![b'x'; 100]),
            counts: Counts { samples: 1, ..Counts::default() },
            oldest_ms: 0,
            newest_ms: 0,
        };
        let header = Header::of(&block, sequence, sequence - 1, Origin::default());
        offsets.push((sequence, segment.append(&header, &block).unwrap()));
    }
    let bytes = std::fs::read(&segment.path).unwrap();
    let length = bytes.len() as u64;
    let file = BadPages { bytes, bad: vec![0, 3, 4, 30, (length - 1) / PAGE_BYTES] };

    let look = |unreadable| Look { file: &file, length, unreadable, has_gaps: false };
    assert!(look(Unreadable::Fails).through(true).is_err());
    let (found, _) = look(Unreadable::IsDamage).through(true).unwrap();
    offsets.retain(|(_, offset)| !file.has_bad(*offset, offset + HEADER_BYTES as u64));
    assert!(offsets.len() < 1000);
    let of = |record: &Located| (record.header.sequence, record.offset);
    assert_eq!(found.records.iter().map(of).collect::<Vec<_>>(), offsets);
    assert_eq!(found.damaged_places, 4);

    // What cannot be read of it may have been any sequences that fit.
    let last = found.records.last();
    let end = last.unwrap().header.sequence + 1;
    assert_eq!(segment.end(last), end);
    segment.has_gaps = true;
    assert!(segment.end(last) >= 1001 && segment.end(None) > 1001, "{}", segment.end(last));
}
