//! The objects of one kind, by name, by slot and by index.
//!
//! Persistent: a clone is a snapshot, costs next to nothing and never changes. The owner changes
//! in place what no snapshot holds, and copies a chunk of 64 objects where one does.
//! Invariant: `order` names exactly the slots that hold an object, under the object's key; every
//! index agrees with the objects.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use smallvec::SmallVec;

use super::index::{Index, IndexOn};
use crate::kind::{FieldId, Kind};
use crate::object::{Key, Object};
use crate::value::Value;

/// Where an object is; its own until it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u32);

/// The objects of one kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    slots: Vector<Option<Arc<Object>>>,
    order: OrdMap<Key, u32>,
    indexes: SmallVec<[Index; 4]>,
    /// Slots without an object.
    free: Vector<u32>,
}

// === impl Table ===

impl Table {
    /// No objects; with the indexes that the kind declares: its fields, and the labels that it
    /// makes.
    pub(crate) fn new(kind: &Kind) -> Table {
        let fields = kind.index.iter().map(|field| IndexOn::Field(*field));
        let labels = kind.labels.iter().map(|(name, _)| IndexOn::Label(name.clone()));
        Table { indexes: fields.chain(labels).map(Index::new).collect(), ..Table::default() }
    }

    /// The same objects, in the same slots, under the indexes of `kind`.
    pub(crate) fn reindexed(&self, kind: &Kind) -> Table {
        let mut table = Table { indexes: Table::new(kind).indexes, ..self.clone() };
        for (at, object) in self.slots.iter().enumerate() {
            for index in &mut table.indexes {
                index.update(at as u32, None, object.as_deref());
            }
        }
        table
    }

    /// These objects in these slots.
    pub(super) fn with_slots(kind: &Kind, slots: Vec<Option<Arc<Object>>>) -> Table {
        let mut table = Table::new(kind);
        for (at, object) in slots.iter().enumerate() {
            match object {
                Some(object) => drop(table.order.insert(object.key.clone(), at as u32)),
                None => table.free.push_back(at as u32),
            }
        }
        table.slots = slots.into_iter().collect();
        table.reindexed(kind)
    }

    /// Number of objects.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Where the object of this name is.
    pub(crate) fn find(&self, key: &str) -> Option<Slot> {
        self.order.get(key).copied().map(Slot)
    }

    /// The object in a slot.
    pub(crate) fn at(&self, slot: Slot) -> Option<&Arc<Object>> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    /// The object of this name (`name` or `namespace/name`).
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Object>> {
        self.at(self.find(key)?)
    }

    /// All objects after `after`, in the order of namespace and name.
    pub(crate) fn iter_after<'t>(
        &'t self,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'t Arc<Object>> + use<'t> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.order
            .range::<_, str>((start, Bound::Unbounded))
            .filter_map(|(_, at)| self.at(Slot(*at)))
    }

    /// The objects of a namespace after `after`, in the order of names.
    pub(crate) fn in_namespace<'t>(
        &'t self,
        namespace: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'t Arc<Object>> + use<'t> {
        let prefix = format!("{namespace}/");
        let start = match after {
            Some(after) if after >= prefix.as_str() => Bound::Excluded(after),
            _ => Bound::Included(prefix.as_str()),
        };
        let range = self.order.range::<_, str>((start, Bound::Unbounded));
        range
            .take_while(move |(key, _)| key.as_str().starts_with(&prefix))
            .filter_map(|(_, at)| self.at(Slot(*at)))
    }

    /// The index over a field, if the kind declares one.
    pub(crate) fn index_on_field(&self, field: FieldId) -> Option<&Index> {
        self.indexes.iter().find(|index| *index.on() == IndexOn::Field(field))
    }

    /// The index over a label, if there is one.
    pub(crate) fn index_on_label(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| match index.on() {
            IndexOn::Label(label) => label.as_str() == name,
            IndexOn::Field(_) => false,
        })
    }

    /// The objects that have this value in an index, in the order of namespace and name.
    pub(crate) fn by_index<'t>(&'t self, index: &'t Index, value: &Value) -> Vec<&'t Arc<Object>> {
        let mut objects: Vec<&Arc<Object>> =
            index.slots(value).filter_map(|slot| self.at(Slot(slot))).collect();
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        objects
    }

    /// Puts a new object into a slot of its own.
    pub(super) fn insert(&mut self, object: Arc<Object>) -> Slot {
        let slot = match self.free.pop_back() {
            Some(slot) => Slot(slot),
            None => {
                self.slots.push_back(None);
                Slot(u32::try_from(self.slots.len() - 1).expect("objects_max is below 2^32"))
            }
        };
        self.order.insert(object.key.clone(), slot.0);
        self.set(slot, Some(object));
        slot
    }

    /// Puts the next version of an object into its slot.
    pub(super) fn replace(&mut self, slot: Slot, object: Arc<Object>) {
        self.set(slot, Some(object));
    }

    /// Takes an object out; its slot can be another's.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Arc<Object>> {
        let object = self.set(slot, None)?;
        self.order.remove(object.key.as_str());
        self.free.push_back(slot.0);
        Some(object)
    }

    /// Number of slots, with and without an object.
    pub(super) fn n_slots(&self) -> usize {
        self.slots.len()
    }

    fn set(&mut self, slot: Slot, new: Option<Arc<Object>>) -> Option<Arc<Object>> {
        let place = &mut self.slots[slot.0 as usize];
        let old = std::mem::replace(place, new);
        let new = place.as_deref();
        for index in &mut self.indexes {
            index.update(slot.0, old.as_deref(), new);
        }
        old
    }
}
