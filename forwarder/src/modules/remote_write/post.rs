//! One POST: the headers of both versions, the timeout, and as much of the answer as matters.

use std::error::Error;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Request};
use kit::http::Response;

use super::answer::{Answer, BODY_BYTES_MAX};
use super::{RemoteWrite, WireVersion, shown};
use crate::block::Compression;
use crate::module::{Parcel, SendError};

/// Bytes of an answer's body that are read to keep the connection.
const READ_BYTES_MAX: usize = 64 * 1024;
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

impl RemoteWrite {
    /// Sends the parcel and reads the answer.
    pub(super) async fn post(
        &self,
        url: &str,
        version: WireVersion,
        parcel: &Parcel,
    ) -> Result<Answer, SendError> {
        let limit = self.config.timeout;
        match tokio::time::timeout(limit, self.exchange(url, version, parcel)).await {
            Ok(answer) => answer,
            Err(_) => Err(SendError::Timeout { endpoint: shown(url), limit }),
        }
    }

    async fn exchange(
        &self,
        url: &str,
        version: WireVersion,
        parcel: &Parcel,
    ) -> Result<Answer, SendError> {
        let request = self.request(url, version, parcel).map_err(|error| unsent(url, error))?;
        let mut response = self.client.send(request).await.map_err(|error| unsent(url, error))?;
        let body = first_bytes(&mut response).await;
        Ok(Answer::new(response.status(), response.headers(), &body, self.clock.unix_ms()))
    }

    fn request(
        &self,
        url: &str,
        version: WireVersion,
        parcel: &Parcel,
    ) -> Result<Request<Bytes>, http::Error> {
        let mut request = Request::post(url)
            .header(header::CONTENT_TYPE, HeaderValue::from_static(version.content_type()))
            .header(VERSION, HeaderValue::from_static(version.header()));
        if parcel.format.compression == Compression::Snappy {
            request = request.header(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        }
        if parcel.attempt > 0 {
            request = request.header(RETRY_ATTEMPT, parcel.attempt);
        }
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        request.body(parcel.bytes.clone())
    }
}

fn unsent(url: &str, error: impl Error + Send + Sync + 'static) -> SendError {
    SendError::Send { endpoint: shown(url), source: Box::new(error) }
}

/// The beginning of the body. An answer that breaks off was an answer all the same. What follows
/// is read and forgotten as long as that is cheaper than another connection.
pub(in crate::modules) async fn first_bytes(response: &mut Response) -> Vec<u8> {
    let (mut body, mut read_bytes) = (Vec::new(), 0);
    while read_bytes < READ_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                read_bytes += chunk.len();
                let room = BODY_BYTES_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(None) | Err(_) => break,
        }
    }
    body
}
