//! The ordered series of one page: who they are, decided once and shared by everyone downstream.
//!
//! A layout never changes; when a page's lines change there is a new one, and the batch says which
//! of its series were in the layout before (`Batch`'s [`Carried`](crate::Carried)).
//! The label pairs of a page are few beside its series: they are listed once, and a series is the
//! numbers of its pairs in that list. About 17 bytes a series where numbers need two bytes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;

use crate::symbols::{Interning, PairId, PairTable, Symbols};
use crate::{Family, Labels};

/// In [`Carried::index`](crate::Carried): a series that the layout before did not have.
pub const NEW_SERIES: u32 = u32::MAX;

/// Tells layouts apart; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayoutId(u64);

/// The series of a page, in order. Every series' labels are final: target labels added, metric
/// relabelling done. Invariant: a series' pairs are sorted by name; no series occurs twice.
#[derive(Debug)]
pub struct Layout {
    id: LayoutId,
    symbols: Arc<Symbols>,
    /// Each pair that occurs, once.
    pairs: Arc<[PairId]>,
    /// Which of `pairs` each series has, one series after the other.
    numbers: Numbers,
    /// `ends[i]` = where the numbers of series `i` end and those of `i + 1` start.
    ends: Numbers,
    /// `(first series, family)`: a run lasts until the next one's first series.
    families: Box<[(u32, Arc<Family>)]>,
}

/// Numbers in as few bytes as the largest of them needs.
#[derive(Debug)]
enum Numbers {
    Short(Box<[u16]>),
    Long(Box<[u32]>),
}

/// Collects the series of a [`Layout`], in order. Blocks sweeps: build without pausing.
#[derive(Debug)]
pub struct LayoutBuilder<'s> {
    symbols: &'s Arc<Symbols>,
    interning: Interning<'s>,
    pairs: Vec<PairId>,
    /// Where in `pairs` a pair is, by its id.
    places: HashTable<u32>,
    numbers: Vec<u32>,
    ends: Vec<u32>,
    families: Vec<(u32, Arc<Family>)>,
    /// The layout that series were taken from last, and what its numbers are here.
    taken_from: Option<LayoutId>,
    taken: Vec<u32>,
    /// Room for the ids of a series.
    ids: Vec<PairId>,
}

/// In [`LayoutBuilder::taken`]: a pair that no series taken so far has.
const NOT_TAKEN: u32 = u32::MAX;

// === impl Layout ===

impl Layout {
    /// Which layout this is.
    pub fn id(&self) -> LayoutId {
        self.id
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pairs of series `at`, sorted by label name. Panics if `at >= len()`.
    #[inline]
    pub fn pairs(&self, at: usize) -> impl ExactSizeIterator<Item = PairId> + Clone + '_ {
        self.numbers_of(at).map(|at| self.pairs[self.numbers.get(at)])
    }

    /// Appends the pairs of series `at` to `out`. For the hot path: how wide numbers are is asked
    /// once a series here, and once a pair in [`Layout::pairs`].
    #[inline]
    pub fn copy_pairs(&self, at: usize, out: &mut impl Extend<PairId>) {
        let place = self.numbers_of(at);
        match &self.numbers {
            Numbers::Short(numbers) => {
                out.extend(numbers[place].iter().map(|number| self.pairs[usize::from(*number)]));
            }
            Numbers::Long(numbers) => {
                out.extend(numbers[place].iter().map(|number| self.pairs[*number as usize]));
            }
        }
    }

    /// Each pair that some series has, once.
    pub fn distinct_pairs(&self) -> &[PairId] {
        &self.pairs
    }

    /// The table that [`Layout::pairs`] are ids of.
    pub fn symbols(&self) -> &Arc<Symbols> {
        &self.symbols
    }

    /// The labels of series `at` as a set of its own. Copies: not for the steady state.
    pub fn labels(&self, at: usize) -> Labels {
        let table = self.symbols.read();
        self.pairs(at).map(|id| table.get(id)).collect()
    }

    /// The value of label `name` of series `at`.
    pub fn label<'t>(&self, at: usize, name: &str, table: &'t PairTable) -> Option<&'t str> {
        let found = self.pairs(at).find(|id| table.name(*id) == name)?;
        Some(table.value(found))
    }

    /// The metric family of series `at`.
    pub fn family(&self, at: usize) -> &Arc<Family> {
        let run = self.families.partition_point(|(first, _)| *first as usize <= at);
        &self.families[run - 1].1
    }

    /// Runs of series of one family, in order: `(first series, family)`.
    pub fn families(&self) -> &[(u32, Arc<Family>)] {
        &self.families
    }

    /// Bytes of memory, without what is shared with other layouts.
    pub fn memory_bytes(&self) -> usize {
        let numbers = self.numbers.memory_bytes() + self.ends.memory_bytes();
        size_of_val(&*self.pairs) + numbers + size_of_val(&*self.families)
    }

    #[inline]
    fn numbers_of(&self, at: usize) -> Range<usize> {
        let start = if at == 0 { 0 } else { self.ends.get(at - 1) };
        start..self.ends.get(at)
    }
}

