//! What happens to a simulated fleet reaches listeners: once, and with the right edge.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::{DEADLINE, FakeReceiver, Fleet, Rollcall, config, job, wait_until};

use crate::kinds::{FLEET, VMS_PATH};
use crate::{BINARY, rollcall};

const HOSTS: &str = "/apis/status.rollcall/v1/hosts";
const DISKS: &str = "/apis/status.rollcall/v1/disks";
const NICS: &str = "/apis/status.rollcall/v1/nics";

/// Scrapes of a host after which an event that came twice would have come.
const SETTLED: usize = 4;

/// A fleet of eight hosts with twenty VMs each, and the daemon that watches it each second.
async fn start() -> (Fleet, Rollcall, FakeReceiver) {
    let fleet = Fleet::start(BINARY, 8, 20).await;
    let receiver = FakeReceiver::accepting().await;
    let files = format!("file_sd_configs: [{{ files: ['{}'] }}]", fleet.targets_file().display());
    let config = config()
        .global("scrape_interval: 1s")
        .job(job("hosts").with(&files))
        .forward_to(&receiver)
        .section(FLEET);
    let app = rollcall().config(&config).start().await;
    (fleet, app, receiver)
}

async fn address(fleet: &Fleet, host: &str) -> String {
    let about = fleet.get(&format!("/hosts/{host}")).await;
    about["address"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_fleet_is_known_whole_and_once() {
    let (fleet, app, receiver) = start().await;
    assert_eq!(app.names(VMS_PATH).await.len(), 160);
    assert_eq!(app.names(HOSTS).await, fleet.hosts().await);
    let list = app.json(VMS_PATH).await;
    let mut by_host: BTreeMap<&str, usize> = BTreeMap::new();
    for vm in list["items"].as_array().unwrap() {
        *by_host.entry(vm["status"]["host"].as_str().unwrap()).or_default() += 1;
    }
    assert!(by_host.values().all(|count| *count == 20), "{by_host:?}");
    let one = app.json(&format!("{VMS_PATH}?fieldSelector=status.host%3Dhost-003")).await;
    assert_eq!(one["items"].as_array().unwrap().len(), 20);

    receiver.wait_for_samples(&[("__name__", "up")], 16).await;
    let leaked = receiver.series(&[]).into_iter().find(|labels| {
        let name = &labels["__name__"];
        name.starts_with("hci_vm_state") || name.starts_with("hci_disk")
    });
    assert_eq!(leaked, None, "a status series was sent on");
    assert_eq!(receiver.series(&[("__name__", "node_load1")]).len(), 8);
    app.stop().await;
}

#[tokio::test]
async fn a_crash_of_a_vm_is_one_edge() {
    let (fleet, app, _receiver) = start().await;
    let host = "host-002";
    let vm = fleet.vms_of(host).await[3].clone();
    let running =
        app.watch(&format!("{VMS_PATH}?watch=1&fieldSelector=status.state%3Drunning")).await;
    let crashed =
        app.watch(&format!("{VMS_PATH}?watch=1&fieldSelector=status.state%3Dcrashed")).await;
    running.wait_for_event("ADDED", &vm).await;

    fleet.make(&format!("/vms/{vm}/crash")).await;
    let entered = crashed.wait_for_event("ADDED", &vm).await;
    assert_eq!(*entered.field("state"), "crashed");
    assert_eq!(*entered.field("host"), host);
    running.wait_for_event("DELETED", &vm).await;
    app.wait_for_scrapes(&address(&fleet, host).await, SETTLED).await;
    let state_changes = |kinds: Vec<String>| -> Vec<String> {
        kinds.into_iter().filter(|kind| kind != "MODIFIED").collect()
    };
    assert_eq!(state_changes(crashed.kinds_of(&vm)), ["ADDED"]);
    assert_eq!(state_changes(running.kinds_of(&vm)), ["ADDED", "DELETED"]);

    fleet.make(&format!("/vms/{vm}/start")).await;
    crashed.wait_for_event("DELETED", &vm).await;
    wait_until("it runs again", DEADLINE, || async {
        let kinds = state_changes(running.kinds_of(&vm));
        if kinds.len() == 3 { Ok(()) } else { Err(format!("{kinds:?}")) }
    })
    .await;
    assert_eq!(state_changes(running.kinds_of(&vm)), ["ADDED", "DELETED", "ADDED"]);
    app.stop().await;
}

#[tokio::test]
async fn the_death_of_a_host_is_one_edge_and_takes_nothing_away() {
    let (fleet, app, _receiver) = start().await;
    let host = "host-005";
    let target = address(&fleet, host).await;
    let down = app.watch(&format!("{HOSTS}?watch=1&fieldSelector=status.up%3Dfalse")).await;
    let orphans =
        app.watch(&format!("{VMS_PATH}?watch=1&fieldSelector=status.hostUp%3Dfalse")).await;

    fleet.make(&format!("/hosts/{host}/die")).await;
    let event = down.wait_for_event("ADDED", host).await;
    assert_eq!(*event.field("up"), json!(false));
    let vms = fleet.vms_of(host).await;
    for vm in &vms {
        orphans.wait_for_event("ADDED", vm).await;
    }
    app.wait_for_scrapes(&target, SETTLED).await;
    assert_eq!(down.events().len(), down.events_of(host).len());
    assert_eq!(down.kinds_of(host).iter().filter(|kind| *kind == "ADDED").count(), 1);
    assert!(!down.kinds_of(host).contains(&"DELETED".to_owned()));
    assert_eq!(app.names(VMS_PATH).await.len(), 160, "a dead host's machines are still known");
    let vm = app.json(&format!("{VMS_PATH}/{}", vms[0])).await;
    assert_eq!(vm["status"]["state"], "running", "with what was last known of them");
    let conditions = vm["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let fresh = conditions.iter().find(|condition| condition["type"] == "Fresh");
    assert_eq!(fresh.map(|condition| &condition["status"]), Some(&json!("False")), "{vm:#}");

    fleet.make(&format!("/hosts/{host}/return")).await;
    down.wait_for_event("DELETED", host).await;
    for vm in &vms {
        orphans.wait_for_event("DELETED", vm).await;
    }
    app.stop_expecting(&["scrape"]).await;
}

#[tokio::test]
async fn a_vm_that_moves_changes_its_host_and_nothing_else() {
    let (fleet, app, _receiver) = start().await;
    let vms = fleet.vms_of("host-001").await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=1")).await;
    watch.wait_for_events(160).await;
    watch.forget();
    // Several, since which of the two hosts is scraped first is chance.
    let moving: Vec<(String, &str)> = vms
        .iter()
        .cloned()
        .zip(["host-002", "host-003", "host-004", "host-005", "host-006", "host-007", "host-008"])
        .collect();
    for (vm, to) in &moving {
        fleet.make(&format!("/vms/{vm}/move?to={to}")).await;
    }
    for (vm, to) in &moving {
        watch.wait_for("the move", |e| e.name() == vm && *e.field("host") == **to).await;
    }
    for (_, to) in &moving {
        app.wait_for_scrapes(&address(&fleet, to).await, SETTLED).await;
    }
    for (vm, to) in &moving {
        let events = watch.events_of(vm);
        assert!(events.iter().all(|event| event.kind == "MODIFIED"), "{events:#?}");
        let mut hosts: Vec<&Value> = events.iter().map(|event| event.field("host")).collect();
        hosts.dedup();
        let new = json!(to);
        assert!(hosts == [&new], "{vm} went to {to} by way of {hosts:?}");
    }
    assert_eq!(app.names(VMS_PATH).await.len(), 160);
    app.stop().await;
}

#[tokio::test]
async fn an_unplugged_disk_and_a_nic_that_is_down_are_one_edge_each() {
    let (fleet, app, _receiver) = start().await;
    let host = "host-004";
    let about = fleet.get(&format!("/hosts/{host}")).await;
    let first = |devices: &str| about[devices].as_object().unwrap().keys().next().unwrap().clone();
    let (disk, nic) = (first("disks"), first("nics"));
    let disks = app.watch(&format!("{DISKS}?watch=1")).await;
    let down = app.watch(&format!("{NICS}?watch=1&fieldSelector=status.up%3Dfalse")).await;
    let (disk_name, nic_name) = (format!("{host}-{disk}"), format!("{host}-{nic}"));
    disks.wait_for_event("ADDED", &disk_name).await;

    fleet.make(&format!("/hosts/{host}/disks/{disk}/unplug")).await;
    fleet.make(&format!("/hosts/{host}/nics/{nic}/down")).await;
    let gone = disks.wait_for_event("DELETED", &disk_name).await;
    assert_eq!(*gone.field("disk"), json!(disk));
    down.wait_for_event("ADDED", &nic_name).await;
    app.wait_for_scrapes(&address(&fleet, host).await, SETTLED).await;
    assert_eq!(disks.kinds_of(&disk_name), ["ADDED", "DELETED"]);
    assert_eq!(down.kinds_of(&nic_name), ["ADDED"]);
    assert_eq!(down.events().len(), 1);

    fleet.make(&format!("/hosts/{host}/disks/{disk}/plug")).await;
    fleet.make(&format!("/hosts/{host}/nics/{nic}/up")).await;
    disks.wait_for_events(disks.events().len() + 1).await;
    down.wait_for_event("DELETED", &nic_name).await;
    assert_eq!(disks.kinds_of(&disk_name), ["ADDED", "DELETED", "ADDED"]);
    app.stop().await;
}
