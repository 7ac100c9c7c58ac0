//! Which line and which series of the page before a line of the new page is.
//!
//! Filled only as far as a page differs from the one before: the tables are built when the first
//! line asks for them.

use std::sync::Arc;

use hashbrown::{HashSet, HashTable};
use model::{Labels, Layout, PairId};
use rapidhash::v3::rapidhash_v3;
use smallvec::SmallVec;

use super::lines::{Kind, Lines};

/// What the lines of a page became, so far.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// What each old line became.
    placed: Vec<u32>,
    /// What each old series became.
    series: Vec<u32>,
    /// Old lines by hash; of repeated ones the first.
    lines: Option<HashTable<u32>>,
    /// Old series by the ids of their labels.
    labels: Option<HashTable<u32>>,
    /// The label pairs of old series.
    pairs: Option<HashSet<PairId>>,
    /// Per old line how many first lines are before it.
    counted: Vec<u32>,
    /// New lines by hash, and what they became.
    fresh_lines: HashTable<(u64, u32)>,
    /// New label sets, and which series they are.
    fresh_labels: HashTable<(u64, u32)>,
}

/// What a line became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// It has not been in the page yet.
    Nothing,
    /// Its series was dropped.
    Dropped,
    /// A series of the new page.
    Series(u32),
}

const NOTHING: u32 = u32::MAX;
const DROPPED: u32 = u32::MAX - 1;

// === impl Identity ===

impl Identity {
    /// Before a page that follows one with these lines and this many series.
    pub(super) fn start(&mut self, lines: usize, series: usize) {
        self.placed.clear();
        self.placed.resize(lines, NOTHING);
        self.series.clear();
        self.series.resize(series, NOTHING);
        self.lines = None;
        self.labels = None;
        self.pairs = None;
        self.counted.clear();
        self.fresh_lines.clear();
        self.fresh_labels.clear();
    }

    /// The old line with this hash; of repeated ones the first.
    pub(super) fn line(&mut self, old: &Lines, hash: u64) -> Option<usize> {
        let table = self.lines.get_or_insert_with(|| {
            let mut table = HashTable::with_capacity(old.len());
            for (at, (hash, mark)) in old.iter().enumerate() {
                if matches!(mark.kind(), Kind::First | Kind::Other | Kind::Dropped) {
                    table.insert_unique(hash, at as u32, |at| old.hash(*at as usize));
                }
            }
            table
        });
        table.find(hash, |at| old.hash(*at as usize) == hash).map(|at| *at as usize)
    }

    /// The series of an old line, where the n-th first line is the n-th series.
    pub(super) fn series_by_count(&mut self, old: &Lines, line: usize) -> u32 {
        if self.counted.is_empty() {
            let mut firsts = 0;
            self.counted.extend(old.iter().map(|(_, mark)| {
                let series = firsts;
                firsts += u32::from(mark.kind() == Kind::First);
                series
            }));
        }
        self.counted[line]
    }

    /// What old line `at` became.
    pub(super) fn became(&self, at: usize) -> Became {
        Became::of(self.placed[at])
    }

    /// Old line `at` became this.
    pub(super) fn place(&mut self, at: usize, became: Became) {
        self.placed[at] = became.number();
    }

    /// What the new line with this hash became, if it is in the page already.
    pub(super) fn fresh_line(&self, hash: u64) -> Became {
        let found = self.fresh_lines.find(hash, |(other, _)| *other == hash);
        found.map_or(Became::Nothing, |(_, became)| Became::of(*became))
    }

    /// The new line with this hash became this.
    pub(super) fn place_fresh_line(&mut self, hash: u64, became: Became) {
        self.fresh_lines.insert_unique(hash, (hash, became.number()), |(hash, _)| *hash);
    }

    /// The new series that old series `at` became.
    pub(super) fn series(&self, at: u32) -> Option<u32> {
        Some(self.series[at as usize]).filter(|series| *series != NOTHING)
    }

    /// Old series `at` became this one.
    pub(super) fn place_series(&mut self, at: u32, series: u32) {
        self.series[at as usize] = series;
    }

    /// The old series with these labels.
    pub(super) fn old_series(&mut self, layout: &Arc<Layout>, labels: &Labels) -> Option<u32> {
        let mut ids: SmallVec<[PairId; 24]> = SmallVec::new();
        {
            let table = layout.symbols().read();
            for (name, value) in labels.iter() {
                ids.push(table.find(name, value)?);
            }
        }
        let known = || layout.distinct_pairs().iter().copied().collect();
        let known: &HashSet<PairId> = self.pairs.get_or_insert_with(known);
        if !ids.iter().all(|id| known.contains(id)) {
            return None; // as are most new series: nothing more is worked out for them
        }
        let hash_of = |at: &u32| hash_ids(layout.pairs(*at as usize));
        let table = self.labels.get_or_insert_with(|| {
            let mut table = HashTable::with_capacity(layout.len());
            for at in 0..layout.len() as u32 {
                table.insert_unique(hash_of(&at), at, hash_of);
            }
            table
        });
        table
            .find(hash_ids(ids.iter().copied()), |at| {
                layout.pairs(*at as usize).eq(ids.iter().copied())
            })
            .copied()
    }

    /// The new series with these labels, if there is one; `labels_of` knows new series' labels.
    pub(super) fn fresh_series<'l>(
        &self,
        labels: &Labels,
        labels_of: impl Fn(u32) -> &'l Labels,
    ) -> Option<u32> {
        let hash = hash_labels(labels);
        let same = |(other, series): &(u64, u32)| *other == hash && labels_of(*series) == labels;
        self.fresh_labels.find(hash, same).map(|(_, series)| *series)
    }

    /// These labels are this new series.
    pub(super) fn place_fresh_series(&mut self, labels: &Labels, series: u32) {
        let hash = hash_labels(labels);
        self.fresh_labels.insert_unique(hash, (hash, series), |(hash, _)| *hash);
    }
}

// === impl Became ===

impl Became {
    fn of(number: u32) -> Became {
        match number {
            NOTHING => Became::Nothing,
            DROPPED => Became::Dropped,
            series => Became::Series(series),
        }
    }

    fn number(self) -> u32 {
        match self {
            Became::Nothing => NOTHING,
            Became::Dropped => DROPPED,
            Became::Series(series) => series,
        }
    }
}

fn hash_ids(ids: impl Iterator<Item = PairId>) -> u64 {
    let fold = |hash: u64, id: PairId| (hash ^ u64::from(id.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = ids.fold(0x51_7C_C1_B7_27_22_0A_95, fold);
    hash ^ (hash >> 29)
}

fn hash_labels(labels: &Labels) -> u64 {
    labels.iter().fold(0, |hash: u64, (name, value)| {
        hash.rotate_left(7)
            ^ rapidhash_v3(name.as_bytes())
            ^ rapidhash_v3(value.as_bytes()).rotate_left(32)
    })
}
