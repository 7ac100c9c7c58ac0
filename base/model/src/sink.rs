//! The port between parts: a sink takes batches.
//!
//! The scraper's sink is the router; the router's sinks are the destinations and the status
//! center. None knows what the others are.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use crate::Batch;

/// Takes batches. Called from many threads, but for one source by one at a time, in order.
pub trait BatchSink: Send + Sync + 'static {
    /// Takes from `batch` what `selected` names: one [`Selection`] for each of `batch.samples`.
    ///
    /// Must not wait: what the sink cannot keep it drops and counts. `memo` is the sink's own
    /// notebook about this source: it comes back with the source's next batch, and is dropped
    /// with the source.
    fn accept(&self, batch: &Batch, selected: &[Selection], memo: &mut Memo);
}

/// Some series of a layout.
#[derive(Debug, Clone, Default)]
pub enum Selection {
    /// Every series.
    All,
    /// None.
    #[default]
    None,
    /// Those in these ranges: ascending, not empty, not touching each other.
    Ranges(Arc<[Range<u32>]>),
}

/// What a sink wants to remember about one source between two batches, such as a plan for its
/// layout. Empty at first, and again whenever the owner starts afresh.
#[derive(Default)]
pub struct Memo(Option<Box<dyn Any + Send>>);

// === impl Selection ===

impl Selection {
    /// The selection of the indexes for which `chosen` says true, of `len` series.
    pub fn of(len: usize, mut chosen: impl FnMut(usize) -> bool) -> Selection {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for at in (0..len).filter(|at| chosen(*at)) {
            let at = at as u32;
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end = at + 1,
                _ => ranges.push(at..at + 1),
            }
        }
        match ranges.as_slice() {
            [] => Selection::None,
            [all] if *all == (0..len as u32) => Selection::All,
            _ => Selection::Ranges(ranges.into()),
        }
    }

    /// The chosen series of a layout of `len` series, as ascending ranges.
    pub fn ranges(&self, len: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let all = matches!(self, Selection::All).then_some(0..len);
        let some = match self {
            Selection::Ranges(ranges) => &**ranges,
            Selection::All | Selection::None => &[],
        };
        all.into_iter().chain(some.iter().map(|range| range.start as usize..range.end as usize))
    }

    /// Number of chosen series of a layout of `len`.
    pub fn count(&self, len: usize) -> usize {
        self.ranges(len).map(|range| range.len()).sum()
    }

    /// Whether series `at` is chosen.
    pub fn contains(&self, at: usize) -> bool {
        match self {
            Selection::All => true,
            Selection::None => false,
            Selection::Ranges(ranges) => {
                let next = ranges.partition_point(|range| range.end as usize <= at);
                ranges.get(next).is_some_and(|range| range.start as usize <= at)
            }
        }
    }
}

// === impl Memo ===

impl Memo {
    /// What was remembered, if it is a `T`.
    pub fn get<T: Any + Send>(&mut self) -> Option<&mut T> {
        self.0.as_mut()?.downcast_mut()
    }

    /// What was remembered; if there is no `T`, what `make` makes.
    pub fn get_or_insert_with<T: Any + Send>(&mut self, make: impl FnOnce() -> T) -> &mut T {
        if !self.0.as_ref().is_some_and(|known| known.is::<T>()) {
            self.0 = Some(Box::new(make()));
        }
        self.get().expect("a T was just put there")
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

impl std::fmt::Debug for Memo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Memo(set)" } else { "Memo(empty)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_the_shortest_list_of_ranges() {
        let odd = Selection::of(6, |at| at % 2 == 1 || at == 2);
        assert_eq!(odd.ranges(6).collect::<Vec<_>>(), [1..4, 5..6]);
        assert_eq!(odd.count(6), 4);
        assert!(odd.contains(3) && !odd.contains(4) && odd.contains(5) && !odd.contains(0));
        assert!(matches!(Selection::of(3, |_| true), Selection::All));
        assert!(matches!(Selection::of(3, |_| false), Selection::None));
        assert_eq!(Selection::All.count(3), 3);
    }

    #[test]
    fn a_memo_keeps_one_thing_of_one_type() {
        let mut memo = Memo::default();
        *memo.get_or_insert_with(|| 1_u32) += 1;
        assert_eq!(memo.get::<u32>(), Some(&mut 2));
        assert_eq!(memo.get::<String>(), None);
        assert_eq!(memo.get_or_insert_with(|| "fresh".to_owned()), "fresh");
    }
}
