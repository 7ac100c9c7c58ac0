//! One POST: the headers of both versions, the timeout, and as much of the answer as matters.

use std::error::Error;

use http::HeaderValue;
use http::header::{self, HeaderName};
use reqwest::Response;

use super::answer::{Answer, BODY_BYTES_MAX};
use super::{RemoteWrite, WireVersion};
use crate::block::Compression;
use crate::module::{Parcel, SendError};

/// How we call ourselves.
const USER_AGENT: &str = concat!("rollcall/", env!("CARGO_PKG_VERSION"));
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

impl RemoteWrite {
    /// Sends the parcel and reads the answer.
    pub(super) async fn post(
        &self,
        version: WireVersion,
        parcel: &Parcel,
    ) -> Result<Answer, SendError> {
        let limit = self.config.timeout;
        match tokio::time::timeout(limit, self.exchange(version, parcel)).await {
            Ok(answer) => answer,
            Err(_) => Err(SendError::Timeout { endpoint: self.config.url.clone(), limit }),
        }
    }

    async fn exchange(&self, version: WireVersion, parcel: &Parcel) -> Result<Answer, SendError> {
        let mut request = self
            .client
            .post(&self.config.url)
            .header(header::CONTENT_TYPE, HeaderValue::from_static(version.content_type()))
            .header(header::USER_AGENT, HeaderValue::from_static(USER_AGENT))
            .header(VERSION, HeaderValue::from_static(version.header()))
            .body(parcel.bytes.clone());
        if parcel.format.compression == Compression::Snappy {
            request = request.header(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        }
        if parcel.attempt > 0 {
            request = request.header(RETRY_ATTEMPT, parcel.attempt);
        }
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        let mut response = request.send().await.map_err(|error| self.unsent(error))?;
        let body = first_bytes(&mut response).await;
        Ok(Answer::new(response.status(), response.headers(), &body, self.clock.unix_ms()))
    }

    fn unsent(&self, error: impl Error + Send + Sync + 'static) -> SendError {
        SendError::Send { endpoint: self.config.url.clone(), source: Box::new(error) }
    }
}

/// The beginning of the body. An answer that breaks off was an answer all the same.
async fn first_bytes(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < BODY_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    body.truncate(BODY_BYTES_MAX);
    body
}
