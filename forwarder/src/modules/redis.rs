//! Appends samples to a Redis stream: one entry a sample, field `sample`, a JSON object.
//!
//! A block goes as one pipeline. Redis has no transaction over a lost connection, so a block that
//! broke off is appended again: at least once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{Invalid, serialize_url, yaml::Section};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{ErrorKind, RedisError, ServerErrorKind};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::secrets;
use crate::block::{Compression, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{BuildError, Checked, Module, ModuleKind, Parcel, SendError, Verdict};

pub(super) const KIND: ModuleKind =
    ModuleKind { name: "redis", about: "appends to a Redis stream, an entry a sample", check };

/// How long a pipeline may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Entries that the stream is cut to if the file does not say.
const LENGTH_MAX_DEFAULT: u64 = 1_000_000;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Redis")]
struct Spec {
    /// `redis://[user:password@]host:6379/0`, or `rediss://` for TLS.
    #[serde(serialize_with = "serialize_url")]
    url: String,
    /// A file with the URL, in its place.
    url_file: String,
    /// The stream's key.
    stream: String,
    /// Entries that the stream keeps, about; 0 = all of them.
    max_length: u64,
    /// The URL, wherever it stands.
    #[serde(skip)]
    server: String,
}

struct Redis {
    spec: Spec,
    client: redis::Client,
    /// Made when the first block is sent; connects again by itself.
    connection: Mutex<Option<ConnectionManager>>,
}

impl Default for Spec {
    fn default() -> Spec {
        let (url, url_file, stream, server) = Default::default();
        Spec { url, url_file, stream, max_length: LENGTH_MAX_DEFAULT, server }
    }
}

fn check(section: &Section, _: &QueueConfig, folder: &Path) -> Result<Checked, Invalid> {
    let mut spec: Spec = section.decode()?;
    spec.server = secrets::url(&spec.url, &mut spec.url_file, folder)?;
    if let Err(error) = redis::Client::open(spec.server.as_str()) {
        return Err(Invalid::new("url", format!("redis forwarder needs a redis:// URL: {error}")));
    }
    if spec.stream.is_empty() {
        return Err(Invalid::new("stream", "redis forwarder has no stream"));
    }
    let settings = Arc::new(spec.clone());
    let build = move |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, BuildError> {
        let client = redis::Client::open(spec.server.as_str()).map_err(|source| BuildError {
            what: "the Redis client".into(),
            source: Box::new(source),
        })?;
        Ok(Box::new(Redis { spec: spec.clone(), client, connection: Mutex::new(None) }))
    };
    Ok(Checked::new(settings, Arc::new(build), Encoding::JsonLines))
}

impl Module for Redis {
    fn format(&self) -> Format {
        Format { encoding: Encoding::JsonLines, compression: Compression::None }
    }

    fn endpoint(&self) -> String {
        let address = self.client.get_connection_info().addr();
        format!("{address} {}", self.spec.stream)
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            let endpoint = self.endpoint();
            let why = match tokio::time::timeout(ANSWERED_WITHIN, self.append(parcel)).await {
                Ok(Ok(())) => return Verdict::DELIVERED,
                Ok(Err(error)) if is_another_type(&error) => {
                    let why = SendError::Send { endpoint, source: first_of(error) };
                    return Verdict::Refused { why };
                }
                Ok(Err(error)) => {
                    if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
                        // It became a replica: the name may lead to another one by now.
                        self.connection.lock().await.take();
                    }
                    SendError::Send { endpoint, source: first_of(error) }
                }
                Err(_) => {
                    // Perhaps nobody is at its other end.
                    self.connection.lock().await.take();
                    SendError::Timeout { endpoint, limit: ANSWERED_WITHIN }
                }
            };
            Verdict::Retry { after: None, why }
        })
    }
}

/// What went wrong in a pipeline, for people: of as many errors as there are samples, the first.
#[derive(Debug, thiserror::Error)]
#[error("{first} (and {others} more)")]
struct FirstOf {
    first: RedisError,
    others: usize,
}

fn first_of(error: RedisError) -> Box<dyn std::error::Error + Send + Sync> {
    let errors = error.clone().into_server_errors();
    match errors.as_deref() {
        Some([(_, first), others @ ..]) if !others.is_empty() => {
            Box::new(FirstOf { first: RedisError::from(first.clone()), others: others.len() })
        }
        _ => Box::new(error),
    }
}

/// Whether the key holds something that is no stream.
fn is_another_type(error: &RedisError) -> bool {
    let errors = error.clone().into_server_errors();
    errors.is_some_and(|errors| errors.iter().any(|(_, error)| error.code() == "WRONGTYPE"))
}

impl Redis {
    async fn connection(&self) -> redis::RedisResult<ConnectionManager> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        // How long an answer may take is said here: the library would give up after half a second,
        // and Redis append all the same.
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(ANSWERED_WITHIN))
            .set_response_timeout(None);
        let connection = ConnectionManager::new_with_config(self.client.clone(), config).await?;
        Ok(slot.insert(connection).clone())
    }

    async fn append(&self, parcel: &Parcel) -> redis::RedisResult<()> {
        let mut connection = self.connection().await?;
        let mut pipeline = redis::pipe();
        for line in parcel.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let command = pipeline.cmd("XADD").arg(&self.spec.stream);
            if self.spec.max_length > 0 {
                command.arg("MAXLEN").arg("~").arg(self.spec.max_length);
            }
            command.arg("*").arg("sample").arg(line).ignore();
        }
        pipeline.query_async(&mut connection).await
    }
}
