//! Servers on loopback that answer as a test says, and proxies.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// A request whose body has arrived.
pub(super) type Got = Request<Bytes>;

/// What a server answers.
pub(super) struct Answer {
    status: u16,
    location: Option<String>,
    body: String,
}

/// A certificate for one name, signed by itself, and its key.
pub(super) struct Identity {
    pub(super) cert_pem: String,
    pub(super) key_pem: String,
}

/// Runs until it is dropped.
pub(super) struct Server {
    address: Option<SocketAddr>,
    scheme: &'static str,
    task: AbortHandle,
}

/// Method, target, headers of interest and body, on one line.
pub(super) fn show(request: &Got) -> String {
    let mut headers: Vec<String> = request
        .headers()
        .iter()
        .filter(|(name, _)| !["host", "content-length", "content-type"].contains(&name.as_str()))
        .map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    headers.sort();
    let body = match request.body().is_empty() {
        true => String::new(),
        false => format!(" body={}", String::from_utf8_lossy(request.body())),
    };
    format!("{} {}{body}{}", request.method(), request.uri(), headers.concat())
}

/// 1, 2, 3, …
pub(super) fn count() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::SeqCst) + 1
}

// === impl Answer ===

impl Answer {
    pub(super) fn ok(body: &str) -> Answer {
        Answer::status(200, body)
    }

    pub(super) fn status(status: u16, body: &str) -> Answer {
        Answer { status, location: None, body: body.to_owned() }
    }

    pub(super) fn redirect(status: u16, location: &str) -> Answer {
        Answer { location: Some(location.to_owned()), ..Answer::status(status, "") }
    }
}

// === impl Identity ===

impl Identity {
    /// Marked as an authority's, as `openssl req -x509` does.
    pub(super) fn new(name: &str) -> Identity {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Identity { cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let chain = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

// === impl Server ===

impl Server {
    pub(super) async fn start<F>(answer: F) -> Server
    where
        F: Fn(&Got) -> Answer + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        Server::accepting("http", move |stream| serve(stream, Arc::clone(&answer))).await
    }

    pub(super) async fn start_tls<F>(identity: &Identity, answer: F) -> Server
    where
        F: Fn(&Got) -> Answer + Send + Sync + 'static,
    {
        let (acceptor, answer) = (identity.acceptor(), Arc::new(answer));
        Server::accepting("https", move |stream| {
            let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, answer).await;
                }
            }
        })
        .await
    }

    pub(super) async fn start_unix<F>(path: &Path, answer: F) -> Server
    where
        F: Fn(&Got) -> Answer + Send + Sync + 'static,
    {
        let listener = UnixListener::bind(path).unwrap();
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer)));
            }
        });
        Server { address: None, scheme: "http", task: task.abort_handle() }
    }

    async fn accepting<H, F>(scheme: &'static str, handle: H) -> Server
    where
        H: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(handle(stream));
            }
        });
        Server { address: Some(address), scheme, task: task.abort_handle() }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address())
    }

    /// The same server under another name.
    pub(super) fn url_at(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.address().port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S, F>(stream: S, answer: Arc<F>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(&Got) -> Answer + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = Arc::clone(&answer);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let Answer { status, location, body } = answer(&Request::from_parts(head, body));
            let mut response = Response::builder().status(status);
            if let Some(location) = location {
                response = response.header("location", location);
            }
            Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// A proxy that lets `CONNECT` requests through which start with `start` and have `header`.
pub(super) async fn tunnel(start: &'static str, header: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    stream.read_line(&mut head).await.unwrap();
                }
                assert!(head.starts_with(start) && head.contains(header), "{head}");
                let target = head.split(' ').nth(1).unwrap().to_owned();
                let mut out = TcpStream::connect(target).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut out).await;
            });
        }
    });
    address
}

/// A SOCKS 5 proxy that knows one user and takes names.
pub(super) async fn socks5(username: &'static str, password: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut methods = [0; 4];
                stream.read_exact(&mut methods).await.unwrap();
                assert_eq!(methods, [5, 2, 0, 2]);
                stream.write_all(&[5, 2]).await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), 1);
                let user = text(&mut stream).await;
                let known = user == username && text(&mut stream).await == password;
                stream.write_all(&[1, u8::from(!known)]).await.unwrap();
                if !known {
                    return;
                }
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.unwrap();
                assert_eq!(request, [5, 1, 0, 3]);
                let host = text(&mut stream).await;
                let port = stream.read_u16().await.unwrap();
                let mut out = TcpStream::connect((host, port)).await.unwrap();
                stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut out).await;
            });
        }
    });
    address
}

async fn text(stream: &mut TcpStream) -> String {
    let length = stream.read_u8().await.unwrap();
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}
