//! Writing on behalf of the API: what a client asked for, under the conditions it named.
//!
//! A write has happened, for every reader and listener, before it returns.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Center, Change, ConditionChange, KindNo, Now, Slot, State};
use crate::event_log::Cause;
use crate::kind::{FieldId, FieldSet, Kind};
use crate::object::{Draft, Key, Object, ResourceVersion};

/// Changes objects on behalf of the API. Clone freely.
#[derive(Debug, Clone)]
pub(crate) struct Writer(Arc<Center>);

/// What an object must still be for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Expect {
    /// At this version.
    pub(crate) version: Option<ResourceVersion>,
    /// This very object, and not another of the same name.
    pub(crate) uid: Option<u128>,
}

/// What a write has made of an object.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The object as it is now; as it would be, for a dry run.
    pub(crate) object: Arc<Object>,
    /// Whether that is something else than before.
    #[cfg_attr(not(test), expect(dead_code, reason = "stories ask; clients see the version"))]
    pub(crate) changed: bool,
}

/// Why a write did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// There is an object of that name.
    #[error("the object exists already")]
    Exists,
    /// There is no object of that name.
    #[error("there is no such object")]
    NotFound,
    /// The object is not what the client expects.
    #[error("the object has been modified; its version is {version}")]
    Conflict {
        /// The version that it has.
        version: ResourceVersion,
    },
    /// The object is not the one that the client means.
    #[error("the object is another one of the same name")]
    OtherUid {
        /// The id that it has.
        uid: u128,
    },
    /// As many objects as the kind allows.
    #[error("there are {max} objects of this kind already")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The configuration no longer has the kind.
    #[error("the kind is no longer there")]
    NoKind,
}

// === impl Writer ===

impl Writer {
    /// Writes to this status center.
    pub(crate) fn new(center: Arc<Center>) -> Writer {
        Writer(center)
    }

    /// Makes an object.
    ///
    /// # Errors
    /// [`WriteError`]
    pub(crate) fn create(
        &self,
        kind: &Kind,
        key: Key,
        draft: &Draft,
        dry_run: bool,
    ) -> Result<Written, WriteError> {
        self.write(kind, |state, now, no| state.api_create(now, no, key, draft, dry_run))
    }

    /// Makes an object what `draft` says, in what it speaks of.
    ///
    /// # Errors
    /// [`WriteError`]
    pub(crate) fn update(
        &self,
        kind: &Kind,
        key: &Key,
        expect: Expect,
        draft: &Draft,
        dry_run: bool,
    ) -> Result<Written, WriteError> {
        self.write(kind, |state, now, no| {
            let slot = state.api_find(no, key, expect)?;
            Ok(state.api_update(now, no, slot, draft, dry_run))
        })
    }

    /// Deletes an object. Returns it as it was. If a reporter still lists it, it will be back with
    /// the next scrape that is sent after this.
    ///
    /// # Errors
    /// [`WriteError`]
    pub(crate) fn delete(
        &self,
        kind: &Kind,
        key: &Key,
        expect: Expect,
        dry_run: bool,
    ) -> Result<Arc<Object>, WriteError> {
        self.write(kind, |state, now, no| {
            let slot = state.api_find(no, key, expect)?;
            state.api_delete(now, no, slot, dry_run).ok_or(WriteError::NotFound)
        })
    }

    fn write<T>(
        &self,
        kind: &Kind,
        write: impl FnOnce(&mut State, Now, KindNo) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        self.0.change(|state, now| {
            let no = state.find_kind(kind).ok_or(WriteError::NoKind)?;
            let same = state.kind(no).is_some_and(|store| store.kind.shares_objects_with(kind));
            if !same {
                // The draft speaks of fields by places that have moved.
                return Err(WriteError::NoKind);
            }
            write(state, now, no)
        })
    }
}

// === impl State ===

