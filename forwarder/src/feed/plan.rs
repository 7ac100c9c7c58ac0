//! What one destination does with each series of a layout: decided once, used for every page.
//!
//! A plan is a list of runs: neighbouring series that are treated alike. It holds label ids of its
//! own only for series whose labels `write_relabel_configs` really change; external labels are
//! kept as "which ones go where", shared by all series of the same shape.

use std::ops::Range;
use std::sync::Arc;

use model::{
    Carried, LabelsBuilder, Layout, LayoutBuilder, LayoutId, NEW_SERIES, Samples, Selection,
};

use super::rules::{LabelRules, Verdict};
use crate::encode::Insertion;

/// How the labels of a run are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `write_relabel_configs` dropped these.
    Dropped,
    /// The layout's own pairs, with the insertions of this shape.
    Shape(u16),
    /// The pairs of the plan's own layout: those of the run's first series are at this index.
    Own(u32),
}

/// In [`Plan::numbering`]: the series is not taken.
pub(super) const NOT_TAKEN: u32 = u32::MAX;

/// Neighbouring series that are treated alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) series: Range<u32>,
    pub(super) form: Form,
    /// Not taken while the queue fills up.
    pub(super) best_effort: bool,
}

/// The decisions for one layout.
#[derive(Debug)]
pub(super) struct Plan {
    layout: LayoutId,
    /// By which it was made: a new one (after a reload) makes a new plan.
    selection: Selection,
    runs: Box<[Run]>,
    /// Shape 0 inserts nothing.
    shapes: Vec<Box<[Insertion]>>,
    own: Option<Arc<Layout>>,
}

/// A plan under construction.
struct Builder<'r> {
    rules: &'r LabelRules,
    runs: Vec<Run>,
    shapes: Vec<Box<[Insertion]>>,
    own: Option<LayoutBuilder<'r>>,
    scratch: LabelsBuilder,
    insertions: Vec<Insertion>,
}

// === impl Run ===

