//! An entry of `remote_write`, as Prometheus reads it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use kit::config::{Duration, HttpClientSpec, Invalid, RelabelSpec, is_default, serialize_url};
use serde::{Deserialize, Serialize, Serializer};

use super::{Common, DeliverySpec, DestinationConfig, QueueSpec};
use crate::module::{Checked, Wants};
use crate::modules::{Choice, REMOTE_WRITE, RemoteWriteConfig, WireVersion};

/// Headers that are ours to set (Prometheus' `reservedHeaders`), in lower case.
const RESERVED_HEADERS: [&str; 17] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// Metadata is not sent more often, whatever the file says: it changes with deployments, and rounds
/// without a pause would be all that the receiver gets to do.
const METADATA_INTERVAL_MIN: std::time::Duration = std::time::Duration::from_secs(1);

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
pub struct RemoteWriteSpec {
    /// Where samples are sent to.
    #[serde(serialize_with = "serialize_url")]
    pub url: String,
    /// How long a request may take. Default 30s.
    pub remote_timeout: Duration,
    /// Headers for every request. Not `authorization`, nor those that are ours to set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Changes or drops series on their way to this receiver; external labels are there already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_relabel_configs: Vec<Option<RelabelSpec>>,
    /// Names the queue in metrics and routes. Default: a hash of the rest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether exemplars are sent. Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub send_exemplars: bool,
    /// Whether native histograms are sent. Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub send_native_histograms: bool,
    /// Accepted: every new connection asks the resolver again as it is.
    #[serde(skip_serializing_if = "is_default")]
    pub round_robin_dns: bool,
    /// `prometheus.WriteRequest` (remote write 1.0, the default) or
    /// `io.prometheus.write.v2.Request` (2.0).
    pub protobuf_message: String,
    /// Shards, batches, retries and limits.
    pub queue_config: QueueSpec,
    /// Metadata in requests of its own: only with 1.0.
    pub metadata_config: MetadataSpec,
    /// Durability, what answers mean, thinning and shedding. rollcall's own.
    #[serde(skip_serializing_if = "is_default")]
    pub delivery: DeliverySpec,
    /// Further receivers of the same samples, tried in turn while `url` fails. rollcall's own.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "serialize_urls")]
    pub failover_urls: Vec<String>,
    /// Whether requests go to `url` and `failover_urls` in turn. Default false. rollcall's own.
    #[serde(skip_serializing_if = "is_default")]
    pub load_balance: bool,
    /// Whether each series goes to one of `url` and `failover_urls`, always to the same one. Default
    /// false. rollcall's own.
    #[serde(skip_serializing_if = "is_default")]
    pub sharded: bool,
    /// Not supported.
    #[serde(skip_serializing)]
    pub sigv4: Option<serde_json::Value>,
    /// Not supported.
    #[serde(skip_serializing)]
    pub azuread: Option<serde_json::Value>,
    /// Not supported.
    #[serde(skip_serializing)]
    pub google_iam: Option<serde_json::Value>,
    /// The HTTP client's keys.
    #[serde(rename = "<inline>")]
    pub http: HttpClientSpec,
}

/// URLs without their passwords.
fn serialize_urls<S: Serializer>(urls: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Url<'u>(#[serde(serialize_with = "serialize_url")] &'u str);
    serializer.collect_seq(urls.iter().map(|url| Url(url)))
}

/// `metadata_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
pub struct MetadataSpec {
    /// Whether metadata is sent. Default true.
    pub send: bool,
    /// How often, at most once a second. Default 1m.
    pub send_interval: Duration,
    /// Families in one request. Default 2000.
    pub max_samples_per_send: i64,
}

impl Default for RemoteWriteSpec {
    fn default() -> RemoteWriteSpec {
        RemoteWriteSpec {
            url: String::new(),
            remote_timeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            write_relabel_configs: Vec::new(),
            name: String::new(),
            send_exemplars: false,
            send_native_histograms: false,
            round_robin_dns: false,
            protobuf_message: WireVersion::V1.message().to_owned(),
            queue_config: QueueSpec::default(),
            metadata_config: MetadataSpec::default(),
            delivery: DeliverySpec::default(),
            failover_urls: Vec::new(),
            load_balance: false,
            sharded: false,
            sigv4: None,
            azuread: None,
            google_iam: None,
            http: HttpClientSpec { enable_http2: Some(false), ..HttpClientSpec::default() },
        }
    }
}

impl Default for MetadataSpec {
    fn default() -> MetadataSpec {
        MetadataSpec {
            send: true,
            send_interval: Duration::from_secs(60),
            max_samples_per_send: 2_000,
        }
    }
}

// === impl RemoteWriteSpec ===

impl RemoteWriteSpec {
    /// Makes its paths relative to `dir`.
    pub fn resolve_paths(&mut self, dir: &Path) {
        self.http.resolve_paths(dir);
        self.delivery.resolve_paths(dir);
    }

    /// Writes out what is taken when nothing is said, for the dump of the configuration.
    pub fn fill_defaults(&mut self) {
        self.http.fill_defaults(false);
        if self.protobuf_message.is_empty() {
            self.protobuf_message = WireVersion::V1.message().to_owned();
        }
        self.write_relabel_configs.iter_mut().flatten().for_each(RelabelSpec::fill_defaults);
    }

