//! `POST /api/v1/write`: remote write 1.0 and 2.0, as any Prometheus, agent or rollcall sends it.
//!
//! Answers as Prometheus does: 204 when everything was taken, 400 for what can never be taken (the
//! rest of the message is), 415 for other formats, 503 for what should be sent again. A message
//! that cannot be read changes nothing. Samples that no kind reads count as taken: which ones to
//! send is the sender's choice.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;

use super::failure::Failure;
use super::{Api, body};
use crate::receiver::{Message, Taken, Version, WireError};

/// Bytes of a message as it is sent. Senders' defaults make less than one megabyte.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a message when it is inflated.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Messages that are held at a time; further ones are answered 503 and counted.
const HELD_MAX: usize = 64;

/// Messages that are read at a time; further ones wait.
const READ_MAX: usize = 2;

/// How long the body of a message may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

const PROTO_1: &str = "prometheus.WriteRequest";
const PROTO_2: &str = "io.prometheus.write.v2.Request";
const WRITTEN: [HeaderName; 3] = [
    HeaderName::from_static("x-prometheus-remote-write-samples-written"),
    HeaderName::from_static("x-prometheus-remote-write-histograms-written"),
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written"),
];

/// How many messages may be under way.
#[derive(Debug)]
pub(super) struct Gates {
    held: Semaphore,
    read: Arc<Semaphore>,
}

/// What a message was, and what became of it.
struct Done {
    taken: Taken,
    written: [usize; 3],
}

impl Default for Gates {
    fn default() -> Gates {
        Gates { held: Semaphore::new(HELD_MAX), read: Arc::new(Semaphore::new(READ_MAX)) }
    }
}

/// `POST /api/v1/write`
pub(super) async fn write(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    if !api.receiver.is_open() {
        return Err(Failure::no_path());
    }
    let refused = |reason, failure| {
        api.metrics.refused_write(reason);
        failure
    };
    let version = version(&headers).map_err(|failure| refused("format", failure))?;
    let Ok(_held) = api.writes.held.try_acquire() else {
        let failure = Failure::unavailable("too many writes at a time, try again");
        return Err(refused("too_many", failure));
    };
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, body::read(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(failure)) => return Err(refused(word(&failure), failure)),
        Err(_) => {
            let failure = Failure::bad_request("the body of the request took too long");
            return Err(refused("slow", failure));
        }
    };
    let read = Arc::clone(&api.writes.read).acquire_owned().await;
    let reading = Arc::clone(&api);
    // Milliseconds of work, for a large one: not on a thread that serves events.
    let done = tokio::task::spawn_blocking(move || {
        let _permit = read;
        take(&reading, version, &bytes)
    });
    let done = done.await.expect("reading a message does not panic");
    let Done { taken, written } = done.map_err(|failure| refused(word(&failure), failure))?;
    Ok(answer(version, taken, written))
}

fn take(api: &Api, version: Version, bytes: &Bytes) -> Result<Done, Failure> {
    let inflated = inflate(bytes)?;
    let message = Message::read(version, &inflated).map_err(|error| match error {
        WireError::TooMany { .. } => Failure::too_large_message(&error.to_string()),
        error => Failure::bad_request(format!("read the message: {}", kit::Chain(&error))),
    })?;
    let taken = api.receiver.take(&message);
    let n_samples = message.n_samples() - taken.n_refused.min(message.n_samples());
    Ok(Done { taken, written: [n_samples, message.n_histograms, message.n_exemplars] })
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let broken = |error: snap::Error| Failure::bad_request(format!("snappy: {error}"));
    let len = snap::raw::decompress_len(bytes).map_err(broken)?;
    if len > MESSAGE_BYTES_MAX {
        return Err(Failure::too_large(MESSAGE_BYTES_MAX));
    }
    snap::raw::Decoder::new().decompress_vec(bytes).map_err(broken)
}

/// Which message the headers announce. Senders of old may leave both headers out.
fn version(headers: &HeaderMap) -> Result<Version, Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = text(header::CONTENT_ENCODING);
    let mut parts = text(header::CONTENT_TYPE).split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let proto = parts.find_map(|part| part.strip_prefix("proto=")).unwrap_or(PROTO_1);
    let fits = media.is_empty() || media.eq_ignore_ascii_case("application/x-protobuf");
    match proto.trim_matches('"') {
        PROTO_1 if fits && matches!(encoding, "" | "snappy") => Ok(Version::One),
        PROTO_2 if fits && encoding == "snappy" => Ok(Version::Two),
        _ => Err(Failure::unsupported_media_type(
            "application/x-protobuf;proto=prometheus.WriteRequest and \
             application/x-protobuf;proto=io.prometheus.write.v2.Request, both with \
             content-encoding snappy",
        )),
    }
}

fn answer(version: Version, taken: Taken, written: [usize; 3]) -> Response {
    let mut response = match taken.why {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(why) => {
            let message = format!("{} samples were not taken: {why}", taken.n_refused);
            Failure::bad_request(message).into_response()
        }
    };
    if version == Version::Two {
        for (name, n) in WRITTEN.into_iter().zip(written) {
            response.headers_mut().insert(name, HeaderValue::from(n));
        }
    }
    response
}

/// Why a message was refused, for the counter.
fn word(failure: &Failure) -> &'static str {
    match failure.code() {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        _ => "malformed",
    }
}
