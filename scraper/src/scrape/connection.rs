//! The one connection of a target: opened when needed, kept from scrape to scrape, and driven by
//! the target's own task, so that an idle target costs neither a task nor a wake-up.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection as Http1, SendRequest};
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

/// Where a target listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A host name or IP address, and a port.
    Tcp { host: Box<str>, port: u16 },
    /// The path of a socket.
    Unix { path: Box<str> },
}

/// Why there is no connection. Worded as Go's `net` does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("dial tcp {host}:{port}")]
    Tcp { host: Box<str>, port: u16, source: io::Error },
    #[error("dial unix {path}")]
    Unix { path: Box<str>, source: io::Error },
    #[error("open HTTP connection")]
    Handshake { source: hyper::Error },
}

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: Driver,
    /// The driver has ended: nothing can be sent any more.
    ended: bool,
    /// At least one exchange went well.
    pub(super) used: bool,
}

/// What moves bytes for the connection while it is polled.
type Driver = Pin<Box<Http1<Box<dyn Transport>, Empty<Bytes>>>>;

/// What HTTP runs over.
trait Transport: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Transport for T {}

// === impl Connection ===

impl Connection {
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Connection, DialError> {
        let transport: Box<dyn Transport> = match endpoint {
            Endpoint::Tcp { host, port } => {
                let dial = |source| DialError::Tcp { host: host.clone(), port: *port, source };
                let stream = TcpStream::connect((&**host, *port)).await.map_err(dial)?;
                stream.set_nodelay(true).map_err(dial)?;
                Box::new(TokioIo::new(stream))
            }
            Endpoint::Unix { path } => {
                let dial = |source| DialError::Unix { path: path.clone(), source };
                Box::new(TokioIo::new(UnixStream::connect(&**path).await.map_err(dial)?))
            }
        };
        let handshake = hyper::client::conn::http1::handshake(transport).await;
        let (sender, driver) = handshake.map_err(|source| DialError::Handshake { source })?;
        Ok(Connection { sender, driver: Box::pin(driver), ended: false, used: false })
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let Connection { sender, driver, ended, .. } = self;
        drive(driver, ended, async {
            sender.ready().await?;
            sender.send_request(request).await
        })
        .await
    }

    /// Waits for `work`, which reads the answer's body.
    pub(super) async fn read<T>(&mut self, work: impl Future<Output = T>) -> T {
        drive(&mut self.driver, &mut self.ended, work).await
    }

    /// Whether another request may be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.ended && !self.sender.is_closed()
    }
}

/// Lets the connection work while `work` waits for it. A failure of the connection reaches `work`.
async fn drive<T>(driver: &mut Driver, ended: &mut bool, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        if !*ended && driver.as_mut().poll(context).is_ready() {
            *ended = true;
        }
        match work.as_mut().poll(context) {
            // What `work` has just asked of the connection is on its way before we wait.
            Poll::Pending if !*ended => {
                *ended = driver.as_mut().poll(context).is_ready();
                if *ended { work.as_mut().poll(context) } else { Poll::Pending }
            }
            outcome => outcome,
        }
    })
    .await
}
