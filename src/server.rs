//! The HTTP server: listeners, connections and their limits. What is asked is the router's.
//!
//! HTTP/1 and HTTP/2 on the same ports. A connection beyond the limit waits to be accepted, as
//! with Prometheus' `--web.max-connections`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::future::RouteFuture;
use http::{Method, Request, Version};
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use kit::{Chain, Outlet, Shutdown, Stopper};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::Service as _;
use tracing::{debug, warn};

mod metrics;
mod opening;
mod patience;

pub(crate) use metrics::ServerMetrics;
use opening::Opening;
use patience::Impatient;

use crate::web_config::{self, WebConfig};

/// How long to wait after an accept that failed, so that a lack of file descriptors does not
/// become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two pings of an HTTP/2 connection; one that answers none is closed.
const PING_INTERVAL: Duration = Duration::from_secs(60);

/// Time for a TLS handshake, as with Go's server.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a write may wait for a peer that reads nothing. A listener that is merely slow makes
/// some progress in that time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What connections may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at a time, over all listeners.
    pub(crate) connections_max: usize,
    /// Time for a request's head to arrive; an idle connection lives as long.
    pub(crate) read_timeout: Duration,
}

/// Listeners that accept nothing yet.
pub(crate) struct Bound {
    listeners: Vec<TcpListener>,
}

/// A server at work. Stops accepting when dropped.
pub(crate) struct Server {
    connections: Arc<Connections>,
    listeners: JoinSet<()>,
    stopper: Stopper,
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}")]
pub(crate) struct BindError {
    address: String,
    source: io::Error,
}

/// What all connections share.
struct Connections {
    router: Router,
    limits: Limits,
    room: Arc<Semaphore>,
    graceful: GracefulShutdown,
    metrics: ServerMetrics,
    web_config: Option<Arc<WebConfig>>,
}

/// What answers the requests of one connection.
struct Answers {
    router: Router,
    /// Given to those who answer, if they may write to it themselves.
    outlet: Option<Arc<Outlet>>,
}

// === impl Bound ===

impl Bound {
    /// Listens on each of `addresses`: `host:port`, or `:port` for every address of the machine.
    ///
    /// # Errors
    /// One is taken, or is not an address.
    pub(crate) async fn to(addresses: &[String]) -> Result<Bound, BindError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let bound = match address.strip_prefix(':') {
                None => TcpListener::bind(address).await,
                Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
                    // A machine without IPv6.
                    Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
                    bound => bound,
                },
            };
            let failed = |source| BindError { address: address.clone(), source };
            listeners.push(bound.map_err(failed)?);
        }
        Ok(Bound { listeners })
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Starts to accept, on the current runtime. With TLS and passwords as `web_config` says.
    pub(crate) fn serve(
        self,
        router: Router,
        limits: Limits,
        metrics: ServerMetrics,
        web_config: Option<Arc<WebConfig>>,
    ) -> Server {
        let router = match &web_config {
            None => router,
            Some(config) => router
                .layer(axum::middleware::from_fn_with_state(Arc::clone(config), web_config::guard)),
        };
        let (stopper, stop) = Stopper::new();
        let connections = Arc::new(Connections {
            router,
            limits,
            room: Arc::new(Semaphore::new(limits.connections_max)),
            graceful: GracefulShutdown::new(),
            metrics,
            web_config,
        });
        let mut listeners = JoinSet::new();
        for listener in self.listeners {
            listeners.spawn(Arc::clone(&connections).accept(listener, stop.clone()));
        }
        Server { connections, listeners, stopper }
    }
}

// === impl Server ===

impl Server {
    /// Accepts no more, lets the requests under way end, and cuts those that take longer than
    /// `patience`.
    pub(crate) async fn stop(mut self, patience: Duration) {
        self.stopper.stop();
        while self.listeners.join_next().await.is_some() {}
        let Some(connections) = Arc::into_inner(self.connections) else {
            return;
        };
        if tokio::time::timeout(patience, connections.graceful.shutdown()).await.is_err() {
            warn!("connections cut that did not end in time");
        }
    }
}

// === impl Connections ===

