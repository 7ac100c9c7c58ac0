//! Brokers that speak Kafka's protocol, on loopback, each a process of its own; and what reads them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{DEADLINE, Process, free_address, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::super::servers::{start_tls_front, write_identity};

/// Tansu, a broker with a topic `samples` of one partition.
pub(super) struct Kafka {
    /// `host:port`.
    pub(super) address: String,
    /// What clients must be told beside that.
    pub(super) options: Options,
    _process: Process,
    _folder: TempDir,
}

/// The cluster of two brokers that kcat's library simulates, which have topics as clients ask for
/// them: each partition on both.
pub(super) struct Cluster {
    /// `host:port,host:port`.
    pub(super) addresses: String,
    _process: Process,
    _folder: TempDir,
}

/// What a client of Kafka is told about its brokers.
pub(super) type Options = Vec<(&'static str, String)>;

/// A message whose key and payload are JSON.
#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) key: Value,
    #[serde(rename = "value")]
    pub(super) line: Value,
}

/// A message as kcat prints it.
#[derive(Deserialize)]
struct Raw {
    key: String,
    payload: String,
}

/// Tells a front when to refuse.
#[derive(Clone, Default)]
pub(super) struct Refusal {
    due: CancellationToken,
    done: Arc<AtomicBool>,
}

