//! The simulated fleet and the sink, each a process of its own, for the agents to work on.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::process::Process;

/// How long fleet and sink may take until they answer.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Which fleet, and how long it is looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct Shape {
    /// The rollcall binary, also used to simulate the fleet.
    #[arg(long, default_value = "target/release/rollcall")]
    pub(crate) rollcall: PathBuf,
    /// Hosts of the fleet.
    #[arg(long, default_value_t = 256)]
    pub(crate) hosts: usize,
    /// Virtual machines a host.
    #[arg(long, default_value_t = 200)]
    pub(crate) vms: usize,
    /// Seconds between scrapes.
    #[arg(long, default_value_t = 5)]
    pub(crate) interval: u64,
    /// Seconds to measure; rounded up to whole intervals.
    #[arg(long, default_value_t = 60)]
    pub(crate) window: u64,
}

/// A running `rollcall simulate`.
#[derive(Debug)]
pub(crate) struct Fleet {
    process: Process,
    /// The file_sd file that names its hosts.
    pub(crate) targets_file: PathBuf,
}

/// A running `bench sink`.
#[derive(Debug)]
pub(crate) struct Sink {
    _process: Process,
    address: SocketAddr,
}

/// What the sink has counted.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Samples.
    pub(crate) samples: u64,
    /// Requests.
    pub(crate) requests: u64,
    /// Bytes of bodies, compressed.
    pub(crate) body_bytes: u64,
    /// Requests that could not be read.
    pub(crate) refused: u64,
    /// Milliseconds from a scrape to the arrival of each request since the last question.
    pub(crate) delays_ms: Vec<u64>,
}

// === impl Fleet ===

impl Fleet {
    /// Starts the fleet and waits until its targets file is there.
    pub(crate) fn start(
        rollcall: &Path,
        hosts: usize,
        vms: usize,
        extra: &[String],
        folder: &Path,
    ) -> anyhow::Result<Fleet> {
        let targets_file = folder.join("targets.json");
        let mut command = Command::new(rollcall);
        command.args(["simulate", "--hosts", &hosts.to_string(), "--vms", &vms.to_string()]);
        command.arg("--targets-file").arg(&targets_file);
        command.args(["--control", &format!("127.0.0.1:{}", free_port()?)]);
        command.args(extra);
        let process = Process::start("simulate", command, &folder.join("simulate.log"))?;
        let deadline = Instant::now() + START_PATIENCE;
        while !targets_file.exists() {
            if Instant::now() > deadline {
                bail!("the fleet did not start: see {}", folder.join("simulate.log").display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Fleet { process, targets_file })
    }

    /// Asks every host for its page once, as an agent does: hosts lay out and compress theirs when
    /// they are first asked, which is no cost of an agent's start.
    pub(crate) fn warm_up(&self) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.targets_file)?;
        let groups: serde_json::Value = serde_json::from_str(&text).context("read the targets")?;
        let groups = groups.as_array().context("targets are no list")?;
        let targets = groups.iter().filter_map(|group| group["targets"].as_array()).flatten();
        for target in targets.filter_map(serde_json::Value::as_str) {
            let mut stream = TcpStream::connect(target)?;
            stream.set_read_timeout(Some(START_PATIENCE))?;
            write!(
                stream,
                "GET /metrics HTTP/1.1\r\nHost: {target}\r\nAccept-Encoding: gzip\r\n\
                 Connection: close\r\n\r\n"
            )?;
            let mut page = Vec::new();
            stream.read_to_end(&mut page)?;
            ensure!(page.starts_with(b"HTTP/1.1 200"), "{target} does not answer");
        }
        Ok(())
    }

    /// CPU seconds that rendering the pages has cost.
    pub(crate) fn cpu_s(&self) -> anyhow::Result<f64> {
        Ok(self.process.usage()?.cpu_s)
    }
}

// === impl Sink ===

impl Sink {
    /// Starts a sink on a free port and waits until it answers.
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Sink> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["sink", "--listen", &address.to_string()]);
        let process = Process::start("sink", command, &folder.join("sink.log"))?;
        let sink = Sink { _process: process, address };
        let deadline = Instant::now() + START_PATIENCE;
        while sink.received().is_err() {
            if Instant::now() > deadline {
                bail!("the sink did not start");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(sink)
    }

    /// Where agents write to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// What has arrived so far.
    pub(crate) fn received(&self) -> anyhow::Result<Received> {
        let text = get(self.address, "/count")?;
        let json: serde_json::Value = serde_json::from_str(&text).context("read the count")?;
        let number = |key: &str| json[key].as_u64().with_context(|| format!("no {key}"));
        Ok(Received {
            samples: number("samples")?,
            requests: number("requests")?,
            body_bytes: number("body_bytes")?,
            refused: number("refused")?,
            delays_ms: json["delays_ms"]
                .as_array()
                .map(|delays| delays.iter().filter_map(serde_json::Value::as_u64).collect())
                .unwrap_or_default(),
        })
    }
}

/// A loopback port that is free now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The body of `GET path`, over a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.split_once("\r\n\r\n").context("no body")?.1.to_owned())
}
