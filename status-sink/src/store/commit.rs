//! One change of one object: a new version, an event, and what follows from it.
//!
//! Invariant: a change that no client could see makes no version and no event.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{KindNo, Now, Shared, Slot, State};
use crate::event_log::{Cause, Event};
use crate::kind::{FieldId, FieldSet, Kind};
use crate::object::{Condition, Extra, Key, LabelSet, Object, ResourceVersion};
use crate::value::{Text, Value};

/// What is to become of an object.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) cause: Cause,
    /// Fields and their new values. Each field at most once.
    pub(crate) fields: SmallVec<[(FieldId, Value); 4]>,
    pub(crate) labels: Option<LabelSet>,
    pub(crate) extra: Option<Extra>,
    pub(crate) conditions: SmallVec<[ConditionChange; 1]>,
}

/// A condition and what it is now; nothing, if it is to go. `since_s` of an unchanged status is
/// kept.
#[derive(Debug, Clone)]
pub(crate) struct ConditionChange {
    pub(crate) name: Text,
    pub(crate) now: Option<Condition>,
}

// === impl Change ===

impl Change {
    /// Nothing changes yet.
    pub(crate) fn new(cause: Cause) -> Change {
        let (fields, labels, extra, conditions) = Default::default();
        Change { cause, fields, labels, extra, conditions }
    }

    /// The object after the change, but for its version; none if it says the same as before.
    fn of(&self, kind: &Kind, old: &Object) -> Option<Object> {
        let mut fields: Option<Box<[Value]>> = None;
        for (id, value) in &self.fields {
            let now = fields.as_ref().map_or(old.value(*id), |fields| &fields[usize::from(id.0)]);
            let differs = match self.cause {
                Cause::Scrape => kind.field(*id).differs(now, value),
                _ => now != value,
            };
            if differs {
                let fields = fields.get_or_insert_with(|| old.fields.clone());
                fields[usize::from(id.0)] = value.clone();
            }
        }
        let labels = self.labels.as_ref().filter(|labels| **labels != old.labels);
        let extra = self.extra.as_ref().filter(|extra| {
            old.extra.as_deref().map_or(**extra != Extra::default(), |old| old != *extra)
        });
        let conditions = changed_conditions(old.conditions(), &self.conditions);
        if fields.is_none() && labels.is_none() && extra.is_none() && conditions.is_none() {
            return None;
        }
        let spec_changed = extra.is_some_and(|extra| extra.spec.as_deref() != old.spec());
        Some(Object {
            key: old.key.clone(),
            version: old.version,
            uid: old.uid,
            created_s: old.created_s,
            generation: old.generation + u32::from(spec_changed),
            labels: labels.unwrap_or(&old.labels).clone(),
            fields: fields.unwrap_or_else(|| old.fields.clone()),
            conditions: match conditions {
                Some(conditions) => (!conditions.is_empty()).then(|| Arc::new(conditions)),
                None => old.conditions.clone(),
            },
            extra: match extra {
                Some(extra) => (*extra != Extra::default()).then(|| Box::new(extra.clone())),
                None => old.extra.clone(),
            },
        })
    }
}

/// The conditions after the changes, `Fresh` first; none if they are the same.
pub(super) fn changed_conditions(
    old: &[Condition],
    changes: &[ConditionChange],
) -> Option<Vec<Condition>> {
    let mut new: Option<Vec<Condition>> = None;
    for ConditionChange { name, now } in changes {
        let conditions = new.as_deref().unwrap_or(old);
        let at = conditions.iter().position(|condition| condition.name == *name);
        let known = at.map(|at| &conditions[at]);
        let now = now.clone().map(|now| match known {
            Some(known) if known.status == now.status => {
                Condition { since_s: known.since_s, ..now }
            }
            _ => now,
        });
        if known == now.as_ref() {
            continue;
        }
        let conditions = new.get_or_insert_with(|| old.to_vec());
        match (at, now) {
            (Some(at), Some(now)) => conditions[at] = now,
            (Some(at), None) => {
                conditions.remove(at);
            }
            (None, Some(now)) if now.name.as_str() == crate::object::FRESH => {
                conditions.insert(0, now);
            }
            (None, Some(now)) => conditions.push(now),
            (None, None) => {}
        }
    }
    new
}

// === impl State ===

impl State {
    /// Makes an object. None if there may be no more of its kind; there must be none of its name.
    pub(crate) fn create(
        &mut self,
        now: Now,
        no: KindNo,
        key: Key,
        change: Change,
    ) -> Option<Slot> {
        let store = self.kind(no)?;
        if store.table.len() >= store.kind.objects_max {
            return None;
        }
        let (kind, cause) = (Arc::clone(&store.kind), change.cause);
        let object = self.rehearse_create(now, no, key, change);
        let object = Arc::new(object);
        let store = self.kind_mut(no)?;
        let slot = store.table.insert(Arc::clone(&object));
        store.books.resize_with(store.table.n_slots(), Default::default);
        store.disturb(slot);
        store.relations.enter(&kind, slot, &object);
        self.publish(now, no, None, Some(Arc::clone(&object)), cause);
        self.tell_followers(now, no, &object, None);
        Some(slot)
    }