impl Run {
    /// Where the pairs of series `at` are in the plan's own layout, if this is such a run.
    pub(super) fn own_index(&self, at: usize) -> Option<usize> {
        match self.form {
            Form::Own(first) => Some(first as usize + at - self.series.start as usize),
            Form::Dropped | Form::Shape(_) => None,
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Whether the plan is for this layout and selection.
    pub(super) fn is_for(&self, layout: LayoutId, selection: &Selection) -> bool {
        self.layout == layout && same_selection(&self.selection, selection)
    }

    /// Decides for every selected series of `samples`; what `before` decided for series that were
    /// carried over is taken from there.
    pub(super) fn make(
        samples: &Samples,
        selection: &Selection,
        rules: &LabelRules,
        before: Option<&Plan>,
    ) -> Plan {
        let carried = samples.carried.as_ref();
        let known = match (before, carried) {
            (Some(before), Some(carried)) if before.layout == carried.from && rules.relabels() => {
                Some(Known::new(before, carried))
            }
            _ => None,
        };
        let layout = &samples.layout;
        let mut builder = Builder::new(rules);
        for range in selection.ranges(layout.len()) {
            if rules.is_empty() {
                let series = range.start as u32..range.end as u32;
                builder.append(Run { series, form: Form::Shape(0), best_effort: false });
                continue;
            }
            for at in range {
                builder.decide(layout, at, known.as_ref());
            }
        }
        builder.build(layout.id(), selection.clone())
    }

    /// Whether the plan is for this layout.
    pub(super) fn is_of(&self, layout: LayoutId) -> bool {
        self.layout == layout
    }

    /// By series: how many series that are taken stand before it; [`NOT_TAKEN`] if it is not.
    pub(super) fn numbering(&self) -> Vec<u32> {
        let (mut numbers, mut next) = (Vec::new(), 0);
        for Run { series, form, .. } in &self.runs {
            numbers.resize(series.start as usize, NOT_TAKEN);
            if *form == Form::Dropped {
                numbers.resize(series.end as usize, NOT_TAKEN);
                continue;
            }
            let behind = next + (series.end - series.start);
            numbers.extend(next..behind);
            next = behind;
        }
        numbers
    }

    /// The runs, in the order of series.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The run in which series `at` is, if it is selected.
    pub(super) fn run_of(&self, at: u32) -> Option<&Run> {
        let next = self.runs.partition_point(|run| run.series.end <= at);
        self.runs.get(next).filter(|run| run.series.start <= at)
    }

    /// What a shape inserts.
    pub(super) fn shape(&self, shape: u16) -> &[Insertion] {
        &self.shapes[usize::from(shape)]
    }

    /// The labels that relabelling made.
    pub(super) fn own(&self) -> Option<&Arc<Layout>> {
        self.own.as_ref()
    }
}

fn same_selection(one: &Selection, other: &Selection) -> bool {
    match (one, other) {
        (Selection::All, Selection::All) | (Selection::None, Selection::None) => true,
        (Selection::Ranges(one), Selection::Ranges(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

/// What the plan before decided, by series of the new layout.
struct Known<'p> {
    plan: &'p Plan,
    index: &'p [u32],
}

impl<'p> Known<'p> {
    fn new(plan: &'p Plan, carried: &'p Carried) -> Known<'p> {
        Known { plan, index: &carried.index }
    }

    /// The decision for series `at`: `(form, index in the own layout before)`.
    fn find(&self, at: usize) -> Option<(Form, Option<usize>)> {
        let before = *self.index.get(at)?;
        if before == NEW_SERIES {
            return None;
        }
        let run = self.plan.run_of(before)?;
        Some((run.form, run.own_index(before as usize)))
    }
}

// === impl Builder ===

impl<'r> Builder<'r> {
    fn new(rules: &'r LabelRules) -> Builder<'r> {
        Builder {
            rules,
            runs: Vec::new(),
            shapes: vec![Box::default()],
            own: None,
            scratch: LabelsBuilder::default(),
            insertions: Vec::new(),
        }
    }

    fn decide(&mut self, layout: &'r Layout, at: usize, known: Option<&Known<'_>>) {
        let form = match known.and_then(|known| Some((known, known.find(at)?))) {
            Some((_, (Form::Dropped, _))) => Form::Dropped,
            Some((known, (Form::Own(_), Some(index)))) => {
                let before = known.plan.own.as_ref().expect("a run of own labels has a layout");
                self.push_own(layout, |own| own.push_from(before, index, layout.family(at)))
            }
            Some(_) => self.shape_of(layout, at),
            None => self.judge(layout, at),
        };
        let best_effort = self.rules.is_best_effort(layout, at);
        self.append(Run { series: at as u32..at as u32 + 1, form, best_effort });
    }

    /// Asks the rules.
    fn judge(&mut self, layout: &'r Layout, at: usize) -> Form {
        match self.rules.apply(layout, at, &mut self.scratch) {
            Verdict::Dropped => Form::Dropped,
            Verdict::Unchanged => self.shape_of(layout, at),
            Verdict::Changed => {
                let labels = std::mem::take(&mut self.scratch);
                let form = self.push_own(layout, |own| own.push(labels.iter(), layout.family(at)));
                self.scratch = labels;
                form
            }
        }
    }

    fn push_own(&mut self, layout: &'r Layout, push: impl FnOnce(&mut LayoutBuilder<'r>)) -> Form {
        let own = self.own.get_or_insert_with(|| LayoutBuilder::new(layout.symbols()));
        let index = own.len() as u32;
        push(own);
        Form::Own(index)
    }

    /// The shape of the insertions that the series needs.
    fn shape_of(&mut self, layout: &Layout, at: usize) -> Form {
        self.rules.insertions(layout, at, &mut self.insertions);
        let known = self.shapes.iter().rposition(|shape| **shape == *self.insertions);
        let shape = known.unwrap_or_else(|| {
            self.shapes.push(self.insertions.as_slice().into());
            self.shapes.len() - 1
        });
        Form::Shape(u16::try_from(shape).expect("fewer shapes than label positions"))
    }

    fn append(&mut self, run: Run) {
        let series = &run.series;
        if let Some(last) = self.runs.last_mut() {
            let follows = match (last.form, run.form) {
                (Form::Own(first), Form::Own(next)) => {
                    first + (series.start - last.series.start) == next
                }
                (last, next) => last == next,
            };
            let alike = last.best_effort == run.best_effort;
            if follows && alike && last.series.end == series.start {
                last.series.end = series.end;
                return;
            }
        }
        self.runs.push(run);
    }

    fn build(self, layout: LayoutId, selection: Selection) -> Plan {
        let Builder { runs, shapes, own, .. } = self;
        let own = own.map(LayoutBuilder::build);
        Plan { layout, selection, runs: runs.into(), shapes, own }
    }
}
