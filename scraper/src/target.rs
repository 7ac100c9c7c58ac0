//! A target: what discovery found, made into a URL to scrape and the labels of its series.
//!
//! Rules and words follow Prometheus' `scrape/target.go`. Not here: how it is scraped
//! (`scrape_loop.rs`), and which targets a pool has (`pool.rs`).

use std::str::FromStr;
use std::time::Duration;

use model::{Labels, LabelsBuilder};

use crate::config::JobConfig;
use crate::discovery::Group;

pub(crate) use identity::{Identity, OffsetSeed};

mod identity;
mod url;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const UNIX_SOCKET: &str = "__unix_socket__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
const NATIVE_HISTOGRAMS: &str = "__scrape_native_histograms__";
const CLASSIC_HISTOGRAMS: &str = "__always_scrape_classic_histograms__";
const CUSTOM_BUCKETS: &str = "__convert_classic_histograms_to_nhcb__";

type DurationError = <kit::config::Duration as FromStr>::Err;

/// One URL to scrape, after relabelling.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Tells targets of a pool apart: from all labels and the URL.
    pub(crate) identity: Identity,
    /// Without labels that start with `__`: what every series of the target carries.
    pub(crate) labels: Labels,
    pub(crate) url: String,
    /// Path of the socket to connect to instead of the address.
    pub(crate) unix_socket: Option<Box<str>>,
    /// Invariant: `0 < timeout <= interval`.
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) histograms: HistogramSwitches,
}

/// What the target does about histograms: the job's settings, or those of its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistogramSwitches {
    pub(crate) native: bool,
    pub(crate) always_classic: bool,
    pub(crate) classic_to_custom: bool,
}

/// Why no target could be made. Prometheus' words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("no address")]
    NoAddress,
    #[error("{address:?} is not a valid hostname")]
    Address { address: String },
    #[error("error parsing {what}")]
    Duration { what: &'static str, source: DurationError },
    #[error("{what} cannot be 0")]
    Zero { what: &'static str },
    #[error("scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})")]
    TimeoutTooLong { timeout: String, interval: String },
    #[error("error parsing {what}: invalid syntax {value:?}")]
    Switch { what: &'static str, value: String },
}

/// The labels of a target before relabelling: its own, those of its group, those of the job.
pub(crate) fn discovered(job: &JobConfig, target: &Labels, group: &Labels) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new(target);
    for (name, value) in group.iter() {
        if target.get(name).is_none() {
            labels.set(name, value);
        }
    }
    let truth = |on: bool| if on { "true" } else { "false" }.to_owned();
    for (name, value) in [
        ("job", job.job_name().to_string()),
        (INTERVAL, job.scrape_interval().to_string()),
        (TIMEOUT, job.scrape_timeout().to_string()),
        (METRICS_PATH, job.metrics_path().to_owned()),
        (SCHEME, job.scheme().to_owned()),
        (CUSTOM_BUCKETS, truth(job.convert_classic_histograms_to_nhcb())),
        (CLASSIC_HISTOGRAMS, truth(job.always_scrape_classic_histograms())),
        (NATIVE_HISTOGRAMS, truth(job.scrape_native_histograms())),
    ] {
        if labels.get(name).is_empty() {
            labels.set(name, value);
        }
    }
    for (key, values) in job.params() {
        let name = format!("{PARAM_PREFIX}{key}");
        if let Some(first) = values.first()
            && labels.get(&name).is_empty()
        {
            labels.set(name, first.as_str());
        }
    }
    labels
}

// === impl Target ===

impl Target {
    /// Makes target number `at` of `group`; `None` if relabelling drops it.
    ///
    /// # Errors
    /// When what relabelling left cannot be scraped.
    pub(crate) fn new(
        job: &JobConfig,
        group: &Group,
        at: usize,
    ) -> Result<Option<Target>, TargetError> {
        let mut labels = discovered(job, &group.targets[at], &group.labels);
        if !model::relabel(job.relabel_configs(), &mut labels) {
            return Ok(None);
        }
        let address = labels.get(ADDRESS).to_owned();
        if address.is_empty() {
            return Err(TargetError::NoAddress);
        }
        if address.contains('/') {
            return Err(TargetError::Address { address });
        }
        let (interval, timeout) = interval_and_timeout(&labels)?;
        let histograms = HistogramSwitches {
            classic_to_custom: switch(
                &labels,
                CUSTOM_BUCKETS,
                "convert classic histograms to nhcb",
                job.convert_classic_histograms_to_nhcb(),
            )?,
            always_classic: switch(
                &labels,
                CLASSIC_HISTOGRAMS,
                "always scrape classic histograms",
                job.always_scrape_classic_histograms(),
            )?,
            native: switch(
                &labels,
                NATIVE_HISTOGRAMS,
                "scrape native histograms",
                job.scrape_native_histograms(),
            )?,
        };
        labels.retain(|name, _| !name.starts_with(META_PREFIX));
        if labels.get("instance").is_empty() {
            labels.set("instance", address.as_str());
        }
        let url = url::of_target(&labels, job.params());
        let unix_socket = Some(labels.get(UNIX_SOCKET)).filter(|path| !path.is_empty());
        Ok(Some(Target {
            identity: Identity::new(&labels, &url),
            unix_socket: unix_socket.map(Box::from),
            url,
            interval,
            timeout,
            histograms,
            labels: labels.iter().filter(|(name, _)| !name.starts_with("__")).collect(),
        }))
    }
}

fn interval_and_timeout(labels: &LabelsBuilder) -> Result<(Duration, Duration), TargetError> {
    let read = |label: &str, what: &'static str| {
        let parsed: Result<kit::config::Duration, DurationError> = labels.get(label).parse();
        let duration = parsed.map_err(|source| TargetError::Duration { what, source })?;
        if duration.is_zero() { Err(TargetError::Zero { what }) } else { Ok(duration.to_std()) }
    };
    let interval = read(INTERVAL, "scrape interval")?;
    let timeout = read(TIMEOUT, "scrape timeout")?;
    if timeout > interval {
        return Err(TargetError::TimeoutTooLong {
            timeout: labels.get(TIMEOUT).to_owned(),
            interval: labels.get(INTERVAL).to_owned(),
        });
    }
    Ok((interval, timeout))
}

/// A label that is true or false, in the words that Go's `ParseBool` knows.
fn switch(
    labels: &LabelsBuilder,
    name: &str,
    what: &'static str,
    default: bool,
) -> Result<bool, TargetError> {
    match labels.get(name) {
        "" => Ok(default),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        value => Err(TargetError::Switch { what, value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