/// Debian's kcat, with Debian's librdkafka: cargo's path leads to the one that we build.
fn kcat() -> Command {
    let mut command = Command::new("kcat");
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// What a program prints until it ends.
async fn printed(command: &mut Command) -> Vec<u8> {
    let output = tokio::time::timeout(DEADLINE, command.kill_on_drop(true).output()).await;
    let output = output.expect("a reader ends").expect("a reader starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

// === impl Kafka ===

impl Kafka {
    pub(super) async fn start() -> Kafka {
        let address = free_address();
        Kafka::start_at(address, &address.to_string()).await
    }

    /// One behind TLS that lets in nobody but user `u` with the password `p@ss`, by SCRAM.
    pub(super) async fn guarded() -> Kafka {
        let kafka = Kafka::start().await;
        let open = kafka.address.parse().unwrap();
        Kafka::run(&kafka._process, open, &["user", "create", "u", "p@ss"]).await;
        let (Kafka { _folder: folder, .. }, inner) = (kafka, free_address());
        write_identity(folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        start_tls_front(listener, folder.path(), inner);
        let process = Kafka::broker(&folder, inner, &address, &["--authentication"]);
        let connect = || async { TcpStream::connect(inner).await.map_err(|_| process.log()) };
        wait_until("tansu listens again", DEADLINE, connect).await;
        let options = vec![
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", "u".to_owned()),
            ("sasl.password", "p@ss".to_owned()),
            ("ssl.ca.location", folder.path().join("authority.pem").display().to_string()),
        ];
        Kafka { address, options, _process: process, _folder: folder }
    }

    /// One that refuses the first client who wants to be idempotent, when it is told to.
    pub(super) async fn refusing() -> (Kafka, Refusal) {
        let (inner, refusal) = (free_address(), Refusal::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public = listener.local_addr().unwrap().to_string();
        start_refusing_front(listener, inner, refusal.clone());
        let kafka = Kafka::start_at(inner, &public).await;
        (Kafka { address: public, ..kafka }, refusal)
    }

    /// One that tells clients that its address is the public one.
    async fn start_at(address: SocketAddr, public: &str) -> Kafka {
        let folder = tempfile::tempdir().unwrap();
        let process = Kafka::broker(&folder, address, public, &[]);
        Kafka::run(&process, address, &["topic", "create", "samples", "--partitions", "1"]).await;
        let (address, options) = (address.to_string(), Options::new());
        Kafka { address, options, _process: process, _folder: folder }
    }

    /// Everything that is in the topic, in its order.
    pub(super) async fn messages(self) -> Vec<Message> {
        let kafka = if self.options.is_empty() { self } else { self.opened().await };
        let mut command = Command::new(crate::tool("tansu"));
        let broker = format!("tcp://{}", kafka.address);
        command.args(["cat", "consume", "samples", "--broker", &broker]);
        command.args(["--max-wait-time-ms", "100"]);
        serde_json::from_slice(&printed(&mut command).await).unwrap()
    }

    /// It lets in everybody now, for Tansu's reader knows no passwords.
    async fn opened(self) -> Kafka {
        let Kafka { _process: mut process, _folder: folder, .. } = self;
        process.signal("KILL").await;
        process.exit(DEADLINE).await;
        let address = free_address();
        let process = Kafka::broker(&folder, address, &address.to_string(), &[]);
        Kafka::run(&process, address, &["topic", "list"]).await;
        let (address, options) = (address.to_string(), Options::new());
        Kafka { address, options, _process: process, _folder: folder }
    }

    fn broker(folder: &TempDir, address: SocketAddr, public: &str, more: &[&str]) -> Process {
        let mut command = Command::new(crate::tool("tansu"));
        // It looks for its files where it was started.
        command.current_dir(folder.path()).args([
            "broker",
            "--storage-engine",
            "sqlite://tansu.db",
        ]);
        command.args(["--listener-url", &format!("tcp://{address}")]);
        command.args(["--advertised-listener-url", &format!("tcp://{public}")]).args(more);
        Process::start("tansu", command, &folder.path().join("log"))
    }

    /// Runs an administrator's command until the broker takes it.
    async fn run(process: &Process, address: SocketAddr, arguments: &[&str]) {
        let url = format!("tcp://{address}");
        wait_until("tansu does as it is told", DEADLINE, || async {
            let mut command = Command::new(crate::tool("tansu"));
            let output = command.args(arguments).args(["--broker", &url]).output().await.unwrap();
            if output.status.success() { Ok(()) } else { Err(process.log()) }
        })
        .await;
    }
}

// === impl Cluster ===

impl Cluster {
    pub(super) async fn start() -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let mut command = kcat();
        // A consumer of its own cluster, which waits for ever; brokers must be named, and asking for a
        // topic makes it.
        command.args(["-C", "-b", "none:1", "-t", "samples", "-d", "mock"]);
        command.args(["-X", "test.mock.num.brokers=2"]);
        let process = Process::start("kcat", command, &folder.path().join("log"));
        let addresses = wait_until("kcat says where its brokers listen", DEADLINE, || async {
            let log = process.log();
            let said = log.lines().find_map(|line| line.split_once("bootstrap.servers="));
            said.map(|(_, addresses)| addresses.to_owned()).ok_or(log)
        })
        .await;
        Cluster { addresses, _process: process, _folder: folder }
    }

    /// Everything that is in the topic: each partition in its order.
    pub(super) async fn messages(self) -> Vec<Message> {
        let mut command = kcat();
        command.args(["-C", "-b", &self.addresses, "-t", "samples"]);
        command.args(["-o", "beginning", "-e", "-q", "-J"]);
        let lines = printed(&mut command).await;
        let messages = std::str::from_utf8(&lines).unwrap().lines().map(|line| {
            let Raw { key, payload } = serde_json::from_str(line).unwrap();
            let of = |text: &str| serde_json::from_str(text).unwrap();
            Message { key: of(&key), line: of(&payload) }
        });
        messages.collect()
    }
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn release(&self) {
        self.due.cancel();
    }

    async fn is_wanted(&self) -> bool {
        let is_first = !self.done.swap(true, Ordering::Relaxed);
        if is_first {
            self.due.cancelled().await;
        }
        is_first
    }
}

/// Stands before a broker until the test ends. What clients ask is handed on one by one, but for
/// the first request for a producer's identity: that one is refused.
fn start_refusing_front(listener: TcpListener, to: SocketAddr, refusal: Refusal) {
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let refusal = refusal.clone();
            tokio::spawn(async move {
                let broker = TcpStream::connect(to).await?;
                relay(client.into_split(), broker.into_split(), refusal).await
            });
        }
    });
}

type Stream = (OwnedReadHalf, OwnedWriteHalf);

/// https://kafka.apache.org/protocol: a request is its size, key, version and number, and more.
async fn relay(
    (mut asked, mut answered): Stream,
    (mut answers, mut asks): Stream,
    refusal: Refusal,
) -> std::io::Result<()> {
    const INIT_PRODUCER_ID: [u8; 2] = 22_i16.to_be_bytes();
    const CLUSTER_AUTHORIZATION_FAILED: [u8; 2] = 31_i16.to_be_bytes();
    loop {
        let request = frame(&mut asked).await?;
        let answer = if request[..2] == INIT_PRODUCER_ID && refusal.is_wanted().await {
            let is_flexible = i16::from_be_bytes([request[2], request[3]]) >= 2;
            let no_fields: &[u8] = if is_flexible { &[0] } else { &[] };
            let (number, at_once, nobody) = (&request[4..8], [0; 4], [0xff; 10]);
            [number, no_fields, &at_once, &CLUSTER_AUTHORIZATION_FAILED, &nobody, no_fields]
                .concat()
        } else {
            send(&mut asks, &request).await?;
            frame(&mut answers).await?
        };
        send(&mut answered, &answer).await?;
    }
}

async fn frame(stream: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn send(stream: &mut OwnedWriteHalf, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_u32(bytes.len() as u32).await?;
    stream.write_all(bytes).await
}
