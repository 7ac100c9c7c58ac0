//! `docker_sd_configs`: the containers of a Docker daemon.

use kit::config::{Duration, HttpClientConfig, HttpClientSpec, Invalid};
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "moby.plain")]
pub struct DockerSdSpec {
    /// The daemon: `unix:///var/run/docker.sock`, `tcp://…`, `http://…`.
    pub host: String,
    /// The port of containers that expose none. Default 80.
    pub port: u16,
    /// Which containers to take.
    pub filters: Vec<DockerFilterSpec>,
    /// The address of containers in the host's network. Default `localhost`.
    pub host_networking_host: String,
    /// Time between questions. Default 60s.
    pub refresh_interval: Duration,
    /// Whether only the first of a container's networks counts. Default true.
    pub match_first_network: bool,
    /// The HTTP client's keys.
    #[serde(rename = "<inline>")]
    pub http: HttpClientSpec,
}

/// One filter, as the daemon's API has it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "moby.Filter")]
pub struct DockerFilterSpec {
    /// Such as `label`.
    pub name: String,
    /// Any of these.
    pub values: Vec<String>,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct DockerSdConfig {
    spec: DockerSdSpec,
    http: HttpClientConfig,
}

// === impl DockerSdSpec ===

impl Default for DockerSdSpec {
    fn default() -> DockerSdSpec {
        DockerSdSpec {
            host: String::new(),
            port: 80,
            filters: Vec::new(),
            host_networking_host: "localhost".to_owned(),
            refresh_interval: Duration::from_secs(60),
            match_first_network: true,
            http: HttpClientSpec::default(),
        }
    }
}

impl DockerSdSpec {
    pub(super) fn check(&mut self) -> Result<DockerSdConfig, Invalid> {
        if self.host.is_empty() {
            return Err(Invalid::new("host", "host missing"));
        }
        url::Url::parse(&self.host).map_err(|error| Invalid::new("host", error.to_string()))?;
        let http = self.http.clone().check()?;
        self.http.fill_defaults(true);
        self.refresh_interval = self.refresh_interval.or(DockerSdSpec::default().refresh_interval);
        Ok(DockerSdConfig { spec: self.clone(), http })
    }
}

// === impl DockerSdConfig ===

impl DockerSdConfig {
    /// What the file says, checked, with defaults.
    pub fn spec(&self) -> &DockerSdSpec {
        &self.spec
    }

    /// The HTTP client's options.
    pub fn http(&self) -> &HttpClientConfig {
        &self.http
    }
}
