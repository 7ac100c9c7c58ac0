//! Samples as they wait and travel: encoded, self-contained, counted.
//!
//! A block says everything about itself (encoding, compression, counts, range of timestamps), so
//! that it can wait in memory or on disk and be sent by a process that knows nothing else of it.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use bytes::Bytes;

/// How samples become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Protobuf `prometheus.WriteRequest`, of remote write 1.0.
    RemoteWrite1,
    /// Protobuf `io.prometheus.write.v2.Request`, of remote write 2.0.
    RemoteWrite2,
    /// One JSON object a line, one line a sample.
    JsonLines,
}

/// What was done to the encoded bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Nothing.
    None,
    /// Snappy's block format.
    Snappy,
}

/// What a module wants a block to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// How samples become bytes.
    pub encoding: Encoding,
    /// What is done to the bytes.
    pub compression: Compression,
}

/// How many of each kind of sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Numbers, stale markers included.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// Encoded samples.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// What `bytes` are.
    pub format: Format,
    /// The samples.
    pub bytes: Bytes,
    /// How many they are.
    pub counts: Counts,
    /// The oldest sample's timestamp, in milliseconds since the epoch.
    pub oldest_ms: i64,
    /// The newest sample's timestamp.
    pub newest_ms: i64,
}

/// Compresses blocks, one after the other in the same memory.
pub(crate) struct Compressor {
    snappy: snap::raw::Encoder,
    scratch: Vec<u8>,
}

/// Compressed bytes that do not decompress, or a block that is not of its encoding.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damaged {
    /// The compression is broken.
    #[error("decompress a block")]
    Compression(#[from] snap::Error),
    /// The encoding is broken.
    #[error("read a block: not its encoding")]
    Encoding,
}

// === impl Counts ===

impl Counts {
    /// Nothing.
    pub const NONE: Counts = Counts { samples: 0, histograms: 0, exemplars: 0 };

    /// All kinds together: what batch sizes and queue limits count.
    pub fn total(self) -> u64 {
        self.samples + self.histograms + self.exemplars
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Counts::NONE
    }

    /// So many of them, if there are: samples first.
    pub fn at_most(self, total: u64) -> Counts {
        let samples = self.samples.min(total);
        let histograms = self.histograms.min(total - samples);
        let exemplars = self.exemplars.min(total - samples - histograms);
        Counts { samples, histograms, exemplars }
    }

    /// What is left when `other` is taken away; never less than nothing.
    pub fn without(self, other: Counts) -> Counts {
        Counts {
            samples: self.samples.saturating_sub(other.samples),
            histograms: self.histograms.saturating_sub(other.histograms),
            exemplars: self.exemplars.saturating_sub(other.exemplars),
        }
    }
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            samples: self.samples + other.samples,
            histograms: self.histograms + other.histograms,
            exemplars: self.exemplars + other.exemplars,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        *self = *self + other;
    }
}

impl Sub for Counts {
    type Output = Counts;

    fn sub(self, other: Counts) -> Counts {
        Counts {
            samples: self.samples - other.samples,
            histograms: self.histograms - other.histograms,
            exemplars: self.exemplars - other.exemplars,
        }
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, other: Counts) {
        *self = *self - other;
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(counts: I) -> Counts {
        counts.fold(Counts::default(), Add::add)
    }
}

// === impl Block ===

impl Block {
    /// The encoded bytes without compression.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub(crate) fn plain_bytes(&self) -> Result<Bytes, Damaged> {
        match self.format.compression {
            Compression::None => Ok(self.bytes.clone()),
            Compression::Snappy => {
                Ok(snap::raw::Decoder::new().decompress_vec(&self.bytes)?.into())
            }
        }
    }
}

// === impl Compressor ===

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor { snappy: snap::raw::Encoder::new(), scratch: Vec::new() }
    }
}

impl Compressor {
    /// `plain` in snappy's block format.
    pub(crate) fn compress(&mut self, plain: &[u8]) -> Bytes {
        let room = snap::raw::max_compress_len(plain.len());
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let bytes = self
            .snappy
            .compress(plain, &mut self.scratch)
            .expect("a block is far smaller than snappy's 4 GiB, and there is room");
        Bytes::copy_from_slice(&self.scratch[..bytes])
    }

    /// The same block with its bytes compressed like this; itself if they are so already.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub(crate) fn pack(
        &mut self,
        block: Block,
        compression: Compression,
    ) -> Result<Block, Damaged> {
        if block.format.compression == compression {
            return Ok(block);
        }
        let bytes = match compression {
            Compression::None => block.plain_bytes()?,
            Compression::Snappy => self.compress(&block.bytes),
        };
        let format = Format { compression, ..block.format };
        Ok(Block { format, bytes, ..block })
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_compressed_once_and_comes_back_whole() {
        let format = Format { encoding: Encoding::RemoteWrite1, compression: Compression::None };
        let bytes = Bytes::from(b"abcabcabcabcabcabcabcabc".repeat(50));
        let counts = Counts { samples: 1, ..Counts::default() };
        let block = Block { format, bytes: bytes.clone(), counts, oldest_ms: 1, newest_ms: 2 };
        let mut compressor = Compressor::default();
        let packed = compressor.pack(block, Compression::Snappy).unwrap();
        assert!(packed.bytes.len() < bytes.len() / 4);
        let again = compressor.pack(packed.clone(), Compression::Snappy).unwrap();
        assert_eq!(again.bytes.as_ptr(), packed.bytes.as_ptr());
        assert_eq!(compressor.pack(again, Compression::None).unwrap().bytes, bytes);
    }
}
