//! The series of one reporter: what each said last, and when.
//!
//! A series is *live* from its first value to its end. Its place in the layout is its place here;
//! places of ended series are given up when the layout is made anew.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::{
    Carried, Family, Layout, LayoutBuilder, LayoutId, NEW_SERIES, Role, STALE_MARKER, Samples,
    Symbols, is_stale_marker,
};
use rapidhash::fast::RandomState;

/// A layout is made anew for the sake of its ended series once it has so many, and they are half
/// of it.
const DEAD_MIN: usize = 256;

/// What identifies a series: a hash of its labels.
pub(super) type SeriesKey = u128;

/// The series of one role.
#[derive(Debug)]
pub(super) struct Page {
    role: Role,
    places: HashMap<SeriesKey, u32, RandomState>,
    entries: Vec<Said>,
    /// By place: what the series said last; the stale marker, if it is not live.
    values: Vec<f64>,
    layout: Option<Arc<Layout>>,
    /// The layout of the last batch.
    sent: Option<LayoutId>,
    /// Places of series that may have ended.
    ending: Vec<u32>,
    n_dead: usize,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    key: SeriesKey,
    /// When it said what it said last.
    at_ms: i64,
    /// When it ended, if the scrape of that time was good.
    ends_ms: Option<i64>,
    /// The scrape of that time failed, and since then it has said nothing.
    in_doubt: bool,
    /// Its place in the layout of the last batch.
    was: u32,
}

/// What became of a series that may have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has ended.
    Ended,
    /// It is not known whether the page still has it.
    InDoubt,
    /// It is not known what became of the scrape.
    Open,
}

// === impl Page ===

impl Page {
    /// No series.
    pub(super) fn new(role: Role) -> Page {
        let (places, entries, values, layout, sent, ending, n_dead) = Default::default();
        Page { role, places, entries, values, layout, sent, ending, n_dead }
    }

    /// Whether there is a place for this series.
    pub(super) fn knows(&self, key: SeriesKey) -> bool {
        self.places.contains_key(&key)
    }

