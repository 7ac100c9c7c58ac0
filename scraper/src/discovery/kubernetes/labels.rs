//! The meta labels of objects, and of the objects that they are related to.

use model::LabelsBuilder;

use super::Cluster;
use super::objects::{Container, Metadata, Pod, Service};
use super::watch::key;
use crate::discovery::label_name;

const PREFIX: &str = "__meta_kubernetes_";

/// Sets the meta label `name`.
pub(super) fn set(labels: &mut LabelsBuilder, name: &str, value: impl Into<String>) {
    labels.set(format!("{PREFIX}{name}"), value.into());
}

/// Name, labels and annotations of an object of this role.
pub(super) fn object(labels: &mut LabelsBuilder, metadata: &Metadata, role: &str) {
    set(labels, &format!("{role}_name"), metadata.name.as_str());
    annotations(labels, metadata, role);
}

/// Labels and annotations of an object of this role.
fn annotations(labels: &mut LabelsBuilder, metadata: &Metadata, role: &str) {
    for (pairs, word) in [(&metadata.labels, "label"), (&metadata.annotations, "annotation")] {
        for (key, value) in pairs {
            let name = label_name(key);
            set(labels, &format!("{role}_{word}_{name}"), value.as_str());
            set(labels, &format!("{role}_{word}present_{name}"), "true");
        }
    }
}

/// What the service says about its endpoints.
pub(super) fn service(labels: &mut LabelsBuilder, service: &Service) {
    set(labels, "namespace", service.metadata.namespace.as_str());
    object(labels, &service.metadata, "service");
}

/// `attach_metadata: {node: true}`.
pub(super) fn node(labels: &mut LabelsBuilder, cluster: &Cluster, name: Option<&str>) {
    if let Some(node) = name.and_then(|name| cluster.nodes.get(name)) {
        object(labels, &node.metadata, "node");
    }
}

/// `attach_metadata: {namespace: true}`.
pub(super) fn namespace(labels: &mut LabelsBuilder, cluster: &Cluster, name: &str) {
    if let Some(namespace) = cluster.namespaces.get(name) {
        annotations(labels, &namespace.metadata, "namespace");
    }
}

/// What a pod says about itself.
pub(super) fn pod(labels: &mut LabelsBuilder, cluster: &Cluster, pod: &Pod) {
    let Pod { metadata, spec, status } = pod;
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    let ready = ready.map_or("unknown", |condition| condition.status.as_str());
    set(labels, "pod_ip", status.pod_ip.as_str());
    set(labels, "pod_ready", ready.to_ascii_lowercase());
    set(labels, "pod_phase", status.phase.as_str());
    set(labels, "pod_node_name", spec.node_name.as_str());
    set(labels, "pod_host_ip", status.host_ip.as_str());
    set(labels, "pod_uid", metadata.uid.as_str());
    object(labels, metadata, "pod");
    let Some(owner) = metadata.controller() else { return };
    set(labels, "pod_controller_kind", owner.kind.as_str());
    set(labels, "pod_controller_name", owner.name.as_str());
    let owned = key(&metadata.namespace, &owner.name);
    let grandparent = match &*owner.kind {
        "ReplicaSet" => cluster.replica_sets.get(&owned).map(|set| (set, "Deployment")),
        "Job" => cluster.jobs.get(&owned).map(|job| (job, "CronJob")),
        _ => None,
    };
    if owner.kind == "Job" && cluster.attach.job {
        set(labels, "pod_job_name", owner.name.as_str());
    }
    let grandparent = grandparent
        .and_then(|(object, kind)| object.metadata.controller().filter(|owner| owner.kind == kind));
    if let Some(grandparent) = grandparent {
        let is_wanted = match &*grandparent.kind {
            "Deployment" => cluster.attach.deployment,
            _ => cluster.attach.cronjob,
        };
        if is_wanted {
            let kind = grandparent.kind.to_ascii_lowercase();
            set(labels, &format!("pod_{kind}_name"), grandparent.name.as_str());
        }
    }
}

/// A container, and one of its ports: `(number, name, protocol)`.
pub(super) fn container(
    labels: &mut LabelsBuilder,
    container: &Container,
    is_init: bool,
    port: Option<(u16, &str, &str)>,
) {
    set(labels, "pod_container_name", container.name.as_str());
    set(labels, "pod_container_image", container.image.as_str());
    set(labels, "pod_container_init", if is_init { "true" } else { "false" });
    if let Some((number, name, protocol)) = port {
        set(labels, "pod_container_port_number", number.to_string());
        set(labels, "pod_container_port_name", name);
        set(labels, "pod_container_port_protocol", protocol);
    }
}

// === impl Pod ===

impl Pod {
    /// Its containers, and whether each only runs at the start.
    pub(super) fn all_containers(&self) -> impl Iterator<Item = (&Container, bool)> {
        let main = self.spec.containers.iter().map(|container| (container, false));
        main.chain(self.spec.init_containers.iter().map(|container| (container, true)))
    }
}
