//! The objects that one source lists, by a number that stays theirs while series speak of them.

use hashbrown::HashMap;
use model::Moment;
use rapidhash::fast::RandomState;

use crate::object::Key;
use crate::store::{KindNo, Slot, State};

/// The objects that one side of a source lists, or listed.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: Vec<Option<Reported>>,
    free: Vec<u32>,
    unlisted: Vec<(KindNo, Key)>,
    /// Numbers by name, while a layout is being read.
    numbers: Option<Numbers>,
}

type Numbers = HashMap<(KindNo, Key), u32, RandomState>;

/// An object that a source lists.
#[derive(Debug)]
pub(crate) struct Reported {
    pub(crate) kind: KindNo,
    pub(crate) key: Key,
    /// When the request was sent whose answer listed it first.
    pub(crate) since: Moment,
    /// Where it was when the source wrote to it last.
    pub(crate) slot: Option<Slot>,
    /// Who wrote to it last: if this is another number than the store's, somebody else.
    pub(crate) epoch: u32,
    pub(crate) is_listed: bool,
}

// === impl Roster ===

impl Roster {
    /// The object of this number.
    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Reported> {
        self.entries.get_mut(at as usize)?.as_mut()
    }

    /// As [`Roster::get_mut`].
    pub(super) fn get(&self, at: u32) -> Option<&Reported> {
        self.entries.get(at as usize)?.as_ref()
    }

    /// Numbers that may be in use are below this.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is listed, with its number.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (u32, &Reported)> {
        let numbered = self.entries.iter().enumerate();
        numbered.filter_map(|(at, it)| Some((at as u32, it.as_ref().filter(|it| it.is_listed)?)))
    }

    /// Whether an object is listed.
    pub(super) fn lists(&self, kind: KindNo, key: &Key) -> bool {
        self.listed().any(|(_, it)| it.kind == kind && it.key == *key)
    }

    /// Whether something is no longer listed that has not been taken.
    pub(super) fn has_unlisted(&self) -> bool {
        !self.unlisted.is_empty()
    }

    /// What is no longer listed, once.
    pub(super) fn take_unlisted(&mut self) -> Vec<(KindNo, Key)> {
        let mut unlisted = std::mem::take(&mut self.unlisted);
        unlisted.retain(|(kind, key)| !self.lists(*kind, key));
        unlisted
    }

    /// The number of an object; a new one, if the source has not listed it.
    pub(super) fn number(&mut self, kind: KindNo, path: &str, sent: Moment) -> u32 {
        let Roster { entries, free, numbers, .. } = self;
        let numbers = numbers.get_or_insert_with(|| {
            let numbered = entries.iter().enumerate();
            let names = numbered.filter_map(|(at, it)| {
                let it = it.as_ref()?;
                Some(((it.kind, it.key.clone()), at as u32))
            });
            names.collect()
        });
        *numbers.entry((kind, Key::from_path(path))).or_insert_with_key(|(kind, key)| {
            let new = Reported {
                kind: *kind,
                key: key.clone(),
                since: sent,
                slot: None,
                epoch: 0,
                is_listed: false,
            };
            let at = free.pop().unwrap_or_else(|| {
                entries.push(None);
                (entries.len() - 1) as u32
            });
            entries[at as usize] = Some(new);
            at
        })
    }

    /// A layout has been read.
    pub(super) fn forget_names(&mut self) {
        self.numbers = None;
    }

    /// `listed` says by number what is listed. What no longer is keeps its number.
    pub(super) fn set_listed(&mut self, listed: &[bool], sent: Moment) {
        for (at, it) in self.entries.iter_mut().enumerate() {
            let Some(it) = it else { continue };
            let is_listed = listed.get(at).copied().unwrap_or_default();
            match (it.is_listed, is_listed) {
                (true, false) => self.unlisted.push((it.kind, it.key.clone())),
                (false, true) => it.since = sent,
                _ => {}
            }
            it.is_listed = is_listed;
        }
    }

    /// Frees the numbers of which no series speaks any more.
    pub(super) fn free_unless(&mut self, is_used: &[bool]) {
        for (at, place) in self.entries.iter_mut().enumerate() {
            if place.as_ref().is_some_and(|it| !it.is_listed) && !is_used[at] {
                *place = None;
                self.free.push(at as u32);
            }
        }
    }

    /// Forgets the objects of kinds that are gone; the store has forgotten them already.
    pub(super) fn keep_kinds(&mut self, is_there: impl Fn(KindNo) -> bool) {
        for (at, place) in self.entries.iter_mut().enumerate() {
            if place.as_ref().is_some_and(|it| !is_there(it.kind)) {
                *place = None;
                self.free.push(at as u32);
            }
        }
        self.unlisted.retain(|(kind, _)| is_there(*kind));
    }
}

// === impl Reported ===

impl Reported {
    /// Whether nobody else has written to the object since the source did.
    pub(super) fn is_in_sync(&self, state: &State) -> bool {
        self.found(state).is_some()
    }

    /// Where the object is, if nobody else has written to it since the source did.
    pub(super) fn found(&self, state: &State) -> Option<Slot> {
        let slot = self.slot?;
        (state.kind(self.kind)?.book(slot).epoch == self.epoch).then_some(slot)
    }
}
