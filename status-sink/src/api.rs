//! The status center over HTTP, in the conventions of the Kubernetes API.
//!
//! | path | what |
//! |---|---|
//! | `/version` `/healthz` `/livez` `/readyz` | who we are, whether we are well |
//! | `/api` `/api/v1` `/apis` `/apis/G` `/apis/G/V` | discovery |
//! | `/openapi/v3` `/openapi/v3/apis/G/V` | the schemas of the kinds |
//! | `/api/v1/namespaces` `/api/v1/…/events` | for clients that ask: read-only, and empty |
//! | `/apis/G/V[/namespaces/N]/PLURAL` | GET (list, watch), POST, DELETE |
//! | `…/PLURAL/NAME` `…/PLURAL/NAME/status` | GET, PUT, PATCH, DELETE |
//! | `…/PLURAL/summary?by=F,…` | GET: how many objects have which values |
//! | `…/PLURAL/bulk` | POST: many objects at once, a result for each |
//! | `/api/v1/write` | POST: remote write 1.0 and 2.0, from whoever scrapes for us |
//!
//! Until every status target has answered or failed once, reads are answered 429: a half-filled
//! list is never served. Every failure is a `Status`, made in `api/failure.rs` and nowhere else.

mod accept;
mod apply;
mod body;
mod bulk;
mod deletion;
mod discovery;
mod document;
mod failure;
mod frames;
mod list;
mod objects;
mod observed;
mod openapi;
mod options;
mod page;
mod patch;
mod place;
mod receive;
mod root;
mod strict;
mod summary;
mod table;
mod versions;
mod walk;
mod watch;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{StatusCode, Uri};
use kit::Clock;
use tokio::sync::Semaphore;

use self::failure::Failure;
use crate::metrics::Metrics;
use crate::receiver::Receiver;
use crate::store::{Reader, Writer};

/// Bulk updates that are read at a time. Each may hold its whole body; further ones are answered
/// 429 and counted.
const BULKS_MAX: usize = 8;

/// What every request needs.
pub(crate) struct Api {
    reader: Reader,
    writer: Writer,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Counts the times that chance was needed.
    chances: AtomicU64,
    /// Other in every process.
    seed: u64,
    bulks: Semaphore,
    receiver: Arc<Receiver>,
    writes: receive::Gates,
}

// === impl Api ===

impl Api {
    /// Over this status center; `seed` is chance, other in every process.
    pub(crate) fn new(
        reader: Reader,
        writer: Writer,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        receiver: Arc<Receiver>,
        seed: u64,
    ) -> Arc<Api> {
        let (chances, bulks) = (AtomicU64::new(0), Semaphore::new(BULKS_MAX));
        let writes = receive::Gates::default();
        Arc::new(Api { reader, writer, clock, metrics, chances, seed, bulks, receiver, writes })
    }

    /// Everything below `/api`, `/apis`, `/openapi`, and the paths of clients beside them.
    pub(crate) fn routes(self: &Arc<Api>) -> Router {
        let no_method = || async { Failure::method_not_allowed() };
        let collection =
            get(objects::list_or_watch).post(objects::create).delete(objects::delete_collection);
        let item =
            get(objects::get).put(objects::replace).patch(objects::patch).delete(objects::delete);
        let status = get(objects::get).put(objects::replace_status).patch(objects::patch_status);
        let bulk = post(bulk::update)
            .get(objects::get)
            .put(objects::replace)
            .patch(objects::patch)
            .delete(objects::delete);
        let summary = get(summary::get_or_object)
            .put(objects::replace)
            .patch(objects::patch)
            .delete(objects::delete);
        let mut router = Router::new();
        for base in ["/apis/{group}/{version}", "/apis/{group}/{version}/namespaces/{namespace}"] {
            router = router
                .route(&format!("{base}/{{plural}}"), collection.clone())
                .route(&format!("{base}/{{plural}}/{{name}}"), item.clone())
                .route(&format!("{base}/{{plural}}/bulk"), bulk.clone())
                .route(&format!("{base}/{{plural}}/summary"), summary.clone())
                .route(&format!("{base}/{{plural}}/{{name}}/status"), status.clone());
        }
        router
            .route("/version", get(root::version))
            .route("/healthz", get(root::alive))
            .route("/livez", get(root::alive))
            .route("/readyz", get(root::ready))
            .route("/api", get(root::api))
            .route("/api/", get(root::api))
            .route("/api/v1", get(root::core))
            .route("/api/v1/write", post(receive::write))
            .route("/api/v1/namespaces", get(root::namespaces))
            .route("/api/v1/namespaces/{name}", get(root::namespace))
            .route("/api/v1/events", get(root::events))
            .route("/api/v1/namespaces/{name}/events", get(root::events))
            .route("/apis", get(root::apis))
            .route("/apis/", get(root::apis))
            .route("/apis/{group}", get(root::group))
            .route("/apis/{group}/{version}", get(root::resources))
            .route("/openapi/v3", get(root::openapi))
            .route("/openapi/v3/apis/{group}/{version}", get(root::openapi_group))
            .method_not_allowed_fallback(no_method)
            .fallback(nothing_there)
            .layer(middleware::from_fn_with_state(Arc::clone(self), counted))
            .with_state(Arc::clone(self))
    }

    /// Whether objects may be read yet.
    ///
    /// # Errors
    /// 429
    fn readable(&self) -> Result<(), Failure> {
        if self.reader.is_warm() { Ok(()) } else { Err(warming_up()) }
    }

    /// 64 bits of chance, other each time.
    fn chance_bits(&self) -> u64 {
        let n = self.chances.fetch_add(1, Ordering::Relaxed);
        let seeds = [self.seed.to_le_bytes(), n.to_le_bytes()].concat();
        rapidhash::v3::rapidhash_v3(&seeds)
    }

    /// Chance in 0..1.
    fn chance(&self) -> f64 {
        (self.chance_bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

/// Clients of the API hear it in their form; a browser needs no form.
async fn nothing_there(uri: Uri) -> Response {
    let is_ours = ["/api", "/openapi"].iter().any(|ours| uri.path().starts_with(ours));
    if is_ours { Failure::no_path().into_response() } else { StatusCode::NOT_FOUND.into_response() }
}

async fn counted(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    api.metrics.request(&method, response.status());
    response
}

fn warming_up() -> Failure {
    Failure::too_many_requests(
        "warming up: not every status target has answered or failed yet, try again",
    )
}
