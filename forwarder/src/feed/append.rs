//! The samples of one page into the open blocks of shards, by plan: the hot path.
//!
//! In the steady state a sample costs a look at its value and the copying of ready bytes: for
//! remote write 1.0 those of a [`Stencil`], else those of its labels.

use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use model::{Layout, PairTable, Samples, is_absent};

use super::Books;
use super::plan::{Form, NOT_TAKEN, Plan, Run};
use crate::block::{Counts, Encoding};
use crate::encode::{
    AddedLabel, At, CUSTOM_BOUNDS_SCHEMA, Encode, Encoder, Insertion, Pairs, RemoteWrite1, Series,
    Shapes, Stencil, StencilBuilder, StencilCopy,
};
use crate::ledger::Reason;
use crate::module::Wants;
use crate::shard::{OpenBlock, Shard};

/// What is the same for all samples of one page.
#[derive(Clone, Copy)]
pub(super) struct Page<'p> {
    pub(super) samples: &'p Samples,
    pub(super) plan: &'p Plan,
    pub(super) external: &'p [AddedLabel],
    pub(super) timestamp_ms: i64,
    pub(super) wants: Wants,
    /// Whether series of best effort are left out.
    pub(super) sheds: bool,
    /// Ready bytes, if there are some.
    pub(super) stencil: Option<&'p Stencil>,
}

/// Appends to one shard, sealing blocks as they get full, and keeps the books.
pub(super) struct Appender<'a> {
    shard: &'a Shard,
    open: MutexGuard<'a, OpenBlock>,
    books: Books<'a>,
    /// Appended, but not in the books yet.
    unbooked: Counts,
    appended: Counts,
    began: bool,
    /// Samples at the end of the block that are of neighbours in the plan, up to the next series.
    chain: usize,
}

/// Where the labels of a run's series come from.
#[derive(Clone, Copy)]
struct RunLabels<'p> {
    layout: &'p Layout,
    /// Index in `layout` of series 0, as a wrapping offset.
    offset: usize,
    inserted: &'p [Insertion],
}

/// A run's values, to be encoded in one go.
struct Stretch<'p> {
    page: Page<'p>,
    table: &'p PairTable,
    labels: RunLabels<'p>,
    series: Range<usize>,
    /// How many series of the plan come before `series`.
    nth: usize,
    /// More than this many samples do not fit into the block.
    room: u64,
}

/// Neighbours that a block must end with for the next series to be taken from a stencil: the one
/// before it, and one more for the timestamp in front of that one.
const CHAIN_MIN: usize = 2;
/// A page in which one of so many series has no value of its own is not worth a stencil.
const ABSENT_SHARE_MAX: usize = 8;
/// A page in which one of so many series is new, or stands elsewhere, is not worth a copy of the
/// stencil before.
const DRAWN_SHARE_MAX: usize = 4;

// === impl Page ===

