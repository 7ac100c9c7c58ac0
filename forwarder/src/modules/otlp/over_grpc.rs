//! OTLP over gRPC: `MetricsService/Export`, with tonic as the protocol and our own client below it.

use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use kit::http::Client;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_prost::ProstDecoder;

use super::messages::{self, ExportResponse, RetryInfo};
use super::{OtlpConfig, late, unsent};
use crate::module::{BuildError, Verdict};
use crate::modules::packing::Packing;
use crate::modules::web::{RETRY_AFTER_MAX, USER_AGENT};

const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Calls.
pub(super) struct OverGrpc {
    url: String,
    timeout: Duration,
    metadata: MetadataMap,
    grpc: Grpc<Client>,
}

/// Sends bytes that are a message already; reads answers.
struct Encoded;

// === impl OverGrpc ===

impl OverGrpc {
    pub(super) fn new(config: &OtlpConfig) -> Result<OverGrpc, BuildError> {
        let OtlpConfig { url, timeout, headers, packing, http, .. } = config.clone();
        let origin: Uri = url.parse().map_err(|source| BuildError {
            what: "the URL of an OTLP receiver".into(),
            source: Box::new(source),
        })?;
        let grpc = Grpc::with_origin(Client::http2_only(http, USER_AGENT), origin);
        let grpc = match packing {
            Packing::Gzip => grpc.send_compressed(CompressionEncoding::Gzip),
            Packing::None | Packing::Zstd => grpc,
        };
        let metadata = MetadataMap::from_headers(headers.into_iter().collect());
        Ok(OverGrpc { url, timeout, metadata, grpc })
    }

    /// Calls with a message; what the receiver makes of it.
    pub(super) async fn export(&self, message: Bytes) -> Result<ExportResponse, Verdict> {
        let mut request = Request::new(message);
        request.metadata_mut().clone_from(&self.metadata);
        let mut grpc = self.grpc.clone();
        let answer = grpc.unary(request, PathAndQuery::from_static(EXPORT), Encoded);
        let answer = tokio::time::timeout(self.timeout, answer).await;
        let answer = answer.map_err(|_| late(&self.url, self.timeout))?;
        answer.map(tonic::Response::into_inner).map_err(|status| self.judge(status))
    }

    fn judge(&self, status: Status) -> Verdict {
        // What never reached the receiver, or came back broken, has a cause.
        let no_answer = std::error::Error::source(&status).is_some();
        let after = asked_to_wait(&status);
        let again = match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => true,
            // Too much for now if it says until when; else too much for ever.
            Code::ResourceExhausted => after.is_some(),
            _ => no_answer,
        };
        let why = unsent(&self.url, status);
        if again { Verdict::Retry { after, why } } else { Verdict::Refused { why } }
    }
}

/// The wait of a status' `RetryInfo`.
fn asked_to_wait(status: &Status) -> Option<Duration> {
    let details = messages::Status::decode(status.details()).ok()?.details;
    let info = details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.clone()).ok()?.retry_delay.unwrap_or_default();
    let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    let delay = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()));
    Some(delay.min(RETRY_AFTER_MAX))
}

// === impl Encoded ===

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportResponse;
    type Encoder = Encoded;
    type Decoder = ProstDecoder<ExportResponse>;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> ProstDecoder<ExportResponse> {
        ProstDecoder::default()
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kit::config::HttpClientSpec;

    use super::*;
    use crate::modules::otlp::Protocol;

    fn receiver() -> OverGrpc {
        let config = OtlpConfig {
            url: "http://127.0.0.1:4317".to_owned(),
            protocol: Protocol::Grpc,
            headers: Vec::new(),
            packing: Packing::None,
            timeout: Duration::from_secs(1),
            http: HttpClientSpec::default().check().unwrap(),
        };
        OverGrpc::new(&config).unwrap()
    }

    fn with_retry_info(code: Code, seconds: i64) -> Status {
        let delay = messages::Delay { seconds, nanos: 0 };
        let info = RetryInfo { retry_delay: Some(delay) }.encode_to_vec().into();
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        let details = vec![messages::Any { type_url, value: info }];
        let status = messages::Status { message: "busy".to_owned(), details };
        Status::with_details(code, "busy", status.encode_to_vec().into())
    }

    #[track_caller]
    fn check(status: Status, want: &str) {
        let got = match receiver().judge(status) {
            Verdict::Retry { after, .. } => format!("retry after {after:?}"),
            Verdict::Refused { .. } => "refused".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn answers_mean_what_otlp_says() {
        check(Status::unavailable(""), "retry after None");
        check(Status::aborted(""), "retry after None");
        check(Status::invalid_argument(""), "refused");
        check(Status::unauthenticated(""), "refused");
        check(Status::unknown(""), "refused");
        check(Status::resource_exhausted(""), "refused");
        check(with_retry_info(Code::ResourceExhausted, 7), "retry after Some(7s)");
        check(with_retry_info(Code::Unavailable, 90_000), "retry after Some(3600s)");
    }

    #[test]
    fn no_answer_is_worth_another_try() {
        check(Status::from_error("connection refused".into()), "retry after None");
    }
}
