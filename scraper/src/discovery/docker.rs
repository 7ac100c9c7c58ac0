//! `docker_sd_configs`: the containers of a Docker daemon, a target for each port of each of their
//! networks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;
use model::{Labels, LabelsBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::api::{Api, ApiError, push_query};
use super::refresh::{Refresh, poll};
use super::{Found, Group, Mechanism, Provider, Tools, Wanted, address, label_name};
use crate::config::{DockerSdConfig, DockerSdSpec, JobConfig};

pub(super) const MECHANISM: Mechanism = Mechanism { name: "docker", wanted };

/// Containers that use the network of a container that uses the network of a container …
const SHARED_NETWORKS_MAX: usize = 16;

fn wanted(job: &JobConfig) -> Vec<Arc<dyn Wanted>> {
    job.docker_sd().iter().map(|section| Arc::new(section.clone()) as Arc<dyn Wanted>).collect()
}

impl Provider for DockerSdConfig {
    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()> {
        let interval = self.spec().refresh_interval.to_std();
        Box::pin(poll(Daemon::new(self), interval, found, tools))
    }
}

struct Daemon {
    api: Api,
    /// Where the API is, as a URL.
    base: String,
    config: Arc<DockerSdConfig>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    id: String,
    names: Option<Vec<String>>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    labels: Option<BTreeMap<String, String>>,
    ports: Option<Vec<Port>>,
    host_config: HostConfig,
    network_settings: NetworkSettings,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    #[serde(rename = "NetworkID")]
    network_id: String,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "GlobalIPv6Address")]
    ipv6_address: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    #[serde(rename = "IP")]
    ip: String,
    private_port: u16,
    public_port: u16,
    #[serde(rename = "Type")]
    protocol: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    id: String,
    name: String,
    scope: String,
    internal: bool,
    ingress: bool,
    labels: Option<BTreeMap<String, String>>,
}

impl Refresh for Daemon {
    type Error = ApiError;

    async fn refresh(&mut self) -> Result<Vec<Group>, ApiError> {
        let mut filters: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
        for filter in &self.config.spec().filters {
            let values = filter.values.iter().map(|value| (value.as_str(), true));
            filters.entry(&filter.name).or_default().extend(values);
        }
        let filters = if filters.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&filters).unwrap_or_default()
        };
        let containers: Vec<Container> =
            self.ask("containers/json", [("filters", &*filters)]).await?;
        let networks: Vec<Network> = self.ask("networks", [("", "")]).await?;
        let targets = targets(self.config.spec(), &containers, &networks);
        Ok(vec![Group { source: Arc::from("Docker"), targets, labels: Labels::default() }])
    }
}

impl Daemon {
    fn new(config: Arc<DockerSdConfig>) -> Daemon {
        let host = config.spec().host.as_str();
        let (api, base) = match host.split_once("://") {
            Some(("unix", path)) => (Api::over_socket(path), "http://localhost".to_owned()),
            Some(("tcp", address)) => (Api::plain(), format!("http://{address}")),
            _ => (Api::new(config.http()), host.trim_end_matches('/').to_owned()),
        };
        Daemon { api, base, config }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        query: [(&str, &str); 1],
    ) -> Result<T, ApiError> {
        let mut url = format!("{}/{path}", self.base);
        push_query(&mut url, query.into_iter().filter(|(_, value)| !value.is_empty()));
        self.api.get_json(&url, &[], self.config.spec().refresh_interval.to_std()).await
    }
}

fn targets(spec: &DockerSdSpec, containers: &[Container], networks: &[Network]) -> Vec<Labels> {
    let by_id: HashMap<&str, &Container> =
        containers.iter().map(|container| (container.id.as_str(), container)).collect();
    let networks: HashMap<&str, &Network> =
        networks.iter().map(|network| (network.id.as_str(), network)).collect();
    let mut targets = Vec::new();
    for container in containers {
        let Some(common) = container.labels() else { continue };
        for endpoint in container.endpoints(spec, &by_id) {
            let mut labels = common.clone();
            if let Some(network) = networks.get(endpoint.network_id.as_str()) {
                network.add_labels(&mut labels);
            }
            labels.set("__meta_docker_network_ip", endpoint.ip());
            targets.extend(container.ports(spec, endpoint.ip(), &labels));
        }
    }
    targets
}

