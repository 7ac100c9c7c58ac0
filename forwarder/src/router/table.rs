//! What the configuration says about routes, ready to be asked: series in, destinations out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{BatchSink, Layout, MetricType, PairId, PairTable, SeriesSelector};
use std::sync::RwLockReadGuard;

use crate::config::{DataType, Route};

/// A destination as the router sees it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    /// The destinations that it is: mostly one.
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) sink: Arc<dyn BatchSink>,
    /// Whether it gets what no route takes.
    pub(crate) takes_rest: bool,
    /// Whether it is told of batches in which nothing is for it.
    pub(crate) hears_all: bool,
}

/// Tells entries apart over reloads; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EntryId(u64);

/// A set of entries, by their places in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Destinations(u64);

/// Routes, data types and entries of one configuration.
pub(crate) struct Table {
    generation: u64,
    entries: Vec<Entry>,
    data_types: Vec<DataType>,
    routes: Vec<(Vec<usize>, Destinations, bool)>,
    rest: Destinations,
    /// Those that are told of every batch.
    hearers: Destinations,
    /// Whether no selector looks at a label but `__name__`: then neighbours share decisions.
    by_name_alone: bool,
}

/// Decides for the series of one layout.
pub(super) struct Judge<'t> {
    table: &'t Table,
    layout: &'t Layout,
    pairs: RwLockReadGuard<'t, PairTable>,
    /// The last decision, and for which name and type it was.
    last: Option<(PairId, MetricType, Destinations)>,
}

// === impl Entry ===

impl Entry {
    /// Whether routes that name this destination mean the entry.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.names.iter().any(|known| **known == *name)
    }
}

// === impl EntryId ===

impl EntryId {
    /// A new one.
    pub(crate) fn next() -> EntryId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        EntryId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

// === impl Destinations ===

impl Destinations {
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, entry: usize) -> bool {
        self.0 >> entry & 1 == 1
    }

    /// Those that are in one of both.
    pub(super) fn union(self, other: Destinations) -> Destinations {
        Destinations(self.0 | other.0)
    }

    /// Their places, ascending.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let next = (left != 0).then_some(left.trailing_zeros() as usize);
            left &= left.wrapping_sub(1);
            next
        })
    }

    fn of(entries: impl Iterator<Item = usize>) -> Destinations {
        Destinations(entries.fold(0, |set, entry| set | 1 << entry))
    }
}

// === impl Table ===

impl Table {
    /// Names in `routes` are names of `entries` and `data_types`: the configuration was checked.
    pub(crate) fn new(entries: Vec<Entry>, data_types: Vec<DataType>, routes: &[Route]) -> Table {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let find = |name: &String| entries.iter().position(|entry| entry.is(name));
        let type_of = |name: &String| data_types.iter().position(|known| known.name == *name);
        let routes: Vec<_> = routes
            .iter()
            .map(|route| {
                let types = route.data_types.iter().filter_map(type_of).collect();
                let to = Destinations::of(route.to.iter().filter_map(find));
                (types, to, route.goes_on)
            })
            .collect();
        let takes_rest = entries.iter().enumerate().filter(|(_, entry)| entry.takes_rest);
        let rest = Destinations::of(takes_rest.map(|(at, _)| at));
        let hearers = entries.iter().enumerate().filter(|(_, entry)| entry.hears_all);
        let hearers = Destinations::of(hearers.map(|(at, _)| at));
        let selectors = data_types.iter().flat_map(|known| &known.selectors);
        let by_name_alone = selectors
            .flat_map(SeriesSelector::matchers)
            .all(|matcher| matcher.name() == "__name__");
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        Table { generation, entries, data_types, routes, rest, hearers, by_name_alone }
    }

    /// Which table this is; 0 is none.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The destinations, in the order in which they are given a batch.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Those that are told of every batch.
    pub(super) fn hearers(&self) -> Destinations {
        self.hearers
    }

    /// To ask about the series of `layout`.
    pub(super) fn judge<'t>(&'t self, layout: &'t Layout) -> Judge<'t> {
        Judge { table: self, layout, pairs: layout.symbols().read(), last: None }
    }

    fn is_of_type(&self, data_type: usize, layout: &Layout, at: usize, pairs: &PairTable) -> bool {
        let DataType { selectors, types, .. } = &self.data_types[data_type];
        let by_type = types.is_empty() || types.contains(&layout.family(at).kind);
        by_type
            && (selectors.is_empty()
                || selectors
                    .iter()
                    .any(|selector| selector.is_match(|name| layout.label(at, name, pairs))))
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.entries.iter().map(|entry| &entry.names);
        f.debug_list().entries(names).finish()
    }
}

// === impl Judge ===

impl Judge<'_> {
    /// Where series `at` goes.
    pub(super) fn destinations(&mut self, at: usize) -> Destinations {
        if self.table.routes.is_empty() {
            return self.table.rest;
        }
        if !self.table.by_name_alone {
            return self.ask(at);
        }
        let name = self.layout.pairs(at).find(|id| self.pairs.name(*id) == "__name__");
        let kind = self.layout.family(at).kind;
        match (self.last, name) {
            (Some((last, of, to)), Some(name)) if last == name && of == kind => to,
            (_, name) => {
                let to = self.ask(at);
                self.last = name.map(|name| (name, kind, to));
                to
            }
        }
    }

    /// Goes through the routes: the first that matches decides, unless it goes on.
    fn ask(&self, at: usize) -> Destinations {
        let Judge { table, layout, pairs, .. } = self;
        let (mut taken, mut to) = (false, Destinations::default());
        for (types, destinations, goes_on) in &table.routes {
            let mut types = types.iter();
            if types.any(|known| table.is_of_type(*known, layout, at, pairs)) {
                taken = true;
                to.0 |= destinations.0;
                if !goes_on {
                    break;
                }
            }
        }
        if taken { to } else { table.rest }
    }
}
