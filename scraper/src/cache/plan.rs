//! The series of a page while it is read anew: which line is which series, and of which family.
//!
//! Lines and series of the page before are found again; only what is new is kept as labels until
//! the layout is built. What comes out is the same as if no page had been before.

use std::sync::Arc;

use model::{ABSENT, Carried, Family, Labels, Layout, LayoutBuilder, MetricType, NEW_SERIES};

use super::families::{Described, belongs};
use super::gather::Gathered;
use super::identity::{Became, Identity};
use super::lines::{Canonical, Kind, Lines, Mark};
use super::seen::Seen;
use super::{PageFault, Shared};

/// The series of the new page, so far.
pub(super) struct Plan<'r> {
    shared: &'r Shared,
    /// The lines of the page before.
    old_lines: &'r Lines,
    /// Its series.
    old_layout: Option<&'r Arc<Layout>>,
    /// The lines of the new page.
    pub(super) lines: Lines,
    planned: Vec<Planned>,
    families: Vec<Arc<Family>>,
    families_changed: bool,
    fresh: Vec<Labels>,
    identity: Identity,
    context: Context,
    runs: FamilyRuns,
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

/// What a line is to the new page. A [`Place::First`] is the next series after the last one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Dropped,
    First(u32),
    Other(u32),
    Repeat(u32),
}

// === impl Plan ===

