//! Produces to a Kafka topic, acknowledged by all in-sync replicas.
//!
//! As JSON every sample is a message whose key is its series, or the value of one label: a key's
//! messages stay in order. As remote write every block is a message without a key. The producer
//! is idempotent: a message that the client library sends again is stored once. A block of which
//! some messages failed is produced again, whole: at least once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use kit::Clock;
use kit::config::{Invalid, yaml::Section};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::{debug, error, info, warn};

use super::lines::counts_of;
use super::secrets;
use crate::block::{Compression, Counts, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{BuildError, Checked, Module, ModuleKind, Parcel, SendError, Verdict};

pub(super) const KIND: ModuleKind = ModuleKind {
    name: "kafka",
    about: "produces to a Kafka topic, acknowledged by all in-sync replicas",
    check,
};

/// How long a message may wait for a place in the client library's queue.
const QUEUED_WITHIN: Duration = Duration::from_secs(30);
/// Names for which librdkafka has others, which are meant (its CONFIGURATION.md): in which order it
/// is told of both is left to chance.
const ALIASES: [(&str, &str); 8] = [
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
];
/// How long the library tries to deliver a message before the block is ours again.
const DELIVERED_WITHIN_MS: &str = "30000";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Kafka")]
struct Spec {
    /// `host:9092` of some brokers; they name the others.
    brokers: Vec<String>,
    /// The topic.
    topic: String,
    /// `json` (the default): a message a sample; `remote_write`: a message a block, snappy.
    format: String,
    /// With JSON: the label whose value is the key. Default: the key is the whole series.
    key_label: String,
    /// Further settings of librdkafka, such as `compression.type` and `security.protocol`.
    #[serde(serialize_with = "secrets::hide")]
    options: BTreeMap<String, String>,
    /// A file with more of them: `name=value` lines, as librdkafka's tools read them.
    options_file: String,
    /// All options, by the names that are meant.
    #[serde(skip)]
    all_options: BTreeMap<String, String>,
}

struct Kafka {
    /// Replaced when the library says that it can never be used again.
    producer: Mutex<Arc<Producing>>,
    config: ClientConfig,
    brokers: String,
    topic: String,
    is_json: bool,
    key_label: String,
}

/// A producer, which takes its time to end: not on a thread that serves.
struct Producing {
    producer: Option<FutureProducer<Trouble>>,
    trouble: Trouble,
}

/// What the client library said last about its connections, since something arrived: of a message
/// for which there was no way it says only that it took too long.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

/// A message that found no way.
#[derive(Debug, thiserror::Error)]
#[error("{trouble}")]
struct NoWay {
    trouble: String,
    source: KafkaError,
}

/// One of our lines, as far as it matters.
#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    labels: &'l RawValue,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            brokers: Vec::new(),
            topic: String::new(),
            format: "json".to_owned(),
            key_label: String::new(),
            options: BTreeMap::new(),
            options_file: String::new(),
            all_options: BTreeMap::new(),
        }
    }
}

fn check(section: &Section, _: &QueueConfig, folder: &Path) -> Result<Checked, Invalid> {
    let mut spec: Spec = section.decode()?;
    if spec.brokers.is_empty() {
        return Err(Invalid::new("brokers", "kafka forwarder has no brokers"));
    }
    if spec.topic.is_empty() {
        return Err(Invalid::new("topic", "kafka forwarder has no topic"));
    }
    let is_json = match spec.format.as_str() {
        "json" => true,
        "remote_write" => false,
        other => {
            let message = format!("unknown format {other:?}, known: json, remote_write");
            return Err(Invalid::new("format", message));
        }
    };
    if !is_json && !spec.key_label.is_empty() {
        return Err(Invalid::new("key_label", "key_label is for format json"));
    }
    let brokers = spec.brokers.join(",");
    if let Some(text) = secrets::read("options_file", &mut spec.options_file, folder)? {
        spec.all_options.extend(options_of(&text)?);
    }
    let stated = spec.options.iter().map(|(name, value)| (meant(name).to_owned(), value.clone()));
    spec.all_options.extend(stated);
    let config = client_config(&brokers, &spec.all_options);
    let is = |name: &str, wanted: fn(&str) -> bool| {
        config.get(name).is_some_and(|value| wanted(&value.to_ascii_lowercase()))
    };
    let by_sasl = is("security.protocol", |protocol| protocol.starts_with("sasl"));
    let has_mechanism = is("sasl.mechanisms", |mechanism| mechanism != "gssapi");
    if by_sasl && !has_mechanism {
        let message = "Kerberos (GSSAPI, which librdkafka takes if nothing is said) is not built \
            in: set sasl.mechanism to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
        return Err(Invalid::new("options", message));
    }
    if let Err(error) = config.create_native_config() {
        return Err(refused_option(error, &spec.options));
    }
    let settings = Arc::new(spec.clone());
    let build = move |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, BuildError> {
        let producer = Producing::start(&config).map_err(|source| BuildError {
            what: format!("the Kafka producer for {brokers}"),
            source: Box::new(source),
        })?;
        Ok(Box::new(Kafka {
            producer: Mutex::new(Arc::new(producer)),
            config: config.clone(),
            brokers: brokers.clone(),
            topic: spec.topic.clone(),
            is_json,
            key_label: spec.key_label.clone(),
        }))
    };
    Ok(Checked::new(settings, Arc::new(build), block_format(is_json).encoding))
}

