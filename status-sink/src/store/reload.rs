//! What a new configuration does to the kinds: those that stay the same keep their objects,
//! versions and listeners.
//!
//! A kind with other fields keeps its objects, as far as their fields are still there, under new
//! versions; its listeners are told *gone* and list again. A removed kind's listeners get a clean
//! end.

use std::sync::Arc;

use super::{Center, KindNo, KindStore, Now, Relations, Shelf, State, Table};
use crate::config::Config;
use crate::kind::{Kind, Kinds};
use crate::notifier::{End, Hub, Listeners};
use crate::object::Object;
use crate::processor::Rules;
use crate::value::Value;

// === impl Center ===

impl Center {
    /// Puts a configuration in force.
    pub(crate) fn apply(&self, config: &Config) {
        self.listeners.set_max(config.listeners_max());
        let ended = self.change(|state, now| {
            let ended = state.apply(now, config.kinds(), &self.listeners);
            state.generation += 1;
            let rules =
                Rules::new(state.generation, state.kinds().map(|(no, store)| (no, &store.kind)));
            let kinds = state.kinds().map(|(_, store)| Arc::clone(&store.kind)).collect();
            let hubs = state.kinds().map(|(_, store)| Arc::clone(&store.hub)).collect();
            // Under the lock: no plan of the old configuration meets the new state.
            self.shelf.store(Arc::new(Shelf { kinds: Kinds(kinds), hubs, rules: Arc::new(rules) }));
            ended
        });
        ended.into_iter().for_each(|(hub, end)| hub.end(end));
    }

    /// No further events: every listener gets what it has not had yet, and a clean end.
    pub(crate) fn end(&self) {
        self.shelf().hubs.iter().for_each(|hub| hub.end(End::Clean));
    }
}

// === impl State ===

impl State {
    /// Makes the kinds equal to `wanted`. Returns the hubs whose listeners have to go, and how.
    fn apply(
        &mut self,
        now: Now,
        wanted: &[Arc<Kind>],
        listeners: &Arc<Listeners>,
    ) -> Vec<(Arc<Hub>, End)> {
        let mut ended = Vec::new();
        for place in &mut self.kinds {
            let keep = |store: &KindStore| wanted.iter().any(|kind| kind.is(&store.kind));
            if let Some(store) = place.take_if(|store| !keep(store)) {
                ended.push((store.hub, End::Clean));
            }
        }
        for kind in wanted {
            let Some(no) = self.find_kind(kind) else {
                let start = self.versions.next(now.unix_ms);
                let hub = Hub::new(start, kind.events_max, Arc::clone(listeners));
                self.kinds.push(Some(KindStore::new(Arc::clone(kind), hub)));
                continue;
            };
            let start = self.versions.next(now.unix_ms);
            let Some(store) = self.kinds[usize::from(no.0)].as_mut() else { continue };
            store.hub.set_events_max(kind.events_max);
            if kind.shares_objects_with(&store.kind) {
                store.adopt(Arc::clone(kind));
                continue;
            }
            let hub = Hub::new(start, kind.events_max, Arc::clone(listeners));
            let mut new = KindStore::new(Arc::clone(kind), hub);
            new.books = std::mem::take(&mut store.books);
            new.table = Table::new(kind);
            let old = std::mem::replace(store, new);
            ended.push((Arc::clone(&old.hub), End::Gone));
            self.rewrite(now, no, &old);
        }
        self.relate();
        self.refresh_mirrors(now);
        ended
    }

    /// Moves the objects of a kind that has got other fields.
    fn rewrite(&mut self, now: Now, no: KindNo, old: &KindStore) {
        let Some(kind) = self.kind(no).map(|store| Arc::clone(&store.kind)) else { return };
        let from = |field: &crate::kind::Field| {
            let id = old.kind.field_id(&field.name)?;
            (old.kind.field(id).kind == field.kind).then_some(id)
        };
        let moved: Vec<_> = kind.fields.iter().map(from).collect();
        let mut slots = Vec::with_capacity(old.table.n_slots());
        for at in 0..old.table.n_slots() {
            let before = old.table.at(super::Slot(at as u32));
            slots.push(before.map(|before| {
                let value = |id: &Option<_>| id.map_or(Value::Null, |id| before.value(id).clone());
                Arc::new(Object {
                    key: before.key.clone(),
                    version: self.versions.next(now.unix_ms),
                    uid: before.uid,
                    created_s: before.created_s,
                    generation: before.generation,
                    labels: before.labels.clone(),
                    fields: moved.iter().map(value).collect(),
                    conditions: before.conditions.clone(),
                    extra: before.extra.clone(),
                })
            }));
        }
        let head = self.versions.next(now.unix_ms);
        let Some(store) = self.kind_mut(no) else { return };
        store.table = Table::with_slots(&kind, slots);
        store.hub.start_at(head);
        for at in 0..store.books.len() {
            // Fields have other places now, so what was said of them is forgotten.
            store.books[at].book = Arc::new(store.books[at].book.without_fields(kind.fields.len()));
            store.disturb(super::Slot(at as u32));
        }
    }

    /// Finds anew who mirrors whom.
    fn relate(&mut self) {
        let places: Vec<(String, KindNo, bool)> = self
            .kinds()
            .map(|(no, store)| (store.kind.path(), no, store.kind.namespaced))
            .collect();
        let find = |path: &str| {
            let found = places.iter().find(|(known, ..)| known == path)?;
            Some((found.1, found.2))
        };
        for store in self.kinds.iter_mut().flatten() {
            let mut relations = Relations::new(&store.kind, find);
            for at in 0..store.table.n_slots() {
                let slot = super::Slot(at as u32);
                if let Some(object) = store.table.at(slot) {
                    relations.enter(&store.kind, slot, object);
                }
            }
            store.relations = relations;
        }
    }
}

// === impl KindStore ===

impl KindStore {
    fn new(kind: Arc<Kind>, hub: Arc<Hub>) -> KindStore {
        let table = Table::new(&kind);
        let (books, relations, summaries) = Default::default();
        KindStore { kind, hub, table, books, relations, summaries }
    }

    /// Goes on under another reading of the same kind.
    fn adopt(&mut self, kind: Arc<Kind>) {
        let labels =
            |kind: &Kind| kind.labels.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        if self.kind.index != kind.index || labels(&self.kind) != labels(&kind) {
            self.table = self.table.reindexed(&kind);
        }
        self.kind = kind;
    }
}
