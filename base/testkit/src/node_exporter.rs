//! Debian's node exporter: a target that nobody here wrote.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::process::Command;

use crate::ports::free_address;
use crate::process::Process;
use crate::wait::DEADLINE;

/// A running node exporter. Killed when dropped.
#[derive(Debug)]
pub struct NodeExporter {
    _process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

// === impl NodeExporter ===

impl NodeExporter {
    /// Starts it, and waits until it answers.
    pub async fn start() -> NodeExporter {
        let folder = tempfile::tempdir().expect("create a temporary folder");
        let address = free_address();
        let mut command = Command::new("prometheus-node-exporter");
        command.arg(format!("--web.listen-address={address}")).current_dir(folder.path());
        let log = folder.path().join("node_exporter.log");
        let mut process = Process::start("prometheus-node-exporter", command, &log);
        process.answers(&format!("http://{address}/metrics"), DEADLINE).await;
        NodeExporter { _process: process, address, _folder: folder }
    }

    /// `127.0.0.1:port`, as in `targets`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}
