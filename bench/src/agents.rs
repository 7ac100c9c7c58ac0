//! How each agent is told the same thing: these targets, this interval, that receiver.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::fleet::free_port;
use crate::process::Process;

/// What every agent is asked to do.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    /// The file_sd file.
    pub(crate) targets_file: &'a Path,
    /// Seconds between scrapes.
    pub(crate) interval_s: u64,
    /// Whether the agent asks for gzip.
    pub(crate) gzip: bool,
    /// Where to write to.
    pub(crate) remote_write_url: &'a str,
    /// Remote write 2.0 instead of 1.0 (only where the agent can).
    pub(crate) second: bool,
    /// Destinations in place of the one at `remote_write_url`, for rollcall alone.
    pub(crate) destinations: Option<&'a str>,
    /// More lines of configuration, for rollcall alone (routes, kinds).
    pub(crate) routing: Option<&'a str>,
}

/// An agent that can be measured.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    /// What the table calls it.
    pub(crate) name: String,
    kind: Kind,
    binary: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rollcall,
    Vmagent,
    Prometheus,
}

impl Agent {
    /// rollcall itself.
    pub(crate) fn rollcall(binary: &Path) -> Agent {
        Agent { name: "rollcall".into(), kind: Kind::Rollcall, binary: binary.into() }
    }

    /// The rivals that are installed: Debian's, and the binaries in `extra` (`NAME=PATH`, whose
    /// name says the kind: `vmagent…` or `prometheus…`).
    pub(crate) fn rivals(extra: &[String]) -> anyhow::Result<Vec<Agent>> {
        let mut rivals = Vec::new();
        for name in ["vmagent", "prometheus"] {
            let binary = Path::new("/usr/bin").join(name);
            if binary.exists() {
                rivals.push(Agent::rival(&format!("{name} (Debian)"), &binary)?);
            }
        }
        for pair in extra {
            let (name, path) = pair.split_once('=').context("a rival is NAME=PATH")?;
            rivals.push(Agent::rival(name, Path::new(path))?);
        }
        Ok(rivals)
    }

    /// Whether it can write remote write 2.0 and route by data type.
    pub(crate) fn is_rollcall(&self) -> bool {
        self.kind == Kind::Rollcall
    }

    /// Starts it on `job`, with everything it writes below `folder`.
    pub(crate) fn start(&self, job: &Job<'_>, folder: &Path) -> anyhow::Result<Process> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        let config = folder.join(format!("{}.yml", self.kind.name()));
        fs::write(&config, self.kind.config(job))?;
        let mut command = Command::new(&self.binary);
        match self.kind {
            Kind::Rollcall => {
                command.arg(format!("--config.file={}", config.display()));
                command.arg(format!("--web.listen-address={listen}"));
                if let Some(routing) = job.routing {
                    let file = folder.join("routing.yml");
                    fs::write(&file, routing)?;
                    command.arg(format!("--routing.file={}", file.display()));
                }
            }
            Kind::Vmagent => {
                command.arg(format!("-promscrape.config={}", config.display()));
                command.arg(format!("-httpListenAddr={listen}"));
                command.arg(format!("-remoteWrite.url={}", job.remote_write_url));
                let queue = folder.join("vmagent-queue");
                command.arg(format!("-remoteWrite.tmpDataPath={}", queue.display()));
                if !job.gzip {
                    command.arg("-promscrape.disableCompression");
                }
            }
            Kind::Prometheus => {
                let data = folder.join("prometheus-data");
                command.arg("--enable-feature=agent");
                command.arg(format!("--config.file={}", config.display()));
                command.arg(format!("--web.listen-address={listen}"));
                command.arg(format!("--storage.agent.path={}", data.display()));
            }
        }
        Process::start(&self.name, command, &folder.join(format!("{}.log", self.kind.name())))
    }

    fn rival(name: &str, binary: &Path) -> anyhow::Result<Agent> {
        let kind = match name {
            name if name.starts_with("vmagent") => Kind::Vmagent,
            name if name.starts_with("prometheus") => Kind::Prometheus,
            name if name.starts_with("rollcall") => Kind::Rollcall,
            _ => anyhow::bail!("{name}: a rival's name starts with vmagent, prometheus, rollcall"),
        };
        Ok(Agent { name: name.into(), kind, binary: binary.into() })
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Rollcall => "rollcall",
            Kind::Vmagent => "vmagent",
            Kind::Prometheus => "prometheus",
        }
    }

    fn config(self, job: &Job<'_>) -> String {
        let Job { targets_file, interval_s, gzip, remote_write_url, second, .. } = job;
        let timeout_s = interval_s.min(&10);
        let mut text = format!(
            "global:\n  scrape_interval: {interval_s}s\n  scrape_timeout: {timeout_s}s\n\
             scrape_configs:\n  - job_name: hosts\n    file_sd_configs:\n      \
             - files: ['{}']\n",
            targets_file.display(),
        );
        if self == Kind::Rollcall && !gzip {
            text.push_str("    enable_compression: false\n");
        }
        if let (Kind::Rollcall, Some(destinations)) = (self, job.destinations) {
            text.push_str(destinations);
        } else if self != Kind::Vmagent {
            text.push_str(&format!(
                "remote_write:\n  - url: {remote_write_url}\n    name: reports\n"
            ));
            if *second && self == Kind::Rollcall {
                text.push_str("    protobuf_message: io.prometheus.write.v2.Request\n");
            }
        }
        text
    }
}
