//! A page whose lines are not those of the page before: what each of them means now.
//!
//! Lines are found again where they are expected, a few lines further, or by their hash; only a
//! line that was not in the page before is taken apart, relabelled and checked. What comes out is
//! the same as if no page had been before.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use model::{ABSENT, Carried, Family, Labels, Layout, LayoutBuilder, MetricType, NEW_SERIES};

use super::families::{Described, belongs};
use super::follow::{Followed, plain_value};
use super::gather::Gathered;
use super::identity::{Became, Identity};
use super::lines::{Canonical, Kind, Lines, Mark, NO_SERIES};
use super::{PageCounts, PageFault, Shared};
use crate::exposition::{Grammar, Metadata, Next, Sample, Says, SeriesParts, number, unescape};
use crate::sample_rules::{Exposed, RuleFault, SampleRules};

/// What reading a page anew needs, and what it has found so far.
pub(super) struct Rebuild<'r> {
    pub(super) shared: &'r Shared,
    pub(super) rules: &'r SampleRules,
    pub(super) page: &'r [u8],
    pub(super) scrape_ms: i64,
    /// The lines of the page before.
    pub(super) old_lines: &'r Lines,
    /// Its series.
    pub(super) old_layout: Option<&'r Arc<Layout>>,
    /// New lines that a failed scrape has counted as added already.
    pub(super) counted_before: &'r HashSet<u64>,
    pub(super) gathered: Gathered,
    pub(super) counts: PageCounts,
    /// New lines that were counted as added.
    pub(super) counted: Vec<u64>,
    /// Whether lines may be found by place: the page before was of the same format.
    trusted: bool,
    lines: Lines,
    planned: Vec<Planned>,
    families: Vec<Arc<Family>>,
    families_changed: bool,
    fresh: Vec<Labels>,
    identity: Identity,
    context: Context,
    runs: FamilyRuns,
    parts: SeriesParts,
    /// Samples that count for `sample_limit`.
    appended: u64,
    /// The old line that is expected next, and the one before the last jump.
    expected: usize,
    before_jump: usize,
}

/// The new page, taken in.
pub(super) struct Rebuilt {
    pub(super) lines: Lines,
    pub(super) layout: Arc<Layout>,
    /// Set if the layout is another one than before.
    pub(super) carried: Option<Carried>,
    pub(super) gathered: Gathered,
    pub(super) counts: PageCounts,
}

/// A series of the new page.
#[derive(Debug, Clone, Copy)]
struct Planned {
    origin: Origin,
    /// Index into the families.
    family: u32,
}

/// Where a series of the new page comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A series of the old layout.
    Old(u32),
    /// A label set of its own.
    Fresh(u32),
}

/// What the comments so far mean for the series that follow.
#[derive(Debug, Default)]
struct Context {
    canonical: Canonical,
    described: Option<Described>,
    /// `described`, once it was looked up.
    family: Option<Arc<Family>>,
}

/// Where in the old layout's families the last look-up was: the next one is near.
#[derive(Debug, Default)]
struct FamilyRuns {
    run: usize,
}

/// What a line is to the new page.
#[derive(Debug, Clone, Copy)]
enum Place {
    Dropped,
    First(u32),
    Other(u32),
    Repeat(u32),
}

/// How many lines may be missing before a line is looked for by its hash.
const LOOK_AHEAD_LINES: usize = 4;

impl<'r> Rebuild<'r> {
    /// Nothing read yet. `gathered` is empty memory.
    pub(super) fn new(
        shared: &'r Shared,
        rules: &'r SampleRules,
        (page, scrape_ms): (&'r [u8], i64),
        (old_lines, old_layout): (&'r Lines, Option<&'r Arc<Layout>>),
        counted_before: &'r HashSet<u64>,
        gathered: Gathered,
    ) -> Rebuild<'r> {
        let mut identity = Identity::default();
        identity.start(old_lines.len(), old_layout.map_or(0, |layout| layout.len()));
        let (counts, counted, lines, planned, families) = Default::default();
        let (fresh, context, runs, parts, families_changed) = Default::default();
        Rebuild {
            shared,
            rules,
            page,
            scrape_ms,
            old_lines,
            old_layout,
            counted_before,
            gathered,
            counts,
            counted,
            trusted: false,
            lines,
            planned,
            families,
            families_changed,
            fresh,
            identity,
            context,
            runs,
            parts,
            appended: 0,
            expected: 0,
            before_jump: 0,
        }
    }

