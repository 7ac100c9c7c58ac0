//! `nomad_sd_configs`: the services of a Nomad cluster.

use kit::config::{Duration, HttpClientConfig, HttpClientSpec, Invalid};
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "nomad.plain")]
pub struct NomadSdSpec {
    /// Whether servers that are not the leader may answer. Default true.
    pub allow_stale: bool,
    /// Default `default`.
    pub namespace: String,
    /// Time between questions. Default 60s.
    pub refresh_interval: Duration,
    /// Default `global`.
    pub region: String,
    /// Default `http://localhost:4646`.
    pub server: String,
    /// What joins tags in `__meta_nomad_tags`. Default `,`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag_separator: String,
    /// The HTTP client's keys.
    #[serde(rename = "<inline>")]
    pub http: HttpClientSpec,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NomadSdConfig {
    spec: NomadSdSpec,
    http: HttpClientConfig,
}

// === impl NomadSdSpec ===

impl Default for NomadSdSpec {
    fn default() -> NomadSdSpec {
        NomadSdSpec {
            allow_stale: true,
            namespace: "default".to_owned(),
            refresh_interval: Duration::from_secs(60),
            region: "global".to_owned(),
            server: "http://localhost:4646".to_owned(),
            tag_separator: ",".to_owned(),
            http: HttpClientSpec::default(),
        }
    }
}

impl NomadSdSpec {
    pub(super) fn check(&mut self) -> Result<NomadSdConfig, Invalid> {
        if self.server.trim().is_empty() {
            let message = "nomad SD configuration requires a server address";
            return Err(Invalid::new("server", message));
        }
        let http = self.http.clone().check()?;
        self.http.fill_defaults(true);
        self.refresh_interval = self.refresh_interval.or(NomadSdSpec::default().refresh_interval);
        Ok(NomadSdConfig { spec: self.clone(), http })
    }
}

// === impl NomadSdConfig ===

impl NomadSdConfig {
    /// What the file says, checked, with defaults.
    pub fn spec(&self) -> &NomadSdSpec {
        &self.spec
    }

    /// The HTTP client's options.
    pub fn http(&self) -> &HttpClientConfig {
        &self.http
    }
}
