//! What the series of one layout mean: the object and the field of each, and its last value.
//!
//! In the steady state a sample costs one comparison. Invariant: at most one series says what a
//! field of an object is, but for fields read `from_label`, where one series a state does.

mod reading;

use std::sync::Arc;

use model::{
    ABSENT, Layout, LayoutId, Moment, STALE_MARKER, Samples, Selection, is_absent, is_stale_marker,
};

use self::reading::Reading;
use super::roster::Roster;
use super::rules::{Rules, Use};

/// In [`Block::last`]: the series has not been looked at.
const UNSEEN: f64 = ABSENT;

/// The series of one layout that mean something here. The columns are equally long.
#[derive(Debug, Default)]
pub(super) struct Block {
    layout: Option<Arc<Layout>>,
    selection: Selection,
    /// What series can mean; `meanings` are places here.
    uses: Vec<Use>,
    /// Series, ascending.
    series: Vec<u32>,
    objects: Vec<u32>,
    meanings: Vec<u16>,
    last: Vec<f64>,
    /// Objects with a series that was not there before.
    fresh: Vec<u32>,
    /// Series that were not there before and would mean something, had their object a name.
    n_unnamed: u64,
}

/// Something that changed: what a series says of an object, or no longer says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Word {
    pub(super) object: u32,
    pub(super) of: Use,
    pub(super) said: Option<Said>,
}

/// What a series says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Said {
    pub(super) series: u32,
    pub(super) value: f64,
}

// === impl Block ===

impl Block {
    /// Reads the layout of `samples`, if it is another one. What was known of carried series
    /// stays; series that are no longer there are told as `words`. True if it was another one.
    pub(super) fn follow(
        &mut self,
        samples: &Samples,
        selection: &Selection,
        rules: &Rules,
        roster: &mut Roster,
        sent: Moment,
        words: &mut Vec<Word>,
    ) -> bool {
        if self.layout_id() == Some(samples.layout.id()) && same(&self.selection, selection) {
            return false;
        }
        let before = std::mem::take(self);
        *self = Reading::new(samples, selection, &before, rules, roster, sent).read(words);
        let mut used = vec![false; roster.len()];
        self.objects.iter().for_each(|object| used[*object as usize] = true);
        roster.free_unless(&used);
        true
    }

    /// Adds what differs from the last time to `words`. True if a series has ended or begun.
    pub(super) fn compare(&mut self, samples: &Samples, words: &mut Vec<Word>) -> bool {
        let mut listing_changed = false;
        for at in 0..self.series.len() {
            let value = samples.values[self.series[at] as usize];
            if value.to_bits() != self.last[at].to_bits() && !is_absent(value) {
                listing_changed |= self.take(at, value, words);
            }
        }
        for stamped in &samples.stamped {
            let first = self.series.partition_point(|series| *series < stamped.series);
            let same = self.series[first..].iter().take_while(|at| **at == stamped.series).count();
            for at in first..first + same {
                if stamped.value.to_bits() != self.last[at].to_bits() {
                    listing_changed |= self.take(at, stamped.value, words);
                }
            }
        }
        listing_changed
    }

    /// Objects with a series that was not there before, once.
    pub(super) fn take_fresh(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.fresh)
    }

    /// How many series that were not there before have no object for want of a name, once.
    pub(super) fn take_unnamed(&mut self) -> u64 {
        std::mem::take(&mut self.n_unnamed)
    }

    /// The layout, if there is one.
    pub(super) fn layout(&self) -> Option<&Arc<Layout>> {
        self.layout.as_ref()
    }

    /// By number: whether a series speaks of the object.
    pub(super) fn listed(&self, len: usize) -> Vec<bool> {
        let mut listed = vec![false; len];
        for (object, last) in self.objects.iter().zip(&self.last) {
            listed[*object as usize] |= !is_stale_marker(*last);
        }
        listed
    }

    /// What the series of some objects said last. `wanted` is by object.
    pub(super) fn recall(&self, wanted: &[bool]) -> impl Iterator<Item = Word> {
        let wanted = |at: &usize| wanted[self.objects[*at] as usize] && self.says_something(*at);
        (0..self.series.len()).filter(wanted).map(|at| self.word(at))
    }

    /// The series that speak of some objects: `(object, series)`. `wanted` is by object.
    pub(super) fn series_of(&self, wanted: &[bool]) -> impl Iterator<Item = (u32, u32)> {
        let pairs = self.objects.iter().zip(&self.series).zip(&self.last);
        let live = pairs.filter(|(_, last)| !is_stale_marker(**last));
        live.map(|((object, series), _)| (*object, *series))
            .filter(|(object, _)| wanted[*object as usize])
    }

    /// What another series says of the same field of the same object, if that is not 0.
    pub(super) fn still_said(&self, object: u32, of: Use) -> Option<Said> {
        let same = |at: &usize| self.objects[*at] == object && self.use_of(*at) == of;
        let says = |at: &usize| self.says_something(*at) && self.last[*at] != 0.0;
        (0..self.series.len()).rev().filter(same).find(says).and_then(|at| self.word(at).said)
    }

    fn layout_id(&self) -> Option<LayoutId> {
        self.layout.as_ref().map(|layout| layout.id())
    }

    fn take(&mut self, at: usize, value: f64, words: &mut Vec<Word>) -> bool {
        let last = self.last[at];
        let of = self.use_of(at);
        if is_stale_marker(value) {
            self.last[at] = STALE_MARKER;
            words.push(Word { object: self.objects[at], of, said: None });
            return true;
        }
        let is_new = is_absent(last) || is_stale_marker(last);
        if !is_new && (value - last).abs() < of.change {
            return false;
        }
        self.last[at] = value;
        words.push(self.word(at));
        if is_stale_marker(last) {
            self.fresh.push(self.objects[at]);
        }
        is_stale_marker(last)
    }

    fn use_of(&self, at: usize) -> Use {
        self.uses[usize::from(self.meanings[at])]
    }

    fn says_something(&self, at: usize) -> bool {
        !is_absent(self.last[at]) && !is_stale_marker(self.last[at])
    }

    fn word(&self, at: usize) -> Word {
        let said = Some(Said { series: self.series[at], value: self.last[at] });
        Word { object: self.objects[at], of: self.use_of(at), said }
    }
}

/// Whether two selections are the same, without looking at what they select.
fn same(a: &Selection, b: &Selection) -> bool {
    match (a, b) {
        (Selection::All, Selection::All) | (Selection::None, Selection::None) => true,
        (Selection::Ranges(a), Selection::Ranges(b)) => Arc::ptr_eq(a, b) || a == b,
        _ => false,
    }
}
