//! Real servers that destinations send to, on loopback: each ends with its handle.

use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;
use testkit::{DEADLINE, Process, free_address, wait_until};
use tokio::process::Command;

/// Debian's nats-server with JetStream, and one stream.
pub(super) struct Nats {
    pub(super) url: String,
    pub(super) stream: async_nats::jetstream::stream::Stream,
    _process: Process,
    _folder: TempDir,
}

/// Debian's redis-server, on a socket.
pub(super) struct Redis {
    pub(super) url: String,
    pub(super) client: redis::Client,
    _process: Process,
    _folder: TempDir,
}

/// Tansu, a broker that speaks Kafka's protocol, with a topic `samples` of one partition.
pub(super) struct Kafka {
    pub(super) address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

// === impl Kafka ===

impl Kafka {
    pub(super) async fn start() -> Kafka {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let (tansu, url) = (crate::tool("tansu"), format!("tcp://{address}"));
        let mut command = Command::new(&tansu);
        command.args(["broker", "--storage-engine", "memory://tansu/", "--listener-url", &url]);
        command.args(["--advertised-listener-url", &url]);
        let process = Process::start("tansu", command, &folder.path().join("log"));
        wait_until("tansu makes a topic", DEADLINE, || async {
            let mut command = Command::new(&tansu);
            command.args(["topic", "create", "samples", "--partitions", "1", "--broker", &url]);
            let output = command.output().await.unwrap();
            if output.status.success() { Ok(()) } else { Err(process.log()) }
        })
        .await;
        Kafka { address, _process: process, _folder: folder }
    }
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

    async fn start_with(arguments: &[&str]) -> Nats {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("nats-server");
        command.args(["-js", "-a", "127.0.0.1", "-p", "-1"]).args(arguments);
        command.arg("--ports_file_dir").arg(folder.path());
        command.arg("-sd").arg(folder.path().join("streams"));
        let process = Process::start("nats-server", command, &folder.path().join("nats.log"));
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
        let options = async_nats::ConnectOptions::new();
        let options = options.user_and_password("u".to_owned(), "p@ss".to_owned());
        let client = options.connect(&url).await.unwrap();
        let config = async_nats::jetstream::stream::Config {
            name: "samples".to_owned(),
            subjects: vec!["metrics.>".to_owned()],
            ..Default::default()
        };
        let stream = async_nats::jetstream::new(client).create_stream(config).await.unwrap();
        Nats { url, stream, _process: process, _folder: folder }
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
        let of = |name: &str| folder.path().join(name);
        let mut params = rcgen::CertificateParams::new(vec!["authority".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(of("cert.pem"), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        std::fs::write(of("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(of("authority.pem"), authority.pem()).unwrap();
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
