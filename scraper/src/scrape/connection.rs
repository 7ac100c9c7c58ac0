//! The one connection of a target: kept from scrape to scrape, and driven by the target's own
//! task, so that an idle target costs neither a task nor a wake-up.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection as Http1, SendRequest};
use hyper::{Request, Response};
use kit::http::{Generation, Heard, Stream};

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// None when it has ended: nothing can be sent any more. It is dropped then, because only
    /// that tells whoever waits for it.
    driver: Option<Driver>,
    heard: Heard,
    /// At least one exchange went well.
    pub(super) used: bool,
    /// The certificates that it was opened with.
    pub(super) generation: Generation,
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
        let (sender, driver) =
            Builder::new().max_buf_size(BUFFER_BYTES_MAX).handshake(stream).await?;
        let driver = Some(Box::pin(driver));
        Ok(Connection { sender, driver, heard, used: false, generation })
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let Connection { sender, driver, heard, .. } = self;
        heard.forget();
        drive(driver, async {
            sender.ready().await?;
            sender.send_request(request).await
        })
        .await
    }

    /// Whether nothing of an answer to the last request has come.
    pub(super) fn is_silent(&self) -> bool {
        !self.heard.is_something()
    }

    /// Waits for `work`, which reads the answer's body.
    pub(super) async fn read<T>(&mut self, work: impl Future<Output = T>) -> T {
        drive(&mut self.driver, work).await
    }

    /// Whether another request may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.driver.is_some() && !self.sender.is_closed()
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
