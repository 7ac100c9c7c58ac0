//! What one batch says about one object, and what the store makes of it.

use model::{Moment, PairTable};
use smallvec::SmallVec;

use super::block::{Block, Said, Word};
use super::roster::{Reported, Roster};
use super::rules::Rules;
use crate::config::parse_value;
use crate::event_log::Cause;
use crate::kind::{FieldId, Kind, Origin, Read};
use crate::object::{FRESH, LabelSet};
use crate::store::{Change, Claim, ConditionChange, KindNo, Now, Slot, SourceNo, State, Verdict};
use crate::value::{Text, Texts, Value};

/// What one batch says about one object.
#[derive(Debug)]
pub(super) struct Report {
    /// Its number in the roster.
    pub(super) object: u32,
    /// Fields and what a series says; none, if no series says anything any more.
    words: SmallVec<[(FieldId, Option<Said>); 4]>,
    /// Series whose labels say something: empty, unless everything is said.
    labels_of: SmallVec<[u32; 2]>,
}

/// Who says something, and what is needed to understand it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker<'r> {
    pub(super) source: SourceNo,
    /// When the request was sent.
    pub(super) sent: Moment,
    pub(super) rules: &'r Rules,
    pub(super) block: &'r Block,
    /// What the source's other side lists.
    pub(super) other: &'r Roster,
}

/// Puts together what there is to say: `words`, and everything about the objects in `unsettled`.
pub(super) fn gather(
    block: &Block,
    roster: &Roster,
    unsettled: &[u32],
    words: &mut Vec<Word>,
    rules: &Rules,
) -> Vec<Report> {
    let mut whole = vec![false; if unsettled.is_empty() { 0 } else { roster.len() }];
    for object in unsettled {
        whole[*object as usize] = roster.get(*object).is_some_and(|it| it.is_listed);
    }
    if !unsettled.is_empty() {
        // Words about ends stay: nothing else tells that a field is no longer said.
        words.retain(|word| word.said.is_none() || !whole[word.object as usize]);
        words.extend(block.recall(&whole));
    }
    // Objects that others mirror come first, so that those are told once.
    words.sort_by_key(|word| (!rules.is_mirrored(word.of.kind), word.object));
    let mut reports: Vec<Report> = Vec::new();
    for word in words.iter() {
        let report = match reports.last_mut() {
            Some(last) if last.object == word.object => last,
            _ => {
                let (words, labels_of) = Default::default();
                reports.push(Report { object: word.object, words, labels_of });
                reports.last_mut().expect("it was just pushed")
            }
        };
        report.add(word, block);
    }
    if !unsettled.is_empty() {
        add_labels(&mut reports, block, &whole);
    }
    reports
}

/// The series of each whole object; an object without a word is there for its labels alone.
fn add_labels(reports: &mut Vec<Report>, block: &Block, whole: &[bool]) {
    let mut place = vec![None; whole.len()];
    for (at, report) in reports.iter().enumerate() {
        place[report.object as usize] = Some(at);
    }
    for (object, series) in block.series_of(whole) {
        let at = *place[object as usize].get_or_insert_with(|| {
            let (words, labels_of) = Default::default();
            reports.push(Report { object, words, labels_of });
            reports.len() - 1
        });
        reports[at].labels_of.push(series);
    }
}

// === impl Report ===

impl Report {
    /// Of several words about a field, one that says something counts, and of those the last.
    fn add(&mut self, word: &Word, block: &Block) {
        let is_end = match word.said {
            Some(said) => word.of.is_from_label && said.value == 0.0,
            None => true,
        };
        let said = if is_end { None } else { word.said };
        match self.words.iter_mut().find(|(field, _)| *field == word.of.field) {
            Some((_, known)) if said.is_some() => *known = said,
            Some(_) => {}
            None => {
                let said = said.or_else(|| block.still_said(word.object, word.of));
                self.words.push((word.of.field, said));
            }
        }
    }
}

// === impl State ===

