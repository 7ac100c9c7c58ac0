//! rollcall as a status center alone: objects by its API, listeners by watch, plain HTTP/1.1.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::load::{Heard, Listener, System, Writer};
use super::wire::{self, Connection, Swallowed, stamp_text};
use crate::fleet::free_port;
use crate::process::{Process, Usage};

/// The collection that the load works on.
pub(super) const VMS: &str = "/apis/status.rollcall/v1/virtualmachines";
/// The kind, as a configuration declares it.
const CONFIG: &str = "
status:
  warm_up: 0s
  kinds:
    - kind: VirtualMachine
      short_names: [vm]
      name: \"{vmid}\"
      fields:
        state: { metric: hci_vm_state, from_label: state }
        host:  { label: host }
        stamp: { metric: hci_vm_stamp, from_label: stamp }
        note:  { metric: hci_vm_note, from_label: note }
      index: [host, state]
      columns: [state, host]
";

/// A running rollcall without targets.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    address: SocketAddr,
}

/// One connection that creates and patches.
#[derive(Debug)]
pub(super) struct HttpWriter(Connection);

impl Server {
    pub(super) async fn start(binary: &Path, folder: &Path) -> anyhow::Result<Server> {
        let config = folder.join("status.yml");
        std::fs::write(&config, CONFIG)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = Command::new(binary);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--web.listen-address={address}"));
        command.arg("--web.max-connections=20000");
        let log = folder.join("rollcall.log");
        let process = Process::start("rollcall", command, &log)?;
        let server = Server { process, address };
        let deadline = Instant::now() + Duration::from_secs(15);
        while server.get(VMS).await.map(|(status, _)| status).ok() != Some(200) {
            ensure!(Instant::now() < deadline, "rollcall did not start: {}", log.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU and memory so far.
    pub(super) fn process_usage(&self) -> anyhow::Result<Usage> {
        self.process.usage()
    }

    async fn get(&self, path: &str) -> anyhow::Result<(u16, Duration)> {
        let mut connection = Connection::open(self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        let start = Instant::now();
        let (status, _) = connection.http(request.as_bytes()).await?;
        Ok((status, start.elapsed()))
    }
}

impl System for Server {
    type Writer = HttpWriter;

    async fn writer(&self) -> anyhow::Result<HttpWriter> {
        Ok(HttpWriter(Connection::open(self.address).await?))
    }

    async fn listen(&self, heard: Heard) -> anyhow::Result<Listener> {
        let mut connection = Connection::open(self.address).await?;
        let version = self.version(&mut connection).await?;
        let request = format!(
            "GET {VMS}?watch=true&resourceVersion={version} HTTP/1.1\r\nHost: bench\r\n\r\n"
        );
        connection.send(request.as_bytes()).await?;
        heard.on_socket(connection.into_socket()?)
    }

    async fn list_all(&self, objects: usize) -> anyhow::Result<Option<Duration>> {
        self.list(VMS.to_owned(), objects).await.map(Some)
    }

    async fn list_host(&self, host: usize) -> anyhow::Result<Option<Duration>> {
        let path = format!("{VMS}?fieldSelector=status.host%3Dhost-{host}");
        self.list(path, 200).await.map(Some)
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        self.process.usage()
    }

    fn takes_crowds(&self) -> bool {
        true
    }
}

impl Server {
    /// The time until the last byte of a list that has so many objects.
    async fn list(&self, path: String, objects: usize) -> anyhow::Result<Duration> {
        let (address, request) = (self.address, format!("GET {path} HTTP/1.1\r\nHost: b\r\n\r\n"));
        let swallowed = tokio::task::spawn_blocking(move || {
            wire::swallow(address, request.as_bytes(), b"\"resourceVersion\":")
        });
        let Swallowed { status, took, n_found } = swallowed.await??;
        ensure!(status == 200, "list: {status}");
        ensure!(n_found == objects + 1, "a list of {n_found} versions, not {objects} and its own");
        Ok(took)
    }

    /// The version that a watch from now on starts at: that of an empty list.
    async fn version(&self, connection: &mut Connection) -> anyhow::Result<String> {
        let path = format!("{VMS}?fieldSelector=metadata.name%3Dnone");
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        let (_, body) = connection.http(request.as_bytes()).await?;
        let list: serde_json::Value = serde_json::from_slice(unchunked(body))?;
        let version = list["metadata"]["resourceVersion"].as_str().context("no version")?;
        Ok(version.to_owned())
    }
}

impl Writer for HttpWriter {
    async fn create(&mut self, number: usize) -> anyhow::Result<()> {
        let host = number / 200;
        let body = format!(
            "{{\"apiVersion\":\"status.rollcall/v1\",\"kind\":\"VirtualMachine\",\"metadata\":\
             {{\"name\":\"vm-{number}\"}},\"status\":{{\"state\":\"running\",\"host\":\
             \"host-{host}\",\"stamp\":\"{}\",\"note\":\"{:.<100}\"}}}}",
            stamp_text(0),
            "note",
        );
        self.send("POST", VMS, "application/json", &body, 201).await
    }

    async fn update(&mut self, number: usize, stamp: u64) -> anyhow::Result<()> {
        let body = format!("{{\"status\":{{\"stamp\":\"{}\"}}}}", stamp_text(stamp));
        let path = format!("{VMS}/vm-{number}");
        self.send("PATCH", &path, "application/merge-patch+json", &body, 200).await
    }
}

impl HttpWriter {
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &str,
        want: u16,
    ) -> anyhow::Result<()> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        let (status, answer) = self.0.http(request.as_bytes()).await?;
        let answer = String::from_utf8_lossy(answer);
        ensure!(status == want, "{method} {path}: {status}: {answer}");
        Ok(())
    }
}

/// The first chunk of a chunked body, or the body as it is.
fn unchunked(body: &[u8]) -> &[u8] {
    if body.starts_with(b"{") {
        return body;
    }
    let start = body.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let end = body.iter().rposition(|byte| *byte == b'}').map_or(body.len(), |at| at + 1);
    &body[start..end]
}
