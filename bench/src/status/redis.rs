//! Redis as a rival: SET and PUBLISH of the same payload, subscribers on one channel.
//!
//! Redis has no watch with a first full set, no index and no condition; it is the measure of how
//! fast bytes can be fanned out.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::load::{Heard, Listener, System, Writer};
use super::wire::{Connection, stamp_text};
use crate::fleet::free_port;
use crate::process::{Process, Usage};

const BINARY: &str = "/usr/bin/redis-server";

/// A running redis-server without persistence.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    address: SocketAddr,
}

/// One connection that sets and publishes.
#[derive(Debug)]
pub(super) struct RedisWriter(Connection);

pub(super) fn installed() -> bool {
    Path::new(BINARY).exists()
}

impl Server {
    pub(super) async fn start(folder: &Path) -> anyhow::Result<Server> {
        let port = free_port()?;
        let mut command = Command::new(BINARY);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no", "--maxclients", "15000"]).current_dir(folder);
        let process = Process::start("redis-server", command, &folder.join("redis.log"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + Duration::from_secs(10);
        while Connection::open(address).await.is_err() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Server { process, address })
    }
}

impl System for Server {
    type Writer = RedisWriter;

    async fn writer(&self) -> anyhow::Result<RedisWriter> {
        Ok(RedisWriter(Connection::open(self.address).await?))
    }

    async fn listen(&self, heard: Heard) -> anyhow::Result<Listener> {
        let mut connection = Connection::open(self.address).await?;
        connection.line(b"SUBSCRIBE vms\r\n").await?;
        heard.on_socket(connection.into_socket()?)
    }

    async fn list_all(&self, _objects: usize) -> anyhow::Result<Option<Duration>> {
        Ok(None)
    }

    async fn list_host(&self, _host: usize) -> anyhow::Result<Option<Duration>> {
        Ok(None)
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        self.process.usage()
    }

    fn takes_crowds(&self) -> bool {
        false
    }
}

impl Writer for RedisWriter {
    async fn create(&mut self, number: usize) -> anyhow::Result<()> {
        let value = payload(number, 0);
        self.0.line(&command(&["SET", &format!("vm-{number}"), &value])).await?;
        Ok(())
    }

    async fn update(&mut self, number: usize, stamp: u64) -> anyhow::Result<()> {
        let value = payload(number, stamp);
        self.0.line(&command(&["SET", &format!("vm-{number}"), &value])).await?;
        self.0.line(&command(&["PUBLISH", "vms", &value])).await?;
        Ok(())
    }
}

/// A value as large as an object of the status center.
pub(super) fn payload(number: usize, stamp: u64) -> String {
    let text = format!("vm-{number} host-{} running {}", number / 200, stamp_text(stamp));
    format!("{text:.<480}")
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request.into_bytes()
}
