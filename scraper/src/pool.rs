//! One `scrape_configs` entry: keeps its loops equal to its targets.
//!
//! One task owns all pools (`manager.rs`); what others may see is a [`PoolSnapshot`].
//! A changed configuration restarts every loop; if only the pace or the way of scraping changed,
//! each new loop goes on with the memory of the one before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kit::http::Client;
use model::Rule;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{error, warn};

use crate::USER_AGENT;
use crate::config::JobConfig;
use crate::context::Context;
use crate::discovery::Group;
use crate::failure_log::FailureLog;
use crate::metrics::{IntervalLabel, JobLabel};
use crate::sample_rules::{HistogramRules, SampleLimits, SampleRules};
use crate::scrape::Fetcher;
use crate::scrape_loop::{Assignment, LoopHandle, Status};
use crate::target::{Identity, Target};

/// A pool, as the task that owns it sees it.
pub(crate) struct Pool {
    context: Arc<Context>,
    job: Arc<JobConfig>,
    /// Those of the job, once for all its targets.
    metric_rules: Arc<[Rule]>,
    label: JobLabel,
    client: Client,
    failure_log: FailureLog,
    loops: BTreeMap<Identity, Active>,
    dropped: Vec<Found>,
    n_dropped: usize,
}

/// A target that is scraped.
struct Active {
    handle: LoopHandle,
    found: Found,
}

/// Where discovery found a target: its number in a group.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) group: Arc<Group>,
    pub(crate) at: usize,
}

/// A pool as it was after its last change.
pub(crate) struct PoolSnapshot {
    pub(crate) job: Arc<JobConfig>,
    pub(crate) active: Vec<ActiveSnapshot>,
    /// Dropped by relabelling; `keep_dropped_targets` of them at most.
    pub(crate) dropped: Vec<Found>,
    pub(crate) n_dropped: usize,
}

/// A target that is scraped, and how it is now.
pub(crate) struct ActiveSnapshot {
    pub(crate) target: Arc<Target>,
    pub(crate) status: Arc<Status>,
    pub(crate) found: Found,
}

/// Targets made of groups.
#[derive(Default)]
struct Targets {
    active: Vec<(Target, Found)>,
    dropped: Vec<Found>,
    n_dropped: usize,
    n_failed: u64,
}

// === impl Pool ===

impl Pool {
    /// A pool without targets.
    pub(crate) fn new(context: &Arc<Context>, job: Arc<JobConfig>) -> Pool {
        context.metrics.pool.started.inc();
        let failure_log =
            FailureLog::new(job.job_name(), &context.metrics.scrape.failure_log_dropped);
        let label = JobLabel { scrape_job: Arc::clone(job.job_name()) };
        let (loops, dropped, n_dropped) = Default::default();
        let context = Arc::clone(context);
        let metric_rules = job.metric_relabel_configs().into();
        let client = Client::new(job.http().clone(), USER_AGENT);
        let pool = Pool {
            context,
            job,
            metric_rules,
            label,
            client,
            failure_log,
            loops,
            dropped,
            n_dropped,
        };
        pool.expose_target_limit();
        pool
    }

    pub(crate) fn job(&self) -> &Arc<JobConfig> {
        &self.job
    }

    /// Where its loops log failed scrapes.
    pub(crate) fn failure_log(&self) -> &FailureLog {
        &self.failure_log
    }

    /// Number of targets that are scraped.
    pub(crate) fn len(&self) -> usize {
        self.loops.len()
    }

    /// Makes the loops those of the targets in `groups`. With `first_round`, new targets are
    /// scraped at once, and hold a copy of it until they were.
    pub(crate) fn sync(
        &mut self,
        groups: &[Arc<Group>],
        at_once: bool,
        first_round: Option<&TaskTrackerToken>,
    ) {
        let started = self.context.clock.now();
        let mut targets = self.targets(groups);
        let (n_failed, active) = (targets.n_failed, std::mem::take(&mut targets.active));
        self.dropped = targets.dropped;
        self.n_dropped = targets.n_dropped;
        let mut before = std::mem::take(&mut self.loops);
        for (target, found) in active {
            let identity = target.identity;
            // The same target, found twice or before: the loop goes on, the labels are the latest.
            let known = self.loops.remove(&identity).or_else(|| before.remove(&identity));
            let handle = match known {
                Some(active) => active.handle,
                None => {
                    let token = first_round.cloned();
                    let assignment = self.assignment(Arc::new(target), at_once, token);
                    LoopHandle::start(&self.context, assignment, None)
                }
            };
            self.loops.insert(identity, Active { handle, found });
        }
        for active in before.into_values() {
            active.handle.end();
        }
        self.enforce_target_limit();
        let took = self.context.clock.now().since(started);
        self.context.metrics.pool.synced(&self.label, took, n_failed, self.loops.len());
    }

