//! One object as it was between two events.
//!
//! Invariant: never changes; a change makes a new object with a newer version. Its JSON is not
//! kept: it is most of what an object would weigh, and is written from the fields in a quarter of
//! a microsecond whenever somebody asks (`render.rs`; ADR 005).

mod draft;
mod render;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

pub(crate) use self::draft::Draft;
pub(crate) use self::render::rfc3339_s;
use crate::kind::{FieldId, Kind};
use crate::value::{Text, Value};

/// The condition that says whether the values are still confirmed by their reporter.
pub(crate) const FRESH: &str = "Fresh";

/// A version of an object, an event or a list: decimal, unique per event of a process, growing
/// with the clock (`store/versions.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct ResourceVersion(pub(crate) u64);

/// Name and namespace: `name`, or `namespace/name`. Ordered as lists are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(Arc<str>);

/// One object, at one version.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: Key,
    pub(crate) version: ResourceVersion,
    /// Stays the same for as long as the object lives.
    pub(crate) uid: u128,
    /// When it was made, in seconds since the epoch.
    pub(crate) created_s: u32,
    /// Grows when `spec` changes.
    pub(crate) generation: u32,
    pub(crate) labels: LabelSet,
    /// By [`FieldId`].
    pub(crate) fields: Box<[Value]>,
    pub(crate) conditions: Option<Arc<Vec<Condition>>>,
    /// What few objects have.
    pub(crate) extra: Option<Box<Extra>>,
}

/// Labels of an object, sorted by name; shared by the objects that have the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct LabelSet(pub(crate) Option<Arc<Vec<(Text, Text)>>>);

/// What only the API gives to an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Extra {
    /// Sorted by name.
    pub(crate) annotations: Vec<(Box<str>, Box<str>)>,
    /// Compact JSON of `spec`, as the API got it.
    pub(crate) spec: Option<Box<str>>,
    /// Compact JSON of `metadata.managedFields`.
    pub(crate) managed_fields: Option<Box<str>>,
}

/// A condition of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) name: Text,
    pub(crate) status: ConditionStatus,
    /// One word in upper camel case; may be empty.
    pub(crate) reason: Text,
    pub(crate) message: Text,
    /// Since when it has this status, in seconds since the epoch.
    pub(crate) since_s: u32,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can say.
    Unknown,
}

// === impl ResourceVersion ===

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Key ===

impl Key {
    /// `namespace` is empty for a cluster-scoped object. Neither may have a `/` in it.
    pub(crate) fn new(namespace: &str, name: &str) -> Key {
        if namespace.is_empty() {
            Key(name.into())
        } else {
            Key(format!("{namespace}/{name}").into())
        }
    }

    /// From `name` or `namespace/name`.
    pub(crate) fn from_path(path: &str) -> Key {
        Key(path.into())
    }

    /// `metadata.name`
    pub(crate) fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// `metadata.namespace`; empty for a cluster-scoped object.
    pub(crate) fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// `name` or `namespace/name`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Object ===

impl Object {
    /// `metadata.name`
    pub(crate) fn name(&self) -> &str {
        self.key.name()
    }

    /// `metadata.namespace`; empty for a cluster-scoped object.
    pub(crate) fn namespace(&self) -> &str {
        self.key.namespace()
    }

    /// The value of a field.
    pub(crate) fn value(&self, field: FieldId) -> &Value {
        &self.fields[usize::from(field.0)]
    }

    /// The JSON of `spec`, if the object has one.
    pub(crate) fn spec(&self) -> Option<&str> {
        self.extra.as_ref()?.spec.as_deref()
    }

    /// The JSON of `metadata.managedFields`, if the object has them.
    pub(crate) fn managed_fields(&self) -> Option<&str> {
        self.extra.as_ref()?.managed_fields.as_deref()
    }

    /// All conditions, `Fresh` first.
    pub(crate) fn conditions(&self) -> &[Condition] {
        self.conditions.as_ref().map_or(&[], |conditions| conditions)
    }

    /// A condition by its name.
    pub(crate) fn condition(&self, name: &str) -> Option<&Condition> {
        self.conditions().iter().find(|condition| condition.name.as_str() == name)
    }

    /// `metadata.uid`
    pub(crate) fn uid_text(&self) -> String {
        render::uid_text(self.uid)
    }

    /// Appends the object, which is of `kind`, as compact JSON on one line.
    pub(crate) fn write_json(&self, kind: &Kind, out: &mut Vec<u8>) {
        self.write_json_at(kind, self.version, out);
    }

    /// As [`Object::write_json`], under another version: that of an event which carries the
    /// content of before.
    pub(crate) fn write_json_at(&self, kind: &Kind, version: ResourceVersion, out: &mut Vec<u8>) {
        render::object(kind, self, version, out);
    }

    /// Appends what is `metadata` in the JSON under a version.
    pub(crate) fn write_metadata_at(&self, version: ResourceVersion, out: &mut Vec<u8>) {
        render::metadata(self, version, out);
    }

    /// The object as JSON.
    pub(crate) fn json(&self, kind: &Kind) -> Vec<u8> {
        let mut json = Vec::with_capacity(1024);
        self.write_json(kind, &mut json);
        json
    }

    /// Whether all that a client can see is the same but for the version.
    #[cfg(test)]
    pub(crate) fn says_the_same(&self, other: &Object) -> bool {
        self.fields == other.fields
            && self.labels == other.labels
            && self.extra == other.extra
            && (self.uid, self.generation) == (other.uid, other.generation)
            && self.conditions() == other.conditions()
    }
}

// === impl LabelSet ===

impl LabelSet {
    /// The value of a label.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.text(name).map(Text::as_str)
    }

    /// The value of a label, to share.
    pub(crate) fn text(&self, name: &str) -> Option<&Text> {
        let labels = self.0.as_ref()?;
        let at = labels.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&labels[at].1)
    }

    /// In the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .flat_map(|labels| labels.iter())
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|labels| labels.is_empty())
    }
}

impl FromIterator<(Text, Text)> for LabelSet {
    /// Of a name given twice the last value stays.
    fn from_iter<I: IntoIterator<Item = (Text, Text)>>(labels: I) -> LabelSet {
        let map: std::collections::BTreeMap<Text, Text> = labels.into_iter().collect();
        LabelSet((!map.is_empty()).then(|| Arc::new(map.into_iter().collect())))
    }
}

// === impl ConditionStatus ===

impl ConditionStatus {
    /// Kubernetes' word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }

    /// From Kubernetes' word.
    pub(crate) fn from_word(word: &str) -> Option<ConditionStatus> {
        let all = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];
        all.into_iter().find(|status| status.word() == word)
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> ConditionStatus {
        if holds { ConditionStatus::True } else { ConditionStatus::False }
    }
}

#[cfg(test)]
mod tests;