impl<'p> Page<'p> {
    /// To make a stencil of it; none if too few of its series have a value.
    fn to_draw(
        samples: &'p Samples,
        plan: &'p Plan,
        external: &'p [AddedLabel],
    ) -> Option<Page<'p>> {
        let absent = samples.values.iter().filter(|value| is_absent(**value)).count();
        let (timestamp_ms, wants, sheds, stencil) = Default::default();
        (absent * ABSENT_SHARE_MAX <= samples.values.len()).then_some(Page {
            samples,
            plan,
            external,
            timestamp_ms,
            wants,
            sheds,
            stencil,
        })
    }

    /// The series that are taken, in order, each with its labels' place.
    fn taken(&self) -> impl Iterator<Item = (usize, RunLabels<'p>)> + '_ {
        let runs = self.plan.runs().iter();
        let runs = runs.filter_map(|run| Some((&run.series, self.labels_of(run)?)));
        runs.flat_map(|(series, labels)| {
            (series.start as usize..series.end as usize).map(move |at| (at, labels))
        })
    }

    fn labels_of(&self, run: &Run) -> Option<RunLabels<'p>> {
        let plan = self.plan;
        match run.form {
            Form::Dropped => None,
            _ if self.sheds(run) => None,
            Form::Shape(shape) => {
                let (layout, inserted) = (&*self.samples.layout, plan.shape(shape));
                Some(RunLabels { layout, offset: 0, inserted })
            }
            Form::Own(first) => {
                let layout = plan.own().expect("a run of own labels has a layout");
                let offset = (first as usize).wrapping_sub(run.series.start as usize);
                Some(RunLabels { layout, offset, inserted: &[] })
            }
        }
    }

    /// When series `at` began to count; 0 if the page does not say.
    fn started_ms(&self, at: u32) -> i64 {
        let created = &self.samples.created;
        match created.binary_search_by_key(&at, |(series, _)| *series) {
            Ok(found) => created[found].1,
            Err(_) => 0,
        }
    }

    /// Series `at`; its ids are put into `pairs`.
    fn series<'s>(
        &self,
        table: &'s PairTable,
        labels: RunLabels<'s>,
        at: usize,
        pairs: &'s mut Pairs,
    ) -> Series<'s>
    where
        'p: 's,
    {
        pairs.clear();
        labels.layout.copy_pairs(at.wrapping_add(labels.offset), pairs);
        Series {
            table,
            pairs,
            labels: self.external,
            inserted: labels.inserted,
            family: self.samples.layout.family(at),
        }
    }

    /// Whether the run is left out under pressure, and there is some.
    pub(super) fn sheds(&self, run: &Run) -> bool {
        self.sheds && run.best_effort
    }

    /// The samples of the runs asked for.
    pub(super) fn count(&self, of: impl Fn(&Run) -> bool) -> Counts {
        let mut counts = Counts::default();
        let mut runs = self.plan.runs().iter().filter(|run| of(run)).peekable();
        if runs.peek().is_none() {
            return counts;
        }
        for run in runs {
            let values = &self.samples.values[run.series.start as usize..run.series.end as usize];
            counts.samples += values.iter().filter(|value| !is_absent(**value)).count() as u64;
        }
        let within = |at: u32| self.plan.run_of(at).is_some_and(&of);
        let Samples { stamped, histograms, exemplars, .. } = self.samples;
        counts.samples += stamped.iter().filter(|one| within(one.series)).count() as u64;
        counts.histograms += histograms.iter().filter(|one| within(one.0)).count() as u64;
        counts.exemplars += exemplars.iter().filter(|one| within(one.0)).count() as u64;
        counts
    }
}

// === impl Appender ===

