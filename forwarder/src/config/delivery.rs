//! `delivery`, of any destination: where blocks wait, what answers mean, what is thinned or shed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::config::{self, Invalid, Size, is_default, resolve_path};
use model::SeriesSelector;
use serde::{Deserialize, Serialize};

use crate::disk::Limits;
use crate::queue::Order;

/// Bytes of a segment at most; less if the whole queue may be small.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A queue has at least so many segments: the oldest goes as a whole.
const SEGMENTS_MIN: u64 = 8;
/// Records on disk at most; the list of them takes about 300 bytes each in memory.
const RECORDS_MAX: usize = 1_000_000;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Delivery")]
pub struct DeliverySpec {
    /// Where blocks wait: `memory`, the default, or `disk`, from where a restart goes on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub durability: String,
    /// The queue on disk. Refused where nothing is said of `durability`.
    #[serde(skip_serializing_if = "is_default")]
    pub disk: DiskSpec,
    /// `oldest_first`, the default: the samples of a series arrive in their order. `newest_first`:
    /// a backlog does not delay fresh samples, and is sent beside them as time allows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub order: String,
    /// What becomes of a block by the status that answers it: `"429": retry`, `4xx: dead_letter`,
    /// `404: drop`. A code goes before its class; `refused` is for refusals without a code.
    /// Default: what the module makes of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, String>,
    /// How long one block is tried. 0, the default: for ever.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_for: config::Duration,
    /// Where samples go that a receiver refuses, one JSON object a line.
    #[serde(skip_serializing_if = "is_default")]
    pub dead_letter: DeadLetterSpec,
    /// Of each series one sample is sent in each span of this length. 0, the default: all.
    #[serde(skip_serializing_if = "is_default")]
    pub min_interval: config::Duration,
    /// A sample whose value is the one sent before is left out for up to this long. 0, the default:
    /// none is.
    #[serde(skip_serializing_if = "is_default")]
    pub max_interval: config::Duration,
    /// Series selectors: these series are not taken while the queue is more than half full.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub best_effort: Vec<String>,
    /// Samples that are sent a second at most, on average over blocks. 0, the default: as many as
    /// the receiver takes.
    #[serde(skip_serializing_if = "is_default")]
    pub max_samples_per_second: i64,
}

/// `delivery.disk`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Disk")]
pub struct DiskSpec {
    /// The folder of the queue. Destinations that are sent the same blocks may have the same one.
    /// Default: by their names in the folder of `--storage.agent.path`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// When what was written is made to survive a loss of power: `always` (each block),
    /// `interval` (the default) or `never` (when the system likes to).
    pub fsync: String,
    /// Of `fsync: interval`. Default 1s.
    pub fsync_interval: config::Duration,
    /// Samples are on disk this long after they came, in a smaller block if need be, unless they are
    /// delivered by then. 0: after each scrape. Default 1s.
    pub write_interval: config::Duration,
    /// Bytes on disk at most; then the oldest are dropped. Default 8GB.
    pub max_size: Size,
    /// Samples that are older are not kept any more, nor sent. 0, the default: none is too old.
    pub max_age: config::Duration,
    /// Bytes of the file system that are left to others. Default 512MB.
    pub min_free_size: Size,
    /// Bytes that wait in memory beside the disk, to be sent without reading. Default 32MB.
    pub memory_size: Size,
}

/// `delivery.dead_letter`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.DeadLetter")]
pub struct DeadLetterSpec {
    /// The file to append to.
    pub path: String,
    /// It gets no larger than this; what comes then is only counted. Default 100MB.
    pub max_size: Size,
}

/// Checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeliveryConfig {
    pub(crate) disk: Option<DiskConfig>,
    pub(crate) order: Order,
    pub(crate) answers: Answers,
    pub(crate) retry_for: Option<Duration>,
    pub(crate) dead_letter: Option<DeadLetterConfig>,
    pub(crate) min_interval: Option<Duration>,
    pub(crate) max_interval: Option<Duration>,
    pub(crate) best_effort: Vec<SeriesSelector>,
    pub(crate) samples_per_s_max: Option<u64>,
    /// What was checked: an equal one lets the destination go on over a reload.
    spec: DeliverySpec,
}

