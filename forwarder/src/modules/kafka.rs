//! Produces to a Kafka topic, acknowledged by all in-sync replicas.
//!
//! As JSON every sample is a message whose key is its series, or the value of one label: a key's
//! messages stay in order. As remote write every block is a message without a key. The producer
//! is idempotent: a message that the client library sends again is stored once. A block of which
//! some messages failed is produced again, whole: at least once.

mod options;
mod producing;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{Invalid, yaml::Section};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{error, warn};

use self::producing::{Producing, Trouble};
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
/// Between two looks whether it has one.
const QUEUE_TICK: Duration = Duration::from_millis(10);

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
    let in_file = secrets::read("options_file", &mut spec.options_file, folder)?;
    spec.all_options = options::all(&spec.options, in_file.as_deref())?;
    let config = options::check(&brokers, &spec.all_options, &spec.options)?;
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

fn block_format(is_json: bool) -> Format {
    match is_json {
        true => Format { encoding: Encoding::JsonLines, compression: Compression::None },
        false => Format { encoding: Encoding::RemoteWrite1, compression: Compression::Snappy },
    }
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
            tokio::select! {
                failed = self.produce_all(&producer, parcel) => {
                    self.judge(parcel, failed, &producer.trouble)
                }
                () = producer.lost() => self.start_again(&producer),
            }
        })
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

    /// What becomes of a parcel whose producer was lost meanwhile.
    fn start_again(&self, lost: &Producing) -> Verdict {
        self.replace_if_lost();
        let source = KafkaError::Global(RDKafkaErrorCode::Fatal);
        let why = match lost.trouble.get() {
            Some(trouble) => self.unsent(NoWay { trouble, source }),
            None => self.unsent(source),
        };
        Verdict::Retry { after: None, why }
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

    /// Produces all messages of a parcel; what failed, and what it counts.
    async fn produce_all(
        &self,
        producer: &Producing,
        parcel: &Parcel,
    ) -> Vec<(Counts, KafkaError)> {
        if self.is_json {
            return self.produce_lines(producer, &parcel.bytes).await;
        }
        let produced = self.produce(producer, None, &parcel.bytes).await;
        produced.err().map(|error| (parcel.counts, error)).into_iter().collect()
    }

    /// Produces a message a line, in their order; what failed, and what it counts. Behind one that
    /// may be taken another time nothing is produced.
    async fn produce_lines(&self, producer: &Producing, lines: &[u8]) -> Vec<(Counts, KafkaError)> {
        let (mut failed, mut under_way) = (Vec::new(), Vec::new());
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let key = self.key(line);
            match self.enqueue(producer, key.as_deref(), line).await {
                Ok(delivery) => under_way.push((line, delivery)),
                Err(error) => {
                    let goes_on = is_refused(&error);
                    failed.push((counts_of(line), error));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        for (line, delivery) in under_way {
            failed.extend(delivered(delivery).await.err().map(|error| (counts_of(line), error)));
        }
        failed
    }

    async fn produce(
        &self,
        producer: &Producing,
        key: Option<&str>,
        payload: &[u8],
    ) -> Result<(), KafkaError> {
        delivered(self.enqueue(producer, key, payload).await?).await
    }

    /// Hands a message to the client library, when its queue has room.
    async fn enqueue(
        &self,
        producer: &Producing,
        key: Option<&str>,
        payload: &[u8],
    ) -> Result<DeliveryFuture, KafkaError> {
        let mut record = FutureRecord { key, ..FutureRecord::to(&self.topic).payload(payload) };
        let began = Instant::now();
        loop {
            match producer.send_result(record) {
                Ok(delivery) => return Ok(delivery),
                Err((error, back)) if is_full(&error) && began.elapsed() < QUEUED_WITHIN => {
                    record = back;
                    tokio::time::sleep(QUEUE_TICK).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
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

/// Waits for what became of a message.
async fn delivered(delivery: DeliveryFuture) -> Result<(), KafkaError> {
    match delivery.await {
        Ok(Ok(_place)) => Ok(()),
        Ok(Err((error, _message))) => Err(error),
        Err(_) => Err(KafkaError::Canceled), // the producer is gone
    }
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
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
