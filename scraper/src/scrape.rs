//! One request, one body, and why it failed.
//!
//! [`Fetcher::fetch`] is one GET over the target's kept connection, within the target's timeout;
//! [`Answer::with_page`] inflates the body without waiting. Rules and words follow Prometheus'
//! `targetScraper`. Proxies and redirects go through the job's shared client instead.
//! Not here: what a page says (`cache.rs`), and when to ask (`scrape_loop.rs`).

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use kit::Clock;
use kit::http::{Client, Generation, SendError};
use model::Moment;
use tokio::time::{Instant, timeout_at};

use crate::config::JobConfig;
use crate::target::Target;
use buffers::Buffer;
pub(crate) use buffers::Buffers;
use connection::Connection;
use inflate::InflateError;
pub(crate) use inflate::with_page as inflate_with;

mod buffers;
mod connection;
mod inflate;

/// Bytes of a page that no `body_size_limit` bounds. A page of a million series is about 200 MB.
const BODY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Room that is made for a body at once; a longer one grows into it.
const BODY_ROOM_BYTES: usize = 64 * 1024;

/// Bytes of the body of an answer with another status than 200. A longer one ends its connection.
const IGNORED_BYTES_MAX: u64 = 1024 * 1024;

const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// Asks one target, again and again.
pub(crate) struct Fetcher {
    /// The job's; all its targets share tokens, certificates and the proxy.
    client: Client,
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
    uri: Uri,
    /// Path and query alone, as a request on a direct connection names them.
    path: Uri,
    host: HeaderValue,
    headers: HeaderMap,
    socket: Option<PathBuf>,
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
    #[error("invalid target")]
    Request { source: RequestError },
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("Get {url:?}")]
    Get { url: Arc<str>, source: hyper::Error },
    #[error("Get {url:?}: context deadline exceeded")]
    NoAnswerInTime { url: Arc<str> },
    #[error("context deadline exceeded")]
    NoBodyInTime,
    #[error("server returned HTTP status {status}")]
    Status { status: StatusCode },
    #[error("body size limit exceeded")]
    BodyTooLarge,
    #[error("read body")]
    Body { source: hyper::Error },
    #[error("read body")]
    Inflate { source: InflateError },
}

/// Why a target cannot be asked at all.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("invalid URL")]
    Url { source: Arc<http::uri::InvalidUri> },
    #[error("invalid header value")]
    Header { source: Arc<http::header::InvalidHeaderValue> },
}

/// The head of an answer, and its body to be read.
struct Response {
    sent: Moment,
    head: Parts,
    body: Incoming,
}

// === impl Fetcher ===

impl Fetcher {
    pub(crate) fn new(
        job: &JobConfig,
        target: &Target,
        client: Client,
        buffers: Buffers,
    ) -> Fetcher {
        let limit = job.body_size_limit().as_bytes();
        Fetcher {
            client,
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
        let late = ScrapeError::NoAnswerInTime { url: Arc::clone(&self.url) };
        let outcome = match timeout_at(deadline, self.exchange(clock)).await {
            Ok(Ok(response)) => self.receive(response, deadline).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(late),
        };
        // An answer that was read to its end leaves the connection as good as it was.
        let is_whole = matches!(outcome, Ok(_) | Err(ScrapeError::Status { .. }));
        if !is_whole || !self.connection.as_ref().is_some_and(Connection::is_open) {
            self.connection = None;
        }
        outcome
    }

    /// Sends the request and waits for the head of the answer. A kept connection that turns out
    /// to be closed is replaced once.
    async fn exchange(&mut self, clock: &dyn Clock) -> Result<Response, ScrapeError> {
        let prepared = self.request.as_ref();
        let prepared = prepared.map_err(|error| ScrapeError::Request { source: error.clone() })?;
        if prepared.socket.is_none() && !self.client.is_direct(&prepared.uri) {
            return Box::pin(exchange_by_client(&self.client, prepared, clock)).await;
        }
        let mut headers = prepared.headers.clone();
        let generation = self.client.sign(&prepared.uri, &mut headers).await?;
        let is_kept = |kept: &Connection| kept.is_open() && kept.generation == generation;
        let mut kept = self.connection.take().filter(is_kept);
        loop {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Box::pin(connect(&self.client, prepared, &self.url, generation)).await?,
            };
            let request = prepared.request(&headers, connection.is_http2());
            let sent = clock.now();
            match connection.send(request).await {
                Ok(response)
                    if response.status().is_redirection() && self.client.follows_redirects() =>
                {
                    let followed = follow(&self.client, prepared, headers, response, sent);
                    return Box::pin(followed).await;
                }
                Ok(response) => {
                    connection.used = true;
                    self.connection = Some(connection);
                    let (head, body) = response.into_parts();
                    return Ok(Response { sent, head, body });
                }
                // The target closed it while it was idle: ask again on a fresh one. Half an
                // answer, or one that makes no sense, is an answer.
                Err(error) if connection.may_resend(&error) => {}
                Err(source) => return Err(failed(&self.url, source)),
            }
        }
    }

