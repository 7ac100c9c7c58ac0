//! Which loop scrapes which label set now, so that a loop that ends knows who goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::Labels;

use super::Status;

/// The latest loop of each label set. As many entries as there are loops, at most.
#[derive(Default)]
pub(crate) struct Sources(Mutex<HashMap<Labels, Arc<Status>>>);

impl Sources {
    /// A loop begins.
    pub(super) fn enter(&self, labels: &Labels, status: &Arc<Status>) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.insert(labels.clone(), Arc::clone(status));
    }

    /// A loop is over.
    pub(super) fn leave(&self, labels: &Labels, status: &Arc<Status>) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.get(labels).is_some_and(|latest| Arc::ptr_eq(latest, status)) {
            sources.remove(labels);
        }
    }

    /// A later loop with the same labels as the one of `status`.
    pub(super) fn other(&self, labels: &Labels, status: &Arc<Status>) -> Option<Arc<Status>> {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.get(labels).filter(|latest| !Arc::ptr_eq(latest, status)).cloned()
    }
}
