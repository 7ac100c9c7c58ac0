//! Listeners with equal views: events are looked at and written once for all of them.
//!
//! What was written last is kept in blocks, as long as it is little; a listener that is further
//! behind, or that started in the middle of a block, looks at the events itself.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::pass;
use super::seat::{Seat, Seats};
use super::{End, Hub, Step, View, Watcher};
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
    seats: Mutex<Seats>,
    /// Starts a pass over the seats; there once somebody has sat down whose connection the group
    /// may write to.
    passes: OnceLock<Arc<Notify>>,
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
    /// Events before this place have been brought to all who wait, or will be by a pass under way.
    delivered: Place,
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
pub(super) struct Block {
    /// The first event for which it wrote something.
    first: Place,
    /// Just behind the last event that it looked at.
    pub(super) to: Place,
    /// Version of the event before `to`.
    pub(super) version: ResourceVersion,
    bytes: Bytes,
    /// The same as a chunk of HTTP/1.1.
    pub(super) chunk: Bytes,
}

/// What one pass brings to the listeners that wait.
#[derive(Debug)]
pub(super) struct Delivery {
    /// It is whole for listeners at this place and after it.
    from: Place,
    /// In the order of places.
    blocks: Vec<Block>,
    /// Where a listener stands who has it all.
    pub(super) to: Place,
    /// Version of the event before `to`.
    pub(super) version: ResourceVersion,
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
        let (kept_from, delivered) = (place, place);
        let state = GroupState { place, kept_from, delivered, blocks, blocks_bytes, scratch };
        let (expected, seats, woken) = Default::default();
        let (state, passes) = (Mutex::new(state), OnceLock::new());
        Group { view, is_pinned, state, expected, seats, passes, woken }
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

    /// Sees to it that everyone who waits hears what has happened.
    pub(super) fn wake(&self) {
        self.woken.store(false, Ordering::Release);
        match self.passes.get() {
            Some(passes) => passes.notify_one(),
            None => self.wake_all(),
        }
    }

    /// Lets everyone who waits look for itself.
    pub(super) fn wake_all(&self) {
        let mut seats = Vec::new();
        self.seats().some(0, usize::MAX, &mut seats);
        seats.iter().for_each(|seat| seat.wake());
    }

    pub(super) fn seats(&self) -> MutexGuard<'_, Seats> {
        lock(&self.seats)
    }

    /// A listener joins. If the group may write to its connection, somebody is there to do so
    /// from now on; there must be a tokio runtime then.
    pub(super) fn enter(self: &Arc<Group>, hub: &Arc<Hub>, seat: Arc<Seat>) -> usize {
        if seat.outlet.is_some() {
            self.passes.get_or_init(|| {
                let notify = Arc::new(Notify::new());
                let group = Arc::downgrade(self);
                Handle::current().spawn(pass::run(group, Arc::clone(hub), Arc::clone(&notify)));
                notify
            });
        }
        self.seats().enter(seat)
    }

    /// Looks at all there is and returns what is new for listeners that wait. None if they have
    /// to look for themselves: there is too much of it, or nothing will follow.
    pub(super) fn deliver(&self, hub: &Hub) -> Option<Delivery> {
        let mut state = lock(&self.state);
        let version = loop {
            let log = hub.lock();
            if log.end.is_some() {
                return None;
            }
            match self.next_work(&mut state, &log.log) {
                Some(work) => {
                    drop(log);
                    self.look(&mut state, work);
                }
                None => break log.log.head(),
            }
        };
        let blocks = state.blocks.iter().skip(state.n_delivered()).cloned().collect();
        let from = state.delivered.max(state.kept_from);
        state.delivered = state.place;
        Some(Delivery { from, blocks, to: state.place, version })
    }

    /// What `watcher`, a listener of this group, gets next.
    pub(super) fn poll(&self, watcher: &mut Watcher, cx: &mut Context<'_>) -> Poll<Step> {
        let hub = Arc::clone(&watcher.hub);
        watcher.stand_up();
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
                        watcher.sit_down(cx.waker());
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
            let (chunk, bytes) = chunked(scratch);
            state.keep(Block { first, to: work.to, version: work.version, bytes, chunk });
        }
    }

    /// A listener that no block fits looks at the events up to `upto` itself, some at a time.
    fn catch_up(&self, watcher: &mut Watcher, upto: Place, hub: &Hub) -> Option<Step> {
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

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(passes) = self.passes.get() {
            // Whoever passes sees that there is nobody left.
            passes.notify_one();
        }
    }
}

// === impl Delivery ===

impl Delivery {
    /// The blocks for a listener at a place; none if it must look for itself.
    pub(super) fn after(&self, place: Place) -> Option<&[Block]> {
        let blocks = &self.blocks[self.blocks.partition_point(|block| block.to <= place)..];
        let starts_inside = blocks.first().is_some_and(|block| place > block.first);
        (place >= self.from && !starts_inside).then_some(blocks)
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

    /// How many of the blocks have been delivered.
    fn n_delivered(&self) -> usize {
        self.blocks.partition_point(|block| block.to <= self.delivered)
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

/// Bytes as a chunk of HTTP/1.1, and as they are: two views of the same.
fn chunked(bytes: &[u8]) -> (Bytes, Bytes) {
    let head = format!("{:x}\r\n", bytes.len());
    let chunk = Bytes::from([head.as_bytes(), bytes, b"\r\n"].concat());
    let plain = chunk.slice(head.len()..head.len() + bytes.len());
    (chunk, plain)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
