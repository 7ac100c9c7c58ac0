//! An object as CEL sees it: `object.metadata.name`, `object.status.state`,
//! `object.metadata.labels['zone']`, `object.status.conditions.Fresh`.
//!
//! Nothing is copied: a view looks a member up in the object when the expression asks for it.

use std::sync::Arc;

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer};
use cel::common::types::{CelBool, CelDouble, CelString, DYN_TYPE, Type};
use cel::common::value::{CowVal, Val};

use super::{Scalar, Subject};

/// A part of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'o> {
    object: &'o dyn Subject,
    fields: &'o [Box<str>],
    part: Part,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Whole,
    Metadata,
    Labels,
    Status,
    Conditions,
}

impl<'o> View<'o> {
    /// The whole of `object`, whose fields have these names.
    pub(super) fn new(object: &'o dyn Subject, fields: &'o [Box<str>]) -> View<'o> {
        View { object, fields, part: Part::Whole }
    }

    fn member<'v>(&self, key: &str) -> Option<Box<dyn Val + 'v>>
    where
        'o: 'v,
    {
        let part = |part| Some(Box::new(View { part, ..*self }) as Box<dyn Val + 'v>);
        let text = |text: &'o str| Box::new(CelString::from(text)) as Box<dyn Val + 'v>;
        match (self.part, key) {
            (Part::Whole, "metadata") => part(Part::Metadata),
            (Part::Whole, "status") => part(Part::Status),
            (Part::Metadata, "labels") => part(Part::Labels),
            (Part::Metadata, "name") => Some(text(self.object.name())),
            (Part::Metadata, "namespace") => self.object.namespace().map(text),
            (Part::Labels, key) => self.object.label(key).map(text),
            (Part::Conditions, name) => self.object.condition(name).map(text),
            (Part::Status, name) => match self.fields.iter().position(|known| **known == *name) {
                Some(at) => self.object.field(at).map(|value| match value {
                    Scalar::Text(value) => text(value),
                    Scalar::Number(value) => Box::new(CelDouble::from(value)),
                    Scalar::Bool(value) => Box::new(CelBool::from(value)),
                }),
                None if name == "conditions" => part(Part::Conditions),
                None => None,
            },
            (Part::Whole | Part::Metadata, _) => None,
        }
    }

    fn find<'v>(&self, key: &dyn Val) -> Result<Option<Box<dyn Val + 'v>>, ExecutionError>
    where
        'o: 'v,
    {
        match key.downcast_ref::<CelString<'_>>() {
            Some(name) => Ok(self.member(name.inner())),
            None => Err(ExecutionError::UnexpectedType {
                got: key.get_type().name().to_owned(),
                want: "string".to_owned(),
            }),
        }
    }
}

impl Val for View<'_> {
    fn get_type(&self) -> &Type {
        &DYN_TYPE
    }

    fn cel_type() -> &'static Type {
        &DYN_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Indexer for View<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let missing = || {
            let name = key.downcast_ref::<CelString<'_>>().map(|name| name.inner().to_string());
            ExecutionError::NoSuchKey(Arc::new(name.unwrap_or_default()))
        };
        self.find(key)?.map(CowVal::Owned).ok_or_else(missing)
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Container for View<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.find(key)?.is_some())
    }
}