    /// Reads the page. `followed` says how much of it is known to be as before; `None` if the
    /// page before was of another format.
    ///
    /// # Errors
    /// When the whole page must be refused; `counts` and `counted` say what was counted by then.
    pub(super) fn read<G: Grammar>(&mut self, followed: Option<Followed>) -> Result<(), PageFault> {
        self.trusted = followed.is_some();
        let mut at = match followed {
            Some(followed) if self.old_lines.series().is_empty() => self.resume::<G>(followed)?,
            _ => {
                self.gathered.clear();
                0
            }
        };
        loop {
            match self.comments::<G>(at)? {
                Next::End(_) => break,
                Next::Series(start) => at = self.sample::<G>(start)?,
            }
        }
        let limit = self.rules.limits.samples;
        if limit > 0 && self.appended > limit {
            return Err(PageFault::SampleLimit);
        }
        Ok(())
    }

    /// Takes over the lines that are as before, and says where to go on. Starts afresh if it
    /// cannot tell what the comments so far mean.
    fn resume<G: Grammar>(&mut self, mut followed: Followed) -> Result<usize, PageFault> {
        let mark_before = |line: usize| self.old_lines.mark(line.checked_sub(1)?);
        if let (Some(mark), Some(at)) = (mark_before(followed.line), followed.comments_at)
            && !mark.kind().is_sample()
        {
            // The run of comments may go on: it is read again as one.
            followed.line -= 1;
            followed.at = at;
        }
        let canonical = mark_before(followed.line).map(Mark::canonical).unwrap_or_default();
        self.take_over(followed.line);
        if let Some(at) = followed.comments_at {
            self.listen::<G>(at)?;
            if self.context.described.is_none() {
                self.start_afresh();
                return Ok(0);
            }
        }
        self.context.canonical = canonical;
        self.expected = followed.line;
        self.before_jump = followed.line;
        Ok(followed.at)
    }

    /// The first `lines` lines, whose values are gathered already, are those of the page before.
    fn take_over(&mut self, lines: usize) {
        self.lines.start_as(self.old_lines, lines);
        let mut series = 0;
        for line in 0..lines {
            match self.old_lines.mark(line).map(Mark::kind) {
                Some(Kind::First) => {
                    self.identity.place(line, Became::Series(series));
                    self.identity.place_series(series, series);
                    series += 1;
                }
                Some(Kind::Dropped) => self.identity.place(line, Became::Dropped),
                _ => continue,
            }
            self.counts.scraped += 1;
        }
        self.counts.kept = u64::from(series);
        self.appended = u64::from(series);
        let Some(layout) = self.old_layout else { return };
        for at in 0..series {
            self.note_family(layout.family(at as usize));
            self.plan_as_noted(Origin::Old(at));
        }
    }

    /// Forgets everything that was taken over.
    fn start_afresh(&mut self) {
        self.gathered.clear();
        self.lines.clear();
        self.planned.clear();
        self.families.clear();
        self.context = Context::default();
        self.counts = PageCounts::default();
        self.appended = 0;
        self.identity.start(self.old_lines.len(), self.old_layout.map_or(0, |layout| layout.len()));
    }

    /// Reads a run of comments, and remembers it as one line.
    fn comments<G: Grammar>(&mut self, at: usize) -> Result<Next, PageFault> {
        let next = self.listen::<G>(at)?;
        let (Next::Series(end) | Next::End(end)) = next;
        if end > at {
            let bytes = &self.page[at..end];
            let kind = if bytes.ends_with(b"\n") { Kind::Comments } else { Kind::LastComments };
            let mark = Mark::new(bytes.len(), kind, self.context.canonical);
            self.lines.push(self.shared.hash.of(bytes), mark, NO_SERIES);
        }
        if self.old_lines.mark(self.expected).is_some_and(|mark| !mark.kind().is_sample()) {
            self.expected += 1;
        }
        Ok(next)
    }