// === impl Numbers ===

impl Numbers {
    fn of(numbers: &[u32]) -> Numbers {
        let short: Option<Box<[u16]>> = numbers.iter().map(|n| u16::try_from(*n).ok()).collect();
        short.map_or_else(|| Numbers::Long(numbers.into()), Numbers::Short)
    }

    fn len(&self) -> usize {
        match self {
            Numbers::Short(numbers) => numbers.len(),
            Numbers::Long(numbers) => numbers.len(),
        }
    }

    #[inline]
    fn get(&self, at: usize) -> usize {
        match self {
            Numbers::Short(numbers) => usize::from(numbers[at]),
            Numbers::Long(numbers) => numbers[at] as usize,
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Numbers::Short(numbers) => size_of_val(&**numbers),
            Numbers::Long(numbers) => size_of_val(&**numbers),
        }
    }
}

// === impl LayoutBuilder ===

impl<'s> LayoutBuilder<'s> {
    /// Starts an empty layout.
    pub fn new(symbols: &'s Arc<Symbols>) -> LayoutBuilder<'s> {
        let interning = symbols.interning();
        let (pairs, places, numbers, ends, families) = Default::default();
        let (taken_from, taken, ids) = Default::default();
        LayoutBuilder {
            symbols,
            interning,
            pairs,
            places,
            numbers,
            ends,
            families,
            taken_from,
            taken,
            ids,
        }
    }

    /// Number of series so far.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Appends a series. `labels` must be sorted by name, names unique, values not empty.
    pub fn push<'p>(
        &mut self,
        labels: impl Iterator<Item = (&'p str, &'p str)> + Clone,
        family: &Arc<Family>,
    ) {
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        self.interning.intern(labels, &mut ids);
        for id in &ids {
            let number = self.number(*id);
            self.numbers.push(number);
        }
        self.ids = ids;
        self.end_series(family);
    }

    /// Appends series `at` of `layout`, which must be of the same symbols.
    pub fn push_from(&mut self, layout: &Layout, at: usize, family: &Arc<Family>) {
        if self.taken_from != Some(layout.id) {
            self.taken_from = Some(layout.id);
            self.taken.clear();
            self.taken.resize(layout.pairs.len(), NOT_TAKEN);
        }
        for at in layout.numbers_of(at) {
            let theirs = layout.numbers.get(at);
            if self.taken[theirs] == NOT_TAKEN {
                self.taken[theirs] = self.number(layout.pairs[theirs]);
            }
            self.numbers.push(self.taken[theirs]);
        }
        self.end_series(family);
    }

    /// The finished layout.
    pub fn build(self) -> Arc<Layout> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Layout {
            id: LayoutId(NEXT.fetch_add(1, Ordering::Relaxed)),
            symbols: Arc::clone(self.symbols),
            pairs: self.interning.column(self.pairs),
            numbers: Numbers::of(&self.numbers),
            ends: Numbers::of(&self.ends),
            families: self.families.into(),
        })
    }

    /// The number of a pair, which may be new here.
    fn number(&mut self, id: PairId) -> u32 {
        let LayoutBuilder { pairs, places, .. } = self;
        let at = |number: &u32| pairs[*number as usize];
        if let Some(number) = places.find(id.spread(), |number| at(number) == id) {
            return *number;
        }
        let number = pairs.len() as u32;
        places.insert_unique(id.spread(), number, |number| at(number).spread());
        pairs.push(id);
        number
    }

    fn end_series(&mut self, family: &Arc<Family>) {
        let at = self.ends.len() as u32;
        if !self.families.last().is_some_and(|(_, last)| Arc::ptr_eq(last, family)) {
            self.families.push((at, Arc::clone(family)));
        }
        self.ends
            .push(u32::try_from(self.numbers.len()).expect("fewer than 2^32 labels in a page"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_keep_their_order_labels_and_families() {
        let symbols = Symbols::new();
        let cpu = Arc::new(Family { name: "cpu".into(), ..Family::default() });
        let up = Arc::new(Family { name: "up".into(), ..Family::default() });
        let mut builder = LayoutBuilder::new(&symbols);
        builder.push([("__name__", "cpu"), ("core", "0")].into_iter(), &cpu);
        builder.push([("__name__", "cpu"), ("core", "1")].into_iter(), &cpu);
        builder.push([("__name__", "up")].into_iter(), &up);
        let first = builder.build();
        assert_eq!(first.len(), 3);
        assert_eq!(first.labels(1).to_string(), r#"{__name__="cpu", core="1"}"#);
        assert_eq!(&*first.family(1).name, "cpu");
        assert_eq!(&*first.family(2).name, "up");
        assert_eq!(first.families().len(), 2);

        let mut builder = LayoutBuilder::new(&symbols);
        builder.push_from(&first, 2, &up);
        let second = builder.build();
        assert_ne!(first.id(), second.id());
        drop(first);
        symbols.sweep();
        assert_eq!(second.labels(0).to_string(), r#"{__name__="up"}"#);
        assert_eq!(second.label(0, "__name__", &symbols.read()), Some("up"));
    }
}
