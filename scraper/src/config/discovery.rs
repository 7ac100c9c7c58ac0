//! Where targets come from, as a job or an Alertmanager section says it: one list per mechanism.
//!
//! The mechanisms themselves are in `crate::discovery`; a section of one that is not in its list,
//! or that only Prometheus has, is refused as `not supported by rollcall: KEY`.

mod consul;
mod dns;
mod docker;
mod file;
mod fixed;
mod http;
mod kubernetes;
mod nomad;

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use kit::config::{INLINE, Invalid, no_null_items};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use consul::{ConsulSdConfig, ConsulSdSpec};
pub use dns::{DnsRecord, DnsSdConfig, DnsSdSpec};
pub use docker::{DockerFilterSpec, DockerSdConfig, DockerSdSpec};
pub use file::{FileSdConfig, FileSdSpec};
pub use fixed::StaticSpec;
pub use http::{HttpSdConfig, HttpSdSpec};
pub use kubernetes::{
    KubernetesMetadataSpec, KubernetesRole, KubernetesSdConfig, KubernetesSdSpec,
    KubernetesSelectorSpec, NamespacesSpec,
};
pub use nomad::{NomadSdConfig, NomadSdSpec};

use crate::discovery::{Group, MECHANISMS};

/// What the file says; `http` are the keys that stand in line beside the lists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DiscoverySpec<H> {
    /// `static_configs`
    pub fixed: Vec<Option<StaticSpec>>,
    /// `file_sd_configs`
    pub file: Vec<Option<FileSdSpec>>,
    /// `http_sd_configs`
    pub http_sd: Vec<Option<HttpSdSpec>>,
    /// `dns_sd_configs`
    pub dns: Vec<Option<DnsSdSpec>>,
    /// `consul_sd_configs`
    pub consul: Vec<Option<ConsulSdSpec>>,
    /// `kubernetes_sd_configs`
    pub kubernetes: Vec<Option<KubernetesSdSpec>>,
    /// `docker_sd_configs`
    pub docker: Vec<Option<DockerSdSpec>>,
    /// `nomad_sd_configs`
    pub nomad: Vec<Option<NomadSdSpec>>,
    /// The lists of mechanisms that only Prometheus has, by their keys.
    pub unsupported: Vec<&'static str>,
    /// The keys that belong to none of the lists.
    pub http: H,
}

/// Checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct DiscoveryConfig {
    pub(super) groups: Vec<Group>,
    pub(super) file: Vec<FileSdConfig>,
    pub(super) http: Vec<HttpSdConfig>,
    pub(super) dns: Vec<DnsSdConfig>,
    pub(super) consul: Vec<ConsulSdConfig>,
    pub(super) kubernetes: Vec<KubernetesSdConfig>,
    pub(super) docker: Vec<DockerSdConfig>,
    pub(super) nomad: Vec<NomadSdConfig>,
}

const STATIC: &str = "static_configs";
const FILE: &str = "file_sd_configs";
const HTTP: &str = "http_sd_configs";
const DNS: &str = "dns_sd_configs";
const CONSUL: &str = "consul_sd_configs";
const KUBERNETES: &str = "kubernetes_sd_configs";
const DOCKER: &str = "docker_sd_configs";
const NOMAD: &str = "nomad_sd_configs";

