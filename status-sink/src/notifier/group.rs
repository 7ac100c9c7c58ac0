//! Listeners with equal views: events are looked at and written once for all of them.
//!
//! What was written last is kept in blocks, as long as it is little; a listener that is further
//! behind, or that started in the middle of a block, looks at the events itself.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::waiting::Waiting;
use super::{End, Step, View, Watcher};
use crate::event_log::{Event, EventLog, Place};
use crate::object::ResourceVersion;

/// Events that are looked at in one go: what one listener waits for the sake of the others.
const BLOCK_EVENTS_MAX: usize = 256;

/// Bytes of blocks kept per group. A listener that is further behind writes for itself.
const BLOCKS_BYTES_MAX: usize = 512 * 1024;

/// Listeners with equal views.
pub(super) struct Group {
    view: Arc<dyn View>,
    is_pinned: bool,
    state: Mutex<GroupState>,
    /// Places of events that a pinned view must look at. A lock of its own, because events are
    /// published while listeners are polled.
    expected: Mutex<Expected>,
    waiting: Mutex<Waiting>,
    /// Somebody is about to wake the group.
    woken: AtomicBool,
}

/// Events that a pinned group keeps in mind while nobody of it reads.
const EXPECTED_MAX: usize = 16 * 1024;

#[derive(Debug)]
struct GroupState {
    /// Events before this place have been looked at.
    place: Place,
    /// What the view wrote for the events from this place up to `place` is in `blocks`.
    kept_from: Place,
    /// In the order of places; what is between them was not for the view.
    blocks: VecDeque<Block>,
    blocks_bytes: usize,
    scratch: Vec<u8>,
}

/// Events that a pinned view must look at, though it has not yet.
#[derive(Debug, Default)]
struct Expected {
    places: VecDeque<Place>,
    /// Events up to this place were too many to keep in mind.
    lost: Option<Place>,
}

/// What the view wrote for some events.
#[derive(Debug, Clone)]
struct Block {
    /// The first event for which it wrote something.
    first: Place,
    /// Just behind the last event that it looked at.
    to: Place,
    /// Version of the event before `to`.
    version: ResourceVersion,
    bytes: Bytes,
}

/// Events that a group has to look at.
struct Work {
    events: Vec<(Place, Arc<Event>)>,
    /// Where it stands after that.
    to: Place,
    version: ResourceVersion,
}

/// What there is for a listener that stands somewhere before its group.
enum Kept {
    /// This.
    Block(Block),
    /// Nothing up to where the group stands.
    Nothing,
    /// It must look at the events up to here itself.
    Unknown(Place),
}

// === impl Group ===

impl Group {
    /// Nobody listens yet; events from `place` on will be looked at.
    pub(super) fn new(view: Arc<dyn View>, place: Place, is_pinned: bool) -> Group {
        let (blocks, blocks_bytes, scratch) = Default::default();
        let state = GroupState { place, kept_from: place, blocks, blocks_bytes, scratch };
        let (expected, waiting, woken) = Default::default();
        Group { view, is_pinned, state: Mutex::new(state), expected, waiting, woken }
    }

    /// See [`View::identity`].
    pub(super) fn identity(&self) -> &str {
        self.view.identity()
    }

    /// A pinned view must look at the event at `place`.
    pub(super) fn expect(&self, place: Place) {
        let mut expected = lock(&self.expected);
        if expected.places.back() == Some(&place) {
            return;
        }
        if expected.places.len() >= EXPECTED_MAX {
            expected.lost = expected.places.pop_front();
        }
        expected.places.push_back(place);
    }

    /// Whether nobody else is about to wake the group.
    pub(super) fn mark_woken(&self) -> bool {
        !self.woken.swap(true, Ordering::AcqRel)
    }

