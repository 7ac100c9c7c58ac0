//! One request, one body, and why it failed.
//!
//! [`Fetcher::fetch`] is one GET over the target's kept connection, within the target's timeout;
//! [`Answer::with_page`] inflates the body without waiting. Rules and words follow Prometheus'
//! `targetScraper`. Not here: what a page says (`cache.rs`), and when to ask (`scrape_loop.rs`).

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use kit::Clock;
use model::Moment;
use tokio::time::{Instant, timeout_at};

use crate::config::JobConfig;
use crate::target::Target;
use buffers::Buffer;
pub(crate) use buffers::Buffers;
use connection::{Connection, DialError, Endpoint};
use inflate::InflateError;

mod buffers;
mod connection;
mod inflate;

/// Bytes of a page that no `body_size_limit` bounds. A page of a million series is about 200 MB.
const BODY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Room that is made for a body at once; a longer one grows into it.
const BODY_ROOM_BYTES: usize = 64 * 1024;

/// Says what we are compatible with: some exporters and proxies look for `Prometheus`.
const USER_AGENT: &str =
    concat!("Prometheus/3.14.0 (compatible; rollcall/", env!("CARGO_PKG_VERSION"), ")");

/// Asks one target, again and again.
pub(crate) struct Fetcher {
    request: Result<Prepared, RequestError>,
    url: Arc<str>,
    timeout: Duration,
    limit_bytes: u64,
    buffers: Buffers,
    connection: Option<Connection>,
}

/// What every request of a target has in common.
#[derive(Debug, Clone)]
struct Prepared {
    endpoint: Endpoint,
    uri: Uri,
    headers: HeaderMap,
}

/// A good answer: status 200, and a body that is not inflated yet.
#[derive(Debug)]
pub(crate) struct Answer {
    /// When the request was sent: nothing in the page is older.
    pub(crate) sent: Moment,
    /// The `Content-Type` header; empty if there was none.
    pub(crate) content_type: String,
    body: Buffer,
    is_gzip: bool,
    limit_bytes: u64,
}

/// Why a scrape gave no page. `up` becomes 0.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrapeError {
    #[error("Get {url:?}")]
    Get { url: Arc<str>, source: GetError },
    #[error("server returned HTTP status {status}")]
    Status { status: StatusCode },
    #[error("body size limit exceeded")]
    BodyTooLarge,
    #[error("context deadline exceeded")]
    TimedOut,
    #[error("read body")]
    Body { source: hyper::Error },
    #[error("read body")]
    Inflate { source: InflateError },
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    #[error("invalid request")]
    Request { source: RequestError },
    #[error("context deadline exceeded")]
    TimedOut,
    #[error(transparent)]
    Dial { source: DialError },
    #[error("exchange")]
    Exchange { source: hyper::Error },
}

/// Why a target cannot be asked at all.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("unsupported protocol scheme {scheme:?}")]
    Scheme { scheme: Box<str> },
    #[error("invalid port in {address:?}")]
    Port { address: Box<str> },
    #[error("invalid URL")]
    Url { source: Arc<http::uri::InvalidUri> },
    #[error("invalid header value")]
    Header { source: Arc<http::header::InvalidHeaderValue> },
}

// === impl Fetcher ===

impl Fetcher {
    pub(crate) fn new(job: &JobConfig, target: &Target, buffers: Buffers) -> Fetcher {
        let limit = job.body_size_limit().as_bytes();
        Fetcher {
            request: Prepared::new(job, target),
            url: target.url.as_str().into(),
            timeout: target.timeout,
            limit_bytes: if limit == 0 { BODY_BYTES_MAX } else { limit },
            buffers,
            connection: None,
        }
    }

