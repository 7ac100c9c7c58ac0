//! Prometheus' remote write, 1.0 and 2.0: one POST a block.
//!
//! Headers, which answers mean what, and what 2.0 receivers must confirm follow Prometheus'
//! `storage/remote`. A receiver that answers 415 to 2.0 is sent 1.0 from then on.

mod answer;
mod post;
mod receivers;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{HttpClientConfig, Invalid, yaml::Section};
use kit::http::Client;

use crate::block::{Compression, Encoding, Format};
use crate::config::{QueueConfig, RemoteWriteSpec};
use crate::module::{Build, Checked, Module, ModuleKind, Parcel, Verdict};
use crate::modules::web::{USER_AGENT, shown, unsent};
use receivers::Receivers;

pub(crate) use receivers::Choice;

pub(super) const KIND: ModuleKind = ModuleKind {
    name: "remote_write",
    about: "Prometheus' remote write, 1.0 and 2.0, over HTTP",
    check,
};

/// Which protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireVersion {
    /// 1.0.
    V1,
    /// 2.0.
    V2,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RemoteWriteConfig {
    /// At least one; the first is the one that is meant.
    pub(crate) urls: Vec<String>,
    pub(crate) choice: Choice,
    pub(crate) timeout: Duration,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) version: WireVersion,
    pub(crate) retry_on_http_429: bool,
    pub(crate) http: HttpClientConfig,
}

/// One receiver.
struct RemoteWrite {
    config: RemoteWriteConfig,
    client: Client,
    clock: Arc<dyn Clock>,
    receivers: Receivers,
    /// Set when the receiver does not know 2.0.
    fell_back: AtomicBool,
}

fn check(section: &Section, queue: &QueueConfig, folder: &Path) -> Result<Checked, Invalid> {
    let mut spec: RemoteWriteSpec = section.decode()?;
    spec.resolve_paths(folder);
    spec.check_sending(queue)
}

// === impl WireVersion ===

impl WireVersion {
    /// The name of its message, as `protobuf_message` has it.
    pub(crate) fn message(self) -> &'static str {
        match self {
            WireVersion::V1 => "prometheus.WriteRequest",
            WireVersion::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// The version whose message this is; nothing means 1.0.
    pub(crate) fn of_message(message: &str) -> Result<WireVersion, Invalid> {
        let known = [WireVersion::V1, WireVersion::V2];
        if message.is_empty() {
            return Ok(WireVersion::V1);
        }
        known.into_iter().find(|version| version.message() == message).ok_or_else(|| {
            let [v1, v2] = known.map(WireVersion::message);
            let words = "unknown type for remote write protobuf message";
            let message =
                format!("invalid protobuf_message value: {words} {message}, supported: {v1}, {v2}");
            Invalid::new("protobuf_message", message)
        })
    }

    pub(crate) fn encoding(self) -> Encoding {
        match self {
            WireVersion::V1 => Encoding::RemoteWrite1,
            WireVersion::V2 => Encoding::RemoteWrite2,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            WireVersion::V1 => "application/x-protobuf",
            WireVersion::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    fn header(self) -> &'static str {
        match self {
            WireVersion::V1 => "0.1.0",
            WireVersion::V2 => "2.0.0",
        }
    }
}

// === impl RemoteWriteConfig ===

impl RemoteWriteConfig {
    /// How the module is made.
    pub(crate) fn build(self) -> Build {
        Arc::new(move |clock| {
            let (config, clock) = (self.clone(), Arc::clone(clock));
            let client = Client::new(config.http.clone(), USER_AGENT);
            let receivers = Receivers::new(config.urls.clone(), config.choice);
            let fell_back = AtomicBool::new(false);
            Ok(Box::new(RemoteWrite { config, client, clock, receivers, fell_back }))
        })
    }
}

// === impl RemoteWrite ===

impl RemoteWrite {
    fn version(&self) -> WireVersion {
        if self.fell_back.load(Ordering::Relaxed) { WireVersion::V1 } else { self.config.version }
    }
}

impl Module for RemoteWrite {
    fn format(&self) -> Format {
        Format { encoding: self.version().encoding(), compression: Compression::Snappy }
    }

    fn endpoint(&self) -> String {
        match self.config.choice {
            Choice::BySeries => {
                let urls: Vec<String> = self.config.urls.iter().map(|url| shown(url)).collect();
                urls.join(",")
            }
            Choice::FirstThatWorks | Choice::InTurn => shown(&self.config.urls[0]),
        }
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let version = match parcel.format.encoding {
                Encoding::RemoteWrite2 => WireVersion::V2,
                Encoding::RemoteWrite1 | Encoding::JsonLines => WireVersion::V1,
            };
            let receiver = self.receivers.choose(parcel.part, self.clock.now());
            let request = match self.request(receiver.url, version, parcel) {
                Ok(request) => request,
                Err(error) => return Verdict::Refused { why: unsent(receiver.url, error) },
            };
            let mut answer = match self.post(receiver.url, request).await {
                Ok(answer) => answer,
                Err(why) => {
                    self.receivers.failed(receiver.at, self.clock.now(), None);
                    return Verdict::Retry { after: None, why };
                }
            };
            if answer.status >= 500 {
                let now = self.clock.now();
                self.receivers.failed(receiver.at, now, answer.retry_after);
                if self.receivers.another_is_well(now) {
                    answer.retry_after = None;
                }
            }
            if answer.status == 415 && version == WireVersion::V2 {
                self.fell_back.store(true, Ordering::Relaxed);
                return Verdict::OtherFormat { why: answer.into_error() };
            }
            answer.judge(version, parcel, self.config.retry_on_http_429)
        })
    }
}
