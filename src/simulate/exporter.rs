//! Shows a host's page over HTTP, as long as the host is alive.
//!
//! A dead host refuses connections: its listener is closed and its connections are cut.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kit::{Backoff, Chain, Shutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::fleet::Fleet;
use super::host::Host;

/// Connections that one exporter keeps; further ones wait in the backlog.
const CONNECTIONS_MAX: usize = 64;
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves one host until `stop`. Starts on `listener`, binds again after each death.
pub(super) async fn serve(
    fleet: Arc<Fleet>,
    host: Arc<Host>,
    listener: TcpListener,
    stop: Shutdown,
) {
    let mut alive = host.alive.subscribe();
    let mut listener = Some(listener);
    loop {
        let alive_until = async {
            let _ = alive.wait_for(|alive| !alive).await;
        };
        tokio::select! {
            () = stop.requested() => return,
            () = accept(&fleet, &host, listener.take()) => {}
            () = alive_until => {}
        }
        tokio::select! {
            () = stop.requested() => return,
            _ = alive.wait_for(|alive| *alive) => {}
        }
    }
}

/// Accepts connections for ever. Dropped when the host dies, with all its connections.
async fn accept(fleet: &Arc<Fleet>, host: &Arc<Host>, listener: Option<TcpListener>) {
    let listener = match listener {
        Some(listener) => listener,
        None => bind_again(host.address).await,
    };
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(Arc::clone(fleet), Arc::clone(host), stream));
                }
                Err(error) => {
                    warn!(host = host.name, error = %Chain(&error), "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn bind_again(address: SocketAddr) -> TcpListener {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => warn!(%address, error = %Chain(&error), "bind failed"),
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

async fn converse(fleet: Arc<Fleet>, host: Arc<Host>, stream: TcpStream) {
    // Without it the second half of a page may wait for the client's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = %Chain(&error), "set TCP_NODELAY failed");
    }
    let service = service_fn(|request| {
        let response = respond(&fleet, &host, &request);
        async { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        debug!(host = host.name, error = %Chain(&error), "connection ended");
    }
}

fn respond(fleet: &Fleet, host: &Host, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
        *response.body_mut() = Full::from("the metrics are at /metrics\n");
        return response;
    }
    let gzip = accepts_gzip(request);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(TEXT_FORMAT));
    if gzip {
        headers.insert(CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
    }
    *response.body_mut() = Full::from(host.page(fleet.second(), gzip));
    response
}

fn accepts_gzip(request: &Request<Incoming>) -> bool {
    let accepted = request.headers().get_all(ACCEPT_ENCODING);
    accepted.iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|coding| coding.split(';').next().is_some_and(|c| c.trim() == "gzip"))
    })
}

/// Binds the listener of `host`.
pub(super) async fn bind(host: &Host) -> io::Result<TcpListener> {
    TcpListener::bind(host.address).await
}
