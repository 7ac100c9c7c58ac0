//! The whole file, section by section: read, checked, and handed to the parts.
//!
//! Prometheus' sections stand where Prometheus has them. Ours (`data_types`, `routes`,
//! `forwarders`, `status`) stand beside them, or in a second file (`--routing.file`), so that the
//! first one still loads in Prometheus. Every mistake is told with file, line and key.

mod ignored;
mod job_files;
mod lint;
mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use forwarder::config::{Common, DataTypeSpec, ForwarderSpec, RemoteWriteSpec, RouteSpec};
use kit::config::{Invalid, is_default, yaml};
use scraper::config::{GlobalConfig, GlobalSpec, JobSpec};
use serde::{Deserialize, Serialize};
use tracing::warn;

use ignored::{AlertingSpec, OtlpSpec, RemoteReadSpec, RuntimeSpec, StorageSpec, TracingSpec};
use job_files::JobFiles;
use source::Sources;

/// The name under which routes know the status center.
pub(crate) const STATUS_DESTINATION: &str = "status";

/// The files that a configuration starts from.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// `--config.file`
    pub(crate) main: PathBuf,
    /// `--routing.file`
    pub(crate) routing: Option<PathBuf>,
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The two files themselves.
    Syntax,
    /// Also the files that they name: further jobs, credentials, certificates.
    Everything,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: not UTF-8", path.display())]
    NotUtf8 { path: PathBuf },
    #[error(transparent)]
    Invalid(#[from] yaml::Error),
}

/// Checked, ready for the parts.
#[derive(Debug)]
pub(crate) struct Config {
    scraper: Arc<scraper::Config>,
    forwarder: Arc<forwarder::Config>,
    status: Arc<status_sink::config::Config>,
    /// Every file that was read.
    files: Vec<PathBuf>,
    yaml: String,
    lint: Vec<String>,
}

/// What the files say together, in the order in which Prometheus prints it.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
struct Spec {
    global: GlobalSpec,
    runtime: RuntimeSpec,
    #[serde(skip_serializing_if = "is_default")]
    alerting: AlertingSpec,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rule_files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scrape_config_files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scrape_configs: Vec<Option<JobSpec>>,
    #[serde(skip_serializing_if = "is_default")]
    storage: StorageSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<TracingSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remote_write: Vec<Option<RemoteWriteSpec>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remote_read: Vec<Option<RemoteReadSpec>>,
    otlp: OtlpSpec,
    #[serde(rename = "<inline>")]
    ours: OurSpec,
}

/// Our own sections, which may stand in a file of their own.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "routing")]
struct OurSpec {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forwarders: Vec<Option<ForwarderSpec>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    data_types: Vec<Option<DataTypeSpec>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Option<RouteSpec>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<status_sink::config::Spec>,
}

// === impl Config ===

impl Config {
    /// Reads and checks the files, and says in the log what of them has no effect.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub(crate) fn load(files: &Files) -> Result<Config, LoadError> {
        let loaded = Loader::read(files)?;
        loaded.warn_of_ignored();
        loaded.finish(Depth::Everything)
    }

    /// Reads and checks the files for a person who asks whether they are right: also whether the
    /// files exist that requests will be made with.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub(crate) fn check(files: &Files, depth: Depth) -> Result<Config, LoadError> {
        let loader = Loader::read(files)?;
        let sources = loader.sources.clone();
        let config = loader.finish(depth)?;
        job_files::check_targets(&config.scraper, &sources)?;
        if depth == Depth::Everything {
            job_files::check_existence(&config.scraper, &sources)?;
        }
        Ok(config)
    }

    /// For the scraper.
    pub(crate) fn scraper(&self) -> Arc<scraper::Config> {
        Arc::clone(&self.scraper)
    }

    /// For the forwarder.
    pub(crate) fn forwarder(&self) -> Arc<forwarder::Config> {
        Arc::clone(&self.forwarder)
    }

    /// For the status center.
    pub(crate) fn status(&self) -> Arc<status_sink::config::Config> {
        Arc::clone(&self.status)
    }

    /// Every file that was read to make it.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The configuration as YAML with all defaults, secrets not shown.
    pub(crate) fn yaml(&self) -> &str {
        &self.yaml
    }

    /// What is suspicious, though it can be used.
    pub(crate) fn lint(&self) -> Vec<String> {
        self.lint.clone()
    }
}

/// The files, decoded; on the way to a [`Config`].
struct Loader {
    sources: Sources,
    spec: Spec,
}

// === impl Loader ===

