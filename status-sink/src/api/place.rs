//! What the path of a request names: a kind, perhaps a namespace, perhaps an object of it.

use std::sync::Arc;

use super::document;
use super::failure::{About, Failure};
use crate::kind::{Kind, Kinds};
use crate::object::Key;

/// The segments of a path below `/apis`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segments {
    /// API group.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Namespace, if the path has one.
    pub(crate) namespace: Option<String>,
    /// Plural name of the kind.
    pub(crate) plural: String,
}

/// A kind, and the part of its objects that the path speaks of.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The kind.
    pub(crate) kind: Arc<Kind>,
    /// The only namespace, if the path names one.
    pub(crate) namespace: Option<String>,
}

// === impl Place ===

impl Place {
    /// Finds the kind.
    ///
    /// # Errors
    /// 404 if there is none, or it has no namespaces and the path has.
    pub(crate) fn find(kinds: &Kinds, segments: Segments) -> Result<Place, Failure> {
        let Segments { group, version, namespace, plural } = segments;
        let kind = kinds.find(&group, &version, &plural).ok_or_else(Failure::no_path)?;
        if namespace.is_some() && !kind.namespaced {
            return Err(Failure::no_path());
        }
        Ok(Place { kind: Arc::clone(kind), namespace })
    }

    /// The key of the object of this name.
    ///
    /// # Errors
    /// 404 if the kind has namespaces and the path names none, or no object can be so called.
    pub(crate) fn key(&self, name: &str) -> Result<Key, Failure> {
        if self.namespace.is_none() && self.kind.namespaced {
            return Err(Failure::no_path());
        }
        let namespace = self.namespace.as_deref().unwrap_or_default();
        let is_fit =
            document::is_name(name) && (namespace.is_empty() || document::is_name(namespace));
        if is_fit {
            Ok(Key::new(namespace, name))
        } else {
            Err(Failure::not_found(self.about(name)))
        }
    }

    /// For failures about the object of this name.
    pub(crate) fn about<'a>(&'a self, name: &'a str) -> About<'a> {
        About { group: &self.kind.names.group, plural: &self.kind.names.plural, name }
    }
}
