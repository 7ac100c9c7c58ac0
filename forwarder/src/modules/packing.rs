//! The compressions that a file may name for bodies of requests and files set aside.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::GzEncoder;
use kit::config::Invalid;

/// What is done to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

// === impl Packing ===

impl Packing {
    pub(super) fn named(name: &str) -> Result<Packing, Invalid> {
        match name {
            "none" => Ok(Packing::None),
            "gzip" => Ok(Packing::Gzip),
            "zstd" => Ok(Packing::Zstd),
            other => {
                let message = format!("unknown compression {other:?}, known: none, gzip, zstd");
                Err(Invalid::new("compression", message))
            }
        }
    }

    pub(super) fn content_encoding(self) -> Option<&'static str> {
        match self {
            Packing::None => None,
            Packing::Gzip => Some("gzip"),
            Packing::Zstd => Some("zstd"),
        }
    }

    /// What is put behind a file's name.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Packing::None => "",
            Packing::Gzip => ".gz",
            Packing::Zstd => ".zst",
        }
    }

    pub(super) fn pack(self, bytes: Bytes) -> io::Result<Bytes> {
        match self {
            Packing::None => Ok(bytes),
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&bytes)?;
                Ok(encoder.finish()?.into())
            }
            Packing::Zstd => Ok(zstd::bulk::compress(&bytes, 1)?.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let plain = Bytes::from_static(b"{\"a\":1}\n{\"b\":2}\n");
        let packed = Packing::Gzip.pack(plain.clone()).unwrap();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain);
        let packed = Packing::Zstd.pack(plain.clone()).unwrap();
        assert_eq!(zstd::bulk::decompress(&packed, 1000).unwrap(), plain);
        assert_eq!(Packing::None.pack(plain.clone()).unwrap(), plain);
    }
}
