//! `kubernetes_sd_configs`: the objects of a Kubernetes cluster.

use std::path::Path;

use kit::config::{HttpClientConfig, HttpClientSpec, Invalid, is_default, resolve_path};
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "kubernetes.plain")]
pub struct KubernetesSdSpec {
    /// The API server; that of the cluster we run in if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_server: String,
    /// What becomes a target: `node`, `pod`, `service`, `endpoints`, `endpointslice`, `ingress`.
    pub role: String,
    /// A kubeconfig file.
    pub kubeconfig_file: String,
    /// Where to look.
    #[serde(skip_serializing_if = "is_default")]
    pub namespaces: NamespacesSpec,
    /// Which objects to take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<KubernetesSelectorSpec>,
    /// Labels of related objects to add.
    #[serde(skip_serializing_if = "is_default")]
    pub attach_metadata: KubernetesMetadataSpec,
    /// The HTTP client's keys.
    #[serde(rename = "<inline>")]
    pub http: HttpClientSpec,
}

/// `namespaces`; every namespace if nothing is said.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "kubernetes.plain")]
pub struct NamespacesSpec {
    /// The one we run in.
    pub own_namespace: bool,
    /// These.
    pub names: Vec<String>,
}

/// One of `selectors`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "kubernetes.SelectorConfig")]
pub struct KubernetesSelectorSpec {
    /// The kind of object it is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// A label selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// A field selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// `attach_metadata`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "kubernetes.AttachMetadataConfig")]
pub struct KubernetesMetadataSpec {
    /// Of the node.
    pub node: bool,
    /// Of the namespace.
    pub namespace: bool,
    /// The name of the deployment that owns the pod.
    pub deployment: bool,
    /// The name of the job that owns the pod.
    pub job: bool,
    /// The name of the cron job that owns the pod.
    pub cronjob: bool,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesSdConfig {
    spec: KubernetesSdSpec,
    role: KubernetesRole,
    http: HttpClientConfig,
}

/// What becomes a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KubernetesRole {
    /// One per node.
    Node,
    /// One per port of a pod.
    Pod,
    /// One per port of a service.
    Service,
    /// One per address of an `Endpoints` object.
    Endpoints,
    /// One per address of an `EndpointSlice` object.
    EndpointSlice,
    /// One per path of an ingress.
    Ingress,
}

// === impl KubernetesSdSpec ===

impl KubernetesSdSpec {
    pub(super) fn resolve_paths(&mut self, dir: &Path) {
        self.http.resolve_paths(dir);
        resolve_path(&mut self.kubeconfig_file, dir);
    }

    pub(super) fn check(&mut self) -> Result<KubernetesSdConfig, Invalid> {
        if self.role.is_empty() {
            let message =
                "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)";
            return Err(Invalid::new("role", message));
        }
        let role = role_of(&self.role)?;
        let http = self.http.clone().check()?;
        self.check_access()?;
        self.check_selectors(role)?;
        if !self.api_server.is_empty() {
            url::Url::parse(&self.api_server)
                .map_err(|error| Invalid::new("api_server", error.to_string()))?;
        }
        self.http.fill_defaults(true);
        Ok(KubernetesSdConfig { spec: self.clone(), role, http })
    }

    /// Which ways to the API server exclude each other.
    fn check_access(&self) -> Result<(), Invalid> {
        let refuse = |key: &str, message: &str| Err(Invalid::new(key, message));
        let (server, kubeconfig) = (!self.api_server.is_empty(), !self.kubeconfig_file.is_empty());
        let own_http = !self.http.is_default();
        if server && kubeconfig {
            return refuse(
                "kubeconfig_file",
                "cannot use 'kubeconfig_file' and 'api_server' simultaneously",
            );
        }
        if kubeconfig && own_http {
            return refuse(
                "kubeconfig_file",
                "cannot use a custom HTTP client configuration together with 'kubeconfig_file'",
            );
        }
        if !server && own_http {
            return refuse(
                "api_server",
                "to use custom HTTP client configuration please provide the 'api_server' URL \
                 explicitly",
            );
        }
        if server && self.namespaces.own_namespace {
            return refuse(
                "namespaces.own_namespace",
                "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously",
            );
        }
        if kubeconfig && self.namespaces.own_namespace {
            return refuse(
                "namespaces.own_namespace",
                "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously",
            );
        }
        Ok(())
    }

