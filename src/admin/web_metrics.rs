//! Counts requests by handler and status code, under Prometheus' names.
//!
//! A handler is the pattern of a path, so that the number of series has a limit; everything that
//! the status center answers is one handler.

use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use kit::Clock;
use kit::metrics::SelfMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Handler of requests that no path of ours matches: the status center's, and mistakes.
const STATUS_CENTER: &str = "status center";
/// Upper ends of the buckets, in seconds: Prometheus' own.
const DURATION_BUCKETS_S: [f64; 8] = [0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0];

/// Counters of requests.
#[derive(Clone)]
pub(super) struct WebMetrics {
    requests: Family<Answered, Counter>,
    durations: Family<Handler, Histogram, fn() -> Histogram>,
    /// Those of good answers of the status center, which are many: found once.
    status_center: Arc<OnceLock<(Counter, Histogram)>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    handler: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handler {
    handler: String,
}

/// Answers a request and counts it. The time is that to the head of the answer, so that a watch
/// does not count as a slow request.
pub(super) async fn count(
    State(metrics): State<WebMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let began = metrics.clock.now();
    let response = next.run(request).await;
    let seconds = metrics.clock.now().since(began).as_secs_f64();
    let code = response.status().as_u16();
    if matched.is_none() && code == 200 {
        let (requests, durations) =
            metrics.status_center.get_or_init(|| metrics.of(STATUS_CENTER, code));
        requests.inc();
        durations.observe(seconds);
    } else {
        let handler = matched.as_ref().map_or(STATUS_CENTER, MatchedPath::as_str);
        let (requests, durations) = metrics.of(handler, code);
        requests.inc();
        durations.observe(seconds);
    }
    response
}

// === impl WebMetrics ===

impl WebMetrics {
    pub(super) fn register(metrics: &SelfMetrics, clock: Arc<dyn Clock>) -> WebMetrics {
        let requests = Family::default();
        let new: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS_S);
        let durations = Family::new_with_constructor(new);
        metrics.register(|registry| {
            registry.register(
                "prometheus_http_requests",
                "Requests, by handler and status code",
                requests.clone(),
            );
            registry.register(
                "prometheus_http_request_duration_seconds",
                "Time from a request to the head of its answer",
                durations.clone(),
            );
        });
        WebMetrics { requests, durations, status_center: Arc::default(), clock }
    }

    fn of(&self, handler: &str, code: u16) -> (Counter, Histogram) {
        let handler = || handler.to_owned();
        let requests = self.requests.get_or_create(&Answered { handler: handler(), code }).clone();
        let durations = self.durations.get_or_create(&Handler { handler: handler() }).clone();
        (requests, durations)
    }
}
