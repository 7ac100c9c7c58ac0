//! A block as the body of a request, in the format that the endpoint reads.

use std::io;

use bytes::Bytes;
use http::{HeaderName, header};
use kit::config::Invalid;

use super::influx;
use crate::block::{Compression, Counts, Encoding, Format};
use crate::modules::bodies::Body;

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

    pub(super) fn make(self, plain: &Bytes) -> io::Result<Body> {
        let (bytes, not_sent) = match self {
            BodyFormat::Ndjson | BodyFormat::RemoteWrite1 | BodyFormat::RemoteWrite2 => {
                (plain.clone(), Counts::NONE)
            }
            BodyFormat::Json => (json_array(plain).into(), Counts::NONE),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_an_array() {
        assert_eq!(json_array(b"{\"a\":1}\n{\"b\":2}\n"), b"[{\"a\":1},{\"b\":2}]");
        assert_eq!(json_array(b""), b"[]");
    }
}