    /// Wakes everyone who waits.
    pub(super) fn wake(&self) {
        self.woken.store(false, Ordering::Release);
        let wakers = self.waiting().take();
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// What `watcher`, a listener of this group, gets next.
    pub(super) fn poll(&self, watcher: &mut Watcher, cx: &mut Context<'_>) -> Poll<Step> {
        let hub = Arc::clone(&watcher.hub);
        let mut state = lock(&self.state);
        loop {
            if watcher.place >= state.place {
                let log = hub.lock();
                if let Some(work) = self.next_work(&mut state, &log.log) {
                    drop(log);
                    self.look(&mut state, work);
                    continue;
                }
                watcher.place = watcher.place.max(state.place);
                watcher.version = log.log.head();
                return match log.end {
                    Some(End::Clean) => Poll::Ready(Step::Ended),
                    Some(End::Gone) => Poll::Ready(Step::Gone),
                    None => {
                        // Under the log's lock: an event after this finds the waker.
                        self.waiting().wait(&mut watcher.ticket, cx.waker());
                        Poll::Pending
                    }
                };
            }
            match state.kept_for(watcher.place) {
                Kept::Block(block) => {
                    (watcher.place, watcher.version) = (block.to, block.version);
                    return Poll::Ready(Step::Frames(block.bytes));
                }
                Kept::Nothing => watcher.place = state.place,
                Kept::Unknown(upto) => {
                    drop(state);
                    if let Some(step) = self.catch_up(watcher, upto, &hub) {
                        return Poll::Ready(step);
                    }
                    state = lock(&self.state);
                }
            }
        }
    }

    /// The next events that the group has not looked at.
    fn next_work(&self, state: &mut GroupState, log: &EventLog) -> Option<Work> {
        if self.is_pinned {
            return self.next_expected(state, log);
        }
        if state.place >= log.end() {
            return None;
        }
        let oldest = log.first();
        if state.place < oldest {
            state.forget_before(oldest);
        }
        let events = log.range(state.place, BLOCK_EVENTS_MAX).ok()?;
        let version = events.last()?.version;
        let to = Place(state.place.0 + events.len() as u64);
        let events = (state.place.0..).map(Place).zip(events).collect();
        Some(Work { events, to, version })
    }

    /// The next events that a pinned view must look at; everything else is skipped.
    fn next_expected(&self, state: &mut GroupState, log: &EventLog) -> Option<Work> {
        let mut expected = lock(&self.expected);
        if let Some(lost) = expected.lost.take() {
            state.forget_before(Place(lost.0 + 1));
        }
        let mut events = Vec::new();
        while events.len() < BLOCK_EVENTS_MAX
            && let Some(place) = expected.places.pop_front()
        {
            match log.get(place) {
                Ok(Some(event)) if place >= state.place => events.push((place, Arc::clone(event))),
                Ok(_) => {}
                Err(_) => state.forget_before(Place(place.0 + 1)),
            }
        }
        let Some((last, event)) = events.last() else {
            state.place = log.end();
            return None;
        };
        let (to, version) = match expected.places.is_empty() {
            true => (log.end(), log.head()),
            false => (Place(last.0 + 1), event.version),
        };
        Some(Work { to, version, events })
    }

    /// Writes what the events mean for the view, and keeps it for all.
    fn look(&self, state: &mut GroupState, work: Work) {
        let GroupState { scratch, .. } = state;
        scratch.clear();
        let mut first = None;
        for (place, event) in &work.events {
            self.view.write(event, scratch);
            if first.is_none() && !scratch.is_empty() {
                first = Some(*place);
            }
        }
        state.place = work.to;
        if let Some(first) = first {
            let bytes = Bytes::copy_from_slice(scratch);
            state.keep(Block { first, to: work.to, version: work.version, bytes });
        }
    }

    /// A listener that no block fits looks at the events up to `upto` itself, some at a time.
    fn catch_up(&self, watcher: &mut Watcher, upto: Place, hub: &super::Hub) -> Option<Step> {
        let most = usize::try_from(upto.0 - watcher.place.0).unwrap_or(usize::MAX);
        let events = hub.lock().log.range(watcher.place, most.min(BLOCK_EVENTS_MAX));
        let Ok(events) = events else { return Some(Step::Gone) };
        let mut bytes = Vec::new();
        for event in &events {
            self.view.write(event, &mut bytes);
            watcher.version = event.version;
        }
        watcher.place.0 += events.len() as u64;
        (!bytes.is_empty()).then(|| Step::Frames(bytes.into()))
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.view.identity()).finish()
    }
}

// === impl GroupState ===

impl GroupState {
    /// What is kept for a listener at a place before `self.place`.
    fn kept_for(&self, place: Place) -> Kept {
        if place < self.kept_from {
            return Kept::Unknown(self.kept_from);
        }
        let at = self.blocks.partition_point(|block| block.to <= place);
        match self.blocks.get(at) {
            None => Kept::Nothing,
            Some(block) if place <= block.first => Kept::Block(block.clone()),
            Some(block) => Kept::Unknown(block.to),
        }
    }

    fn keep(&mut self, block: Block) {
        self.blocks_bytes += block.bytes.len();
        self.blocks.push_back(block);
        while self.blocks_bytes > BLOCKS_BYTES_MAX && self.blocks.len() > 1 {
            let Some(oldest) = self.blocks.pop_front() else { return };
            self.blocks_bytes -= oldest.bytes.len();
            self.kept_from = oldest.to;
        }
    }

    /// Nothing is known of the events before `place`.
    fn forget_before(&mut self, place: Place) {
        self.blocks.clear();
        self.blocks_bytes = 0;
        self.place = self.place.max(place);
        self.kept_from = self.place;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
