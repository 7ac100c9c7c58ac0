//! Who reports, and what the store knows of them; and the graves of objects that the API deleted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use model::{Moment, Source, SourceId};
use rapidhash::fast::RandomState;

use super::Failing;
use super::roster::Roster;
use super::time::Lingering;
use crate::object::Key;
use crate::store::{KindNo, SourceNo};

/// Deleted objects that are kept in mind. When it bites, scrapes that were sent before the
/// forgotten deletions make no objects at all; the next ones do.
const GRAVES_MAX: usize = 16 * 1024;

/// How long a source may be without an owner before it counts as ended: longer than a reload or
/// a stop of the process takes.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// The sources that report.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    entries: Vec<Option<Entry>>,
    by_id: HashMap<SourceId, SourceNo, RandomState>,
}

#[derive(Debug)]
struct Entry {
    id: SourceId,
    flags: Arc<Flags>,
    /// For how long it had failed when its objects were last marked.
    failed_for: Option<Duration>,
    abandoned: Option<Moment>,
}

/// What a source and the store tell each other without a lock.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// Somebody wrote to an object that the source lists.
    disturbed: AtomicBool,
    /// When the last request was sent that had a good answer.
    confirmed: AtomicU64,
    is_abandoned: AtomicBool,
    /// Of an owner that went without a word.
    left: Mutex<Estate>,
}

/// What an owner leaves to the next one.
#[derive(Debug, Default)]
pub(super) struct Estate {
    /// What it lists, by role.
    pub(super) rosters: [Roster; 2],
    /// What it was to ask about again.
    pub(super) lingering: Vec<Lingering>,
    /// Since when it had no answer.
    pub(super) failing: Option<Failing>,
}

/// Objects that the API deleted, and when.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    graves: HashMap<(KindNo, Key), Moment, RandomState>,
    order: VecDeque<(Moment, KindNo, Key)>,
    /// Deletions up to this may be forgotten.
    floor: Option<Moment>,
}

// === impl Sources ===

impl Sources {
    /// A source reports, for the first time or again.
    pub(super) fn enter(&mut self, source: &Source) -> (SourceNo, Arc<Flags>) {
        if let Some(no) = self.by_id.get(&source.id).copied()
            && let Some(entry) = self.entry(no)
        {
            entry.abandoned = None;
            return (no, Arc::clone(&entry.flags));
        }
        let flags = Arc::new(Flags::default());
        let (failed_for, abandoned) = Default::default();
        let entry = Entry { id: source.id, flags: Arc::clone(&flags), failed_for, abandoned };
        let free = self.entries.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[at] = Some(entry);
        let no = SourceNo(at as u32);
        self.by_id.insert(source.id, no);
        (no, flags)
    }

    /// A source has ended.
    pub(super) fn leave(&mut self, no: SourceNo) {
        if let Some(entry) = self.entries.get_mut(no.0 as usize).and_then(Option::take) {
            self.by_id.remove(&entry.id);
        }
    }

    /// Somebody wrote to an object that the source lists.
    pub(crate) fn disturb(&self, no: SourceNo) {
        if let Some(Some(entry)) = self.entries.get(no.0 as usize) {
            entry.flags.disturbed.store(true, Ordering::Release);
        }
    }

    /// When the last request was sent that the source answered well.
    pub(crate) fn confirmed(&self, no: SourceNo) -> Option<Moment> {
        let entry = self.entries.get(no.0 as usize)?.as_ref()?;
        Some(Moment(entry.flags.confirmed.load(Ordering::Relaxed)))
    }

    /// For how long a source has failed; none if it answers.
    pub(super) fn failed_for(&self, no: SourceNo) -> Option<Duration> {
        self.entries.get(no.0 as usize)?.as_ref()?.failed_for
    }

    /// See [`Sources::failed_for`].
    pub(super) fn set_failed_for(&mut self, no: SourceNo, failed_for: Option<Duration>) {
        if let Some(entry) = self.entry(no) {
            entry.failed_for = failed_for;
        }
    }

    /// The sources that have been without an owner for too long, with what they leave.
    pub(super) fn abandoned(&mut self, now: Moment) -> Vec<(SourceNo, Estate)> {
        let mut abandoned = Vec::new();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            let Some(entry) = entry else { continue };
            if !entry.flags.is_abandoned.load(Ordering::Acquire) {
                continue;
            }
            let since = *entry.abandoned.get_or_insert(now);
            if now.since(since) >= ABANDONED_AFTER {
                abandoned.push((SourceNo(at as u32), entry.flags.adopt()));
            }
        }
        abandoned
    }

    /// Number of sources.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    fn entry(&mut self, no: SourceNo) -> Option<&mut Entry> {
        self.entries.get_mut(no.0 as usize)?.as_mut()
    }
}

// === impl Flags ===

impl Flags {
    pub(super) fn take_disturbed(&self) -> bool {
        self.disturbed.load(Ordering::Relaxed) && self.disturbed.swap(false, Ordering::AcqRel)
    }

    pub(super) fn confirm(&self, sent: Moment) {
        self.confirmed.fetch_max(sent.0, Ordering::Relaxed);
    }

    /// The owner goes without a word.
    pub(super) fn leave_behind(&self, estate: Estate) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = estate;
        self.is_abandoned.store(true, Ordering::Release);
    }

    /// A new owner comes.
    pub(super) fn adopt(&self) -> Estate {
        self.is_abandoned.store(false, Ordering::Release);
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Tombstones ===

impl Tombstones {
    /// The API has deleted an object.
    pub(crate) fn bury(&mut self, at: Moment, kind: KindNo, key: Key) {
        self.order.push_back((at, kind, key.clone()));
        self.graves.insert((kind, key), at);
        while self.order.len() > GRAVES_MAX {
            let Some((at, kind, key)) = self.order.pop_front() else { return };
            self.floor = Some(at);
            if let Some(known) = self.graves.get(&(kind, key.clone()))
                && *known == at
            {
                self.graves.remove(&(kind, key));
            }
        }
    }

    /// Whether the object may have been deleted after `sent`.
    pub(super) fn is_buried(&self, sent: Moment, kind: KindNo, key: &Key) -> bool {
        self.floor.is_some_and(|floor| sent <= floor)
            || self.graves.get(&(kind, key.clone())).is_some_and(|deleted| sent <= *deleted)
    }
}
