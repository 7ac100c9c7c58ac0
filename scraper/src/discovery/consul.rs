//! `consul_sd_configs`: the instances of services in a Consul catalog.
//!
//! Consul holds a question until it has news (blocking queries), so changes arrive at once; a
//! question is asked at most every `refresh_interval` all the same. The list of services is
//! watched in one task, the instances of each service in one of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kit::Chain;
use model::{Labels, LabelsBuilder};
use serde::Deserialize;
use tokio::time::{Interval, MissedTickBehavior, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::api::{Api, ApiError, path_segment, push_query};
use super::{Found, Group, Mechanism, Provider, Tools, Wanted, address, between, label_name};
use crate::config::{ConsulSdConfig, ConsulSdSpec, JobConfig};

pub(super) const MECHANISM: Mechanism = Mechanism { name: "consul", wanted };

/// How long Consul may hold a question.
const HOLD: Duration = Duration::from_secs(120);

/// How long it may take beyond that.
const GRACE: Duration = Duration::from_secs(15);

/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(15);

/// Services watched at once: each holds a connection.
const SERVICES_MAX: usize = 4096;

fn wanted(job: &JobConfig) -> Vec<Arc<dyn Wanted>> {
    job.consul_sd().iter().map(|section| Arc::new(section.clone()) as Arc<dyn Wanted>).collect()
}

impl Provider for ConsulSdConfig {
    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()> {
        let api = Api::new(self.http());
        let datacenter = self.spec().datacenter.clone();
        Box::pin(Catalog { api, config: self, found, tools, datacenter }.watch())
    }
}

/// One section at work.
struct Catalog {
    api: Api,
    config: Arc<ConsulSdConfig>,
    found: Arc<Found>,
    tools: Tools,
    datacenter: String,
}

/// A question that Consul holds until its answer differs from the last one.
struct Question {
    index: u64,
    ticks: Interval,
    failing: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Agent {
    config: AgentConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    datacenter: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Instance {
    node: Node,
    service: Service,
    checks: Option<Vec<Check>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    node: String,
    address: String,
    meta: Option<BTreeMap<String, String>>,
    tagged_addresses: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    address: String,
    port: i64,
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
    namespace: String,
    partition: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    status: String,
}

// === impl Catalog ===

impl Catalog {
    async fn watch(mut self) {
        self.learn_datacenter().await;
        let spec = self.config.spec();
        let is_complete =
            !spec.services.is_empty() && spec.tags.is_empty() && spec.filter.is_empty();
        let services = if is_complete { spec.services.clone() } else { Vec::new() };
        let catalog = Arc::new(self);
        if is_complete {
            let watched = services.into_iter().map(|name| catalog.start(name));
            let _watched: Vec<_> = watched.collect();
            std::future::pending::<()>().await;
        }
        catalog.watch_services().await;
    }

    /// Consul takes the agent's own datacenter if none is named; the label must say which it is.
    async fn learn_datacenter(&mut self) {
        while self.datacenter.is_empty() {
            match self.get::<Agent>("agent/self", &[]).await {
                Ok((agent, _)) => self.datacenter = agent.config.datacenter,
                Err(failure) => {
                    self.failed(&failure, "agent");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Watches the list of services, and the instances of each that is wanted.
    async fn watch_services(self: Arc<Self>) {
        let mut question = Question::new(&self.config);
        let mut watched: HashMap<String, AbortOnDropHandle<()>> = HashMap::new();
        loop {
            let mut query = Vec::new();
            if !self.config.spec().filter.is_empty() {
                query.push(("filter", self.config.spec().filter.as_str()));
            }
            let asked = question.ask::<BTreeMap<String, Vec<String>>>(
                &self,
                "catalog/services",
                &query,
                "services",
            );
            let Some(mut services) = asked.await else { continue };
            services.retain(|name, tags| self.config.spec().is_wanted(name, tags));
            watched.retain(|name, _| {
                let stays = services.contains_key(name);
                if !stays {
                    self.found.remove(name);
                }
                stays
            });
            for name in services.into_keys() {
                if watched.len() >= SERVICES_MAX {
                    warn!(limit = SERVICES_MAX, "too many Consul services, some are not watched");
                    break;
                }
                watched.entry(name).or_insert_with_key(|name| self.start(name.clone()));
            }
            if watched.is_empty() {
                self.found.replace(Vec::new());
            }
        }
    }

    /// Watches the instances of one service.
    fn start(self: &Arc<Self>, name: String) -> AbortOnDropHandle<()> {
        let catalog = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move { catalog.watch_service(&name).await }))
    }

    async fn watch_service(&self, name: &str) {
        let spec = self.config.spec();
        let mut question = Question::new(&self.config);
        let mut query: Vec<(&str, &str)> = spec.tags.iter().map(|tag| ("tag", &**tag)).collect();
        if !spec.health_filter.is_empty() {
            query.push(("filter", &spec.health_filter));
        }
        let path = format!("health/service/{}", path_segment(name));
        loop {
            let asked = question.ask::<Vec<Instance>>(self, &path, &query, name);
            let Some(instances) = asked.await else { continue };
            let common = [("__meta_consul_service", name), ("__meta_consul_dc", &self.datacenter)];
            let targets = instances.iter().map(|one| one.labels(&spec.tag_separator)).collect();
            let labels = Labels::from_iter(common);
            self.found.update(Group { source: Arc::from(name), targets, labels });
        }
    }

    /// One question; the answer and its index.
    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(T, u64), ApiError> {
        let spec = self.config.spec();
        let mut url = format!("{}://{}", spec.scheme, spec.server);
        for part in spec.path_prefix.split('/').filter(|part| !part.is_empty()) {
            url.push('/');
            url.push_str(part);
        }
        url.push_str("/v1/");
        url.push_str(path);
        let common =
            [("dc", &spec.datacenter), ("ns", &spec.namespace), ("partition", &spec.partition)];
        let common = common.into_iter().filter(|(_, value)| !value.is_empty());
        let common = common.map(|(name, value)| (name, value.as_str()));
        push_query(&mut url, common.chain(query.iter().copied()));
        let token = [("x-consul-token", spec.token.reveal())];
        let headers = if spec.token.is_empty() { &[] } else { &token[..] };
        let reply = self.api.get(&url, headers, HOLD + GRACE).await?;
        let index = reply.headers.get("x-consul-index").and_then(|index| index.to_str().ok());
        Ok((reply.json(&url)?, index.and_then(|index| index.parse().ok()).unwrap_or(0)))
    }

    fn failed(&self, failure: &ApiError, what: &str) {
        self.tools.metrics.consul_failures.inc();
        warn!(what, error = %Chain(failure), "Consul discovery failed");
        self.found.failed();
    }
}

// === impl Question ===

impl Question {
    fn new(config: &ConsulSdConfig) -> Question {
        let mut ticks = tokio::time::interval(config.spec().refresh_interval.to_std());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Question { index: 0, ticks, failing: false }
    }

    /// Waits for its turn, asks, and returns the answer if it is a new one.
    async fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        catalog: &Catalog,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Option<T> {
        self.ticks.tick().await;
        let spec = catalog.config.spec();
        let (index, hold) = (self.index.to_string(), format!("{}ms", HOLD.as_millis()));
        let meta: Vec<String> =
            spec.node_meta.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let mut full = query.to_vec();
        full.extend(meta.iter().map(|pair| ("node-meta", pair.as_str())));
        if spec.allow_stale {
            full.push(("stale", ""));
        }
        if self.index > 0 {
            full.push(("index", &index));
        }
        full.push(("wait", &hold));
        let started = catalog.tools.clock.now();
        let answer = catalog.get::<T>(path, &full).await;
        catalog.tools.metrics.consul_asked(catalog.tools.clock.now().since(started));
        match answer {
            Ok((_, index)) if index == self.index && index > 0 => None,
            Ok((answer, index)) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(what, "Consul answers again");
                }
                // An index that goes back means that Consul starts afresh.
                self.index = if index < self.index { 0 } else { index };
                Some(answer)
            }
            Err(failure) if self.failing => {
                catalog.tools.metrics.consul_failures.inc();
                debug!(what, error = %Chain(&failure), "Consul discovery failed again");
                sleep(RETRY).await;
                None
            }
            Err(failure) => {
                self.failing = true;
                catalog.failed(&failure, what);
                sleep(RETRY).await;
                None
            }
        }
    }
}

impl ConsulSdSpec {
    /// Whether a service with this name and these tags is watched.
    fn is_wanted(&self, name: &str, tags: &[String]) -> bool {
        let is_named = self.services.is_empty() || self.services.iter().any(|other| other == name);
        is_named && self.tags.iter().all(|tag| tags.contains(tag))
    }
}

// === impl Instance ===

impl Instance {
    fn labels(&self, separator: &str) -> Labels {
        let Instance { node, service, .. } = self;
        let port = service.port.to_string();
        let host = if service.address.is_empty() { &node.address } else { &service.address };
        let mut labels = LabelsBuilder::default();
        for (prefix, pairs) in [
            ("metadata", &node.meta),
            ("service_metadata", &service.meta),
            ("tagged_address", &node.tagged_addresses),
        ] {
            for (key, value) in pairs.iter().flatten() {
                let name = format!("__meta_consul_{prefix}_{}", label_name(key));
                labels.set(name, value.as_str());
            }
        }
        let tags = service.tags.as_deref().unwrap_or_default();
        labels.set("__address__", address(host, &port));
        labels.set("__meta_consul_address", node.address.as_str());
        labels.set("__meta_consul_node", node.node.as_str());
        labels.set("__meta_consul_namespace", service.namespace.as_str());
        labels.set("__meta_consul_partition", service.partition.as_str());
        labels.set("__meta_consul_tags", between(tags, separator));
        labels.set("__meta_consul_service_address", service.address.as_str());
        labels.set("__meta_consul_service_port", port);
        labels.set("__meta_consul_service_id", service.id.as_str());
        labels.set("__meta_consul_health", self.health());
        labels.build()
    }

    /// The worst of its checks, in Consul's words; maintenance is the worst of all.
    fn health(&self) -> &'static str {
        let checks = self.checks.as_deref().unwrap_or_default();
        let is_maintained = |check: &Check| {
            check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:")
        };
        let any = |status: &str| checks.iter().any(|check| check.status == status);
        if checks.iter().any(is_maintained) {
            "maintenance"
        } else if any("critical") {
            "critical"
        } else if any("warning") {
            "warning"
        } else if checks.iter().all(|check| check.status == "passing") {
            "passing"
        } else {
            ""
        }
    }
}

#[cfg(test)]
mod tests;
