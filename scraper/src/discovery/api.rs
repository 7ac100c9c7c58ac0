//! One GET of a discovery API: bounded in time and size, judged by its status.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use kit::config::{HttpClientConfig, HttpClientSpec};
use kit::http::{BodyError, Client, Response, SendError};
use serde::de::DeserializeOwned;

use crate::USER_AGENT;

/// Bytes of one answer. Consul's list of ten thousand services is about 10 MB.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A client of one API.
pub(super) struct Api(Client);

/// A good answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) content_type: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("invalid URL {url:?}")]
    Url { url: String, source: http::uri::InvalidUri },
    #[error("invalid header")]
    Header,
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("Get {url:?}: no answer within {} s", timeout.as_secs_f64())]
    TimedOut { url: String, timeout: Duration },
    #[error("Get {url:?}: server returned HTTP status {status}")]
    Status { url: String, status: StatusCode },
    #[error("Get {url:?}")]
    Body { url: String, source: BodyError },
    #[error("Get {url:?}: parse JSON")]
    Json { url: String, source: serde_json::Error },
}

// === impl Api ===

impl Api {
    /// A client with the options of a discovery section.
    pub(super) fn new(config: &HttpClientConfig) -> Api {
        Api(Client::new(config.clone(), USER_AGENT))
    }

    /// A client without options.
    pub(super) fn plain() -> Api {
        Api(Client::new(no_options(), USER_AGENT))
    }

    /// A client that connects to a socket, whatever host the URL names.
    pub(super) fn over_socket(path: &str) -> Api {
        Api(Client::over_unix_socket(no_options(), USER_AGENT, Path::new(path)))
    }

    /// Asks once; a status other than 200 is an error.
    pub(super) async fn get(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        timeout: Duration,
    ) -> Result<Reply, ApiError> {
        let asked = tokio::time::timeout(timeout, self.ask(url, headers)).await;
        asked.unwrap_or_else(|_| Err(ApiError::TimedOut { url: url.to_owned(), timeout }))
    }

    /// Asks once, and leaves the body to be read as it comes. The timeout is that of the head.
    pub(super) async fn open(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        timeout: Duration,
    ) -> Result<Response, ApiError> {
        let asked = tokio::time::timeout(timeout, self.send(url, headers)).await;
        asked.unwrap_or_else(|_| Err(ApiError::TimedOut { url: url.to_owned(), timeout }))
    }

    async fn ask(&self, url: &str, headers: &[(&'static str, &str)]) -> Result<Reply, ApiError> {
        let response = self.send(url, headers).await?;
        let headers = response.headers().clone();
        let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
        let content_type = String::from_utf8_lossy(content_type.unwrap_or_default()).into_owned();
        let body = response.bytes(BODY_BYTES_MAX).await;
        let body = body.map_err(|source| ApiError::Body { url: url.to_owned(), source })?;
        Ok(Reply { content_type, headers, body })
    }

    async fn send(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Response, ApiError> {
        let url = || url.to_owned();
        let uri: Uri = url().parse().map_err(|source| ApiError::Url { url: url(), source })?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| ApiError::Header)?;
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let response = self.0.send(request).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(ApiError::Status { url: url(), status });
        }
        Ok(response)
    }

    /// Asks once and reads the answer as JSON.
    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        timeout: Duration,
    ) -> Result<T, ApiError> {
        self.get(url, headers, timeout).await?.json(url)
    }
}

// === impl Reply ===

impl Reply {
    /// The body as JSON; `url` is for the error.
    pub(super) fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body)
            .map_err(|source| ApiError::Json { url: url.to_owned(), source })
    }
}

fn no_options() -> HttpClientConfig {
    HttpClientSpec::default().check().expect("the defaults are a valid configuration")
}

/// `text` as one segment of a path.
pub(super) fn path_segment(text: &str) -> String {
    let mut url = url::Url::parse("http://x").expect("a valid URL");
    if let Ok(mut path) = url.path_segments_mut() {
        path.clear().push(text);
    }
    url.path().trim_start_matches('/').to_owned()
}

/// Appends parameters to a URL without any; one without a name is left out.
pub(super) fn push_query<'q>(
    url: &mut String,
    query: impl IntoIterator<Item = (&'q str, &'q str)>,
) {
    let named = query.into_iter().filter(|(name, _)| !name.is_empty());
    let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(named).finish();
    if !encoded.is_empty() {
        url.push('?');
        url.push_str(&encoded);
    }
}