/// The name that librdkafka means by this one.
fn meant(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, meant)| meant)
}

/// Which option the client library does not take; of the file's, without the value.
fn refused_option(error: KafkaError, stated: &BTreeMap<String, String>) -> Invalid {
    match error {
        KafkaError::ClientConfig(_, why, name, value) => {
            if stated.keys().any(|stated| meant(stated) == name) {
                Invalid::new("options", why)
            } else if !value.is_empty() && why.contains(&value) {
                Invalid::new("options_file", format!("not a value of {name:?}"))
            } else {
                Invalid::new("options_file", why)
            }
        }
        other => Invalid::new("options", other.to_string()),
    }
}

/// What a file of options says. Its values are secrets: none is in an error.
fn options_of(text: &str) -> Result<Vec<(String, String)>, Invalid> {
    let lines = text.lines().map(str::trim).zip(1..);
    let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let option = |(line, nth): (&str, u32)| match line.split_once('=') {
        Some((name, value)) => Ok((meant(name.trim()).to_owned(), value.trim().to_owned())),
        None => Err(Invalid::new("options_file", format!("line {nth} is not name=value"))),
    };
    lines.map(option).collect()
}

fn block_format(is_json: bool) -> Format {
    match is_json {
        true => Format { encoding: Encoding::JsonLines, compression: Compression::None },
        false => Format { encoding: Encoding::RemoteWrite1, compression: Compression::Snappy },
    }
}

fn client_config(brokers: &str, options: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    let ours = [
        ("bootstrap.servers", brokers),
        ("client.id", "rollcall"),
        ("enable.idempotence", "true"),
        ("message.timeout.ms", DELIVERED_WITHIN_MS),
        ("linger.ms", "5"),
        ("ssl.ca.location", "probe"), // our OpenSSL has no authorities: those of the system
    ];
    for (name, value) in ours {
        config.set(meant(name), value);
    }
    for (name, value) in options {
        config.set(name, value);
    }
    config
}

impl Module for Kafka {
    fn format(&self) -> Format {
        block_format(self.is_json)
    }

    fn endpoint(&self) -> String {
        format!("{} {}", self.brokers, self.topic)
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let failed = match self.is_json {
                true => self.produce_lines(&producer, &parcel.bytes).await,
                false => {
                    let produced = self.produce(&producer, None, &parcel.bytes).await;
                    produced.err().map(|error| (parcel.counts, error)).into_iter().collect()
                }
            };
            self.judge(parcel, failed, &producer.trouble)
        })
    }
}

// === impl Producing ===

impl Producing {
    fn start(config: &ClientConfig) -> Result<Producing, KafkaError> {
        let trouble = Trouble::default();
        let producer = Some(config.create_with_context(trouble.clone())?);
        Ok(Producing { producer, trouble })
    }
}

impl Deref for Producing {
    type Target = FutureProducer<Trouble>;

