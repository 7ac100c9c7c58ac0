//! What is right in a file, but perhaps not what was meant.

use std::collections::BTreeSet;

use kit::config::Invalid;

use super::STATUS_DESTINATION;
use super::source::Sources;

/// The oldest sample that Prometheus' queries still look at by default.
const LOOKBACK_MS: u64 = 5 * 60 * 1_000;

/// Every suspicion, with its place.
pub(super) fn lint(
    scraper: &scraper::Config,
    forwarder: &forwarder::Config,
    status: &status_sink::config::Config,
    sources: &Sources,
) -> Vec<String> {
    let mut found: Vec<Invalid> = forwarder.advice();
    let mut unfed: BTreeSet<(&str, &str)> = BTreeSet::new();
    // A center that scrapes nothing is fed over HTTP, and needs no routes.
    let is_fed_by_others = scraper.jobs.is_empty();
    for (at, kind, metric) in status.metrics().filter(|_| !is_fed_by_others) {
        if !forwarder.may_reach(STATUS_DESTINATION, metric) && unfed.insert((kind, metric)) {
            let message = format!(
                "no route brings {metric:?} to {STATUS_DESTINATION:?}, but {kind} needs it"
            );
            found.push(Invalid::new(format!("status.kinds[{at}]"), message));
        }
    }
    for job in &scraper.jobs {
        if job.scrape_interval().as_ms() >= LOOKBACK_MS {
            let (name, interval) = (job.job_name(), job.scrape_interval());
            let message = format!("job {name:?} is scraped each {interval}: queries see gaps");
            found.push(Invalid::new("scrape_configs", message));
        }
    }
    found.into_iter().map(|invalid| sources.locate(invalid).to_string()).collect()
}
