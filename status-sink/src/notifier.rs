//! Tells listeners what happened to the objects of one kind.
//!
//! A listener holds a place in the event log and a [`View`]: which events it wants, and how they
//! are written. Listeners with equal views form a group: an event is looked at and written once
//! for all of them, and they send the same bytes. Whoever is polled first does that work.
//!
//! A listener whose connection can be written to directly, and that waits, is not polled at all:
//! the group writes to it (`notifier/pass.rs`).
//!
//! Invariants: a listener gets every event of its view after its version, in order and once, or
//! is told that it is [`Step::Gone`]. A listener that is slow costs the others nothing: it holds
//! a number; when the log has forgotten that place, it is gone.
//! Lock order: group state, then log, then a group's seats, then one seat. The store's lock is
//! never taken here.

mod group;
mod pass;
mod seat;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hashbrown::HashMap;
use kit::Outlet;
use rapidhash::fast::RandomState;

use self::group::Group;
use self::seat::{Seat, Standing};
use crate::event_log::{Event, EventLog, Gone, Place};
use crate::kind::FieldId;
use crate::object::{Key, ResourceVersion};
use crate::value::Value;

/// Which events a listener wants, and what it gets for each.
pub(crate) trait View: Send + Sync + 'static {
    /// Says everything that makes this view different from others of the kind: listeners whose
    /// views say the same share their bytes.
    fn identity(&self) -> &str;

    /// Appends what a listener gets for `event`: nothing, if it is not for this view.
    fn write(&self, event: &Event, out: &mut Vec<u8>);

    /// What an event must have to be for this view, if that can be said beforehand: its old or
    /// its new object has one of these. None: the view must see every event.
    fn pins(&self) -> Option<Vec<Pin>> {
        None
    }
}

/// What an object has, so that events find the views that may want them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Pin {
    /// This name and namespace.
    Key(Key),
    /// This namespace.
    Namespace(Box<str>),
    /// This value of a field.
    Field(FieldId, Value),
}

/// The events of one kind, and who waits for them.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<HubState>,
    /// Open listeners of all kinds; each counts here while it lives.
    listeners: Arc<Listeners>,
}

/// How many listeners there are, of all kinds, and how many there may be.
#[derive(Debug)]
pub(crate) struct Listeners {
    open: AtomicUsize,
    max: AtomicUsize,
    /// Listeners that were told gone, so far.
    gone: AtomicUsize,
}

#[derive(Debug)]
struct HubState {
    log: EventLog,
    end: Option<End>,
    groups: HashMap<Box<str>, Weak<Group>, RandomState>,
    /// Groups that must see every event.
    unpinned: Vec<Weak<Group>>,
    pinned: HashMap<Pin, Vec<Weak<Group>>, RandomState>,
    /// Fields that some pin names.
    pinned_fields: Vec<FieldId>,
}

/// Why no further events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The kind is no longer there, or the process stops: a clean end.
    Clean,
    /// The kind has other fields now: list again.
    Gone,
}

/// What a listener gets next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// What the view wrote for the next events.
    Frames(Bytes),
    /// Events were missed: the listener must list again. Nothing follows.
    Gone,
    /// Nothing more will happen. Nothing follows.
    Ended,
}

/// Why a listener cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WatchError {
    /// Events after the version may be missing.
    #[error("the version is gone")]
    Gone(#[source] Gone),
    /// As many listeners as the configuration allows.
    #[error("there are {max} listeners already")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The kind is no longer there, or the process stops.
    #[error("the kind is no longer there")]
    Ended,
}

/// One listener. Dropped, it is forgotten.
#[derive(Debug)]
pub(crate) struct Watcher {
    hub: Arc<Hub>,
    group: Arc<Group>,
    /// While it does not wait: as [`Standing`].
    place: Place,
    version: ResourceVersion,
    /// What the group knows of it.
    seat: Arc<Seat>,
    /// Of its seat, once it has waited.
    ticket: Option<usize>,
}

/// Listeners that must be woken; kept until locks are released.
#[derive(Debug, Default)]
pub(crate) struct Woken(Vec<Arc<Group>>);

// === impl Hub ===