    /// Restarts every loop with another configuration. Their targets stay what they are until the
    /// next [`Pool::sync`].
    pub(crate) fn reload(&mut self, job: Arc<JobConfig>) {
        let started = self.context.clock.now();
        let keeps_memory = self.job.keeps_cache(&job);
        self.metric_rules = job.metric_relabel_configs().into();
        self.client = Client::new(job.http().clone(), USER_AGENT);
        self.job = job;
        self.expose_target_limit();
        for active in std::mem::take(&mut self.loops).into_values() {
            let Active { handle, found } = active;
            let Ok(Some(target)) = Target::new(&self.job, &found.group, found.at) else {
                handle.end();
                continue;
            };
            let identity = target.identity;
            let assignment = self.assignment(Arc::new(target), false, None);
            let handle = if keeps_memory {
                LoopHandle::start(&self.context, assignment, Some(handle))
            } else {
                handle.end();
                LoopHandle::start(&self.context, assignment, None)
            };
            self.loops.insert(identity, Active { handle, found });
        }
        self.enforce_target_limit();
        let took = self.context.clock.now().since(started);
        let interval = IntervalLabel::new(self.job.scrape_interval().to_std());
        self.context.metrics.pool.reloaded(&interval, took);
    }

    /// The job is gone: all targets end.
    pub(crate) fn end(self) {
        for active in self.loops.into_values() {
            active.handle.end();
        }
        self.context.metrics.pool.forget(&self.label);
    }

    /// What others may see.
    pub(crate) fn snapshot(&self) -> Arc<PoolSnapshot> {
        let active = self.loops.values().map(|active| ActiveSnapshot {
            target: Arc::clone(&active.handle.target),
            status: Arc::clone(&active.handle.status),
            found: active.found.clone(),
        });
        Arc::new(PoolSnapshot {
            job: Arc::clone(&self.job),
            active: active.collect(),
            dropped: self.dropped.clone(),
            n_dropped: self.n_dropped,
        })
    }

    fn targets(&self, groups: &[Arc<Group>]) -> Targets {
        let keep = self.job.keep_dropped_targets() as usize;
        let mut targets = Targets::default();
        for group in groups {
            for at in 0..group.targets.len() {
                let found = Found { group: Arc::clone(group), at };
                match Target::new(&self.job, group, at) {
                    Ok(Some(target)) => targets.active.push((target, found)),
                    Ok(None) => {
                        targets.n_dropped += 1;
                        if keep == 0 || targets.dropped.len() < keep {
                            targets.dropped.push(found);
                        }
                    }
                    Err(failure) => {
                        targets.n_failed += 1;
                        let (job, group, error) =
                            (self.job.job_name(), &group.source, kit::Chain(&failure));
                        error!(%job, %group, instance = at, %error, "target cannot be scraped");
                    }
                }
            }
        }
        targets
    }

    fn assignment(
        &self,
        target: Arc<Target>,
        at_once: bool,
        first_round: Option<TaskTrackerToken>,
    ) -> Assignment {
        Assignment {
            rules: Arc::new(self.rules(&target)),
            fetcher: Fetcher::new(
                &self.job,
                &target,
                self.client.clone(),
                self.context.buffers.clone(),
            ),
            fallback: self.job.fallback_scrape_protocol(),
            extra_metrics: self.job.extra_scrape_metrics(),
            failure_log: self.failure_log.clone(),
            target,
            at_once,
            first_round,
        }
    }

    fn rules(&self, target: &Target) -> SampleRules {
        let job = &self.job;
        SampleRules {
            target_labels: target.labels.clone(),
            honor_labels: job.honor_labels(),
            honor_timestamps: job.honor_timestamps(),
            track_timestamps_staleness: job.track_timestamps_staleness(),
            relabel: Arc::clone(&self.metric_rules),
            limits: SampleLimits {
                samples: job.sample_limit(),
                labels: job.label_limit(),
                label_name_bytes: job.label_name_length_limit(),
                label_value_bytes: job.label_value_length_limit(),
                histogram_buckets: job.native_histogram_bucket_limit(),
            },
            names: job.metric_name_validation_scheme(),
            histograms: HistogramRules {
                native: target.histograms.native,
                always_classic: target.histograms.always_classic,
                classic_to_custom: target.histograms.classic_to_custom,
                min_bucket_factor: job.native_histogram_min_bucket_factor(),
            },
            start_timestamps: false,
        }
    }

    /// Too many targets: none of them is asked.
    fn enforce_target_limit(&self) {
        let (limit, targets) = (self.job.target_limit(), self.loops.len() as u64);
        let error: Option<Arc<str>> = (limit > 0 && targets > limit).then(|| {
            self.context.metrics.pool.exceeded_target_limit.inc();
            let job = self.job.job_name();
            warn!(%job, targets, limit, "target_limit exceeded, no target is scraped");
            format!("target_limit exceeded (number of targets: {targets}, limit: {limit})").into()
        });
        for active in self.loops.values() {
            active.handle.status.force_error(error.clone());
        }
    }

    fn expose_target_limit(&self) {
        self.context.metrics.pool.target_limit(&self.label, self.job.target_limit());
    }
}

#[cfg(test)]
mod tests;
