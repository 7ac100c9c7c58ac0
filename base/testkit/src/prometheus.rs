//! Debian's Prometheus: as a receiver that answers PromQL, or as an agent that scrapes beside us.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::ports::free_address;
use crate::process::Process;
use crate::samples::LabelSet;
use crate::wait::{DEADLINE, wait_until};

/// The configuration, in its folder.
const FILE: &str = "prometheus.yml";

/// A running Prometheus. Killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    client: reqwest::Client,
    folder: TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    /// A server that scrapes nothing and takes remote write.
    pub async fn receiving() -> Prometheus {
        let yaml = "global: { scrape_interval: 1h }\n";
        Prometheus::start(yaml, &["--web.enable-remote-write-receiver"], |folder| {
            format!("--storage.tsdb.path={}", folder.join("data").display())
        })
        .await
    }

    /// An agent: scrapes and sends as this configuration says.
    pub async fn agent(yaml: &str) -> Prometheus {
        Prometheus::agent_with(yaml, "agent").await
    }

    /// The same with native histograms.
    pub async fn agent_with_histograms(yaml: &str) -> Prometheus {
        Prometheus::agent_with(yaml, "agent,native-histograms").await
    }

    async fn agent_with(yaml: &str, features: &str) -> Prometheus {
        let features = format!("--enable-feature={features}");
        Prometheus::start(yaml, &[&features], |folder| {
            format!("--storage.agent.path={}", folder.join("data").display())
        })
        .await
    }

    async fn start(
        yaml: &str,
        arguments: &[&str],
        storage: impl Fn(&Path) -> String,
    ) -> Prometheus {
        let folder = tempfile::tempdir().expect("create a temporary folder");
        let path = folder.path().join(FILE);
        std::fs::write(&path, yaml).expect("write the configuration");
        let address = free_address();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg(storage(folder.path()))
            .args(arguments)
            .current_dir(folder.path());
        let log = folder.path().join("prometheus.log");
        let mut process = Process::start("prometheus", command, &log);
        process.answers(&format!("http://{address}/-/ready"), DEADLINE).await;
        Prometheus { process, address, client: reqwest::Client::new(), folder }
    }

    /// Gives it another configuration, and tells it; that it has taken it is for others to see.
    pub async fn reload(&self, yaml: &str) {
        std::fs::write(self.folder.path().join(FILE), yaml).expect("write the configuration");
        self.process.signal("HUP").await;
    }

    /// Where it takes remote write.
    pub fn write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// What an instant query finds: label sets and values.
    pub async fn query(&self, promql: &str) -> Vec<(LabelSet, f64)> {
        let url = format!("http://{}/api/v1/query", self.address);
        let request = self.client.get(url).query(&[("query", promql)]);
        let response = request.send().await.expect("ask Prometheus");
        let answer: Value = response.json().await.expect("read the answer of Prometheus");
        assert_eq!(answer["status"], "success", "{promql}: {answer}");
        let found = answer["data"]["result"].as_array().expect("an instant vector");
        found.iter().map(|series| read(series).expect("a series of an instant vector")).collect()
    }

    /// Asks until the query finds something for which `wanted` holds.
    pub async fn wait_for(
        &self,
        promql: &str,
        wanted: impl Fn(&[(LabelSet, f64)]) -> bool,
    ) -> Vec<(LabelSet, f64)> {
        wait_until(&format!("Prometheus finds what is wanted by {promql}"), DEADLINE, || async {
            let found = self.query(promql).await;
            if wanted(&found) { Ok(found) } else { Err(format!("{found:?}")) }
        })
        .await
    }
}

fn read(series: &Value) -> Option<(LabelSet, f64)> {
    let mut labels = LabelSet::new();
    for (name, value) in series["metric"].as_object()? {
        labels.insert(name.clone(), value.as_str()?.to_owned());
    }
    Some((labels, series["value"][1].as_str()?.parse().ok()?))
}