/// The queue on disk, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DiskConfig {
    /// None: in the daemon's folder.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) fsync: Fsync,
    /// An open block is sealed when it is this old.
    pub(crate) write_interval: Duration,
    pub(crate) limits: Limits,
    pub(crate) memory_bytes: u64,
}

/// When files are synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fsync {
    /// After each block.
    Always,
    /// This long after the last time.
    Interval(Duration),
    /// By the system alone.
    Never,
}

/// What becomes of a block that was answered with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Retry,
    Drop,
    DeadLetter,
}

/// Actions by status.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answers {
    codes: BTreeMap<u16, Action>,
    /// By the first digit.
    classes: BTreeMap<u16, Action>,
    refused: Option<Action>,
}

/// The dead-letter file, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeadLetterConfig {
    pub(crate) path: PathBuf,
    pub(crate) bytes_max: u64,
}

impl Default for DiskSpec {
    fn default() -> DiskSpec {
        DiskSpec {
            path: String::new(),
            fsync: "interval".to_owned(),
            fsync_interval: config::Duration::from_secs(1),
            write_interval: config::Duration::from_secs(1),
            max_size: Size::from_bytes(8 << 30),
            max_age: config::Duration::ZERO,
            min_free_size: Size::from_bytes(512 << 20),
            memory_size: Size::from_bytes(32 << 20),
        }
    }
}

impl Default for DeadLetterSpec {
    fn default() -> DeadLetterSpec {
        DeadLetterSpec { path: String::new(), max_size: Size::from_bytes(100 << 20) }
    }
}

// === impl DeliverySpec ===

impl DeliverySpec {
    /// Makes its paths relative to `dir`.
    pub fn resolve_paths(&mut self, dir: &Path) {
        for path in [&mut self.disk.path, &mut self.dead_letter.path] {
            if !path.is_empty() {
                resolve_path(path, dir);
            }
        }
    }

    /// Keys of errors are relative to `delivery`.
    pub(crate) fn check(self) -> Result<DeliveryConfig, Invalid> {
        let spec = self.clone();
        let DeliverySpec {
            durability,
            disk,
            order,
            answers,
            retry_for,
            dead_letter,
            min_interval,
            max_interval,
            best_effort,
            max_samples_per_second,
        } = self;
        let is_said = !is_default(&disk);
        let disk = disk.check().map_err(|invalid| invalid.under("disk"))?;
        let disk = match durability.as_str() {
            "" if is_said => {
                return Err(Invalid::new("disk", "of no effect without durability: disk"));
            }
            "" | "memory" => None,
            "disk" => Some(disk),
            other => {
                let message = format!("unknown durability {other:?}, known: memory, disk");
                return Err(Invalid::new("durability", message));
            }
        };
        let order = match order.as_str() {
            "" | "oldest_first" => Order::OldestFirst,
            "newest_first" => Order::NewestFirst,
            other => {
                let message = format!("unknown order {other:?}, known: oldest_first, newest_first");
                return Err(Invalid::new("order", message));
            }
        };
        let answers = Answers::check(&answers, !dead_letter.path.is_empty())?;
        let best_effort = best_effort.iter().enumerate().map(|(at, text)| {
            let parsed = SeriesSelector::parse(text);
            parsed.map_err(|error| Invalid::new(format!("best_effort[{at}]"), error.to_string()))
        });
        let Ok(samples_per_s_max) = u64::try_from(max_samples_per_second) else {
            let message = "max_samples_per_second must not be negative";
            return Err(Invalid::new("max_samples_per_second", message));
        };
        if !max_interval.is_zero() && max_interval.to_std() < min_interval.to_std() {
            let message = "max_interval must not be less than min_interval";
            return Err(Invalid::new("max_interval", message));
        }
        let given = |duration: config::Duration| (!duration.is_zero()).then(|| duration.to_std());
        Ok(DeliveryConfig {
            disk,
            order,
            answers,
            retry_for: given(retry_for),
            dead_letter: (!dead_letter.path.is_empty()).then(|| DeadLetterConfig {
                path: PathBuf::from(&dead_letter.path),
                bytes_max: dead_letter.max_size.as_bytes(),
            }),
            min_interval: given(min_interval),
            max_interval: given(max_interval),
            best_effort: best_effort.collect::<Result<_, _>>()?,
            samples_per_s_max: (samples_per_s_max > 0).then_some(samples_per_s_max),
            spec,
        })
    }
}

