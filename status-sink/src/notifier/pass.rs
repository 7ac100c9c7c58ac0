//! One pass over the listeners of a group: what the group has written for the newest events goes
//! out on each connection, in one write, without a task for each of them.
//!
//! A listener whose connection does not take it at once is woken, and goes on by itself as if
//! there were no passes: through the HTTP layer, which waits until there is room.
//! When events come faster than passes should, they are collected: a pass has all that came since
//! the one before.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use kit::Offer;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Hub;
use super::group::{Delivery, Group};
use super::seat::Seat;

/// Listeners that are written to in one go; then others get their turn: half a millisecond.
const TURN_SEATS: usize = 128;

/// Passes that may follow each other at once after a time of rest.
const BURST_PASSES: u32 = 16;

/// Between two passes when the burst is over. A pass costs a write a listener, whatever is in it.
const PASS_EVERY: Duration = Duration::from_millis(1);

/// A crowd of so many listeners is served by one more thread, if there is one.
const CROWD_SEATS: usize = 256;

/// A pass under way.
#[derive(Debug)]
struct Pass {
    group: Arc<Group>,
    delivery: Delivery,
    /// First ticket that nobody serves yet.
    next: AtomicUsize,
}

/// When passes may begin: at once, but for no more than one in [`PASS_EVERY`] over a longer time.
#[derive(Debug)]
struct Pace {
    left: u32,
    since: Instant,
}

/// Passes over the group whenever `notify` says so, until nobody is in it.
pub(super) async fn run(group: Weak<Group>, hub: Arc<Hub>, notify: Arc<Notify>) {
    let mut pace = Pace { left: BURST_PASSES, since: Instant::now() };
    let mut seats = Vec::with_capacity(TURN_SEATS);
    loop {
        notify.notified().await;
        pace.wait().await;
        let Some(group) = group.upgrade() else { return };
        pass(group, &hub, &mut seats).await;
    }
}

async fn pass(group: Arc<Group>, hub: &Hub, seats: &mut Vec<Arc<Seat>>) {
    let Some(delivery) = group.deliver(hub) else { return group.wake_all() };
    let n_seats = group.seats().n_tickets();
    let pass = Arc::new(Pass { group, delivery, next: AtomicUsize::new(0) });
    let runtime = Handle::current();
    let n_others = (n_seats / CROWD_SEATS).min(runtime.metrics().num_workers() - 1);
    let others: Vec<_> = (0..n_others)
        .map(|_| {
            let pass = Arc::clone(&pass);
            runtime.spawn(async move { pass.serve_all(&mut Vec::with_capacity(TURN_SEATS)).await })
        })
        .collect();
    pass.serve_all(seats).await;
    for other in others {
        // A panic of one of them was logged; its listeners hear with the next event.
        let _ended = other.await;
    }
}

impl Pass {
    /// Serves seats that nobody else of this pass serves, until there are no more.
    async fn serve_all(&self, seats: &mut Vec<Arc<Seat>>) {
        loop {
            let first = self.next.fetch_add(TURN_SEATS, Ordering::Relaxed);
            let is_more = self.group.seats().some(first, TURN_SEATS, seats);
            for seat in seats.drain(..) {
                serve(&seat, &self.delivery);
            }
            if !is_more {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Moves a listener that waits to the end of the delivery.
fn serve(seat: &Seat, delivery: &Delivery) {
    let mut standing = seat.standing();
    if standing.waker.is_none() || standing.place >= delivery.to {
        return;
    }
    let blocks = delivery.after(standing.place);
    let mut is_done = blocks.is_some();
    for block in blocks.unwrap_or_default() {
        let offer = match &seat.outlet {
            Some(outlet) => outlet.offer(&block.chunk),
            None => Offer::Refused,
        };
        if offer != Offer::Refused {
            (standing.place, standing.version) = (block.to, block.version);
        }
        is_done &= offer == Offer::Taken;
        if !is_done {
            break;
        }
    }
    if is_done {
        (standing.place, standing.version) = (delivery.to, delivery.version);
    } else if let Some(waker) = standing.waker.take() {
        drop(standing);
        waker.wake();
    }
}

// === impl Pace ===

impl Pace {
    async fn wait(&mut self) {
        let rested = self.since.elapsed().as_micros() / PASS_EVERY.as_micros();
        let rested = u32::try_from(rested).unwrap_or(BURST_PASSES).min(BURST_PASSES);
        if rested > 0 {
            self.left = (self.left + rested).min(BURST_PASSES);
            self.since = Instant::now();
        }
        if self.left == 0 {
            tokio::time::sleep_until(self.since + PASS_EVERY).await;
            self.since = Instant::now();
            return;
        }
        self.left -= 1;
    }
}
