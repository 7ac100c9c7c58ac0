//! The task that owns pools and providers: starts and stops them as the configuration says, and
//! carries what providers find to the pools.
//!
//! Findings are applied at most every [`APPLY_INTERVAL`], as Prometheus does, so that a provider
//! that changes its mind every second does not restart loops every second; but the first answer
//! of each provider is applied at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::config::Config;
use crate::context::Context;
use crate::discovery::{self, Found, Group, Tools, Wanted};
use crate::failure_log::FailureLogs;
use crate::metrics::MechanismLabel;
use crate::pool::{Pool, PoolSnapshot};
use crate::target::OffsetSeed;

/// Time between two rounds of applying what providers found.
const APPLY_INTERVAL: Duration = Duration::from_secs(5);

/// What everyone may see of the pools.
pub(crate) type Snapshots = Arc<ArcSwap<Vec<Arc<PoolSnapshot>>>>;

/// Owns everything that the configuration describes.
pub(crate) struct Manager {
    context: Arc<Context>,
    host: String,
    config: Arc<Config>,
    configs: watch::Receiver<Arc<Config>>,
    providers: Vec<Running>,
    pools: BTreeMap<Arc<str>, Pool>,
    failure_logs: FailureLogs,
    snapshots: Snapshots,
    /// Providers have news.
    changed: Arc<Notify>,
    /// Kept until every provider of the first configuration has answered or failed.
    first_round: Option<TaskTrackerToken>,
    last_applied: Option<Instant>,
}

/// A provider that runs, and the jobs it serves.
struct Running {
    wanted: Arc<dyn Wanted>,
    found: Arc<Found>,
    jobs: Vec<Arc<str>>,
    started: Instant,
    label: MechanismLabel,
    _task: AbortOnDropHandle<()>,
}

/// What a [`Manager`] is made of.
pub(crate) struct Start {
    pub(crate) context: Arc<Context>,
    /// The host's name.
    pub(crate) host: String,
    pub(crate) configs: watch::Receiver<Arc<Config>>,
    pub(crate) snapshots: Snapshots,
    pub(crate) first_round: TaskTrackerToken,
}

// === impl Manager ===

impl Manager {
    pub(crate) fn new(start: Start) -> Manager {
        let Start { context, host, mut configs, snapshots, first_round } = start;
        let config = Arc::clone(&configs.borrow_and_update());
        let (providers, pools, failure_logs, changed, last_applied) = Default::default();
        let first_round = Some(first_round);
        Manager {
            context,
            host,
            config,
            configs,
            providers,
            pools,
            failure_logs,
            snapshots,
            changed,
            first_round,
            last_applied,
        }
    }

