//! Where a listener stands in its group, and where the group's listeners sit.
//!
//! A seat has a waker while its listener waits, and only then may somebody else move it on: the
//! pass of its group, which writes to the listener's connection itself (`pass.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use kit::Outlet;

use crate::event_log::Place;
use crate::object::ResourceVersion;

/// One listener, as its group knows it.
#[derive(Debug)]
pub(super) struct Seat {
    /// The connection, if the group may write to it.
    pub(super) outlet: Option<Arc<Outlet>>,
    /// A lock, because both the listener and the pass of its group move it on. The innermost one.
    standing: Mutex<Standing>,
}

/// How far a listener is.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// Every event before this has been handed out, or is not for its view.
    pub(super) place: Place,
    /// Version of the event before that.
    pub(super) version: ResourceVersion,
    /// There while it waits.
    pub(super) waker: Option<Waker>,
}

/// The seats of a group, by ticket. A ticket is a listener's for as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: Vec<Option<Arc<Seat>>>,
    free: Vec<usize>,
}

// === impl Seat ===

impl Seat {
    pub(super) fn new(
        place: Place,
        version: ResourceVersion,
        outlet: Option<Arc<Outlet>>,
    ) -> Arc<Seat> {
        let standing = Mutex::new(Standing { place, version, waker: None });
        Arc::new(Seat { outlet, standing })
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listener no longer waits; it has to look for itself.
    pub(super) fn wake(&self) {
        let waker = self.standing().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

// === impl Seats ===

impl Seats {
    /// Takes a seat; its ticket.
    pub(super) fn enter(&mut self, seat: Arc<Seat>) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            self.seats.len() - 1
        });
        self.seats[at] = Some(seat);
        at
    }

    /// Gives the ticket back.
    pub(super) fn leave(&mut self, ticket: usize) {
        self.seats[ticket] = None;
        self.free.push(ticket);
    }

    /// Tickets are below this.
    pub(super) fn n_tickets(&self) -> usize {
        self.seats.len()
    }

    /// Appends the seats of some tickets from `first` on to `out`. False, if there are none
    /// after them.
    pub(super) fn some(&self, first: usize, most: usize, out: &mut Vec<Arc<Seat>>) -> bool {
        let last = first.saturating_add(most).min(self.seats.len());
        let some = self.seats.get(first..last).unwrap_or_default();
        out.extend(some.iter().flatten().map(Arc::clone));
        last < self.seats.len()
    }
}