    pub(super) fn check(self, common: &Common<'_>) -> Result<DestinationConfig, Invalid> {
        let name = self.name_or_hash();
        let queue = self.queue_config.clone();
        let null = "empty or null relabeling rule in remote write config";
        let key = "write_relabel_configs";
        let relabel = self.write_relabel_configs.clone();
        if self.url.is_empty() {
            return Err(Invalid::new("url", "url for remote_write is empty"));
        }
        let relabel = RelabelSpec::check_all(relabel, key, null, common.names)?;
        let queue = queue.check().map_err(|invalid| invalid.under("queue_config"))?;
        let delivery = self.delivery.clone().check();
        let delivery = delivery.map_err(|invalid| invalid.under("delivery"))?;
        let Checked { settings, build, encoding, parts, wants, metadata, file } =
            self.check_sending(&queue)?;
        Ok(DestinationConfig {
            name,
            module: REMOTE_WRITE,
            queue,
            delivery,
            external_labels: common.external_labels.clone(),
            relabel,
            encoding,
            parts,
            wants,
            metadata,
            file,
            build,
            takes_rest: true,
            settings,
        })
    }

    /// Checks what concerns sending alone: the module's part.
    pub(crate) fn check_sending(self, queue: &super::QueueConfig) -> Result<Checked, Invalid> {
        let settings = Arc::new(self.clone());
        let RemoteWriteSpec {
            url,
            remote_timeout,
            headers,
            write_relabel_configs: _,
            name: _,
            send_exemplars,
            send_native_histograms,
            round_robin_dns,
            protobuf_message,
            queue_config: _,
            metadata_config,
            delivery: _,
            failover_urls,
            load_balance,
            sharded,
            sigv4,
            azuread,
            google_iam,
            mut http,
        } = self;
        if url.is_empty() {
            return Err(Invalid::new("url", "url for remote_write is empty"));
        }
        check_headers(&headers)?;
        let version = WireVersion::of_message(&protobuf_message)?;
        for (key, section) in [("sigv4", sigv4), ("azuread", azuread), ("google_iam", google_iam)] {
            if section.is_some() {
                return Err(Invalid::new(key, format!("not supported by rollcall: {key}")));
            }
        }
        http.enable_http2.get_or_insert(false);
        if let Some(at) = failover_urls.iter().position(String::is_empty) {
            let key = format!("failover_urls[{at}]");
            return Err(Invalid::new(key, "url for remote_write is empty"));
        }
        let choice = match (load_balance, sharded) {
            (true, true) => {
                let message = "a destination is either load_balance or sharded";
                return Err(Invalid::new("sharded", message));
            }
            (true, false) => Choice::InTurn,
            (false, true) => Choice::BySeries,
            (false, false) => Choice::FirstThatWorks,
        };
        let urls: Vec<String> = std::iter::once(url).chain(failover_urls).collect();
        let parts = if sharded { urls.len() } else { 1 };
        let config = RemoteWriteConfig {
            urls,
            choice,
            timeout: remote_timeout.to_std(),
            headers: headers.into_iter().collect(),
            version,
            retry_on_http_429: queue.retry_on_http_429,
            http: http.check()?.with_round_robin_dns(round_robin_dns),
        };
        let wants = Wants { exemplars: send_exemplars, histograms: send_native_histograms };
        let metadata = metadata_config.plan();
        let encoding = version.encoding();
        let (build, file) = (config.build(), None);
        Ok(Checked { settings, build, encoding, parts, wants, metadata, file })
    }

    /// The name given, or one that follows from what is given.
    fn name_or_hash(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let hash = rapidhash::v3::rapidhash_v3(format!("{self:?}").as_bytes());
        format!("{:06x}", hash & 0xff_ffff)
    }
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), Invalid> {
    for (header, value) in headers {
        let lower = header.to_lowercase();
        let key = format!("headers.{header}");
        if lower == "authorization" {
            let message = "authorization header must be changed via the basic_auth, \
                authorization, oauth2, sigv4, azuread or google_iam parameter";
            return Err(Invalid::new(key, message));
        }
        if RESERVED_HEADERS.contains(&&*lower) {
            let message = format!("{header} is a reserved header. It must not be changed");
            return Err(Invalid::new(key, message));
        }
        // Prometheus takes it, and then fails to send each request.
        if HeaderName::try_from(header).is_err() || HeaderValue::try_from(value).is_err() {
            return Err(Invalid::new(key, "not an HTTP header"));
        }
    }
    Ok(())
}

// === impl MetadataSpec ===

impl MetadataSpec {
    fn plan(self) -> Option<crate::module::MetadataPlan> {
        let MetadataSpec { send, send_interval, max_samples_per_send } = self;
        let families_max = usize::try_from(max_samples_per_send).unwrap_or(0).max(1);
        let interval = send_interval.to_std().max(METADATA_INTERVAL_MIN);
        send.then_some(crate::module::MetadataPlan { interval, families_max })
    }
}
