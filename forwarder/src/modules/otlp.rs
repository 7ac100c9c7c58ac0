//! OpenTelemetry's OTLP over HTTP: one POST of protobuf a block.
//!
//! Blocks arrive as remote write 2.0, which carries types, help, units and exemplars, and are
//! turned into metrics here. Counters become cumulative sums, everything else gauges; native
//! histograms become (exponential) histograms. The series of classic histograms and summaries stay
//! the series that they are: a block may hold only some of them.

mod convert;
mod messages;
mod remote_write2;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{StatusCode, header};
use kit::Clock;
use kit::config::{Invalid, serialize_url, yaml::Section};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::remote_write::shown;
use crate::block::{Compression, Counts, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{BuildError, Checked, Module, ModuleKind, Parcel, SendError, Verdict};
use messages::ExportResponse;

pub(super) const KIND: ModuleKind = ModuleKind {
    name: "otlp",
    about: "OpenTelemetry's OTLP metrics over HTTP, as protobuf",
    check,
};

/// How long an answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of an answer that are shown when it is no success.
const BODY_BYTES_MAX: usize = 256;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Otlp")]
struct Spec {
    /// Where metrics are posted to, such as `http://collector:4318/v1/metrics`.
    #[serde(serialize_with = "serialize_url")]
    url: String,
    /// Headers beside our own.
    headers: std::collections::BTreeMap<String, String>,
}

struct Otlp {
    spec: Spec,
    client: reqwest::Client,
}

fn check(section: &Section, _: &QueueConfig, _: &Path) -> Result<Checked, Invalid> {
    let spec: Spec = section.decode()?;
    let url = url::Url::parse(&spec.url).ok();
    if !url.is_some_and(|url| url.has_host() && url.scheme().starts_with("http")) {
        return Err(Invalid::new("url", "otlp forwarder needs an http:// or https:// URL"));
    }
    let settings = Arc::new(spec.clone());
    let build = move |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, BuildError> {
        let client = reqwest::Client::builder().timeout(ANSWERED_WITHIN).build();
        let client = client.map_err(|source| BuildError {
            what: format!("the HTTP client for {}", spec.url),
            source: Box::new(source),
        })?;
        Ok(Box::new(Otlp { spec: spec.clone(), client }))
    };
    Ok(Checked::new(settings, Arc::new(build), Encoding::RemoteWrite2))
}

impl Module for Otlp {
    fn format(&self) -> Format {
        Format { encoding: Encoding::RemoteWrite2, compression: Compression::None }
    }

    fn endpoint(&self) -> String {
        shown(&self.spec.url)
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            let decoded = remote_write2::Request::decode(parcel.bytes.clone());
            let request = match decoded {
                Ok(request) => request,
                Err(source) => return Verdict::Refused { why: self.unsent(source) },
            };
            let (export, not_sent) = convert::export(&request);
            match self.post(export.encode_to_vec()).await {
                Ok((rejected, _)) => Verdict::Delivered {
                    not_written: Counts { samples: not_sent + rejected, ..Counts::default() },
                },
                Err(verdict) => verdict,
            }
        })
    }
}

impl Otlp {
    /// Posts; returns how many points the receiver rejected, and why.
    async fn post(&self, body: Vec<u8>) -> Result<(u64, String), Verdict> {
        let mut request = self
            .client
            .post(&self.spec.url)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        for (name, value) in &self.spec.headers {
            request = request.header(name, value);
        }
        let response = request.send().await;
        let response =
            response.map_err(|error| Verdict::Retry { after: None, why: self.unsent(error) })?;
        let status = response.status();
        let after = response.headers().get(header::RETRY_AFTER).cloned();
        let bytes = response.bytes().await.unwrap_or_default();
        if status.is_success() {
            let answer = ExportResponse::decode(bytes).unwrap_or_default();
            let partial = answer.partial_success.unwrap_or_default();
            let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
            return Ok((rejected, partial.error_message));
        }
        let shown = &bytes[..bytes.len().min(BODY_BYTES_MAX)];
        let body = String::from_utf8_lossy(shown).into_owned();
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        let after = after.map(Duration::from_secs);
        let (code, text) = (status.as_u16(), status.to_string());
        let why = SendError::Status { status: text, code, body, after };
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Verdict::Retry { after, why },
            _ => Verdict::Refused { why },
        })
    }

    fn unsent(&self, error: impl std::error::Error + Send + Sync + 'static) -> SendError {
        SendError::Send { endpoint: self.endpoint(), source: Box::new(error) }
    }
}
