//! A simulated fleet (`rollcall simulate`), small and at test speed, and its control port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::ports::free_address;
use crate::process::Process;
use crate::wait::DEADLINE;

/// A running simulation. Killed when dropped.
#[derive(Debug)]
pub struct Fleet {
    _process: Process,
    control: SocketAddr,
    targets_file: PathBuf,
    client: reqwest::Client,
    _folder: TempDir,
}

// === impl Fleet ===

impl Fleet {
    /// Starts `n_hosts` hosts with `n_vms` VMs each, by this binary.
    pub async fn start(binary: impl AsRef<Path>, n_hosts: u32, n_vms: u32) -> Fleet {
        let folder = tempfile::tempdir().expect("create a temporary folder");
        let targets_file = folder.path().join("hosts.json");
        let control = free_address();
        let mut command = Command::new(binary.as_ref());
        command
            .arg("simulate")
            .args(["--hosts", &n_hosts.to_string(), "--vms", &n_vms.to_string()])
            // Every host has an address of its own, so that a port free here is free on all.
            .args(["--port", &free_address().port().to_string()])
            .args(["--control", &control.to_string()])
            .arg("--targets-file")
            .arg(&targets_file)
            .current_dir(folder.path())
            .env("NO_COLOR", "1");
        let mut process = Process::start("simulate", command, &folder.path().join("log"));
        process.answers(&format!("http://{control}/"), DEADLINE).await;
        let client = reqwest::Client::new();
        Fleet { _process: process, control, targets_file, client, _folder: folder }
    }

    /// The `file_sd` file of the hosts.
    pub fn targets_file(&self) -> &Path {
        &self.targets_file
    }

    /// What the control port answers to `GET path`.
    pub async fn get(&self, path: &str) -> Value {
        self.ask(self.client.get(self.url(path))).await
    }

    /// Makes something happen: `POST path`.
    pub async fn make(&self, path: &str) -> Value {
        self.ask(self.client.post(self.url(path))).await
    }

    /// The ids of the VMs of a host, sorted.
    pub async fn vms_of(&self, host: &str) -> Vec<String> {
        let about = self.get(&format!("/hosts/{host}")).await;
        let vms = about["vms"].as_object().expect("a host has VMs");
        let mut vms: Vec<String> = vms.keys().cloned().collect();
        vms.sort();
        vms
    }

    /// The names of the hosts, in order.
    pub async fn hosts(&self) -> Vec<String> {
        let hosts = self.get("/hosts").await;
        let hosts = hosts.as_array().expect("a list of hosts");
        hosts.iter().map(|host| host["host"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.control)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Value {
        let response = request.send().await.expect("ask the control port");
        let (status, url) = (response.status(), response.url().clone());
        let answer: Value = response.json().await.expect("the control port answers JSON");
        assert_eq!(status, 200, "{url}: {answer}");
        answer
    }
}
