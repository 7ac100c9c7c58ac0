//! What time does to objects: reporters that stay silent, objects that nobody lists, and those
//! whose time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Moment;

use crate::event_log::Cause;
use crate::kind::Absent;
use crate::object::{Condition, ConditionStatus, FRESH, Key};
use crate::store::{Change, ConditionChange, KindNo, Now, Slot, SourceNo, State};
use crate::value::Text;

/// What is due when.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(Moment, u64), Timer>,
    next: u64,
}

/// Something to look at. What has happened meanwhile decides.
#[derive(Debug, Clone)]
struct Timer {
    what: What,
    kind: KindNo,
    key: Key,
    uid: u128,
}

/// An object that nobody lists, though the API touched it after that was seen.
#[derive(Debug)]
pub(super) struct Lingering {
    kind: KindNo,
    key: Key,
    uid: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Nobody lists the object.
    Absent,
    /// Only the API knows the object.
    Ttl,
}

// === impl Timers ===

impl Timers {
    fn add(&mut self, at: Moment, timer: Timer) {
        self.next += 1;
        self.due.insert((at, self.next), timer);
    }

    fn take_due(&mut self, now: Moment) -> Option<Timer> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}

// === impl State ===

impl State {
    /// Does what is due. To be called some times a second.
    pub(crate) fn tick(&mut self, now: Now) {
        while let Some(timer) = self.timers.take_due(now.moment) {
            self.fire(now, timer);
        }
        for (source, estate) in self.sources.abandoned(now.moment) {
            for roster in &estate.rosters {
                for (_, it) in roster.listed() {
                    self.release(now, source, now.moment, it.kind, &it.key);
                }
            }
            for it in estate.lingering {
                self.linger(now, now.moment, it);
            }
            self.sources.leave(source);
        }
    }

    /// A source no longer lists an object. If the API has touched the object since the request
    /// was sent, it is returned: it is to be asked about again.
    pub(super) fn release(
        &mut self,
        now: Now,
        source: SourceNo,
        sent: Moment,
        no: KindNo,
        key: &Key,
    ) -> Option<Lingering> {
        let store = self.kind(no)?;
        let slot = store.table.find(key.as_str())?;
        store.book(slot).book.claim_of(source)?;
        let uid = store.table.at(slot)?.uid;
        let n_fields = store.kind.fields.len();
        self.edit_book(no, slot, |book| book.remove_claim(source, n_fields));
        if !self.kind(no)?.book(slot).book.claims().is_empty() {
            self.disturb_others(no, slot, source);
            return None;
        }
        self.linger(now, sent, Lingering { kind: no, key: key.clone(), uid })
    }

    /// Nobody lists an object. If the API has touched it since `sent`, it is returned.
    pub(super) fn linger(
        &mut self,
        now: Now,
        sent: Moment,
        lingering: Lingering,
    ) -> Option<Lingering> {
        let store = self.kind(lingering.kind)?;
        let slot = store.table.find(lingering.key.as_str())?;
        let book = &store.book(slot).book;
        let is_same = store.table.at(slot)?.uid == lingering.uid;
        if !is_same || !book.claims().is_empty() {
            return None;
        }
        if book.touched() >= sent {
            return Some(lingering);
        }
        let after = store.kind.absent_after;
        if after.is_zero() {
            self.absent(now, lingering.kind, slot);
        } else {
            let Lingering { kind, key, uid } = lingering;
            self.timers.add(now.moment.after(after), Timer { what: What::Absent, kind, key, uid });
        }
        None
    }

    /// Does to an object that nobody lists what its kind says.
    fn absent(&mut self, now: Now, no: KindNo, slot: Slot) {
        let Some(store) = self.kind_mut(no) else { return };
        let kind = std::sync::Arc::clone(&store.kind);
        let mut change = Change::new(Cause::Scrape);
        match &kind.absent {
            Absent::Delete => {
                self.delete(now, no, slot, Cause::Scrape);
                return;
            }
            Absent::Keep => {}
            Absent::Set(values) => change.fields.extend(values.iter().cloned()),
        }
        if kind.stale_after.is_some() {
            let condition = freshness(false, "NotReported", "no reporter lists the object", now);
            change
                .conditions
                .push(ConditionChange { name: Text::from(FRESH), now: Some(condition) });
        }
        store.disturb(slot);
        self.update(now, no, slot, change);
    }

