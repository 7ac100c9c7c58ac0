//! What is known about a kind of objects: its names, its fields and where they come from.
//!
//! Made by `config.rs` from the configuration, and never changed: a reload makes new kinds.
//! Invariant: every [`FieldId`] that a kind holds is one of its own fields.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Template;
use crate::value::{Text, Value, ValueType};

/// The place of a field among those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FieldId(pub(crate) u16);

/// Some fields of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FieldSet([u64; 2]);

/// A kind of objects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kind {
    pub(crate) names: Names,
    pub(crate) namespaced: bool,
    /// How series name an object; none if only the API makes objects.
    pub(crate) key: Option<KeyTemplate>,
    /// Labels of an object, by name.
    pub(crate) labels: Box<[(Text, Template)]>,
    pub(crate) fields: Box<[Field]>,
    pub(crate) conditions: Box<[ConditionKind]>,
    pub(crate) index: Box<[FieldId]>,
    pub(crate) columns: Box<[FieldId]>,
    pub(crate) absent: Absent,
    pub(crate) absent_after: Duration,
    /// None: objects of this kind have no condition `Fresh`.
    pub(crate) stale_after: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) events_max: usize,
    pub(crate) objects_max: usize,
}

/// What a kind is called, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) kind: Box<str>,
    pub(crate) plural: Box<str>,
    pub(crate) singular: Box<str>,
    pub(crate) group: Box<str>,
    pub(crate) version: Box<str>,
    pub(crate) short: Box<[Box<str>]>,
    pub(crate) categories: Box<[Box<str>]>,
    /// `{"apiVersion":"…","kind":"…","metadata":`: how the JSON of every object begins.
    pub(crate) json_head: Box<[u8]>,
}

/// How series name an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyTemplate {
    pub(crate) name: Template,
    pub(crate) namespace: Option<Template>,
}

/// A field under `.status`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: Box<str>,
    pub(crate) kind: ValueType,
    pub(crate) origin: Origin,
    /// A number that moved by less than this makes no event.
    pub(crate) change: f64,
    pub(crate) description: Box<str>,
    /// `"name":`, ready to be written.
    pub(crate) json_key: Box<[u8]>,
}

/// Where the value of a field comes from. The API may set any field but a mirror.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    /// The samples of this metric.
    Metric { metric: Box<str>, read: Read },
    /// This label of the object's series.
    Label(Box<str>),
    /// A field of another object.
    Mirror(Mirror),
    /// The API alone.
    Api,
}

/// What the sample of a metric says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Read {
    /// Its value.
    Number,
    /// Whether it is not 0.
    Bool,
    /// The text for its value.
    Map(Box<[(f64, Text)]>),
    /// If it is not 0: this label of its series.
    FromLabel(Box<str>),
}

/// The field of another object that a field is kept equal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// [`Kind::path`] of the other kind.
    pub(crate) path: Box<str>,
    /// The other object's name, of this object's text fields and labels.
    pub(crate) name: Template,
    /// Of the other kind.
    pub(crate) field: FieldId,
}

/// A condition that objects of a kind may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionKind {
    pub(crate) name: Text,
    /// A field selector; none if the API sets the condition.
    pub(crate) when: Option<Box<str>>,
    pub(crate) description: Box<str>,
}

/// What happens to an object that nobody reports any more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Absent {
    /// It is deleted.
    Delete,
    /// It stays.
    Keep,
    /// It stays with these values.
    Set(Box<[(FieldId, Value)]>),
}

// === impl Kind ===

impl Kind {
    /// `VirtualMachine`
    pub(crate) fn name(&self) -> &str {
        &self.names.kind
    }

    /// `status.rollcall/v1`
    pub(crate) fn api_version(&self) -> String {
        format!("{}/{}", self.names.group, self.names.version)
    }