impl<'a> Appender<'a> {
    pub(super) fn new(shard: &'a Shard, encoding: Encoding, books: Books<'a>) -> Appender<'a> {
        let mut open = shard.open();
        open.prefer(encoding);
        let (unbooked, appended, began, chain) = Default::default();
        Appender { shard, open, books, unbooked, appended, began, chain }
    }

    /// What was appended so far.
    pub(super) fn appended(&self) -> Counts {
        self.appended
    }

    /// Appends everything of the page.
    pub(super) fn page(&mut self, page: &Page<'_>) {
        self.hold(page);
        let table = page.samples.layout.symbols().read();
        let mut nth = 0;
        for run in page.plan.runs().iter().filter(|run| run.form != Form::Dropped) {
            let series = run.series.start as usize..run.series.end as usize;
            match page.labels_of(run) {
                Some(labels) => self.values(page, &table, labels, series.clone(), nth),
                None => self.chain = 0,
            }
            nth += series.len();
        }
        if !page.samples.is_plain() {
            self.rarer(page, &table, |_| true);
        }
    }

    /// Appends what the page has of these series (ascending).
    pub(super) fn some_of(&mut self, page: &Page<'_>, chosen: &[u32]) {
        self.hold(page);
        let table = page.samples.layout.symbols().read();
        let mut runs = page.plan.runs().iter().peekable();
        for at in chosen {
            while runs.next_if(|run| run.series.end <= *at).is_some() {}
            let run = runs.peek().filter(|run| run.series.start <= *at);
            if let Some(labels) = run.and_then(|run| page.labels_of(run)) {
                let at = *at as usize;
                self.values(page, &table, labels, at..at + 1, 0);
            }
        }
        if !page.samples.is_plain() {
            self.rarer(page, &table, |at| chosen.binary_search(&at).is_ok());
        }
    }

    fn hold(&mut self, page: &Page<'_>) {
        self.open.hold(&page.samples.layout);
        if let Some(own) = page.plan.own() {
            self.open.hold(own);
        }
    }

    fn values(
        &mut self,
        page: &Page<'_>,
        table: &PairTable,
        labels: RunLabels<'_>,
        mut series: Range<usize>,
        mut nth: usize,
    ) {
        loop {
            let room = self.room(page);
            let stretch = Stretch { page: *page, table, labels, series: series.clone(), nth, room };
            let (next, samples) = match &mut self.open.encoder {
                Encoder::RemoteWrite1(encoder) => match page.stencil {
                    Some(stencil) => stretch.put_ready(encoder, stencil, &mut self.chain),
                    None => stretch.put(&mut **encoder),
                },
                Encoder::RemoteWrite2(encoder) => stretch.put(&mut **encoder),
                Encoder::JsonLines(encoder) => stretch.put(encoder),
            };
            self.note(Counts { samples, ..Counts::default() }, page.timestamp_ms);
            if next == series.end {
                return;
            }
            (series.start, nth) = (next, nth + next - series.start);
        }
    }

    /// Samples with their own timestamps, histograms and exemplars of the series chosen.
    fn rarer(&mut self, page: &Page<'_>, table: &PairTable, chosen: impl Fn(u32) -> bool) {
        let Samples { stamped, histograms, exemplars, .. } = page.samples;
        let labels_of = |at: u32| page.labels_of(page.plan.run_of(at)?);
        let mut pairs = Pairs::new();
        let labels_of = |at: u32| labels_of(at).filter(|_| chosen(at));
        for one in stamped {
            if let Some(labels) = labels_of(one.series) {
                let series = page.series(table, labels, one.series as usize, &mut pairs);
                let started_ms = page.started_ms(one.series);
                let at = At { timestamp_ms: one.timestamp_ms, started_ms };
                self.room(page);
                self.encode(|encoder| encoder.sample(&series, one.value, at));
                self.note(Counts { samples: 1, ..Counts::default() }, at.timestamp_ms);
            }
        }
        for (series, own_ms, histogram) in histograms {
            let timestamp_ms = own_ms.unwrap_or(page.timestamp_ms);
            let at = At { timestamp_ms, started_ms: page.started_ms(*series) };
            let one = Counts { histograms: 1, ..Counts::default() };
            let Some(labels) = labels_of(*series) else { continue };
            let series = page.series(table, labels, *series as usize, &mut pairs);
            self.room(page);
            let custom_bounds = histogram.schema == CUSTOM_BOUNDS_SCHEMA;
            if !page.wants.histograms {
                self.books.accept(Counts::default(), &[(Reason::NotWanted, one)]);
            } else if custom_bounds && !self.open.encoder.encoding().takes_custom_bounds() {
                self.books.accept(Counts::default(), &[(Reason::CustomBounds, one)]);
            } else {
                self.encode(|encoder| encoder.histogram(&series, histogram, at));
                self.note(one, timestamp_ms);
            }
        }
        for (series, exemplar) in exemplars {
            let one = Counts { exemplars: 1, ..Counts::default() };
            let Some(labels) = labels_of(*series) else { continue };
            let series = page.series(table, labels, *series as usize, &mut pairs);
            if !page.wants.exemplars {
                self.books.accept(Counts::default(), &[(Reason::NotWanted, one)]);
                continue;
            }
            let timestamp_ms = exemplar.timestamp_ms.unwrap_or(page.timestamp_ms);
            let at = At { timestamp_ms, started_ms: 0 };
            self.room(page);
            self.encode(|encoder| encoder.exemplar(&series, exemplar, at));
            self.note(one, timestamp_ms);
        }
    }

    fn encode(&mut self, put: impl FnOnce(&mut dyn Encode)) {
        match &mut self.open.encoder {
            Encoder::RemoteWrite1(encoder) => put(&mut **encoder),
            Encoder::RemoteWrite2(encoder) => put(&mut **encoder),
            Encoder::JsonLines(encoder) => put(encoder),
        }
    }

    /// How many samples fit into the open block, at least one: a full one is sealed.
    fn room(&mut self, page: &Page<'_>) -> u64 {
        let room = self.shard.room(&self.open);
        if room > 0 {
            return room;
        }
        self.book();
        self.shard.seal(&mut self.open);
        self.chain = 0;
        self.hold(page);
        self.shard.room(&self.open).max(1)
    }

    fn note(&mut self, counts: Counts, timestamp_ms: i64) {
        self.began |= self.open.appended(counts, timestamp_ms);
        self.unbooked += counts;
        self.appended += counts;
    }

    fn book(&mut self) {
        let counts = std::mem::take(&mut self.unbooked);
        if !counts.is_empty() {
            self.books.accept(counts, &[]);
        }
    }
}

impl Drop for Appender<'_> {
    /// Books what was appended while the open block is still locked, and seals a full block
    /// rather than let it wait for its deadline.
    fn drop(&mut self) {
        self.book();
        if self.shard.room(&self.open) == 0 {
            self.shard.seal(&mut self.open);
        } else if self.began {
            self.shard.begun.notify_one();
        }
    }
}

// === impl Stretch ===

