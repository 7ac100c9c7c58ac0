//! What becomes a target in the roles `endpoints` and `endpointslice`: every address and port, and
//! every further port of the pods behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Labels, LabelsBuilder};

use super::objects::{
    Endpoint, EndpointAddress, EndpointPort, EndpointSlice, Endpoints, Pod, Reference, Service,
    ServicePort,
};
use super::watch::key;
use super::{Cluster, group, labels};
use crate::discovery::{Group, address, label_name};

/// The label that says to which service a slice belongs.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The pods behind addresses, and their ports that are targets already.
#[derive(Default)]
struct Pods(BTreeMap<String, (Arc<Pod>, Vec<u16>)>);

/// The role `endpoints`.
pub(super) fn endpoints(cluster: &Cluster, endpoints: &Endpoints) -> Group {
    let metadata = &endpoints.metadata;
    let mut common = LabelsBuilder::default();
    labels::set(&mut common, "namespace", metadata.namespace.as_str());
    if let Some(service) = cluster.services.get(&key(&metadata.namespace, &metadata.name)) {
        labels::service(&mut common, service);
    }
    labels::object(&mut common, metadata, "endpoints");
    labels::namespace(&mut common, cluster, &metadata.namespace);
    let (mut pods, mut targets) = (Pods::default(), Vec::new());
    for subset in &endpoints.subsets {
        for port in &subset.ports {
            for (addresses, ready) in
                [(&subset.addresses, "true"), (&subset.not_ready_addresses, "false")]
            {
                for address in addresses {
                    targets.push(of_address(cluster, &mut pods, address, port, ready));
                }
            }
        }
    }
    targets.extend(pods.further_ports(cluster));
    group("endpoints", metadata, common, targets)
}

fn of_address(
    cluster: &Cluster,
    pods: &mut Pods,
    from: &EndpointAddress,
    port: &ServicePort,
    ready: &str,
) -> Labels {
    let mut target = LabelsBuilder::default();
    target.set("__address__", address(&from.ip, &port.port.to_string()));
    labels::set(&mut target, "endpoint_port_name", port.name.as_str());
    labels::set(&mut target, "endpoint_port_protocol", port.protocol.as_str());
    labels::set(&mut target, "endpoint_ready", ready);
    labels::set(&mut target, "endpoint_hostname", from.hostname.as_str());
    labels::set(&mut target, "endpoint_node_name", from.node_name.as_deref().unwrap_or_default());
    if let Some(reference) = &from.target_ref {
        labels::set(&mut target, "endpoint_address_target_kind", reference.kind.as_str());
        labels::set(&mut target, "endpoint_address_target_name", reference.name.as_str());
    }
    let node = from.node_name.as_deref().or(node_of(from.target_ref.as_ref()));
    labels::node(&mut target, cluster, node);
    pods.describe(cluster, &mut target, from.target_ref.as_ref(), Some(port.port), &port.protocol);
    target.build()
}

/// The role `endpointslice`.
pub(super) fn endpoint_slice(cluster: &Cluster, slice: &EndpointSlice) -> Group {
    let metadata = &slice.metadata;
    let mut common = LabelsBuilder::default();
    labels::set(&mut common, "namespace", metadata.namespace.as_str());
    labels::set(&mut common, "endpointslice_address_type", slice.address_type.as_str());
    labels::object(&mut common, metadata, "endpointslice");
    let service = metadata.labels.get(SERVICE_NAME);
    let service = service.and_then(|name| cluster.services.get(&key(&metadata.namespace, name)));
    if let Some(service) = service {
        labels::service(&mut common, service);
    }
    labels::namespace(&mut common, cluster, &metadata.namespace);
    let (mut pods, mut targets) = (Pods::default(), Vec::new());
    if !service.is_some_and(|service| is_second_family(service, slice)) {
        for endpoint in &slice.endpoints {
            for port in &slice.ports {
                for from in &endpoint.addresses {
                    targets.push(of_endpoint(cluster, &mut pods, from, endpoint, port));
                }
            }
        }
    }
    targets.extend(pods.further_ports(cluster));
    group("endpointslice", metadata, common, targets)
}