    fn check_selectors(&self, role: KubernetesRole) -> Result<(), Invalid> {
        for (at, selector) in self.selectors.iter().enumerate() {
            let key = |field: &str| format!("selectors[{at}].{field}");
            if !selector.role.is_empty() {
                role_of(&selector.role).map_err(|error| error.under(format!("selectors[{at}]")))?;
            }
            let twice = self.selectors[..at].iter().any(|other| other.role == selector.role);
            if twice {
                let message = format!("duplicated selector role: {}", selector.role);
                return Err(Invalid::new(key("role"), message));
            }
            let allowed = role.selectors();
            if !allowed.contains(&&*selector.role) {
                let (role, allowed) = (&self.role, allowed.join(", "));
                let message = format!("{role} role supports only {allowed} selectors");
                return Err(Invalid::new(key("role"), message));
            }
            check_field_selector(&selector.field)
                .map_err(|message| Invalid::new(key("field"), message))?;
            check_label_selector(&selector.label)
                .map_err(|message| Invalid::new(key("label"), message))?;
        }
        Ok(())
    }
}

fn role_of(name: &str) -> Result<KubernetesRole, Invalid> {
    match name {
        "node" => Ok(KubernetesRole::Node),
        "pod" => Ok(KubernetesRole::Pod),
        "service" => Ok(KubernetesRole::Service),
        "endpoints" => Ok(KubernetesRole::Endpoints),
        "endpointslice" => Ok(KubernetesRole::EndpointSlice),
        "ingress" => Ok(KubernetesRole::Ingress),
        _ => Err(Invalid::new("role", format!("unknown Kubernetes SD role {name:?}"))),
    }
}

/// Terms `field=value`, `field==value`, `field!=value`, separated by commas (apimachinery
/// `fields.ParseSelector`).
fn check_field_selector(selector: &str) -> Result<(), String> {
    let terms = selector.split(',').filter(|term| !term.is_empty());
    for term in terms {
        if !term.contains('=') {
            return Err(format!("invalid selector: '{selector}'; can't understand '{term}'"));
        }
    }
    Ok(())
}

/// Requirements `key`, `!key`, `key=value`, `key in (a,b)`, … separated by commas (apimachinery
/// `labels.Parse`), as far as a mistake can be seen without a server.
fn check_label_selector(selector: &str) -> Result<(), String> {
    let mut rest = selector.trim();
    let wrong = |part: &str| Err(format!("unable to parse requirement: found '{part}'"));
    while !rest.is_empty() {
        let word = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let start = rest.strip_prefix('!').unwrap_or(rest).trim_start();
        let end = start.find(|c| !word(c)).unwrap_or(start.len());
        let (key, after) = start.split_at(end);
        if key.is_empty() {
            return wrong(rest);
        }
        let after = after.trim_start();
        let set = ["in ", "in(", "notin ", "notin("].iter().any(|word| after.starts_with(word));
        let after = if set {
            let Some((_, inner)) = after.split_once('(') else { return wrong(after) };
            let Some((_, after)) = inner.split_once(')') else { return wrong(inner) };
            after
        } else {
            let sign = ["==", "!=", "=", ">", "<"].iter().find_map(|sign| after.strip_prefix(sign));
            let value = sign.map_or(after, str::trim_start);
            let end = value.find(|c| !word(c)).unwrap_or(value.len());
            if sign.is_some() { &value[end..] } else { after }
        };
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return wrong(after),
        };
    }
    Ok(())
}

// === impl KubernetesRole ===

impl KubernetesRole {
    /// The kinds of objects that may be selected for this role.
    fn selectors(self) -> &'static [&'static str] {
        match self {
            KubernetesRole::Pod => &["pod", "node"],
            KubernetesRole::Service => &["service"],
            KubernetesRole::EndpointSlice => &["pod", "service", "endpointslice"],
            KubernetesRole::Endpoints => &["pod", "service", "endpoints"],
            KubernetesRole::Node => &["node"],
            KubernetesRole::Ingress => &["ingress"],
        }
    }
}

// === impl KubernetesSdConfig ===

impl KubernetesSdConfig {
    /// What becomes a target.
    pub fn role(&self) -> KubernetesRole {
        self.role
    }

    /// What the file says, checked.
    pub fn spec(&self) -> &KubernetesSdSpec {
        &self.spec
    }

    /// The HTTP client's options.
    pub fn http(&self) -> &HttpClientConfig {
        &self.http
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_are_read_as_far_as_mistakes_can_be_seen() {
        let check = |selector: &str, ok: bool| {
            assert_eq!(check_label_selector(selector).is_ok(), ok, "{selector}");
        };
        check("", true);
        check("foo=bar", true);
        check("foo in (bar,baz)", true);
        check("a==b, c!=d, !e, f, app.kubernetes.io/name=x", true);
        check("foo notin (a), x", true);
        check("=b", false);
        check("a=b c=d", false);
        check("a in b", false);
    }
}
