//! `kubernetes_sd_configs`: the objects of a Kubernetes cluster, listed once and then watched.
//!
//! Each kind of object that a role needs has a [`Store`], kept equal to the server's by a task of
//! its own. When something changes, the groups of all objects are made again: no relation between
//! objects can be forgotten, and changes that come together cost one round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kit::Chain;
use model::{Labels, LabelsBuilder};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use super::api::Api;
use super::{Found, Group, Mechanism, Provider, Tools, Wanted};
use crate::config::{
    JobConfig, KubernetesMetadataSpec, KubernetesRole, KubernetesSdConfig, KubernetesSdSpec,
};
use access::{Access, AccessError};
use objects::{EndpointSlice, Endpoints, Ingress, Metadata, Node, Object, Owned, Pod, Service};
use watch::{Feed, Store};

mod access;
mod endpoints;
mod labels;
mod objects;
mod roles;
mod watch;

pub(super) const MECHANISM: Mechanism = Mechanism { name: "kubernetes", wanted };

/// Changes that come within this time are taken together.
const SETTLE: Duration = Duration::from_millis(250);

/// Wait for the first lists of all kinds of objects.
const PATIENCE: Duration = Duration::from_secs(10);

/// Wait before the credentials are looked at again, when there were none.
const RETRY: Duration = Duration::from_secs(10);

fn wanted(job: &JobConfig) -> Vec<Arc<dyn Wanted>> {
    job.kubernetes_sd().iter().map(|one| Arc::new(one.clone()) as Arc<dyn Wanted>).collect()
}

impl Provider for KubernetesSdConfig {
    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut failing = false;
            let watches = loop {
                match Watches::start(&self, &tools) {
                    Ok(watches) => break watches,
                    Err(failure) => {
                        tools.metrics.kubernetes_failures.inc();
                        if !std::mem::replace(&mut failing, true) {
                            error!(error = %Chain(&failure), "no access to Kubernetes");
                        }
                        found.failed();
                        tokio::time::sleep(RETRY).await;
                    }
                }
            };
            watches.follow(&found, PATIENCE).await;
        })
    }
}

/// The objects as they are at one moment, by `namespace/name`.
struct Cluster {
    attach: KubernetesMetadataSpec,
    pods: BTreeMap<String, Arc<Pod>>,
    services: BTreeMap<String, Arc<Service>>,
    nodes: BTreeMap<String, Arc<Node>>,
    namespaces: BTreeMap<String, Arc<Owned>>,
    replica_sets: BTreeMap<String, Arc<Owned>>,
    jobs: BTreeMap<String, Arc<Owned>>,
}

/// What is watched for one section. A kind that is not needed has a store without scopes.
struct Watches {
    role: KubernetesRole,
    attach: KubernetesMetadataSpec,
    changed: Arc<Notify>,
    pods: Arc<Store<Pod>>,
    services: Arc<Store<Service>>,
    nodes: Arc<Store<Node>>,
    ingresses: Arc<Store<Ingress>>,
    endpoints: Arc<Store<Endpoints>>,
    slices: Arc<Store<EndpointSlice>>,
    namespaces: Arc<Store<Owned>>,
    replica_sets: Arc<Store<Owned>>,
    jobs: Arc<Store<Owned>>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// What starts the watches of a section.
struct Starter<'c> {
    spec: &'c KubernetesSdSpec,
    api: Arc<Api>,
    base: String,
    /// Empty for all.
    namespaces: Vec<String>,
    changed: Arc<Notify>,
    tools: Tools,
    tasks: Vec<AbortOnDropHandle<()>>,
}

/// Where a kind of object is in the API.
struct Place {
    group: &'static str,
    plural: &'static str,
    /// The name by which `selectors` mean it.
    role: &'static str,
    is_namespaced: bool,
}

const fn place(group: &'static str, plural: &'static str, role: &'static str) -> Place {
    Place { group, plural, role, is_namespaced: true }
}

const PODS: Place = place("api/v1", "pods", "pod");
const SERVICES: Place = place("api/v1", "services", "service");
const ENDPOINTS: Place = place("api/v1", "endpoints", "endpoints");
const SLICES: Place = place("apis/discovery.k8s.io/v1", "endpointslices", "endpointslice");
const INGRESSES: Place = place("apis/networking.k8s.io/v1", "ingresses", "ingress");
const REPLICA_SETS: Place = place("apis/apps/v1", "replicasets", "");
const JOBS: Place = place("apis/batch/v1", "jobs", "");
const NODES: Place = Place { is_namespaced: false, ..place("api/v1", "nodes", "node") };
const NAMESPACES: Place = Place { is_namespaced: false, ..place("api/v1", "namespaces", "") };

// === impl Watches ===

