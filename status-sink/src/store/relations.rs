//! Fields that are kept equal to those of another object, both ways: when the object comes to
//! name another one, and when the other one changes. And conditions that follow from fields.
//!
//! Invariant: an object is among the followers of exactly the objects that it names. A mirror
//! never mirrors a mirror (`config/fields.rs`), so a change reaches its followers in one step.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use smallvec::SmallVec;

use super::commit::changed_conditions;
use super::{Change, ConditionChange, KindNo, Now, Slot, State};
use crate::config::Template;
use crate::event_log::Cause;
use crate::kind::{FieldId, FieldSet, Kind};
use crate::object::{Condition, ConditionStatus, Key, Object};
use crate::selector::Selector;
use crate::value::{Text, Value};

/// What follows from other objects, and from other fields, for the objects of one kind.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    links: Vec<Link>,
    derived: Vec<Derived>,
}

/// Objects of this kind name one object of another kind each, and mirror fields of it.
#[derive(Debug)]
struct Link {
    target: KindNo,
    target_is_namespaced: bool,
    name: Template,
    /// The text fields of which the name is made. Labels may be in it too.
    inputs: FieldSet,
    /// `(field of this kind, field of the other kind)`
    fields: SmallVec<[(FieldId, FieldId); 2]>,
    followers: HashMap<Key, BTreeSet<Slot>, RandomState>,
}

/// A condition that is `True` while an object matches.
#[derive(Debug)]
struct Derived {
    name: Text,
    when: Selector,
}

// === impl Relations ===

impl Relations {
    /// Those that a kind declares. `find` knows where other kinds are.
    pub(super) fn new(kind: &Kind, find: impl Fn(&str) -> Option<(KindNo, bool)>) -> Relations {
        let mut relations = Relations::default();
        for (own, mirror) in kind.mirrors() {
            let Some((target, target_is_namespaced)) = find(&mirror.path) else { continue };
            let same = |link: &&mut Link| link.target == target && link.name == mirror.name;
            match relations.links.iter_mut().find(same) {
                Some(link) => link.fields.push((own, mirror.field)),
                None => relations.links.push(Link {
                    target,
                    target_is_namespaced,
                    name: mirror.name.clone(),
                    inputs: mirror.name.labels().filter_map(|name| kind.field_id(name)).collect(),
                    fields: SmallVec::from_slice(&[(own, mirror.field)]),
                    followers: HashMap::default(),
                }),
            }
        }
        for condition in &kind.conditions {
            let Some(when) = &condition.when else { continue };
            let when = Selector::compile("", when, kind).expect("the configuration was checked");
            relations.derived.push(Derived { name: condition.name.clone(), when });
        }
        relations
    }

    /// A new object is in `slot`.
    pub(super) fn enter(&mut self, kind: &Kind, slot: Slot, object: &Object) {
        for link in &mut self.links {
            if let Some(key) = link.names(kind, object) {
                link.followers.entry(key).or_default().insert(slot);
            }
        }
    }

    /// The object in `slot` is no longer there.
    pub(super) fn leave(&mut self, kind: &Kind, slot: Slot, object: &Object) {
        for link in &mut self.links {
            if let Some(key) = link.names(kind, object) {
                link.remove(&key, slot);
            }
        }
    }

    /// The object in `slot` has changed.
    pub(super) fn moved(&mut self, kind: &Kind, slot: Slot, old: &Object, new: &Object) {
        for link in &mut self.links {
            if !link.may_move(old, new) {
                continue;
            }
            let (was, is) = (link.names(kind, old), link.names(kind, new));
            if was == is {
                continue;
            }
            if let Some(key) = was {
                link.remove(&key, slot);
            }
            if let Some(key) = is {
                link.followers.entry(key).or_default().insert(slot);
            }
        }
    }
}

// === impl Link ===

impl Link {
    /// Whether the two may name different objects.
    fn may_move(&self, old: &Object, new: &Object) -> bool {
        old.labels != new.labels || self.inputs.iter().any(|id| old.value(id) != new.value(id))
    }

    /// The object that `object` names.
    fn names(&self, kind: &Kind, object: &Object) -> Option<Key> {
        let value = |name: &str| match kind.field_id(name).map(|id| object.value(id)) {
            Some(Value::Text(text)) => Some(text.as_str()),
            Some(_) => None,
            None => object.labels.get(name),
        };
        let mut path = String::new();
        if self.target_is_namespaced {
            path.push_str(object.namespace());
            path.push('/');
        }
        self.name.fill_name(value, &mut path).then(|| Key::from_path(&path))
    }

