//! The shortest way through a snapshot to what a client asked for: by name, by index, through a
//! namespace, or through everything; always in the order of keys.

use std::sync::Arc;

use super::frames::Lens;
use crate::object::{Key, Object};
use crate::store::Snapshot;
use crate::value::Value;

/// Objects looked at in one go; then others get their turn.
const VISITS_MAX: usize = 8192;

/// Objects from whose size that of a list is guessed.
const SAMPLE_OBJECTS: usize = 64;

/// A way through the objects of a snapshot that a lens shows.
#[derive(Debug)]
pub(crate) struct Walk {
    snapshot: Snapshot,
    lens: Arc<Lens>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Through these, from this place on.
    Picked(Vec<Arc<Object>>, usize),
    /// Through all after this key; of a namespace, if the lens is on one.
    Scan(Option<Key>),
    /// Done.
    End,
}

// === impl Walk ===

impl Walk {
    /// Through what `lens` shows of `snapshot`, after a key.
    pub(crate) fn new(snapshot: Snapshot, lens: Arc<Lens>, after: Option<Key>) -> Walk {
        let way = match pick(&snapshot, &lens) {
            Some(mut objects) => {
                objects.retain(|object| lens.shows(object));
                let seen =
                    |object: &Arc<Object>| after.as_ref().is_some_and(|it| object.key <= *it);
                let first = objects.partition_point(seen);
                Way::Picked(objects, first)
            }
            None => Way::Scan(after),
        };
        Walk { snapshot, lens, way }
    }

    /// What it goes through.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What it looks through.
    pub(crate) fn lens(&self) -> &Arc<Lens> {
        &self.lens
    }

    /// Whether everything has been visited.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.way, Way::End)
    }

    /// Bytes of everything that may be visited, guessed from a few objects.
    pub(crate) fn estimated_bytes(&self) -> usize {
        let sample =
            self.snapshot.iter(None).take(SAMPLE_OBJECTS).map(|it| it.json(self.lens.kind()).len());
        let (bytes, n) = sample.fold((0, 0), |(bytes, n), len| (bytes + len, n + 1));
        let objects = match &self.way {
            Way::Picked(objects, _) => objects.len(),
            Way::Scan(_) | Way::End => self.snapshot.len(),
        };
        bytes / n.max(1) * objects
    }

    /// Visits some objects, until `visit` says that it has enough. There may be more after that
    /// even if it did not: long ways are gone in pieces.
    pub(crate) fn visit(&mut self, mut visit: impl FnMut(&Arc<Object>) -> bool) {
        match &mut self.way {
            Way::Picked(objects, next) => {
                while let Some(object) = objects.get(*next) {
                    *next += 1;
                    if !visit(object) {
                        return;
                    }
                }
                self.way = Way::End;
            }
            Way::Scan(after) => {
                let after = after.take();
                self.way = scan(&self.snapshot, &self.lens, after.as_ref(), visit);
            }
            Way::End => {}
        }
    }
}

/// Looks at the next objects after a key. Returns the way on.
fn scan(
    snapshot: &Snapshot,
    lens: &Lens,
    after: Option<&Key>,
    mut visit: impl FnMut(&Arc<Object>) -> bool,
) -> Way {
    let shows_all = lens.is_everything();
    let inside = lens.namespace().map(|namespace| snapshot.in_namespace(namespace, after));
    let all = inside.is_none().then(|| snapshot.iter(after));
    let objects = inside.into_iter().flatten().chain(all.into_iter().flatten());
    for (n, object) in objects.enumerate() {
        let more = !(shows_all || lens.shows(object)) || visit(object);
        if !more || n == VISITS_MAX {
            return Way::Scan(Some(object.key.clone()));
        }
    }
    Way::End
}

/// Few objects among which all are that the lens shows, if an index knows; in order.
fn pick(snapshot: &Snapshot, lens: &Lens) -> Option<Vec<Arc<Object>>> {
    if let Some(key) = lens.key() {
        return Some(snapshot.get(&key).cloned().into_iter().collect());
    }
    let selector = lens.selector();
    let fields = lens.kind().fields().filter_map(|(id, _)| {
        let values = selector.required(usize::from(id.0))?;
        let values: Vec<Value> = values.into_iter().map(Value::from).collect();
        let index = snapshot.index(id)?;
        let n_objects: usize = values.iter().map(|value| index.count(value)).sum();
        Some((n_objects, id, values))
    });
    if let Some((_, id, values)) = fields.min_by_key(|(n_objects, ..)| *n_objects) {
        return Some(in_order(values.iter().filter_map(|value| snapshot.with_field(id, value))));
    }
    lens.kind().labels.iter().find_map(|(name, _)| {
        let values = selector.required_labels(name.as_str())?;
        let texts = values.iter().filter_map(|value| value.text());
        let found: Option<Vec<_>> =
            texts.map(|value| snapshot.with_label(name.as_str(), value)).collect();
        Some(in_order(found?.into_iter()))
    })
}

fn in_order<'o>(found: impl Iterator<Item = Vec<&'o Arc<Object>>>) -> Vec<Arc<Object>> {
    let mut lists: Vec<Vec<&Arc<Object>>> = found.collect();
    let is_merged = lists.len() > 1;
    let mut objects: Vec<&Arc<Object>> = lists.pop().unwrap_or_default();
    objects.extend(lists.into_iter().flatten());
    if is_merged {
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        objects.dedup_by(|a, b| a.key == b.key);
    }
    objects.into_iter().cloned().collect()
}
