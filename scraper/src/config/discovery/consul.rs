//! `consul_sd_configs`: the services of a Consul catalog.

use std::collections::BTreeMap;

use kit::config::{BasicAuthSpec, Duration, HttpClientConfig, HttpClientSpec, Invalid, Secret};
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "consul.plain")]
pub struct ConsulSdSpec {
    /// Host and port. Default `localhost:8500`.
    pub server: String,
    /// What stands before `/v1` in its paths.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    /// The ACL token.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub token: Secret,
    /// The datacenter; the agent's own if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datacenter: String,
    /// The namespace (Enterprise).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The admin partition (Enterprise).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub partition: String,
    /// What joins tags in `__meta_consul_tags`. Default `,`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag_separator: String,
    /// `http` (default) or `https`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// Old form of `basic_auth.username`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Old form of `basic_auth.password`.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// Whether servers that are not the leader may answer. Default true.
    pub allow_stale: bool,
    /// Time between updates of the list of services. Default 30s.
    pub refresh_interval: Duration,
    /// Services to take; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Tags that a service must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Metadata that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_meta: BTreeMap<String, String>,
    /// Filter expression for the catalog.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Filter expression for the health of instances.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health_filter: String,
    /// The HTTP client's keys.
    #[serde(rename = "<inline>")]
    pub http: HttpClientSpec,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsulSdConfig {
    spec: ConsulSdSpec,
    http: HttpClientConfig,
}

// === impl ConsulSdSpec ===

impl Default for ConsulSdSpec {
    fn default() -> ConsulSdSpec {
        ConsulSdSpec {
            server: "localhost:8500".to_owned(),
            path_prefix: String::new(),
            token: Secret::default(),
            datacenter: String::new(),
            namespace: String::new(),
            partition: String::new(),
            tag_separator: ",".to_owned(),
            scheme: "http".to_owned(),
            username: String::new(),
            password: Secret::default(),
            allow_stale: true,
            refresh_interval: Duration::from_secs(30),
            services: Vec::new(),
            tags: Vec::new(),
            node_meta: BTreeMap::new(),
            filter: String::new(),
            health_filter: String::new(),
            http: HttpClientSpec::default(),
        }
    }
}

impl ConsulSdSpec {
    pub(super) fn check(&mut self) -> Result<ConsulSdConfig, Invalid> {
        let refuse = |key: &str, message: &str| Err(Invalid::new(key, message));
        if self.server.trim().is_empty() {
            return refuse("server", "consul SD configuration requires a server address");
        }
        if !self.username.is_empty() || !self.password.is_empty() {
            if self.http.basic_auth.is_some() {
                return refuse(
                    "username",
                    "at most one of consul SD configuration username and password and basic auth \
                     can be configured",
                );
            }
            let (username, password) = (self.username.clone(), self.password.clone());
            let given = BasicAuthSpec { username, password, ..BasicAuthSpec::default() };
            self.http.basic_auth = Some(given);
            self.username.clear();
            self.password = Secret::default();
        }
        let header = self.http.authorization.is_some() || self.http.oauth2.is_some();
        if !self.token.is_empty() && header {
            return refuse(
                "token",
                "at most one of consul SD token, authorization, or oauth2 can be configured",
            );
        }
        let http = self.http.clone().check()?;
        self.http.fill_defaults(true);
        self.refresh_interval = self.refresh_interval.or(ConsulSdSpec::default().refresh_interval);
        Ok(ConsulSdConfig { spec: self.clone(), http })
    }
}

// === impl ConsulSdConfig ===

impl ConsulSdConfig {
    /// What the file says, checked, with defaults; user name and password are in the client's
    /// options.
    pub fn spec(&self) -> &ConsulSdSpec {
        &self.spec
    }

    /// The HTTP client's options.
    pub fn http(&self) -> &HttpClientConfig {
        &self.http
    }
}