impl State {
    /// Takes what a source says about an object. False, if some of it has to be said again.
    pub(super) fn report(
        &mut self,
        now: Now,
        speaker: &Speaker<'_>,
        reported: &mut Reported,
        report: &Report,
    ) -> bool {
        let (no, is_whole) = (reported.kind, !report.labels_of.is_empty());
        let (rules, block) = (speaker.rules, speaker.block);
        let (Some(kind), Some(layout)) = (rules.kind(no), block.layout()) else { return true };
        let known = reported.found(self);
        let slot = known.or_else(|| self.kind(no)?.table.find(reported.key.as_str()));
        if known.is_none() && !is_whole {
            return false;
        }
        let symbols = layout.symbols().read();
        let reading = Words { kind, layout, table: &symbols };
        let mut change = Change::new(Cause::Scrape);
        for (field, said) in &report.words {
            let value =
                said.map_or(Value::Null, |said| reading.value(*field, said, &mut self.texts));
            change.fields.push((*field, value));
        }
        if is_whole {
            // A label that the other side's series may have is not missing.
            let is_all = !speaker.other.lists(no, &reported.key);
            reading.add_labels(&report.labels_of, is_all, &mut change, &mut self.texts);
            change.conditions.extend(fresh(kind, now));
        }
        drop(symbols);
        let Some(slot) = slot else { return self.report_new(now, speaker, reported, change) };
        let settled = self.report_known(now, speaker, reported, slot, change);
        reported.slot = Some(slot);
        reported.epoch = self.kind(no).map_or(0, |store| store.book(slot).epoch);
        settled
    }

    fn report_new(
        &mut self,
        now: Now,
        speaker: &Speaker<'_>,
        reported: &mut Reported,
        change: Change,
    ) -> bool {
        let no = reported.kind;
        if self.tombstones.is_buried(speaker.sent, no, &reported.key) {
            return false;
        }
        let Some(slot) = self.create(now, no, reported.key.clone(), change) else {
            self.refuse_object();
            return false;
        };
        self.claim(no, slot, Claim { since: reported.since, source: speaker.source });
        reported.slot = Some(slot);
        reported.epoch = self.kind(no).map_or(0, |store| store.book(slot).epoch);
        true
    }

    fn report_known(
        &mut self,
        now: Now,
        speaker: &Speaker<'_>,
        reported: &Reported,
        slot: Slot,
        mut change: Change,
    ) -> bool {
        let (Speaker { source, sent, .. }, no) = (*speaker, reported.kind);
        let Some(store) = self.kind(no) else { return true };
        if store.book(slot).book.claim_of(source).is_none() {
            self.claim(no, slot, Claim { since: reported.since, source });
        }
        let Some(store) = self.kind(no) else { return true };
        let book = std::sync::Arc::clone(&store.book(slot).book);
        let (mut settled, mut said) = (true, SmallVec::<[(FieldId, bool); 4]>::new());
        change.fields.retain(|(field, value)| match book.may_say(source, sent, *field) {
            Verdict::Yes => {
                if book.would_change(source, *field, value.is_null()) {
                    said.push((*field, value.is_null()));
                }
                true
            }
            Verdict::Later => {
                settled = false;
                false
            }
            Verdict::No => false,
        });
        let is_whole = change.labels.is_some();
        if is_whole && book.is_newest(source) {
            // What a reporter said that is gone, and this one does not say, nobody says.
            let orphans = book.orphans().iter().filter(|id| store.kind.field(*id).is_reported());
            let said_now = |id: &FieldId| change.fields.iter().any(|(known, _)| known == id);
            let lost: SmallVec<[FieldId; 4]> = orphans.filter(|id| !said_now(id)).collect();
            change.fields.extend(lost.into_iter().map(|id| (id, Value::Null)));
        }
        if !book.is_newest(source) {
            change.labels = None;
        } else if let Some(labels) = &mut change.labels
            && let Some(object) = store.table.at(slot)
        {
            *labels = merged(&object.labels, labels);
        }
        let settles = is_whole && book.is_unsettled();
        if settles || !said.is_empty() {
            self.edit_book(no, slot, |book| {
                said.iter().for_each(|(field, is_null)| book.scraped(source, *field, *is_null));
                if settles {
                    book.settle();
                }
            });
        }
        let gave_up = said.iter().any(|(_, is_null)| *is_null);
        let changed = self.update(now, no, slot, change).is_some();
        if (changed || gave_up) && book.claims().len() > 1 {
            self.disturb_others(no, slot, source);
        }
        settled
    }

