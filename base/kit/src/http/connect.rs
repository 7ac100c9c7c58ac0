//! Connections: TCP or a Unix socket, through a proxy if there is one, TLS on top if asked for.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::proxy::{Proxies, Proxy};
use super::tls::Protocols;
use super::tunnel::{self, TunnelError};

/// A TLS handshake may take this long, as in Prometheus.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Why there is no connection. Worded as Go's `net` does.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers at the address.
    #[error("dial tcp {host}:{port}")]
    Tcp {
        /// Name or address.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers at the socket.
    #[error("dial unix {}", path.display())]
    Unix {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server is not whom we trust, or does not speak TLS.
    #[error("tls")]
    Tls(#[source] io::Error),
    /// The server does not answer the handshake.
    #[error("net/http: TLS handshake timeout")]
    HandshakeTimeout,
    /// The name to be verified is not one.
    #[error("{0:?} is not a server name")]
    ServerName(String),
    /// The proxy does not let us through.
    #[error("proxy")]
    Proxy(#[source] TunnelError),
    /// A proxy of a kind that we do not know.
    #[error("unknown proxy scheme {0:?}")]
    ProxyScheme(String),
}

/// A connection, ready for HTTP.
pub struct Stream {
    io: TokioIo<Hearing>,
    http2: bool,
    /// Requests must name the whole URL, because a proxy reads them.
    proxied: bool,
}

/// Whether a connection has brought anything. Who sends a request forgets what was heard before;
/// a request to which part of an answer came must not be sent again.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<AtomicBool>);

/// Notes when something comes in.
struct Hearing {
    io: Box<dyn Io>,
    heard: Heard,
}

/// What HTTP runs over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where connections of a client lead.
pub(super) struct Endpoints {
    pub(super) proxies: Proxies,
    /// Where all connections go, if set.
    pub(super) socket: Option<PathBuf>,
    /// Set if the addresses of a name take turns.
    pub(super) turn: Option<Turn>,
}

/// Whose turn it is of the addresses of a name.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicUsize);

/// Makes the connections of a pool.
#[derive(Clone)]
pub(super) struct Connector {
    endpoints: Arc<Endpoints>,
    tls: Option<Protocols>,
}

// === impl Endpoints ===

impl Endpoints {
    pub(super) fn proxy_of(&self, uri: &Uri) -> Option<&Proxy> {
        if self.socket.is_some() { None } else { self.proxies.of(uri) }
    }
}

// === impl Turn ===

impl Turn {
    /// The addresses in the order in which they are tried this time: each time another one first.
    fn order(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        addresses.sort_unstable(); // a server may shuffle them
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(first);
        addresses
    }
}

// === impl Connector ===

impl Connector {
    pub(super) fn new(endpoints: Arc<Endpoints>, tls: Option<Protocols>) -> Connector {
        Connector { endpoints, tls }
    }

    async fn open(self, uri: Uri) -> Result<Stream, ConnectError> {
        let Connector { endpoints, tls } = self;
        let secure = uri.scheme_str() == Some("https");
        match endpoints.proxy_of(&uri) {
            None => {
                let Endpoints { socket, turn, .. } = &*endpoints;
                open_direct(&uri, socket.as_deref(), turn.as_ref(), tls.filter(|_| secure)).await
            }
            Some(proxy) => open_proxied(&uri, proxy, tls, secure).await,
        }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().open(uri))
    }
}

/// Connects to the host of `uri`, or to `socket`.
pub(super) async fn open_direct(
    uri: &Uri,
    socket: Option<&Path>,
    turn: Option<&Turn>,
    tls: Option<Protocols>,
) -> Result<Stream, ConnectError> {
    let io: Box<dyn Io> = match socket {
        Some(path) => Box::new(
            UnixStream::connect(path)
                .await
                .map_err(|source| ConnectError::Unix { path: path.to_owned(), source })?,
        ),
        None => dial(host_of(uri), port_of(uri), turn).await?,
    };
    match tls {
        None => Ok(Stream::plain(io)),
        Some(tls) => Ok(handshake(io, &tls, host_of(uri)).await?),
    }
}

async fn open_proxied(
    uri: &Uri,
    proxy: &Proxy,
    tls: Option<Protocols>,
    secure: bool,
) -> Result<Stream, ConnectError> {
    let scheme = proxy.url.scheme();
    let host = proxy.url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let default = if scheme.starts_with("socks") { 1080 } else { 80 };
    let port = proxy.url.port_or_known_default().unwrap_or(default);
    let mut io = dial(host, port, None).await?;
    match scheme {
        "http" | "https" => {
            if scheme == "https" {
                let Some(tls) = &tls else { return Err(ConnectError::ProxyScheme(scheme.into())) };
                let to_proxy = Protocols { server_name: None, ..tls.clone() };
                io = handshake(io, &to_proxy, host).await?.into_io();
            }
            if !secure {
                return Ok(Stream { proxied: true, ..Stream::plain(io) });
            }
            let mut headers = proxy.connect_headers();
            let authorization = proxy.authorization();
            headers.extend(authorization.map(|value| (http::header::PROXY_AUTHORIZATION, value)));
            tunnel::connect(&mut io, host_of(uri), port_of(uri), &headers)
                .await
                .map_err(ConnectError::Proxy)?;
        }
        "socks5" | "socks5h" => {
            tunnel::socks5(&mut io, host_of(uri), port_of(uri), proxy.user())
                .await
                .map_err(ConnectError::Proxy)?;
        }
        other => return Err(ConnectError::ProxyScheme(other.to_owned())),
    }
    match tls {
        Some(tls) if secure => handshake(io, &tls, host_of(uri)).await,
        _ => Ok(Stream::plain(io)),
    }
}

async fn dial(host: &str, port: u16, turn: Option<&Turn>) -> Result<Box<dyn Io>, ConnectError> {
    let failed = |source| ConnectError::Tcp { host: host.to_owned(), port, source };
    let stream = match turn {
        None => TcpStream::connect((host, port)).await,
        Some(turn) => match tokio::net::lookup_host((host, port)).await {
            Ok(found) => TcpStream::connect(&*turn.order(found.collect())).await,
            Err(error) => Err(error),
        },
    };
    let stream = stream.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(Box::new(stream))
}

async fn handshake(io: Box<dyn Io>, tls: &Protocols, host: &str) -> Result<Stream, ConnectError> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    let server_name = ServerName::try_from(name.to_owned());
    let server_name = server_name.map_err(|_| ConnectError::ServerName(name.to_owned()))?;
    let connecting = TlsConnector::from(Arc::clone(&tls.config)).connect(server_name, io);
    let connected = tokio::time::timeout(HANDSHAKE_MAX, connecting).await;
    let stream =
        connected.map_err(|_| ConnectError::HandshakeTimeout)?.map_err(ConnectError::Tls)?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Stream { http2, ..Stream::plain(Box::new(stream)) })
}

