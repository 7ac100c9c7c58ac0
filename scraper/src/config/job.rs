//! One entry of `scrape_configs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kit::config::{
    Duration, HttpClientConfig, HttpClientSpec, Invalid, RelabelSpec, Size, is_default,
    no_null_items, resolve_path, yaml,
};
use model::{NameScheme, Rule};
use serde::{Deserialize, Serialize};

use super::discovery::{
    ConsulSdConfig, DiscoveryConfig, DiscoverySpec, DnsSdConfig, DockerSdConfig, FileSdConfig,
    HttpSdConfig, KubernetesSdConfig, NomadSdConfig,
};
use super::{GlobalConfig, protocols};
use crate::discovery::Group;
use crate::exposition::protocol::{EscapingScheme, ScrapeProtocol};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.ScrapeConfig")]
pub struct JobSpec {
    /// The job's name; unique.
    pub job_name: String,
    /// Exposed labels win over target labels. Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub honor_labels: bool,
    /// Exposed timestamps are taken. Default true.
    pub honor_timestamps: bool,
    /// Series with timestamps of their own get stale markers too. Default false.
    pub track_timestamps_staleness: bool,
    /// Parameters of the URL.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Vec<String>>,
    /// Time between scrapes. Default: the global one.
    pub scrape_interval: Duration,
    /// The longest a scrape may take. Default: the global one, or the interval if that is less.
    pub scrape_timeout: Duration,
    /// Formats to ask for, the most wanted first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_protocols: Option<Vec<String>>,
    /// The format of an answer that does not say which one it is in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fallback_scrape_protocol: String,
    /// Whether native histograms are scraped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_native_histograms: Option<bool>,
    /// Whether classic histograms are scraped beside native ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always_scrape_classic_histograms: Option<bool>,
    /// Whether classic histograms become native ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    /// Where failed scrapes are logged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scrape_failure_log_file: String,
    /// The path of the URL. Default `/metrics`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metrics_path: String,
    /// The scheme of the URL. Default `http`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// Whether gzip is asked for. Default true.
    pub enable_compression: bool,
    /// Largest body, inflated; 0 for any.
    #[serde(skip_serializing_if = "Size::is_zero")]
    pub body_size_limit: Size,
    /// Most samples of a scrape, after relabelling; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub sample_limit: u64,
    /// Most targets; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub target_limit: u64,
    /// Most labels of a series; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub label_limit: u64,
    /// Longest label name; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub label_name_length_limit: u64,
    /// Longest label value; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub label_value_length_limit: u64,
    /// Most buckets of a native histogram before buckets are merged; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub native_histogram_bucket_limit: u64,
    /// Smallest growth factor of buckets before buckets are merged; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub native_histogram_min_bucket_factor: f64,
    /// Most dropped targets shown; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_dropped_targets: u64,
    /// `utf8` or `legacy`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric_name_validation_scheme: String,
    /// `allow-utf-8`, `underscores`, `dots`, `values`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric_name_escaping_scheme: String,
    /// Whether `scrape_timeout_seconds` and its kin are reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_scrape_metrics: Option<bool>,
    /// Rules for targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relabel_configs: Vec<Option<RelabelSpec>>,
    /// Rules for series.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metric_relabel_configs: Vec<Option<RelabelSpec>>,
    /// Where targets come from, and the HTTP client's keys.
    #[serde(rename = "<inline>")]
    pub discovery: DiscoverySpec<HttpClientSpec>,
}

/// Checked, with all defaults. Invariant: `0 < scrape_timeout <= scrape_interval`.
/// Equal if everything that the file says is.
#[derive(Debug, Clone)]
pub struct JobConfig {
    spec: JobSpec,
    name: Arc<str>,
    names: NameScheme,
    escaping: EscapingScheme,
    accept_header: String,
    fallback: Option<ScrapeProtocol>,
    relabel: Vec<Rule>,
    metric_relabel: Vec<Rule>,
    http: HttpClientConfig,
    discovery: DiscoveryConfig,
}

// === impl JobSpec ===

impl Default for JobSpec {
    fn default() -> JobSpec {
        JobSpec {
            job_name: String::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            params: BTreeMap::new(),
            scrape_interval: Duration::ZERO,
            scrape_timeout: Duration::ZERO,
            scrape_protocols: None,
            fallback_scrape_protocol: String::new(),
            scrape_native_histograms: None,
            always_scrape_classic_histograms: None,
            convert_classic_histograms_to_nhcb: None,
            scrape_failure_log_file: String::new(),
            metrics_path: "/metrics".to_owned(),
            scheme: "http".to_owned(),
            enable_compression: true,
            body_size_limit: Size::default(),
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            native_histogram_bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: String::new(),
            metric_name_escaping_scheme: String::new(),
            extra_scrape_metrics: None,
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            discovery: DiscoverySpec::default(),
        }
    }
}