    fn remove(&mut self, key: &Key, slot: Slot) {
        let Some(slots) = self.followers.get_mut(key) else { return };
        slots.remove(&slot);
        if slots.is_empty() {
            self.followers.remove(key);
        }
    }
}

// === impl State ===

impl State {
    /// Makes the mirrors of an object that is about to be put in its place equal to what they
    /// mirror. `old` is the object before, if there was one.
    pub(super) fn follow(&self, no: KindNo, old: Option<&Object>, object: &mut Object) {
        let Some(store) = self.kind(no) else { return };
        for link in &store.relations.links {
            if old.is_some_and(|old| !link.may_move(old, object)) {
                continue;
            }
            let key = link.names(&store.kind, object);
            let target = self.kind(link.target).and_then(|store| store.table.get(key?.as_str()));
            for (own, theirs) in &link.fields {
                let value = target.map_or(Value::Null, |target| target.value(*theirs).clone());
                object.fields[usize::from(own.0)] = value;
            }
        }
    }

    /// Brings those who mirror `target` up to date. `changed` are the fields that changed; none
    /// if it is new or gone.
    pub(super) fn tell_followers(
        &mut self,
        now: Now,
        no: KindNo,
        target: &Object,
        changed: Option<FieldSet>,
    ) {
        let mut told: Vec<(KindNo, Slot, Change)> = Vec::new();
        for (follower_no, store) in self.kinds() {
            for link in store.relations.links.iter().filter(|link| link.target == no) {
                let concerns = |(_, theirs): &(FieldId, FieldId)| {
                    changed.is_none_or(|changed| changed.contains(*theirs))
                };
                if !link.fields.iter().any(concerns) {
                    continue;
                }
                let Some(slots) = link.followers.get(target.key.as_str()) else { continue };
                let still_there = store_has(self, no, target);
                for slot in slots {
                    let mut change = Change::new(Cause::Relation);
                    change.fields.extend(link.fields.iter().map(|(own, theirs)| {
                        let value =
                            if still_there { target.value(*theirs).clone() } else { Value::Null };
                        (*own, value)
                    }));
                    told.push((follower_no, *slot, change));
                }
            }
        }
        for (follower_no, slot, change) in told {
            self.update(now, follower_no, slot, change);
        }
    }

    /// Makes every mirror equal to what it mirrors: the kinds have changed.
    pub(super) fn refresh_mirrors(&mut self, now: Now) {
        let mut changes = Vec::new();
        for (no, store) in self.kinds() {
            for link in &store.relations.links {
                for (key, slots) in &link.followers {
                    let target = self.kind(link.target).and_then(|it| it.table.get(key.as_str()));
                    let value = |id: FieldId| target.map_or(Value::Null, |it| it.value(id).clone());
                    for slot in slots {
                        let mut change = Change::new(Cause::Reload);
                        change
                            .fields
                            .extend(link.fields.iter().map(|(own, id)| (*own, value(*id))));
                        changes.push((no, *slot, change));
                    }
                }
            }
        }
        for (no, slot, change) in changes {
            self.update(now, no, slot, change);
        }
    }

    /// Sets the conditions of an object that follow from its fields.
    pub(super) fn derive_conditions(&self, now: Now, no: KindNo, object: &mut Object) {
        let Some(store) = self.kind(no) else { return };
        let changes: SmallVec<[ConditionChange; 1]> = store
            .relations
            .derived
            .iter()
            .map(|Derived { name, when }| {
                let status = ConditionStatus::from(when.matches(object));
                let (reason, message) = (Text::from(""), Text::from(""));
                let since_s = now.unix_s();
                let condition = Condition { name: name.clone(), status, reason, message, since_s };
                ConditionChange { name: name.clone(), now: Some(condition) }
            })
            .collect();
        if let Some(conditions) = changed_conditions(object.conditions(), &changes) {
            object.conditions = Some(Arc::new(conditions));
        }
    }
}

fn store_has(state: &State, no: KindNo, object: &Object) -> bool {
    let there = state.kind(no).and_then(|store| store.table.get(object.key.as_str()));
    there.is_some_and(|there| there.uid == object.uid)
}