    /// Runs until the scraper stops.
    pub(crate) async fn run(mut self) {
        let shutdown = self.context.shutdown.clone();
        self.configure();
        let mut due = None;
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                Ok(()) = self.configs.changed() => {
                    self.config = Arc::clone(&self.configs.borrow_and_update());
                    self.configure();
                    due = self.due();
                }
                () = self.changed.notified() => {
                    self.context.metrics.discovery.received();
                    due = self.due();
                }
                () = sleep_until(due), if due.is_some() => {
                    self.apply_findings();
                    due = self.due();
                }
            }
        }
    }

    /// Makes providers and pools those of the configuration.
    fn configure(&mut self) {
        let config = Arc::clone(&self.config);
        self.context.set_seed(OffsetSeed::new(&self.host, &config.external_labels));
        let files = config.jobs.iter().map(|job| job.scrape_failure_log_file());
        self.failure_logs = FailureLogs::open(files);
        self.start_providers(&config);
        let mut before = std::mem::take(&mut self.pools);
        for job in &config.jobs {
            let name = Arc::clone(job.job_name());
            let pool = match before.remove(&name) {
                Some(pool) if pool.job() == job => pool,
                Some(mut pool) => {
                    pool.reload(Arc::clone(job));
                    pool
                }
                None => Pool::new(&self.context, Arc::clone(job)),
            };
            self.failure_logs.give(job.scrape_failure_log_file(), pool.failure_log());
            self.pools.insert(name, pool);
        }
        for (name, pool) in before {
            pool.end();
            self.context.metrics.discovery.forget_job(&name);
        }
        self.last_applied = None;
        self.apply_findings();
    }

    fn start_providers(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.providers);
        for job in &config.jobs {
            for (mechanism, wanted) in discovery::wanted(job) {
                let same = |running: &Running| running.wanted.same(&*wanted);
                let name = Arc::clone(job.job_name());
                if let Some(known) = self.providers.iter_mut().find(|running| same(running)) {
                    if !known.jobs.contains(&name) {
                        known.jobs.push(name);
                    }
                } else if let Some(at) = before.iter().position(same) {
                    let known = before.swap_remove(at);
                    self.providers.push(Running { jobs: vec![name], ..known });
                } else {
                    let running = self.start_provider(mechanism, wanted, name);
                    self.providers.push(running);
                }
            }
        }
        for gone in before {
            self.context.metrics.discovery.forget_provider(&gone.label);
        }
    }

    fn start_provider(
        &self,
        mechanism: &'static str,
        wanted: Arc<dyn Wanted>,
        job: Arc<str>,
    ) -> Running {
        let found = Found::new(Arc::clone(&self.changed));
        let label = MechanismLabel { mechanism, config: Arc::clone(&job) };
        let tools = Tools {
            clock: Arc::clone(&self.context.clock),
            metrics: self.context.metrics.discovery.clone(),
            label: label.clone(),
        };
        let task = tokio::spawn(Arc::clone(&wanted).run(Arc::clone(&found), tools));
        let _task = AbortOnDropHandle::new(task);
        Running { wanted, found, jobs: vec![job], started: Instant::now(), label, _task }
    }

    /// When what was found must be applied; `None` if nothing new was found.
    fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let first = self.providers.iter().any(|running| running.found.has_first_answer());
        let waiting = self.providers.iter().filter(|r| !r.found.is_answered());
        // A changed section may take this long to answer before the targets of the old one go.
        let patience = waiting.map(|r| r.started + APPLY_INTERVAL).filter(|at| *at > now).min();
        if first || self.last_applied.is_none() {
            return Some(now);
        }
        let changed = self.providers.iter().any(|running| running.found.is_changed());
        let next = self.last_applied.map_or(now, |last| last + APPLY_INTERVAL);
        if changed && next > now {
            self.context.metrics.discovery.delayed();
        }
        let changed = changed.then_some(next);
        changed.into_iter().chain(patience).min()
    }

    /// Brings every pool in line with what its providers know.
    fn apply_findings(&mut self) {
        let now = Instant::now();
        let at_once = self.config.immediate_first_round;
        let mut all_answered = true;
        let mut groups: BTreeMap<Arc<str>, Vec<Arc<Group>>> = BTreeMap::new();
        let mut incomplete: Vec<Arc<str>> = Vec::new();
        for running in &self.providers {
            let taken = running.found.take();
            all_answered &= taken.answered;
            for job in &running.jobs {
                groups.entry(Arc::clone(job)).or_default().extend(taken.groups.iter().cloned());
                if !taken.answered && running.started + APPLY_INTERVAL > now {
                    incomplete.push(Arc::clone(job));
                }
            }
        }
        for (name, pool) in &mut self.pools {
            // After a reload: the targets of a changed section stay until the new one answers.
            if pool.len() > 0 && incomplete.contains(name) {
                continue;
            }
            let groups = groups.remove(name).unwrap_or_default();
            let n_targets = groups.iter().map(|group| group.targets.len()).sum();
            self.context.metrics.discovery.discovered(name, n_targets);
            pool.sync(&groups, at_once, self.first_round.as_ref());
        }
        self.context.metrics.discovery.sent();
        self.last_applied = Some(now);
        if all_answered {
            self.first_round = None;
        }
        let snapshots = self.pools.values().map(Pool::snapshot).collect();
        self.snapshots.store(Arc::new(snapshots));
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
