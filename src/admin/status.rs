//! `/api/v1/status/*`, `/api/v1/features`, `/api/v1/notifications` and `/version`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Answer, Success};
use super::targets::time_text;

/// The version of the Kubernetes API whose conventions the status center follows.
const KUBERNETES_MINOR: &str = "37";

/// Prometheus' `runtimeinfo`. Keys that only mean something to Go are there and empty.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeInfo {
    start_time: String,
    #[serde(rename = "CWD")]
    cwd: String,
    hostname: String,
    server_time: String,
    reload_config_success: bool,
    last_config_time: String,
    corruption_count: i64,
    goroutine_count: usize,
    #[serde(rename = "GOMAXPROCS")]
    gomaxprocs: usize,
    #[serde(rename = "GOMEMLIMIT")]
    gomemlimit: i64,
    #[serde(rename = "GOGC")]
    gogc: &'static str,
    #[serde(rename = "GODEBUG")]
    godebug: &'static str,
    storage_retention: &'static str,
}

/// Prometheus' `buildinfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildInfo {
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
}

const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    revision: "",
    branch: "",
    build_user: "",
    build_date: "",
    go_version: "",
};

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/version", get(version))
        .route("/api/v1/status/config", get(config))
        .route("/api/v1/status/flags", get(flags))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
        .route("/api/v1/status/buildinfo", get(async || Success(BUILD)))
        .route("/api/v1/status/walreplay", get(wal_replay))
        .route("/api/v1/features", get(features))
        .route("/api/v1/notifications", get(async || Success(Value::Array(Vec::new()))))
        .route("/api/v1/notifications/live", get(no_live_notifications))
}

/// What two different clients ask at the same path: Prometheus' fields for scripts, those of the
/// Kubernetes API for kubectl.
async fn version() -> Json<Value> {
    let BuildInfo { version, revision, branch, build_user, build_date, go_version } = BUILD;
    Json(json!({
        "version": version,
        "revision": revision,
        "branch": branch,
        "buildUser": build_user,
        "buildDate": build_date,
        "goVersion": go_version,
        "major": "1",
        "minor": KUBERNETES_MINOR,
        "gitVersion": format!("v1.{KUBERNETES_MINOR}.0+rollcall-{version}"),
        "gitCommit": revision,
        "gitTreeState": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", std::env::consts::ARCH),
    }))
}

async fn config(State(admin): State<Arc<Admin>>) -> Success<Value> {
    Success(json!({ "yaml": admin.reloader.current().yaml() }))
}

async fn flags(State(admin): State<Arc<Admin>>) -> Success<BTreeMap<String, String>> {
    Success(admin.flags.iter().cloned().collect())
}

async fn runtime_info(State(admin): State<Arc<Admin>>) -> Answer<RuntimeInfo> {
    let time = |ms| time_text(Some(ms));
    let reloaded = admin.reloader.last();
    Ok(Success(RuntimeInfo {
        start_time: time(admin.started_ms),
        cwd: std::env::current_dir().unwrap_or_default().display().to_string(),
        hostname: kit::host_name(),
        server_time: time(admin.clock.unix_ms()),
        reload_config_success: reloaded.succeeded,
        last_config_time: time(reloaded.succeeded_ms / 1000 * 1000),
        corruption_count: 0,
        goroutine_count: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        gomaxprocs: std::thread::available_parallelism().map_or(1, usize::from),
        gomemlimit: i64::MAX,
        gogc: "",
        godebug: "",
        storage_retention: "",
    }))
}

/// What is switched on, by the categories that Prometheus has for it.
async fn features(State(admin): State<Arc<Admin>>) -> Success<Value> {
    let has = |flag: &str, value: &str| {
        let values = admin.flags.iter().filter(|(name, _)| name == flag);
        values.flat_map(|(_, values)| values.split(',')).any(|one| one.trim() == value)
    };
    let auto_reload =
        has("config.auto-reload", "true") || has("enable-feature", "auto-reload-config");
    Success(json!({
        "api": {
            "admin": false,
            "lifecycle": admin.lifecycle_enabled,
            "otlp_write_receiver": false,
            "remote_write_receiver": false,
        },
        "prometheus": {
            "agent_mode": true,
            "auto_reload_config": auto_reload,
            "server_mode": false,
        },
        "scrape": { "extra_scrape_metrics": true },
    }))
}

/// As Prometheus answers when it takes no more listeners: nothing ever is announced.
async fn no_live_notifications() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// There is no log to be replayed: it always is over.
async fn wal_replay() -> Success<Value> {
    Success(json!({ "min": 0, "max": 0, "current": 0 }))
}
