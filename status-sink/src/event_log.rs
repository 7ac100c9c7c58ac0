//! The last events of one kind, for listeners that were away a moment.
//!
//! Invariant: versions grow by every event; the newest is `head`. A version that this log has not
//! made itself is *gone*, whatever its size: it is from before a restart or of another process.
//! Not here: time. Events are forgotten by count, never by age.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::object::{Object, ResourceVersion};

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Event {
    /// Unique, and greater than that of every event before.
    pub(crate) version: ResourceVersion,
    /// The object before; none if it is new.
    pub(crate) old: Option<Arc<Object>>,
    /// The object after, at `version`; none if it was deleted.
    pub(crate) new: Option<Arc<Object>>,
    /// Who caused it.
    pub(crate) cause: Cause,
    /// When it happened, in milliseconds since the epoch.
    pub(crate) unix_ms: i64,
}

/// Who caused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// What a reporter printed, or no longer printed.
    Scrape,
    /// A request.
    Api,
    /// The change of a related object.
    Relation,
    /// Time: a `ttl`, a reporter that stayed silent.
    Time,
    /// A reload of the configuration.
    Reload,
}

/// The place of an event in the life of its log, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Place(pub(crate) u64);

/// The events of one kind.
#[derive(Debug)]
pub(crate) struct EventLog {
    events: VecDeque<Arc<Event>>,
    /// Place of `events[0]`.
    first: u64,
    /// Version just before `events[0]`.
    forgotten: ResourceVersion,
    head: ResourceVersion,
    events_max: usize,
}

/// Events after the asked version may be missing here: list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the version is older than the events that are kept, or of another process")]
pub(crate) struct Gone;

// === impl Cause ===

impl Cause {
    /// Every cause.
    pub(crate) const ALL: [Cause; 5] =
        [Cause::Scrape, Cause::Api, Cause::Relation, Cause::Time, Cause::Reload];

    /// The word for it in events.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Cause::Scrape => "scrape",
            Cause::Api => "api",
            Cause::Relation => "relation",
            Cause::Time => "time",
            Cause::Reload => "reload",
        }
    }
}

// === impl EventLog ===

impl EventLog {
    /// No events; `start` is the version of the state so far.
    pub(crate) fn new(start: ResourceVersion, events_max: usize) -> EventLog {
        EventLog { events: VecDeque::new(), first: 0, forgotten: start, head: start, events_max }
    }

    /// Version of the newest event.
    pub(crate) fn head(&self) -> ResourceVersion {
        self.head
    }

    /// Place of the next event.
    pub(crate) fn end(&self) -> Place {
        Place(self.first + self.events.len() as u64)
    }

    /// Place of the oldest event that is held.
    pub(crate) fn first(&self) -> Place {
        Place(self.first)
    }

    /// Number of events that are held.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Appends an event; its version must be greater than `head`.
    pub(crate) fn push(&mut self, event: Arc<Event>) {
        assert!(event.version > self.head, "versions grow by every event");
        self.head = event.version;
        self.events.push_back(event);
        self.shrink();
    }

    /// The state before the first event is that of `version`. Only while there are no events.
    pub(crate) fn start_at(&mut self, version: ResourceVersion) {
        assert!(self.events.is_empty() && version >= self.head, "the log has not started");
        (self.forgotten, self.head) = (version, version);
    }

    /// Keeps so many events from now on.
    pub(crate) fn set_events_max(&mut self, events_max: usize) {
        self.events_max = events_max;
        self.shrink();
    }

    /// The place of the first event after `version`, or [`Gone`] if one may be missing here.
    pub(crate) fn since(&self, version: ResourceVersion) -> Result<Place, Gone> {
        if version == self.forgotten {
            return Ok(Place(self.first));
        }
        let at = self.events.binary_search_by_key(&version, |event| event.version);
        at.map(|at| Place(self.first + at as u64 + 1)).map_err(|_| Gone)
    }

    /// The event at a place; [`Gone`] if it is forgotten.
    pub(crate) fn get(&self, place: Place) -> Result<Option<&Arc<Event>>, Gone> {
        let at = place.0.checked_sub(self.first).ok_or(Gone)?;
        Ok(self.events.get(usize::try_from(at).map_err(|_| Gone)?))
    }

    /// The events from a place on, `most` at most.
    pub(crate) fn range(&self, from: Place, most: usize) -> Result<Vec<Arc<Event>>, Gone> {
        let at = from.0.checked_sub(self.first).ok_or(Gone)?;
        let at = usize::try_from(at).map_err(|_| Gone)?.min(self.events.len());
        let to = at.saturating_add(most).min(self.events.len());
        Ok(self.events.range(at..to).map(Arc::clone).collect())
    }

    fn shrink(&mut self) {
        while self.events.len() > self.events_max {
            let Some(oldest) = self.events.pop_front() else { return };
            self.forgotten = oldest.version;
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(version: u64) -> Arc<Event> {
        let version = ResourceVersion(version);
        Arc::new(Event { version, old: None, new: None, cause: Cause::Api, unix_ms: 0 })
    }

    fn log(start: u64, events_max: usize, versions: &[u64]) -> EventLog {
        let mut log = EventLog::new(ResourceVersion(start), events_max);
        versions.iter().for_each(|version| log.push(event(*version)));
        log
    }

    /// The versions after `version`, or nothing if it is gone.
    #[track_caller]
    fn check(log: &EventLog, version: u64, want: Option<&[u64]>) {
        let events = log.since(ResourceVersion(version)).and_then(|place| log.range(place, 99));
        let got = events.map(|events| events.iter().map(|e| e.version.0).collect::<Vec<_>>());
        assert_eq!(got.ok().as_deref(), want, "since {version}");
    }

    #[test]
    fn a_version_of_this_log_gets_every_event_after_it() {
        let log = log(100, 9, &[110, 120, 130]);
        check(&log, 100, Some(&[110, 120, 130]));
        check(&log, 110, Some(&[120, 130]));
        check(&log, 130, Some(&[]));
    }

    #[test]
    fn a_version_of_anyone_else_is_gone() {
        let log = log(100, 9, &[110, 120]);
        for version in [0, 99, 105, 111, 121, u64::MAX] {
            check(&log, version, None);
        }
    }

    #[test]
    fn what_is_forgotten_is_gone_and_the_last_forgotten_one_is_not() {
        let log = log(100, 2, &[110, 120, 130, 140]);
        check(&log, 110, None);
        check(&log, 120, Some(&[130, 140]));
        assert_eq!(log.range(Place(0), 9).unwrap_err(), Gone);
        assert_eq!(log.end(), Place(4));
        assert_eq!(log.get(Place(2)).unwrap().unwrap().version.0, 130);
        assert!(log.get(Place(4)).unwrap().is_none());
    }

    #[test]
    fn a_smaller_limit_forgets_at_once() {
        let mut log = log(100, 9, &[110, 120, 130]);
        log.set_events_max(1);
        check(&log, 110, None);
        check(&log, 120, Some(&[130]));
    }
}
