//! How many objects of a kind have which values: counts by some of its fields.
//!
//! Made once by looking at every object, then kept by looking at each event.

use std::collections::BTreeMap;

use super::KindStore;
use crate::event_log::Event;
use crate::kind::FieldId;
use crate::object::Object;
use crate::value::Value;

/// Summaries that are kept per kind. Each costs a comparison per event.
const SUMMARIES_MAX: usize = 8;

/// Counts by the values of some fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    fields: Box<[FieldId]>,
    counts: BTreeMap<Box<[Value]>, usize>,
}

// === impl KindStore ===

impl KindStore {
    /// The counts by these fields, kept from now on: in the place of those asked for longest ago,
    /// if there are many.
    pub(super) fn summary(&mut self, fields: &[FieldId]) -> Summary {
        let known = self.summaries.iter().position(|summary| *summary.fields == *fields);
        let summary = match known {
            Some(at) => self.summaries.remove(at),
            None => Summary::of(fields, self.table.iter_after(None).map(|object| &**object)),
        };
        if self.summaries.len() >= SUMMARIES_MAX {
            self.summaries.remove(0);
        }
        self.summaries.push(summary.clone());
        summary
    }
}

// === impl Summary ===

impl Summary {
    /// Counts these objects by these fields.
    pub(crate) fn of<'o>(fields: &[FieldId], objects: impl Iterator<Item = &'o Object>) -> Summary {
        let mut summary = Summary { fields: fields.into(), counts: BTreeMap::new() };
        for object in objects {
            let values = summary.values(object);
            *summary.counts.entry(values).or_default() += 1;
        }
        summary
    }

    /// The values that occur, in order, each with the number of objects that have them.
    pub(crate) fn counts(&self) -> impl ExactSizeIterator<Item = (&[Value], usize)> {
        self.counts.iter().map(|(values, count)| (&**values, *count))
    }

    /// Takes an event into account. Whether a count has changed.
    pub(crate) fn apply(&mut self, event: &Event) -> bool {
        let [was, is] = [&event.old, &event.new]
            .map(|object| object.as_ref().map(|object| self.values(object)));
        if was == is {
            return false;
        }
        if let Some(values) = was
            && let Some(count) = self.counts.get_mut(&values)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&values);
            }
        }
        if let Some(values) = is {
            *self.counts.entry(values).or_default() += 1;
        }
        true
    }

    fn values(&self, object: &Object) -> Box<[Value]> {
        self.fields.iter().map(|field| object.value(*field).clone()).collect()
    }
}
