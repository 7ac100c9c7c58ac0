//! What a destination in memory leaves to the one that takes its place in a reload.
//!
//! Nothing on disk leads from one to the other: blocks go from hand to hand, and stay booked as
//! queued on their way. Who takes them up sends them before anything that came since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Destination;
use super::backlog::{Set, send_part};
use crate::queue::Inherited;

/// Blocks on their way from one destination to the next. A lock, because they are in different
/// tasks; held to move the list.
#[derive(Debug, Default)]
pub(crate) struct Estate(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// Nobody comes after.
    #[default]
    NoHeir,
    /// Somebody waits for the end.
    Awaited,
    Left(Vec<Inherited>),
}

// === impl Estate ===

impl Estate {
    /// Somebody takes up what is left.
    pub(super) fn await_it(&self) {
        *self.state() = State::Awaited;
    }

    /// Leaves this to whoever awaits it; nothing is asked for if nobody does.
    pub(super) fn leave(&self, blocks: impl FnOnce() -> Vec<Inherited>) {
        let mut state = self.state();
        if matches!(*state, State::Awaited) {
            *state = State::Left(blocks());
        }
    }

    /// What is left. Nothing more will be taken up.
    pub(super) fn take(&self) -> Vec<Inherited> {
        match std::mem::take(&mut *self.state()) {
            State::Left(blocks) => blocks,
            State::NoHeir | State::Awaited => Vec::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what `before` has left when it has ended, and then tells `sent`.
pub(super) async fn send(
    destination: Arc<Destination>,
    before: Arc<Destination>,
    sent: CancellationToken,
) {
    tokio::select! {
        () = before.ended.cancelled() => {}
        () = destination.abandoned.cancelled() => {}
    }
    // Nobody else books what there is, so it is taken up in any case.
    let blocks = before.estate.take();
    let mut outlets = BTreeMap::new();
    for block in &blocks {
        let outlet = || destination.outlet(&destination.queue, block.origin);
        outlets.entry(block.origin).or_insert_with(outlet);
    }
    destination.queue.inherit(blocks.into_iter().map(|block| (outlets[&block.origin].lane, block)));
    let mut sets: BTreeMap<u32, Set> = BTreeMap::new();
    for (origin, outlet) in outlets {
        sets.entry(origin.set)
            .or_insert_with(|| Set::of_this_process(origin.set))
            .outlets
            .push(outlet);
    }
    let sets: Vec<Set> = sets.into_values().collect();
    send_part(&destination, &sets, 0).await;
    sent.cancel();
}