/// The host without the brackets of an IPv6 address.
fn host_of(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// The port, or the scheme's.
pub(super) fn port_of(uri: &Uri) -> u16 {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    uri.port_u16().unwrap_or(default)
}

// === impl Stream ===

impl Stream {
    fn plain(io: Box<dyn Io>) -> Stream {
        let io = TokioIo::new(Hearing { io, heard: Heard::default() });
        Stream { io, http2: false, proxied: false }
    }

    fn into_io(self) -> Box<dyn Io> {
        self.io.into_inner().io
    }

    /// Whether both sides agreed on HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.http2
    }

    /// Tells whether anything has come in, even when the stream itself is out of reach.
    pub fn heard(&self) -> Heard {
        self.io.inner().heard.clone()
    }
}

// === impl Heard ===

impl Heard {
    /// Forgets what came in so far.
    pub fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether anything has come in since.
    pub fn is_something(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Hearing ===

impl AsyncRead for Hearing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.0.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl AsyncWrite for Hearing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.proxied);
        if self.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_turns() {
        let turn = Turn::default();
        let first_of = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            turn.order(addresses).first().map(ToString::to_string)
        };
        let two = ["10.0.0.2:1", "10.0.0.1:1"];
        assert_eq!(first_of(&two).as_deref(), Some("10.0.0.1:1"));
        assert_eq!(first_of(&two).as_deref(), Some("10.0.0.2:1"));
        assert_eq!(first_of(&two).as_deref(), Some("10.0.0.1:1"));
        assert_eq!(first_of(&[]), None);
    }
}
