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
use redis::aio::ConnectionManager;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::block::{Compression, Counts, Encoding, Format};
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
    /// The stream's key.
    stream: String,
    /// Entries that the stream keeps, about; 0 = all of them.
    max_length: u64,
}

struct Redis {
    spec: Spec,
    client: redis::Client,
    /// Connects when the first block is sent, and then again by itself.
    connection: OnceCell<ConnectionManager>,
}

impl Default for Spec {
    fn default() -> Spec {
        let (url, stream) = Default::default();
        Spec { url, stream, max_length: LENGTH_MAX_DEFAULT }
    }
}

fn check(section: &Section, _: &QueueConfig, _: &Path) -> Result<Checked, Invalid> {
    let spec: Spec = section.decode()?;
    if let Err(error) = redis::Client::open(spec.url.as_str()) {
        return Err(Invalid::new("url", format!("redis forwarder needs a redis:// URL: {error}")));
    }
    if spec.stream.is_empty() {
        return Err(Invalid::new("stream", "redis forwarder has no stream"));
    }
    let settings = Arc::new(spec.clone());
    let build = move |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, BuildError> {
        let client = redis::Client::open(spec.url.as_str()).map_err(|source| BuildError {
            what: "the Redis client".into(),
            source: Box::new(source),
        })?;
        Ok(Box::new(Redis { spec: spec.clone(), client, connection: OnceCell::new() }))
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
            match tokio::time::timeout(ANSWERED_WITHIN, self.append(parcel)).await {
                Ok(Ok(())) => Verdict::Delivered { not_written: Counts::default() },
                Ok(Err(error)) if error.code() == Some("WRONGTYPE") => {
                    Verdict::Refused { why: SendError::Send { endpoint, source: Box::new(error) } }
                }
                Ok(Err(error)) => {
                    let why = SendError::Send { endpoint, source: Box::new(error) };
                    Verdict::Retry { after: None, why }
                }
                Err(_) => {
                    let why = SendError::Timeout { endpoint, limit: ANSWERED_WITHIN };
                    Verdict::Retry { after: None, why }
                }
            }
        })
    }
}

impl Redis {
    async fn append(&self, parcel: &Parcel) -> redis::RedisResult<()> {
        let connect = || ConnectionManager::new(self.client.clone());
        let mut connection = self.connection.get_or_try_init(connect).await?.clone();
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