    /// An object's reporter has failed for longer than the kind allows.
    pub(super) fn mark_stale(
        &mut self,
        now: Now,
        source: SourceNo,
        no: KindNo,
        key: &Key,
        reason: &str,
    ) {
        let Some(store) = self.kind(no) else { return };
        let Some(slot) = store.table.find(key.as_str()) else { return };
        let Some(after) = store.kind.stale_after else { return };
        let book = &store.book(slot).book;
        if book.claim_of(source).is_none() {
            return;
        }
        let answers = |other: SourceNo| self.sources.failed_for(other).is_none_or(|it| it < after);
        let mut others = book.claims().iter().filter(|claim| claim.source != source);
        if others.any(|claim| answers(claim.source)) {
            // Somebody else speaks for it now.
            let n_fields = store.kind.fields.len();
            self.edit_book(no, slot, |book| book.remove_claim(source, n_fields));
            self.disturb_others(no, slot, source);
            self.sources.disturb(source);
            return;
        }
        let condition = freshness(false, "ScrapeFailed", reason, now);
        let mut change = Change::new(Cause::Time);
        change.conditions.push(ConditionChange { name: Text::from(FRESH), now: Some(condition) });
        self.update(now, no, slot, change);
    }

    /// The reporter of an object answers again, after its kinds with a `stale_after` up to
    /// `marked` were marked.
    pub(super) fn mark_fresh(&mut self, now: Now, no: KindNo, key: &Key, marked: Duration) {
        let Some(store) = self.kind(no) else { return };
        let Some(slot) = store.table.find(key.as_str()) else { return };
        if store.kind.stale_after.is_none_or(|after| after > marked) {
            return;
        }
        let mut change = Change::new(Cause::Scrape);
        change.conditions.extend(super::report::fresh(&store.kind, now));
        self.update(now, no, slot, change);
    }

    /// From now on the object's `ttl` counts, if its kind has one.
    pub(crate) fn watch_ttl(&mut self, now: Now, no: KindNo, slot: Slot) {
        let Some(store) = self.kind(no) else { return };
        let (Some(ttl), Some(object)) = (store.kind.ttl, store.table.at(slot)) else { return };
        let (key, uid) = (object.key.clone(), object.uid);
        self.timers.add(now.moment.after(ttl), Timer { what: What::Ttl, kind: no, key, uid });
    }

    fn fire(&mut self, now: Now, timer: Timer) {
        let Some(store) = self.kind(timer.kind) else { return };
        let Some(slot) = store.table.find(timer.key.as_str()) else { return };
        if store.table.at(slot).is_none_or(|object| object.uid != timer.uid) {
            return;
        }
        let book = &store.book(slot).book;
        match timer.what {
            What::Absent if book.claims().is_empty() => self.absent(now, timer.kind, slot),
            What::Absent => {}
            What::Ttl => {
                let Some(ttl) = store.kind.ttl else { return };
                let due = book.touched().after(ttl);
                if !book.claims().is_empty() {
                    self.timers.add(now.moment.after(ttl), timer);
                } else if due > now.moment {
                    self.timers.add(due, timer);
                } else {
                    self.delete(now, timer.kind, slot, Cause::Time);
                }
            }
        }
    }
}

/// The condition `Fresh`.
pub(super) fn freshness(is_fresh: bool, reason: &str, message: &str, now: Now) -> Condition {
    Condition {
        name: Text::from(FRESH),
        status: ConditionStatus::from(is_fresh),
        reason: Text::from(reason),
        message: Text::from(message),
        since_s: now.unix_s(),
    }
}
