//! `nomad_sd_configs`: the services of a Nomad cluster, asked for in turn.

use std::sync::Arc;

use futures::future::BoxFuture;
use model::{Labels, LabelsBuilder};
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;

use super::api::{Api, ApiError, path_segment};
use super::refresh::{Refresh, poll};
use super::{Found, Group, Mechanism, Provider, Tools, Wanted, address, between};
use crate::config::{JobConfig, NomadSdConfig};

pub(super) const MECHANISM: Mechanism = Mechanism { name: "nomad", wanted };

fn wanted(job: &JobConfig) -> Vec<Arc<dyn Wanted>> {
    job.nomad_sd().iter().map(|section| Arc::new(section.clone()) as Arc<dyn Wanted>).collect()
}

impl Provider for NomadSdConfig {
    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()> {
        let interval = self.spec().refresh_interval.to_std();
        let failures = tools.metrics.nomad_failures.clone();
        let cluster = Cluster { api: Api::new(self.http()), config: self, failures };
        Box::pin(poll(cluster, interval, found, tools))
    }
}

struct Cluster {
    api: Api,
    config: Arc<NomadSdConfig>,
    failures: Counter,
}

/// The services of one namespace.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Namespace {
    #[serde(default)]
    services: Vec<Service>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    service_name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Instance {
    #[serde(rename = "ID")]
    id: String,
    service_name: String,
    namespace: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    datacenter: String,
    tags: Option<Vec<String>>,
    address: String,
    port: i64,
}

impl Refresh for Cluster {
    type Error = ApiError;

    async fn refresh(&mut self) -> Result<Vec<Group>, ApiError> {
        let targets = self.targets().await;
        self.failures.inc_by(u64::from(targets.is_err()));
        let source = Arc::from("Nomad");
        Ok(vec![Group { source, targets: targets?, labels: Labels::default() }])
    }
}

impl Cluster {
    async fn targets(&self) -> Result<Vec<Labels>, ApiError> {
        let namespaces: Vec<Namespace> = self.ask("services").await?;
        let mut targets = Vec::new();
        for service in namespaces.iter().flat_map(|namespace| &namespace.services) {
            let path = format!("service/{}", path_segment(&service.service_name));
            let instances: Vec<Instance> = self.ask(&path).await?;
            let separator = &self.config.spec().tag_separator;
            targets.extend(instances.into_iter().map(|instance| instance.labels(separator)));
        }
        Ok(targets)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let spec = self.config.spec();
        let server = spec.server.trim_end_matches('/');
        let mut url = format!("{server}/v1/{path}");
        let stale = if spec.allow_stale { "stale" } else { "" };
        let query = [("namespace", &*spec.namespace), ("region", &spec.region), (stale, "")];
        super::api::push_query(&mut url, query);
        self.api.get_json(&url, &[], spec.refresh_interval.to_std()).await
    }
}

impl Instance {
    fn labels(self, separator: &str) -> Labels {
        let mut labels = LabelsBuilder::default();
        let port = self.port.to_string();
        labels.set("__address__", address(&self.address, &port));
        labels.set("__meta_nomad_address", self.address.as_str());
        labels.set("__meta_nomad_dc", self.datacenter);
        labels.set("__meta_nomad_node_id", self.node_id);
        labels.set("__meta_nomad_namespace", self.namespace);
        labels.set("__meta_nomad_service_address", self.address);
        labels.set("__meta_nomad_service_id", self.id);
        labels.set("__meta_nomad_service_port", port);
        labels.set("__meta_nomad_service", self.service_name);
        let tags = self.tags.unwrap_or_default();
        if !tags.is_empty() {
            labels.set("__meta_nomad_tags", between(&tags, separator));
        }
        labels.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{FakeTarget, Reply, job};

    #[tokio::test]
    async fn instances_of_services_become_targets() {
        let services = r#"[{"Namespace": "default", "Services": [{"ServiceName": "web"}]}]"#;
        let instances = r#"[{"ID": "i-1", "ServiceName": "web", "Namespace": "default",
            "NodeID": "n-1", "Datacenter": "dc1", "Tags": ["a", "b"], "Address": "10.0.0.1",
            "Port": 80, "JobID": "ignored"}]"#;
        let json = &["Content-Type: application/json"];
        let server = FakeTarget::routing(&[
            ("/v1/services", Reply::with(json, services)),
            ("/v1/service/web", Reply::with(json, instances)),
        ])
        .await;
        let job = job(&format!(
            "{{job_name: j, nomad_sd_configs: [{{server: 'http://{}/'}}]}}",
            server.address
        ));
        let config = Arc::new(job.nomad_sd()[0].clone());
        let api = Api::new(config.http());
        let mut cluster = Cluster { api, config, failures: Counter::default() };
        let groups = cluster.refresh().await.unwrap();
        let want = concat!(
            r#"{__address__="10.0.0.1:80", __meta_nomad_address="10.0.0.1", "#,
            r#"__meta_nomad_dc="dc1", __meta_nomad_namespace="default", "#,
            r#"__meta_nomad_node_id="n-1", __meta_nomad_service="web", "#,
            r#"__meta_nomad_service_address="10.0.0.1", __meta_nomad_service_id="i-1", "#,
            r#"__meta_nomad_service_port="80", __meta_nomad_tags=",a,b,"}"#
        );
        assert_eq!(groups[0].targets[0].to_string(), want);
        let request = &server.requests()[1];
        let path = "GET /v1/service/web?namespace=default&region=global&stale= HTTP/1.1";
        assert!(request.starts_with(path), "{request}");
        server.reply(Reply::status("500 Oops", json, ""));
        assert!(cluster.refresh().await.is_err());
        assert_eq!(cluster.failures.get(), 1);
    }
}