    /// A source lists an object that it did not list before.
    fn claim(&mut self, no: KindNo, slot: Slot, claim: Claim) {
        let object =
            self.kind(no).and_then(|store| store.table.at(slot)).map(std::sync::Arc::clone);
        let Some(object) = object else { return };
        let known = object.fields.iter().map(|value| !value.is_null());
        self.edit_book(no, slot, |book| book.add_claim(claim, known));
    }

    /// The other reporters of an object must say all they know of it.
    pub(super) fn disturb_others(&mut self, no: KindNo, slot: Slot, source: SourceNo) {
        let Some(store) = self.kind_mut(no) else { return };
        store.disturb(slot);
        let book = std::sync::Arc::clone(&store.book(slot).book);
        let others = book.claims().iter().filter(|claim| claim.source != source);
        others.for_each(|claim| self.sources.disturb(claim.source));
    }
}

/// What is needed to read what series say.
struct Words<'r> {
    kind: &'r Kind,
    layout: &'r model::Layout,
    table: &'r PairTable,
}

// === impl Words ===

impl Words<'_> {
    fn value(&self, field: FieldId, said: Said, texts: &mut Texts) -> Value {
        let Origin::Metric { read, .. } = &self.kind.field(field).origin else {
            return Value::Null;
        };
        match read {
            Read::Number => Value::number(said.value),
            Read::Bool if said.value.is_nan() => Value::Null,
            Read::Bool => Value::Bool(said.value != 0.0),
            Read::Map(map) => match map.iter().find(|(n, _)| *n == said.value) {
                Some((_, text)) => Value::Text(text.clone()),
                None => match Value::number(said.value) {
                    Value::Null => Value::Null,
                    number => Value::Text(texts.share(&number.plain())),
                },
            },
            Read::FromLabel(label) => {
                match self.layout.label(said.series as usize, label, self.table) {
                    Some(text) => Value::Text(texts.share(text)),
                    None => Value::Null,
                }
            }
        }
    }

    /// What the labels of an object's series say: fields, and labels of the object.
    /// A label that is missing says nothing, unless these are all series of the object.
    fn add_labels(&self, series: &[u32], is_all: bool, change: &mut Change, texts: &mut Texts) {
        let first = |name: &str| {
            series.iter().find_map(|at| self.layout.label(*at as usize, name, self.table))
        };
        for (id, field) in self.kind.fields() {
            if let Origin::Label(label) = &field.origin {
                let value = first(label).and_then(|text| match field.kind {
                    crate::value::ValueType::Text => Some(Value::Text(texts.share(text))),
                    kind => parse_value(text, kind),
                });
                if value.is_some() || is_all {
                    change.fields.push((id, value.unwrap_or_default()));
                }
            }
        }
        let mut made: Vec<(Text, Text)> = Vec::with_capacity(self.kind.labels.len());
        let mut text = String::new();
        for (name, template) in &self.kind.labels {
            text.clear();
            if template.fill(first, &mut text) {
                made.push((name.clone(), texts.share(&text)));
            }
        }
        change.labels = Some(made.into_iter().collect());
    }
}

/// The labels of an object, overlaid by those that its series make.
fn merged(old: &LabelSet, made: &LabelSet) -> LabelSet {
    if old == made || made.is_empty() {
        return old.clone();
    }
    let labels =
        [old, made].into_iter().flat_map(|labels| labels.0.iter().flat_map(|it| it.iter()));
    labels.cloned().collect()
}

/// The condition of an object whose reporter has just answered.
pub(super) fn fresh(kind: &Kind, now: Now) -> Option<ConditionChange> {
    kind.stale_after?;
    let condition = super::time::freshness(true, "Reported", "", now);
    Some(ConditionChange { name: Text::from(FRESH), now: Some(condition) })
}
