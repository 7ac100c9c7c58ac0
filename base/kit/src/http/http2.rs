//! One HTTP/2 connection of the caller's own, for a [`Stream`] on which both sides agreed on it.
//!
//! A task of its own keeps it alive: a server may speak (settings, pings, farewells) while nobody
//! asks it anything. The task ends with the handle.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{PING_INTERVAL, Stream};

/// How long a server may take to answer a ping, as in Prometheus.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: u32 = 16 * 1024;

/// An open connection, for requests without a body, one at a time.
pub struct Http2(SendRequest<Empty<Bytes>>);

// === impl Http2 ===

impl Http2 {
    /// Begins to speak HTTP/2.
    ///
    /// # Errors
    /// When the server closes the connection.
    pub async fn over(stream: Stream) -> hyper::Result<Http2> {
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .max_header_list_size(HEAD_BYTES_MAX)
            .handshake(stream)
            .await?;
        // Of a failure whoever sends a request hears.
        tokio::spawn(connection);
        Ok(Http2(sender))
    }

    /// Sends a request with an absolute URI and without a `Host` header; waits for the head of
    /// the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }

    /// Whether another request may be sent.
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// Whether the server has said of the request that failed so that it did nothing about it, or
    /// the request has never left: it may be sent again.
    pub fn is_unheard(error: &hyper::Error) -> bool {
        if error.is_canceled() || error.is_closed() {
            return true;
        }
        let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        cause.is_some_and(|cause| {
            cause.reason() == Some(h2::Reason::REFUSED_STREAM)
                || cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR)
        })
    }
}