    fn deref(&self) -> &FutureProducer<Trouble> {
        self.producer.as_ref().expect("it is taken when this is dropped, and no earlier")
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        let producer = self.producer.take();
        std::thread::spawn(move || drop(producer)); // what it still has is sent again
    }
}

// === impl Trouble ===

impl Trouble {
    fn set(&self, said: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Trouble {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => debug!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                info!(target: "librdkafka", facility, "{message}");
            }
            // It tries again by itself; that a block did not arrive is said elsewhere.
            _ => warn!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, "{reason}"); // it was logged
        // That no broker is left says less than why one of them is not.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.set(Some(reason.to_owned()));
        }
    }
}

// === impl Kafka ===

impl Kafka {
    /// What becomes of a parcel of which these messages failed.
    fn judge(
        &self,
        parcel: &Parcel,
        failed: Vec<(Counts, KafkaError)>,
        trouble: &Trouble,
    ) -> Verdict {
        let (refused, others): (Vec<_>, Vec<_>) =
            failed.into_iter().partition(|(_, error)| is_refused(error));
        if let Some((_, error)) = others.into_iter().next() {
            self.replace_if_lost();
            let why = match trouble.get().filter(|_| is_timeout(&error)) {
                Some(trouble) => self.unsent(NoWay { trouble, source: error }),
                None => self.unsent(error),
            };
            return Verdict::Retry { after: None, why };
        }
        trouble.set(None);
        let not_written: Counts = refused.iter().map(|(counts, _)| *counts).sum();
        let Some((_, error)) = refused.into_iter().next() else { return Verdict::DELIVERED };
        if not_written == parcel.counts {
            return Verdict::Refused { why: self.unsent(error) };
        }
        // The others are there: the whole block again would not make it better.
        Verdict::Delivered { not_written, remark: Some(error.to_string()) }
    }

    fn unsent(&self, error: impl std::error::Error + Send + Sync + 'static) -> SendError {
        SendError::Send { endpoint: self.endpoint(), source: Box::new(error) }
    }

    /// An idempotent producer that has lost its place, or its right to be one, stays unusable.
    fn replace_if_lost(&self) {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, why)) = producer.client().fatal_error() else { return };
        match Producing::start(&self.config) {
            Ok(another) => {
                warn!(brokers = %self.brokers, why, "the Kafka producer is lost: another one begins");
                *producer = Arc::new(another);
            }
            Err(error) => error!(brokers = %self.brokers, %error, "making a Kafka producer failed"),
        }
    }

    /// Produces a message a line, in their order; what failed, and what it counts.
    async fn produce_lines(&self, producer: &Producing, lines: &[u8]) -> Vec<(Counts, KafkaError)> {
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let produced = lines.map(|line| async {
            let key = self.key(line);
            let produced = self.produce(producer, key.as_deref(), line).await;
            produced.err().map(|error| (counts_of(line), error))
        });
        join_all(produced).await.into_iter().flatten().collect()
    }

    async fn produce(
        &self,
        producer: &Producing,
        key: Option<&str>,
        payload: &[u8],
    ) -> Result<(), KafkaError> {
        let record = FutureRecord { key, ..FutureRecord::to(&self.topic).payload(payload) };
        let delivered = producer.send(record, QUEUED_WITHIN).await;
        delivered.map(|_place| ()).map_err(|(error, _message)| error)
    }

    /// The key of a line: its labels as they stand there (sorted), or one label's value.
    fn key<'l>(&self, line: &'l [u8]) -> Option<Cow<'l, str>> {
        let line: Line<'l> = serde_json::from_slice(line).ok()?;
        if self.key_label.is_empty() {
            return Some(Cow::Borrowed(line.labels.get()));
        }
        let mut labels: BTreeMap<String, String> = serde_json::from_str(line.labels.get()).ok()?;
        labels.remove(&self.key_label).map(Cow::Owned)
    }
}

/// Whether the brokers will never take it.
fn is_refused(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    let never = [
        RDKafkaErrorCode::MessageSizeTooLarge,
        RDKafkaErrorCode::InvalidMessage,
        RDKafkaErrorCode::InvalidMessageSize,
        RDKafkaErrorCode::InvalidRecord,
    ];
    code.is_some_and(|code| never.contains(&code))
}

/// Whether a message waited for a broker in vain.
fn is_timeout(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut)
}
