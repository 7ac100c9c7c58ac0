//! The control port of a simulation: makes things happen to the fleet.
//!
//! `GET /` lists what can be asked; every answer is JSON.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::fleet::{Fleet, Unknown};
use super::host::{DeviceKind, Host, VmState};

/// What can be asked: method, path, and what it does.
const REQUESTS: [(&str, &str, &str); 9] = [
    ("GET", "/hosts", "all hosts"),
    ("GET", "/hosts/{host}", "one host: its VMs, disks, NICs and USB devices"),
    ("POST", "/hosts/{host}/die|return", "its exporter refuses connections, or answers again"),
    ("POST", "/hosts/{host}/disks/{disk}/unplug|plug", "a disk goes or comes"),
    ("POST", "/hosts/{host}/usb/{device}/unplug|plug", "a USB device goes or comes"),
    ("POST", "/hosts/{host}/nics/{nic}/down|up", "a NIC stops or works again"),
    ("GET", "/vms/{vm}", "what a VM does, and where"),
    ("POST", "/vms/{vm}/crash|stop|start", "a VM changes its state"),
    ("POST", "/vms/{vm}/move?to={host}", "a VM moves to another host"),
];

#[derive(Deserialize)]
struct MoveTo {
    to: String,
}

/// Why something cannot be made to happen.
enum Refusal {
    /// There is no such thing.
    Unknown(Unknown),
    /// A word in the path that means nothing there.
    Action(String),
}

type Answer = Result<Json<Value>, Refusal>;

/// The control port's requests.
pub(super) fn router(fleet: Arc<Fleet>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/hosts", get(hosts))
        .route("/hosts/{host}", get(host))
        .route("/hosts/{host}/{action}", post(change_host))
        .route("/hosts/{host}/{devices}/{device}/{action}", post(change_device))
        .route("/vms/{vm}", get(vm))
        .route("/vms/{vm}/move", post(move_vm))
        .route("/vms/{vm}/{action}", post(change_vm))
        .fallback(async || (StatusCode::NOT_FOUND, Json(json!({ "error": "see GET /" }))))
        .with_state(fleet)
}

async fn index(State(fleet): State<Arc<Fleet>>) -> Json<Value> {
    let requests: Vec<Value> = REQUESTS
        .iter()
        .map(|(method, path, does)| json!({ "method": method, "path": path, "does": does }))
        .collect();
    Json(json!({ "hosts": fleet.hosts().len(), "second": fleet.second(), "requests": requests }))
}

async fn hosts(State(fleet): State<Arc<Fleet>>) -> Json<Value> {
    Json(fleet.hosts().iter().map(|host| summary(host)).collect())
}

async fn host(State(fleet): State<Arc<Fleet>>, Path(name): Path<String>) -> Answer {
    let host = fleet.host(&name).map_err(Refusal::Unknown)?;
    let mut about = summary(host);
    let devices = |kind| -> Value {
        let devices = host.devices(kind).into_iter();
        devices.map(|(name, present)| (name, Value::Bool(present))).collect()
    };
    about["series"] = host.series_count(fleet.second()).into();
    let vms = host.vms().into_iter();
    about["vms"] = vms.map(|(id, state)| (id, Value::from(state))).collect();
    about["disks"] = devices(DeviceKind::Disk);
    about["nics"] = devices(DeviceKind::Nic);
    about["usb"] = devices(DeviceKind::Usb);
    Ok(Json(about))
}

async fn change_host(
    State(fleet): State<Arc<Fleet>>,
    Path((name, action)): Path<(String, String)>,
) -> Answer {
    let alive = match action.as_str() {
        "die" => false,
        "return" => true,
        _ => return Err(Refusal::Action(action)),
    };
    let host = fleet.host(&name).map_err(Refusal::Unknown)?;
    host.set_alive(alive);
    Ok(Json(summary(host)))
}

async fn change_device(
    State(fleet): State<Arc<Fleet>>,
    Path((host, devices, device, action)): Path<(String, String, String, String)>,
) -> Answer {
    let (kind, present) = match (devices.as_str(), action.as_str()) {
        ("disks", "unplug") => (DeviceKind::Disk, false),
        ("disks", "plug") => (DeviceKind::Disk, true),
        ("usb", "unplug") => (DeviceKind::Usb, false),
        ("usb", "plug") => (DeviceKind::Usb, true),
        ("nics", "down") => (DeviceKind::Nic, false),
        ("nics", "up") => (DeviceKind::Nic, true),
        _ => return Err(Refusal::Action(format!("{devices}/…/{action}"))),
    };
    let host = fleet.set_device(&host, kind, &device, present).map_err(Refusal::Unknown)?;
    Ok(Json(json!({ "host": host.name, "device": device, "present": present })))
}

async fn vm(State(fleet): State<Arc<Fleet>>, Path(id): Path<String>) -> Answer {
    about_vm(&fleet, &id)
}

async fn change_vm(
    State(fleet): State<Arc<Fleet>>,
    Path((id, action)): Path<(String, String)>,
) -> Answer {
    let state = match action.as_str() {
        "crash" => VmState::Crashed,
        "stop" => VmState::Stopped,
        "start" => VmState::Running,
        _ => return Err(Refusal::Action(action)),
    };
    fleet.set_vm(&id, state).map_err(Refusal::Unknown)?;
    about_vm(&fleet, &id)
}

async fn move_vm(
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<String>,
    Query(MoveTo { to }): Query<MoveTo>,
) -> Answer {
    fleet.move_vm(&id, &to).map_err(Refusal::Unknown)?;
    about_vm(&fleet, &id)
}

fn about_vm(fleet: &Fleet, id: &str) -> Answer {
    let host = fleet.host_of(id).map_err(Refusal::Unknown)?;
    let vm = host.vm(id).ok_or_else(|| Refusal::Unknown(Unknown::Vm(id.to_owned())))?;
    Ok(Json(json!({ "vmid": vm.id, "state": vm.state.name(), "host": host.name })))
}

fn summary(host: &Host) -> Value {
    json!({
        "host": host.name,
        "rack": host.rack,
        "address": host.address.to_string(),
        "alive": host.is_alive(),
    })
}

// === impl Refusal ===

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = match self {
            Refusal::Unknown(unknown) => unknown.to_string(),
            Refusal::Action(action) => format!("cannot {action:?}; see GET /"),
        };
        (StatusCode::NOT_FOUND, Json(json!({ "error": error }))).into_response()
    }
}
