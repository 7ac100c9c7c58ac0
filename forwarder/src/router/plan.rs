//! Where each series of one layout goes: made once, from the plan before where that is possible.

use std::sync::Arc;

use model::{LayoutId, NEW_SERIES, Samples, Selection, is_absent};

use super::table::{Destinations, Table};

/// The routes of one layout.
#[derive(Debug)]
pub(super) struct Plan {
    layout: LayoutId,
    given: Selection,
    /// `(end, destinations)`: neighbouring series that go to the same destinations.
    runs: Box<[(u32, Destinations)]>,
    /// What each destination gets.
    selections: Arc<[Selection]>,
    /// Who gets anything.
    takers: Destinations,
    has_unrouted: bool,
}

// === impl Plan ===

impl Plan {
    /// Whether it is for this layout, of which the router is given `given`.
    pub(super) fn is_for(&self, layout: LayoutId, given: &Selection) -> bool {
        let same = match (&self.given, given) {
            (Selection::All, Selection::All) | (Selection::None, Selection::None) => true,
            (Selection::Ranges(one), Selection::Ranges(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        same && self.layout == layout
    }

    /// Decides for every series. `before` is the plan of the layout before, by the same table.
    pub(super) fn make(
        samples: &Samples,
        given: &Selection,
        table: &Table,
        before: Option<&Plan>,
    ) -> Plan {
        let layout = &samples.layout;
        let carried = samples.carried.as_ref();
        let known = before.zip(carried).filter(|(before, carried)| before.layout == carried.from);
        let mut judge = table.judge(layout);
        let mut runs: Vec<(u32, Destinations)> = Vec::new();
        for at in 0..layout.len() {
            let carried = known.and_then(|(before, carried)| {
                let index = *carried.index.get(at)?;
                (index != NEW_SERIES).then(|| before.destinations(index))
            });
            let to = carried.unwrap_or_else(|| judge.destinations(at));
            match runs.last_mut() {
                Some((end, last)) if *last == to => *end = at as u32 + 1,
                _ => runs.push((at as u32 + 1, to)),
            }
        }
        let selections: Vec<Selection> = (0..table.entries().len())
            .map(|entry| select(&runs, entry, given, layout.len()))
            .collect();
        let has_unrouted = runs.iter().any(|(_, to)| to.is_empty());
        let takers = runs.iter().fold(Destinations::default(), |all, (_, to)| all.union(*to));
        let (layout, given) = (layout.id(), given.clone());
        let (runs, selections) = (runs.into(), selections.into());
        Plan { layout, given, runs, selections, takers, has_unrouted }
    }

    /// What each destination gets, in the order of the table's entries.
    pub(super) fn selections(&self) -> &Arc<[Selection]> {
        &self.selections
    }

    /// Who gets anything.
    pub(super) fn takers(&self) -> Destinations {
        self.takers
    }

    /// How many samples have no destination at all.
    pub(super) fn count_unrouted(&self, samples: &Samples) -> u64 {
        if !self.has_unrouted {
            return 0;
        }
        let (mut start, mut unrouted) = (0, 0);
        for (end, to) in &self.runs {
            if to.is_empty() {
                let values = &samples.values[start..*end as usize];
                unrouted += values.iter().filter(|value| !is_absent(**value)).count() as u64;
            }
            start = *end as usize;
        }
        unrouted
    }

    fn destinations(&self, at: u32) -> Destinations {
        self.runs[self.runs.partition_point(|(end, _)| *end <= at)].1
    }
}

/// The series that go to the table's entry number `entry`.
fn select(runs: &[(u32, Destinations)], entry: usize, given: &Selection, len: usize) -> Selection {
    let mut ranges = Vec::new();
    let mut start = 0;
    for (end, to) in runs {
        if to.has(entry) {
            match ranges.last_mut() {
                Some(std::ops::Range { end: last, .. }) if *last == start => *last = *end,
                _ => ranges.push(start..*end),
            }
        }
        start = *end;
    }
    let routed = match ranges.as_slice() {
        [] => Selection::None,
        [all] if *all == (0..len as u32) => Selection::All,
        _ => Selection::Ranges(ranges.into()),
    };
    match (given, routed) {
        (Selection::All, routed) => routed,
        (Selection::None, _) => Selection::None,
        (given, Selection::All) => given.clone(),
        (given, routed) => Selection::of(len, |at| given.contains(at) && routed.contains(at)),
    }
}