impl Loader {
    fn read(files: &Files) -> Result<Loader, LoadError> {
        let sources = Sources::read(files)?;
        let mut spec: Spec = sources.main().decode()?;
        if let Some(routing) = sources.routing() {
            let ours: OurSpec = routing.decode()?;
            spec.ours.take_from(ours).map_err(|section| {
                let main = sources.main().file();
                let message = format!("this section also stands in {main}");
                routing.locate(Invalid::new(section, message))
            })?;
        }
        ignored::check_patterns(&spec.rule_files, &spec.scrape_config_files)
            .map_err(|error| sources.locate(error))?;
        let in_routing = |section: &str| sources.is_in_routing(section);
        let main_dir = sources.main_dir();
        spec.global.resolve_paths(&main_dir);
        spec.scrape_configs.iter_mut().flatten().for_each(|job| job.resolve_paths(&main_dir));
        let ours_dir = match in_routing("forwarders") {
            true => sources.routing_dir(),
            false => main_dir.clone(),
        };
        spec.ours
            .forwarders
            .iter_mut()
            .flatten()
            .for_each(|spec| spec.folder.clone_from(&ours_dir));
        spec.remote_write.iter_mut().flatten().for_each(|spec| spec.resolve_paths(&main_dir));
        spec.scrape_config_files.iter_mut().for_each(|path| {
            kit::config::resolve_path(path, &main_dir);
        });
        let variable = |name: &str| std::env::var(name).ok();
        spec.global.expand_external_labels(variable, |name| {
            warn!(name, "empty environment variable in external_labels");
        });
        Ok(Loader { sources, spec })
    }

    /// Sections that an agent has no use for.
    fn warn_of_ignored(&self) {
        let Spec { alerting, rule_files, storage, tracing, remote_read, otlp, runtime, .. } =
            &self.spec;
        for (section, given) in [
            ("alerting", *alerting != AlertingSpec::default()),
            ("rule_files", !rule_files.is_empty()),
            ("remote_read", !remote_read.is_empty()),
            ("storage", *storage != StorageSpec::default()),
            ("tracing", tracing.is_some()),
            ("otlp", *otlp != OtlpSpec::default()),
            ("runtime", *runtime != RuntimeSpec::default()),
        ] {
            if given {
                warn!(section, "section has no effect here");
            }
        }
    }

    fn finish(self, depth: Depth) -> Result<Config, LoadError> {
        let Loader { mut sources, spec } = self;
        let Spec { global, ours, .. } = &spec;
        let located = |invalid: Invalid| sources.locate(invalid);
        let global = global.clone().check().map_err(|error| located(error.under("global")))?;
        let mut jobs = JobFiles::new(&global);
        jobs.add_main(spec.scrape_configs.clone(), &sources)?;
        spec.alerting.check(&global).map_err(|error| located(error.under("alerting")))?;
        let forwarding = forwarder::config::Spec {
            remote_write: spec.remote_write.clone(),
            forwarders: ours.forwarders.clone(),
            data_types: ours.data_types.clone(),
            routes: ours.routes.clone(),
        };
        let common = Common {
            external_labels: global.external_labels(),
            names: global.names(),
            elsewhere: &[STATUS_DESTINATION],
        };
        let forwarder = forwarding.check(&common).map_err(located)?;
        ignored::check_remote_read(&spec.remote_read).map_err(located)?;
        spec.otlp.check(&global).map_err(|error| located(error.under("otlp")))?;
        spec.storage.check().map_err(|error| located(error.under("storage")))?;
        let tracing = spec.tracing.as_ref().map_or(Ok(()), TracingSpec::check);
        tracing.map_err(|error| located(error.under("tracing")))?;
        let status = ours.status.clone().unwrap_or_default().check();
        let status = status.map_err(|error| located(error.under("status")))?;
        let main_jobs = jobs.len();
        if depth == Depth::Everything {
            jobs.add_files(&spec.scrape_config_files, &mut sources)?;
        }
        let jobs = jobs.finish();
        let scraper = scraper::Config {
            external_labels: global.external_labels().clone(),
            immediate_first_round: !status.is_empty(),
            jobs,
        };
        let lint = lint::lint(&scraper, &forwarder, &status, &sources);
        let yaml = spec.dump(&global, &scraper.jobs[..main_jobs]);
        Ok(Config {
            scraper: Arc::new(scraper),
            forwarder: Arc::new(forwarder),
            status: Arc::new(status),
            files: sources.paths(),
            yaml,
            lint,
        })
    }
}

// === impl Spec ===

impl Spec {
    /// As YAML, with what was taken where nothing is said.
    fn dump(mut self, global: &GlobalConfig, jobs: &[Arc<scraper::JobConfig>]) -> String {
        self.global = global.spec().clone();
        self.scrape_configs = jobs.iter().map(|job| Some(job.spec().clone())).collect();
        self.remote_write.iter_mut().flatten().for_each(RemoteWriteSpec::fill_defaults);
        yaml::to_string(&self)
            .unwrap_or_else(|error| format!("<error creating config string: {error}>"))
    }
}

// === impl OurSpec ===

impl OurSpec {
    /// Takes the sections of a second file; the name of one that both files have is the error.
    fn take_from(&mut self, other: OurSpec) -> Result<(), &'static str> {
        fn take<T>(
            mine: &mut Vec<T>,
            theirs: Vec<T>,
            name: &'static str,
        ) -> Result<(), &'static str> {
            if !mine.is_empty() && !theirs.is_empty() {
                return Err(name);
            }
            mine.extend(theirs);
            Ok(())
        }
        let OurSpec { forwarders, data_types, routes, status } = other;
        take(&mut self.forwarders, forwarders, "forwarders")?;
        take(&mut self.data_types, data_types, "data_types")?;
        take(&mut self.routes, routes, "routes")?;
        match (&self.status, status) {
            (Some(_), Some(_)) => Err("status"),
            (None, theirs) => {
                self.status = theirs;
                Ok(())
            }
            (Some(_), None) => Ok(()),
        }
    }
}