    /// Changes an object. None if it says the same as before.
    pub(crate) fn update(
        &mut self,
        now: Now,
        no: KindNo,
        slot: Slot,
        change: Change,
    ) -> Option<Arc<Object>> {
        let store = self.kind(no)?;
        let (kind, old) = (Arc::clone(&store.kind), Arc::clone(store.table.at(slot)?));
        let cause = change.cause;
        let object = self.rehearse_update(now, no, &old, change)?;
        let object = Arc::new(object);
        let store = self.kind_mut(no)?;
        store.table.replace(slot, Arc::clone(&object));
        store.relations.moved(&kind, slot, &old, &object);
        let changed = changed_fields(&old, &object);
        self.publish(now, no, Some(old), Some(Arc::clone(&object)), cause);
        self.tell_followers(now, no, &object, Some(changed));
        Some(object)
    }

    /// Deletes an object. Its slot becomes another's; what was said of it is forgotten.
    pub(crate) fn delete(
        &mut self,
        now: Now,
        no: KindNo,
        slot: Slot,
        cause: Cause,
    ) -> Option<Arc<Object>> {
        let store = self.kind_mut(no)?;
        let old = store.table.remove(slot)?;
        store.books[slot.0 as usize].book = Arc::default();
        store.disturb(slot);
        let kind = Arc::clone(&store.kind);
        store.relations.leave(&kind, slot, &old);
        self.publish(now, no, Some(Arc::clone(&old)), None, cause);
        self.tell_followers(now, no, &old, None);
        Some(old)
    }

    /// The object that [`State::create`] would make; nothing is changed but that a version is
    /// used up.
    pub(super) fn rehearse_create(
        &mut self,
        now: Now,
        no: KindNo,
        key: Key,
        change: Change,
    ) -> Object {
        let kind = self.kind(no).map(|store| Arc::clone(&store.kind));
        let kind = kind.expect("the caller found a kind at this number");
        let blank = Object {
            key,
            version: ResourceVersion(0),
            uid: self.versions.uid(),
            created_s: now.unix_s(),
            generation: 1,
            labels: LabelSet::default(),
            fields: vec![Value::Null; kind.fields.len()].into(),
            conditions: None,
            extra: None,
        };
        let mut object = change.of(&kind, &blank).unwrap_or(blank);
        object.generation = 1;
        self.follow(no, None, &mut object);
        self.finish(now, no, &mut object);
        object
    }

    /// The object that [`State::update`] would make of `old`, if it would.
    pub(super) fn rehearse_update(
        &mut self,
        now: Now,
        no: KindNo,
        old: &Object,
        change: Change,
    ) -> Option<Object> {
        let kind = Arc::clone(&self.kind(no)?.kind);
        let mut object = change.of(&kind, old)?;
        self.follow(no, Some(old), &mut object);
        self.finish(now, no, &mut object);
        Some(object)
    }

    /// Gives the object its version and its derived conditions.
    fn finish(&mut self, now: Now, no: KindNo, object: &mut Object) {
        self.derive_conditions(now, no, object);
        object.version = self.versions.next(now.unix_ms);
        let shared = &mut self.shared;
        if shared.labels == object.labels {
            object.labels = shared.labels.clone();
        } else {
            shared.labels = object.labels.clone();
        }
        match &mut object.conditions {
            Some(conditions) if *conditions == shared.conditions => {
                *conditions = Arc::clone(&shared.conditions);
            }
            Some(conditions) => shared.conditions = Arc::clone(conditions),
            None => {}
        }
        shared.share_texts(&mut object.fields);
    }

    fn publish(
        &mut self,
        now: Now,
        no: KindNo,
        old: Option<Arc<Object>>,
        new: Option<Arc<Object>>,
        cause: Cause,
    ) {
        let version = match &new {
            Some(new) => new.version,
            None => self.versions.next(now.unix_ms),
        };
        self.metrics.event(cause);
        let event = Event { version, old, new, cause, unix_ms: now.unix_ms };
        let State { kinds, woken, .. } = self;
        if let Some(store) = kinds.get_mut(usize::from(no.0)).and_then(Option::as_mut) {
            for summary in &mut store.summaries {
                summary.apply(&event);
            }
            store.hub.publish(event, woken);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// A text that the object before had in the same place is not kept twice.
    fn share_texts(&mut self, fields: &mut [Value]) {
        if self.fields.len() < fields.len() {
            self.fields.resize(fields.len(), Value::Null);
        }
        for (last, value) in self.fields.iter_mut().zip(fields) {
            match value {
                Value::Text(_) if *last == *value => value.clone_from(last),
                Value::Text(_) => last.clone_from(value),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
    }
}

fn changed_fields(old: &Object, new: &Object) -> FieldSet {
    let pairs = old.fields.iter().zip(&new.fields).enumerate();
    pairs.filter(|(_, (old, new))| old != new).map(|(at, _)| FieldId(at as u16)).collect()
}
