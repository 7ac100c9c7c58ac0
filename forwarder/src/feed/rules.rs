//! What a destination does to labels: adds the external ones that are missing, then relabels.

use model::{Labels, LabelsBuilder, Layout, Rule, SeriesSelector, relabel};

use crate::encode::{AddedLabel, Insertion, Pairs};

/// External labels, `write_relabel_configs`, and which series are of best effort.
#[derive(Debug, Clone)]
pub(super) struct LabelRules {
    external: Box<[AddedLabel]>,
    relabel: Box<[Rule]>,
    best_effort: Vec<SeriesSelector>,
}

/// What the rules say of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not to be sent.
    Dropped,
    /// Sent with its own labels and the external ones that it lacks.
    Unchanged,
    /// Sent with the labels in the builder.
    Changed,
}

// === impl LabelRules ===

impl LabelRules {
    pub(super) fn new(
        external: &Labels,
        relabel: &[Rule],
        best_effort: Vec<SeriesSelector>,
    ) -> LabelRules {
        LabelRules { external: AddedLabel::all(external), relabel: relabel.into(), best_effort }
    }

    /// Whether every series goes out as it is.
    pub(super) fn is_empty(&self) -> bool {
        self.external.is_empty() && self.relabel.is_empty() && self.best_effort.is_empty()
    }

    /// Whether series `at`, by its own labels, may be left out under pressure.
    pub(super) fn is_best_effort(&self, layout: &Layout, at: usize) -> bool {
        if self.best_effort.is_empty() {
            return false;
        }
        let pairs = layout.symbols().read();
        let mut selectors = self.best_effort.iter();
        selectors.any(|selector| selector.is_match(|name| layout.label(at, name, &pairs)))
    }

    /// Whether there are relabel rules.
    pub(super) fn relabels(&self) -> bool {
        !self.relabel.is_empty()
    }

    /// The external labels, sorted by name.
    pub(super) fn external(&self) -> &[AddedLabel] {
        &self.external
    }

    /// Which external labels series `at` lacks, and where they go.
    pub(super) fn insertions(&self, layout: &Layout, at: usize, found: &mut Vec<Insertion>) {
        found.clear();
        if self.external.is_empty() {
            return;
        }
        let table = layout.symbols().read();
        let pairs: Pairs = layout.pairs(at).collect();
        for (label, external) in self.external.iter().enumerate() {
            let before = pairs.partition_point(|id| table.name(*id) < &*external.name);
            let present = pairs.get(before).is_some_and(|id| table.name(*id) == &*external.name);
            if !present {
                let (before, label) = (before as u16, label as u16);
                found.push(Insertion { before, label });
            }
        }
    }

    /// Relabels series `at`, external labels merged in; a changed label set is left in `labels`.
    pub(super) fn apply(&self, layout: &Layout, at: usize, labels: &mut LabelsBuilder) -> Verdict {
        if self.relabel.is_empty() {
            return Verdict::Unchanged;
        }
        labels.clear();
        {
            let table = layout.symbols().read();
            for id in layout.pairs(at) {
                let (name, value) = table.get(id);
                labels.set(name, value);
            }
        }
        for external in &self.external {
            if labels.get(&external.name).is_empty() {
                labels.set(&*external.name, &*external.value);
            }
        }
        let before = labels.clone();
        if !relabel(&self.relabel, labels) || labels.is_empty() {
            return Verdict::Dropped;
        }
        if *labels == before { Verdict::Unchanged } else { Verdict::Changed }
    }
}
