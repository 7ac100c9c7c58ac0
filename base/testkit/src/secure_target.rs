//! A fake target behind TLS that speaks HTTP/2 or HTTP/1.1, as both sides agree, and remembers how
//! it was asked.
//!
//! Well behaved: a real HTTP stack serves it. What a test wants broken is `FakeTarget`'s matter.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A server of one page on a loopback port. Stops when dropped.
#[derive(Debug)]
pub struct SecureTarget {
    address: SocketAddr,
    certificate: String,
    state: Arc<State>,
    goodbye: watch::Sender<usize>,
    _stops_when_dropped: DropGuard,
}

/// How one request came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The protocol.
    pub version: Version,
    /// The URL or path, as the request named it.
    pub target: String,
    /// The header `Host`, if there was one.
    pub host: Option<String>,
    /// The number of the connection that it came over, from 0.
    pub connection: usize,
}

#[derive(Debug, Default)]
struct State {
    n_connections: AtomicUsize,
    // A lock, since the server's connections and the test both look; never held while waiting.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    page: Bytes,
    /// The page is served without an end.
    endless: bool,
    asked: Vec<Asked>,
}

type Body = BoxBody<Bytes, Infallible>;

// === impl SecureTarget ===

impl SecureTarget {
    /// Serves `page` over these protocols, by their names in TLS: `h2`, `http/1.1`.
    pub async fn serving(page: &str, protocols: &[&str]) -> SecureTarget {
        let (certificate, acceptor) = identity(protocols);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
        let address = listener.local_addr().expect("a listener has an address");
        let (stop, (goodbye, _)) = (CancellationToken::new(), watch::channel(0));
        let state = Arc::new(State::default());
        state.lock().page = Bytes::from(page.to_owned());
        let connections = accept(listener, acceptor, Arc::clone(&state), goodbye.clone());
        let until = stop.clone();
        tokio::spawn(async move { until.run_until_cancelled(connections).await });
        SecureTarget {
            address,
            certificate,
            state,
            goodbye,
            _stops_when_dropped: stop.drop_guard(),
        }
    }

    /// `127.0.0.1:port`, as in `targets`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The certificate that it shows, which signs itself, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Serves this page from the next request on.
    pub fn serve(&self, page: &str) {
        let mut inner = self.state.lock();
        (inner.page, inner.endless) = (Bytes::from(page.to_owned()), false);
    }

    /// Serves this page from the next request on, and then nothing, and no end.
    pub fn serve_without_end(&self, page: &str) {
        self.serve(page);
        self.state.lock().endless = true;
    }

    /// Ends the connections there are, politely: what was asked is answered.
    pub fn say_goodbye(&self) {
        self.goodbye.send_modify(|nth| *nth += 1);
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().asked.clone()
    }
}

/// A certificate for loopback, and what shows it.
fn identity(protocols: &[&str]) -> (String, TlsAcceptor) {
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("sign");
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions are those of the library")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("key and certificate fit");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (signed.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    state: Arc<State>,
    goodbye: watch::Sender<usize>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let number = state.n_connections.fetch_add(1, Ordering::Relaxed);
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        connections.spawn(serve(socket, acceptor, state, number, goodbye.subscribe()));
    }
}

async fn serve(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    state: Arc<State>,
    number: usize,
    mut goodbye: watch::Receiver<usize>,
) {
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = state.answer(&request, number);
        async move { Ok::<_, Infallible>(response) }
    });
    let builder = Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), answer));
    goodbye.mark_unchanged();
    let is_told = tokio::select! {
        _ = connection.as_mut() => false,
        told = goodbye.changed() => told.is_ok(),
    };
    if is_told {
        connection.as_mut().graceful_shutdown();
        connection.await.ok();
    }
}

// === impl State ===

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request<Incoming>, connection: usize) -> Response<Body> {
        let host = request.headers().get("host").and_then(|host| host.to_str().ok());
        let asked = Asked {
            version: request.version(),
            target: request.uri().to_string(),
            host: host.map(str::to_owned),
            connection,
        };
        let mut inner = self.lock();
        inner.asked.push(asked);
        let page = inner.page.clone();
        let body = if inner.endless {
            let first = futures::stream::iter([Ok(Frame::data(page))]);
            let endless = futures::StreamExt::chain(first, futures::stream::pending());
            BodyExt::boxed(StreamBody::new(endless))
        } else {
            Full::new(page).boxed()
        };
        let mut response = Response::new(body);
        let text = http::HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert("content-type", text);
        response
    }
}