impl Stretch<'_> {
    /// Appends the values until the room is used up. Returns the next series and how many samples
    /// were appended.
    fn put<E: Encode>(&self, encoder: &mut E) -> (usize, u64) {
        let Stretch { page, table, labels, .. } = self;
        let values = &page.samples.values[self.series.clone()];
        let first = self.series.start.wrapping_add(labels.offset);
        let families = page.samples.layout.families();
        let mut family_at = families.partition_point(|(run, _)| *run as usize <= self.series.start);
        let mut family = &families[family_at - 1].1;
        let (mut samples, mut pairs) = (0, Pairs::new());
        for (nth, value) in values.iter().enumerate() {
            if is_absent(*value) {
                continue;
            }
            if samples == self.room {
                return (self.series.start + nth, samples);
            }
            let at = (self.series.start + nth) as u32;
            while let Some((run, next)) = families.get(family_at).filter(|(run, _)| *run <= at) {
                debug_assert!(*run <= at);
                (family, family_at) = (next, family_at + 1);
            }
            pairs.clear();
            labels.layout.copy_pairs(first + nth, &mut pairs);
            let series = Series {
                table,
                pairs: &pairs,
                labels: page.external,
                inserted: labels.inserted,
                family,
            };
            let started_ms = if page.samples.created.is_empty() { 0 } else { page.started_ms(at) };
            encoder.sample(&series, *value, At { timestamp_ms: page.timestamp_ms, started_ms });
            samples += 1;
        }
        (self.series.end, samples)
    }

    /// As [`Stretch::put`], by ready bytes where that can be. `chain` is kept.
    fn put_ready(
        &self,
        encoder: &mut RemoteWrite1,
        stencil: &Stencil,
        chain: &mut usize,
    ) -> (usize, u64) {
        let Stretch { page, table, labels, series, nth, room } = self;
        let values = &page.samples.values[series.clone()];
        let (mut at, mut samples, mut pairs) = (0, 0, Pairs::new());
        while at < values.len() {
            if is_absent(values[at]) {
                (at, *chain) = (at + 1, 0);
                continue;
            }
            let left = (room - samples) as usize;
            if left == 0 {
                break;
            }
            let is_ready = *chain >= CHAIN_MIN && stencil.has(nth + at);
            let count = if is_ready && encoder.has_usual_stamp() {
                let end = values.len().min(at.saturating_add(left));
                encoder.stencilled(stencil, nth + at, &values[at..end])
            } else {
                let series = page.series(table, *labels, series.start + at, &mut pairs);
                let moment = At { timestamp_ms: page.timestamp_ms, started_ms: 0 };
                encoder.sample(&series, values[at], moment);
                1
            };
            (at, samples, *chain) = (at + count, samples + count as u64, *chain + count);
        }
        (series.start + at, samples)
    }
}

/// The stencil of all series that `plan` takes, perhaps with `known` shapes; none if too few of the
/// series have a value.
pub(super) fn stencil<'k>(
    samples: &Samples,
    plan: &Plan,
    external: &[AddedLabel],
    known: impl Iterator<Item = &'k Arc<Shapes>>,
) -> Option<Stencil> {
    let page = Page::to_draw(samples, plan, external)?;
    let table = samples.layout.symbols().read();
    let mut builder = StencilBuilder::new(samples.values.len());
    let mut pairs = Pairs::new();
    for (at, labels) in page.taken() {
        builder.push(&page.series(&table, labels, at, &mut pairs));
    }
    Some(builder.build(known))
}

/// As [`stencil`], for a page that comes after the one that `before` is of, which `plan_before` took:
/// `index` says which of its series these are. None if too many of them stand elsewhere.
pub(super) fn stencil_after(
    samples: &Samples,
    index: &[u32],
    plan: &Plan,
    external: &[AddedLabel],
    (before, plan_before): (&Stencil, &Plan),
) -> Option<Stencil> {
    let page = Page::to_draw(samples, plan, external)?;
    let nth_before = plan_before.numbering();
    let table = samples.layout.symbols().read();
    let mut copy = StencilCopy::new(before);
    let mut pairs = [Pairs::new(), Pairs::new()];
    let (mut last, mut last_nth, mut drawn) = (None, None, 0);
    for (at, labels) in page.taken() {
        let nth = index.get(at).and_then(|old| nth_before.get(*old as usize));
        let nth = nth.copied().filter(|nth| *nth != NOT_TAKEN);
        match nth {
            Some(nth) if nth > 0 && last_nth == Some(nth - 1) => copy.copy(nth as usize),
            _ => {
                drawn += 1;
                if drawn * DRAWN_SHARE_MAX > samples.values.len() {
                    return None;
                }
                let [one, other] = &mut pairs;
                let last = last.map(|(at, labels)| page.series(&table, labels, at, one));
                copy.push(last.as_ref(), &page.series(&table, labels, at, other));
            }
        }
        (last, last_nth) = (Some((at, labels)), nth);
    }
    copy.build()
}

#[cfg(test)]
mod tests;