impl Watches {
    fn start(config: &KubernetesSdConfig, tools: &Tools) -> Result<Watches, AccessError> {
        let Access { api, base } = Access::new(config)?;
        let (spec, role) = (config.spec(), config.role());
        let mut namespaces = spec.namespaces.names.clone();
        if spec.namespaces.own_namespace {
            namespaces.push(access::own_namespace()?);
        }
        let changed = Arc::new(Notify::new());
        let (api, tools, tasks) = (Arc::new(api), tools.clone(), Vec::new());
        let mut start = Starter { spec, api, base, namespaces, changed, tools, tasks };
        use KubernetesRole::{EndpointSlice, Endpoints, Ingress, Node, Pod, Service};
        let attach = &spec.attach_metadata;
        let is_slices = matches!(role, Endpoints | EndpointSlice);
        let has_pods = is_slices || role == Pod;
        Ok(Watches {
            pods: start.watch(has_pods, &PODS),
            services: start.watch(is_slices || role == Service, &SERVICES),
            nodes: start.watch(role == Node || has_pods && attach.node, &NODES),
            ingresses: start.watch(role == Ingress, &INGRESSES),
            endpoints: start.watch(role == Endpoints, &ENDPOINTS),
            slices: start.watch(role == EndpointSlice, &SLICES),
            namespaces: start.watch(role != Node && attach.namespace, &NAMESPACES),
            replica_sets: start.watch(has_pods && attach.deployment, &REPLICA_SETS),
            jobs: start.watch(has_pods && attach.cronjob, &JOBS),
            role,
            attach: attach.clone(),
            changed: start.changed,
            _tasks: start.tasks,
        })
    }

    /// Makes groups whenever something has changed. A server that says nothing has failed for
    /// now: nobody waits for it longer than `patience`.
    async fn follow(self, found: &Found, patience: Duration) {
        if tokio::time::timeout(patience, self.all_listed()).await.is_err() {
            found.failed();
        }
        loop {
            if self.is_listed() {
                found.replace(self.groups());
            }
            self.changed.notified().await;
            tokio::time::sleep(SETTLE).await;
        }
    }

    async fn all_listed(&self) {
        while !self.is_listed() {
            self.changed.notified().await;
        }
    }

    fn is_listed(&self) -> bool {
        self.pods.is_listed()
            && self.services.is_listed()
            && self.nodes.is_listed()
            && self.ingresses.is_listed()
            && self.endpoints.is_listed()
            && self.slices.is_listed()
            && self.namespaces.is_listed()
            && self.replica_sets.is_listed()
            && self.jobs.is_listed()
    }

    fn groups(&self) -> Vec<Group> {
        let cluster = Cluster {
            attach: self.attach.clone(),
            pods: self.pods.all(),
            services: self.services.all(),
            nodes: self.nodes.all(),
            namespaces: self.namespaces.all(),
            replica_sets: self.replica_sets.all(),
            jobs: self.jobs.all(),
        };
        match self.role {
            KubernetesRole::Pod => cluster.groups(&cluster.pods, roles::pod),
            KubernetesRole::Service => cluster.groups(&cluster.services, roles::service),
            KubernetesRole::Node => cluster.groups(&cluster.nodes, roles::node),
            KubernetesRole::Ingress => cluster.groups(&self.ingresses.all(), roles::ingress),
            KubernetesRole::Endpoints => {
                cluster.groups(&self.endpoints.all(), endpoints::endpoints)
            }
            KubernetesRole::EndpointSlice => {
                cluster.groups(&self.slices.all(), endpoints::endpoint_slice)
            }
        }
    }
}

// === impl Starter ===

impl Starter<'_> {
    /// Watches the objects at `place` in every scope, if they are needed.
    fn watch<T: Object>(&mut self, is_needed: bool, place: &Place) -> Arc<Store<T>> {
        let everywhere = [String::new()];
        let scopes: &[String] = if !is_needed {
            &[]
        } else if place.is_namespaced && !self.namespaces.is_empty() {
            &self.namespaces
        } else {
            &everywhere
        };
        let store = Store::new(scopes.len(), &self.changed);
        let selector = self.spec.selectors.iter().find(|selector| selector.role == place.role);
        for (scope, namespace) in scopes.iter().enumerate() {
            let Place { group, plural, .. } = place;
            let within = match namespace.as_str() {
                "" => String::new(),
                name => format!("namespaces/{name}/"),
            };
            let feed = Feed {
                api: Arc::clone(&self.api),
                url: format!("{}/{group}/{within}{plural}", self.base),
                label_selector: selector.map(|one| one.label.clone()).unwrap_or_default(),
                field_selector: selector.map(|one| one.field.clone()).unwrap_or_default(),
                store: Arc::clone(&store),
                scope,
                tools: self.tools.clone(),
            };
            self.tasks.push(AbortOnDropHandle::new(tokio::spawn(feed.run())));
        }
        store
    }
}

// === impl Cluster ===

impl Cluster {
    fn groups<T>(
        &self,
        objects: &BTreeMap<String, Arc<T>>,
        group: fn(&Cluster, &T) -> Group,
    ) -> Vec<Group> {
        objects.values().map(|object| group(self, object)).collect()
    }
}

/// The group of one object.
fn group(kind: &str, of: &Metadata, labels: LabelsBuilder, targets: Vec<Labels>) -> Group {
    let source = format!("{kind}/{}", watch::key(&of.namespace, &of.name));
    Group { source: Arc::from(source), targets, labels: labels.build() }
}

#[cfg(test)]
mod tests;
