//! An object of the status center, with the caller's type for its status.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One object.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Object<S> {
    /// Who it is.
    pub metadata: Metadata,
    /// What it is doing now.
    pub status: S,
}

/// Who an object is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Unique among the objects of its kind (and namespace).
    pub name: String,
    /// Of namespaced kinds.
    pub namespace: Option<String>,
    /// Unique for ever.
    pub uid: String,
    /// Grows with each change; pass it back to change only what was read.
    pub resource_version: String,
    /// RFC 3339.
    pub creation_timestamp: Option<String>,
    /// For label selectors.
    pub labels: BTreeMap<String, String>,
    /// Free text.
    pub annotations: BTreeMap<String, String>,
}

impl<S> Object<S> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// What tells it apart among the objects of its kind: namespace (empty if none) and name.
    pub(crate) fn key(&self) -> (String, String) {
        (self.metadata.namespace.clone().unwrap_or_default(), self.metadata.name.clone())
    }
}
