//! Real servers that destinations send to, on loopback: each ends with its handle.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use testkit::{DEADLINE, Process, free_address, wait_until};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// Debian's nats-server with JetStream, and one stream.
pub(super) struct Nats {
    pub(super) url: String,
    pub(super) stream: async_nats::jetstream::stream::Stream,
    process: Process,
    folder: TempDir,
}

/// Debian's redis-server, on a socket.
pub(super) struct Redis {
    pub(super) url: String,
    pub(super) client: redis::Client,
    _process: Process,
    _folder: TempDir,
}

/// Puts a certificate for `localhost`, its key and its authority there: `cert.pem`, `key.pem`,
/// `authority.pem`.
pub(super) fn write_identity(folder: &Path) {
    let mut params = rcgen::CertificateParams::new(vec!["authority".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate that has its authority's name for one that signed itself.
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
}

/// Takes TLS off what comes, and hands it on, until the test ends.
pub(super) fn start_tls_front(listener: TcpListener, folder: &Path, to: SocketAddr) {
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut inner = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut acceptor.accept(stream).await?, &mut inner).await
            });
        }
    });
}

// === impl Nats ===

impl Nats {
    /// A server on a port of its choice, whose stream takes `metrics.>`.
    pub(super) async fn start() -> Nats {
        Nats::start_with(&[]).await
    }

    /// One that lets in nobody but user `u` with the password `p@ss`.
    pub(super) async fn guarded() -> Nats {
        let mut nats = Nats::start_with(&["--user", "u", "--pass", "p@ss"]).await;
        nats.url = nats.url.replace("nats://", "nats://u:p%40ss@");
        nats
    }

    /// One that speaks TLS alone, and the authority to trust.
    pub(super) async fn secure() -> (Nats, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        write_identity(folder.path());
        let of = |name: &str| folder.path().join(name).display().to_string();
        let authority = folder.path().join("authority.pem");
        let (certificate, key) = (of("cert.pem"), of("key.pem"));
        let arguments = ["--tls", "--tlscert", &certificate, "--tlskey", &key];
        let options = async_nats::ConnectOptions::new().add_root_certificates(authority.clone());
        (Nats::start_in(folder, &arguments, options).await, authority)
    }

    async fn start_with(arguments: &[&str]) -> Nats {
        let folder = tempfile::tempdir().unwrap();
        Nats::start_in(folder, arguments, async_nats::ConnectOptions::new()).await
    }

    async fn start_in(
        folder: TempDir,
        arguments: &[&str],
        options: async_nats::ConnectOptions,
    ) -> Nats {
        let process = Nats::server(folder.path(), "-1", arguments);
        let ports = folder.path().join(format!("nats-server_{}.ports", process.id()));
        let url = wait_until("nats-server says where it listens", DEADLINE, || async {
            let ports: serde_json::Value = std::fs::read(&ports)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok())
                .ok_or_else(|| process.log())?;
            let url = ports["nats"][0].as_str();
            url.map(str::to_owned).ok_or_else(|| ports.to_string())
        })
        .await;
        let url = url.replace("127.0.0.1", "localhost"); // its certificate's name, if it has one
        let options = options.user_and_password("u".to_owned(), "p@ss".to_owned());
        let client = options.connect(&url).await.unwrap();
        let config = async_nats::jetstream::stream::Config {
            name: "samples".to_owned(),
            subjects: vec!["metrics.>".to_owned()],
            ..Default::default()
        };
        let stream = async_nats::jetstream::new(client).create_stream(config).await.unwrap();
        Nats { url, stream, process, folder }
    }

    fn server(folder: &Path, port: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new("nats-server");
        command.args(["-js", "-a", "127.0.0.1", "-p", port]).args(arguments);
        command.arg("--ports_file_dir").arg(folder).arg("-sd").arg(folder.join("streams"));
        Process::start("nats-server", command, &folder.join("nats.log"))
    }

    /// It is gone at once.
    pub(super) async fn kill(&mut self) {
        self.process.signal("KILL").await;
        self.process.exit(DEADLINE).await;
    }

    /// It is there again where it was, with what it had.
    pub(super) fn come_back(&mut self) {
        let port = self.url.rsplit(':').next().unwrap().to_owned();
        self.process = Nats::server(self.folder.path(), &port, &[]);
    }

    /// The payload of every message in the stream, in order.
    pub(super) async fn messages(&self) -> Vec<u8> {
        let mut payloads = Vec::new();
        let state = self.stream.get_info().await.unwrap().state;
        for sequence in state.first_sequence..=state.last_sequence {
            payloads
                .extend_from_slice(&self.stream.get_raw_message(sequence).await.unwrap().payload);
        }
        payloads
    }
}

// === impl Redis ===

impl Redis {
    pub(super) async fn start() -> Redis {
        Redis::start_in(tempfile::tempdir().unwrap(), &[]).await
    }

    /// One that speaks TLS beside that: its URL, and the authority to trust.
    pub(super) async fn secure() -> (Redis, String, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        write_identity(folder.path());
        let of = |name: &str| folder.path().join(name);
        let port = free_address().port();
        let text = |path: PathBuf| path.display().to_string();
        let arguments = [
            "--tls-port".to_owned(),
            port.to_string(),
            "--tls-auth-clients".to_owned(),
            "no".to_owned(),
            "--tls-cert-file".to_owned(),
            text(of("cert.pem")),
            "--tls-key-file".to_owned(),
            text(of("key.pem")),
            "--tls-ca-cert-file".to_owned(),
            text(of("authority.pem")),
        ];
        let authority = of("authority.pem");
        let redis = Redis::start_in(folder, &arguments).await;
        (redis, format!("rediss://localhost:{port}/"), authority)
    }

    async fn start_in(folder: TempDir, arguments: &[String]) -> Redis {
        let socket: PathBuf = folder.path().join("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--enable-debug-command", "local"]);
        command.arg("--unixsocket").arg(&socket).args(arguments);
        command.arg("--dir").arg(folder.path());
        let process = Process::start("redis-server", command, &folder.path().join("redis.log"));
        wait_until("redis-server listens", DEADLINE, || async {
            if socket.exists() { Ok(()) } else { Err(process.log()) }
        })
        .await;
        let url = format!("redis+unix://{}", socket.display());
        let client = redis::Client::open(url.as_str()).unwrap();
        Redis { url, client, _process: process, _folder: folder }
    }

    /// The field `sample` of every entry of a stream, a line each.
    pub(super) async fn entries(&self, stream: &str) -> Vec<u8> {
        let mut connection = self.client.get_multiplexed_async_connection().await.unwrap();
        let range: Vec<(String, Vec<(String, String)>)> = redis::cmd("XRANGE")
            .arg(stream)
            .arg("-")
            .arg("+")
            .query_async(&mut connection)
            .await
            .unwrap();
        let mut lines = Vec::new();
        for (_, fields) in range {
            assert_eq!(fields.len(), 1);
            assert_eq!(fields[0].0, "sample");
            lines.extend_from_slice(fields[0].1.as_bytes());
            lines.push(b'\n');
        }
        lines
    }
}
