//! Discovery by asking again and again: the loop that all polled mechanisms share.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use kit::Chain;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::{Found, Group, Tools};

/// Something that can be asked for all groups there are.
pub(super) trait Refresh: Send {
    /// Why it has no answer.
    type Error: Error + Send + 'static;

    /// All groups there are now.
    fn refresh(&mut self) -> impl Future<Output = Result<Vec<Group>, Self::Error>> + Send;
}

/// Asks at once and then every `interval`. An error keeps what was known, is counted, and logged
/// when it begins and when it ends.
pub(super) async fn poll(
    mut source: impl Refresh,
    interval: Duration,
    found: Arc<Found>,
    tools: Tools,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let started = tools.clock.now();
        let answer = source.refresh().await;
        let took = tools.clock.now().since(started);
        tools.metrics.refreshed(&tools.label, took, answer.is_err());
        let (mechanism, job) = (tools.label.mechanism, &tools.label.config);
        match answer {
            Ok(groups) => {
                if failing {
                    info!(mechanism, %job, "discovery answers again");
                }
                failing = false;
                found.replace(groups);
            }
            Err(error) => {
                if !failing {
                    warn!(mechanism, %job, error = %Chain(&error), "discovery failed");
                }
                failing = true;
                found.failed();
            }
        }
    }
}