/// The slice of a service's second IP family: its targets would come twice.
fn is_second_family(service: &Service, slice: &EndpointSlice) -> bool {
    let is_dual = matches!(
        service.spec.ip_family_policy.as_deref(),
        Some("PreferDualStack" | "RequireDualStack")
    );
    is_dual && service.spec.ip_families.first().is_some_and(|first| *first != slice.address_type)
}

fn of_endpoint(
    cluster: &Cluster,
    pods: &mut Pods,
    from: &str,
    endpoint: &Endpoint,
    port: &EndpointPort,
) -> Labels {
    let mut target = LabelsBuilder::default();
    let number = port.port.map(|number| number.to_string());
    let to = number.as_ref().map_or(from.to_owned(), |number| address(from, number));
    target.set("__address__", to);
    let truth = |value: Option<bool>| value.map(|value| value.to_string());
    let (conditions, reference) = (&endpoint.conditions, endpoint.target_ref.as_ref());
    for (name, value) in [
        ("port_name", port.name.clone()),
        ("port_protocol", port.protocol.clone()),
        ("port", number),
        ("port_app_protocol", port.app_protocol.clone()),
        ("endpoint_conditions_ready", truth(conditions.ready)),
        ("endpoint_conditions_serving", truth(conditions.serving)),
        ("endpoint_conditions_terminating", truth(conditions.terminating)),
        ("endpoint_hostname", endpoint.hostname.clone()),
        ("endpoint_node_name", endpoint.node_name.clone()),
        ("endpoint_zone", endpoint.zone.clone()),
        ("address_target_kind", reference.map(|reference| reference.kind.clone())),
        ("address_target_name", reference.map(|reference| reference.name.clone())),
    ] {
        labels::set(&mut target, &format!("endpointslice_{name}"), value.unwrap_or_default());
    }
    for (topology, value) in &endpoint.deprecated_topology {
        let (prefix, name) = ("endpointslice_endpoint_topology", label_name(topology));
        labels::set(&mut target, &format!("{prefix}_{name}"), value.as_str());
        labels::set(&mut target, &format!("{prefix}_present_{name}"), "true");
    }
    let node = node_of(reference).or(endpoint.node_name.as_deref());
    labels::node(&mut target, cluster, node);
    pods.describe(cluster, &mut target, reference, port.port, "");
    target.build()
}

fn node_of(reference: Option<&Reference>) -> Option<&str> {
    reference.filter(|reference| reference.kind == "Node").map(|reference| &*reference.name)
}

// === impl Pods ===

impl Pods {
    /// Adds what the pod behind `reference`, and its container at `port`, say about themselves. An
    /// empty `protocol` means that of the container's port.
    fn describe(
        &mut self,
        cluster: &Cluster,
        target: &mut LabelsBuilder,
        reference: Option<&Reference>,
        port: Option<u16>,
        protocol: &str,
    ) {
        let reference = reference.filter(|reference| reference.kind == "Pod");
        let Some(reference) = reference else { return };
        let key = key(&reference.namespace, &reference.name);
        let Some(pod) = cluster.pods.get(&key) else { return };
        let (_, ports) = self.0.entry(key).or_insert_with(|| (Arc::clone(pod), Vec::new()));
        labels::pod(target, cluster, pod);
        let Some(port) = port else { return };
        ports.push(port);
        for (container, is_init) in pod.all_containers() {
            let known = container.ports.iter().find(|known| known.container_port == port);
            if let Some(known) = known {
                let protocol = if protocol.is_empty() { &known.protocol } else { protocol };
                labels::container(target, container, is_init, Some((port, &known.name, protocol)));
            }
        }
    }

    /// Targets for the ports of pods that no address named.
    fn further_ports(&self, cluster: &Cluster) -> Vec<Labels> {
        let mut targets = Vec::new();
        for (pod, named) in self.0.values().filter(|(pod, _)| !pod.status.pod_ip.is_empty()) {
            for (container, is_init) in pod.all_containers() {
                let ports = container.ports.iter();
                for port in ports.filter(|port| !named.contains(&port.container_port)) {
                    let number = port.container_port;
                    let mut target = LabelsBuilder::default();
                    target.set("__address__", address(&pod.status.pod_ip, &number.to_string()));
                    let port = (number, port.name.as_str(), port.protocol.as_str());
                    labels::container(&mut target, container, is_init, Some(port));
                    labels::pod(&mut target, cluster, pod);
                    targets.push(target.build());
                }
            }
        }
        targets
    }
}