    /// Forgets the kept connection.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Asks once. The timeout covers everything, from connecting to the last byte of the body.
    ///
    /// # Errors
    /// When there is no answer with status 200 and a complete body within limits.
    pub(crate) async fn fetch(&mut self, clock: &dyn Clock) -> Result<Answer, ScrapeError> {
        let deadline = Instant::now() + self.timeout;
        let get = |url: &Arc<str>, source| ScrapeError::Get { url: Arc::clone(url), source };
        let (sent, response) = match timeout_at(deadline, self.exchange(clock)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(source)) => return Err(get(&self.url, source)),
            Err(_) => {
                self.connection = None;
                return Err(get(&self.url, GetError::TimedOut));
            }
        };
        match timeout_at(deadline, self.receive(sent, response)).await {
            Ok(outcome) => {
                if outcome.is_err() || !self.connection.as_ref().is_some_and(Connection::is_open) {
                    self.connection = None;
                }
                outcome
            }
            Err(_) => {
                self.connection = None;
                Err(ScrapeError::TimedOut)
            }
        }
    }

    /// Sends the request and waits for the head of the answer. A kept connection that turns out
    /// to be closed is replaced once.
    async fn exchange(
        &mut self,
        clock: &dyn Clock,
    ) -> Result<(Moment, Response<Incoming>), GetError> {
        let prepared = match &self.request {
            Ok(prepared) => prepared,
            Err(error) => return Err(GetError::Request { source: error.clone() }),
        };
        loop {
            let mut connection = match self.connection.take().filter(Connection::is_open) {
                Some(connection) => connection,
                None => {
                    let opened = Connection::open(&prepared.endpoint).await;
                    opened.map_err(|source| GetError::Dial { source })?
                }
            };
            let was_used = connection.used;
            let sent = clock.now();
            match connection.send(prepared.request()).await {
                Ok(response) => {
                    connection.used = true;
                    self.connection = Some(connection);
                    return Ok((sent, response));
                }
                // The target closed it while it was idle: ask again on a fresh one.
                Err(_) if was_used => {}
                Err(source) => return Err(GetError::Exchange { source }),
            }
        }
    }

    /// Reads the body.
    async fn receive(
        &mut self,
        sent: Moment,
        response: Response<Incoming>,
    ) -> Result<Answer, ScrapeError> {
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(ScrapeError::Status { status: head.status });
        }
        let is_gzip = head.headers.get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        let content_type = head.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
        let content_type = String::from_utf8_lossy(content_type.unwrap_or_default()).into_owned();
        let mut buffer = self.buffers.take();
        let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|value| value.parse().ok()).unwrap_or(0);
        buffer.bytes.reserve(BODY_ROOM_BYTES.min(length));
        // A compressed page is never longer than the page, but for a few bytes a block.
        let bound = if is_gzip { BODY_BYTES_MAX } else { self.limit_bytes };
        if let Some(connection) = &mut self.connection {
            connection.read(read_body(body, &mut buffer.bytes, bound)).await?;
        }
        let limit_bytes = self.limit_bytes;
        Ok(Answer { sent, content_type, body: buffer, is_gzip, limit_bytes })
    }
}

/// Appends the body to `bytes`; fails when it has `limit_bytes` or more.
async fn read_body(
    mut body: Incoming,
    bytes: &mut Vec<u8>,
    limit_bytes: u64,
) -> Result<(), ScrapeError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| ScrapeError::Body { source })?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() as u64 + data.len() as u64 >= limit_bytes {
                return Err(ScrapeError::BodyTooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(())
}

// === impl Prepared ===

impl Prepared {
    fn new(job: &JobConfig, target: &Target) -> Result<Prepared, RequestError> {
        let default_port = match &*target.scheme {
            "http" => 80,
            scheme => return Err(RequestError::Scheme { scheme: scheme.into() }),
        };
        let endpoint = match &target.unix_socket {
            Some(path) => Endpoint::Unix { path: path.clone() },
            None => tcp(&target.address, default_port)?,
        };
        let url: Uri =
            target.url.parse().map_err(|source| RequestError::Url { source: Arc::new(source) })?;
        let value = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|source| RequestError::Header { source: Arc::new(source) })
        };
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let uri = path.parse().map_err(|source| RequestError::Url { source: Arc::new(source) })?;
        let encoding = if job.enable_compression() { "gzip" } else { "identity" };
        let mut headers = HeaderMap::with_capacity(5);
        headers.insert(HOST, value(url.authority().map_or("", |host| host.as_str()))?);
        headers.insert(ACCEPT, value(job.accept_header())?);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        headers.insert(http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let seconds = target.timeout.as_secs_f64().to_string();
        headers.insert("x-prometheus-scrape-timeout-seconds", value(&seconds)?);
        Ok(Prepared { endpoint, uri, headers })
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// `host`, `host:port`, `[::1]`, `[::1]:port`.
fn tcp(address: &str, default_port: u16) -> Result<Endpoint, RequestError> {
    let invalid = || RequestError::Port { address: address.into() };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !address.ends_with(']') => (host, port),
        _ => (address, ""),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = if port.is_empty() { default_port } else { port.parse().map_err(|_| invalid())? };
    Ok(Endpoint::Tcp { host: host.into(), port })
}

// === impl Answer ===

impl Answer {
    /// Inflates the body if need be, and lends the page to `read`. Does not wait.
    ///
    /// # Errors
    /// When the body is no gzip although it says so, or the page is too large.
    pub(crate) fn with_page<R>(&self, read: impl FnOnce(&[u8]) -> R) -> Result<R, ScrapeError> {
        if !self.is_gzip {
            return Ok(read(&self.body.bytes));
        }
        inflate::with_page(&self.body.bytes, self.limit_bytes, read).map_err(
            |source| match source {
                InflateError::TooLarge => ScrapeError::BodyTooLarge,
                source => ScrapeError::Inflate { source },
            },
        )
    }
}

// === impl ScrapeError ===

impl ScrapeError {
    /// On one line, with its causes.
    pub(crate) fn text(&self) -> String {
        kit::Chain(self as &(dyn Error + 'static)).to_string()
    }
}

#[cfg(test)]
mod tests;
