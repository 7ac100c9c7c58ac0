//! What becomes a target in the roles `pod`, `service`, `node` and `ingress`: a group an object.

use model::{Labels, LabelsBuilder};

use super::objects::{Container, ContainerStatus, Ingress, IngressRule, Node, Pod, Service};
use super::{Cluster, group, labels};
use crate::discovery::{Group, address, label_name};

/// Which of a node's addresses is scraped, the best first.
const NODE_ADDRESSES: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

/// A target for each port of each container; a container without ports is one, too.
pub(super) fn pod(cluster: &Cluster, pod: &Pod) -> Group {
    let (metadata, ip) = (&pod.metadata, &*pod.status.pod_ip);
    let mut common = LabelsBuilder::default();
    let node = &*pod.spec.node_name;
    // A node that the node selector leaves out leaves its pods out too.
    let is_elsewhere = cluster.attach.node && !cluster.nodes.contains_key(node);
    if ip.is_empty() || is_elsewhere {
        return group("pod", metadata, common, Vec::new());
    }
    labels::pod(&mut common, cluster, pod);
    labels::set(&mut common, "namespace", metadata.namespace.as_str());
    labels::node(&mut common, cluster, Some(node));
    labels::namespace(&mut common, cluster, &metadata.namespace);
    let targets = pod.all_containers().flat_map(|(container, is_init)| {
        let statuses = if is_init { &pod.status.init_containers } else { &pod.status.containers };
        container_targets(container, is_init, statuses, ip)
    });
    group("pod", metadata, common, targets.collect())
}

fn container_targets(
    container: &Container,
    is_init: bool,
    statuses: &[ContainerStatus],
    ip: &str,
) -> Vec<Labels> {
    let status = statuses.iter().find(|status| status.name == container.name);
    let id = status.map_or("", |status| status.container_id.as_str());
    let target = |to: String, port: Option<(u16, &str, &str)>| {
        let mut labels = LabelsBuilder::default();
        labels::container(&mut labels, container, is_init, port);
        labels::set(&mut labels, "pod_container_id", id);
        labels.set("__address__", to);
        labels.build()
    };
    if container.ports.is_empty() {
        return vec![target(ip.to_owned(), None)];
    }
    let of_port = |port: &super::objects::ContainerPort| {
        let number = port.container_port;
        let to = address(ip, &number.to_string());
        target(to, Some((number, &port.name, &port.protocol)))
    };
    container.ports.iter().map(of_port).collect()
}

/// A target for each port, by the service's name in the cluster.
pub(super) fn service(cluster: &Cluster, service: &Service) -> Group {
    let (metadata, spec) = (&service.metadata, &service.spec);
    let mut common = LabelsBuilder::default();
    labels::service(&mut common, service);
    labels::namespace(&mut common, cluster, &metadata.namespace);
    let host = format!("{}.{}.svc", metadata.name, metadata.namespace);
    let targets = spec.ports.iter().map(|port| {
        let mut labels = LabelsBuilder::default();
        let number = port.port.to_string();
        labels.set("__address__", format!("{host}:{number}"));
        labels::set(&mut labels, "service_port_name", port.name.as_str());
        labels::set(&mut labels, "service_port_number", number);
        labels::set(&mut labels, "service_port_protocol", port.protocol.as_str());
        labels::set(&mut labels, "service_type", spec.kind.as_str());
        if spec.kind == "ExternalName" {
            labels::set(&mut labels, "service_external_name", spec.external_name.as_str());
        } else {
            labels::set(&mut labels, "service_cluster_ip", spec.cluster_ip.as_str());
        }
        if spec.kind == "LoadBalancer" {
            labels::set(&mut labels, "service_loadbalancer_ip", load_balancer_ips(service));
        }
        labels.build()
    });
    group("svc", metadata, common, targets.collect())
}

fn load_balancer_ips(service: &Service) -> String {
    let ingress = service.status.load_balancer.ingress.iter().map(|ingress| ingress.ip.as_str());
    let ips: Vec<&str> = ingress.filter(|ip| !ip.is_empty()).collect();
    if ips.is_empty() { service.spec.load_balancer_ip.clone() } else { ips.join(",") }
}

/// The node's kubelet.
pub(super) fn node(_cluster: &Cluster, node: &Node) -> Group {
    let (metadata, status) = (&node.metadata, &node.status);
    let mut common = LabelsBuilder::default();
    labels::set(&mut common, "node_provider_id", node.spec.provider_id.as_str());
    for condition in &status.conditions {
        let name = format!("node_condition_{}", label_name(&condition.kind.to_ascii_lowercase()));
        labels::set(&mut common, &name, condition.status.to_ascii_lowercase());
    }
    labels::object(&mut common, metadata, "node");
    let first = |kind: &str| status.addresses.iter().find(|address| address.kind == kind);
    let Some(best) = NODE_ADDRESSES.into_iter().find_map(first) else {
        return group("node", metadata, common, Vec::new());
    };
    let mut target = LabelsBuilder::default();
    for known in &status.addresses {
        let first = first(&known.kind).map_or("", |first| first.address.as_str());
        labels::set(&mut target, &format!("node_address_{}", label_name(&known.kind)), first);
    }
    let port = status.daemon_endpoints.kubelet_endpoint.port.to_string();
    target.set("__address__", address(&best.address, &port));
    target.set("instance", metadata.name.as_str());
    group("node", metadata, common, vec![target.build()])
}

/// A target for each path of each rule.
pub(super) fn ingress(cluster: &Cluster, ingress: &Ingress) -> Group {
    let (metadata, spec) = (&ingress.metadata, &ingress.spec);
    let mut common = LabelsBuilder::default();
    labels::set(&mut common, "namespace", metadata.namespace.as_str());
    labels::set(&mut common, "ingress_class_name", spec.ingress_class_name.as_str());
    labels::object(&mut common, metadata, "ingress");
    labels::namespace(&mut common, cluster, &metadata.namespace);
    let targets = spec.rules.iter().flat_map(|rule| {
        let mut patterns = spec.tls.iter().flat_map(|tls| &tls.hosts);
        let is_secure = patterns.any(|pattern| matches_host(pattern, &rule.host));
        paths(rule).into_iter().map(move |path| {
            let mut labels = LabelsBuilder::default();
            labels.set("__address__", rule.host.as_str());
            labels::set(&mut labels, "ingress_scheme", if is_secure { "https" } else { "http" });
            labels::set(&mut labels, "ingress_host", rule.host.as_str());
            labels::set(&mut labels, "ingress_path", path);
            labels.build()
        })
    });
    group("ingress", metadata, common, targets.collect())
}

fn paths(rule: &IngressRule) -> Vec<&str> {
    let Some(http) = &rule.http else { return vec!["/"] };
    let paths = http.paths.iter().map(|item| item.path.as_str());
    paths.map(|path| if path.is_empty() { "/" } else { path }).collect()
}

/// `*.example.org` stands for one more part in front.
fn matches_host(pattern: &str, host: &str) -> bool {
    let after_first = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
    let wildcard = pattern.strip_prefix("*.").map(str::to_owned);
    pattern == host || wildcard.is_some() && wildcard == after_first(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_part() {
        let check = |pattern: &str, host: &str, want: bool| {
            assert_eq!(matches_host(pattern, host), want, "{pattern} {host}");
        };
        check("a.example.org", "a.example.org", true);
        check("*.example.org", "a.example.org", true);
        check("*.example.org", "a.b.example.org", false);
        check("*.example.org", "example.org", false);
        check("*", "example", false);
        check("b.example.org", "a.example.org", false);
    }
}