impl State {
    fn api_create(
        &mut self,
        now: Now,
        no: KindNo,
        key: Key,
        draft: &Draft,
        dry_run: bool,
    ) -> Result<Written, WriteError> {
        let store = self.kind(no).ok_or(WriteError::NoKind)?;
        if store.table.find(key.as_str()).is_some() {
            return Err(WriteError::Exists);
        }
        let (kind, max) = (Arc::clone(&store.kind), store.kind.objects_max);
        let all: FieldSet = kind.fields().map(|(id, _)| id).collect();
        let change = change(now, draft, all);
        if dry_run {
            let object = Arc::new(self.rehearse_create(now, no, key, change));
            return Ok(Written { object, changed: true });
        }
        let slot = self.create(now, no, key, change).ok_or(WriteError::TooMany { max })?;
        self.edit_book(no, slot, |book| book.told(now.moment, draft.said()));
        self.watch_ttl(now, no, slot);
        let object = self.kind(no).and_then(|store| store.table.at(slot).map(Arc::clone));
        let object = object.expect("it was created under this lock");
        Ok(Written { object, changed: true })
    }

    fn api_find(&self, no: KindNo, key: &Key, expect: Expect) -> Result<Slot, WriteError> {
        let store = self.kind(no).ok_or(WriteError::NoKind)?;
        let slot = store.table.find(key.as_str()).ok_or(WriteError::NotFound)?;
        let object = store.table.at(slot).ok_or(WriteError::NotFound)?;
        if expect.uid.is_some_and(|uid| uid != object.uid) {
            return Err(WriteError::OtherUid { uid: object.uid });
        }
        if expect.version.is_some_and(|version| version != object.version) {
            return Err(WriteError::Conflict { version: object.version });
        }
        Ok(slot)
    }

    fn api_update(
        &mut self,
        now: Now,
        no: KindNo,
        slot: Slot,
        draft: &Draft,
        dry_run: bool,
    ) -> Written {
        let change = change(now, draft, draft.said());
        let store = self.kind(no).expect("the caller found a slot of this kind");
        let before = Arc::clone(store.table.at(slot).expect("the caller found this slot"));
        if dry_run {
            let after = self.rehearse_update(now, no, &before, change);
            let changed = after.is_some();
            return Written { object: after.map_or(before, Arc::new), changed };
        }
        let after = self.update(now, no, slot, change);
        self.edit_book(no, slot, |book| book.told(now.moment, draft.said()));
        self.tell_reporters(no, slot);
        let changed = after.is_some();
        Written { object: after.unwrap_or(before), changed }
    }

    fn api_delete(
        &mut self,
        now: Now,
        no: KindNo,
        slot: Slot,
        dry_run: bool,
    ) -> Option<Arc<Object>> {
        let object = Arc::clone(self.kind(no)?.table.at(slot)?);
        if dry_run {
            return Some(object);
        }
        self.tell_reporters(no, slot);
        self.tombstones.bury(now.moment, no, object.key.clone());
        self.delete(now, no, slot, Cause::Api)
    }

    /// The reporters of an object must say all they know of it with their next scrape.
    fn tell_reporters(&mut self, no: KindNo, slot: Slot) {
        let State { kinds, sources, .. } = self;
        let Some(store) = kinds.get_mut(usize::from(no.0)).and_then(Option::as_mut) else { return };
        let claims = store.book(slot).book.claims();
        if !claims.is_empty() {
            claims.iter().for_each(|claim| sources.disturb(claim.source));
            store.disturb(slot);
        }
    }
}

/// What a draft changes: of the fields, those in `of`.
fn change(now: Now, draft: &Draft, of: FieldSet) -> Change {
    let mut change = Change::new(Cause::Api);
    change.fields.extend(of.iter().map(|id: FieldId| (id, draft.value(id).clone())));
    change.labels = Some(draft.labels.clone());
    change.extra = Some(draft.extra.clone());
    change.conditions = draft
        .conditions()
        .iter()
        .map(|condition| ConditionChange {
            name: condition.name.clone(),
            now: condition.at(now.unix_s()),
        })
        .collect::<SmallVec<_>>();
    change
}
