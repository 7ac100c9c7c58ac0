//! Prometheus' own endpoints: what the daemon says about itself, and how it is told to reload.
//!
//! Field for field what Prometheus 3.14 answers in agent mode, so that scripts and dashboards
//! keep working. Everything that no path here matches is asked of the status center.

mod agent_metrics;
mod answer;
mod cors;
mod exposition;
mod federation;
mod forwarders;
mod global_url;
mod lifecycle;
mod page;
mod pages;
mod pool_metrics;
mod process;
mod relabel_steps;
mod self_metrics;
mod status;
mod targets;
mod web_metrics;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Redirect, Response};
use axum::routing::{any, get};
use kit::Clock;
use kit::metrics::SelfMetrics;
use model::GoRegex;
use tower_http::compression::CompressionLayer;

use crate::reload::Reloader;
use answer::unavailable;
use cors::Cors;
use web_metrics::WebMetrics;

pub(crate) use global_url::GlobalUrl;
pub(crate) use lifecycle::{Quit, Readiness, Stage};

/// What the endpoints speak of.
pub(crate) struct Admin {
    /// Tells the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// When the process started, in milliseconds since the epoch.
    pub(crate) started_ms: i64,
    /// All metrics of the process.
    pub(crate) metrics: SelfMetrics,
    /// Every flag, as text.
    pub(crate) flags: Vec<(String, String)>,
    /// Whether `/-/reload` and `/-/quit` may be used.
    pub(crate) lifecycle_enabled: bool,
    /// Origins whose pages may ask the API.
    pub(crate) cors_origin: GoRegex,
    /// How others reach us.
    pub(crate) global_url: GlobalUrl,
    /// How far the daemon is.
    pub(crate) readiness: Arc<Readiness>,
    /// Somebody asked it to end.
    pub(crate) quit: Arc<Quit>,
    /// The configuration, and how to read it again.
    pub(crate) reloader: Arc<Reloader>,
    /// The part that scrapes.
    pub(crate) scraper: Arc<scraper::Scraper>,
    /// The part that sends.
    pub(crate) forwarder: Arc<forwarder::Forwarder>,
}

/// What an agent has no samples for.
const UNAVAILABLE: [&str; 16] = [
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/query_exemplars",
    "/api/v1/format_query",
    "/api/v1/parse_query",
    "/api/v1/labels",
    "/api/v1/label/{name}/values",
    "/api/v1/series",
    "/api/v1/alertmanagers",
    "/api/v1/alerts",
    "/api/v1/rules",
    "/api/v1/status/tsdb",
    "/api/v1/status/tsdb/blocks",
    "/api/v1/admin/tsdb/delete_series",
    "/api/v1/admin/tsdb/clean_tombstones",
    "/api/v1/admin/tsdb/snapshot",
];

/// All endpoints of the process: ours, and behind them those of the status center. Everything
/// below `prefix`, which is empty or starts with a slash.
pub(crate) fn router(admin: Admin, status_center: Router, prefix: &str) -> Router {
    let metrics = WebMetrics::register(&admin.metrics, Arc::clone(&admin.clock));
    process::register(&admin.metrics);
    pool_metrics::register(&admin.metrics, Arc::clone(&admin.scraper));
    let federation_errors = agent_metrics::register(&admin.metrics, Arc::clone(&admin.readiness));
    let cors = Cors { allowed: admin.cors_origin.clone(), api: format!("{prefix}/api/v1/") };
    let mut ours = Router::new()
        .route("/metrics", get(own_page))
        .merge(federation::routes(federation_errors))
        .merge(self_metrics::routes())
        .merge(lifecycle::routes(admin.lifecycle_enabled))
        .merge(status::routes())
        .merge(targets::routes())
        .merge(relabel_steps::routes())
        .merge(forwarders::routes())
        .merge(pages::routes(prefix));
    for path in UNAVAILABLE {
        ours = ours.route(path, any(unavailable));
    }
    // The status center compresses by itself, what may be compressed of it: lists, not watches.
    let ours = ours.with_state(Arc::new(admin)).layer(CompressionLayer::new());
    let all = ours.fallback_service(status_center);
    let counted = axum::middleware::from_fn_with_state(metrics, web_metrics::count);
    let shared = axum::middleware::from_fn_with_state(Arc::new(cors), cors::answer);
    if prefix.is_empty() {
        return all.layer(shared).layer(counted);
    }
    let home = format!("{prefix}/");
    Router::new()
        .route("/", get(async move || Redirect::to(&home)))
        .nest(prefix, all)
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(shared)
        .layer(counted)
}

async fn own_page(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    exposition::answer(&admin.metrics, &headers)
}
