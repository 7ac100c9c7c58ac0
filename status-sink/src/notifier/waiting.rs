//! The listeners of a group that wait for the next event.

use std::task::Waker;

/// Wakers by ticket. A ticket is a listener's for as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    n_waiting: usize,
}

// === impl Waiting ===

impl Waiting {
    /// Waits with this waker; a listener that has no ticket gets one.
    pub(super) fn wait(&mut self, ticket: &mut Option<usize>, waker: &Waker) {
        let at = *ticket.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.wakers.push(None);
                self.wakers.len() - 1
            })
        });
        match &mut self.wakers[at] {
            Some(known) => known.clone_from(waker),
            place @ None => {
                *place = Some(waker.clone());
                self.n_waiting += 1;
            }
        }
    }

    /// Gives the ticket back.
    pub(super) fn leave(&mut self, ticket: usize) {
        if self.wakers[ticket].take().is_some() {
            self.n_waiting -= 1;
        }
        self.free.push(ticket);
    }

    /// Everyone who waits; nobody waits after that.
    pub(super) fn take(&mut self) -> Vec<Waker> {
        if self.n_waiting == 0 {
            return Vec::new();
        }
        self.n_waiting = 0;
        self.wakers.iter_mut().filter_map(Option::take).collect()
    }
}
