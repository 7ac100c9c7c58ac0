//! `/federate`: there, and refused in the words of an agent, which has no samples to give.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus_client::metrics::counter::Counter;

use super::Admin;

/// The path; `errors` counts who asked.
pub(super) fn routes(errors: Counter) -> Router<Arc<Admin>> {
    let refuse = async move || {
        errors.inc();
        (StatusCode::INTERNAL_SERVER_ERROR, "unsupported operation with WAL-only storage\n")
    };
    Router::new().route("/federate", get(refuse))
}
