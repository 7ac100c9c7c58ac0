//! Stopping in order: whoever holds a [`Shutdown`] learns that its part must end.
//!
//! One stopper per part, not one for all: the daemon stops the parts in the order of the data.

use tokio_util::sync::{CancellationToken, DropGuard};

/// Told when the part must stop. Clone freely.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

/// Tells a part to stop, at the latest when it is dropped.
#[derive(Debug)]
pub struct Stopper {
    token: CancellationToken,
    _stops_when_dropped: DropGuard,
}

impl Stopper {
    /// A stopper, and what it stops.
    pub fn new() -> (Stopper, Shutdown) {
        Stopper::of(CancellationToken::new())
    }

    /// Tells everyone who listens.
    pub fn stop(&self) {
        self.token.cancel();
    }

    fn of(token: CancellationToken) -> (Stopper, Shutdown) {
        let guard = token.clone().drop_guard();
        (Stopper { token: token.clone(), _stops_when_dropped: guard }, Shutdown(token))
    }
}

impl Shutdown {
    /// Returns when the part must stop.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// For what must stop with this, or earlier on its own.
    pub fn child(&self) -> (Stopper, Shutdown) {
        Stopper::of(self.0.child_token())
    }
}
