//! What there is, for clients that ask before they do: `/api`, `/apis` and below, in the
//! aggregated form of kubectl and in the older one of Python, kube-rs and curl.

use serde_json::{Value, json};

use crate::kind::{Kind, Kinds};

/// What may be done with objects.
pub(crate) const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What may be done with the `status` of an object.
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// `/version`: the version of the Kubernetes API conventions we speak, and our own.
pub(crate) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "gitVersion": concat!("v1.37.0-rollcall.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "",
        "platform": "",
    })
}

/// `/api`: the core group, which exists and is empty.
pub(crate) fn core_versions() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
}

/// `/api/v1`
pub(crate) fn core_resources() -> Value {
    json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [] })
}

/// `/api` and `/apis` in the aggregated form; `version` is `v2` or `v2beta1`.
pub(crate) fn aggregated(kinds: Option<&Kinds>, version: &str) -> Value {
    let groups: Vec<Value> = groups(kinds)
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|(version, kinds)| {
                    let resources: Vec<Value> = kinds.into_iter().map(aggregated_kind).collect();
                    json!({ "version": version, "freshness": "Current", "resources": resources })
                })
                .collect();
            json!({ "metadata": { "name": group }, "versions": versions })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": groups,
    })
}

/// `/apis`
pub(crate) fn group_list(kinds: &Kinds) -> Value {
    let groups: Vec<Value> = groups(Some(kinds))
        .into_iter()
        .map(|(group, versions)| one_group(group, &versions))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/G`; none if no kind is of that group.
pub(crate) fn group(kinds: &Kinds, group: &str) -> Option<Value> {
    let (name, versions) = groups(Some(kinds)).into_iter().find(|(name, _)| *name == group)?;
    let mut document = json!({ "kind": "APIGroup", "apiVersion": "v1" });
    let found = one_group(name, &versions);
    for (key, value) in found.as_object().into_iter().flatten() {
        document[key] = value.clone();
    }
    Some(document)
}

/// `/apis/G/V`; none if no kind is of that group and version.
pub(crate) fn resource_list(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let known = groups(Some(kinds));
    let (_, versions) = known.into_iter().find(|(name, _)| *name == group)?;
    let (_, kinds) = versions.into_iter().find(|(name, _)| *name == version)?;
    let resources: Vec<Value> = kinds
        .into_iter()
        .flat_map(|kind| {
            let names = &kind.names;
            let status = format!("{}/status", names.plural);
            [
                json!({
                    "name": names.plural,
                    "singularName": names.singular,
                    "namespaced": kind.namespaced,
                    "kind": names.kind,
                    "verbs": VERBS,
                    "shortNames": names.short,
                    "categories": names.categories,
                }),
                json!({
                    "name": status,
                    "singularName": "",
                    "namespaced": kind.namespaced,
                    "kind": names.kind,
                    "verbs": STATUS_VERBS,
                }),
            ]
        })
        .collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{group}/{version}"),
        "resources": resources,
    }))
}

/// Kinds by version, versions by group; all in the order of the configuration.
type Groups<'k> = Vec<(&'k str, Vec<(&'k str, Vec<&'k Kind>)>)>;

fn groups(kinds: Option<&Kinds>) -> Groups<'_> {
    let mut groups: Groups<'_> = Vec::new();
    for kind in kinds.into_iter().flat_map(Kinds::iter) {
        let versions = entry(&mut groups, &kind.names.group);
        entry(versions, &kind.names.version).push(kind);
    }
    groups
}

fn entry<'e, 'k, V: Default>(list: &'e mut Vec<(&'k str, V)>, key: &'k str) -> &'e mut V {
    let known = list.iter().position(|(name, _)| *name == key);
    let at = known.unwrap_or_else(|| {
        list.push((key, V::default()));
        list.len() - 1
    });
    &mut list[at].1
}

fn one_group(group: &str, versions: &[(&str, Vec<&Kind>)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|(version, _)| {
            json!({ "groupVersion": format!("{group}/{version}"), "version": version })
        })
        .collect();
    json!({ "name": group, "versions": versions, "preferredVersion": versions.first() })
}

fn aggregated_kind(kind: &Kind) -> Value {
    let names = &kind.names;
    let response = json!({ "group": names.group, "version": names.version, "kind": names.kind });
    json!({
        "resource": names.plural,
        "responseKind": response,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": names.singular,
        "shortNames": names.short,
        "categories": names.categories,
        "verbs": VERBS,
        "subresources": [
            { "subresource": "status", "responseKind": response, "verbs": STATUS_VERBS },
        ],
    })
}
