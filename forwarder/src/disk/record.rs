//! One block as it lies on disk: a header of 72 bytes that can be trusted alone, then the bytes.
//!
//! The header carries its own checksum, so that a start reads headers only; the payload's is
//! checked when it is sent. `before` counts everything that was ever appended before the record:
//! when records between two good ones are lost, the difference says how many samples they held.

use bytes::Bytes;

use crate::block::{Block, Compression, Counts, Encoding, Format};
use crate::queue::Origin;

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 72;
/// What every record begins with; a damaged file is searched for it.
pub(super) const MAGIC: [u8; 4] = *b"RCBK";
/// Where the header's own checksum is; it covers everything before it.
const HEADER_CRC_AT: usize = HEADER_BYTES - 4;
/// A payload above this is not one of ours.
const PAYLOAD_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// What a record says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Grows by one with each record of a log.
    pub(super) sequence: u64,
    /// Samples, histograms and exemplars appended before this record, since the log began.
    pub(super) before: u64,
    /// The shard that must send it, to keep series in order.
    pub(super) origin: Origin,
    pub(super) format: Format,
    pub(super) counts: Counts,
    pub(super) oldest_ms: i64,
    pub(super) newest_ms: i64,
    pub(super) payload_bytes: u32,
    payload_crc: u32,
}

impl Header {
    /// The header for `block`.
    pub(super) fn of(block: &Block, sequence: u64, before: u64, origin: Origin) -> Header {
        Header {
            sequence,
            before,
            origin,
            format: block.format,
            counts: block.counts,
            oldest_ms: block.oldest_ms,
            newest_ms: block.newest_ms,
            payload_bytes: block.bytes.len() as u32,
            payload_crc: crc32c::crc32c(&block.bytes),
        }
    }

    /// Length of the whole record on disk.
    pub(super) fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }

    /// As it is written.
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.payload_crc.to_le_bytes());
        out.extend_from_slice(&self.payload_bytes.to_le_bytes());
        out.extend_from_slice(&self.origin.shard.to_le_bytes());
        out.push(encoding_code(self.format.encoding));
        out.push(compression_code(self.format.compression));
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.before.to_le_bytes());
        out.extend_from_slice(&self.oldest_ms.to_le_bytes());
        out.extend_from_slice(&self.newest_ms.to_le_bytes());
        let Counts { samples, histograms, exemplars } = self.counts;
        for count in [samples, histograms, exemplars] {
            out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        out.extend_from_slice(&self.origin.set.to_le_bytes());
        out.resize(HEADER_CRC_AT, 0);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.try_into().expect("the fields above make up a header")
    }

    /// Reads a header; `None` if these bytes are none, or damaged.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let crc = u32::from_le_bytes(bytes[HEADER_CRC_AT..].try_into().ok()?);
        if bytes[..4] != MAGIC || crc32c::crc32c(&bytes[..HEADER_CRC_AT]) != crc {
            return None;
        }
        let long = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        let word = |at: usize| Some(u32::from_le_bytes(bytes[at..at + 4].try_into().ok()?));
        let header = Header {
            payload_crc: word(4)?,
            payload_bytes: word(8)?,
            origin: Origin { set: word(60)?, shard: u16::from_le_bytes([bytes[12], bytes[13]]) },
            format: Format {
                encoding: encoding_of(bytes[14])?,
                compression: compression_of(bytes[15])?,
            },
            sequence: long(16)?,
            before: long(24)?,
            oldest_ms: long(32)? as i64,
            newest_ms: long(40)? as i64,
            counts: Counts {
                samples: word(48)?.into(),
                histograms: word(52)?.into(),
                exemplars: word(56)?.into(),
            },
        };
        (header.payload_bytes <= PAYLOAD_BYTES_MAX).then_some(header)
    }

    /// The block, if `payload` is what was written.
    pub(super) fn block(&self, payload: Bytes) -> Option<Block> {
        let Header { format, counts, oldest_ms, newest_ms, .. } = *self;
        let whole = crc32c::crc32c(&payload) == self.payload_crc;
        whole.then_some(Block { format, bytes: payload, counts, oldest_ms, newest_ms })
    }
}

fn encoding_code(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::RemoteWrite1 => 1,
        Encoding::RemoteWrite2 => 2,
        Encoding::JsonLines => 3,
    }
}

fn encoding_of(code: u8) -> Option<Encoding> {
    let all = [Encoding::RemoteWrite1, Encoding::RemoteWrite2, Encoding::JsonLines];
    all.into_iter().find(|encoding| encoding_code(*encoding) == code)
}

fn compression_code(compression: Compression) -> u8 {
    match compression {
        Compression::None => 0,
        Compression::Snappy => 1,
    }
}

fn compression_of(code: u8) -> Option<Compression> {
    let all = [Compression::None, Compression::Snappy];
    all.into_iter().find(|compression| compression_code(*compression) == code)
}
