//! The one connection of a target: kept from scrape to scrape. HTTP/1.1 is driven by the target's
//! own task, so that an idle target costs neither a task nor a wake-up; HTTP/2, which TLS may agree
//! on, has a task (`kit::http::Http2`).

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection as Http1, SendRequest};
use hyper::{Request, Response};
use kit::http::{Generation, Heard, Http2, Stream};

/// An open connection.
pub(super) struct Connection {
    wire: Wire,
    heard: Heard,
    /// At least one exchange went well.
    pub(super) used: bool,
    /// The certificates that it was opened with.
    pub(super) generation: Generation,
}

/// What is spoken over it.
enum Wire {
    Http1 {
        sender: SendRequest<Empty<Bytes>>,
        /// None when it has ended: nothing can be sent any more. It is dropped then, because only
        /// that tells whoever waits for it.
        driver: Option<Driver>,
    },
    Http2(Http2),
}

/// Bytes that the connection of an idle target keeps: what is read at once, and the longest head
/// of an answer.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// What moves bytes for the connection while it is polled.
type Driver = Pin<Box<Http1<Stream, Empty<Bytes>>>>;

// === impl Connection ===

impl Connection {
    pub(super) async fn over(stream: Stream, generation: Generation) -> hyper::Result<Connection> {
        let heard = stream.heard();
        let wire = if stream.is_http2() {
            Wire::Http2(Http2::over(stream).await?)
        } else {
            // As laxly as Go reads heads.
            let (sender, driver) = Builder::new()
                .max_buf_size(BUFFER_BYTES_MAX)
                .allow_spaces_after_header_name_in_responses(true)
                .allow_obsolete_multiline_headers_in_responses(true)
                .handshake(stream)
                .await?;
            Wire::Http1 { sender, driver: Some(Box::pin(driver)) }
        };
        Ok(Connection { wire, heard, used: false, generation })
    }

    /// Whether requests name the whole URL and no `Host`.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.wire, Wire::Http2(_))
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.heard.forget();
        match &mut self.wire {
            Wire::Http1 { sender, driver } => {
                drive(driver, async {
                    sender.ready().await?;
                    sender.send_request(request).await
                })
                .await
            }
            Wire::Http2(http2) => http2.send(request).await,
        }
    }

    /// Whether the request that failed so may be sent again over another connection: this one had
    /// been idle, and nothing of an answer has come.
    pub(super) fn may_resend(&self, error: &hyper::Error) -> bool {
        let is_silent = !self.heard.is_something();
        self.used && (is_silent || self.is_http2() && Http2::is_unheard(error))
    }

    /// Waits for `work`, which reads the answer's body.
    pub(super) async fn read<T>(&mut self, work: impl Future<Output = T>) -> T {
        match &mut self.wire {
            Wire::Http1 { driver, .. } => drive(driver, work).await,
            Wire::Http2(_) => work.await,
        }
    }

    /// Whether another request may be sent.
    pub(super) fn is_open(&self) -> bool {
        match &self.wire {
            Wire::Http1 { sender, driver } => driver.is_some() && !sender.is_closed(),
            Wire::Http2(http2) => http2.is_open(),
        }
    }
}

/// Lets the connection work while `work` waits for it. A failure of the connection reaches `work`.
async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        advance(driver, context);
        match work.as_mut().poll(context) {
            // What `work` has just asked of the connection is on its way before we wait; and if
            // that ended the connection, `work` hears of it.
            Poll::Pending => {
                advance(driver, context);
                if driver.is_none() { work.as_mut().poll(context) } else { Poll::Pending }
            }
            outcome => outcome,
        }
    })
    .await
}

fn advance(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
        *driver = None;
    }
}
