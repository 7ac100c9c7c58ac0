//! The end of a target that is scraped no more: its series end too, in due time.
//!
//! Two intervals and a tenth are left for the target to come back. What a loop with the same
//! labels has scraped since then goes on: Prometheus' storage refuses a stale marker that is older
//! than a sample, and here nobody downstream has to.

use std::collections::HashSet;

use kit::Shutdown;
use model::{ABSENT, Layout, PairId, Role, Samples};
use smallvec::SmallVec;

use super::{Observation, ScrapeLoop};

impl ScrapeLoop {
    /// Waits until the target's series may be ended, and ends them; not if the process stops.
    pub(super) async fn end_series(&mut self, shutdown: &Shutdown) {
        if self.memory.last.is_none() {
            return;
        }
        tokio::select! {
            () = shutdown.requested() => return,
            () = self.turns.next() => {}
        }
        let stale_ms = self.context.clock.unix_ms();
        let late = self.assignment.target.interval / 10;
        tokio::select! {
            () = shutdown.requested() => return,
            () = async { self.turns.next().await; tokio::time::sleep(late).await } => {}
        }
        let successor = self.context.sources.other(&self.assignment.target.labels, &self.status);
        let since = successor.map(|status| status.observation());
        let since = since.filter(|seen| seen.last_scrape_ms.is_some_and(|ms| ms >= stale_ms));
        self.send_end(stale_ms, |samples| {
            if let Some(seen) = since {
                leave_out(samples, &seen);
            }
        });
    }
}

/// Takes the stale markers of series that are still scraped out of `samples`.
fn leave_out(samples: &mut [Samples], seen: &Observation) {
    for samples in samples {
        match (samples.role, &seen.layout) {
            (Role::Report, _) => samples.values.fill(ABSENT),
            (Role::Page, Some(layout)) => leave_out_series(samples, layout),
            (Role::Page, None) => {}
        }
    }
}

fn leave_out_series(samples: &mut Samples, living: &Layout) {
    let ids = |layout: &Layout, at| -> SmallVec<[PairId; 16]> { layout.pairs(at).collect() };
    let living: HashSet<_> = (0..living.len()).map(|at| ids(living, at)).collect();
    for (at, value) in samples.values.iter_mut().enumerate() {
        if living.contains(&ids(&samples.layout, at)) {
            *value = ABSENT;
        }
    }
    samples
        .stamped
        .retain(|stamped| !living.contains(&ids(&samples.layout, stamped.series as usize)));
}
