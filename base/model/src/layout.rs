//! The ordered series of one page: who they are, decided once and shared by everyone downstream.
//!
//! A layout never changes; when a page's lines change there is a new one, and the batch says which
//! of its series were in the layout before (`Batch`'s [`Carried`](crate::Carried)).
//! About 28 bytes a series: ids of interned label pairs, and where each series' ids end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    ids: Arc<[PairId]>,
    /// `ends[i]` = where the ids of series `i` end and those of `i + 1` start.
    ends: Box<[u32]>,
    /// `(first series, family)`: a run lasts until the next one's first series.
    families: Box<[(u32, Arc<Family>)]>,
}

/// Collects the series of a [`Layout`], in order. Blocks sweeps: build without pausing.
#[derive(Debug)]
pub struct LayoutBuilder<'s> {
    symbols: &'s Arc<Symbols>,
    interning: Interning<'s>,
    ids: Vec<PairId>,
    ends: Vec<u32>,
    families: Vec<(u32, Arc<Family>)>,
}

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
        self.ends.is_empty()
    }

    /// The pairs of series `at`, sorted by label name. Panics if `at >= len()`.
    pub fn pairs(&self, at: usize) -> &[PairId] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.ids[start..self.ends[at] as usize]
    }

    /// The table that [`Layout::pairs`] are ids of.
    pub fn symbols(&self) -> &Arc<Symbols> {
        &self.symbols
    }

    /// The labels of series `at` as a set of its own. Copies: not for the steady state.
    pub fn labels(&self, at: usize) -> Labels {
        let table = self.symbols.read();
        self.pairs(at).iter().map(|id| table.get(*id)).collect()
    }

    /// The value of label `name` of series `at`.
    pub fn label<'t>(&self, at: usize, name: &str, table: &'t PairTable) -> Option<&'t str> {
        let found = self.pairs(at).iter().find(|id| table.name(**id) == name)?;
        Some(table.value(*found))
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
        size_of_val(&*self.ids) + size_of_val(&*self.ends) + size_of_val(&*self.families)
    }
}

// === impl LayoutBuilder ===

impl<'s> LayoutBuilder<'s> {
    /// Starts an empty layout.
    pub fn new(symbols: &'s Arc<Symbols>) -> LayoutBuilder<'s> {
        let interning = symbols.interning();
        let (ids, ends, families) = Default::default();
        LayoutBuilder { symbols, interning, ids, ends, families }
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
        self.interning.intern(labels, &mut self.ids);
        self.end_series(family);
    }

    /// Appends series `at` of `layout`, which must be of the same symbols.
    pub fn push_from(&mut self, layout: &Layout, at: usize, family: &Arc<Family>) {
        self.ids.extend_from_slice(layout.pairs(at));
        self.end_series(family);
    }

    /// The finished layout.
    pub fn build(self) -> Arc<Layout> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Layout {
            id: LayoutId(NEXT.fetch_add(1, Ordering::Relaxed)),
            symbols: Arc::clone(self.symbols),
            ids: self.interning.column(self.ids),
            ends: self.ends.into(),
            families: self.families.into(),
        })
    }

    fn end_series(&mut self, family: &Arc<Family>) {
        let at = self.ends.len() as u32;
        if !self.families.last().is_some_and(|(_, last)| Arc::ptr_eq(last, family)) {
            self.families.push((at, Arc::clone(family)));
        }
        self.ends.push(u32::try_from(self.ids.len()).expect("fewer than 2^32 labels in a page"));
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
