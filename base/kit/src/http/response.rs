//! The answer to a request: its head at once, its body as it comes.

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// An answer. Dropping it breaks the rest of the body off.
#[derive(Debug)]
pub struct Response {
    uri: Uri,
    head: Parts,
    body: Incoming,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It broke off.
    #[error("read body")]
    Broken(#[source] hyper::Error),
    /// It is longer than who asked wants to take.
    #[error("read a body of more than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
}

// === impl Response ===

impl Response {
    pub(super) fn new(uri: Uri, response: http::Response<Incoming>) -> Response {
        let (head, body) = response.into_parts();
        Response { uri, head, body }
    }

    /// Whom the answer is from: the last redirect's target.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body, of at most `limit_bytes`.
    ///
    /// # Errors
    /// When the body is longer, or breaks off.
    pub async fn bytes(mut self, limit_bytes: usize) -> Result<Bytes, BodyError> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > limit_bytes {
                return Err(BodyError::TooLarge { limit_bytes });
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// Head and body, for who reads the body in another way.
    pub fn into_parts(self) -> (Parts, Incoming) {
        (self.head, self.body)
    }
}
