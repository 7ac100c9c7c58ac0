//! Which objects have a value: slots by the value of one field, or of one label.
//!
//! Persistent, as the rest of a snapshot: a clone costs nothing, and does not change.
//! A value that many objects share costs about 10 bytes an object.

use imbl::{OrdMap, OrdSet, Vector};

use crate::kind::FieldId;
use crate::object::Object;
use crate::value::{Text, Value};

/// Objects by one of their values. Objects without one are not in it.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    on: IndexOn,
    values: OrdMap<Value, Posting>,
    /// `(id of the value, slot)`
    slots: OrdSet<(u32, u32)>,
    /// Ids of values that nobody has any more.
    free: Vector<u32>,
}

/// What an index looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IndexOn {
    /// The value of a field.
    Field(FieldId),
    /// A label.
    Label(Text),
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    id: u32,
    objects: u32,
}

// === impl Index ===

impl Index {
    /// Nothing is indexed yet.
    pub(crate) fn new(on: IndexOn) -> Index {
        Index { on, values: OrdMap::new(), slots: OrdSet::new(), free: Vector::new() }
    }

    /// What it looks at.
    pub(crate) fn on(&self) -> &IndexOn {
        &self.on
    }

    /// The object in `slot` was `old` and is `new`.
    pub(super) fn update(&mut self, slot: u32, old: Option<&Object>, new: Option<&Object>) {
        let was = old.map_or(Value::Null, |object| self.value_of(object));
        let is = new.map_or(Value::Null, |object| self.value_of(object));
        if was == is {
            return;
        }
        self.remove(&was, slot);
        self.insert(is, slot);
    }

    /// The slots of the objects that have this value, in no order that means anything.
    pub(crate) fn slots(&self, value: &Value) -> impl Iterator<Item = u32> {
        let id = self.values.get(value).map(|posting| posting.id);
        let of = move |id| self.slots.range((id, 0)..=(id, u32::MAX)).map(|(_, slot)| *slot);
        id.into_iter().flat_map(of)
    }

    /// How many objects have this value.
    pub(crate) fn count(&self, value: &Value) -> usize {
        self.values.get(value).map_or(0, |posting| posting.objects as usize)
    }

    /// Every value, with the number of objects that have it.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&Value, usize)> {
        self.values.iter().map(|(value, posting)| (value, posting.objects as usize))
    }

    fn value_of(&self, object: &Object) -> Value {
        match &self.on {
            IndexOn::Field(field) => object.value(*field).clone(),
            IndexOn::Label(name) => object
                .labels
                .text(name.as_str())
                .map_or(Value::Null, |text| Value::Text(text.clone())),
        }
    }

    fn insert(&mut self, value: Value, slot: u32) {
        if value.is_null() {
            return;
        }
        let id = match self.values.get_mut(&value) {
            Some(posting) => {
                posting.objects += 1;
                posting.id
            }
            None => {
                let id = self.free.pop_back().unwrap_or(self.values.len() as u32);
                self.values.insert(value, Posting { id, objects: 1 });
                id
            }
        };
        self.slots.insert((id, slot));
    }

    fn remove(&mut self, value: &Value, slot: u32) {
        let Some(posting) = self.values.get_mut(value) else { return };
        self.slots.remove(&(posting.id, slot));
        posting.objects -= 1;
        if posting.objects == 0 {
            self.free.push_back(posting.id);
            self.values.remove(value);
        }
    }
}
