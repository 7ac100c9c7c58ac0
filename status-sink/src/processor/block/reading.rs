//! From a layout to a block: what was known is carried over, what is new is looked up.

use std::collections::HashSet;
use std::sync::Arc;

use model::{Moment, NEW_SERIES, PairTable, STALE_MARKER, Samples, Selection};
use rapidhash::fast::RandomState;

use super::{Block, UNSEEN, Word};
use crate::kind::KeyTemplate;
use crate::processor::roster::Roster;
use crate::processor::rules::{Rules, Use};

/// A layout that is being read.
pub(super) struct Reading<'r> {
    samples: &'r Samples,
    rules: &'r Rules,
    roster: &'r mut Roster,
    sent: Moment,
    before: &'r Block,
    block: Block,
    /// Series of the block before that are in this one too.
    kept: Vec<bool>,
    /// `(object, meaning)` that a series has; made when it is first needed.
    taken: Option<HashSet<(u32, u16), RandomState>>,
    path: String,
}

// === impl Reading ===

impl<'r> Reading<'r> {
    pub(super) fn new(
        samples: &'r Samples,
        selection: &Selection,
        before: &'r Block,
        rules: &'r Rules,
        roster: &'r mut Roster,
        sent: Moment,
    ) -> Reading<'r> {
        let block = Block {
            layout: Some(Arc::clone(&samples.layout)),
            selection: selection.clone(),
            uses: before.uses.clone(),
            ..Block::default()
        };
        let kept = vec![false; before.series.len()];
        let (taken, path) = Default::default();
        Reading { samples, rules, roster, sent, before, block, kept, taken, path }
    }

    /// Reads every chosen series. What is no longer said is added to `words`.
    pub(super) fn read(mut self, words: &mut Vec<Word>) -> Block {
        let layout = &self.samples.layout;
        let carried = self.samples.carried.as_ref();
        let carried = carried.filter(|carried| Some(carried.from) == self.before.layout_id());
        let is_same = self.before.layout_id() == Some(layout.id());
        let selection = self.block.selection.clone();
        let symbols = Arc::clone(layout.symbols());
        let table = symbols.read();
        for at in selection.ranges(layout.len()).flatten() {
            let was = match carried {
                Some(carried) => carried.index.get(at).copied().filter(|was| *was != NEW_SERIES),
                None => is_same.then_some(at as u32),
            };
            match was.filter(|was| self.before.selection.contains(*was as usize)) {
                Some(was) => self.carry(at as u32, was),
                None => self.bind(at, &table),
            }
        }
        drop(table);
        self.tell_lost(words);
        self.roster.forget_names();
        self.block.fresh.sort_unstable();
        self.block.fresh.dedup();
        self.block.series.shrink_to_fit();
        self.block.objects.shrink_to_fit();
        self.block.meanings.shrink_to_fit();
        self.block.last.shrink_to_fit();
        self.block
    }

    /// Series `at` was `was` before: it means the same, and said the same.
    fn carry(&mut self, at: u32, was: u32) {
        let first = self.before.series.partition_point(|series| *series < was);
        let same = self.before.series[first..].iter().take_while(|series| **series == was).count();
        for old in first..first + same {
            let (object, meaning) = (self.before.objects[old], self.before.meanings[old]);
            if !self.is_free(object, meaning) {
                continue;
            }
            self.kept[old] = true;
            self.push(at, object, meaning, self.before.last[old]);
        }
    }

    /// Looks up what a new series means.
    fn bind(&mut self, at: usize, table: &PairTable) {
        let layout = &self.samples.layout;
        let label = |name: &str| layout.label(at, name, table);
        let Some(metric) = label("__name__") else { return };
        for of in self.rules.uses(metric) {
            let Some(kind) = self.rules.kind(of.kind) else { continue };
            let Some(template) = &kind.key else { continue };
            self.path.clear();
            if !fill_key(template, label, &mut self.path) {
                self.block.n_unnamed += 1;
                continue;
            }
            let object = self.roster.number(of.kind, &self.path, self.sent);
            let meaning = self.meaning(*of);
            if self.is_free(object, meaning) {
                self.push(at as u32, object, meaning, UNSEEN);
                self.block.fresh.push(object);
            }
        }
    }

    fn push(&mut self, series: u32, object: u32, meaning: u16, last: f64) {
        let Block { series: all, objects, meanings, last: lasts, .. } = &mut self.block;
        all.push(series);
        objects.push(object);
        meanings.push(meaning);
        lasts.push(last);
    }

    fn meaning(&mut self, of: Use) -> u16 {
        let uses = &mut self.block.uses;
        let known = uses.iter().position(|known| *known == of);
        let at = known.unwrap_or_else(|| {
            uses.push(of);
            uses.len() - 1
        });
        at as u16
    }

    /// Whether no series read so far says the same; always, if several may.
    fn is_free(&mut self, object: u32, meaning: u16) -> bool {
        if self.block.uses[usize::from(meaning)].is_from_label {
            return true;
        }
        let Block { objects, meanings, .. } = &self.block;
        let taken = self
            .taken
            .get_or_insert_with(|| objects.iter().copied().zip(meanings.iter().copied()).collect());
        taken.insert((object, meaning))
    }

    /// Series that are no longer there, unless another one says the same now.
    fn tell_lost(&mut self, words: &mut Vec<Word>) {
        for at in 0..self.kept.len() {
            if self.kept[at] {
                continue;
            }
            let (object, meaning) = (self.before.objects[at], self.before.meanings[at]);
            let of = self.before.uses[usize::from(meaning)];
            let was_told = self.before.last[at].to_bits() == STALE_MARKER.to_bits();
            if !was_told && (of.is_from_label || self.is_free(object, meaning)) {
                words.push(Word { object, of, said: None });
            }
        }
    }
}

/// Appends `name` or `namespace/name`. False if a label is missing, or a part becomes too long.
fn fill_key<'l>(
    template: &KeyTemplate,
    label: impl Fn(&str) -> Option<&'l str>,
    path: &mut String,
) -> bool {
    if let Some(namespace) = &template.namespace {
        if !namespace.fill_name(&label, path) {
            return false;
        }
        path.push('/');
    }
    template.name.fill_name(&label, path)
}
