//! What the API wants an object to be.

use super::{Condition, ConditionStatus, LabelSet, Object};
use crate::kind::{FieldId, FieldSet, Kind, Origin};
use crate::value::{Text, Value};

/// An object as a client wants it: all that a client may decide, and which fields the client
/// spoke of. What it did not speak of keeps its time of observation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Draft {
    /// `metadata.labels`
    pub(crate) labels: LabelSet,
    /// `metadata.annotations`, `spec`, `metadata.managedFields`
    pub(crate) extra: super::Extra,
    fields: Vec<Value>,
    said: FieldSet,
    /// Conditions the client spoke of: `(name, status, reason, message)`.
    conditions: Vec<ConditionDraft>,
}

/// A condition as a client wants it; none of its parts if it is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionDraft {
    pub(crate) name: Text,
    pub(crate) state: Option<(ConditionStatus, Text, Text)>,
}

/// Why a draft refuses a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The field is kept equal to another object's.
    #[error("is kept equal to a field of another object; set that one")]
    Mirror,
    /// Not of the field's type.
    #[error("must be a {wanted}")]
    Type {
        /// The word for the field's type.
        wanted: &'static str,
    },
}

// === impl Draft ===

impl Draft {
    /// Nothing is said yet.
    pub(crate) fn new(kind: &Kind) -> Draft {
        Draft { fields: vec![Value::Null; kind.fields.len()], ..Draft::default() }
    }

    /// The object as it is; nothing is said about its fields.
    pub(crate) fn of(object: &Object) -> Draft {
        Draft {
            labels: object.labels.clone(),
            extra: object.extra.as_deref().cloned().unwrap_or_default(),
            fields: object.fields.to_vec(),
            ..Draft::default()
        }
    }

    /// Says what a field is; [`Value::Null`] to say that it is not known.
    ///
    /// # Errors
    /// When the field is not of that type, or a mirror that would change.
    pub(crate) fn set(&mut self, kind: &Kind, id: FieldId, value: Value) -> Result<(), Refused> {
        let field = kind.field(id);
        let place = &mut self.fields[usize::from(id.0)];
        if matches!(field.origin, Origin::Mirror(_)) {
            return if *place == value { Ok(()) } else { Err(Refused::Mirror) };
        }
        if value.type_of().is_some_and(|kind| kind != field.kind) {
            return Err(Refused::Type { wanted: field.kind.name() });
        }
        *place = value;
        self.said.insert(id);
        Ok(())
    }

    /// Says what a condition is; nothing, to take it away.
    pub(crate) fn set_condition(
        &mut self,
        name: Text,
        state: Option<(ConditionStatus, Text, Text)>,
    ) {
        self.conditions.retain(|known| known.name != name);
        self.conditions.push(ConditionDraft { name, state });
    }

    /// The value of a field.
    pub(crate) fn value(&self, id: FieldId) -> &Value {
        &self.fields[usize::from(id.0)]
    }

    /// The fields that were spoken of.
    pub(crate) fn said(&self) -> FieldSet {
        self.said
    }

    /// The conditions that were spoken of.
    pub(crate) fn conditions(&self) -> &[ConditionDraft] {
        &self.conditions
    }
}

// === impl ConditionDraft ===

impl ConditionDraft {
    /// The condition, as of `now_s`.
    pub(crate) fn at(&self, now_s: u32) -> Option<Condition> {
        let (status, reason, message) = self.state.clone()?;
        Some(Condition { name: self.name.clone(), status, reason, message, since_s: now_s })
    }
}
