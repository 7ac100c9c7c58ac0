//! What everything is doing now: the objects of all kinds, under one writer's lock.
//!
//! Whoever changes something (a batch, a request, the passing of time) holds the lock for that
//! change; readers take it to clone a snapshot, which costs next to nothing and never changes.
//! A version is given, the event appended and the object put in its place under the same lock, so
//! a list at version v plus the events after v equals the list now.
//!
//! Not here: who may change what (`processor.rs`), and what clients ask for (`api.rs`).

mod book;
mod commit;
mod index;
mod reader;
mod relations;
mod reload;
mod summary;
mod table;
#[cfg(test)]
mod tests;
mod versions;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use kit::Clock;
use model::Moment;

pub(crate) use self::book::{Book, BookSlot, Claim, SourceNo, Verdict};
pub(crate) use self::commit::{Change, ConditionChange};
pub(crate) use self::index::Index;
pub(crate) use self::reader::{Reader, Snapshot};
pub(crate) use self::relations::Relations;
pub(crate) use self::summary::Summary;
pub(crate) use self::table::{Slot, Table};
pub(crate) use self::versions::Versions;
#[cfg(test)]
pub(crate) use self::writer::Written;
pub(crate) use self::writer::{Expect, WriteError, Writer};
use crate::kind::{Kind, Kinds};
use crate::metrics::Metrics;
use crate::notifier::{Hub, Listeners, Woken};
use crate::object::{Condition, LabelSet};
use crate::processor::{Rules, Sources, Timers, Tombstones};
use crate::value::{Texts, Value};

/// The place of a kind; never another's in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KindNo(pub(crate) u16);

/// The status center: its state, and what is known about it without the lock.
pub(crate) struct Center {
    state: Mutex<State>,
    shelf: ArcSwap<Shelf>,
    is_warm: AtomicBool,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The kinds there are, and where their events are.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) kinds: Kinds,
    /// As `kinds`.
    pub(crate) hubs: Vec<Arc<Hub>>,
    pub(crate) rules: Arc<Rules>,
}

/// Everything that changes. Only under the lock of [`Center`].
#[derive(Debug)]
pub(crate) struct State {
    /// By [`KindNo`]; none where a kind was removed.
    kinds: Vec<Option<KindStore>>,
    versions: Versions,
    /// Counts configurations; plans made under another one are made anew.
    generation: u64,
    pub(crate) texts: Texts,
    pub(crate) sources: Sources,
    pub(crate) timers: Timers,
    pub(crate) tombstones: Tombstones,
    shared: Shared,
    /// Those who must be told once the lock is released.
    pub(crate) woken: Woken,
    metrics: Arc<Metrics>,
}

/// The objects of one kind, and all that belongs to them.
#[derive(Debug)]
pub(crate) struct KindStore {
    pub(crate) kind: Arc<Kind>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) table: Table,
    /// By [`Slot`].
    pub(crate) books: Vec<BookSlot>,
    pub(crate) relations: Relations,
    summaries: Vec<Summary>,
}

/// What was made last, to be shared if the next one is equal: objects that change together tend
/// to say the same.
#[derive(Debug, Default)]
struct Shared {
    labels: LabelSet,
    conditions: Arc<Vec<Condition>>,
    book: Arc<Book>,
    /// By place among the fields; only texts count.
    fields: Vec<Value>,
}

/// The time of one change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) moment: Moment,
    pub(crate) unix_ms: i64,
}

// === impl Center ===

impl Center {
    /// No kinds yet; [`Center::apply`] brings them. `seed` is chance, other in every process.
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>, seed: u64) -> Arc<Center> {
        let state = State {
            kinds: Vec::new(),
            versions: Versions::new(seed),
            generation: 0,
            texts: Texts::default(),
            sources: Sources::default(),
            timers: Timers::default(),
            tombstones: Tombstones::default(),
            shared: Shared::default(),
            woken: Woken::default(),
            metrics: Arc::clone(&metrics),
        };
        Arc::new(Center {
            state: Mutex::new(state),
            shelf: ArcSwap::default(),
            is_warm: AtomicBool::new(false),
            listeners: Listeners::new(0),
            metrics,
            clock,
        })
    }

    /// Changes the state, then wakes those whom the change concerns. `change` gets the time at
    /// which it has the lock: what it says is newer than everything said before.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State, Now) -> T) -> T {
        let mut state = self.lock();
        let now = Now { moment: self.clock.now(), unix_ms: self.clock.unix_ms() };
        let result = change(&mut state, now);
        let mut woken = std::mem::take(&mut state.woken);
        drop(state);
        woken.wake();
        result
    }

    /// Looks at the state.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// The kinds there are now.
    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        self.shelf.load_full()
    }

    /// Every target has answered or failed once: what is here can be served.
    pub(crate) fn set_warm(&self) {
        self.is_warm.store(true, Ordering::Release);
    }

    /// Whether what is here can be served.
    pub(crate) fn is_warm(&self) -> bool {
        self.is_warm.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a change that panics leaves a state that must not be served")
    }
}

impl std::fmt::Debug for Center {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Center")
    }
}

// === impl State ===

impl State {
    /// Number of the configuration in force.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// An object could not be made, because there are too many.
    pub(crate) fn refuse_object(&self) {
        self.metrics.refused_objects.inc();
    }

    /// The objects of a kind; none if it was removed.
    pub(crate) fn kind(&self, no: KindNo) -> Option<&KindStore> {
        self.kinds.get(usize::from(no.0))?.as_ref()
    }

    /// As [`State::kind`].
    pub(crate) fn kind_mut(&mut self, no: KindNo) -> Option<&mut KindStore> {
        self.kinds.get_mut(usize::from(no.0))?.as_mut()
    }

    /// All kinds.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (KindNo, &KindStore)> {
        let numbered = self.kinds.iter().enumerate();
        numbered.filter_map(|(at, store)| Some((KindNo(at as u16), store.as_ref()?)))
    }

    /// The kind that is the same as `kind`, perhaps of another configuration.
    pub(crate) fn find_kind(&self, kind: &Kind) -> Option<KindNo> {
        let very = self.kinds().find(|(_, store)| std::ptr::eq(&*store.kind, kind));
        let found = very.or_else(|| self.kinds().find(|(_, store)| store.kind.is(kind)));
        found.map(|(no, _)| no)
    }

    /// Changes what is known about who speaks of an object.
    pub(crate) fn edit_book(&mut self, no: KindNo, slot: Slot, edit: impl FnOnce(&mut Book)) {
        let State { kinds, shared, .. } = self;
        let Some(store) = kinds.get_mut(usize::from(no.0)).and_then(Option::as_mut) else { return };
        let place = &mut store.books[slot.0 as usize].book;
        let mut book = Book::clone(place);
        edit(&mut book);
        if *shared.book != book {
            shared.book = Arc::new(book);
        }
        *place = Arc::clone(&shared.book);
    }
}

// === impl KindStore ===

impl KindStore {
    /// Who speaks of the object in a slot.
    pub(crate) fn book(&self, slot: Slot) -> &BookSlot {
        &self.books[slot.0 as usize]
    }

    /// Somebody wrote to the object whom its reporters must not overlook.
    pub(crate) fn disturb(&mut self, slot: Slot) {
        let epoch = &mut self.books[slot.0 as usize].epoch;
        *epoch = epoch.wrapping_add(1);
    }
}

// === impl Now ===

impl Now {
    /// In whole seconds, for what is shown.
    pub(crate) fn unix_s(self) -> u32 {
        u32::try_from(self.unix_ms / 1000).unwrap_or(0)
    }
}
