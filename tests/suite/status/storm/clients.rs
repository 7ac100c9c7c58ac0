//! The clients, and what each of them believes: names and states of the VMs that crashed.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use rollcall_client::{Client, Condition, Event, Object};
use serde::Deserialize;
use testkit::{Kubectl, Process, wait_until};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::{CALM, CRASHED, MARKER, States};

/// What a client believes, and how often it had to begin anew.
#[derive(Clone)]
pub(super) struct View {
    name: &'static str,
    believed: Arc<Mutex<(States, usize)>>,
}

#[derive(Debug, Deserialize)]
struct Vm {
    state: Option<String>,
}

// === impl View ===

impl View {
    fn new(name: &'static str) -> View {
        View { name, believed: Arc::default() }
    }

    fn change(&self, change: impl FnOnce(&mut States)) {
        change(&mut self.believed.lock().unwrap().0);
    }

    fn reset(&self, all: States) {
        let mut believed = self.believed.lock().unwrap();
        *believed = (all, believed.1 + 1);
    }

    pub(super) fn n_resets(&self) -> usize {
        self.believed.lock().unwrap().1
    }

    /// Waits until the client believes what is true.
    pub(super) async fn wait_for(&self, truth: &States) {
        wait_until(&format!("{} knows who crashed", self.name), CALM, || async {
            let (believed, _) = self.believed.lock().unwrap().clone();
            let shown = format!("it believes {believed:?}, true is {truth:?}");
            if believed == *truth { Ok(()) } else { Err(shown) }
        })
        .await;
    }
}

/// Our client for Rust.
pub(super) fn ours(url: &str) -> View {
    let view = View::new("our client");
    let believed = view.clone();
    let vms = Client::new([url]).unwrap().resource::<Vm>("virtualmachines");
    tokio::spawn(async move {
        let word = |vm: Object<Vm>| (vm.name().to_owned(), vm.status.state.unwrap_or_default());
        let mut crashed = vms.subscribe(Condition::fields(CRASHED));
        loop {
            match crashed.next().await {
                Ok(Event::Reset(all)) => believed.reset(all.into_iter().map(word).collect()),
                Ok(Event::Applied(vm)) => {
                    let (name, state) = word(vm);
                    believed.change(|known| drop(known.insert(name, state)));
                }
                Ok(Event::Left(vm)) => believed.change(|known| drop(known.remove(vm.name()))),
                Err(error) => panic!("nothing here is for ever: {error}"),
            }
        }
    });
    view
}

/// kube-rs, in one of its ways to list.
pub(super) fn kube_rs(url: &str, is_streaming: bool) -> View {
    let view = View::new(if is_streaming { "kube-rs, streaming" } else { "kube-rs, listing" });
    let believed = view.clone();
    let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let gvk = GroupVersionKind::gvk("status.rollcall", "v1", "VirtualMachine");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "virtualmachines");
    let vms: Api<DynamicObject> = Api::all_with(client, &resource);
    let config = watcher::Config::default().fields(CRASHED);
    let config = if is_streaming { config.streaming_lists() } else { config };
    tokio::spawn(async move {
        let word = |vm: &DynamicObject| {
            let state = vm.data["status"]["state"].as_str().unwrap_or_default();
            (vm.name_any(), state.to_owned())
        };
        let mut events = watcher::watcher(vms, config).default_backoff().boxed();
        let mut all = States::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => all.clear(),
                Ok(watcher::Event::InitApply(vm)) => all.extend([word(&vm)]),
                Ok(watcher::Event::InitDone) => believed.reset(std::mem::take(&mut all)),
                Ok(watcher::Event::Apply(vm)) => believed.change(|it| it.extend([word(&vm)])),
                Ok(watcher::Event::Delete(vm)) => {
                    believed.change(|known| drop(known.remove(&vm.name_any())));
                }
                // It tries again by itself.
                Err(_) => {}
            }
        }
    });
    view
}

/// The Python client, in a process of its own that prints what it believes after each event.
pub(super) fn python(url: &str) -> View {
    let view = View::new("the Python client");
    let believed = view.clone();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/status/storm/listen.py");
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(crate::status::python::interpreter());
    command.arg("-I").arg(script).arg(url).arg(CRASHED).env("HOME", home.path());
    command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    tokio::spawn(async move {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let (is_reset, all): (bool, States) = serde_json::from_str(&line).unwrap();
            match is_reset {
                true => believed.reset(all),
                false => believed.change(|known| *known = all),
            }
        }
        drop((child, home));
    });
    view
}

/// kubectl that waits for the marker, by an informer.
pub(super) struct Waiting {
    name: String,
    process: Process,
    // Its home.
    _kubectl: Kubectl,
}

impl Waiting {
    pub(super) fn start(url: &str, wanted: &str, is_streaming: bool) -> Waiting {
        let kubectl = crate::kubectl::at(url)
            .variable("KUBE_WATCHLIST_INCONSISTENCY_DETECTOR", "true")
            .variable("KUBE_FEATURE_WatchListClient", if is_streaming { "true" } else { "false" });
        let condition = format!("--for=jsonpath={{.status.state}}={wanted}");
        let process = kubectl.start(&["wait", &format!("vm/{MARKER}"), &condition, "--timeout=5m"]);
        let name = format!("kubectl (streaming: {is_streaming}) for {wanted}");
        Waiting { name, process, _kubectl: kubectl }
    }

    /// Waits until it has seen what it waits for.
    pub(super) async fn wait_for_end(mut self) {
        wait_until(&format!("{} ends", self.name), CALM, || async {
            let log = self.process.log();
            if log.contains("condition met") { Ok(()) } else { Err(log) }
        })
        .await;
        assert!(self.process.exit(Duration::from_secs(20)).await.success(), "{}", self.name);
    }
}
