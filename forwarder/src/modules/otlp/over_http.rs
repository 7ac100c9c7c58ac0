//! OTLP over HTTP: a POST of protobuf, perhaps packed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};
use kit::Clock;
use kit::http::{Client, Response};
use prost::Message as _;

use super::OtlpConfig;
use super::messages::{ExportResponse, Status};
use crate::module::Verdict;
use crate::modules::packing::Packing;
use crate::modules::web::{USER_AGENT, answered, first_bytes, refusal, unsent};

const PROTOBUF: &str = "application/x-protobuf";
/// Bytes of an answer that are read as a message.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The statuses that are worth another try.
const AGAIN: [u16; 4] = [429, 502, 503, 504];

/// Posts.
pub(super) struct OverHttp {
    pub(super) packing: Packing,
    url: String,
    timeout: Duration,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Client,
    clock: Arc<dyn Clock>,
}

// === impl OverHttp ===

impl OverHttp {
    pub(super) fn new(config: &OtlpConfig, clock: &Arc<dyn Clock>) -> OverHttp {
        let OtlpConfig { url, timeout, headers, packing, http, .. } = config.clone();
        OverHttp {
            packing,
            url,
            timeout,
            headers,
            client: Client::new(http, USER_AGENT),
            clock: Arc::clone(clock),
        }
    }

    /// Posts a message, packed as [`OverHttp::packing`] says; what the receiver makes of it.
    pub(super) async fn export(&self, body: Bytes) -> Result<ExportResponse, Verdict> {
        let request = self
            .request(body)
            .map_err(|error| Verdict::Refused { why: unsent(&self.url, error) })?;
        let answer = answered(self.client.deliver(request), &self.url, self.timeout).await;
        let mut response = answer.map_err(|why| Verdict::Retry { after: None, why })?;
        let body = first_bytes(&mut response, ANSWER_BYTES_MAX).await;
        if response.status().is_success() {
            return Ok(ExportResponse::decode(&*body).unwrap_or_default());
        }
        let why = refusal(&response, &text(&response, &body), self.clock.unix_ms());
        Err(match AGAIN.contains(&response.status().as_u16()) {
            true => Verdict::Retry { after: why.retry_after(), why },
            false => Verdict::Refused { why },
        })
    }

    fn request(&self, body: Bytes) -> Result<Request<Bytes>, http::Error> {
        let mut request = Request::post(&self.url).header(header::CONTENT_TYPE, PROTOBUF);
        if let Some(encoding) = self.packing.content_encoding() {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        let mut request = request.body(body)?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}

/// What an answer that is no success says: the message of a status, or text.
fn text(response: &Response, body: &[u8]) -> String {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|kind| kind.as_bytes().starts_with(PROTOBUF.as_bytes()))
        && let Ok(status) = Status::decode(body)
    {
        return status.message;
    }
    String::from_utf8_lossy(body).into_owned()
}