impl Hub {
    /// A kind without events; `start` is its version so far.
    pub(crate) fn new(
        start: ResourceVersion,
        events_max: usize,
        listeners: Arc<Listeners>,
    ) -> Arc<Hub> {
        let state = HubState {
            log: EventLog::new(start, events_max),
            end: None,
            groups: HashMap::default(),
            unpinned: Vec::new(),
            pinned: HashMap::default(),
            pinned_fields: Vec::new(),
        };
        Arc::new(Hub { state: Mutex::new(state), listeners })
    }

    /// Appends an event; those who wait for it are added to `woken`.
    pub(crate) fn publish(&self, event: Event, woken: &mut Woken) {
        let mut state = self.lock();
        let event = Arc::new(event);
        let place = state.log.end();
        state.log.push(Arc::clone(&event));
        state.for_each_group(&event, |group, is_pinned| {
            if is_pinned {
                group.expect(place);
            }
            woken.add(group);
        });
    }

    /// Starts listening after `version`.
    ///
    /// # Errors
    /// [`WatchError`]
    pub(crate) fn watch(
        self: &Arc<Hub>,
        version: ResourceVersion,
        view: Arc<dyn View>,
    ) -> Result<Watcher, WatchError> {
        let mut state = self.lock();
        match state.end {
            Some(End::Clean) => return Err(WatchError::Ended),
            Some(End::Gone) => return Err(WatchError::Gone(Gone)),
            None => {}
        }
        let place = state.log.since(version).map_err(WatchError::Gone)?;
        self.listeners.enter()?;
        let group = state.group_of(view);
        let seat = Seat::new(place, version, None);
        Ok(Watcher { hub: Arc::clone(self), group, place, version, seat, ticket: None })
    }

    /// Version of the newest event.
    pub(crate) fn head(&self) -> ResourceVersion {
        self.lock().log.head()
    }

    /// The events after `version`, oldest first.
    ///
    /// # Errors
    /// [`Gone`] if one of them may be missing.
    pub(crate) fn events_since(&self, version: ResourceVersion) -> Result<Vec<Arc<Event>>, Gone> {
        let state = self.lock();
        let place = state.log.since(version)?;
        state.log.range(place, usize::MAX)
    }

    /// The state before the first event is that of `version`, which must be greater than the one
    /// the hub was made with. Only before anybody listens.
    pub(crate) fn start_at(&self, version: ResourceVersion) {
        let mut state = self.lock();
        state.log.start_at(version);
    }

    /// Keeps so many events from now on.
    pub(crate) fn set_events_max(&self, events_max: usize) {
        self.lock().log.set_events_max(events_max);
    }

    /// Events that are held.
    pub(crate) fn n_events(&self) -> usize {
        self.lock().log.len()
    }

    /// No further events come: listeners get what they have not had yet, then the end.
    pub(crate) fn end(&self, end: End) {
        let mut groups = Vec::new();
        {
            let mut state = self.lock();
            state.end.get_or_insert(end);
            groups.extend(state.groups.values().filter_map(Weak::upgrade));
        }
        groups.iter().for_each(|group| group.wake_all());
    }

