//! Reading: snapshots, single objects, and listening.

use std::sync::Arc;

use super::{Center, Index, KindStore, Summary, Table};
use crate::event_log::{Event, Gone};
use crate::kind::{FieldId, Kind, Kinds};
use crate::notifier::{Hub, View, WatchError, Watcher};
use crate::object::{Key, Object, ResourceVersion};
use crate::value::Value;

/// Reads the status center. Clone freely.
#[derive(Debug, Clone)]
pub(crate) struct Reader(Arc<Center>);

/// All objects of one kind at one version. Cheap to clone; never changes.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    kind: Arc<Kind>,
    version: ResourceVersion,
    table: Table,
}

// === impl Reader ===

impl Reader {
    /// Reads this status center.
    pub(crate) fn new(center: Arc<Center>) -> Reader {
        Reader(center)
    }

    /// The kinds there are now.
    pub(crate) fn kinds(&self) -> Kinds {
        self.0.shelf().kinds.clone()
    }

    /// Whether every target has answered or failed once. Before that, nothing may be served.
    pub(crate) fn is_warm(&self) -> bool {
        self.0.is_warm()
    }

    /// All objects of a kind, now. None if the kind is no longer there.
    pub(crate) fn snapshot(&self, kind: &Kind) -> Option<Snapshot> {
        self.0.look(|state| state.kind(state.find_kind(kind)?).map(KindStore::snapshot))
    }

    /// All objects of a kind as they were at `version`, which must be one that this kind has had
    /// and that its event log reaches.
    ///
    /// # Errors
    /// [`Gone`] if it is not, or the kind is no longer there.
    pub(crate) fn snapshot_at(
        &self,
        kind: &Kind,
        version: ResourceVersion,
    ) -> Result<Snapshot, Gone> {
        let (mut snapshot, events) = self.0.look(|state| {
            let store = state.find_kind(kind).and_then(|no| state.kind(no)).ok_or(Gone)?;
            Ok((store.snapshot(), store.hub.events_since(version)?))
        })?;
        events.iter().rev().for_each(|event| snapshot.undo(event));
        snapshot.version = version;
        Ok(snapshot)
    }

    /// One object, now; none if the kind has got other fields by a reload.
    pub(crate) fn get(&self, kind: &Kind, key: &Key) -> Option<Arc<Object>> {
        self.0.look(|state| {
            let store = state.kind(state.find_kind(kind)?)?;
            let is_same = store.kind.shares_objects_with(kind);
            store.table.get(key.as_str()).filter(|_| is_same).map(Arc::clone)
        })
    }

    /// The version of a kind: that of its newest event.
    pub(crate) fn version(&self, kind: &Kind) -> Option<ResourceVersion> {
        Some(self.hub(kind)?.head())
    }

    /// Listens to the events of a kind after `version`.
    ///
    /// # Errors
    /// [`WatchError`]
    pub(crate) fn watch(
        &self,
        kind: &Kind,
        version: ResourceVersion,
        view: Arc<dyn View>,
    ) -> Result<Watcher, WatchError> {
        self.hub(kind).ok_or(WatchError::Ended)?.watch(version, view)
    }

    /// When the reporter of an object confirmed it last, or the API touched it last: in
    /// milliseconds since the epoch.
    pub(crate) fn observed_unix_ms(&self, kind: &Kind, key: &Key) -> Option<i64> {
        let (now, unix_ms) = (self.0.clock.now(), self.0.clock.unix_ms());
        self.0.look(|state| {
            let store = state.kind(state.find_kind(kind)?)?;
            let book = &store.book(store.table.find(key.as_str())?).book;
            let claims = book.claims().iter();
            let confirmed = claims.filter_map(|claim| state.sources.confirmed(claim.source)).max();
            let at = confirmed.unwrap_or_default().max(book.touched());
            let age_ms = i64::try_from(now.since(at).as_millis()).unwrap_or(i64::MAX);
            Some(unix_ms.saturating_sub(age_ms))
        })
    }

    /// How many objects of a kind have which values of these fields, and at which version.
    /// Counted once, then kept.
    pub(crate) fn summary(
        &self,
        kind: &Kind,
        fields: &[FieldId],
    ) -> Option<(Summary, ResourceVersion)> {
        self.0.change(|state, _| {
            let no = state.find_kind(kind)?;
            let store = state.kind_mut(no)?;
            let is_same = store.kind.shares_objects_with(kind);
            is_same.then(|| (store.summary(fields), store.hub.head()))
        })
    }

    /// Where the events of a kind are.
    pub(crate) fn hub(&self, kind: &Kind) -> Option<Arc<Hub>> {
        let shelf = self.0.shelf();
        let at = shelf.kinds.iter().position(|known| known.is(kind))?;
        Some(Arc::clone(&shelf.hubs[at]))
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Whose objects they are.
    pub(crate) fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// The version at which they were so.
    pub(crate) fn version(&self) -> ResourceVersion {
        self.version
    }

    /// Number of objects.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The object of this name.
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.table.get(key.as_str())
    }

    /// All objects, in the order of namespace and name; those after `after`, if it is given.
    pub(crate) fn iter<'s>(
        &'s self,
        after: Option<&Key>,
    ) -> impl Iterator<Item = &'s Arc<Object>> + use<'s> {
        self.table.iter_after(after.map(Key::as_str))
    }

    /// The objects of one namespace, in the order of names; those after `after`.
    pub(crate) fn in_namespace<'s>(
        &'s self,
        namespace: &str,
        after: Option<&Key>,
    ) -> impl Iterator<Item = &'s Arc<Object>> + use<'s> {
        self.table.in_namespace(namespace, after.map(Key::as_str))
    }

    /// The objects whose field has this value, in the order of namespace and name; none if the
    /// kind has no index on the field.
    pub(crate) fn with_field(&self, field: FieldId, value: &Value) -> Option<Vec<&Arc<Object>>> {
        Some(self.table.by_index(self.table.index_on_field(field)?, value))
    }

    /// The objects that have this label, in the order of namespace and name; none if there is no
    /// index on the label. The labels that a kind declares have one.
    pub(crate) fn with_label(&self, name: &str, value: &str) -> Option<Vec<&Arc<Object>>> {
        Some(self.table.by_index(self.table.index_on_label(name)?, &Value::text(value)))
    }

    /// The index on a field, to count by it.
    pub(crate) fn index(&self, field: FieldId) -> Option<&Index> {
        self.table.index_on_field(field)
    }

    /// Goes back before an event.
    fn undo(&mut self, event: &Event) {
        let object = event.new.as_ref().or(event.old.as_ref());
        let Some(key) = object.map(|object| object.key.clone()) else { return };
        match (self.table.find(key.as_str()), &event.old) {
            (Some(slot), Some(old)) => self.table.replace(slot, Arc::clone(old)),
            (Some(slot), None) => drop(self.table.remove(slot)),
            (None, Some(old)) => drop(self.table.insert(Arc::clone(old))),
            (None, None) => {}
        }
    }
}

// === impl KindStore ===

impl KindStore {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            kind: Arc::clone(&self.kind),
            version: self.hub.head(),
            table: self.table.clone(),
        }
    }
}