    /// Hears what a run of comments says about the series after it.
    fn listen<G: Grammar>(&mut self, at: usize) -> Result<Next, PageFault> {
        let mut described: Option<Described> = None;
        let mut canonical = self.context.canonical;
        let next = G::comments(self.page, at, &mut |metadata: Metadata<'_>| {
            if let Says::Type(kind) = metadata.says {
                canonical = Canonical::of(kind);
            }
            described.get_or_insert_default().hear(metadata, G::HELP_HAS_QUOTES);
        })?;
        self.context.canonical = canonical;
        if described.is_some() {
            self.context.described = described;
            self.context.family = None;
        }
        Ok(next)
    }

    /// Reads the line of a sample, and says where the next one starts.
    fn sample<G: Grammar>(&mut self, start: usize) -> Result<usize, PageFault> {
        let expected = if self.trusted { self.expected_line::<G>(start) } else { None };
        let (end, hash, old) = match expected {
            Some((line, end)) => (end, self.old_lines.hash(line), Some(line)),
            None => {
                let end = G::series(self.page, start, &mut self.parts)?;
                let hash = self.shared.hash.of(&self.page[start..end]);
                let old = self.identity.line(self.old_lines, hash);
                if let Some(line) = old {
                    self.before_jump = self.expected;
                    self.expected = line + 1;
                }
                (end, hash, old)
            }
        };
        let sample = match plain_value(self.page, end) {
            Some((value, next)) => Sample::plain(value, next),
            None => G::sample(self.page, start, end)?,
        };
        let next = sample.next;
        self.counts.scraped += 1;
        let place = self.place::<G>((start, end), hash, old)?;
        let (kind, series) = match place {
            Place::Dropped => (Kind::Dropped, NO_SERIES),
            Place::First(series) => (Kind::First, series),
            Place::Other(series) => (Kind::Other, series),
            Place::Repeat(series) => (Kind::Repeat, series),
        };
        let canonical = self.context.canonical;
        self.lines.push(hash, Mark::new(end - start, kind, canonical), series);
        self.take_value(place, sample, hash, old.is_none());
        Ok(next)
    }

    /// The old line that stands at `start`, if it is one of those that are likely to.
    fn expected_line<G: Grammar>(&mut self, start: usize) -> Option<(usize, usize)> {
        let ahead = self.expected + 1..self.expected + 1 + LOOK_AHEAD_LINES;
        let candidates = [self.expected, self.before_jump].into_iter().chain(ahead);
        for line in candidates {
            let Some(mark) = self.old_lines.mark(line).filter(|mark| mark.kind().is_sample())
            else {
                continue;
            };
            let end = start + mark.bytes();
            let Some(bytes) = self.page.get(start..end) else { continue };
            let hash = self.shared.hash.of(bytes);
            if hash == self.old_lines.hash(line) && G::ends_series(self.page, end) {
                self.expected = line + 1;
                return Some((line, end));
            }
        }
        None
    }

    /// Finds out what a line is to the new page.
    fn place<G: Grammar>(
        &mut self,
        (start, end): (usize, usize),
        hash: u64,
        old: Option<usize>,
    ) -> Result<Place, PageFault> {
        let Some(line) = old else {
            return match self.identity.fresh_line(hash) {
                Became::Dropped => Ok(Place::Dropped),
                Became::Series(series) => Ok(Place::Repeat(series)),
                Became::Nothing => {
                    let place = self.decide::<G>(start, end)?;
                    self.identity.place_fresh_line(hash, place.became());
                    Ok(place)
                }
            };
        };
        let mark = self.old_lines.mark(line).expect("the line was found");
        let line = match mark.kind() {
            Kind::Repeat => self.identity.line(self.old_lines, hash).unwrap_or(line),
            _ => line,
        };
        match self.identity.became(line) {
            Became::Dropped => return Ok(Place::Dropped),
            Became::Series(series) => return Ok(Place::Repeat(series)),
            Became::Nothing => {}
        }
        let mark = self.old_lines.mark(line).expect("the line was found");
        let place = match mark.kind() {
            _ if mark.canonical() != self.context.canonical => self.decide::<G>(start, end)?,
            Kind::Dropped => Place::Dropped,
            _ => {
                let old = self.old_series_of_line(line);
                self.carry(old)
            }
        };
        self.identity.place(line, place.became());
        Ok(place)
    }

    /// The series of an old line that has one.
    fn old_series_of_line(&mut self, line: usize) -> u32 {
        if let Some(series) = self.old_lines.series().get(line) {
            return *series;
        }
        self.identity.series_by_count(self.old_lines, line)
    }

    /// A series of the page before is in this one.
    fn carry(&mut self, old: u32) -> Place {
        if let Some(series) = self.identity.series(old) {
            return Place::Other(series);
        }
        let series = self.plan(Origin::Old(old));
        self.identity.place_series(old, series);
        Place::First(series)
    }

    /// Takes a line apart and decides what becomes of it.
    fn decide<G: Grammar>(&mut self, start: usize, end: usize) -> Result<Place, PageFault> {
        let page = self.page;
        let read_to = G::series(page, start, &mut self.parts)?;
        debug_assert_eq!(read_to, end, "a line that is known ends where it did");
        let canonical = self.context.canonical;
        let labels = decided_labels(page, &self.parts, canonical, self.rules)?;
        let Some(labels) = labels else { return Ok(Place::Dropped) };
        let (planned, fresh) = (&self.planned, &self.fresh);
        let labels_of = |series: u32| match planned[series as usize].origin {
            Origin::Fresh(at) => &fresh[at as usize],
            Origin::Old(_) => unreachable!("only fresh series are looked for by labels"),
        };
        if let Some(series) = self.identity.fresh_series(&labels, labels_of) {
            return Ok(Place::Other(series));
        }
        if let Some(layout) = self.old_layout
            && let Some(old) = self.identity.old_series(layout, &labels)
        {
            return Ok(self.carry(old));
        }
        self.fresh.push(labels);
        let at = self.fresh.len() - 1;
        let series = self.plan(Origin::Fresh(at as u32));
        self.identity.place_fresh_series(&self.fresh[at], series);
        Ok(Place::First(series))
    }

    /// Counts a sample and keeps its value.
    fn take_value(&mut self, place: Place, sample: Sample, hash: u64, is_new_line: bool) {
        let honor = self.rules.honor_timestamps;
        let appended = match place {
            Place::Dropped => return,
            Place::First(series) => {
                self.gathered.first(series, sample, honor);
                true
            }
            Place::Other(series) => {
                self.gathered.other(series, sample, honor, self.scrape_ms);
                true
            }
            Place::Repeat(series) => self.gathered.repeat(series, sample, honor),
        };
        self.counts.kept += 1;
        self.appended += u64::from(appended);
        let limit = self.rules.limits.samples;
        let within_limit = limit == 0 || self.appended <= limit;
        let first_time = is_new_line && !matches!(place, Place::Repeat(_));
        if first_time && within_limit && !self.counted_before.contains(&hash) {
            self.counts.series_added += 1;
            self.counted.push(hash);
        }
    }

    /// Appends a series to the new page.
    fn plan(&mut self, origin: Origin) -> u32 {
        let series = self.planned.len() as u32;
        self.find_family(origin);
        self.plan_as_noted(origin);
        self.gathered.values.push(ABSENT);
        series
    }

    /// Appends a series of the family that was noted last.
    fn plan_as_noted(&mut self, origin: Origin) {
        let family = self.families.len() as u32 - 1;
        self.planned.push(Planned { origin, family });
    }

    fn note_family(&mut self, family: &Arc<Family>) {
        if !self.families.last().is_some_and(|last| Arc::ptr_eq(last, family)) {
            self.families.push(Arc::clone(family));
        }
    }

    /// Notes the family of a series under the comments so far.
    fn find_family(&mut self, origin: Origin) {
        if self.context.family.is_none()
            && let Some(described) = &self.context.described
        {
            self.context.family = Some(self.shared.families.get(described));
        }
        let (before, name) = match (origin, self.old_layout) {
            (Origin::Old(old), Some(layout)) => {
                let before = self.runs.family(layout, old);
                if self.context.family.as_ref().is_some_and(|family| Arc::ptr_eq(family, before)) {
                    return self.note_family(before);
                }
                let table = layout.symbols().read();
                let name = layout.label(old as usize, "__name__", &table).unwrap_or_default();
                (Some(before), name.to_owned())
            }
            (Origin::Fresh(at), _) => {
                (None, self.fresh[at as usize].get("__name__").unwrap_or_default().to_owned())
            }
            (Origin::Old(_), None) => unreachable!("an old series has a layout"),
        };
        let described = self.context.family.clone();
        let family = match described.filter(|family| belongs(&name, family)) {
            Some(family) => family,
            None => self.unknown_family(&name),
        };
        self.families_changed |= before.is_some_and(|before| !Arc::ptr_eq(before, &family));
        self.note_family(&family);
    }

    fn unknown_family(&self, name: &str) -> Arc<Family> {
        let last = self.families.last().filter(|last| {
            let Family { name: known, kind, help, unit } = &***last;
            **known == *name && *kind == MetricType::Unknown && help.is_empty() && unit.is_empty()
        });
        last.cloned().unwrap_or_else(|| self.shared.families.unknown(name))
    }

    /// The page as it will be remembered.
    pub(super) fn finish(mut self) -> Rebuilt {
        let planned = std::mem::take(&mut self.planned);
        let all_old = planned.iter().all(|planned| matches!(planned.origin, Origin::Old(_)));
        if let Some(layout) = self.old_layout
            && all_old
            && planned.len() == layout.len()
            && !self.families_changed
        {
            let layout = Arc::clone(layout);
            self.return_to_old_order(&planned);
            return self.rebuilt(layout, None);
        }
        let mut builder = LayoutBuilder::new(&self.shared.symbols);
        let mut index = Vec::with_capacity(planned.len());
        for Planned { origin, family } in planned {
            let family = &self.families[family as usize];
            match origin {
                Origin::Old(old) => {
                    let layout = self.old_layout.expect("an old series has a layout");
                    builder.push_from(layout, old as usize, family);
                    index.push(old);
                }
                Origin::Fresh(at) => {
                    builder.push(self.fresh[at as usize].iter(), family);
                    index.push(NEW_SERIES);
                }
            }
        }
        let carried = self.old_layout.map(|layout| Carried { from: layout.id(), index });
        self.rebuilt(builder.build(), carried)
    }

    fn rebuilt(self, layout: Arc<Layout>, carried: Option<Carried>) -> Rebuilt {
        let Rebuild { lines, gathered, counts, .. } = self;
        Rebuilt { lines: lines.packed(), layout, carried, gathered, counts }
    }

    /// The series are those of before, if perhaps in another order: the layout stays, and each
    /// line says which series it is.
    fn return_to_old_order(&mut self, planned: &[Planned]) {
        let old = |series: u32| match planned[series as usize].origin {
            Origin::Old(old) => old,
            Origin::Fresh(_) => unreachable!("every series is an old one"),
        };
        if (0..planned.len() as u32).all(|series| old(series) == series) {
            return;
        }
        self.lines.map_series(old);
        let mut values = vec![ABSENT; planned.len()];
        for (series, value) in self.gathered.values.iter().enumerate() {
            values[old(series as u32) as usize] = *value;
        }
        self.gathered.values = values;
        let Gathered { stamped, histograms, exemplars, created, .. } = &mut self.gathered;
        stamped.iter_mut().for_each(|stamped| stamped.series = old(stamped.series));
        histograms.iter_mut().for_each(|(series, ..)| *series = old(*series));
        exemplars.iter_mut().for_each(|(series, _)| *series = old(*series));
        created.iter_mut().for_each(|(series, _)| *series = old(*series));
    }
}