// === impl Container ===

impl Container {
    /// What all its targets have in common; `None` for one without a name.
    fn labels(&self) -> Option<LabelsBuilder> {
        let name = self.names.iter().flatten().next()?;
        let mut labels = LabelsBuilder::default();
        labels.set("__meta_docker_container_id", self.id.as_str());
        labels.set("__meta_docker_container_name", name.as_str());
        labels.set("__meta_docker_container_network_mode", &*self.host_config.network_mode);
        labels.set("__meta_docker_container_image", self.image.as_str());
        labels.set("__meta_docker_container_image_id", self.image_id.as_str());
        for (key, value) in self.labels.iter().flatten() {
            let name = format!("__meta_docker_container_label_{}", label_name(key));
            labels.set(name, value.as_str());
        }
        Some(labels)
    }

    /// The networks it is in, or those of the container whose network it shares.
    fn endpoints<'c>(
        &'c self,
        spec: &DockerSdSpec,
        containers: &HashMap<&str, &'c Container>,
    ) -> Vec<&'c Endpoint> {
        let mut container = self;
        for _ in 0..SHARED_NETWORKS_MAX {
            let shared = container.host_config.network_mode.strip_prefix("container:");
            match shared.and_then(|id| containers.get(id)) {
                Some(other) if container.has_no_network() => container = other,
                _ => break,
            }
        }
        let networks = container.network_settings.networks.iter().flatten();
        let endpoints = networks.filter_map(|(_, endpoint)| endpoint.as_ref());
        endpoints.take(if spec.match_first_network { 1 } else { usize::MAX }).collect()
    }

    fn has_no_network(&self) -> bool {
        self.network_settings.networks.as_ref().is_none_or(BTreeMap::is_empty)
    }

    /// A target for each TCP port; one with the default port if there is none.
    fn ports(&self, spec: &DockerSdSpec, ip: &str, common: &LabelsBuilder) -> Vec<Labels> {
        let ports = self.ports.iter().flatten().filter(|port| port.protocol == "tcp");
        let of_port = |port: &Port| {
            let mut labels = common.clone();
            let private = port.private_port.to_string();
            labels.set("__address__", address(ip, &private));
            labels.set("__meta_docker_port_private", private);
            if port.public_port > 0 {
                labels.set("__meta_docker_port_public", port.public_port.to_string());
                labels.set("__meta_docker_port_public_ip", port.ip.as_str());
            }
            labels.build()
        };
        let mut targets: Vec<Labels> = ports.map(of_port).collect();
        if targets.is_empty() {
            let mut labels = common.clone();
            let is_host = self.host_config.network_mode == "host";
            let fallback = address(ip, &spec.port.to_string());
            labels.set(
                "__address__",
                if is_host { spec.host_networking_host.clone() } else { fallback },
            );
            targets.push(labels.build());
        }
        targets
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn ip(&self) -> &str {
        if self.ip_address.is_empty() { &self.ipv6_address } else { &self.ip_address }
    }
}

// === impl Network ===

impl Network {
    fn add_labels(&self, labels: &mut LabelsBuilder) {
        labels.set("__meta_docker_network_id", self.id.as_str());
        labels.set("__meta_docker_network_name", self.name.as_str());
        labels.set("__meta_docker_network_scope", self.scope.as_str());
        labels.set("__meta_docker_network_internal", self.internal.to_string());
        labels.set("__meta_docker_network_ingress", self.ingress.to_string());
        for (key, value) in self.labels.iter().flatten() {
            let name = format!("__meta_docker_network_label_{}", label_name(key));
            labels.set(name, value.as_str());
        }
    }
}

#[cfg(test)]
mod tests;