impl<'r> Plan<'r> {
    /// Nothing read yet, after a page of `old_lines`.
    pub(super) fn new(
        shared: &'r Shared,
        old_lines: &'r Lines,
        old_layout: Option<&'r Arc<Layout>>,
    ) -> Plan<'r> {
        let (lines, planned, families, fresh) = Default::default();
        let (identity, context, runs) = Default::default();
        let mut plan = Plan {
            shared,
            old_lines,
            old_layout,
            lines,
            planned,
            families,
            families_changed: false,
            fresh,
            identity,
            context,
            runs,
        };
        plan.start_afresh();
        plan
    }

    /// Forgets everything that was read.
    pub(super) fn start_afresh(&mut self) {
        self.lines.clear();
        self.planned.clear();
        self.families.clear();
        self.families_changed = false;
        self.fresh.clear();
        self.context = Context::default();
        self.identity.start(self.old_lines.len(), self.old_layout.map_or(0, |layout| layout.len()));
    }

    /// The first `lines` lines are those of the page before. Says how many of them are samples,
    /// and how many series. The old lines must simply count their series.
    pub(super) fn take_over(&mut self, lines: usize) -> (u64, u64) {
        self.lines.start_as(self.old_lines, lines);
        let (mut samples, mut series) = (0, 0);
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
            samples += 1;
        }
        if let Some(layout) = self.old_layout {
            for at in 0..series {
                let family = self.runs.family(layout, at);
                note(&mut self.families, family);
                self.plan_as_noted(Origin::Old(at));
            }
        }
        (samples, u64::from(series))
    }

    /// Which labels are brought into canonical form from here on.
    pub(super) fn canonical(&self) -> Canonical {
        self.context.canonical
    }

    /// Sets which labels are brought into canonical form from here on.
    pub(super) fn set_canonical(&mut self, canonical: Canonical) {
        self.context.canonical = canonical;
    }

    /// The series that follow are described like this.
    pub(super) fn describe(&mut self, described: Described) {
        self.context.described = Some(described);
        self.context.family = None;
    }

    /// Whether anything has described the series that follow.
    pub(super) fn is_described(&self) -> bool {
        self.context.described.is_some()
    }

    /// The old line with this hash; of repeated ones the first.
    pub(super) fn old_line(&mut self, hash: u64) -> Option<usize> {
        self.identity.line(self.old_lines, hash)
    }

    /// Finds out what the line with this hash is to the new page; `old` is the same line in the
    /// page before. `decide` takes it apart if it must be: none if it is dropped.
    pub(super) fn place(
        &mut self,
        hash: u64,
        old: Option<usize>,
        decide: impl FnOnce(Canonical) -> Result<Option<Labels>, PageFault>,
    ) -> Result<Place, PageFault> {
        let canonical = self.context.canonical;
        let Some(line) = old else {
            return match self.identity.fresh_line(hash) {
                Became::Dropped => Ok(Place::Dropped),
                Became::Series(series) => Ok(Place::Repeat(series)),
                Became::Nothing => {
                    let place = self.place_labels(decide(canonical)?);
                    self.identity.place_fresh_line(hash, place.became());
                    Ok(place)
                }
            };
        };
        let kind = |line| self.old_lines.mark(line).map(Mark::kind);
        let line = match kind(line) {
            Some(Kind::Repeat) => self.identity.line(self.old_lines, hash).unwrap_or(line),
            _ => line,
        };
        match self.identity.became(line) {
            Became::Dropped => return Ok(Place::Dropped),
            Became::Series(series) => return Ok(Place::Repeat(series)),
            Became::Nothing => {}
        }
        let decided_as = self.old_lines.mark(line).map(Mark::canonical);
        let place = match kind(line) {
            _ if decided_as != Some(canonical) => self.place_labels(decide(canonical)?),
            Some(Kind::Dropped) => Place::Dropped,
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

    /// Where a label set belongs: to a series of this page, to one of the page before, or nowhere
    /// yet.
    fn place_labels(&mut self, labels: Option<Labels>) -> Place {
        let Some(labels) = labels else { return Place::Dropped };
        let (planned, fresh) = (&self.planned, &self.fresh);
        let labels_of = |series: u32| match planned[series as usize].origin {
            Origin::Fresh(at) => &fresh[at as usize],
            Origin::Old(_) => unreachable!("only fresh series are looked for by labels"),
        };
        if let Some(series) = self.identity.fresh_series(&labels, labels_of) {
            return Place::Other(series);
        }
        if let Some(layout) = self.old_layout
            && let Some(old) = self.identity.old_series(layout, &labels)
        {
            return self.carry(old);
        }
        self.fresh.push(labels);
        let at = self.fresh.len() - 1;
        let series = self.plan(Origin::Fresh(at as u32));
        self.identity.place_fresh_series(&self.fresh[at], series);
        Place::First(series)
    }

    /// Appends a series to the new page.
    fn plan(&mut self, origin: Origin) -> u32 {
        let series = self.planned.len() as u32;
        self.find_family(origin);
        self.plan_as_noted(origin);
        series
    }

    /// Appends a series of the family that was noted last.
    fn plan_as_noted(&mut self, origin: Origin) {
        let family = self.families.len() as u32 - 1;
        self.planned.push(Planned { origin, family });
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
                    return note(&mut self.families, before);
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
        note(&mut self.families, &family);
    }

    fn unknown_family(&self, name: &str) -> Arc<Family> {
        let last = self.families.last().filter(|last| {
            let Family { name: known, kind, help, unit } = &***last;
            **known == *name && *kind == MetricType::Unknown && help.is_empty() && unit.is_empty()
        });
        last.cloned().unwrap_or_else(|| self.shared.families.unknown(name))
    }

    /// The lines and the layout as they will be remembered, and what was carried if the layout is
    /// another one than before. `gathered` comes to speak of the series of that layout.
    pub(super) fn finish(
        mut self,
        gathered: &mut Gathered,
    ) -> (Lines, Arc<Layout>, Option<Carried>) {
        let all_old = self.planned.iter().all(|planned| matches!(planned.origin, Origin::Old(_)));
        if let Some(layout) = self.old_layout
            && all_old
            && self.planned.len() == layout.len()
            && !self.families_changed
        {
            self.return_to_old_order(gathered);
            return (self.lines.packed(), Arc::clone(layout), None);
        }
        let mut builder = LayoutBuilder::new(&self.shared.symbols);
        let mut index = Vec::with_capacity(self.planned.len());
        for Planned { origin, family } in &self.planned {
            let family = &self.families[*family as usize];
            match (origin, self.old_layout) {
                (Origin::Old(old), Some(layout)) => {
                    builder.push_from(layout, *old as usize, family);
                    index.push(*old);
                }
                (Origin::Old(_), None) => unreachable!("an old series has a layout"),
                (Origin::Fresh(at), _) => {
                    builder.push(self.fresh[*at as usize].iter(), family);
                    index.push(NEW_SERIES);
                }
            }
        }
        let carried = self.old_layout.map(|layout| Carried { from: layout.id(), index });
        (self.lines.packed(), builder.build(), carried)
    }

    /// The series for which `is_taken` holds, of a page that is refused.
    pub(super) fn seen(self, is_taken: impl Fn(u32) -> bool) -> Seen {
        let mut seen = Seen::default();
        let mut fresh: Vec<Option<Labels>> = self.fresh.into_iter().map(Some).collect();
        for (series, planned) in (0..).zip(&self.planned) {
            match planned.origin {
                _ if !is_taken(series) => {}
                Origin::Old(old) => seen.old.push(old),
                Origin::Fresh(at) => {
                    let family = Arc::clone(&self.families[planned.family as usize]);
                    seen.fresh.extend(fresh[at as usize].take().map(|labels| (labels, family)));
                }
            }
        }
        seen.old.sort_unstable();
        seen
    }

    /// The series are those of before, if perhaps in another order: the layout stays, and each
    /// line says which series it is.
    fn return_to_old_order(&mut self, gathered: &mut Gathered) {
        let planned = &self.planned;
        let old = |series: u32| match planned[series as usize].origin {
            Origin::Old(old) => old,
            Origin::Fresh(_) => unreachable!("every series is an old one"),
        };
        if (0..planned.len() as u32).all(|series| old(series) == series) {
            return;
        }
        self.lines.map_series(old);
        let mut values = vec![ABSENT; planned.len()];
        for (series, value) in gathered.values.iter().enumerate() {
            values[old(series as u32) as usize] = *value;
        }
        let Gathered { stamped, histograms, exemplars, created, .. } = gathered;
        stamped.iter_mut().for_each(|stamped| stamped.series = old(stamped.series));
        histograms.iter_mut().for_each(|(series, ..)| *series = old(*series));
        exemplars.iter_mut().for_each(|(series, _)| *series = old(*series));
        created.iter_mut().for_each(|(series, _)| *series = old(*series));
        gathered.values = values;
    }
}

// === impl FamilyRuns ===

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

// === impl Place ===

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

/// Makes `family` the last one.
fn note(families: &mut Vec<Arc<Family>>, family: &Arc<Family>) {
    if !families.last().is_some_and(|last| Arc::ptr_eq(last, family)) {
        families.push(Arc::clone(family));
    }
}
