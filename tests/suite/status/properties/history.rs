//! What happened, as somebody tells who saw everything; and what others must have seen of it.

use std::collections::BTreeMap;

use testkit::Event;

/// One object, as one event has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) load: i64,
}

/// Every event, by version.
#[derive(Debug)]
pub(super) struct History {
    /// `(version, kind, object)`
    events: Vec<(u64, String, Change)>,
}

/// Events as words: version, kind, name.
pub(super) fn words(events: &[Event]) -> Vec<String> {
    let told = events.iter().filter(|event| event.kind != "BOOKMARK");
    told.map(|event| format!("{} {} {}", event.version(), event.kind, event.name())).collect()
}

// === impl History ===

impl History {
    /// Takes the events of a watch on everything, and sees to it that each says something new.
    pub(super) fn of(events: &[Event]) -> History {
        let mut known: BTreeMap<String, Change> = BTreeMap::new();
        let mut last = 0;
        let mut history = History { events: Vec::new() };
        for event in events {
            assert!(event.version() > last, "versions grow: {last} then {event:?}");
            last = event.version();
            let change = Change {
                name: event.name().to_owned(),
                state: event.field("state").as_str().unwrap_or_default().to_owned(),
                load: event.field("load").as_f64().unwrap_or(-1.0) as i64,
            };
            match event.kind.as_str() {
                "ADDED" => assert!(known.insert(change.name.clone(), change.clone()).is_none()),
                "MODIFIED" => {
                    let before = known.insert(change.name.clone(), change.clone());
                    assert_ne!(before.as_ref(), Some(&change), "an event that says nothing");
                    assert!(before.is_some(), "{event:?}");
                }
                "DELETED" => assert_eq!(known.remove(&change.name), Some(change.clone())),
                _ => panic!("{event:?}"),
            }
            history.events.push((last, event.kind.clone(), change));
        }
        history
    }

    /// Number of events.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// As [`words`] has them.
    pub(super) fn words(&self) -> Vec<String> {
        let word =
            |(version, kind, it): &(u64, String, Change)| format!("{version} {kind} {}", it.name);
        self.events.iter().map(word).collect()
    }

    /// Whose event this is. A write that changed nothing is answered with the version before.
    pub(super) fn name_at(&self, version: u64) -> Option<&str> {
        let at = self.events.binary_search_by_key(&version, |(version, ..)| *version).ok()?;
        Some(&self.events[at].2.name)
    }

    /// Names and states of what there was at a version.
    pub(super) fn objects_at(&self, version: u64) -> BTreeMap<String, String> {
        let mut objects = BTreeMap::new();
        for (_, kind, it) in self.events.iter().take_while(|(at, ..)| *at <= version) {
            match kind.as_str() {
                "DELETED" => objects.remove(&it.name),
                _ => objects.insert(it.name.clone(), it.state.clone()),
            };
        }
        objects
    }

    /// What a watch with this condition must have seen: edges, and of the changes between them
    /// those that are told.
    pub(super) fn seen_by(
        &self,
        holds: impl Fn(&Change) -> bool,
        tells: impl Fn(&Change, &Change) -> bool,
    ) -> Vec<String> {
        let mut known: BTreeMap<&str, &Change> = BTreeMap::new();
        let mut seen = Vec::new();
        for (version, kind, it) in &self.events {
            let old = known.get(it.name.as_str()).copied();
            let was = old.is_some_and(&holds);
            let is = kind != "DELETED" && holds(it);
            let edge = match (was, is) {
                (false, true) => Some("ADDED"),
                (true, true) => old.is_none_or(|old| tells(old, it)).then_some("MODIFIED"),
                (true, false) => Some("DELETED"),
                (false, false) => None,
            };
            seen.extend(edge.map(|edge| format!("{version} {edge} {}", it.name)));
            match kind.as_str() {
                "DELETED" => known.remove(it.name.as_str()),
                _ => known.insert(&it.name, it),
            };
        }
        seen
    }
}
