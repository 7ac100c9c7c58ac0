//! OTLP over gRPC: `MetricsService/Export`, with tonic as the protocol and our own client below it.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use futures::future::BoxFuture;
use http::Uri;
use http::uri::PathAndQuery;
use kit::Chain;
use kit::http::Client;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, EncodeBuf, Encoder};
use tonic::codegen::{Body, Service, StdError};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_prost::ProstDecoder;

use super::OtlpConfig;
use super::messages::{self, ExportResponse, RetryInfo};
use crate::module::{BuildError, SendError, Verdict};
use crate::modules::packing::Packing;
use crate::modules::web::{RETRY_AFTER_MAX, USER_AGENT, shown, unsent};

/// What the library says of an answer that was cut off before it said how it ended.
const CUT_OFF: &str = "missing grpc-status trailer";
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Calls.
pub(super) struct OverGrpc {
    url: String,
    timeout: Duration,
    metadata: MetadataMap,
    grpc: Grpc<Answered>,
}

/// Our client, which takes an answer that is none of gRPC's, as those of proxies, by its status.
#[derive(Clone)]
struct Answered(Client);

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
        let grpc = Grpc::with_origin(Answered(Client::http2_only(http, USER_AGENT)), origin);
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
        let answer = answer.map_err(|_| {
            let (endpoint, limit) = (shown(&self.url), self.timeout);
            Verdict::Retry { after: None, why: SendError::Timeout { endpoint, limit } }
        })?;
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
            Code::Unknown => no_answer || status.message().contains(CUT_OFF),
            _ => no_answer,
        };
        let why = unsent(&self.url, told(&status));
        if again { Verdict::Retry { after, why } } else { Verdict::Refused { why } }
    }
}

/// A status in words: its own, or those of what kept it from coming.
fn told(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => Chain(source).to_string(),
        None => format!("{:?}: {}", status.code(), status.message()),
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

// === impl Answered ===

impl<B> Service<http::Request<B>> for Answered
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    type Response = <Client as Service<http::Request<B>>>::Response;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Self::Response, StdError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Service::<http::Request<B>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async { Ok(of_grpc(answer.await?)?) })
    }
}

/// An answer of a gRPC server. The library would read the body of another one as a message.
fn of_grpc<T>(answer: http::Response<T>) -> Result<http::Response<T>, Status> {
    let status = answer.status();
    if status.is_success() || answer.headers().contains_key("grpc-status") {
        return Ok(answer);
    }
    let code = match status.as_u16() {
        429 | 502..=504 => Code::Unavailable,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        _ => Code::Internal,
    };
    let message = format!("server returned HTTP status {status}, and no status of gRPC");
    Err(Status::new(code, message))
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
    fn an_answer_of_a_proxy_is_taken_by_its_status() {
        let answer = |status: u16| http::Response::builder().status(status).body("<html>");
        let judged = |status| of_grpc(answer(status).unwrap()).map(|_| ());
        for (status, want) in [(503, "retry after None"), (429, "retry after None")] {
            check(judged(status).unwrap_err(), want);
        }
        check(judged(404).unwrap_err(), "refused");
        check(judged(500).unwrap_err(), "refused");
        assert!(judged(200).is_ok());
    }

    #[test]
    fn no_answer_is_worth_another_try() {
        check(Status::from_error("connection refused".into()), "retry after None");
        check(Status::unknown(format!("protocol error: {CUT_OFF}, …")), "retry after None");
    }
}
