//! OpenTelemetry's OTLP: one request of protobuf a block, over HTTP or gRPC.
//!
//! Blocks arrive as remote write 2.0, which carries types, help, units and exemplars, and are
//! turned into metrics here. Counters become cumulative sums, everything else gauges; native
//! histograms become (exponential) histograms, exemplars go with their points. The series of
//! classic histograms and summaries stay the series that they are: a block may hold only some of
//! them.
//!
//! Which answers are worth another try follows OTLP's specification, section "Failures".

mod convert;
mod messages;
mod over_grpc;
mod over_http;
mod remote_write2;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use kit::Clock;
use kit::config::{self, HttpClientConfig, HttpClientSpec, Invalid, serialize_url, yaml::Section};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::bodies::{Bodies, Body};
use super::packing::Packing;
use super::secrets;
use super::web::{check_headers, check_url, shown};
use crate::block::{Compression, Counts, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{BuildError, Checked, Module, ModuleKind, Parcel, Verdict};
use messages::{ExportResponse, PartialSuccess};
use over_grpc::OverGrpc;
use over_http::OverHttp;

pub(super) const KIND: ModuleKind =
    ModuleKind { name: "otlp", about: "OpenTelemetry's OTLP metrics, over HTTP or gRPC", check };

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Otlp")]
struct Spec {
    /// Where to: `http://collector:4318/v1/metrics`, or `http://collector:4317` for gRPC.
    #[serde(serialize_with = "serialize_url")]
    url: String,
    /// `http` (the default) or `grpc`.
    protocol: String,
    /// Headers beside our own.
    #[serde(serialize_with = "secrets::hide")]
    headers: BTreeMap<String, String>,
    /// `none` (the default) or `gzip`.
    compression: String,
    /// How long a request may take. Default 30s.
    timeout: config::Duration,
    /// The HTTP client's keys, which gRPC goes by too.
    #[serde(rename = "<inline>")]
    http: HttpClientSpec,
}

/// Checked.
#[derive(Debug, Clone)]
struct OtlpConfig {
    url: String,
    protocol: Protocol,
    headers: Vec<(HeaderName, HeaderValue)>,
    packing: Packing,
    timeout: Duration,
    http: HttpClientConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Grpc,
}

/// One receiver.
struct Otlp {
    url: String,
    bodies: Bodies,
    way: Way,
}

enum Way {
    Http(OverHttp),
    Grpc(OverGrpc),
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            url: String::new(),
            protocol: "http".to_owned(),
            headers: BTreeMap::new(),
            compression: "none".to_owned(),
            timeout: config::Duration::from_secs(30),
            http: HttpClientSpec::default(),
        }
    }
}

fn check(section: &Section, _: &QueueConfig, folder: &Path) -> Result<Checked, Invalid> {
    let mut spec: Spec = section.decode()?;
    spec.http.resolve_paths(folder);
    let settings = Arc::new(spec.clone());
    let config = spec.check()?;
    let build = move |clock: &Arc<dyn Clock>| -> Result<Box<dyn Module>, BuildError> {
        let way = match config.protocol {
            Protocol::Http => Way::Http(OverHttp::new(&config, clock)),
            Protocol::Grpc => Way::Grpc(OverGrpc::new(&config)?),
        };
        Ok(Box::new(Otlp { url: config.url.clone(), bodies: Bodies::default(), way }))
    };
    Ok(Checked::new(settings, Arc::new(build), Encoding::RemoteWrite2))
}

// === impl Spec ===

impl Spec {
    fn check(self) -> Result<OtlpConfig, Invalid> {
        let Spec { url, protocol, headers, compression, timeout, http } = self;
        check_url(&url, KIND.name)?;
        let protocol = match protocol.as_str() {
            "http" => Protocol::Http,
            "grpc" => Protocol::Grpc,
            other => {
                let message = format!("unknown protocol {other:?}, known: http, grpc");
                return Err(Invalid::new("protocol", message));
            }
        };
        let packing = match Packing::named(&compression)? {
            Packing::Zstd => {
                let message = "OTLP's receivers need not know zstd, known: none, gzip";
                return Err(Invalid::new("compression", message));
            }
            packing @ (Packing::None | Packing::Gzip) => packing,
        };
        if protocol == Protocol::Grpc
            && url.starts_with("http://")
            && !http.proxy.proxy_url.is_empty()
        {
            let message = "gRPC goes through a proxy to https:// URLs only";
            return Err(Invalid::new("proxy_url", message));
        }
        let (headers, http) = (check_headers(&headers)?, http.check()?);
        Ok(OtlpConfig { url, protocol, headers, packing, timeout: timeout.to_std(), http })
    }
}

// === impl Otlp ===

impl Module for Otlp {
    fn format(&self) -> Format {
        Format { encoding: Encoding::RemoteWrite2, compression: Compression::None }
    }

    fn endpoint(&self) -> String {
        shown(&self.url)
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        // What goes over gRPC is packed by its library.
        let packing = match &self.way {
            Way::Http(http) => http.packing,
            Way::Grpc(_) => Packing::None,
        };
        let make = move |block: Bytes| {
            let request = remote_write2::Request::decode(block).map_err(io::Error::other)?;
            let (export, not_sent) = convert::export(&request);
            Ok(Body { bytes: packing.pack(export.encode_to_vec().into())?, not_sent })
        };
        let send = |body| self.export(parcel.counts, body);
        Box::pin(self.bodies.deliver(parcel, &self.url, make, send))
    }
}

impl Otlp {
    async fn export(&self, counts: Counts, Body { bytes, not_sent }: Body) -> Verdict {
        let answer = match &self.way {
            Way::Http(http) => http.export(bytes).await,
            Way::Grpc(grpc) => grpc.export(bytes).await,
        };
        answer.map_or_else(|verdict| verdict, |answer| delivered(counts, not_sent, answer))
    }
}

/// What a receiver took. Which of its points it rejected it does not say: numbers are the most.
fn delivered(sent: Counts, not_sent: Counts, answer: ExportResponse) -> Verdict {
    let partial = answer.partial_success.unwrap_or_default();
    let PartialSuccess { rejected_data_points, error_message } = partial;
    let rejected = u64::try_from(rejected_data_points).unwrap_or(0);
    let points = sent.without(not_sent);
    let samples = rejected.min(points.samples);
    let histograms = (rejected - samples).min(points.histograms);
    let not_written = not_sent + Counts { samples, histograms, ..Counts::NONE };
    let remark = (rejected > 0 || !error_message.is_empty()).then_some(error_message);
    Verdict::Delivered { not_written, remark }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_points_are_numbers_first_and_never_more_than_were_sent() {
        let sent = Counts { samples: 5, histograms: 2, exemplars: 1 };
        let not_sent = Counts { samples: 0, histograms: 1, exemplars: 0 };
        for (rejected, want) in [(0, [0, 1, 0]), (3, [3, 1, 0]), (6, [5, 2, 0]), (99, [5, 2, 0])] {
            let partial =
                PartialSuccess { rejected_data_points: rejected, error_message: String::new() };
            let answer = ExportResponse { partial_success: Some(partial) };
            let verdict = delivered(sent, not_sent, answer);
            let Verdict::Delivered { not_written, remark } = verdict else { panic!("{verdict:?}") };
            let [samples, histograms, exemplars] = want;
            assert_eq!(not_written, Counts { samples, histograms, exemplars });
            assert_eq!(remark.is_some(), rejected > 0);
        }
    }
}