    /// `status.rollcall/v1/virtualmachines`: what tells it from every other kind, before and
    /// after a reload.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}/{}", self.names.group, self.names.version, self.names.plural)
    }

    /// Whether `other` is the same kind, perhaps from another reading of the configuration.
    pub(crate) fn is(&self, other: &Kind) -> bool {
        let (a, b) = (&self.names, &other.names);
        (&a.plural, &a.group, &a.version) == (&b.plural, &b.group, &b.version)
    }

    /// Whether objects, events and listeners of `self` can live on under `other`: an object has
    /// the same fields, and the same JSON.
    pub(crate) fn shares_objects_with(&self, other: &Kind) -> bool {
        let same_field = |(a, b): (&Field, &Field)| a.name == b.name && a.kind == b.kind;
        if std::ptr::eq(self, other) {
            return true;
        }
        self.is(other)
            && self.names.kind == other.names.kind
            && self.namespaced == other.namespaced
            && self.conditions == other.conditions
            && self.stale_after.is_some() == other.stale_after.is_some()
            && self.fields.len() == other.fields.len()
            && self.fields.iter().zip(&other.fields).all(same_field)
    }

    /// The field of this name.
    pub(crate) fn field_id(&self, name: &str) -> Option<FieldId> {
        let at = self.fields.iter().position(|field| &*field.name == name)?;
        Some(FieldId(at as u16))
    }

    /// A field. Panics if it is another kind's.
    pub(crate) fn field(&self, id: FieldId) -> &Field {
        &self.fields[usize::from(id.0)]
    }

    /// The fields with their places, in order.
    pub(crate) fn fields(&self) -> impl ExactSizeIterator<Item = (FieldId, &Field)> {
        self.fields.iter().enumerate().map(|(at, field)| (FieldId(at as u16), field))
    }

    /// The metrics that its fields come from.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter_map(|field| match &field.origin {
            Origin::Metric { metric, .. } => Some(&**metric),
            _ => None,
        })
    }

    /// The mirrors among its fields.
    pub(crate) fn mirrors(&self) -> impl Iterator<Item = (FieldId, &Mirror)> {
        self.fields().filter_map(|(id, field)| match &field.origin {
            Origin::Mirror(mirror) => Some((id, mirror)),
            _ => None,
        })
    }
}

// === impl Mirror ===

impl Mirror {
    /// Stands in a kind until all kinds are known.
    pub(crate) fn unresolved() -> Mirror {
        let name = Template::parse("").expect("no text is a template of no parts");
        Mirror { path: "".into(), name, field: FieldId(0) }
    }
}

// === impl FieldSet ===

impl FieldSet {
    /// None.
    pub(crate) const EMPTY: FieldSet = FieldSet([0; 2]);

    /// Adds a field.
    pub(crate) fn insert(&mut self, id: FieldId) {
        self.0[usize::from(id.0 / 64)] |= 1 << (id.0 % 64);
    }

    /// Whether the field is among them.
    pub(crate) fn contains(self, id: FieldId) -> bool {
        self.0[usize::from(id.0 / 64)] >> (id.0 % 64) & 1 == 1
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == [0; 2]
    }

    /// Those that are not in `other`.
    pub(crate) fn without(self, other: FieldSet) -> FieldSet {
        FieldSet([self.0[0] & !other.0[0], self.0[1] & !other.0[1]])
    }

    /// In ascending order.
    pub(crate) fn iter(self) -> impl Iterator<Item = FieldId> {
        (0..128).map(FieldId).filter(move |id| self.contains(*id))
    }
}

impl FromIterator<FieldId> for FieldSet {
    fn from_iter<I: IntoIterator<Item = FieldId>>(fields: I) -> FieldSet {
        let mut set = FieldSet::EMPTY;
        fields.into_iter().for_each(|id| set.insert(id));
        set
    }
}

// === impl Field ===

impl Field {
    /// Whether reporters say what it is.
    pub(crate) fn is_reported(&self) -> bool {
        matches!(self.origin, Origin::Metric { .. } | Origin::Label(_))
    }

    /// Whether two values of this field differ enough to be told.
    pub(crate) fn differs(&self, old: &Value, new: &Value) -> bool {
        match (old, new) {
            (Value::Number(a), Value::Number(b)) => a != b && (a - b).abs() >= self.change,
            _ => old != new,
        }
    }
}

/// The kinds there are now. Cheap to hold on to; a reload makes a new one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kinds(pub(crate) Arc<[Arc<Kind>]>);

impl Kinds {
    /// In the order of the configuration.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Kind>> {
        self.0.iter()
    }

    /// The kind at a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let wanted = (plural, group, version);
        self.0
            .iter()
            .find(|kind| (&*kind.names.plural, &*kind.names.group, &*kind.names.version) == wanted)
    }
}