// === impl DiskSpec ===

impl DiskSpec {
    fn check(self) -> Result<DiskConfig, Invalid> {
        let DiskSpec {
            path,
            fsync,
            fsync_interval,
            write_interval,
            max_size,
            max_age,
            min_free_size,
            memory_size,
        } = self;
        let fsync = match fsync.as_str() {
            "always" => Fsync::Always,
            "interval" => Fsync::Interval(fsync_interval.to_std()),
            "never" => Fsync::Never,
            other => {
                let message = format!("unknown fsync {other:?}, known: always, interval, never");
                return Err(Invalid::new("fsync", message));
            }
        };
        let bytes_max = max_size.as_bytes();
        if bytes_max == 0 {
            return Err(Invalid::new("max_size", "max_size must be positive"));
        }
        let age_ms = i64::try_from(max_age.to_std().as_millis()).unwrap_or(i64::MAX);
        let limits = Limits {
            segment_bytes: SEGMENT_BYTES_MAX.min(bytes_max / SEGMENTS_MIN).max(1),
            bytes_max,
            records_max: RECORDS_MAX,
            age_ms_max: if age_ms == 0 { i64::MAX } else { age_ms },
            free_bytes_min: min_free_size.as_bytes(),
        };
        let folder = (!path.is_empty()).then(|| PathBuf::from(path));
        let (memory_bytes, write_interval) = (memory_size.as_bytes(), write_interval.to_std());
        Ok(DiskConfig { folder, fsync, write_interval, limits, memory_bytes })
    }
}

// === impl DiskConfig ===

impl DiskConfig {
    /// For so long samples may be in memory alone.
    pub(crate) fn unwritten_for(&self) -> Duration {
        if self.fsync == Fsync::Always { Duration::ZERO } else { self.write_interval }
    }
}

// === impl DeliveryConfig ===

impl PartialEq for DeliveryConfig {
    fn eq(&self, other: &DeliveryConfig) -> bool {
        self.spec == other.spec
    }
}

// === impl Fsync ===

impl Fsync {
    /// Whether to sync what has not been synced for this long.
    pub(crate) fn is_due(self, elapsed: Duration) -> bool {
        matches!(self, Fsync::Interval(interval) if elapsed >= interval)
    }
}

// === impl Answers ===

impl Answers {
    fn check(given: &BTreeMap<String, String>, dead_letters: bool) -> Result<Answers, Invalid> {
        let mut answers = Answers::default();
        for (key, action) in given {
            let refuse = |message: String| Err(Invalid::new(format!("answers.{key}"), message));
            let action = match action.as_str() {
                "retry" => Action::Retry,
                "drop" => Action::Drop,
                "dead_letter" if dead_letters => Action::DeadLetter,
                "dead_letter" => return refuse("needs dead_letter.path".to_owned()),
                other => {
                    let known = "retry, drop, dead_letter";
                    return refuse(format!("unknown action {other:?}, known: {known}"));
                }
            };
            let class = key.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok());
            match (key.as_str(), class, key.parse::<u16>()) {
                ("refused", ..) => answers.refused = Some(action),
                (_, Some(class @ 3..=5), _) => {
                    answers.classes.insert(class, action);
                }
                (_, _, Ok(code @ 300..=599)) => {
                    answers.codes.insert(code, action);
                }
                _ => return refuse("must be 300 to 599, 3xx, 4xx, 5xx or refused".to_owned()),
            }
        }
        Ok(answers)
    }

    /// What to do about a status; `None` is a refusal without one.
    pub(crate) fn of(&self, status: Option<u16>) -> Option<Action> {
        let Some(status) = status else { return self.refused };
        self.codes.get(&status).or_else(|| self.classes.get(&(status / 100))).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_goes_before_its_class() {
        let given = [("4xx", "drop"), ("429", "retry"), ("refused", "dead_letter")];
        let given = given.map(|(key, action)| (key.to_owned(), action.to_owned()));
        let answers = Answers::check(&given.into(), true).unwrap();
        assert_eq!(answers.of(Some(429)), Some(Action::Retry));
        assert_eq!(answers.of(Some(404)), Some(Action::Drop));
        assert_eq!(answers.of(Some(500)), None);
        assert_eq!(answers.of(None), Some(Action::DeadLetter));
    }
}
