//! Sections that Prometheus has and an agent has no use for: accepted, checked as Prometheus
//! checks them, and without effect.

use std::collections::BTreeMap;

use kit::config::yaml::Section;
use kit::config::{
    Duration, HttpClientSpec, Invalid, LabelName, LabelValue, RelabelSpec, Size, TlsSpec,
    check_own_headers, is_default, no_null_items,
};
use model::NameScheme;
use scraper::config::{DiscoverySpec, GlobalConfig};
use serde::{Deserialize, Serialize};

/// `runtime`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.RuntimeConfig")]
pub(super) struct RuntimeSpec {
    gogc: i64,
}

/// `alerting`
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
pub(super) struct AlertingSpec {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alert_relabel_configs: Vec<Option<RelabelSpec>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alertmanagers: Vec<AlertmanagerSpec>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.AlertmanagerConfig")]
struct AlertmanagerSpec {
    scheme: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    path_prefix: String,
    timeout: Duration,
    api_version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relabel_configs: Vec<Option<RelabelSpec>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alert_relabel_configs: Vec<Option<RelabelSpec>>,
    #[serde(skip_serializing)]
    sigv4: Given,
    #[serde(rename = "<inline>")]
    discovery: DiscoverySpec<HttpClientSpec>,
}

/// Whether a section is there, whatever is in it.
#[derive(Debug, Clone, PartialEq, Default)]
struct Given(bool);

/// `storage`
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.StorageConfig")]
pub(super) struct StorageSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    tsdb: Option<TsdbSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exemplars: Option<ExemplarsSpec>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
struct TsdbSpec {
    #[serde(skip_serializing_if = "Duration::is_zero")]
    out_of_order_time_window: Duration,
    #[serde(skip_serializing_if = "is_default")]
    stale_series_compaction_threshold: f64,
    #[serde(skip_serializing_if = "is_default")]
    chunk_encoding: ChunkEncodingSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<RetentionSpec>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.ChunkEncodingConfig")]
struct ChunkEncodingSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    floats: String,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
struct RetentionSpec {
    #[serde(skip_serializing_if = "Duration::is_zero")]
    time: Duration,
    #[serde(skip_serializing_if = "String::is_empty")]
    size: String,
    #[serde(skip_serializing_if = "is_default")]
    percentage: f64,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.ExemplarsConfig")]
struct ExemplarsSpec {
    #[serde(skip_serializing_if = "is_default")]
    max_exemplars: i64,
}

/// `tracing`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
pub(super) struct TracingSpec {
    client_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    endpoint: String,
    #[serde(skip_serializing_if = "is_default")]
    sampling_fraction: f64,
    #[serde(skip_serializing_if = "is_default")]
    insecure: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_config: TlsSpec,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    compression: String,
    #[serde(skip_serializing_if = "Duration::is_zero")]
    timeout: Duration,
}

/// An entry of `remote_read`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
pub(super) struct RemoteReadSpec {
    url: String,
    remote_timeout: Duration,
    #[serde(skip_serializing_if = "is_default")]
    chunked_read_limit: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    read_recent: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    required_matchers: BTreeMap<LabelName, LabelValue>,
    filter_external_labels: bool,
    #[serde(rename = "<inline>")]
    http: HttpClientSpec,
}

/// `otlp`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
pub(super) struct OtlpSpec {
    #[serde(skip_serializing_if = "is_default")]
    promote_all_resource_attributes: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    promote_resource_attributes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignore_resource_attributes: Vec<String>,
    translation_strategy: String,
    #[serde(skip_serializing_if = "is_default")]
    keep_identifying_resource_attributes: bool,
    #[serde(skip_serializing_if = "is_default")]
    convert_histograms_to_nhcb: bool,
    #[serde(skip_serializing_if = "is_default")]
    promote_scope_metadata: bool,
    label_name_underscore_sanitization: bool,
    label_name_preserve_multiple_underscores: bool,
}

/// What Go's own garbage collector would be told.
const GOGC_DEFAULT: i64 = 75;

/// Checks `rule_files` and `scrape_config_files`: `*` may only stand in the last part of a path.
pub(super) fn check_patterns(rules: &[String], jobs: &[String]) -> Result<(), Invalid> {
    let lists =
        [("rule_files", "rule file", rules), ("scrape_config_files", "scrape config file", jobs)];
    for (key, what, patterns) in lists {
        for (at, pattern) in patterns.iter().enumerate() {
            let stars = pattern.matches('*').count();
            let last = pattern.rsplit('/').next().unwrap_or_default();
            if stars > 1 || (stars == 1 && !last.contains('*')) {
                let message = format!("invalid {what} path {pattern:?}");
                return Err(Invalid::new(format!("{key}[{at}]"), message));
            }
        }
    }
    Ok(())
}

/// Checks `remote_read`.
pub(super) fn check_remote_read(entries: &[Option<RemoteReadSpec>]) -> Result<(), Invalid> {
    let null = "empty or null remote read config section";
    let entries = no_null_items(entries.to_vec(), "remote_read", null)?;
    for (at, entry) in entries.iter().enumerate() {
        let key = format!("remote_read[{at}]");
        entry.check().map_err(|error| error.under(&key))?;
        let same = |other: &RemoteReadSpec| other.name == entry.name;
        if !entry.name.is_empty() && entries[..at].iter().any(same) {
            let name = &entry.name;
            let message = format!("found multiple remote read configs with job name {name:?}");
            return Err(Invalid::new(format!("{key}.name"), message));
        }
    }
    Ok(())
}

// === impl RuntimeSpec ===

impl Default for RuntimeSpec {
    fn default() -> RuntimeSpec {
        RuntimeSpec { gogc: GOGC_DEFAULT }
    }
}

// === impl AlertingSpec ===

impl AlertingSpec {
    pub(super) fn check(&self, global: &GlobalConfig) -> Result<(), Invalid> {
        let rules = |rules: &[Option<RelabelSpec>], key: &str, null: &str| {
            RelabelSpec::check_all(rules.to_vec(), key, null, global.names()).map(|_| ())
        };
        rules(
            &self.alert_relabel_configs,
            "alert_relabel_configs",
            "empty or null alert relabeling rule",
        )?;
        for (at, manager) in self.alertmanagers.iter().enumerate() {
            let check = || {
                manager.discovery.http.clone().check()?;
                if manager.api_version != "v2" {
                    let message = format!(
                        "expected Alertmanager api version to be one of [v2] but got {}",
                        manager.api_version
                    );
                    return Err(Invalid::new("api_version", message));
                }
                let null = "empty or null Alertmanager target relabeling rule";
                rules(&manager.relabel_configs, "relabel_configs", null)?;
                let null = "empty or null Alertmanager alert relabeling rule";
                rules(&manager.alert_relabel_configs, "alert_relabel_configs", null)
            };
            check().map_err(|error| error.under(format!("alertmanagers[{at}]")))?;
        }
        Ok(())
    }
}

impl Default for AlertmanagerSpec {
    fn default() -> AlertmanagerSpec {
        AlertmanagerSpec {
            scheme: "http".to_owned(),
            path_prefix: String::new(),
            timeout: Duration::from_secs(10),
            api_version: "v2".to_owned(),
            relabel_configs: Vec::new(),
            alert_relabel_configs: Vec::new(),
            sigv4: Given::default(),
            discovery: DiscoverySpec::default(),
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Given, D::Error> {
        Section::deserialize(deserializer).map(|section| Given(!section.is_empty()))
    }
}

// === impl StorageSpec ===

impl StorageSpec {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let Some(tsdb) = &self.tsdb else { return Ok(()) };
        let floats = &*tsdb.chunk_encoding.floats;
        if !matches!(floats, "" | "xor" | "xor2") {
            let message = format!(
                "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must \
                 be omitted entirely, got {floats:?}"
            );
            return Err(Invalid::new("tsdb.chunk_encoding.floats", message));
        }
        let Some(RetentionSpec { time: _, size, percentage }) = &tsdb.retention else {
            return Ok(());
        };
        let size_key = "tsdb.retention.size";
        if size.starts_with('-') {
            let message = format!(
                "'storage.tsdb.retention.size' must be greater than or equal to 0, got {size}"
            );
            return Err(Invalid::new(size_key, message));
        }
        if !size.is_empty() {
            let parsed = size.parse::<Size>();
            parsed.map_err(|error| Invalid::new(size_key, error.to_string()))?;
        }
        if !(0.0..=100.0).contains(percentage) {
            let message = format!(
                "'storage.tsdb.retention.percentage' must be in the range [0, 100], got {percentage}"
            );
            return Err(Invalid::new("tsdb.retention.percentage", message));
        }
        Ok(())
    }
}

// === impl TracingSpec ===

impl Default for TracingSpec {
    fn default() -> TracingSpec {
        TracingSpec {
            client_type: "grpc".to_owned(),
            endpoint: String::new(),
            sampling_fraction: 0.0,
            insecure: false,
            tls_config: TlsSpec::default(),
            headers: BTreeMap::new(),
            compression: String::new(),
            timeout: Duration::ZERO,
        }
    }
}

impl TracingSpec {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if !matches!(&*self.client_type, "http" | "grpc") {
            let message = format!(
                "expected tracing client type to be to be http or grpc, but got {}",
                self.client_type
            );
            return Err(Invalid::new("client_type", message));
        }
        let authorization = "custom authorization header configuration is not yet supported";
        check_own_headers(self.headers.keys(), authorization)?;
        if self.endpoint.is_empty() {
            return Err(Invalid::new("endpoint", "tracing endpoint must be set"));
        }
        if !matches!(&*self.compression, "" | "gzip") {
            let message = format!(
                "invalid compression type {} provided, valid options: gzip",
                self.compression
            );
            return Err(Invalid::new("compression", message));
        }
        self.tls_config.clone().check().map_err(|error| error.under("tls_config")).map(|_| ())
    }
}

// === impl RemoteReadSpec ===

impl Default for RemoteReadSpec {
    fn default() -> RemoteReadSpec {
        RemoteReadSpec {
            url: String::new(),
            remote_timeout: Duration::from_secs(60),
            chunked_read_limit: 50_000_000,
            headers: BTreeMap::new(),
            read_recent: false,
            name: String::new(),
            required_matchers: BTreeMap::new(),
            filter_external_labels: true,
            http: HttpClientSpec::default(),
        }
    }
}

impl RemoteReadSpec {
    fn check(&self) -> Result<(), Invalid> {
        if self.url.is_empty() {
            return Err(Invalid::new("url", "url for remote_read is empty"));
        }
        let authorization = "authorization header must be changed via the basic_auth, \
                             authorization, oauth2, sigv4, azuread or google_iam parameter";
        check_own_headers(self.headers.keys(), authorization)?;
        self.http.clone().check().map(|_| ())
    }
}

// === impl OtlpSpec ===

impl Default for OtlpSpec {
    fn default() -> OtlpSpec {
        OtlpSpec {
            promote_all_resource_attributes: false,
            promote_resource_attributes: Vec::new(),
            ignore_resource_attributes: Vec::new(),
            translation_strategy: "UnderscoreEscapingWithSuffixes".to_owned(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

impl OtlpSpec {
    pub(super) fn check(&self, global: &GlobalConfig) -> Result<(), Invalid> {
        let refuse = |key: &str, message: &str| Err(Invalid::new(key, message));
        let (promoted, ignored) =
            (&self.promote_resource_attributes, &self.ignore_resource_attributes);
        if self.promote_all_resource_attributes && !promoted.is_empty() {
            return refuse(
                "promote_resource_attributes",
                "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be \
                 configured simultaneously",
            );
        }
        if !self.promote_all_resource_attributes && !ignored.is_empty() {
            return refuse(
                "ignore_resource_attributes",
                "'ignore_resource_attributes' cannot be configured unless \
                 'promote_all_resource_attributes' is true",
            );
        }
        check_attributes(ignored, "ignore_resource_attributes", "ignored")?;
        check_attributes(promoted, "promote_resource_attributes", "promoted")?;
        let strategy = &self.translation_strategy;
        let utf8 = match &**strategy {
            "" | "UnderscoreEscapingWithSuffixes" | "UnderscoreEscapingWithoutSuffixes" => false,
            "NoTranslation" | "NoUTF8EscapingWithSuffixes" => true,
            _ => {
                let message = format!("unsupported OTLP translation strategy {strategy:?}");
                return refuse("translation_strategy", &message);
            }
        };
        if utf8 && global.names() == NameScheme::Legacy {
            let message = format!(
                "OTLP translation strategy {strategy:?} is not allowed when UTF8 is disabled"
            );
            return refuse("translation_strategy", &message);
        }
        Ok(())
    }
}

/// No attribute may be empty or stand twice, blanks around it not counted.
fn check_attributes(attributes: &[String], key: &str, what: &str) -> Result<(), Invalid> {
    for (at, attribute) in attributes.iter().enumerate() {
        let name = attribute.trim();
        let problem = match name {
            "" => Some(format!("empty {what} OTel resource attribute")),
            _ if attributes[..at].iter().any(|other| other.trim() == name) => {
                Some(format!("duplicated {what} OTel resource attribute {name:?}"))
            }
            _ => None,
        };
        if let Some(problem) = problem {
            let message = format!("invalid '{key}': {problem}");
            return Err(Invalid::new(format!("{key}[{at}]"), message));
        }
    }
    Ok(())
}
