//! The envelope of Prometheus' API: `{"status": "success", "data": …}`, or an error with its kind.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What a request of the API comes to.
pub(super) type Answer<T> = Result<Success<T>, Failure>;

/// Data, in its envelope.
#[derive(Debug)]
pub(super) struct Success<T>(pub(super) T);

/// Why there is no data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request makes no sense: 400.
    BadData(String),
    /// An agent does not do that: 422.
    NotAnAgentsBusiness,
    /// Our own fault: 500.
    Internal(String),
}

#[derive(Serialize)]
struct SuccessEnvelope<T> {
    status: &'static str,
    data: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailureEnvelope {
    status: &'static str,
    error_type: &'static str,
    error: String,
}

/// Answers everything that needs stored samples as a Prometheus agent answers it.
pub(super) async fn unavailable() -> Failure {
    Failure::NotAnAgentsBusiness
}

// === impl Success ===

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(SuccessEnvelope { status: "success", data: self.0 }).into_response()
    }
}

// === impl Failure ===

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (code, error_type, error) = match self {
            Failure::BadData(error) => (StatusCode::BAD_REQUEST, "bad_data", error),
            Failure::NotAnAgentsBusiness => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "execution",
                "unavailable with Prometheus Agent".to_owned(),
            ),
            Failure::Internal(error) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", error),
        };
        let envelope = FailureEnvelope { status: "error", error_type, error };
        (code, Json(envelope)).into_response()
    }
}
