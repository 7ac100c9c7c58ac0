//! `queue_config`: Prometheus' keys, and two of ours for how much may wait.

use std::time::Duration;

use kit::config::{self, Invalid, Size, is_default};
use serde::{Deserialize, Serialize};

use super::delivery::DiskConfig;
use crate::queue::Limits;

/// Samples that may wait, if nothing is said: two minutes of 170,000 a second.
const QUEUED_SAMPLES_MAX_DEFAULT: i64 = 20_000_000;
/// Bytes that may wait, if nothing is said: compressed blocks of about 12 million samples.
const QUEUED_SIZE_MAX_DEFAULT: Size = Size::from_bytes(256 * 1024 * 1024);
/// More requests at a time help no receiver, each shard has memory of its own, and on disk a shard's
/// number has 16 bits.
const SHARDS_MAX: usize = 4096;
/// A backoff below this would be a busy loop.
const BACKOFF_MIN: Duration = Duration::from_millis(1);

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.QueueConfig")]
pub struct QueueSpec {
    /// Accepted: what waits is bounded by `max_queued_samples` and `max_queued_size`.
    /// Default 10000.
    pub capacity: i64,
    /// Most shards: blocks that are sent at the same time. Default 50.
    pub max_shards: i64,
    /// Fewest shards, and those to start with. Default 1.
    pub min_shards: i64,
    /// Most samples in one request. Default 2000.
    pub max_samples_per_send: i64,
    /// A request is sent at the latest this long after its first sample came. Default 5s.
    pub batch_send_deadline: config::Duration,
    /// First wait after a failure; doubles with each further one. Default 30ms.
    pub min_backoff: config::Duration,
    /// Longest wait after a failure. Default 5s.
    pub max_backoff: config::Duration,
    /// Whether a receiver of `remote_write` that answers 429 is asked again. Default false: the
    /// block is dropped. Other modules always ask again.
    pub retry_on_http_429: bool,
    /// Samples that are older are not sent any more. 0, the default: none is too old.
    #[serde(skip_serializing_if = "is_default")]
    pub sample_age_limit: config::Duration,
    /// Samples of all shards that may wait for a receiver; then the oldest are dropped.
    /// Default 20000000. rollcall's own.
    #[serde(skip_serializing_if = "is_samples_default")]
    pub max_queued_samples: i64,
    /// Bytes that they may take as they wait. Default 256MB. rollcall's own.
    #[serde(skip_serializing_if = "is_size_default")]
    pub max_queued_size: Size,
}

/// Checked. Invariants: `1 <= shards_min <= shards_max`, `backoff_min <= backoff_max`, and no
/// number is zero.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueConfig {
    pub(crate) capacity: u64,
    pub(crate) shards_max: usize,
    pub(crate) shards_min: usize,
    pub(crate) samples_per_block_max: u64,
    pub(crate) batch_deadline: Duration,
    pub(crate) backoff_min: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) retry_on_http_429: bool,
    pub(crate) sample_age_limit: Option<Duration>,
    pub(crate) queued_samples_max: u64,
    pub(crate) queued_bytes_max: u64,
}

impl Default for QueueSpec {
    fn default() -> QueueSpec {
        QueueSpec {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2_000,
            batch_send_deadline: config::Duration::from_secs(5),
            min_backoff: config::Duration::from_ms(30),
            max_backoff: config::Duration::from_secs(5),
            retry_on_http_429: false,
            sample_age_limit: config::Duration::ZERO,
            max_queued_samples: QUEUED_SAMPLES_MAX_DEFAULT,
            max_queued_size: QUEUED_SIZE_MAX_DEFAULT,
        }
    }
}

fn is_samples_default(samples: &i64) -> bool {
    *samples == QUEUED_SAMPLES_MAX_DEFAULT
}

fn is_size_default(size: &Size) -> bool {
    *size == QUEUED_SIZE_MAX_DEFAULT
}

impl QueueSpec {
    /// Checks it with Prometheus' words.
    ///
    /// # Errors
    /// Keys are relative to `queue_config`.
    pub fn check(self) -> Result<QueueConfig, Invalid> {
        let QueueSpec {
            capacity,
            max_shards,
            min_shards,
            max_samples_per_send,
            batch_send_deadline,
            min_backoff,
            max_backoff,
            retry_on_http_429,
            sample_age_limit,
            max_queued_samples,
            max_queued_size,
        } = self;
        let refuse = |key: &str, message: String| Err(Invalid::new(key, message));
        let positive = [
            ("capacity", capacity),
            ("max_shards", max_shards),
            ("min_shards", min_shards),
            ("max_samples_per_send", max_samples_per_send),
            ("max_queued_samples", max_queued_samples),
            ("max_queued_size", max_queued_size.as_bytes() as i64),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value <= 0) {
            return refuse(key, format!("remote write queue {key} must be positive"));
        }
        if min_shards > max_shards {
            let message = "remote write queue min_shards must not be greater than max_shards";
            return refuse("min_shards", message.to_owned());
        }
        // A block that has no room in its own queue would be dropped when the receiver is well.
        let is_chosen = max_queued_samples != QUEUED_SAMPLES_MAX_DEFAULT;
        if is_chosen && max_queued_samples < max_samples_per_send {
            let message = format!(
                "remote write queue max_queued_samples must not be less than max_samples_per_send, \
                 which is {max_samples_per_send}"
            );
            return refuse("max_queued_samples", message);
        }
        if max_backoff < min_backoff {
            let message = "remote write queue max_backoff must not be less than min_backoff";
            return refuse("max_backoff", message.to_owned());
        }
        Ok(QueueConfig {
            capacity: capacity as u64,
            shards_max: (max_shards as usize).min(SHARDS_MAX),
            shards_min: (min_shards as usize).min(SHARDS_MAX),
            samples_per_block_max: max_samples_per_send as u64,
            batch_deadline: batch_send_deadline.to_std(),
            backoff_min: min_backoff.to_std().max(BACKOFF_MIN),
            backoff_max: max_backoff.to_std().max(BACKOFF_MIN),
            retry_on_http_429,
            sample_age_limit: (!sample_age_limit.is_zero()).then(|| sample_age_limit.to_std()),
            queued_samples_max: max_queued_samples as u64,
            queued_bytes_max: max_queued_size.as_bytes(),
        })
    }
}

impl QueueConfig {
    /// The limits of the queue in memory, beside a log on disk if there is one.
    pub(crate) fn limits(&self, disk: Option<&DiskConfig>) -> Limits {
        let (samples_max, bytes_max) = (self.queued_samples_max, self.queued_bytes_max);
        let spill_bytes = disk.map_or(u64::MAX, |disk| disk.memory_bytes);
        let unwritten_for = disk.map_or(Duration::MAX, DiskConfig::unwritten_for);
        Limits { samples_max, bytes_max, spill_bytes, unwritten_for }
    }
}