impl FamilyRuns {
    /// The family of an old series.
    fn family<'l>(&mut self, layout: &'l Layout, old: u32) -> &'l Arc<Family> {
        let families = layout.families();
        let starts = |run: usize| families.get(run).map(|(first, _)| *first);
        let holds = |run: usize| {
            starts(run).is_some_and(|first| first <= old)
                && starts(run + 1).is_none_or(|next| old < next)
        };
        if holds(self.run + 1) {
            self.run += 1;
        } else if !holds(self.run) {
            self.run = families.partition_point(|(first, _)| *first <= old) - 1;
        }
        &families[self.run].1
    }
}

impl Place {
    fn became(self) -> Became {
        match self {
            Place::Dropped => Became::Dropped,
            Place::First(series) | Place::Other(series) | Place::Repeat(series) => {
                Became::Series(series)
            }
        }
    }
}

/// The final labels of a series as it stands in the page; none if it is dropped.
fn decided_labels(
    page: &[u8],
    parts: &SeriesParts,
    canonical: Canonical,
    rules: &SampleRules,
) -> Result<Option<Labels>, PageFault> {
    let text = |range: &std::ops::Range<usize>| {
        std::str::from_utf8(&page[range.clone()]).map_err(|_| {
            let name = String::from_utf8_lossy(&page[range.clone()]).into_owned();
            PageFault::Rule(RuleFault::InvalidName(name))
        })
    };
    let name = unescape(text(&parts.name)?);
    let mut labels = Vec::with_capacity(parts.labels.len());
    for (label, value) in &parts.labels {
        let (label, mut value) = (unescape(text(label)?), unescape(text(value)?));
        if canonical.concerns(&label)
            && let Some(bound) = number::canonical_bound(&value)
        {
            value = Cow::Owned(bound);
        }
        labels.push((label, value));
    }
    Ok(rules.decide(Exposed { name: &name, labels: &labels })?)
}