    /// Reads the body; of a bad answer, too, so that the connection can be used again.
    async fn receive(
        &mut self,
        response: Response,
        deadline: Instant,
    ) -> Result<Answer, ScrapeError> {
        let Response { sent, head, body } = response;
        if head.status != StatusCode::OK {
            let mut ignored = self.buffers.take();
            let bound = IGNORED_BYTES_MAX;
            if self.read(read_body(body, &mut ignored.bytes, bound), deadline).await.is_err() {
                self.connection = None;
            }
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
        self.read(read_body(body, &mut buffer.bytes, bound), deadline).await?;
        let limit_bytes = self.limit_bytes;
        Ok(Answer { sent, content_type, body: buffer, is_gzip, limit_bytes })
    }

    /// Lets the connection work until the body is read.
    async fn read(
        &mut self,
        reading: impl Future<Output = Result<(), ScrapeError>>,
        deadline: Instant,
    ) -> Result<(), ScrapeError> {
        let outcome = match &mut self.connection {
            Some(connection) => timeout_at(deadline, connection.read(reading)).await,
            None => timeout_at(deadline, reading).await,
        };
        outcome.unwrap_or(Err(ScrapeError::NoBodyInTime))
    }
}

async fn connect(
    client: &Client,
    prepared: &Prepared,
    url: &Arc<str>,
    generation: Generation,
) -> Result<Connection, ScrapeError> {
    let stream = client.open(&prepared.uri, prepared.socket.as_deref()).await?;
    Connection::over(stream, generation).await.map_err(|source| failed(url, source))
}

/// Asks through the shared client, which knows proxies and redirects.
async fn exchange_by_client(
    client: &Client,
    prepared: &Prepared,
    clock: &dyn Clock,
) -> Result<Response, ScrapeError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = prepared.uri.clone();
    *request.headers_mut() = prepared.headers.clone();
    let sent = clock.now();
    let (head, body) = client.send(request).await?.into_parts();
    Ok(Response { sent, head, body })
}

/// Goes where an answer leads; a redirection that leads nowhere is the answer.
async fn follow(
    client: &Client,
    prepared: &Prepared,
    headers: HeaderMap,
    answer: http::Response<Incoming>,
    sent: Moment,
) -> Result<Response, ScrapeError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = prepared.uri.clone();
    *request.headers_mut() = headers;
    let (head, body) = answer.into_parts();
    Ok(match client.follow(request, &head).await? {
        Some(last) => {
            let (head, body) = last.into_parts();
            Response { sent, head, body }
        }
        None => Response { sent, head, body },
    })
}

fn failed(url: &Arc<str>, source: hyper::Error) -> ScrapeError {
    ScrapeError::Get { url: Arc::clone(url), source }
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
        let url = |text: &str| -> Result<Uri, RequestError> {
            text.parse().map_err(|source| RequestError::Url { source: Arc::new(source) })
        };
        let value = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|source| RequestError::Header { source: Arc::new(source) })
        };
        let uri = url(&target.url)?;
        let path = url(uri.path_and_query().map_or("/", |path| path.as_str()))?;
        let host = value(uri.authority().map_or("", |host| host.as_str()))?;
        let encoding = if job.enable_compression() { "gzip" } else { "identity" };
        let seconds = target.timeout.as_secs_f64().to_string();
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(ACCEPT, value(job.accept_header())?);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        headers.insert(TIMEOUT_HEADER, value(&seconds)?);
        let socket = target.unix_socket.as_deref().map(PathBuf::from);
        Ok(Prepared { uri, path, host, headers, socket })
    }

    /// One request, for a connection to the target itself.
    fn request(&self, headers: &HeaderMap, http2: bool) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.headers_mut() = headers.clone();
        *request.uri_mut() = if http2 {
            self.uri.clone()
        } else {
            request.headers_mut().insert(HOST, self.host.clone());
            self.path.clone()
        };
        request
    }
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
