//! A small HTTP/1.1 server that can do what a well-behaved one cannot: tear, hang, lie.
//!
//! By hand on a TCP socket, since servers from crates repair what a test wants broken.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::reply::{Reply, Way, gunzip};

/// Bytes of a request head at most.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Headers, in the order sent, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Bytes,
}

/// Answers requests.
pub(crate) type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Reply> + Send + Sync>;

/// A listening server. Stops, with all its connections, when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    _stops_when_dropped: DropGuard,
}

// === impl Request ===

impl Request {
    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The body, without gzip if it says that it is packed so.
    pub fn plain_body(&self) -> Vec<u8> {
        match self.header("content-encoding") {
            Some("gzip") => gunzip(&self.body),
            _ => self.body.to_vec(),
        }
    }
}

// === impl Server ===

impl Server {
    /// Listens on a loopback port that the kernel chooses.
    pub(crate) async fn start(handler: Handler) -> Server {
        Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), handler).await
    }

    /// Listens on this address.
    pub(crate) async fn bind(address: SocketAddr, handler: Handler) -> Server {
        let listener = TcpListener::bind(address).await.expect("listen on loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, handler, stop.clone()));
        Server { address, _stops_when_dropped: stop.drop_guard() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, handler: Handler, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let handler = handler.clone();
                    // A connection that breaks is what many tests are about: nothing to report.
                    connections.spawn(async move { serve(stream, handler).await.ok() });
                }
            }
        }
    }
}

/// Answers one request after another until the connection ends.
async fn serve(mut stream: TcpStream, handler: Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let head_only = request.method == "HEAD";
        let reply = handler(request).await;
        tokio::time::sleep(reply.delay).await;
        if !write_reply(&mut stream, &reply, head_only).await? {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
) -> io::Result<Option<Request>> {
    let head_bytes = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("request head too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = buffer.split_to(head_bytes);
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        headers,
        body: Bytes::new(),
    };
    request.body = read_body(stream, buffer, &request).await?;
    Ok(Some(request))
}

async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    request: &Request,
) -> io::Result<Bytes> {
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if request.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        return read_chunks(stream, buffer).await;
    }
    let bytes = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    fill(stream, buffer, bytes).await?;
    Ok(buffer.split_to(bytes).freeze())
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let line_bytes = loop {
            if let Some(at) = find(buffer, b"\r\n") {
                break at + 2;
            }
            fill(stream, buffer, buffer.len() + 1).await?;
        };
        let line = buffer.split_to(line_bytes);
        let digits = String::from_utf8_lossy(&line);
        let digits = digits.trim().split(';').next().unwrap_or_default();
        let bytes = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
        fill(stream, buffer, bytes + 2).await?;
        body.extend_from_slice(&buffer.split_to(bytes));
        let _line_end = buffer.split_to(2);
        if bytes == 0 {
            return Ok(body.freeze());
        }
    }
}

/// Reads until `buffer` has at least `bytes`.
async fn fill(stream: &mut TcpStream, buffer: &mut BytesMut, bytes: usize) -> io::Result<()> {
    while buffer.len() < bytes {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Sends `reply`. `false` if the connection must close now.
async fn write_reply(stream: &mut TcpStream, reply: &Reply, head_only: bool) -> io::Result<bool> {
    let body = &reply.body;
    match reply.way {
        Way::Never => {
            // Holds the connection until the other side gives up.
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await? > 0 {}
            return Ok(false);
        }
        Way::Closed => return Ok(false),
        Way::Raw => {
            stream.write_all(body).await?;
            return Ok(false);
        }
        _ => {}
    }
    let mut out = head(reply);
    match reply.way {
        _ if head_only => stream.write_all(&out).await?,
        Way::Torn { after_bytes } => {
            out.extend_from_slice(&body[..after_bytes.min(body.len())]);
            stream.write_all(&out).await?;
            return Ok(false);
        }
        Way::UntilClosed => {
            out.extend_from_slice(body);
            stream.write_all(&out).await?;
            return Ok(false);
        }
        Way::Unfinished => {
            out.extend_from_slice(&chunk(body));
            stream.write_all(&out).await?;
            return Ok(false);
        }
        Way::Chunked { bytes, pause } => {
            stream.write_all(&out).await?;
            for part in body.chunks(bytes.max(1)) {
                stream.write_all(&chunk(part)).await?;
                tokio::time::sleep(pause).await;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
        _ => {
            out.extend_from_slice(body);
            stream.write_all(&out).await?;
        }
    }
    Ok(true)
}

fn head(reply: &Reply) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
    for (name, value) in &reply.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.way {
        Way::Chunked { .. } | Way::Unfinished => out.push_str("Transfer-Encoding: chunked\r\n"),
        Way::UntilClosed => out.push_str("Connection: close\r\n"),
        // These two never have a body, and must not say that they do.
        _ if reply.status == 204 || reply.status == 304 => {}
        _ => out.push_str(&format!("Content-Length: {}\r\n", reply.body.len())),
    }
    out.push_str("\r\n");
    out.into_bytes()
}

fn reason(status: u16) -> &'static str {
    let status = http::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or("Odd")
}

fn chunk(part: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", part.len()).into_bytes();
    out.extend_from_slice(part);
    out.extend_from_slice(b"\r\n");
    out
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
