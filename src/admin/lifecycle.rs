//! `/-/healthy`, `/-/ready`, `/-/reload` and `/-/quit`, with Prometheus' words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use kit::Chain;
use tokio::sync::Notify;

use super::Admin;

const NOT_ENABLED: (StatusCode, &str) = (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.");
const WRONG_METHOD: (StatusCode, &str) =
    (StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed");

/// How far the daemon is. Cheap to ask.
#[derive(Debug, Default)]
pub(crate) struct Readiness(AtomicU8);

/// What [`Readiness`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// It starts: not everything was scraped once.
    Starting,
    /// It works.
    Working,
    /// It was asked to stop.
    Stopping,
}

/// Somebody asked the process to end over HTTP.
#[derive(Debug, Default)]
pub(crate) struct Quit {
    asked: AtomicU8,
    notify: Notify,
}

/// The four paths.
pub(super) fn routes(enabled: bool) -> Router<Arc<Admin>> {
    let wrong_method = get(async || WRONG_METHOD);
    let (reload, quit) = if enabled {
        (post(reload).put(reload), post(quit).put(quit))
    } else {
        let refuse = async || NOT_ENABLED;
        (post(refuse).put(refuse), post(refuse).put(refuse))
    };
    Router::new()
        .route("/-/healthy", get(async || "rollcall is Healthy.\n"))
        .route("/-/ready", get(ready))
        .route("/-/reload", reload.merge(wrong_method.clone()))
        .route("/-/quit", quit.merge(wrong_method))
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let stopping = match admin.readiness.get() {
        Stage::Working => return "rollcall is Ready.\n".into_response(),
        Stage::Starting => "false",
        Stage::Stopping => "true",
    };
    let header = [("X-Prometheus-Stopping", stopping)];
    (StatusCode::SERVICE_UNAVAILABLE, header, "Service Unavailable").into_response()
}

async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    match admin.reloader.reload().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let text = format!("failed to reload config: {}\n", Chain(&error));
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn quit(State(admin): State<Arc<Admin>>) -> &'static str {
    match admin.quit.ask() {
        true => "Requesting termination... Goodbye!",
        false => "Termination already in progress.",
    }
}

// === impl Readiness ===

impl Readiness {
    /// How far it is.
    pub(crate) fn get(&self) -> Stage {
        match self.0.load(Ordering::Relaxed) {
            0 => Stage::Starting,
            1 => Stage::Working,
            _ => Stage::Stopping,
        }
    }

    /// It got this far. Never goes back.
    pub(crate) fn reached(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::Relaxed);
    }
}

// === impl Quit ===

impl Quit {
    /// Waits until somebody asks.
    pub(crate) async fn asked(&self) {
        self.notify.notified().await;
    }

    /// Asks. False if somebody did before.
    fn ask(&self) -> bool {
        self.notify.notify_one();
        self.asked.swap(1, Ordering::Relaxed) == 0
    }
}