const NULL_RULE: &str = "empty or null target relabeling rule in scrape config";
const NULL_METRIC_RULE: &str = "empty or null metric relabeling rule in scrape config";

impl JobSpec {
    /// Makes its paths relative to `dir`.
    pub fn resolve_paths(&mut self, dir: &Path) {
        resolve_path(&mut self.scrape_failure_log_file, dir);
        self.discovery.resolve_paths(dir);
        self.discovery.http.resolve_paths(dir);
    }

    /// Checks it, in Prometheus' order, and fills in what it takes from `global`.
    ///
    /// # Errors
    /// Keys are relative to the entry.
    pub fn check(mut self, global: &GlobalConfig) -> Result<JobConfig, Invalid> {
        let discovery = self.discovery.check()?;
        if self.job_name.is_empty() {
            return Err(Invalid::new("job_name", "job_name is empty"));
        }
        let http = self.discovery.http.clone().check()?;
        self.discovery.http.fill_defaults(true);
        if self.relabel_configs.is_empty() {
            discovery.check_static_targets()?;
        }
        let rules = no_null_items(self.relabel_configs.clone(), "relabel_configs", NULL_RULE)?;
        let metric_rules = no_null_items(
            self.metric_relabel_configs.clone(),
            "metric_relabel_configs",
            NULL_METRIC_RULE,
        )?;
        self.inherit(global)?;
        let wanted = self.check_protocols(global)?;
        let fallback = self.check_fallback()?;
        let (names, escaping) = self.check_names(global)?;
        let relabel = check_rules(rules, "relabel_configs", names)?;
        let metric_relabel = check_rules(metric_rules, "metric_relabel_configs", names)?;
        let written = self.relabel_configs.iter_mut().chain(&mut self.metric_relabel_configs);
        written.flatten().for_each(RelabelSpec::fill_defaults);
        Ok(JobConfig {
            name: self.job_name.as_str().into(),
            names,
            escaping,
            accept_header: protocols::accept_header(&wanted, &self.metric_name_escaping_scheme),
            fallback,
            relabel,
            metric_relabel,
            http,
            discovery,
            spec: self,
        })
    }

    /// Takes from `global` what is not said.
    fn inherit(&mut self, global: &GlobalConfig) -> Result<(), Invalid> {
        let global = global.spec();
        self.scrape_interval = self.scrape_interval.or(global.scrape_interval);
        if self.scrape_timeout > self.scrape_interval {
            let name = &self.job_name;
            let message = format!(
                "scrape timeout greater than scrape interval for scrape config with job name \
                 {name:?}"
            );
            return Err(Invalid::new("scrape_timeout", message));
        }
        let timeout = global.scrape_timeout.min(self.scrape_interval);
        self.scrape_timeout = self.scrape_timeout.or(timeout);
        if self.body_size_limit.is_zero() {
            self.body_size_limit = global.body_size_limit;
        }
        for (limit, default) in [
            (&mut self.sample_limit, global.sample_limit),
            (&mut self.target_limit, global.target_limit),
            (&mut self.label_limit, global.label_limit),
            (&mut self.label_name_length_limit, global.label_name_length_limit),
            (&mut self.label_value_length_limit, global.label_value_length_limit),
            (&mut self.keep_dropped_targets, global.keep_dropped_targets),
        ] {
            if *limit == 0 {
                *limit = default;
            }
        }
        if self.scrape_failure_log_file.is_empty() {
            self.scrape_failure_log_file.clone_from(&global.scrape_failure_log_file);
        }
        for (switch, default) in [
            (&mut self.scrape_native_histograms, global.scrape_native_histograms),
            (&mut self.extra_scrape_metrics, global.extra_scrape_metrics),
            (
                &mut self.always_scrape_classic_histograms,
                Some(global.always_scrape_classic_histograms),
            ),
            (
                &mut self.convert_classic_histograms_to_nhcb,
                Some(global.convert_classic_histograms_to_nhcb),
            ),
        ] {
            switch.get_or_insert(default.unwrap_or(false));
        }
        Ok(())
    }