impl Connections {
    async fn accept(self: Arc<Self>, listener: TcpListener, stop: Shutdown) {
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                () = stop.requested() => return,
                accepted = self.accept_one(&listener) => accepted,
            };
            match accepted {
                Ok((stream, room)) => {
                    failing = false;
                    self.start(stream, room);
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(error = %Chain(&error), "accept failed, trying again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection, once there is room for one.
    async fn accept_one(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => {
                self.metrics.full.inc();
                let room = Arc::clone(&self.room).acquire_owned().await;
                room.expect("nobody closes the semaphore")
            }
        };
        let (stream, _) = listener.accept().await?;
        Ok((stream, room))
    }

    fn start(&self, stream: TcpStream, room: OwnedSemaphorePermit) {
        // An event must leave at once, not with the next one.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(error = %Chain(&error), "set TCP_NODELAY failed");
        }
        self.metrics.accepted.inc();
        let (closed, cut) = (self.metrics.closed.clone(), self.metrics.cut.clone());
        let (outlet, plug) = Outlet::split(stream);
        let stream = Impatient::new(plug, WRITE_TIMEOUT, cut);
        let (router, limits, watcher) = (self.router.clone(), self.limits, self.graceful.watcher());
        let tls = self.web_config.as_ref().and_then(|config| config.tls());
        tokio::spawn(async move {
            match tls {
                None => converse(router, limits, watcher, stream, Some(outlet)).await,
                Some(tls) => {
                    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
                    match handshake.await {
                        // What goes out is not what answers are made of.
                        Ok(Ok(stream)) => converse(router, limits, watcher, stream, None).await,
                        Ok(Err(error)) => debug!(error = %Chain(&error), "TLS handshake failed"),
                        Err(_) => debug!("TLS handshake took too long"),
                    }
                }
            }
            closed.inc();
            drop(room);
        });
    }
}

async fn converse<S>(
    router: Router,
    limits: Limits,
    watcher: Watcher,
    stream: S,
    outlet: Option<Arc<Outlet>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.read_timeout);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL);
    let service = Answers { router, outlet };
    let stream = TokioIo::new(Opening::new(stream, limits.read_timeout));
    let connection = builder.serve_connection(stream, service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        debug!(error = %Chain(error.as_ref()), "connection ended");
    }
}

// === impl Answers ===

impl HyperService<Request<Incoming>> for Answers {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        // Only there is a body that never ends a sequence of chunks on a connection of its own.
        let is_chunked = request.version() == Version::HTTP_11 && request.method() == Method::GET;
        if let Some(outlet) = self.outlet.as_ref().filter(|_| is_chunked) {
            request.extensions_mut().insert(Arc::clone(outlet));
        }
        self.router.clone().call(request)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMITS: Limits = Limits { connections_max: 1, read_timeout: Duration::from_secs(60) };

    async fn ask(stream: &mut TcpStream) -> String {
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = vec![0; 1024];
        let read = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    async fn served() -> (Server, SocketAddr, ServerMetrics) {
        let bound = Bound::to(&["127.0.0.1:0".to_owned()]).await.unwrap();
        let address = bound.addresses()[0];
        let metrics = ServerMetrics::register(&kit::metrics::SelfMetrics::new());
        let router = Router::new().route("/", get(async || "hello"));
        (bound.serve(router, LIMITS, metrics.clone(), None), address, metrics)
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_waits_for_its_turn() {
        let (server, address, metrics) = served().await;
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut first).await.ends_with("hello"));
        let mut second = TcpStream::connect(address).await.unwrap();
        let answer = tokio::spawn(async move { ask(&mut second).await });
        while metrics.full.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!answer.is_finished());
        drop(first);
        assert!(answer.await.unwrap().ends_with("hello"));
        server.stop(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn a_stopped_server_closes_idle_connections() {
        let (server, address, _) = served().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        ask(&mut idle).await;
        server.stop(Duration::from_secs(60)).await;
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let (_server, address, _) = served().await;
        let error = Bound::to(&[address.to_string()]).await.err().unwrap();
        assert_eq!(error.to_string(), format!("listen on {address}"));
    }
}