    /// Number of places.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds series that have said nothing yet. Each must be new.
    pub(super) fn add<'p, L>(
        &mut self,
        new: impl Iterator<Item = (SeriesKey, L)>,
        symbols: &Arc<Symbols>,
        family: &Arc<Family>,
    ) where
        L: Iterator<Item = (&'p str, &'p str)> + Clone,
    {
        let mut builder = LayoutBuilder::new(symbols);
        self.pack(&mut builder, family);
        for (key, labels) in new {
            let Entry::Vacant(place) = self.places.entry(key) else {
                continue; // the same series twice in one message
            };
            place.insert(self.entries.len() as u32);
            let (ends_ms, in_doubt) = Default::default();
            self.entries.push(Said { key, at_ms: i64::MIN, ends_ms, in_doubt, was: NEW_SERIES });
            self.values.push(STALE_MARKER);
            self.n_dead += 1;
            builder.push(labels, family);
        }
        self.layout = Some(builder.build());
    }

    /// A series says something. False, if it has said something later already.
    pub(super) fn say(&mut self, key: SeriesKey, at_ms: i64, value: f64) -> bool {
        let Some(at) = self.places.get(&key).map(|at| *at as usize) else { return true };
        let entry = &mut self.entries[at];
        if at_ms <= entry.at_ms {
            return at_ms == entry.at_ms;
        }
        entry.at_ms = at_ms;
        entry.in_doubt = false;
        if entry.ends_ms.is_some_and(|ends_ms| ends_ms < at_ms) {
            entry.ends_ms = None;
        }
        if is_stale_marker(self.values[at]) {
            self.n_dead -= 1;
        }
        self.values[at] = value;
        true
    }

    /// A series may end.
    pub(super) fn end(&mut self, key: SeriesKey, at_ms: i64) {
        let Some(at) = self.places.get(&key) else { return };
        let entry = &mut self.entries[*at as usize];
        if at_ms > entry.at_ms && !is_stale_marker(self.values[*at as usize]) {
            if entry.ends_ms.is_none() {
                self.ending.push(*at);
            }
            entry.ends_ms = Some(at_ms);
        }
    }

    /// Decides about the series that may have ended.
    pub(super) fn settle(&mut self, mut fate_at: impl FnMut(i64) -> Fate) {
        for at in std::mem::take(&mut self.ending) {
            let entry = &mut self.entries[at as usize];
            let Some(ends_ms) = entry.ends_ms else { continue };
            match fate_at(ends_ms) {
                Fate::Ended => {
                    entry.ends_ms = None;
                    self.kill(at as usize);
                }
                Fate::InDoubt => (entry.ends_ms, entry.in_doubt) = (None, true),
                Fate::Open => self.ending.push(at),
            }
        }
    }

    /// The scrape of this time failed: whoever has not said anything since is in doubt.
    pub(super) fn doubt(&mut self, at_ms: i64) {
        self.entries.iter_mut().for_each(|entry| entry.in_doubt |= entry.at_ms < at_ms);
    }

    /// Ends the series in doubt that have not said anything since this time.
    pub(super) fn end_doubtful(&mut self, since_ms: i64) {
        self.end_where(|entry| entry.in_doubt && entry.at_ms < since_ms);
    }

    /// Ends the series that have not said anything since this time.
    pub(super) fn end_silent(&mut self, since_ms: i64) {
        self.end_where(|entry| entry.at_ms < since_ms);
    }

    /// The earliest time at which a live series said what it said last.
    pub(super) fn observed_ms(&self) -> Option<i64> {
        let live = self.entries.iter().zip(&self.values).filter(|(_, it)| !is_stale_marker(**it));
        live.map(|(entry, _)| entry.at_ms).min()
    }

    /// What all series said last, for a batch; none if there never was one.
    pub(super) fn samples(
        &mut self,
        symbols: &Arc<Symbols>,
        family: &Arc<Family>,
    ) -> Option<Samples> {
        if self.n_dead >= DEAD_MIN && self.n_dead * 2 > self.entries.len() {
            let mut builder = LayoutBuilder::new(symbols);
            self.pack(&mut builder, family);
            self.layout = Some(builder.build());
        }
        let layout = Arc::clone(self.layout.as_ref()?);
        let mut samples = Samples::plain(self.role, Arc::clone(&layout), self.values.clone());
        if let Some(from) = self.sent.replace(layout.id()).filter(|from| *from != layout.id()) {
            let index = self.entries.iter().map(|entry| entry.was).collect();
            samples.carried = Some(Carried { from, index });
        }
        for (at, entry) in self.entries.iter_mut().enumerate() {
            entry.was = at as u32;
        }
        Some(samples)
    }

    /// Gives up the places of ended series, and puts the others into `builder`.
    fn pack(&mut self, builder: &mut LayoutBuilder<'_>, family: &Arc<Family>) {
        let Some(layout) = self.layout.take() else { return };
        let (entries, values) =
            (std::mem::take(&mut self.entries), std::mem::take(&mut self.values));
        self.ending.clear();
        for (at, (entry, value)) in entries.into_iter().zip(values).enumerate() {
            if is_stale_marker(value) {
                self.places.remove(&entry.key);
                continue;
            }
            let to = self.entries.len() as u32;
            self.places.insert(entry.key, to);
            if entry.ends_ms.is_some() {
                self.ending.push(to);
            }
            self.entries.push(entry);
            self.values.push(value);
            builder.push_from(&layout, at, family);
        }
        self.n_dead = 0;
    }

    fn end_where(&mut self, ends: impl Fn(&Said) -> bool) {
        for at in 0..self.entries.len() {
            if ends(&self.entries[at]) && !is_stale_marker(self.values[at]) {
                self.kill(at);
            }
        }
    }

    fn kill(&mut self, at: usize) {
        self.values[at] = STALE_MARKER;
        self.entries[at].in_doubt = false;
        self.n_dead += 1;
    }
}