    fn lock(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl HubState ===

impl HubState {
    /// The group of this view, a new one if nobody has such a view.
    fn group_of(&mut self, view: Arc<dyn View>) -> Arc<Group> {
        if let Some(group) = self.groups.get(view.identity()).and_then(Weak::upgrade) {
            return group;
        }
        self.sweep();
        let pins = view.pins();
        let group = Arc::new(Group::new(view, self.log.end(), pins.is_some()));
        let weak = Arc::downgrade(&group);
        match pins {
            None => self.unpinned.push(weak.clone()),
            Some(pins) => {
                for pin in pins {
                    if let Pin::Field(field, _) = &pin
                        && !self.pinned_fields.contains(field)
                    {
                        self.pinned_fields.push(*field);
                    }
                    self.pinned.entry(pin).or_default().push(weak.clone());
                }
            }
        }
        self.groups.insert(group.identity().into(), weak);
        group
    }

    /// Forgets groups that nobody is in. Rare: when there are twice as many as the last time.
    fn sweep(&mut self) {
        if self.groups.len() < self.groups.capacity() {
            return;
        }
        let lives = |group: &Weak<Group>| group.strong_count() > 0;
        self.groups.retain(|_, group| lives(group));
        self.unpinned.retain(lives);
        self.pinned.retain(|_, groups| {
            groups.retain(lives);
            !groups.is_empty()
        });
    }

    /// Calls `each(group, is pinned)` for every group that must look at the event; for a pinned
    /// one perhaps twice.
    fn for_each_group(&self, event: &Event, mut each: impl FnMut(&Arc<Group>, bool)) {
        for group in self.unpinned.iter().filter_map(Weak::upgrade) {
            each(&group, false);
        }
        if self.pinned.is_empty() {
            return;
        }
        let mut pinned = |pin: &Pin| {
            let groups = self.pinned.get(pin).into_iter().flatten();
            groups.filter_map(Weak::upgrade).for_each(|group| each(&group, true));
        };
        let objects = [event.old.as_ref(), event.new.as_ref()];
        if let Some(object) = objects.into_iter().flatten().next() {
            pinned(&Pin::Key(object.key.clone()));
            if !object.namespace().is_empty() {
                pinned(&Pin::Namespace(object.namespace().into()));
            }
        }
        for field in &self.pinned_fields {
            let [old, new] = objects.map(|object| object.map(|object| object.value(*field)));
            for value in [old, new.filter(|new| Some(*new) != old)].into_iter().flatten() {
                pinned(&Pin::Field(*field, value.clone()));
            }
        }
    }
}

// === impl Listeners ===

impl Listeners {
    /// Nobody listens; `max` may.
    pub(crate) fn new(max: usize) -> Arc<Listeners> {
        let (open, gone) = Default::default();
        Arc::new(Listeners { open, max: AtomicUsize::new(max), gone })
    }

    /// How many there are.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were told gone, so far.
    pub(crate) fn gone(&self) -> usize {
        self.gone.load(Ordering::Relaxed)
    }

    /// Lets in so many from now on.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    fn enter(&self) -> Result<(), WatchError> {
        let max = self.max.load(Ordering::Relaxed);
        if self.open.fetch_add(1, Ordering::Relaxed) >= max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(WatchError::TooMany { max });
        }
        Ok(())
    }
}

// === impl Watcher ===

impl Watcher {
    /// Lets its group write to the connection that its frames go to, as chunks of HTTP/1.1, while
    /// it waits. Before it has waited, and on a tokio runtime.
    pub(crate) fn plug_in(&mut self, outlet: Arc<Outlet>) {
        self.seat = Seat::new(self.place, self.version, Some(outlet));
    }

    /// The next step. Once it is [`Step::Gone`] or [`Step::Ended`], do not ask again.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if let Some(outlet) = &self.seat.outlet {
            outlet.hold();
        }
        let group = Arc::clone(&self.group);
        let step = group.poll(self, cx);
        if step == Poll::Ready(Step::Gone) {
            self.hub.listeners.gone.fetch_add(1, Ordering::Relaxed);
        }
        step
    }

    /// As [`Watcher::poll_next`]. Cancelled, nothing is lost.
    pub(crate) async fn next(&mut self) -> Step {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Every event up to this version has been handed out, or is not for this view.
    pub(crate) fn version(&self) -> ResourceVersion {
        self.version
    }

    /// It no longer waits: from where the group has brought it, it goes on by itself.
    fn stand_up(&mut self) {
        let mut standing = self.seat.standing();
        standing.waker = None;
        if standing.place >= self.place {
            (self.place, self.version) = (standing.place, standing.version);
        }
    }

    /// It waits, and `waker` tells it to go on.
    fn sit_down(&mut self, waker: &Waker) {
        let (place, version, waker) = (self.place, self.version, Some(waker.clone()));
        *self.seat.standing() = Standing { place, version, waker };
        if self.ticket.is_none() {
            self.ticket = Some(self.group.enter(&self.hub, Arc::clone(&self.seat)));
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // A pass under way may still hold the seat: nothing may follow what ends the body.
        self.stand_up();
        if let Some(ticket) = self.ticket {
            self.group.seats().leave(ticket);
        }
        self.hub.listeners.open.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Woken ===

impl Woken {
    fn add(&mut self, group: &Arc<Group>) {
        let known = self.0.last().is_some_and(|last| Arc::ptr_eq(last, group));
        if !known && group.mark_woken() {
            self.0.push(Arc::clone(group));
        }
    }

    /// Wakes them. Call it without a lock.
    pub(crate) fn wake(&mut self) {
        for group in self.0.drain(..) {
            group.wake();
        }
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        self.wake();
    }
}
