//! The whole contract of a module: send one block once, and judge the answer.
//!
//! Queue, shards, retries, backoff, limits and counters are the forwarder's and the same for all.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{Invalid, yaml::Section};
use serde::Serialize;

use crate::block::{Counts, Encoding, Format};
use crate::config::QueueConfig;

/// A way of sending.
pub trait Module: Send + Sync + 'static {
    /// What the next block should be. May change when a receiver turns out not to know it.
    fn format(&self) -> Format;

    /// Where it sends to, for people and metrics: a URL without secrets, a path.
    fn endpoint(&self) -> String;

    /// Sends `parcel` once and says what became of it. Dropping the future gives up.
    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict>;

    /// Nothing more is sent. Who holds what was delivered, such as a pipe, waits here until it has
    /// gone on, within a limit of its own. Mostly there is nothing to do.
    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What a module is given to send.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The encoded, compressed bytes.
    pub bytes: Bytes,
    /// What they are.
    pub format: Format,
    /// Samples, histograms and exemplars in them.
    pub counts: Counts,
    /// Metric families described in them: more than 0 only in a request of metadata alone.
    pub families: u64,
    /// 0 at the first try.
    pub attempt: u32,
    /// Which of the receivers it is for, of [`Checked::parts`].
    pub part: usize,
}

/// What became of a parcel.
#[derive(Debug)]
pub enum Verdict {
    /// It arrived, but for `not_written`: what the receiver did not keep, or what has no place in
    /// the module's format. [`Verdict::DELIVERED`] if that is nothing.
    Delivered {
        /// Normally nothing.
        not_written: Counts,
        /// What the receiver says about that, for the log.
        remark: Option<String>,
    },
    /// It may arrive another time: after this long, or when the backoff says.
    Retry {
        /// What the receiver asked for.
        after: Option<Duration>,
        /// Why it did not arrive.
        why: SendError,
    },
    /// It will never arrive.
    Refused {
        /// Why not.
        why: SendError,
    },
    /// The receiver does not know this format; [`Module::format`] says another one now.
    OtherFormat {
        /// What it answered.
        why: SendError,
    },
}

/// Why a parcel did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No answer.
    #[error("send to {endpoint}")]
    Send {
        /// Where to.
        endpoint: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("send to {endpoint} within {} s", limit.as_secs_f64())]
    Timeout {
        /// Where to.
        endpoint: String,
        /// How long it was given.
        limit: Duration,
    },
    /// An answer that is not success.
    #[error("server returned HTTP status {status}: {body}")]
    Status {
        /// The status code and its text.
        status: String,
        /// The status code.
        code: u16,
        /// The first line of the answer.
        body: String,
        /// How long the receiver asks to be left alone.
        after: Option<Duration>,
    },
    /// A 2xx answer to remote write 2.0 that confirms nothing: it may come from a receiver that
    /// knows 1.0 only and did not look.
    #[error("the answer to remote write 2.0 does not say what was written")]
    Unconfirmed,
    /// A file or pipe.
    #[error("write {path}")]
    Write {
        /// Which.
        path: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A defect of the module.
    #[error("send: the module panicked")]
    Panic,
}

/// Why a module could not be made.
#[derive(Debug, thiserror::Error)]
#[error("build {what}")]
pub struct BuildError {
    /// What was to be made.
    pub what: String,
    /// What went wrong.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl SendError {
    /// The HTTP status that was the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            SendError::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// How long the receiver asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            SendError::Status { after, .. } => *after,
            _ => None,
        }
    }
}

/// Makes the module; called when its destination starts.
pub(crate) type Build =
    Arc<dyn Fn(&Arc<dyn Clock>) -> Result<Box<dyn Module>, BuildError> + Send + Sync>;

/// A row of the list of modules.
pub struct ModuleKind {
    /// As `module:` names it.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Reads and checks its keys of a `forwarders` entry. Paths start at the folder given.
    pub check: fn(&Section, &QueueConfig, &Path) -> Result<Checked, Invalid>,
}

/// A module's section, checked.
///
/// [`Checked::new`] is what most modules need: everything is sent, to one receiver.
pub struct Checked {
    /// What was checked: an equal section lets the destination go on over a reload.
    pub settings: Arc<dyn Settings>,
    /// Makes the module.
    pub build: Build,
    /// How samples become bytes, as the section has it. A receiver that turns out not to know it
    /// may make [`Module::format`] say otherwise.
    pub encoding: Encoding,
    /// How many receivers have the series between them: a block belongs to one of them. Mostly 1.
    pub parts: usize,
    /// Which of the rarer samples it is sent.
    pub wants: Wants,
    /// Metadata in requests of its own: how often and how much, if the module sends such.
    pub metadata: Option<MetadataPlan>,
    /// The file that nobody else may write to, if there is one.
    pub file: Option<OwnFile>,
}

/// A file that a module writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFile {
    /// Which.
    pub path: PathBuf,
    /// Files that are set aside beside it at most: `path.1`, `path.2.gz` … 0: none ever.
    pub set_aside_max: usize,
}

/// Has the module send, whatever bugs it has; `None` if it panicked.
pub(crate) async fn send(module: &dyn Module, parcel: &Parcel) -> Option<Verdict> {
    AssertUnwindSafe(async { module.send(parcel).await }).catch_unwind().await.ok()
}

/// Ends the module, whatever bugs it has.
pub(crate) async fn end(module: &dyn Module) {
    let _printed = AssertUnwindSafe(async { module.end().await }).catch_unwind().await;
}

// === impl Verdict ===

impl Verdict {
    /// All of it arrived.
    pub const DELIVERED: Verdict = Verdict::Delivered { not_written: Counts::NONE, remark: None };
}

// === impl Checked ===

impl Checked {
    /// Of a module that is sent everything and has one receiver.
    pub fn new(settings: Arc<dyn Settings>, build: Build, encoding: Encoding) -> Checked {
        let (parts, wants, metadata, file) = (1, Wants::ALL, None, None);
        Checked { settings, build, encoding, parts, wants, metadata, file }
    }
}

/// A checked section of any module: can be compared and shown.
pub trait Settings: Any + Send + Sync {
    /// Whether `other` is of the same type and equal.
    fn same(&self, other: &dyn Settings) -> bool;

    /// As a value whose secrets are hidden.
    fn shown(&self) -> serde_json::Value;
}

impl<T: Any + PartialEq + Serialize + Send + Sync> Settings for T {
    fn same(&self, other: &dyn Settings) -> bool {
        (other as &dyn Any).downcast_ref::<T>() == Some(self)
    }

    fn shown(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Which of the rarer kinds of sample a destination is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// Exemplars.
    pub exemplars: bool,
    /// Native histograms.
    pub histograms: bool,
}

/// How metadata is sent where samples do not carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataPlan {
    /// How often.
    pub interval: Duration,
    /// Families in one request at most.
    pub families_max: usize,
}

impl Wants {
    /// Everything.
    pub const ALL: Wants = Wants { exemplars: true, histograms: true };
}
