//! A receiver of remote write that answers 204 and counts the samples, 1.0 and 2.0.
//!
//! Walks the protobuf by hand: counting must cost little beside what is measured. How long samples
//! were under way is known from their timestamps: both ends are on one machine.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;

/// Delays that are remembered until they are asked for.
const DELAYS_MAX: usize = 100_000;

/// Samples and requests seen so far.
#[derive(Debug, Default)]
struct Counts {
    samples: AtomicU64,
    requests: AtomicU64,
    body_bytes: AtomicU64,
    refused: AtomicU64,
    /// Milliseconds from the timestamp of a request's last sample to its arrival.
    delays_ms: Mutex<Vec<u32>>,
}

/// Serves until the process ends.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await.context("listen")?;
        let counts = Arc::new(Counts::default());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let counts = Arc::clone(&counts);
            let service = service_fn(move |request| answer(request, Arc::clone(&counts)));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    })
}

async fn answer(
    request: Request<Incoming>,
    counts: Arc<Counts>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        return Ok(Response::new(Full::new(counts.to_json().into())));
    }
    let encoding = request.headers().get("content-encoding").cloned();
    let second = request.headers().get("content-type").is_some_and(|content_type| {
        content_type.to_str().is_ok_and(|text| text.contains("io.prometheus.write.v2"))
    });
    let zstd = encoding.is_some_and(|encoding| encoding == "zstd");
    let counted = match request.into_body().collect().await {
        Ok(body) => count(&body.to_bytes(), zstd, second, &counts),
        Err(_) => None,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = match counted {
        Some(samples) => {
            if second {
                let written = samples.into();
                response.headers_mut().insert("x-prometheus-remote-write-samples-written", written);
            }
            hyper::StatusCode::NO_CONTENT
        }
        None => {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            hyper::StatusCode::BAD_REQUEST
        }
    };
    Ok(response)
}

fn count(body: &[u8], zstd: bool, second: bool, counts: &Counts) -> Option<u64> {
    let plain = if zstd {
        zstd::stream::decode_all(body).ok()?
    } else {
        snap::raw::Decoder::new().decompress_vec(body).ok()?
    };
    let (series_field, sample_field) = if second { (5, 2) } else { (1, 2) };
    let (mut samples, mut last) = (0, None);
    for (field, series) in Fields(&plain) {
        if field == series_field {
            for (_, sample) in Fields(series).filter(|(field, _)| *field == sample_field) {
                samples += 1;
                last = Some(sample);
            }
        }
    }
    if let Some(timestamp_ms) = last.and_then(timestamp_ms) {
        counts.note_delay(timestamp_ms);
    }
    counts.samples.fetch_add(samples, Ordering::Relaxed);
    counts.requests.fetch_add(1, Ordering::Relaxed);
    counts.body_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    Some(samples)
}

// === impl Counts ===

impl Counts {
    fn to_json(&self) -> String {
        let [samples, requests, body_bytes, refused] =
            [&self.samples, &self.requests, &self.body_bytes, &self.refused]
                .map(|counter| counter.load(Ordering::Relaxed));
        serde_json::json!({
            "samples": samples, "requests": requests,
            "body_bytes": body_bytes, "refused": refused,
            "delays_ms": std::mem::take(&mut *self.delays()),
        })
        .to_string()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a tool: nothing here is ever tested in other times"
    )]
    fn note_delay(&self, timestamp_ms: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let delay_ms = (now.as_millis() as u64).saturating_sub(timestamp_ms);
        let mut delays = self.delays();
        if delays.len() < DELAYS_MAX {
            delays.push(u32::try_from(delay_ms).unwrap_or(u32::MAX));
        }
    }

    fn delays(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.delays_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The timestamp of a `Sample { 1: double value, 2: int64 timestamp }`.
pub(crate) fn timestamp_ms(sample: &[u8]) -> Option<u64> {
    let rest = match sample.split_first()? {
        (9, rest) => rest.get(8..)?,
        _ => sample,
    };
    let (tag, rest) = rest.split_first()?;
    if *tag == 16 { Fields(rest).varint() } else { None }
}

/// The length-delimited fields of a protobuf message: `(field number, bytes)`.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tag = self.varint()?;
            match tag & 7 {
                0 => {
                    self.varint()?;
                }
                1 => self.0 = self.0.get(8..)?,
                2 => {
                    let length = usize::try_from(self.varint()?).ok()?;
                    let (bytes, rest) = self.0.split_at_checked(length)?;
                    self.0 = rest;
                    return Some((tag >> 3, bytes));
                }
                5 => self.0 = self.0.get(4..)?,
                _ => return None,
            }
        }
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_both_versions_are_counted() {
        // WriteRequest { timeseries { labels {…} samples {} samples {} } }
        let first = [0x0A, 7, 0x0A, 1, 0, 0x12, 0, 0x12, 0];
        // Request { symbols "", timeseries { labels_refs [1] samples {} } }
        let second = [0x22, 0, 0x2A, 5, 0x0A, 1, 1, 0x12, 0];
        let counts = Counts::default();
        for (message, is_second, want) in [(&first[..], false, 2), (&second[..], true, 1)] {
            let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
            assert_eq!(count(&body, false, is_second, &counts), Some(want));
        }
        assert_eq!(counts.samples.load(Ordering::Relaxed), 3);
    }
}