    fn check_protocols(&mut self, global: &GlobalConfig) -> Result<Vec<ScrapeProtocol>, Invalid> {
        let native = self.scrape_native_histograms == Some(true);
        let names = self.scrape_protocols.get_or_insert_with(|| {
            let global = global.spec().scrape_protocols.clone();
            global.unwrap_or_else(|| protocols::default_protocols(native))
        });
        let context = format!(" for scrape config with job name {:?}", self.job_name);
        protocols::protocols(names, &context)
    }

    fn check_fallback(&self) -> Result<Option<ScrapeProtocol>, Invalid> {
        let fallback = &self.fallback_scrape_protocol;
        if fallback.is_empty() {
            return Ok(None);
        }
        protocols::protocol(fallback).map(Some).map_err(|why| {
            let name = &self.job_name;
            let message = format!(
                "invalid fallback_scrape_protocol for scrape config with job name {name:?}: {why}"
            );
            Invalid::new("fallback_scrape_protocol", message)
        })
    }

    fn check_names(
        &mut self,
        global: &GlobalConfig,
    ) -> Result<(NameScheme, EscapingScheme), Invalid> {
        let own = protocols::name_scheme(&self.metric_name_validation_scheme)?;
        let names = own.unwrap_or(global.names);
        self.metric_name_validation_scheme = names.name().to_owned();
        if self.metric_name_escaping_scheme.is_empty() {
            self.metric_name_escaping_scheme = match own {
                None => global.spec().metric_name_escaping_scheme.clone(),
                Some(own) => protocols::default_escaping(own).to_owned(),
            };
        }
        let escaping = protocols::escaping(&self.metric_name_escaping_scheme, "scrape config")?;
        if escaping == EscapingScheme::AllowUtf8 && names != NameScheme::Utf8 {
            let message = "utf8 metric names requested but validation scheme is not set to UTF8";
            return Err(Invalid::new("metric_name_escaping_scheme", message));
        }
        Ok((names, escaping))
    }
}

fn check_rules(
    rules: Vec<RelabelSpec>,
    key: &str,
    names: NameScheme,
) -> Result<Vec<Rule>, Invalid> {
    let rules = rules.into_iter().enumerate();
    let checked = rules
        .map(|(at, rule)| rule.check(names).map_err(|error| error.under(format!("{key}[{at}]"))));
    checked.collect()
}

// === impl JobConfig ===

/// Named as the keys of the file.
impl JobConfig {
    /// The job's name.
    pub fn job_name(&self) -> &Arc<str> {
        &self.name
    }

    /// Exposed labels win over target labels.
    pub fn honor_labels(&self) -> bool {
        self.spec.honor_labels
    }

    /// Exposed timestamps are taken.
    pub fn honor_timestamps(&self) -> bool {
        self.spec.honor_timestamps
    }

    /// Series with timestamps of their own get stale markers too.
    pub fn track_timestamps_staleness(&self) -> bool {
        self.spec.track_timestamps_staleness
    }

    /// Parameters of the URL.
    pub fn params(&self) -> &BTreeMap<String, Vec<String>> {
        &self.spec.params
    }

    /// Time between scrapes.
    pub fn scrape_interval(&self) -> Duration {
        self.spec.scrape_interval
    }

    /// The longest a scrape may take.
    pub fn scrape_timeout(&self) -> Duration {
        self.spec.scrape_timeout
    }

    /// The format of an answer that does not say which one it is in.
    pub fn fallback_scrape_protocol(&self) -> Option<ScrapeProtocol> {
        self.fallback
    }

    /// Whether native histograms are scraped.
    pub fn scrape_native_histograms(&self) -> bool {
        self.spec.scrape_native_histograms == Some(true)
    }

    /// Whether classic histograms are scraped beside native ones.
    pub fn always_scrape_classic_histograms(&self) -> bool {
        self.spec.always_scrape_classic_histograms == Some(true)
    }

    /// Whether classic histograms become native ones.
    pub fn convert_classic_histograms_to_nhcb(&self) -> bool {
        self.spec.convert_classic_histograms_to_nhcb == Some(true)
    }

    /// Where failed scrapes are logged; empty for nowhere.
    pub fn scrape_failure_log_file(&self) -> &str {
        &self.spec.scrape_failure_log_file
    }

    /// The path of the URL.
    pub fn metrics_path(&self) -> &str {
        &self.spec.metrics_path
    }

    /// The scheme of the URL.
    pub fn scheme(&self) -> &str {
        &self.spec.scheme
    }

    /// Whether gzip is asked for.
    pub fn enable_compression(&self) -> bool {
        self.spec.enable_compression
    }

