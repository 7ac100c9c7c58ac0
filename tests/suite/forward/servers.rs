//! Real servers that destinations send to, on loopback: each ends with its handle.

use std::path::PathBuf;

use tempfile::TempDir;
use testkit::{DEADLINE, Process, wait_until};
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

// === impl Nats ===

impl Nats {
    /// A server on a port of its choice, whose stream takes `metrics.>`.
    pub(super) async fn start() -> Nats {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("nats-server");
        command.args(["-js", "-a", "127.0.0.1", "-p", "-1"]);
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
        let client = async_nats::connect(&url).await.unwrap();
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
        let folder = tempfile::tempdir().unwrap();
        let socket: PathBuf = folder.path().join("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(&socket);
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
