//! A block as the body of a request: made once, kept for its retries.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderName, header};
use kit::config::Invalid;

use super::influx;
use crate::block::{Compression, Encoding, Format};
use crate::module::Parcel;

/// Bodies kept for retries: shards that wait at the same time. More are made again.
const KEPT_MAX: usize = 64;
/// Says the version of remote write.
const REMOTE_WRITE_VERSION: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-version");

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFormat {
    Ndjson,
    Json,
    Influx,
    RemoteWrite1,
    RemoteWrite2,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

/// A body, and how many samples have no place in its format.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) not_sent: u64,
}

/// Bodies of parcels that are tried again, by the parcel's bytes.
#[derive(Debug, Default)]
pub(super) struct Bodies(Mutex<Vec<(Bytes, Body)>>);

// === impl BodyFormat ===

impl BodyFormat {
    const ALL: [(&'static str, BodyFormat); 5] = [
        ("ndjson", BodyFormat::Ndjson),
        ("json", BodyFormat::Json),
        ("influx", BodyFormat::Influx),
        ("remote_write", BodyFormat::RemoteWrite1),
        ("remote_write_2", BodyFormat::RemoteWrite2),
    ];

    pub(super) fn named(name: &str) -> Result<BodyFormat, Invalid> {
        let found = BodyFormat::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format).ok_or_else(|| {
            let known = BodyFormat::ALL.map(|(name, _)| name).join(", ");
            Invalid::new("format", format!("unknown format {name:?}, known: {known}"))
        })
    }

    /// The block that it is made of.
    pub(super) fn block_format(self) -> Format {
        let (encoding, compression) = match self {
            BodyFormat::Ndjson | BodyFormat::Json | BodyFormat::Influx => {
                (Encoding::JsonLines, Compression::None)
            }
            BodyFormat::RemoteWrite1 => (Encoding::RemoteWrite1, Compression::Snappy),
            BodyFormat::RemoteWrite2 => (Encoding::RemoteWrite2, Compression::Snappy),
        };
        Format { encoding, compression }
    }

    /// The headers that say what the body is.
    pub(super) fn headers(self) -> Vec<(HeaderName, &'static str)> {
        let content_type = match self {
            BodyFormat::Ndjson => "application/x-ndjson",
            BodyFormat::Json => "application/json",
            BodyFormat::Influx => "text/plain; charset=utf-8",
            BodyFormat::RemoteWrite1 => "application/x-protobuf",
            BodyFormat::RemoteWrite2 => {
                "application/x-protobuf;proto=io.prometheus.write.v2.Request"
            }
        };
        let version = match self {
            BodyFormat::Ndjson | BodyFormat::Json | BodyFormat::Influx => None,
            BodyFormat::RemoteWrite1 => Some("0.1.0"),
            BodyFormat::RemoteWrite2 => Some("2.0.0"),
        };
        let mut headers = vec![(header::CONTENT_TYPE, content_type)];
        if let Some(version) = version {
            headers.extend([(header::CONTENT_ENCODING, "snappy"), (REMOTE_WRITE_VERSION, version)]);
        }
        headers
    }

    fn make(self, plain: &Bytes) -> io::Result<Body> {
        let (bytes, not_sent) = match self {
            BodyFormat::Ndjson | BodyFormat::RemoteWrite1 | BodyFormat::RemoteWrite2 => {
                (plain.clone(), 0)
            }
            BodyFormat::Json => (json_array(plain).into(), 0),
            BodyFormat::Influx => {
                let (lines, not_sent) = influx::lines(plain)?;
                (lines.into(), not_sent)
            }
        };
        Ok(Body { bytes, not_sent })
    }
}

fn json_array(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len() + 2);
    out.push(b'[');
    for (at, line) in lines.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(line);
    }
    out.push(b']');
    out
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

    fn pack(self, bytes: Bytes) -> io::Result<Bytes> {
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

// === impl Bodies ===

impl Bodies {
    /// The body for a parcel: the one that was made for its first try, or a new one.
    pub(super) async fn of(
        &self,
        parcel: &Parcel,
        format: BodyFormat,
        packing: Packing,
    ) -> io::Result<Body> {
        let known = self.find(parcel);
        if let Some(body) = known {
            return Ok(body);
        }
        // Remote write's messages are compressed already.
        let packing =
            if parcel.format.compression == Compression::None { packing } else { Packing::None };
        let plain = parcel.bytes.clone();
        // A millisecond or more of work: not on a thread that serves.
        let made = tokio::task::spawn_blocking(move || {
            let Body { bytes, not_sent } = format.make(&plain)?;
            Ok::<_, io::Error>(Body { bytes: packing.pack(bytes)?, not_sent })
        });
        let body = made.await.map_err(io::Error::other)??;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push((parcel.bytes.clone(), body.clone()));
        }
        Ok(body)
    }

    /// The parcel is not tried again.
    pub(super) fn forget(&self, parcel: &Parcel) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(bytes, _)| bytes.as_ptr() != parcel.bytes.as_ptr());
    }

    fn find(&self, parcel: &Parcel) -> Option<Body> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|(bytes, _)| bytes.as_ptr() == parcel.bytes.as_ptr());
        found.map(|(_, body)| body.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const LINES: &[u8] = b"{\"a\":1}\n{\"b\":2}\n";

    #[test]
    fn lines_become_an_array() {
        assert_eq!(json_array(LINES), b"[{\"a\":1},{\"b\":2}]");
        assert_eq!(json_array(b""), b"[]");
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let plain = Bytes::from_static(LINES);
        let packed = Packing::Gzip.pack(plain.clone()).unwrap();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut text).unwrap();
        assert_eq!(text, LINES);
        let packed = Packing::Zstd.pack(plain.clone()).unwrap();
        assert_eq!(zstd::bulk::decompress(&packed, 1000).unwrap(), LINES);
        assert_eq!(Packing::None.pack(plain).unwrap(), LINES);
    }
}
