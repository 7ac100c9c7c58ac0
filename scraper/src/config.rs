//! `global` and `scrape_configs`, as Prometheus writes them: what the file says, and what it means.
//!
//! `…Spec` is what the file says; `check` makes a `…Config` of it, with Prometheus' defaults and
//! Prometheus' words for what it refuses. Paths are joined with the file's folder before
//! (`resolve_paths`).

mod discovery;
mod global;
mod job;
mod protocols;

use std::collections::BTreeMap;
use std::sync::Arc;

use kit::config::Invalid;
use model::Labels;

use crate::target::Target;

pub use discovery::{
    ConsulSdConfig, ConsulSdSpec, DiscoverySpec, DnsRecord, DnsSdConfig, DnsSdSpec,
    DockerFilterSpec, DockerSdConfig, DockerSdSpec, FileSdConfig, FileSdSpec, HttpSdConfig,
    HttpSdSpec, KubernetesMetadataSpec, KubernetesRole, KubernetesSdConfig, KubernetesSdSpec,
    KubernetesSelectorSpec, NamespacesSpec, NomadSdConfig, NomadSdSpec, StaticSpec,
};
pub use global::{GlobalConfig, GlobalSpec};
pub use job::{JobConfig, JobSpec};

/// What the scraper does.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Every job; names are unique.
    pub jobs: Vec<Arc<JobConfig>>,
    /// What makes our offsets differ from those of another replica.
    pub external_labels: Labels,
    /// The first scrape of each target is made at once instead of at its offset: set when
    /// something waits for the state of the whole fleet.
    pub immediate_first_round: bool,
}

impl Config {
    /// Makes the targets that are written into jobs, as a start would.
    ///
    /// # Errors
    /// The first that cannot be scraped, in the words of `promtool`, behind the name of its job.
    pub fn check_static_targets(&self) -> Result<(), (Arc<str>, String)> {
        for job in &self.jobs {
            for (number, group) in job.static_groups().iter().enumerate() {
                for at in 0..group.targets.len() {
                    Target::new(job, group, at).map_err(|error| {
                        let error = kit::Chain(&error);
                        let text = format!("instance {at} in group {number}: {error}");
                        (Arc::clone(job.job_name()), text)
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Checks the list at `scrape_configs`. `known` are the jobs of other files, by name, with the
/// file; the new ones are added to it.
///
/// # Errors
/// `scrape_configs[i].key: why`.
pub fn check_jobs(
    jobs: Vec<Option<JobSpec>>,
    global: &GlobalConfig,
    known: &mut BTreeMap<String, String>,
    file: &str,
) -> Result<Vec<Arc<JobConfig>>, Invalid> {
    let mut checked = Vec::with_capacity(jobs.len());
    for (at, job) in jobs.into_iter().enumerate() {
        let key = format!("scrape_configs[{at}]");
        let null = || Invalid::new(&key, "empty or null scrape config section");
        let config = job.ok_or_else(null)?.check(global).map_err(|error| error.under(&key))?;
        let name = config.job_name().to_string();
        if let Some(first) = known.get(&name) {
            let elsewhere = match first == file {
                true => String::new(),
                false => format!(", first found in {first:?}"),
            };
            let message =
                format!("found multiple scrape configs with job name {name:?}{elsewhere}");
            return Err(Invalid::new(format!("{key}.job_name"), message));
        }
        known.insert(name, file.to_owned());
        checked.push(Arc::new(config));
    }
    Ok(checked)
}

// === impl Config ===

#[cfg(test)]
impl Config {
    /// Jobs as they stand in `scrape_configs`, each a YAML text of its own.
    pub(crate) fn of_jobs(jobs: &[&str]) -> Config {
        let global = GlobalSpec::default().check().expect("defaults are valid");
        let specs = jobs.iter().map(|text| kit::config::yaml::from_str("job", text));
        let specs = specs.collect::<Result<Vec<_>, _>>().unwrap();
        let jobs = check_jobs(specs, &global, &mut BTreeMap::new(), "job").unwrap();
        Config { jobs, ..Config::default() }
    }
}

#[cfg(test)]
mod tests;