/// Every key that Prometheus 3.14 knows: ours, those in line, and those that only it has.
const KEYS: &[&str] = &[
    STATIC,
    FILE,
    HTTP,
    DNS,
    CONSUL,
    KUBERNETES,
    DOCKER,
    NOMAD,
    INLINE,
    "aws_sd_configs",
    "azure_sd_configs",
    "digitalocean_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "elasticache_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "ionos_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "rds_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

// === impl DiscoverySpec ===

impl<H> DiscoverySpec<H> {
    /// Makes its paths relative to `dir`, but for those of `http`.
    pub fn resolve_paths(&mut self, dir: &Path) {
        self.file.iter_mut().flatten().for_each(|spec| spec.resolve_paths(dir));
        self.http_sd.iter_mut().flatten().for_each(|spec| spec.http.resolve_paths(dir));
        self.consul.iter_mut().flatten().for_each(|spec| spec.http.resolve_paths(dir));
        self.kubernetes.iter_mut().flatten().for_each(|spec| spec.resolve_paths(dir));
        self.docker.iter_mut().flatten().for_each(|spec| spec.http.resolve_paths(dir));
        self.nomad.iter_mut().flatten().for_each(|spec| spec.http.resolve_paths(dir));
    }

    /// Checks every list, and fills in what its HTTP clients take if nothing is said.
    pub(super) fn check(&mut self) -> Result<DiscoveryConfig, Invalid> {
        if let Some(key) = self.unsupported.first() {
            return Err(not_supported(key));
        }
        let groups = self.fixed.iter().cloned().enumerate();
        let null = "empty or null section in static_configs";
        let groups = groups.map(|(at, spec)| match spec {
            Some(spec) => spec.check(at).map_err(|error| error.under(format!("{STATIC}[{at}]"))),
            None => Err(Invalid::new(format!("{STATIC}[{at}]"), null)),
        });
        Ok(DiscoveryConfig {
            groups: groups.collect::<Result<_, _>>()?,
            file: check(&mut self.file, FILE, "file", FileSdSpec::check)?,
            http: check(&mut self.http_sd, HTTP, "http", HttpSdSpec::check)?,
            dns: check(&mut self.dns, DNS, "dns", DnsSdSpec::check)?,
            consul: check(&mut self.consul, CONSUL, "consul", ConsulSdSpec::check)?,
            kubernetes: check(
                &mut self.kubernetes,
                KUBERNETES,
                "kubernetes",
                KubernetesSdSpec::check,
            )?,
            docker: check(&mut self.docker, DOCKER, "docker", DockerSdSpec::check)?,
            nomad: check(&mut self.nomad, NOMAD, "nomad", NomadSdSpec::check)?,
        })
    }
}

/// Checks the list at `key`, if its mechanism is one of ours.
fn check<S: Clone, C>(
    specs: &mut [Option<S>],
    key: &'static str,
    mechanism: &str,
    check: fn(&mut S) -> Result<C, Invalid>,
) -> Result<Vec<C>, Invalid> {
    let null = format!("empty or null section in {key}");
    no_null_items(specs.iter().map(Option::as_ref).collect(), key, &null)?;
    let mut checked = Vec::with_capacity(specs.len());
    for (at, spec) in specs.iter_mut().flatten().enumerate() {
        checked.push(check(spec).map_err(|error| error.under(format!("{key}[{at}]")))?);
    }
    // What is wrong in a section is said first: it would be wrong elsewhere too.
    if !checked.is_empty() && !MECHANISMS.iter().any(|known| known.name == mechanism) {
        return Err(not_supported(key));
    }
    Ok(checked)
}

fn not_supported(key: &str) -> Invalid {
    Invalid::new(key, format!("not supported by rollcall: {key}"))
}

impl<'de, H: DeserializeOwned + Default> Deserialize<'de> for DiscoverySpec<H> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DiscoverySpec<H>, D::Error> {
        deserializer.deserialize_struct("discovery.Configs", KEYS, Lists(PhantomData))
    }
}

/// Reads the lists by hand: a struct with a field for each key that is only refused says less.
struct Lists<H>(PhantomData<H>);

impl<'de, H: DeserializeOwned + Default> Visitor<'de> for Lists<H> {
    type Value = DiscoverySpec<H>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lists of service discovery sections")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DiscoverySpec<H>, A::Error> {
        let mut spec = DiscoverySpec::default();
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                STATIC => spec.fixed = map.next_value()?,
                FILE => spec.file = map.next_value()?,
                HTTP => spec.http_sd = map.next_value()?,
                DNS => spec.dns = map.next_value()?,
                CONSUL => spec.consul = map.next_value()?,
                KUBERNETES => spec.kubernetes = map.next_value()?,
                DOCKER => spec.docker = map.next_value()?,
                NOMAD => spec.nomad = map.next_value()?,
                INLINE => spec.http = map.next_value()?,
                other => {
                    let given: Vec<IgnoredAny> = map.next_value()?;
                    let known = KEYS.iter().filter(|key| **key == other && !given.is_empty());
                    spec.unsupported.extend(known);
                }
            }
        }
        Ok(spec)
    }
}

impl<H: Serialize> Serialize for DiscoverySpec<H> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn list<M: SerializeMap, T: Serialize>(
            map: &mut M,
            key: &str,
            items: &[T],
        ) -> Result<(), M::Error> {
            if items.is_empty() { Ok(()) } else { map.serialize_entry(key, items) }
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(INLINE, &self.http)?;
        list(&mut map, STATIC, &self.fixed)?;
        list(&mut map, FILE, &self.file)?;
        list(&mut map, HTTP, &self.http_sd)?;
        list(&mut map, DNS, &self.dns)?;
        list(&mut map, CONSUL, &self.consul)?;
        list(&mut map, KUBERNETES, &self.kubernetes)?;
        list(&mut map, DOCKER, &self.docker)?;
        list(&mut map, NOMAD, &self.nomad)?;
        map.end()
    }
}

// === impl DiscoveryConfig ===

impl DiscoveryConfig {
    /// A URL where an address is meant is a mistake that relabelling could still correct.
    pub(super) fn check_static_targets(&self) -> Result<(), Invalid> {
        for (at, group) in self.groups.iter().enumerate() {
            for (number, target) in group.targets.iter().enumerate() {
                let address = target.get("__address__").unwrap_or_default();
                if address.contains('/') {
                    let key = format!("{STATIC}[{at}].targets[{number}]");
                    let message = format!("{address:?} is not a valid hostname");
                    return Err(Invalid::new(key, message));
                }
            }
        }
        Ok(())
    }
}
