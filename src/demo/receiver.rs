//! A receiver of remote write that only counts: it makes visible that report data goes somewhere.
//!
//! Understands as much of a request as counting takes. Answers 204, and its counts at `GET /`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use kit::Chain;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tracing::{error, warn};

/// Bytes of one request, packed: far more than a block of samples has.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Fields of `WriteRequest` and `TimeSeries`.
const TIME_SERIES: u64 = 1;
const SAMPLES: u64 = 2;
const LENGTH_DELIMITED: u64 = 2;

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    samples: AtomicU64,
    refused: AtomicU64,
}

/// Starts the receiver on the current runtime.
///
/// # Errors
/// The address is taken.
pub(super) async fn start(address: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/", get(show))
        .route("/api/v1/write", post(receive))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(Counts::default()));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!(error = %Chain(&error), "receiver of the demo ended");
        }
    });
    Ok(address)
}

async fn show(State(counts): State<Arc<Counts>>) -> Json<Value> {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Json(json!({
        "requests": count(&counts.requests),
        "bytes": count(&counts.bytes),
        "samples": count(&counts.samples),
        "refused": count(&counts.refused),
    }))
}

async fn receive(State(counts): State<Arc<Counts>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    counts.requests.fetch_add(1, Ordering::Relaxed);
    counts.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    let samples = match headers.get("content-encoding").map(|encoding| encoding.as_bytes()) {
        Some(b"snappy") => unpacked_len(&body).and_then(|_| samples_of(&body)),
        _ => None,
    };
    let Some(samples) = samples else {
        counts.refused.fetch_add(1, Ordering::Relaxed);
        warn!(bytes = body.len(), "receiver of the demo cannot read a request");
        return StatusCode::BAD_REQUEST;
    };
    counts.samples.fetch_add(samples, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

/// The unpacked length, if it is one that we want to have in memory.
fn unpacked_len(packed: &[u8]) -> Option<usize> {
    snap::raw::decompress_len(packed).ok().filter(|len| *len <= 8 * BODY_BYTES_MAX)
}

fn samples_of(packed: &[u8]) -> Option<u64> {
    let request = snap::raw::Decoder::new().decompress_vec(packed).ok()?;
    let mut samples = 0;
    for (field, series) in Fields(&request) {
        if field == TIME_SERIES {
            samples += Fields(series).filter(|(field, _)| *field == SAMPLES).count() as u64;
        }
    }
    Some(samples)
}

/// The length-delimited fields of a protobuf message; ends at the first mistake.
struct Fields<'m>(&'m [u8]);

// === impl Fields ===

impl<'m> Iterator for Fields<'m> {
    type Item = (u64, &'m [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = self.varint()?;
            let value = self.varint()?;
            if key & 7 == LENGTH_DELIMITED {
                let (content, rest) = self.0.split_at_checked(usize::try_from(value).ok()?)?;
                self.0 = rest;
                return Some((key >> 3, content));
            }
        }
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_and_labels_are_not() {
        let label = [0x0a, 1, 0x78];
        let sample = [0x12, 9, 0x09, 0, 0, 0, 0, 0, 0, 0, 0];
        let series = [&label[..], &sample, &sample].concat();
        let mut request = Vec::new();
        for _ in 0..3 {
            request.extend([0x0a, series.len() as u8]);
            request.extend(&series);
        }
        let packed = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        assert_eq!(samples_of(&packed), Some(6));
        assert_eq!(samples_of(b"not snappy"), None);
    }
}
