//! One POST: the headers of both versions, the timeout, and as much of the answer as matters.
//! The answer's head must come in time; a body that does not is left.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Request};

use super::answer::Answer;
use super::{RemoteWrite, WireVersion};
use crate::block::Compression;
use crate::module::{Parcel, SendError};
use crate::modules::web::{BODY_BYTES_MAX, answered, first_bytes};

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

impl RemoteWrite {
    /// Sends the request and reads the answer.
    pub(super) async fn post(
        &self,
        url: &str,
        request: Request<Bytes>,
    ) -> Result<Answer, SendError> {
        let mut response = answered(self.client.send(request), url, self.config.timeout).await?;
        let body = first_bytes(&mut response, BODY_BYTES_MAX).await;
        let (status, headers) = (response.status(), response.headers());
        Ok(Answer::new(status, headers, &body, self.clock.unix_ms()))
    }

    /// # Errors
    /// When the URL or a header is none: Prometheus takes such a file, and can send nothing.
    pub(super) fn request(
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
