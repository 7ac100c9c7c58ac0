//! How a target is, for whoever asks: written by its loop, read by the API.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::Layout;

/// Whether a target answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// It has not been scraped yet.
    #[default]
    Unknown,
    /// The last scrape went well.
    Up,
    /// The last scrape failed.
    Down,
}

/// The state of one loop.
#[derive(Default)]
pub(crate) struct Status {
    /// A lock, because the API reads while the loop writes; held for a copy.
    seen: Mutex<Observation>,
    /// Set by the pool: why the target must not be asked.
    forced_error: Mutex<Option<Arc<str>>>,
}

/// What the last scrape said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    pub(crate) health: Health,
    pub(crate) last_error: Option<Arc<str>>,
    pub(crate) last_scrape_ms: Option<i64>,
    pub(crate) last_duration: Duration,
    /// Of the last good page.
    pub(crate) layout: Option<Arc<Layout>>,
}

// === impl Health ===

impl Health {
    /// Prometheus' word for it: `unknown`, `up`, `down`.
    pub fn name(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

// === impl Status ===

impl Status {
    pub(super) fn new() -> Arc<Status> {
        Arc::default()
    }

    pub(super) fn observe(&self, seen: Observation) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    pub(crate) fn observation(&self) -> Observation {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn force_error(&self, error: Option<Arc<str>>) {
        *self.forced_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(super) fn forced_error(&self) -> Option<Arc<str>> {
        self.forced_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
