//! kube-rs, unmodified: discovery, get and patch, both ways to list, edges, and a restart.

use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use testkit::{DEADLINE, FakeTarget, Launch, Rollcall, config, wait_until};

use crate::kinds::{VMS, vms};
use crate::rollcall;

fn launch(target: &FakeTarget) -> Launch {
    rollcall().config(&config().scrape(target).section(VMS))
}

fn client(app: &Rollcall) -> Client {
    Client::try_from(kube::Config::new(app.url("").parse().unwrap())).unwrap()
}

fn api(client: Client) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("status.rollcall", "v1", "VirtualMachine");
    Api::all_with(client, &ApiResource::from_gvk_with_plural(&gvk, "virtualmachines"))
}

fn word(vm: &DynamicObject) -> String {
    format!("{}:{}", vm.name_any(), vm.data["status"]["state"].as_str().unwrap_or("-"))
}

/// What a watcher has told so far, an event a word.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    /// Watches in the background, and begins again after every error as operators do.
    fn watching(api: Api<DynamicObject>, config: watcher::Config) -> Told {
        let told = Told::default();
        let telling = told.clone();
        tokio::spawn(async move {
            let mut events = watcher::watcher(api, config).default_backoff().boxed();
            while let Some(event) = events.next().await {
                let word = match event {
                    Ok(Event::Init) => "init".to_owned(),
                    Ok(Event::InitApply(vm)) => format!("+{}", word(&vm)),
                    Ok(Event::InitDone) => "done".to_owned(),
                    Ok(Event::Apply(vm)) => word(&vm),
                    Ok(Event::Delete(vm)) => format!("-{}", vm.name_any()),
                    Err(_) => continue,
                };
                telling.0.lock().unwrap().push(word);
            }
        });
        told
    }

    /// Waits until these have been told, in this order, and forgets them.
    async fn wait_for(&self, want: &[&str]) {
        wait_until(&format!("kube-rs is told {want:?}"), DEADLINE, || async {
            let mut told = self.0.lock().unwrap();
            if *told == want {
                told.clear();
                return Ok(());
            }
            Err(format!("{told:?}"))
        })
        .await;
    }
}

#[tokio::test]
async fn it_finds_reads_and_changes_objects() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await;
    let app = launch(&target).start().await;
    target.hold();
    let found = kube::discovery::Discovery::new(client(&app)).run().await.unwrap();
    let group = found.groups().find(|group| group.name() == "status.rollcall").unwrap();
    let kinds: Vec<String> =
        group.recommended_resources().into_iter().map(|(resource, _)| resource.kind).collect();
    assert!(kinds.contains(&"VirtualMachine".to_owned()), "{kinds:?}");

    let api = api(client(&app));
    let stopped = ListParams::default().fields("status.state=stopped");
    assert_eq!(api.list(&stopped).await.unwrap().items.len(), 1);
    let metadata = api.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(metadata.items.len(), 2);
    let change = Patch::Merge(json!({ "status": { "state": "starting" } }));
    api.patch_status("2", &PatchParams::default(), &change).await.unwrap();
    assert_eq!(word(&api.get("2").await.unwrap()), "2:starting");
    assert!(api.get_opt("9").await.unwrap().is_none());
    target.release();
    app.stop_expecting(&["scrape failed"]).await;
}

#[tokio::test]
async fn both_ways_to_list_see_edges_and_survive_a_restart() {
    for is_streaming in [false, true] {
        let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "crashed")])).await;
        let app = launch(&target).start().await;
        let address = app.address();
        let config = watcher::Config::default().fields("status.state=crashed");
        let config = if is_streaming { config.streaming_lists() } else { config };
        let told = Told::watching(api(client(&app)), config);
        told.wait_for(&["init", "+2:crashed", "done"]).await;
        target.serve(vms(&[("1", "crashed"), ("2", "crashed")]));
        told.wait_for(&["1:crashed"]).await;
        target.serve(vms(&[("1", "crashed"), ("2", "running")]));
        told.wait_for(&["-2"]).await;

        app.kill().await;
        target.serve(vms(&[("1", "running"), ("3", "crashed")]));
        let app = launch(&target).at(address).start().await;
        wait_until("kube-rs has listed again", DEADLINE, || async {
            let told = told.0.lock().unwrap();
            let whole = ["init", "+3:crashed", "done"];
            if told.ends_with(&whole.map(str::to_owned)) {
                Ok(())
            } else {
                Err(format!("{told:?}"))
            }
        })
        .await;
        told.0.lock().unwrap().clear();
        target.serve(vms(&[("1", "crashed"), ("3", "crashed")]));
        told.wait_for(&["1:crashed"]).await;
        app.stop_expecting(&["scrape failed"]).await;
    }
}
