//! What the scraper shows of itself: pools and targets as plain data, for Prometheus' API.

use std::sync::Arc;
use std::time::Duration;

use model::{Family, Labels, LabelsBuilder, Layout};

use crate::config::JobConfig;
use crate::pool::{ActiveSnapshot, Found, PoolSnapshot};
use crate::scrape_loop::Health;
use crate::target;

/// One pool: `/api/v1/scrape_pools`, and the frame of `/api/v1/targets`.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// The job's name.
    pub name: Arc<str>,
    /// Its configuration.
    pub job: Arc<JobConfig>,
    /// Targets that are scraped.
    pub active: Vec<TargetView>,
    /// Labels of targets that relabelling dropped, before relabelling; `keep_dropped_targets` of
    /// them at most.
    pub dropped: Vec<Labels>,
    /// Number of targets that relabelling dropped.
    pub n_dropped: usize,
}

/// One target of `/api/v1/targets`.
#[derive(Debug, Clone)]
pub struct TargetView {
    /// Its labels before relabelling.
    pub discovered_labels: Labels,
    /// Its public labels: what its series carry.
    pub labels: Labels,
    /// What is scraped.
    pub url: String,
    /// Whether it answers.
    pub health: Health,
    /// Why the last scrape failed, if it did.
    pub last_error: Option<Arc<str>>,
    /// When it was last scraped, in milliseconds since the epoch.
    pub last_scrape_ms: Option<i64>,
    /// How long that took.
    pub last_scrape_duration: Duration,
    /// Time between scrapes.
    pub scrape_interval: kit::config::Duration,
    /// The longest a scrape may take.
    pub scrape_timeout: kit::config::Duration,
    layout: Option<Arc<Layout>>,
}

/// What one rule did: `/api/v1/targets/relabel_steps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelStep {
    /// Number of the rule in `relabel_configs`.
    pub rule: usize,
    /// The labels after it; none if it dropped the target.
    pub output: Labels,
    /// Whether the target was kept.
    pub keep: bool,
}

// === impl PoolView ===

impl PoolView {
    pub(crate) fn new(pool: &PoolSnapshot) -> PoolView {
        let job = &pool.job;
        PoolView {
            name: Arc::clone(job.job_name()),
            job: Arc::clone(job),
            active: pool.active.iter().map(|active| TargetView::new(job, active)).collect(),
            dropped: pool.dropped.iter().map(|found| discovered(job, found)).collect(),
            n_dropped: pool.n_dropped,
        }
    }

    /// What each rule of `relabel_configs` does to a target with these labels. Ends with the rule
    /// that drops it.
    pub fn relabel_steps(&self, discovered: &Labels) -> Vec<RelabelStep> {
        let mut labels = LabelsBuilder::new(discovered);
        let mut steps = Vec::new();
        for (rule, config) in self.job.relabel_configs().iter().enumerate() {
            let keep = model::relabel(std::slice::from_ref(config), &mut labels);
            let output = if keep { labels.clone().build() } else { Labels::default() };
            steps.push(RelabelStep { rule, output, keep });
            if !keep {
                break;
            }
        }
        steps
    }
}

fn discovered(job: &JobConfig, found: &Found) -> Labels {
    let Found { group, at } = found;
    target::discovered(job, &group.targets[*at], &group.labels).build()
}

// === impl TargetView ===

impl TargetView {
    fn new(job: &JobConfig, active: &ActiveSnapshot) -> TargetView {
        let (target, seen) = (&active.target, active.status.observation());
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        TargetView {
            discovered_labels: discovered(job, &active.found),
            labels: target.labels.clone(),
            url: target.url.clone(),
            health: seen.health,
            last_error: seen.last_error,
            last_scrape_ms: seen.last_scrape_ms,
            last_scrape_duration: seen.last_duration,
            scrape_interval: kit::config::Duration::from_ms(ms(target.interval)),
            scrape_timeout: kit::config::Duration::from_ms(ms(target.timeout)),
            layout: seen.layout,
        }
    }

    /// How many series its last page had.
    pub fn n_series(&self) -> usize {
        self.layout.as_ref().map_or(0, |layout| layout.len())
    }

    /// The metric families of its last good page: `/api/v1/targets/metadata`.
    pub fn families(&self) -> impl Iterator<Item = &Arc<Family>> {
        let families = self.layout.iter().flat_map(|layout| layout.families());
        families.map(|(_, family)| family)
    }
}
