//! What the tests of this crate share: a job from YAML, a target that answers as it is told, a
//! sink that remembers.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, JobConfig};

mod run;
mod sink;
mod target;

pub(crate) use run::Run;
pub(crate) use sink::{RecordingSink, Seen, Value};
pub(crate) use target::{FakeTarget, Reply};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A `scrape_configs` entry.
pub(crate) fn job(yaml: &str) -> Arc<JobConfig> {
    let config = config(&[yaml]);
    Arc::clone(&config.jobs[0])
}

/// A configuration of these `scrape_configs` entries.
pub(crate) fn config(jobs: &[&str]) -> Arc<Config> {
    Arc::new(Config::of_jobs(jobs))
}

/// Polls `look` until it says yes; panics with `what` and what was seen last.
#[track_caller]
pub(crate) fn wait_until<S: std::fmt::Debug>(
    what: &str,
    look: impl FnMut() -> Result<(), S>,
) -> impl Future<Output = ()> {
    wait(what.to_owned(), look, std::panic::Location::caller())
}

async fn wait<S: std::fmt::Debug>(
    what: String,
    mut look: impl FnMut() -> Result<(), S>,
    caller: &'static std::panic::Location<'static>,
) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        match look() {
            Ok(()) => return,
            Err(seen) if tokio::time::Instant::now() > deadline => {
                panic!("{caller}: waited in vain for {what}; last seen: {seen:#?}");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}