    /// Largest body, inflated; 0 for any.
    pub fn body_size_limit(&self) -> Size {
        self.spec.body_size_limit
    }

    /// Most samples of a scrape, after relabelling; 0 for any.
    pub fn sample_limit(&self) -> u64 {
        self.spec.sample_limit
    }

    /// Most targets; 0 for any.
    pub fn target_limit(&self) -> u64 {
        self.spec.target_limit
    }

    /// Most labels of a series; 0 for any.
    pub fn label_limit(&self) -> u64 {
        self.spec.label_limit
    }

    /// Longest label name; 0 for any.
    pub fn label_name_length_limit(&self) -> u64 {
        self.spec.label_name_length_limit
    }

    /// Longest label value; 0 for any.
    pub fn label_value_length_limit(&self) -> u64 {
        self.spec.label_value_length_limit
    }

    /// Most buckets of a native histogram before buckets are merged; 0 for any.
    pub fn native_histogram_bucket_limit(&self) -> u64 {
        self.spec.native_histogram_bucket_limit
    }

    /// Smallest growth factor of buckets before buckets are merged; 0 for any.
    pub fn native_histogram_min_bucket_factor(&self) -> f64 {
        self.spec.native_histogram_min_bucket_factor
    }

    /// Most dropped targets shown; 0 for any.
    pub fn keep_dropped_targets(&self) -> u64 {
        self.spec.keep_dropped_targets
    }

    /// Which metric and label names are valid.
    pub fn metric_name_validation_scheme(&self) -> NameScheme {
        self.names
    }

    /// How targets shall write names that are not valid everywhere.
    pub fn metric_name_escaping_scheme(&self) -> EscapingScheme {
        self.escaping
    }

    /// Whether `scrape_timeout_seconds` and its kin are reported.
    pub fn extra_scrape_metrics(&self) -> bool {
        self.spec.extra_scrape_metrics == Some(true)
    }

    /// Rules for targets.
    pub fn relabel_configs(&self) -> &[Rule] {
        &self.relabel
    }

    /// Rules for series.
    pub fn metric_relabel_configs(&self) -> &[Rule] {
        &self.metric_relabel
    }

    /// The HTTP client's options.
    pub fn http(&self) -> &HttpClientConfig {
        &self.http
    }

    /// The `Accept` header: `scrape_protocols` with their weights.
    pub fn accept_header(&self) -> &str {
        &self.accept_header
    }

    /// `static_configs`.
    pub(crate) fn static_groups(&self) -> &[Group] {
        &self.discovery.groups
    }

    /// `file_sd_configs`.
    pub fn file_sd(&self) -> &[FileSdConfig] {
        &self.discovery.file
    }

    /// `http_sd_configs`.
    pub fn http_sd(&self) -> &[HttpSdConfig] {
        &self.discovery.http
    }

    /// `dns_sd_configs`.
    pub fn dns_sd(&self) -> &[DnsSdConfig] {
        &self.discovery.dns
    }

    /// `consul_sd_configs`.
    pub fn consul_sd(&self) -> &[ConsulSdConfig] {
        &self.discovery.consul
    }

    /// `kubernetes_sd_configs`.
    pub fn kubernetes_sd(&self) -> &[KubernetesSdConfig] {
        &self.discovery.kubernetes
    }

    /// `docker_sd_configs`.
    pub fn docker_sd(&self) -> &[DockerSdConfig] {
        &self.discovery.docker
    }

    /// `nomad_sd_configs`.
    pub fn nomad_sd(&self) -> &[NomadSdConfig] {
        &self.discovery.nomad
    }

    /// What the file says, with the defaults filled in.
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// The entry as YAML, with the defaults filled in; secrets are not shown.
    pub fn yaml(&self) -> String {
        yaml::to_string(&self.spec)
            .unwrap_or_else(|error| format!("<error creating config string: {error}>"))
    }

    /// Whether what is remembered about targets stays valid under `other`: only the pace, the
    /// sample limit or the HTTP client differ.
    pub fn keeps_cache(&self, other: &JobConfig) -> bool {
        let essence = |job: &JobConfig| {
            let mut spec = job.spec.clone();
            spec.scrape_interval = Duration::ZERO;
            spec.scrape_timeout = Duration::ZERO;
            spec.sample_limit = 0;
            spec.discovery.http = HttpClientSpec::default();
            spec
        };
        essence(self) == essence(other)
    }
}

impl PartialEq for JobConfig {
    fn eq(&self, other: &JobConfig) -> bool {
        self.spec == other.spec
    }
}
