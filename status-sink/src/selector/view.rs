//! An object as CEL sees it: `object.metadata.name`, `object.status.state`,
//! `object.metadata.labels['zone']`, `object.status.conditions.Fresh`. Conditions are a list as
//! well, as in the JSON: `object.status.conditions.exists(c, c.type == 'Fresh')`.
//!
//! Nothing is copied: a view looks a member up in the object when the expression asks for it. A
//! text that is too long is not there: what an expression costs was measured before it ran.

use std::sync::Arc;

use cel::ExecutionError;
use cel::common::traits::{self, Container, Indexer, Iterable};
use cel::common::types::{CelBool, CelDouble, CelString, DYN_TYPE, Type};
use cel::common::value::{CowVal, Val};

use super::{Scalar, Subject};

/// Bytes of a text that an expression sees.
const TEXT_BYTES_MAX: usize = 4096;

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
}

/// The conditions of an object: a map by type, and a list.
#[derive(Debug, Clone)]
struct Conditions<'o>(Vec<Condition<'o>>);

/// One of them.
#[derive(Debug, Clone, Copy)]
struct Condition<'o> {
    name: &'o str,
    status: &'o str,
}

/// What is left of them in a macro.
struct Rest<'b, 'o>(std::slice::Iter<'b, Condition<'o>>);

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
        let text = |text: &'o str| -> Option<Box<dyn Val + 'v>> {
            let fits = text.len() <= TEXT_BYTES_MAX;
            fits.then(|| Box::new(CelString::from(text)) as Box<dyn Val + 'v>)
        };
        match (self.part, key) {
            (Part::Whole, "metadata") => part(Part::Metadata),
            (Part::Whole, "status") => part(Part::Status),
            (Part::Metadata, "labels") => part(Part::Labels),
            (Part::Metadata, "name") => text(self.object.name()),
            (Part::Metadata, "namespace") => self.object.namespace().and_then(text),
            (Part::Labels, key) => self.object.label(key).and_then(text),
            (Part::Status, name) => match self.fields.iter().position(|known| **known == *name) {
                Some(at) => match self.object.field(at)? {
                    Scalar::Text(value) => text(value),
                    Scalar::Number(value) => Some(Box::new(CelDouble::from(value))),
                    Scalar::Bool(value) => Some(Box::new(CelBool::from(value))),
                },
                None if name == "conditions" => {
                    let all = self.object.conditions().into_iter();
                    let all = all.filter(|(name, _)| name.len() <= TEXT_BYTES_MAX);
                    let all = all.map(|(name, status)| Condition { name, status }).collect();
                    Some(Box::new(Conditions(all)))
                }
                None => None,
            },
            (Part::Whole | Part::Metadata, _) => None,
        }
    }

    fn find<'v>(&self, key: &dyn Val) -> Result<Option<Box<dyn Val + 'v>>, ExecutionError>
    where
        'o: 'v,
    {
        Ok(self.member(text_of(key)?))
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

// === impl Conditions ===

impl Val for Conditions<'_> {
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

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Indexer for Conditions<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = text_of(key)?;
        let found = self.0.iter().find(|condition| condition.name == name);
        let found = found.map(|condition| CowVal::owned(CelString::from(condition.status)));
        found.ok_or_else(|| ExecutionError::NoSuchKey(Arc::new(name.to_owned())))
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Container for Conditions<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        let name = text_of(key)?;
        Ok(self.0.iter().any(|condition| condition.name == name))
    }
}

impl Iterable for Conditions<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Rest(self.0.iter()))
    }
}

impl<'b, 'v, 'o: 'v> traits::Iterator<'b, 'v> for Rest<'b, 'o> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|condition| condition as &(dyn Val + 'v))
    }
}

// === impl Condition ===

impl Val for Condition<'_> {
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

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Indexer for Condition<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        match text_of(key)? {
            "type" => Ok(CowVal::owned(CelString::from(self.name))),
            "status" => Ok(CowVal::owned(CelString::from(self.status))),
            other => Err(ExecutionError::NoSuchKey(Arc::new(other.to_owned()))),
        }
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

fn text_of<'k>(key: &'k (dyn Val + 'k)) -> Result<&'k str, ExecutionError> {
    key.downcast_ref::<CelString<'_>>().map(CelString::inner).ok_or_else(|| {
        ExecutionError::UnexpectedType {
            got: key.get_type().name().to_owned(),
            want: "string".to_owned(),
        }
    })
}
