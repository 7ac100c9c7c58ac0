//! The program under test: its configuration, its ends and new beginnings, and what it says of
//! itself.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::receiver::Receiver;
use crate::fleet::{free_port, get};
use crate::process::Process;

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon, life after life.
#[derive(Debug)]
pub(crate) struct Daemon {
    binary: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    config: PathBuf,
    process: Option<Process>,
    lives: u32,
}

/// One destination, as `/metrics` shows it at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Account {
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) queued: u64,
    pub(crate) dropped: u64,
    /// The part of `dropped` that the receiver refused.
    pub(crate) refused: u64,
    /// The part of `dropped` for which the queue had no room.
    pub(crate) overflowed: u64,
    pub(crate) disk_failing: bool,
    pub(crate) disk_bytes: u64,
}

/// What the kernel and the daemon say at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) rss_bytes: u64,
    pub(crate) files: usize,
    pub(crate) threads: usize,
    pub(crate) cpu_s: f64,
}

// === impl Daemon ===

impl Daemon {
    pub(crate) fn new(binary: &Path, folder: &Path) -> anyhow::Result<Daemon> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let config = folder.join("rollcall.yml");
        Ok(Daemon { binary, folder, address, config, process: None, lives: 0 })
    }

    /// Writes the file that the next start, or reload, reads. `version` changes two destinations.
    pub(crate) fn configure(
        &self,
        targets_file: &Path,
        receivers: &[Arc<Receiver>],
        small: &Path,
        version: u32,
    ) -> anyhow::Result<()> {
        let mut text = format!(
            "global: {{ scrape_interval: 5s, scrape_timeout: 5s }}\n\
             scrape_configs:\n  - job_name: hosts\n    file_sd_configs: [{{ files: [{targets_file:?}] }}]\n\
             remote_write:\n"
        );
        for receiver in receivers {
            let (name, url) = (receiver.name, receiver.url());
            let delivery = match name {
                "reference" => "{ durability: memory }".to_owned(),
                "small" => format!(
                    "{{ durability: disk, disk: {{ path: {small:?}, min_free_size: 1MB }} }}"
                ),
                _ => "{ durability: disk, disk: { min_free_size: 1MB } }".to_owned(),
            };
            let header = match name {
                "durable" | "small" => version,
                _ => 0,
            };
            text.push_str(&format!(
                "  - name: {name}\n    url: {url}\n    remote_timeout: 3s\n    \
                 headers: {{ X-Version: '{header}' }}\n    \
                 queue_config: {{ retry_on_http_429: true, max_backoff: 2s }}\n    \
                 delivery: {delivery}\n"
            ));
        }
        fs::write(&self.config, text).context("write the configuration")
    }

    /// Starts the next life, and waits until it serves.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.lives += 1;
        let mut command = Command::new(&self.binary);
        command.arg(format!("--config.file={}", self.config.display()));
        command.arg(format!("--web.listen-address={}", self.address));
        command.arg(format!("--storage.agent.path={}", self.folder.join("data").display()));
        command.arg("--storage.remote.flush-deadline=10s");
        let log = self.folder.join(format!("rollcall-{}.log", self.lives));
        self.process = Some(Process::start("rollcall", command, &log)?);
        let began = Instant::now();
        while get(self.address, "/-/ready").is_err() {
            anyhow::ensure!(began.elapsed() < PATIENCE, "life {} does not begin", self.lives);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take());
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), |process| process.stop(PATIENCE))
    }

    /// SIGHUP.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let pid = self.process.as_ref().context("it runs")?.pid().to_string();
        Command::new("kill").args(["-HUP", &pid]).status().context("run kill")?;
        Ok(())
    }

    pub(crate) fn lives(&self) -> u32 {
        self.lives
    }

    /// What it says now.
    pub(crate) fn look(&self) -> anyhow::Result<Look> {
        let process = self.process.as_ref().context("it runs")?;
        let (usage, files, threads) = (process.usage()?, process.files()?, process.threads()?);
        let accounts = read_accounts(&get(self.address, "/metrics")?);
        let (rss_bytes, cpu_s) = (usage.rss_bytes, usage.cpu_s);
        Ok(Look { accounts, rss_bytes, files, threads, cpu_s })
    }

    /// Lines that the daemon logged as errors, in all its lives, by their message.
    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        let mut errors = BTreeMap::new();
        for line in self.error_lines() {
            let words = line.split_whitespace().filter(|word| !word.contains('='));
            let message = words.take(14).collect::<Vec<_>>().join(" ");
            *errors.entry(message).or_insert(0) += 1;
        }
        errors
    }

    /// Samples of a destination that a life logged as dropped when it was told to end.
    pub(crate) fn left_at_stops(&self, destination: &str) -> u64 {
        let lines = self.error_lines().into_iter();
        let lines = lines.filter(|line| line.contains("samples were still queued at the end"));
        let value = |line: &str, key: &str| {
            let rest = line.split_once(&format!("{key}="))?.1;
            Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
        };
        let ours = lines.filter(|line| value(line, "destination").as_deref() == Some(destination));
        ours.filter_map(|line| value(&line, "lost")?.parse::<u64>().ok()).sum()
    }

    fn error_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for life in 1..=self.lives {
            let log = self.folder.join(format!("rollcall-{life}.log"));
            let text = fs::read_to_string(log).unwrap_or_default();
            let errors = text.lines().filter_map(|line| line.split_once("ERROR"));
            lines.extend(errors.map(|(_, message)| message.to_owned()));
        }
        lines
    }
}

impl Account {
    /// Whether everything accepted is somewhere.
    pub(crate) fn is_balanced(&self) -> bool {
        self.accepted == self.delivered + self.queued + self.dropped
    }
}

fn read_accounts(metrics: &str) -> BTreeMap<String, Account> {
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("rollcall_forward_")) {
        let Some((name, rest)) = line.split_once("{destination=\"") else { continue };
        let Some((destination, rest)) = rest.split_once('"') else { continue };
        let value = rest.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok());
        let value = value.unwrap_or(0.0) as u64;
        let account = accounts.entry(destination.to_owned()).or_default();
        match name {
            "accepted_samples_total" => account.accepted = value,
            "delivered_samples_total" => account.delivered = value,
            "queued_samples" => account.queued = value,
            "dropped_samples_total" => {
                account.dropped += value;
                if rest.contains("reason=\"refused\"") {
                    account.refused = value;
                }
                if rest.contains("reason=\"queue_full\"") {
                    account.overflowed = value;
                }
            }
            "disk_failing" => account.disk_failing = value > 0,
            "disk_bytes" => account.disk_bytes = value,
            _ => {}
        }
    }
    accounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_metrics() {
        let text = "# TYPE x counter\n\
            rollcall_forward_accepted_samples_total{destination=\"a\"} 10\n\
            rollcall_forward_delivered_samples_total{destination=\"a\"} 5\n\
            rollcall_forward_queued_samples{destination=\"a\"} 2.0\n\
            rollcall_forward_dropped_samples_total{destination=\"a\",reason=\"refused\"} 1\n\
            rollcall_forward_dropped_samples_total{destination=\"a\",reason=\"queue_full\"} 2\n";
        let account = read_accounts(text)["a"];
        assert!(account.is_balanced());
        assert_eq!((account.refused, account.overflowed, account.dropped), (1, 2, 3));
    }
}
